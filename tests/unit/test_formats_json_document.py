from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.formats import json_document
from resume_daemon.formats.json_document import parse_json, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=20,
)


def reason_of(data: bytes, tmp_path: Path, **options: Any) -> str:
    with pytest.raises(FormatError) as caught:
        parse_json(data, tmp_path / "trainer_state.json", **options)
    assert "trainer_state.json" in str(caught.value)
    return caught.value.reason


@given(JSON)
def test_every_json_value_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    path.write_text(json.dumps(value, indent=1))
    assert read_json(path) == value


@given(JSON, st.data())
def test_a_document_cut_anywhere_is_never_mistaken_for_a_container(
    tmp_path_factory: pytest.TempPathFactory, value: Any, data: st.DataObject
) -> None:
    whole = json.dumps([value]).encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(FormatError):
        parse_json(whole[:cut], tmp_path_factory.getbasetemp() / "cut.json")


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    with suppress(FormatError):
        parse_json(data, tmp_path_factory.getbasetemp() / "noise.json")


def test_the_values_that_trainers_write_beyond_json_pass(tmp_path: Path) -> None:
    value = parse_json(b'{"loss": NaN, "grad_norm": Infinity, "x": -Infinity}', tmp_path)
    assert math.isnan(value["loss"])
    assert value["grad_norm"] == math.inf
    assert value["x"] == -math.inf


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (bytes(3000), "first bytes are all zero"),
        (b" \n ", "nothing but white space"),
        (b'{"a": 1,\n "b": [1, 2', "cut short: it ends inside the value at line 2 column 12"),
        (b'{"a": "unfinis', "cut short: it ends inside the value at line 1 column 7"),
        (b'{"a": 1}\n{"a": 2}', "something follows its value at line 2 column 1"),
        (b'{"a": 1,\n "b": oops}', "line 2 column 7: expecting value"),
        (b'{"a": 1,\n "b\xff": 1}', "line 2 byte 4 is not UTF-8"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a":\n ' + b"7" * 5000 + b"}", "line 2 column 2: a number of 5000 digits"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data: bytes, words: str, tmp_path: Path) -> None:
    assert words in reason_of(data, tmp_path)


def test_a_key_that_stands_twice_is_refused_only_where_asked(tmp_path: Path) -> None:
    data = b'{"x": {"lr": 1, "b": 2, "lr": 3}}'
    assert parse_json(data, tmp_path) == {"x": {"lr": 3, "b": 2}}
    assert "the key 'lr' stands twice" in reason_of(data, tmp_path, unique_keys=True)
    assert parse_json(b'{"a": 1, "b": {"a": 2}}', tmp_path, unique_keys=True)["b"] == {"a": 2}


def test_a_document_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    path.write_text("[1, 2, 3]")
    with pytest.raises(FormatError, match="more than 5 are not read"):
        read_json(path, limit=5)


def test_more_values_than_memory_should_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_document, "MEMORY_LIMIT", 1000)
    assert parse_json(b"[[],[]]", tmp_path) == [[], []]
    assert "of memory" in reason_of(b"[[],[],[],[],[],[],[],[]]", tmp_path)


MOST_MEMORY = 512 * 1024 * 1024
MOST_SECONDS = 5.0

PARSING = """
import resource, sys, time
from pathlib import Path
from resume_daemon.errors import FormatError
from resume_daemon.formats.json_document import read_json

resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
begin = time.process_time()
try:
    read_json(Path(sys.argv[1]))
    print("read", end=" ")
except FormatError as error:
    print("refused", end=" ")
print(time.process_time() - begin, end=" ")
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


def parsed_elsewhere(path: Path) -> tuple[str, float, int]:
    """Return what a process of its own said, with the seconds and the bytes that it took."""
    done = subprocess.run(
        [sys.executable, "-c", PARSING, path], check=True, capture_output=True, text=True
    )
    outcome, seconds, memory = done.stdout.split()
    return outcome, float(seconds), int(memory)


def trainer_state(size: int) -> Iterator[bytes]:
    """Yield a trainer state of a long run, of about so many bytes, as transformers writes it."""
    entry = {"epoch": 0.1234, "grad_norm": 1.23456789, "learning_rate": 4.99e-05, "loss": 1.2345}
    yield b'{\n  "global_step": 1,\n  "log_history": [\n'
    written = 0
    while written < size:
        text = json.dumps({**entry, "step": written}, indent=2).replace("\n", "\n    ")
        yield f"    {text},\n".encode()
        written += len(text) + 6
    yield b'    {"step": 1}\n  ]\n}'


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("outcome", "pieces"),
    [
        ("read", lambda: trainer_state(50_000_000)),
        ("refused", lambda: (b"[" * MIB for _ in range(128))),
        ("refused", lambda: (b"[" * 200_000, b"]" * 200_000)),
        ("refused", lambda: (b"[" + b"[]," * (128 * MIB // 3), b"1]")),
        ("refused", lambda: (b"[", b'{"a":1},' * (40 * MIB // 8), b"1]")),
        ("refused", lambda: (b"[", b"7" * (100 * MIB), b"]")),
        ("read", lambda: (b"[0.", b"7" * (100 * MIB), b"]")),
        ("read", lambda: (b"[", b"[]," * 2_200_000, b"1]")),
        ("read", lambda: (b"[", b'{"a":1},' * 1_600_000, b"1]")),
        ("read", lambda: (b"{", *(b'"%x":"%x",' % (n, n) for n in range(2_200_000)), b'"a":1}')),
        ("read", lambda: (b"[", *(b"%d.5," % n for n in range(3_700_000)), b"1]")),
        ("refused", lambda: (b'["\xf0\x9f\x98\x80', b"a" * (60 * MIB), b'"]')),
        ("read", lambda: (b'["\xf0\x9f\x98\x80', b"a" * (39 * MIB), b'"]')),
    ],
    ids=range(13),
)
def test_no_document_takes_more_than_five_seconds_or_512_mebibytes(
    tmp_path: Path, outcome: str, pieces: Callable[[], Iterator[bytes]]
) -> None:
    path = tmp_path / "trainer_state.json"
    with path.open("wb") as file:
        file.writelines(pieces())
    told, seconds, memory = parsed_elsewhere(path)
    assert told == outcome
    assert seconds < MOST_SECONDS
    assert memory < MOST_MEMORY


def test_a_missing_document_is_gone_and_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(VanishedError):
        read_json(tmp_path / "none.json")
