from __future__ import annotations

import os
import pickle
import resource
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats import inert_pickle, pickle_source
from resume_daemon.formats.inert_values import How, Limits, Reference
from resume_daemon.formats.pickle_source import FileSource, Left
from resume_daemon.formats.torch_file import read_torch_file

if TYPE_CHECKING:
    from pathlib import Path

VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(max_size=60),
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(st.text(), inside, max_size=5),
    max_leaves=20,
)


WHOLE = Limits()


def from_file(path: Path, limits: Limits = WHOLE) -> Any:
    with open_regular(path) as fd:
        return inert_pickle.load(FileSource(fd, path), path, limits).value


@given(VALUES, st.integers(0, 5), st.integers(16, 80))
def test_a_pickle_in_its_file_is_the_same_as_one_in_memory(
    tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int, window: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "value.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    with patch.object(pickle_source, "_WINDOW", window):
        assert from_file(path) == value


@given(VALUES, st.data())
def test_a_pickle_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, value: Any, data: st.DataObject
) -> None:
    whole = pickle.dumps([value, bytes(300)], 5)
    path = tmp_path_factory.getbasetemp() / "cut.pkl"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(FormatError):
        from_file(path, Limits(long=100))


def test_long_byte_strings_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "value.pkl"
    content = pickle.dumps({"a": b"x" * 500, "b": bytearray(b"y" * 500), "c": b"z"}, 5)
    path.write_bytes(content)
    value = from_file(path, Limits(long=100))
    assert value["c"] == b"z"
    for key, letter in (("a", b"x"), ("b", b"y")):
        left = value[key]
        assert isinstance(left, Left)
        assert content[left.begin : left.begin + left.size] == letter * 500


def write_sparse(path: Path, size: int) -> None:
    """Write the pickle of a byte string of so many zeros, which takes no place on the disk."""
    with path.open("wb") as file:
        file.write(b"\x80\x05" + b"}" + b"\x8c\x01a" + b"\x8e" + size.to_bytes(8, "little"))
        file.truncate(file.tell() + size)
        file.seek(0, os.SEEK_END)
        file.write(b"s.")


def test_ten_gigabytes_are_read_in_no_time_and_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "rl_model_replay_buffer_100_steps.pkl"
    write_sparse(path, 10 * 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    value = read_torch_file(path).value
    assert value["a"].size == 10 * 2**30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    os.truncate(path, path.stat().st_size - 3)
    with pytest.raises(FormatError, match="cut short: 1 bytes of a value are missing"):
        read_torch_file(path)


def test_many_short_values_do_not_add_up_to_the_whole_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps([bytes([n]) * 90 for n in range(100)], 5))
    with pytest.raises(BeyondBoundsError, match="more than 4 KiB of memory"):
        from_file(path, Limits(long=100, memory=5000))


def test_too_many_instructions_are_beyond_a_bound_and_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps(list(range(1000))))
    with pytest.raises(BeyondBoundsError, match="more than 100 instructions"):
        from_file(path, Limits(steps=100))


def test_a_pickle_inside_a_long_byte_string_is_read_too(tmp_path: Path) -> None:
    inner = b"cos\nsystem\n(S'true'\ntR." + bytes(1000)
    path = tmp_path / "value.pkl"
    path.write_bytes(
        b"\x80\x05ctorch.storage\n_load_from_bytes\nB"
        + len(inner).to_bytes(4, "little")
        + inner
        + b"\x85R."
    )
    with open_regular(path) as fd:
        found = inert_pickle.load(FileSource(fd, path), path, Limits(long=100)).references
    assert Reference("os", "system", How.CALL) in found
