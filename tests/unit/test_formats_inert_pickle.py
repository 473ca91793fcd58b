from __future__ import annotations

import codecs
import collections
import enum
import os
import pickle
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError
from resume_daemon.formats.inert_pickle import (
    COMPUTED,
    Call,
    GlobalReference,
    How,
    Limits,
    PersistentReference,
    Reference,
    load,
)

PATH = Path("data.pkl")
PROTOCOLS = st.integers(0, pickle.HIGHEST_PROTOCOL)
KEYS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inside: st.tuples(inside, inside) | st.frozensets(inside, max_size=3),
    max_leaves=4,
)
PLAIN = st.recursive(
    KEYS | st.binary().map(bytearray) | st.sets(KEYS, max_size=4),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.lists(inside, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inside, max_size=4)
        | st.dictionaries(KEYS, inside, max_size=4).map(collections.OrderedDict)
    ),
    max_leaves=15,
)


class Stage(enum.Enum):
    """A member is pickled as a call."""

    EASY = 1


@dataclass
class Settings:
    """An object with a state."""

    rate: float

    class Inner:
        """A class inside another."""


class Growing(list[int]):
    """An object with items."""


class Keyworded:
    """An object made with keywords."""

    def __getnewargs_ex__(self) -> Any:
        return (1,), {"two": 2}


class Slotted:
    """An object whose state is in slots."""

    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def named(content: Any) -> list[tuple[str, str, str]]:
    return [(r.module, r.name, r.how.value) for r in content.references]


def reason_of(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(FormatError) as caught:
        load(data, PATH, limits or Limits())
    assert "data.pkl" in str(caught.value)
    return caught.value.reason


@given(PLAIN, PROTOCOLS)
def test_every_plain_value_comes_back_equal(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    content = load(data, PATH)
    assert content.value == value
    assert type(content.value) is type(value) or isinstance(value, collections.OrderedDict)
    assert content.end == len(data)


@given(PLAIN, PROTOCOLS, st.data())
def test_a_cut_pickle_is_refused(value: Any, protocol: int, data: st.DataObject) -> None:
    whole = pickle.dumps(value, protocol)
    reason = reason_of(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert "cut short" in reason or reason == "it is empty"


@given(PLAIN, PROTOCOLS, st.data())
def test_a_flipped_pickle_raises_nothing_but_a_format_error(
    value: Any, protocol: int, data: st.DataObject
) -> None:
    raw = bytearray(pickle.dumps([value, Settings(1.0), Stage.EASY, Growing([1])], protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FormatError):
        load(bytes(raw), PATH)


@given(st.binary(max_size=60))
def test_random_instructions_raise_nothing_but_a_format_error(data: bytes) -> None:
    with suppress(FormatError):
        load(b"(]}))N" + data + b".", PATH)


@pytest.mark.parametrize("protocol", range(6))
def test_objects_are_inert_nodes_that_name_their_class(protocol: int) -> None:
    value = load(pickle.dumps(Settings(0.5), protocol), PATH).value
    assert isinstance(value, Call)
    assert value.function == GlobalReference(__name__, "Settings")
    assert value.how is How.NEW
    assert value.state == {"rate": 0.5}


@pytest.mark.parametrize("protocol", range(6))
def test_members_of_an_enumeration_name_it_as_called(protocol: int) -> None:
    content = load(pickle.dumps(Stage.EASY, protocol), PATH)
    assert content.value.function == GlobalReference(__name__, "Stage")
    assert content.value.arguments == (1,)
    assert (__name__, "Stage", "call") in named(content)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_nested_class_is_named_through_the_outer_one(protocol: int) -> None:
    content = load(pickle.dumps(Settings.Inner(), protocol), PATH)
    assert content.value.function == GlobalReference(__name__, "Settings.Inner")
    assert ("builtins", "getattr", "call") not in named(content)


def test_members_and_arguments_of_objects_are_kept() -> None:
    growing = load(pickle.dumps(Growing([1, 2])), PATH).value
    assert growing.items == [1, 2]
    deque = load(pickle.dumps(collections.deque([1], 5)), PATH).value
    assert (deque.arguments, deque.items) == (((), 5), [1])
    counter = load(pickle.dumps(collections.Counter("aab")), PATH).value
    assert counter.arguments == ({"a": 2, "b": 1},)
    for protocol in (2, 4):
        keyworded = load(pickle.dumps(Keyworded(), protocol), PATH).value
        assert keyworded.how is How.NEW or protocol == 2
    assert load(pickle.dumps(Keyworded(), 4), PATH).value.keywords == {"two": 2}
    assert load(pickle.dumps(Slotted(), 4), PATH).value.state == (None, {"a": 1})


def test_a_value_that_contains_itself_is_tolerated() -> None:
    loop: list[Any] = []
    loop.append({"self": loop})
    value = load(pickle.dumps(loop), PATH).value
    assert value[0]["self"] is value


def test_what_is_shared_stays_shared() -> None:
    part = [1]
    value = load(pickle.dumps([part, part]), PATH).value
    assert value[0] is value[1]


def test_persistent_ids_are_references() -> None:
    by_line = load(b"Pstorage 7\n.", PATH).value
    by_value = load(b"\x80\x02" + text("a") + b"\x85Q.", PATH).value
    assert isinstance(by_line, PersistentReference)
    assert (by_line.value, by_value.value) == ("storage 7", ("a",))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"S'a\\n\\x41\\101\\'b'", "a\nAA'b"),
        (b'S"\\\\q"', "\\q"),
        (b"S'\\xff'", b"\xff"),
        (b"U\x02ab", "ab"),
        (b"T\x02\0\0\0a\xff", b"a\xff"),
    ],
)
def test_texts_of_python_2_are_read(line: bytes, expected: Any) -> None:
    tail = b"\n." if line.startswith(b"S") else b"."
    assert load(line + tail, PATH).value == expected


def test_names_of_python_2_are_those_of_python_3() -> None:
    assert named(load(b"c__builtin__\nxrange\n.", PATH)) == [("builtins", "range", "mention")]
    assert named(load(b"ccommands\ngetoutput\n.", PATH))[0][0] == "subprocess"
    assert named(load(b"\x80\x04c__builtin__\nx\n.", PATH)) == [("__builtin__", "x", "mention")]


HOSTILE = {
    "REDUCE": b"cos\nsystem\n(" + text("touch pwned") + b"tR.",
    "INST": b"(" + text("touch pwned") + b"ios\nsystem\n.",
    "OBJ": b"(cos\nsystem\n" + text("touch pwned") + b"o.",
    "STACK_GLOBAL": b"\x80\x04"
    + text("os")
    + text("system")
    + b"\x93"
    + text("touch pwned")
    + b"\x85R.",
    "REDUCE, dropped": b"cos\nsystem\n(" + text("touch pwned") + b"tR0N.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_command_is_named_and_never_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "system", lambda command: pytest.fail(f"ran {command}"))
    assert named(load(HOSTILE[name], PATH)) == [("os", "system", "call")]
    assert not list(tmp_path.iterdir())


def test_reading_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert named(load(b"cevil_module\nThing\n)R.", PATH)) == [("evil_module", "Thing", "call")]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        # The result of a call is called.
        (b"cbuiltins\ngetattr\ncos\npath\n" + text("join") + b"\x86R)R.", "result of a call"),
        (b"cmodule\nmake\n)R)R.", "result of a call of module.make"),
        (b"cmodule\nmake\n)R)\x81.", "result of a call of module.make"),
        # Something called that is no function at all.
        (b"K\x01)R.", "a int used as a function"),
        # Attributes are set on what is imported.
        (b"cmodule\nThing\n}" + text("run") + b"K\x01sb.", "state set on module.Thing"),
        # A state that makes the next instruction call something.
        (
            b"cmodule\nThing\n)\x81}" + text("__setstate__") + b"cmodule\nf\nsbK\x01b.",
            "__setstate__ set on module.Thing",
        ),
        (
            b"cmodule\nThing\n)\x81N}" + text("extend") + b"cmodule\nf\ns\x86b(K\x01e.",
            "extend set on module.Thing",
        ),
        (
            b"ctorch._utils\n_rebuild_parameter_with_state\n(NNN}"
            + text("__setstate__")
            + b"cmodule\nf\nstR.",
            "__setstate__ set on torch._utils._rebuild_parameter_with_state",
        ),
    ],
)
def test_what_is_computed_before_it_is_called_is_reported_as_such(data: bytes, word: str) -> None:
    found = [r for r in load(data, PATH).references if r.module == COMPUTED]
    assert [r.how for r in found] == [How.CALL]
    assert word in found[0].name


def test_the_gravest_use_counts_and_order_is_kept() -> None:
    data = b"(cm\nC\ncm\nf\ncm\nC\n)\x81cm\nf\n)Rcm\nC\ncm\nf\nl."
    assert named(load(data, PATH)) == [("m", "C", "new"), ("m", "f", "call")]


def test_naming_a_nested_class_hides_no_other_use_of_getattr() -> None:
    get = b"cbuiltins\ngetattr\n"
    real, nested = b"N" + text("run") + b"\x86R0", b"cm\nC\n" + text("Inner") + b"\x86R0"
    for data in (get + real + get + nested, get + nested + get + real):
        assert ("builtins", "getattr", "call") in named(load(data + b"N.", PATH))
    assert named(load(get + nested + b"N.", PATH)) == [
        ("m", "C", "mention"),
        ("m", "C.Inner", "mention"),
    ]


def test_a_second_state_does_not_hide_the_first() -> None:
    assert load(b"cm\nC\n)\x81K\x01bK\x02b.", PATH).value.state == (1, 2)


def test_functions_that_call_their_arguments_pass_the_call_on() -> None:
    rebuilt = b"ctorch._tensor\n_rebuild_from_type_v2\n(cm\nf\ncm\nT\n)NtR."
    assert named(load(rebuilt, PATH))[1:] == [("m", "f", "call"), ("m", "T", "new")]
    made = b"ccopy_reg\n_reconstructor\n(cm\nC\nc__builtin__\nobject\nNtR."
    assert named(load(made, PATH)) == [
        ("copyreg", "_reconstructor", "call"),
        ("m", "C", "new"),
        ("builtins", "object", "call"),
    ]


def test_a_pickle_inside_a_pickled_storage_is_read_too() -> None:
    inner = b"".join(pickle.dumps(part, 2) for part in (1, 2, 3)) + HOSTILE["REDUCE"] + b"]."
    outer = b"\x80\x03ctorch.storage\n_load_from_bytes\nB"
    data = outer + struct.pack("<I", len(inner)) + inner + b"\x85R."
    assert named(load(data, PATH)) == [
        ("torch.storage", "_load_from_bytes", "call"),
        ("os", "system", "call"),
    ]
    broken = HOSTILE["REDUCE"].replace(b"R.", b"R\xff")
    cut = load(outer + struct.pack("<I", len(broken)) + broken + b"\x85R.", PATH)
    assert [module for module, _, _ in named(cut)] == ["torch.storage", "os", COMPUTED]
    unread = load(outer + struct.pack("<I", 2) + b"PK\x85R.", PATH)
    assert unread.references[1] == Reference(
        COMPUTED, "a pickle inside the pickle that cannot be read", How.CALL
    )


def test_pickles_inside_pickles_inside_pickles_are_not_followed_for_ever() -> None:
    data = b"N."
    for _ in range(4):
        inner = data + b"N." * 4
        data = b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(inner)) + inner
        data += b"\x85R."
    found = [r.name for r in load(data, PATH).references if r.module == COMPUTED]
    assert found == ["a pickle inside the pickle that cannot be read"]
    assert COMPUTED not in {r.module for r in load(data, PATH, Limits(nested=4)).references}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(100), "all zero"),
        (b"\x80\x06N.", "protocol 6 is not known"),
        (b"\xffN.", "0xff is no instruction"),
        (b"N", "ends without its last instruction"),
        (b"\x82\x01.", "extension registry"),
        (b"\x83\x01\0.", "extension registry"),
        (b"\x84\x01\0\0\0.", "extension registry"),
        (b"\x97.", "buffer outside"),
        (b"h\x07.", "recalls value 7"),
        (b"Np-1\n.", "memo index is negative"),
        (b"0N.", "too little on the stack"),
        (b"t.", "too little on the stack"),
        (b"N\x86.", "too little on the stack"),
        (b"(K\x01d.", "a key has no value"),
        (b"NNa.", "appends to a NoneType"),
        (b"]NNs.", "sets entries of a list"),
        (b"N(\x90.", "adds to a NoneType"),
        (b"}]Ns.", "a list is used as a key"),
        (b"}}\x85Ns.", "a dict is used as a key"),
        (b"}(]\x85t\x85Ns.", "a list is used as a key"),
        (b"NN\x93.", "names a global by something else"),
        (b"cm\nf\nNR.", "arguments that are no tuple"),
        (b"cm\nC\nN\x81.", "arguments that are no tuple"),
        (b"ccopyreg\n_reconstructor\n)R.", "wrong arguments"),
        (b"I12x\n.", "invalid literal"),
        (b"L" + b"7" * 5000 + b"L\n.", "a number of 5001 digits is not read"),
        (b"F1.x\n.", "could not convert"),
        (b"Sabc\n.", "no quotes"),
        (b"X\x01\0\0\0\xff.", "codec can't decode"),
        (b"B\xff\xff\xff\xff.", "cut short: 4294967294 bytes of a value are missing"),
        (b"\x8e" + b"\xff" * 8 + b".", "cut short: 18446744073709551614 bytes of a value"),
        (b"\x8c\x05ab.", "ends without its last instruction"),
        (b"\x8b\xff\xff\xff\x7f.", "an integer of 2147483647 bytes is not read"),
        (b"\x8b\xff\xff\xff\xff.", "an integer of -1 bytes is not read"),
        (b"\x95" + struct.pack("<Q", 1 << 40) + b"N.", "of a frame are missing"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, words: str) -> None:
    assert words in reason_of(data)


def test_a_large_memo_index_costs_nothing() -> None:
    assert load(b"Nr\xff\xff\xff\xffp2147483648\n0j\xff\xff\xff\xff.", PATH).value is None


SMALL = Limits(
    memory=20_000, steps=1000, marks=50, depth=20, expanded=5000, name=20, references=5, integer=8
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"N0" * 1000 + b".", "more than 1000 instructions"),
        (b"]" * 250 + b".", "more than 19 KiB of memory"),
        (b"(" * 200 + b".", "more than 50 marks"),
        (b"".join(b"Nr%c\0\0\1" % n for n in range(100)) + b".", "more than 19 KiB of memory"),
        (b"".join(b"cm\n%c\n" % (65 + n) for n in range(9)) + b".", "more than 5 different"),
        (b"cmodule\nClassWithALongName\n.", "a name in it has 24 characters"),
        (b"L123456789L\n.", "a number of 10 digits is not read"),
        (b"]" * 50 + b"a" * 49 + b".", "nested deeper than 20 levels"),
        (b"N" + b"\x85" * 50 + b".", "nested deeper than 20 levels"),
        (b"cm\nf\n" + b")R" * 50 + b".", "nested deeper than 20 levels"),
        (b"\x8a\x09" + b"x" * 9 + b".", "an integer of 9 bytes is not read"),
    ],
)
def test_every_bound_holds(data: bytes, words: str) -> None:
    assert words in reason_of(data, SMALL)


def test_depth_counts_through_what_is_shared_and_finished() -> None:
    # Ten levels, remembered, and then fifteen more around them.
    inner = b"N" + b"\x85" * 10 + b"\x94"
    assert "nested deeper" in reason_of(b"(" + inner + b"h\0" + b"\x85" * 15 + b"t.", SMALL)
    # A list in a list that is filled only after it was put away.
    chain = b"]\x94" + b"".join(b"]\x94h%ch%ca0" % (n, n + 1) for n in range(30)) + b"h\0."
    assert "nested deeper" in reason_of(chain, SMALL)


def test_a_few_bytes_that_stand_for_an_endless_tree_are_refused() -> None:
    laughs = b"]\x94" + b"".join(b"0](" + b"h%c" % n * 10 + b"e\x94" for n in range(10)) + b"."
    assert len(laughs) < 400
    assert "larger than 20000000 values" in reason_of(laughs)
    tuples = b"N" + b"2\x86" * 100 + b"."
    assert "larger than" in reason_of(tuples)


def test_a_key_that_would_take_for_ever_to_hash_is_refused() -> None:
    assert "more than 1000 parts" in reason_of(b"}N" + b"2\x86" * 60 + b"Ns.")
    assert "more than 1000 parts" in reason_of(b"}N" + b"\x85" * 200_000 + b"Ns.")
    assert "more than 1000 parts" in reason_of(b"(N" + b"\x85" * 200_000 + b"\x91.")


def test_keys_chosen_to_collide_are_refused() -> None:
    keys = [number * (2**61 - 1) for number in range(1, 2000)]
    assert len({hash(key) for key in keys}) == 1
    for value in (dict.fromkeys(keys), set(keys), frozenset(keys)):
        assert "same hash" in reason_of(pickle.dumps(value, 4))
    honest = {(number, 0.5): number for number in range(3000)}
    assert load(pickle.dumps(honest), PATH).value == honest


def test_a_deep_hostile_pickle_is_dropped_without_a_crash() -> None:
    for data in (b"]" * 200_000 + b"a" * 199_999 + b".", b"cm\nf\n" + b")R" * 200_000 + b"."):
        assert "nested deeper" in reason_of(data)


def test_what_follows_the_pickle_is_left_alone() -> None:
    data = b"xx" + pickle.dumps([1]) + b"tail"
    content = load(data, PATH, begin=2)
    assert (content.value, data[content.end :]) == ([1], b"tail")


def test_a_rebuilder_replaces_the_result_of_a_call() -> None:
    data = b"cm\nf\nK\x05\x85R."
    rebuilders = {("m", "f"): lambda arguments, _: arguments[0] * 2}
    content = load(data, PATH, rebuilders=rebuilders)
    assert content.value == 10
    assert named(content) == [("m", "f", "call")]


def test_constructors_of_plain_values_with_other_arguments_stay_calls() -> None:
    for data in (
        b"c_codecs\nencode\n(" + text("x") + text("rot13") + b"tR.",
        b"cbuiltins\nbytes\nK\x05\x85R.",
        b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"cbuiltins\nset\nN\x85R.",
        b"ccollections\nOrderedDict\n]K\x01a\x85R.",
    ):
        assert isinstance(load(data, PATH).value, Call), data
    assert codecs.encode("x", "latin1") == load(pickle.dumps(b"x", 0), PATH).value
