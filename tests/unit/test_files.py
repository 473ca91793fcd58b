from __future__ import annotations

import errno
import json
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, ResumeDaemonError, VanishedError
from resume_daemon.files import (
    canonical_json,
    flush_directory,
    is_inside,
    open_regular,
    read_bounded,
    read_error,
    write_all,
    write_atomic,
)

# Reading


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)

    assert read_bounded(tmp_path / "file") == content


def test_a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")

    assert read_bounded(tmp_path / "file", 5) == b"12345"
    with pytest.raises(FormatError, match="it has 5 bytes, more than 4 are not read"):
        read_bounded(tmp_path / "file", 4)


def test_a_file_that_holds_more_than_its_size_says_is_refused(tmp_path: Path) -> None:
    # The kernel gives such files a size of zero, as a file has before somebody writes to it.
    with pytest.raises(FormatError, match="it grew past 10 bytes while it was read"):
        read_bounded(Path("/proc/self/status"), 10)


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(FormatError, match="not a regular file"):
        read_bounded(tmp_path / "fifo")


def test_directories_sockets_and_devices_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path, tmp_path / "socket", Path(os.devnull)):
            with pytest.raises(FormatError, match="not a regular file"):
                read_bounded(path)


def test_a_link_is_not_followed_even_to_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")

    for name in ("link", "dangling"):
        with pytest.raises(FormatError, match="symbolic link"):
            read_bounded(tmp_path / name)


def test_what_is_not_there_has_vanished(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for path in (tmp_path / "nothing", tmp_path / "file" / "below"):
        with pytest.raises(VanishedError, match="not there any more"):
            read_bounded(path)


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ENOENT, VanishedError, "not there any more"),
        (errno.ESTALE, VanishedError, "not there any more"),
        (errno.ELOOP, FormatError, "symbolic link"),
        (errno.ENXIO, FormatError, "not a regular file"),
        (errno.EACCES, ResumeDaemonError, "Permission denied. Give the daemon's user read"),
        (errno.EIO, ResumeDaemonError, ": Input/output error."),
    ],
)
def test_an_error_of_the_kernel_is_told_as_what_it_means(
    tmp_path: Path, number: int, kind: type[ResumeDaemonError], said: str
) -> None:
    error = read_error(OSError(number, os.strerror(number)), tmp_path)

    assert type(error) is kind
    assert said in str(error)
    assert str(tmp_path) in str(error)
    assert bool(error.hint) is (number == errno.EACCES)


@pytest.mark.parametrize("fails", [False, True])
def test_the_descriptor_is_closed_whatever_happens(tmp_path: Path, fails: bool) -> None:
    (tmp_path / "file").touch()
    with suppress(LookupError), open_regular(tmp_path / "file") as fd:
        assert not os.get_inheritable(fd)
        if fails:
            raise LookupError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


# Writing


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"old")
    inode = (tmp_path / "file").stat().st_ino
    write_atomic(tmp_path / "file", b"new", mode=0o600)

    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file").stat().st_ino != inode, "a reader of the old file keeps it"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - iterating leaves one open meanwhile
    write_atomic(tmp_path / "file", b"content")
    read_bounded(tmp_path / "file")

    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208 - as above


def test_a_write_is_on_disk_before_and_after_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        flushed.append((directory, (tmp_path / "file").exists()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    write_atomic(tmp_path / "file", b"content")

    assert flushed == [(False, False), (True, True)]


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "file", b"old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "file", b"new")

    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_byte_is_written_although_the_kernel_takes_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: write(fd, bytes(content[:3])))
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), b"0123456789")

    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_file_system_that_cannot_flush_a_directory_is_put_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter([errno.EINVAL, errno.EIO])

    def refuse(fd: int) -> None:
        number = next(numbers)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    flush_directory(tmp_path)
    with pytest.raises(OSError, match="Input/output error"):
        flush_directory(tmp_path)


# JSON


def test_a_value_has_one_encoding(tmp_path: Path) -> None:
    assert canonical_json({"b": 1, "a": ["é", None]}) == '{"a":["é",null],"b":1}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


@given(st.dictionaries(st.binary(max_size=20).map(os.fsdecode), st.text(max_size=20)))
def test_every_name_that_a_file_can_have_is_read_back(value: dict[str, str]) -> None:
    encoded = canonical_json(value)

    assert json.loads(encoded.decode()) == value
    assert b"\n" not in encoded


# Inside


def test_a_path_is_inside_where_it_really_is(tmp_path: Path) -> None:
    run, beside = tmp_path / "run", tmp_path / "run-2"
    (run / "checkpoint-5").mkdir(parents=True)
    beside.mkdir()
    (run / "out").symlink_to(beside)
    (run / "in").symlink_to(run / "checkpoint-5")
    (tmp_path / "alias").symlink_to(run)

    assert is_inside(run, run)
    assert is_inside(run / "in" / "file", run)
    assert is_inside(tmp_path / "alias" / "checkpoint-5", run)
    assert not is_inside(beside, run)
    assert not is_inside(run / "out" / "file", run)
    assert not is_inside(run / ".." / "other", run)
