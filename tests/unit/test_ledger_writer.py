from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from resume_daemon.errors import LedgerError
from resume_daemon.ledger.chain import verify
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.ledger.reader import read_lines

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def filled(path: Path, count: int = 5) -> list[bytes]:
    with Ledger.open(path, "run", lambda: AT) as ledger:
        for number in range(count):
            ledger.append("pair", tracker_step=number, trainer_step=number + 1)
    return path.read_bytes().splitlines(keepends=True)


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("ledger.torn-*.jsonl"))


def test_records_are_on_disk_in_a_chain_when_append_returns(path: Path) -> None:
    with Ledger.open(path, "run", lambda: AT) as ledger:
        first = ledger.append("daemon", event="started")
        second = ledger.append("verdict", checkpoint="checkpoint-10")
        assert verify(read_lines(path)).last == second
        assert list(ledger.records()) == [first, second]
    assert (first.seq, second.seq, second.prev) == (1, 2, first.digest)
    assert (first.at, first.run) == (AT, "run")


def test_a_reopened_ledger_goes_on_where_it_ended(path: Path) -> None:
    filled(path, 3)
    with Ledger.open(path, "run") as ledger:
        assert ledger.last is not None
        assert (ledger.last.seq, ledger.torn) == (3, None)
        assert ledger.append("daemon").seq == 4
    assert verify(read_lines(path)).records == 4


def test_many_records_are_appended_together(path: Path) -> None:
    with Ledger.open(path, "run") as ledger:
        written = ledger.append_many([("a", {"x": 1}), ("b", {}), ("c", {"y": [1]})])
        assert [record.seq for record in written] == [1, 2, 3]
        assert ledger.append_many([]) == ()
        assert list(ledger.records(after_seq=1)) == list(written[1:])
    assert verify(read_lines(path)).records == 3


def test_one_bad_record_among_many_keeps_all_of_them_out(path: Path) -> None:
    with Ledger.open(path, "run") as ledger:
        with pytest.raises(LedgerError, match="no JSON"):
            ledger.append_many([("a", {"x": 1}), ("b", {"x": float("nan")})])
        assert path.read_bytes() == b""
        assert ledger.append("a").seq == 1


def test_a_cut_at_any_byte_of_the_last_two_records_is_set_aside_whole(path: Path) -> None:
    lines = filled(path)
    content = b"".join(lines)
    whole = len(b"".join(lines[:-2]))
    ends = {whole, whole + len(lines[-2]), len(content)}
    for size in range(whole, len(content) + 1):
        path.write_bytes(content[:size])
        with Ledger.open(path, "run") as ledger:
            kept = max(end for end in ends if end <= size)
            if size in ends:
                assert (ledger.torn, aside(path)) == (None, [])
            else:
                assert ledger.torn is not None
                assert aside(path) == [ledger.torn.path]
                assert ledger.torn.path.read_bytes() == content[kept:size]
                assert ledger.torn.size == size - kept
                ledger.torn.path.unlink()
            assert path.read_bytes() == content[:kept]
            ledger.append("daemon", event="started")
        report = verify(read_lines(path))
        assert (report.first_break, report.torn_tail_bytes) == (None, 0)


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\0" * 50 + b"\n", b'{"seq":6}\n', b"\n"])
def test_what_a_power_cut_leaves_behind_the_last_record_is_set_aside(
    path: Path, tail: bytes
) -> None:
    content = b"".join(filled(path))
    path.write_bytes(content + tail)
    with Ledger.open(path, "run") as ledger:
        assert ledger.append("daemon").seq == 6
    assert aside(path)[0].read_bytes() == tail
    assert verify(read_lines(path)).records == 6


def test_a_hole_within_an_unfinished_batch_is_set_aside_with_what_follows_it(path: Path) -> None:
    lines = filled(path, 6)
    hole = b"\0" * len(lines[3])
    path.write_bytes(b"".join([*lines[:3], hole, *lines[4:]]))
    with Ledger.open(path, "run") as ledger:
        assert ledger.last is not None
        assert ledger.last.seq == 3
    assert aside(path)[0].read_bytes() == b"".join([hole, *lines[4:]])


def test_a_lone_torn_first_line_leaves_an_empty_ledger(path: Path) -> None:
    path.write_bytes(b'{"seq":1,"at":"20')
    with Ledger.open(path, "run") as ledger:
        assert ledger.append("daemon").seq == 1


def test_a_file_that_is_no_ledger_is_left_alone(path: Path) -> None:
    path.write_bytes(b"somebody's notes\nand more\n")
    with pytest.raises(LedgerError, match="no record is found"):
        Ledger.open(path, "run")
    assert path.read_bytes() == b"somebody's notes\nand more\n"
    assert aside(path) == []


def test_only_the_end_of_a_large_ledger_is_read_on_opening(path: Path) -> None:
    with Ledger.open(path, "run") as ledger:
        for _ in range(6):
            ledger.append("report", text="x" * 900_000)
        last = ledger.last
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"?")
    with Ledger.open(path, "run") as ledger:
        assert ledger.last == last
        assert ledger.torn is None


def test_a_link_or_a_directory_is_no_ledger(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerError):
        Ledger.open(path, "run")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(LedgerError, match="not a regular file"):
        Ledger.open(path, "run")


def test_a_missing_directory_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="directory is missing"):
        Ledger.open(tmp_path / "gone" / "ledger.jsonl", "run")


def test_an_append_by_somebody_else_is_noticed_and_kept(path: Path) -> None:
    with Ledger.open(path, "run") as ledger:
        ledger.append("a")
        foreign = path.read_bytes() + b"foreign\n"
        path.write_bytes(foreign)
        with pytest.raises(LedgerError, match="somebody else wrote"):
            ledger.append("b")
    assert path.read_bytes() == foreign


@pytest.mark.parametrize("replace", [True, False])
def test_a_ledger_that_was_replaced_or_removed_is_noticed(path: Path, *, replace: bool) -> None:
    with Ledger.open(path, "run") as ledger:
        ledger.append("a")
        content = path.read_bytes()
        path.unlink()
        if replace:
            path.write_bytes(content)
        with pytest.raises(LedgerError, match="removed or replaced"):
            ledger.append("b")


def test_a_closed_ledger_refuses_to_append(path: Path) -> None:
    ledger = Ledger.open(path, "run")
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.append("a")
