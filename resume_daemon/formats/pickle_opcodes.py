"""The instructions of a pickle, protocols 0 to 5.

Written from the descriptions in CPython's ``Lib/pickletools.py``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.formats.inert_values import BeyondBoundError, PersistentReference
from resume_daemon.formats.pickle_machine import PickleMachine
from resume_daemon.formats.pickle_source import Left

if TYPE_CHECKING:
    from collections.abc import Callable

_STOP: Final = ord(".")


def run(machine: PickleMachine) -> Any:
    """Carry out every instruction up to the STOP, and return the value.

    Raises:
        BeyondBoundError: It is larger than is read.
        ValueError: It is no pickle, cut short, or needs what is outside it.
    """
    data, position = machine.data, machine.position
    try:
        while machine.opcodes_left > 0:
            machine.opcodes_left -= 1
            position = machine.position
            code = data[position]
            machine.position += 1
            if code == _STOP:
                return machine.stack.pop()
            _STEPS[code](machine)
    except KeyError:
        reason = f"{data[position]:#04x} is no instruction"
    except IndexError:
        reason = (
            "it is cut short: it ends without its last instruction"
            if position >= len(data)
            else "an instruction finds too little on the stack"
        )
    except BeyondBoundError as error:
        raise BeyondBoundError(f"{error} (at byte {position})") from None
    except (ValueError, struct.error) as error:
        # int() quotes a long number in full.
        reason = str(error)[:300]
    else:
        reason = f"it has more than {machine.limits.opcodes} instructions"
        raise BeyondBoundError(f"{reason} (at byte {position})")
    raise ValueError(f"{reason} (at byte {position})")


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


def _mutable(content: bytes | Left) -> bytearray | Left:
    return content if isinstance(content, Left) else bytearray(content)


def _discard(machine: PickleMachine) -> None:
    machine.since_mark()


_STEPS: Final[dict[int, Callable[[PickleMachine], None]]] = {
    ord(code): step
    for code, step in {
        "(": PickleMachine.mark,
        "0": PickleMachine.pop,
        "1": _discard,
        "2": lambda m: m.push(m.stack[-1]),
        "F": lambda m: m.push(float(m.line())),
        "I": PickleMachine.int_line,
        "J": lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),
        "K": lambda m: m.push(m.take(1)[0]),
        "L": lambda m: m.push(int(m.line().rstrip(b"L"))),
        "M": lambda m: m.push(m.number(2)),
        "N": lambda m: m.push(None),
        "P": lambda m: m.push_container(PersistentReference(m.line().decode("ascii"))),
        "Q": lambda m: m.push_container(PersistentReference(m.stack.pop())),
        "R": PickleMachine.reduce,
        "S": PickleMachine.quoted,
        "T": lambda m: m.old_text(m.counted(4)),
        "U": lambda m: m.old_text(m.counted(1)),
        "V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
        "X": lambda m: m.push(_text(m.counted(4))),
        "a": lambda m: m.append_all([m.stack.pop()]),
        "b": PickleMachine.build,
        "c": lambda m: m.push_global(m.line().decode(), m.line().decode()),
        "d": PickleMachine.make_dict,
        "}": lambda m: m.push_container({}),
        "e": lambda m: m.append_all(m.since_mark()),
        "g": lambda m: m.get(int(m.line())),
        "h": lambda m: m.get(m.take(1)[0]),
        "i": PickleMachine.new_by_instance,
        "j": lambda m: m.get(m.number(4)),
        "l": lambda m: m.push_container(m.since_mark()),
        "]": lambda m: m.push_container([]),
        "o": PickleMachine.new_by_object,
        "p": lambda m: m.put(int(m.line())),
        "q": lambda m: m.put(m.take(1)[0]),
        "r": lambda m: m.put(m.number(4)),
        "s": PickleMachine.set_item,
        "t": lambda m: m.push_container(tuple(m.since_mark())),
        ")": lambda m: m.push(()),
        "u": PickleMachine.set_items,
        "B": lambda m: m.push(m.blob(4)),
        "C": lambda m: m.push(m.counted(1)),
        "G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
        "\x80": PickleMachine.protocol_is,
        "\x81": PickleMachine.new_object,
        "\x82": PickleMachine.extension,
        "\x83": PickleMachine.extension,
        "\x84": PickleMachine.extension,
        "\x85": lambda m: m.make_tuple(1),
        "\x86": lambda m: m.make_tuple(2),
        "\x87": lambda m: m.make_tuple(3),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "\x8a": lambda m: m.long(1),
        "\x8b": lambda m: m.long(4),
        "\x8c": lambda m: m.push(_text(m.counted(1))),
        "\x8d": lambda m: m.push(_text(m.counted(8))),
        "\x8e": lambda m: m.push(m.blob(8)),
        "\x8f": lambda m: m.push_container(set()),
        "\x90": PickleMachine.add_items,
        "\x91": PickleMachine.make_frozenset,
        "\x92": lambda m: m.new_object(keyworded=True),
        "\x93": PickleMachine.stack_global,
        "\x94": lambda m: m.put(len(m.memo)),
        "\x95": PickleMachine.frame,
        "\x96": lambda m: m.push_container(_mutable(m.blob(8))),
        "\x97": PickleMachine.out_of_band,
        "\x98": PickleMachine.out_of_band,
    }.items()
}
