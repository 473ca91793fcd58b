from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from resume_daemon.errors import LedgerError, VanishedError
from resume_daemon.ledger import reader
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.ledger.reader import last_record, read_lines, read_records, tail

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path, "run") as ledger:
        # 400 lines of uneven length, about 300 kB: several blocks.
        ledger.append_many([("pair", {"n": n, "pad": "p" * (n * 7 % 1300)}) for n in range(1, 401)])
    return path


def seqs(path: Path, after: int = 0) -> list[int]:
    return [record.seq for record in read_records(path, after)]


def test_every_record_is_read_in_order(path: Path) -> None:
    assert seqs(path) == list(range(1, 401))


@pytest.mark.parametrize("after", [1, 2, 57, 199, 200, 398, 399, 400, 5000])
def test_reading_after_a_record_yields_exactly_what_follows_it(path: Path, after: int) -> None:
    assert seqs(path, after) == list(range(after + 1, 401))


def test_records_that_are_already_known_are_not_even_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets: list[int] = []

    def noted(of: Path, offset: int = 0) -> object:
        offsets.append(offset)
        return read_lines(of, offset)

    monkeypatch.setattr(reader, "read_lines", noted)
    assert seqs(path, 395) == [396, 397, 398, 399, 400]
    assert offsets[0] > path.stat().st_size // 2


def test_a_line_that_is_being_written_is_left_for_later(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert seqs(path, 397) == [398, 399]
    assert [record.seq for record in tail(path, 397)] == [398, 399]
    path.write_bytes(content)
    assert [record.seq for record in tail(path, 399)] == [400]


def test_a_tail_is_bounded_and_goes_on_from_where_it_ended(path: Path) -> None:
    first = tail(path, 0, limit=3)
    assert [record.seq for record in first] == [1, 2, 3]
    assert [record.seq for record in tail(path, first[-1].seq, limit=2)] == [4, 5]
    assert tail(path, 0, limit=0) == ()
    assert tail(path, 400) == ()


def test_the_last_record_is_found_from_the_end(path: Path) -> None:
    last = last_record(path)
    assert last is not None
    assert last.seq == 400
    with path.open("ab") as file:
        file.write(b'{"seq":401,"at')
    assert last_record(path) == last


def test_a_last_record_longer_than_a_block_is_found(path: Path) -> None:
    with Ledger.open(path, "run") as ledger:
        long = ledger.append("report", text="x" * 500_000)
    assert last_record(path) == long
    assert tail(path, 400) == (long,)


def test_an_empty_ledger_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"")
    assert last_record(path) is None
    assert tail(path, 0) == ()


def test_a_missing_ledger_is_told_apart_from_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(VanishedError):
        last_record(tmp_path / "ledger.jsonl")
    with pytest.raises(VanishedError):
        tail(tmp_path / "ledger.jsonl", 0)


def test_damage_raises_with_the_path_and_what_to_do(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:99], b"damage\n", *lines[100:]]))
    with pytest.raises(LedgerError, match=r"after record 99 .* ledger verify") as caught:
        seqs(path)
    assert caught.value.path == path


def test_damage_is_stepped_over_where_somebody_wants_to_hear_of_it(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:99], b"damage\n", *lines[100:]]))
    heard: list[LedgerError] = []
    found = [record.seq for record in read_records(path, on_damage=heard.append)]
    assert found == [*range(1, 100), *range(101, 401)]
    assert len(heard) == 1


def test_a_line_without_end_does_not_fill_the_memory(path: Path) -> None:
    path.write_bytes(b"x" * (8 << 20))
    assert max(len(line) for line in read_lines(path)) < 2 << 20
    with pytest.raises(LedgerError, match="more than"):
        seqs(path)


def test_damage_in_the_place_where_the_search_looks_loses_no_record(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = content.index(b"\n", len(content) // 2)
    end = content.index(b"\n", middle + 1)
    content[middle + 1 : end] = b"?" * (end - middle - 1)
    path.write_bytes(content)
    heard: list[LedgerError] = []
    found = [record.seq for record in read_records(path, 390, on_damage=heard.append)]
    assert found == list(range(391, 401))
