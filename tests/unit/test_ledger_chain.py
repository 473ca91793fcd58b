from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.ledger.chain import verify
from resume_daemon.ledger.record import FIRST_PREV, decode, encode

# A busy machine is no failure: how long an example takes is not what is claimed here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

AT = datetime(2026, 1, 2, tzinfo=UTC)


def chain(length: int, run: str = "r") -> list[bytes]:
    lines: list[bytes] = []
    prev = FIRST_PREV
    for seq in range(1, length + 1):
        lines.append(encode(seq, AT, f"kind-{seq % 3}", run, prev, {"step": seq * 10}))
        prev = decode(lines[-1]).digest
    return lines


def is_whole(lines: list[bytes]) -> bool:
    report = verify(lines)
    return report.first_break is None and report.torn_tail_bytes == 0


def test_an_unharmed_chain_holds_whatever_its_kinds() -> None:
    lines = chain(20)
    report = verify(lines)
    assert (report.records, report.first_break, report.torn_tail_bytes) == (20, None, 0)
    assert report.last == decode(lines[-1])


def test_an_empty_ledger_holds() -> None:
    assert verify([]).records == 0
    assert is_whole([])


@unhurried
@given(st.integers(1, 6), st.data())
def test_any_single_flipped_byte_is_found(length: int, data: st.DataObject) -> None:
    content = bytearray(b"".join(chain(length)))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    assert not is_whole(bytes(content).splitlines(keepends=True))


@unhurried
@given(st.integers(2, 8), st.data())
def test_a_line_that_is_removed_doubled_or_swapped_is_found(
    length: int, data: st.DataObject
) -> None:
    lines = chain(length)
    index = data.draw(st.integers(0, length - 2))
    removed = lines[:index] + lines[index + 1 :]
    doubled = lines[: index + 1] + lines[index:]
    swapped = [*lines[:index], lines[index + 1], lines[index], *lines[index + 2 :]]
    for harmed in (removed, doubled, swapped):
        assert not is_whole(harmed)


@unhurried
@given(st.integers(2, 6), st.data())
def test_a_line_from_another_ledger_is_found(length: int, data: st.DataObject) -> None:
    lines = chain(length)
    index = data.draw(st.integers(0, length - 2))
    lines[index] = chain(length, run="other")[index]
    assert not is_whole(lines)


def test_a_break_says_where_and_why() -> None:
    lines = chain(5)
    del lines[2]
    found = verify(lines).first_break
    assert found is not None
    assert (found.line, found.seq) == (3, 3)
    assert "seq is 4" in found.reason


def test_lines_after_a_break_are_not_counted() -> None:
    lines = chain(5)
    lines[3] = b"nonsense\n"
    assert verify(lines).records == 3


def test_a_line_without_an_end_is_a_torn_tail_and_no_break() -> None:
    lines = chain(3)
    report = verify([*lines[:2], lines[2][:-1]])
    assert (report.records, report.first_break) == (2, None)
    assert report.torn_tail_bytes == len(lines[2]) - 1


def test_a_ledger_cut_at_a_line_holds_and_its_last_record_tells() -> None:
    lines = chain(5)
    report = verify(lines[:4])
    assert report.first_break is None
    assert report.last != verify(lines).last
