"""The instructions of a pickle, protocols 0 to 5.

Written from the descriptions in CPython's ``Lib/pickletools.py``. The loop carries the frequent
ones out itself: a sharded checkpoint's metadata has ten million of them, and a call of a method
takes longer than what most of them do. The numbers stand in it as they are, each beside its name:
so the interpreter compares two small integers, and looks nothing up.
"""

# ruff: noqa: PLR1714, PLR2004 - see above; a set to look in takes longer than two comparisons.

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.formats.expansion import CONTAINERS
from resume_daemon.formats.inert_values import BeyondBoundError, PersistentReference
from resume_daemon.formats.pickle_budget import (
    CALL,
    DICT,
    LIST,
    NUMBER,
    SET,
    SHARED,
    SLOT,
    TEXT,
    TUPLE,
)
from resume_daemon.formats.pickle_machine import PickleMachine

if TYPE_CHECKING:
    from collections.abc import Callable

_WINDOW: Final = 64 * 1024
"""Bytes of instructions after which the budget is asked; at most 10 MiB are held meanwhile."""

_LONGEST: Final = 512
"""More than the bytes of any instruction that the loop carries out itself."""

_RARE_STEPS: Final = 2
"""Steps that an instruction costs in addition which the loop does not carry out itself."""

_DOUBLE: Final = struct.Struct(">d")
_SHORT: Final = 255
"""Bytes of a text that the loop takes itself."""

_STOP: Final = ord(".")


def run(machine: PickleMachine) -> Any:
    """Carry out every instruction up to the STOP, and return the value.

    Raises:
        BeyondBoundError: It is larger than is read.
        ValueError: It is no pickle, cut short, or needs what is outside it.
    """
    kind: type[ValueError] = ValueError
    try:
        while not _run_window(machine):
            pass
        return machine.stack.pop()
    except KeyError:
        code = machine.source[machine.instruction : machine.instruction + 1]
        reason = f"0x{code.hex()} is no instruction"
    except IndexError:
        reason = "an instruction finds too little on the stack"
    except BeyondBoundError as error:
        kind, reason = BeyondBoundError, str(error)
    except (ValueError, struct.error) as error:
        # int() quotes a long number in full.
        reason = str(error)[:300]
    if machine.position > machine.size:
        kind, reason = ValueError, "it is cut short: it ends without its last instruction"
    raise kind(f"{reason} (at byte {min(machine.instruction, machine.size)})")


def _run_window(machine: PickleMachine) -> bool:  # noqa: PLR0915 - one loop, see above.
    """Carry out instructions that begin in the next bytes; return whether STOP was among them."""
    base = machine.position
    data = machine.source[base : base + _WINDOW + _LONGEST]
    # Behind the end stand zeros, which are no instruction.
    end = min(_WINDOW, len(data) + 1)
    data += bytes(_LONGEST)
    stack, memo, far, shared = machine.stack, machine.memo, machine.far, machine.shared
    budget = machine.budget
    offset = held = done = 0
    try:
        for done in range(budget.steps):  # noqa: B007 - counted below.
            if offset >= end:
                return False
            code = data[offset]
            offset += 1
            if code >= 0x80:
                if code == 0x94 and not far:  # MEMOIZE
                    memo.append(stack[-1])
                    held += SLOT
                    continue
                if code == 0x85:  # TUPLE1
                    stack[-1] = (stack[-1],)
                    held += TUPLE
                    continue
                if code == 0x86:  # TUPLE2
                    value = stack.pop()
                    stack[-1] = (stack[-1], value)
                    held += TUPLE
                    continue
                if code == 0x8C:  # SHORT_BINUNICODE
                    begin = offset + 1
                    offset = begin + data[offset]
                    value = data[begin:offset].decode("utf-8", "surrogatepass")
                    stack.append(value)
                    # One wide character makes all of them wide (PEP 393).
                    held += TEXT + (offset - begin) * (1 if value.isascii() else 5)
                    continue
            elif code == 0x68 or code == 0x6A:  # BINGET, LONG_BINGET
                if code == 0x68:
                    index = data[offset]
                    offset += 1
                else:
                    index = int.from_bytes(data[offset : offset + 4], "little")
                    offset += 4
                if index < len(memo):
                    value = memo[index]
                    stack.append(value)
                    if type(value) in CONTAINERS and id(value) not in shared:
                        shared.add(id(value))
                        held += SHARED
                else:
                    machine.get(index)
                continue
            elif code == 0x71 or code == 0x72:  # BINPUT, LONG_BINPUT
                if code == 0x71:
                    index = data[offset]
                    offset += 1
                else:
                    index = int.from_bytes(data[offset : offset + 4], "little")
                    offset += 4
                if index == len(memo) and not far:
                    memo.append(stack[-1])
                    held += SLOT
                else:
                    machine.put(index)
                continue
            elif code == 0x58:  # BINUNICODE
                length = int.from_bytes(data[offset : offset + 4], "little")
                if length <= _SHORT:
                    begin = offset + 4
                    offset = begin + length
                    value = data[begin:offset].decode("utf-8", "surrogatepass")
                    stack.append(value)
                    held += TEXT + length * (1 if value.isascii() else 5)
                    continue
            elif code == 0x4B:  # BININT1
                stack.append(data[offset])
                offset += 1
                continue
            elif code == 0x28:  # MARK
                if len(machine.marked) < machine.limits.marks:
                    machine.marked.append(stack)
                    machine.stack = stack = []
                    continue
            elif code == 0x74:  # TUPLE
                value = tuple(stack)
                machine.stack = stack = machine.marked.pop()
                stack.append(value)
                held += TUPLE + SLOT * len(value)
                continue
            elif code == 0x4D:  # BININT2
                stack.append(data[offset] | data[offset + 1] << 8)
                offset += 2
                held += NUMBER
                continue
            elif code == 0x4A:  # BININT
                stack.append(int.from_bytes(data[offset : offset + 4], "little", signed=True))
                offset += 4
                held += NUMBER
                continue
            elif code == 0x29:  # EMPTY_TUPLE
                stack.append(())
                continue
            elif code == 0x7D:  # EMPTY_DICT
                stack.append({})
                held += DICT
                continue
            elif code == 0x47:  # BINFLOAT
                stack.append(_DOUBLE.unpack_from(data, offset)[0])
                offset += 8
                held += NUMBER
                continue
            elif code == 0x4E:  # NONE
                stack.append(None)
                continue
            machine.position = base + offset
            if code == _STOP:
                return True
            budget.steps -= _RARE_STEPS
            _STEPS[code](machine)
            stack = machine.stack
            offset = machine.position - base
        budget.charge(0, 1)
    finally:
        machine.instruction = base + offset - 1
        machine.position = max(machine.position, base + offset)
        budget.charge(held, done)
    return False


def _discard(machine: PickleMachine) -> None:
    machine.since_mark()


_STEPS: Final[dict[int, Callable[[PickleMachine], None]]] = {
    ord(code): step
    for code, step in {
        "(": PickleMachine.mark,
        "0": PickleMachine.pop,
        "1": _discard,
        "2": PickleMachine.duplicate,
        "F": lambda m: m.push(float(m.digits()), NUMBER),
        "I": PickleMachine.int_line,
        "J": lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True), NUMBER),
        "K": lambda m: m.push(m.take(1)[0]),
        "L": lambda m: m.push(int(m.digits().rstrip(b"L"))),
        "M": lambda m: m.push(m.number(2), NUMBER),
        "N": lambda m: m.push(None),
        "P": lambda m: m.push(PersistentReference(m.line().decode("ascii")), CALL),
        "Q": lambda m: m.push(PersistentReference(m.stack.pop()), CALL),
        "R": PickleMachine.reduce,
        "S": PickleMachine.quoted,
        "T": lambda m: m.old_text(m.counted(4)),
        "U": lambda m: m.old_text(m.counted(1)),
        "V": PickleMachine.raw_text,
        "X": lambda m: m.push(m.text(4)),
        "a": lambda m: m.append_all([m.stack.pop()]),
        "b": PickleMachine.build,
        "c": lambda m: m.push_global(m.line().decode(), m.line().decode()),
        "d": PickleMachine.make_dict,
        "}": lambda m: m.push({}, DICT),
        "e": lambda m: m.append_all(m.since_mark()),
        "g": lambda m: m.get(int(m.digits())),
        "h": lambda m: m.get(m.take(1)[0]),
        "i": PickleMachine.new_by_instance,
        "j": lambda m: m.get(m.number(4)),
        "l": PickleMachine.make_list,
        "]": lambda m: m.push([], LIST),
        "o": PickleMachine.new_by_object,
        "p": lambda m: m.put(int(m.digits())),
        "q": lambda m: m.put(m.take(1)[0]),
        "r": lambda m: m.put(m.number(4)),
        "s": PickleMachine.set_item,
        "t": PickleMachine.make_tuple_since_mark,
        ")": lambda m: m.push(()),
        "u": PickleMachine.set_items,
        "B": lambda m: m.push(m.counted(4)),
        "C": lambda m: m.push(m.counted(1)),
        "G": lambda m: m.push(struct.unpack(">d", m.take(8))[0], NUMBER),
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
        "\x8c": lambda m: m.push(m.text(1)),
        "\x8d": lambda m: m.push(m.text(8)),
        "\x8e": lambda m: m.push(m.counted(8)),
        "\x8f": lambda m: m.push(set(), SET),
        "\x90": PickleMachine.add_items,
        "\x91": PickleMachine.make_frozenset,
        "\x92": lambda m: m.new_object(keyworded=True),
        "\x93": PickleMachine.stack_global,
        "\x94": PickleMachine.memoize,
        "\x95": PickleMachine.frame,
        "\x96": PickleMachine.mutable,
        "\x97": PickleMachine.out_of_band,
        "\x98": PickleMachine.out_of_band,
    }.items()
}
