from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.trackers import wandb_log
from resume_daemon.trackers.testing import encode_log
from resume_daemon.trackers.wandb_log import BLOCK, HEADER, LogPiece, read_log

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200
)


def records_of(seed: int, count: int = 400, longest: int = 2000) -> list[bytes]:
    source = random.Random(seed)
    records = [source.randbytes(source.randint(0, longest)) for _ in range(count)]
    records[count // 2] = source.randbytes(3 * BLOCK)
    return records


RECORDS = records_of(1)
LOG = encode_log(RECORDS)


def read_all(path: Path, offset: int = 0, limit: int = 1 << 16) -> tuple[list[bytes], LogPiece]:
    payloads: list[bytes] = []
    while True:
        piece = read_log(path, offset, limit)
        assert piece.offset >= offset
        payloads += [payload for payload, _ in piece.records]
        if not piece.more:
            return payloads, piece
        offset = piece.offset


def test_every_record_of_a_log_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(LOG)
    for limit in (1, BLOCK, 1 << 22):
        payloads, last = read_all(path, limit=limit)
        assert payloads == RECORDS
        assert last == LogPiece(last.records, len(LOG))


@SETTINGS
@given(seed=st.integers(0, 2**32))
def test_a_growing_file_gives_what_a_full_read_gives(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    path = tmp_path / "run-x.wandb"
    path.write_bytes(b"")
    payloads: list[bytes] = []
    written = offset = 0
    while written < len(LOG):
        piece = LOG[written : written + source.randint(1, 40_000)]
        written += len(piece)
        with path.open("ab") as file:
            file.write(piece)
        more, last = read_all(path, offset, limit=source.choice([1, 5000, 1 << 20]))
        assert last.damaged == 0
        payloads += more
        offset = last.offset
    assert payloads == RECORDS


def test_a_restart_from_any_offset_reads_the_same_rest(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(LOG)
    piece = read_log(path, 0, len(LOG))
    for done, (_, end) in enumerate(piece.records, start=1):
        assert read_all(path, end, limit=1 << 20)[0] == RECORDS[done:]


def test_an_offset_is_the_end_of_a_record(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(LOG)
    for _, end in read_log(path, 0, len(LOG)).records[::37]:
        path.write_bytes(LOG[:end])
        payloads, last = read_all(path)
        assert last.offset == end
        assert payloads == RECORDS[: len(payloads)]


@SETTINGS
@given(position=st.integers(len(HEADER), len(LOG) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_loses_the_rest_of_its_block_and_no_more(
    tmp_path: Path, position: int, bit: int
) -> None:
    path = tmp_path / "run-x.wandb"
    broken = bytearray(LOG)
    broken[position] ^= 1 << bit
    path.write_bytes(broken)
    payloads, last = read_all(path)
    block = position // BLOCK
    path.write_bytes(LOG)
    whole = read_log(path, 0, len(LOG)).records
    starts = [len(HEADER), *(end for _, end in whole)]
    before = [p for p, end in whole if end <= block * BLOCK]
    following = (block + 1) * BLOCK
    after = [p for start, (p, _) in zip(starts, whole, strict=False) if start >= following]
    assert payloads[: len(before)] == before
    if following >= len(LOG):
        assert last.damaged == 0, "it may still be being written"
    else:
        assert payloads[len(payloads) - len(after) :] == after
        assert last.offset == len(LOG)


def test_damage_is_counted_once_whatever_the_pieces(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    broken = bytearray(LOG)
    broken[2 * BLOCK + 900] ^= 1
    broken[6 * BLOCK + 900] ^= 1
    path.write_bytes(broken)
    offset = damaged = 0
    while True:
        piece = read_log(path, offset, 1)
        damaged += piece.damaged
        offset = piece.offset
        if not piece.more:
            break
    assert damaged == 2
    assert read_log(path, 0, len(LOG)).damaged == 2


def test_the_rest_of_a_lost_record_is_skipped_and_not_its_block(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    log = bytearray(encode_log([b"a" * 100, b"b" * (2 * BLOCK), b"c", b"d" * 100]))
    log[200] ^= 1
    path.write_bytes(log)
    piece = read_log(path)
    assert [payload[:1] for payload, _ in piece.records] == [b"a", b"c", b"d"]
    assert piece.damaged == 1


def test_a_new_record_in_place_of_the_rest_of_one_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    begun = encode_log([b"a" * BLOCK])[:BLOCK]
    path.write_bytes(begun + encode_log([b"z" * (BLOCK - 14), b"new"])[BLOCK:])
    piece = read_log(path)
    assert [payload for payload, _ in piece.records] == [b"new"]
    assert piece.damaged == 1


@pytest.mark.parametrize("zeros", [1, 6, 7, 100, BLOCK, 10 * BLOCK])
def test_a_tail_of_zeros_is_waited_for(tmp_path: Path, zeros: int) -> None:
    path = tmp_path / "run-x.wandb"
    end = read_log_ends(path)[150]
    path.write_bytes(LOG[:end] + bytes(zeros))
    payloads, last = read_all(path)
    assert payloads == RECORDS[:151]
    assert last.offset == end
    path.write_bytes(LOG)
    assert read_all(path, last.offset)[0] == RECORDS[151:]


def test_a_long_hole_is_not_read_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run-x.wandb"
    end = read_log_ends(path)[150]
    path.write_bytes(LOG[:end])
    os.truncate(path, 1 << 30)
    asked: list[int] = []
    pread = os.pread

    def counting(fd: int, length: int, position: int) -> bytes:
        asked.append(length)
        return pread(fd, length, position)

    monkeypatch.setattr(os, "pread", counting)
    assert read_log(path, end, BLOCK).offset == end
    assert sum(asked) < 4 * BLOCK


def test_a_shorter_file_is_reported_so_that_reading_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(LOG)
    _, last = read_all(path)
    path.write_bytes(LOG[:5000])
    piece = read_log(path, last.offset)
    assert piece == LogPiece((), 0, more=True, shrunk=True)


def test_a_record_beyond_all_bounds_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 20 * BLOCK
    monkeypatch.setattr(wandb_log, "MAX_RECORD", longest)
    path = tmp_path / "run-x.wandb"
    path.write_bytes(encode_log([b"a", bytes(longest + 1), b"b"]))
    payloads: list[bytes] = []
    offset = damaged = 0
    more = True
    while more:
        piece = read_log(path, offset, BLOCK)
        payloads += [payload for payload, _ in piece.records]
        offset, damaged, more = piece.offset, damaged + piece.damaged, piece.more
    assert payloads == [b"a", b"b"]
    assert damaged == 1


@pytest.mark.parametrize("content", [b"", HEADER[:3], bytes(7)])
def test_a_log_that_has_only_begun_is_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(content)
    assert read_log(path) == LogPiece((), 0)


def test_what_is_no_log_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(b":SWL\xe1\xbe\x00" + bytes(100))
    with pytest.raises(FormatError, match="does not begin like a W&B transaction log"):
        read_log(path)
    with pytest.raises(VanishedError):
        read_log(tmp_path / "none.wandb")
    os.mkfifo(tmp_path / "fifo.wandb")
    with pytest.raises(FormatError, match="not a regular file"):
        read_log(tmp_path / "fifo.wandb")


def read_log_ends(path: Path) -> list[int]:
    path.write_bytes(LOG)
    return [end for _, end in read_log(path, 0, len(LOG)).records]
