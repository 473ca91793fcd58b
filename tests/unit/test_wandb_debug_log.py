from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.trackers import wandb_debug_log
from resume_daemon.trackers.wandb_debug_log import (
    START,
    DebugPosition,
    DroppedRow,
    poll,
)

if TYPE_CHECKING:
    from pathlib import Path

# A busy machine is no failure: how long an example takes is not what is claimed here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TIME = "2026-11-22T11:06:38.074176081Z"
AT = datetime(2026, 11, 22, 11, 6, 38, 74176, tzinfo=UTC)


def line(msg: str, **more: Any) -> bytes:
    return json.dumps({"time": TIME, "level": "INFO", "msg": msg, **more}).encode() + b"\n"


def sending(offset: int, lines: int) -> bytes:
    return line("filestream: sending request", history_offset=offset, history_lines=lines)


def dropping(step: int, current: int = 150) -> bytes:
    return line("handler: ignoring partial history record", step=step, current=current)


SENT = line("filestream: request sent", status="200 OK")
# What wandb 0.31.0 wrote about a run that was resumed with smaller steps.
RESUMED = [
    line("wandb-core"),
    line("stream: starting", **{"core version": "0.31.0"}),
    line("filestream: sending request", total_files=1),
    SENT,
    dropping(101),
    dropping(102),
    sending(150, 8),
    SENT,
    dropping(103),
    sending(158, 2),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "debug-internal.log"


def test_rows_that_wandb_ignored_are_told_with_both_steps(path: Path) -> None:
    path.write_bytes(b"".join(RESUMED))
    found = poll(path)
    assert found.dropped == tuple(DroppedRow(step, 150, AT) for step in (101, 102, 103))


def test_lines_count_as_accepted_once_the_server_has_answered(path: Path) -> None:
    path.write_bytes(b"".join(RESUMED))
    found = poll(path)
    assert (found.position.accepted_lines, found.position.asked) == (158, 160)
    with path.open("ab") as log:
        log.write(SENT)
    assert poll(path, found.position).position.accepted_lines == 160


def test_a_refused_request_accepts_nothing(path: Path) -> None:
    path.write_bytes(sending(0, 5) + line("filestream: request sent", status="429 Too Many"))
    assert poll(path).position.accepted_lines is None


def test_a_request_without_history_changes_nothing(path: Path) -> None:
    path.write_bytes(sending(0, 5) + SENT + line("filestream: sending request") + SENT)
    assert poll(path).position.accepted_lines == 5


def test_a_run_is_resumed_when_its_first_request_starts_behind_line_zero(path: Path) -> None:
    path.write_bytes(sending(0, 5) + SENT + sending(5, 5) + SENT)
    assert not poll(path).position.resumed
    path.write_bytes(b"".join(RESUMED))
    assert poll(path).position.resumed


@unhurried
@given(st.integers(0, 2**32))
def test_any_way_in_which_the_log_grows_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "debug-internal.log"
    content = b"".join(RESUMED)
    path.write_bytes(content)
    whole = poll(path)
    path.write_bytes(b"")
    moments = random.Random(seed)
    position, dropped, at = START, list[DroppedRow](), 0
    while at < len(content):
        step = moments.randint(1, 400)
        with path.open("ab") as log:
            log.write(content[at : at + step])
        at += step
        found = poll(path, position)
        position = found.position
        dropped += found.dropped
    assert (position, tuple(dropped)) == (whole.position, whole.dropped)


def test_nothing_new_is_told_once_only(path: Path) -> None:
    path.write_bytes(b"".join(RESUMED))
    first = poll(path)
    assert poll(path, first.position).dropped == ()


def test_a_log_that_is_missing_tells_nothing(path: Path) -> None:
    known = DebugPosition(offset=7, accepted_lines=3)
    assert poll(path, known).position == known
    assert poll(path, known).dropped == ()


def test_a_log_that_was_replaced_by_a_shorter_one_is_read_anew(path: Path) -> None:
    path.write_bytes(b"".join(RESUMED))
    before = poll(path)
    path.write_bytes(dropping(7) + sending(0, 2) + SENT)
    found = poll(path, before.position)
    assert [row.step for row in found.dropped] == [7]
    assert (found.position.accepted_lines, found.position.resumed) == (2, False)


@pytest.mark.parametrize(
    "odd",
    [
        b"panic: runtime error\n",
        b"[1, 2]\n",
        b'{"msg": 7}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        line("handler: ignoring partial history record", step="x", current=None),
        line("filestream: sending request", history_offset=None, history_lines=True),
    ],
)
def test_lines_of_another_kind_are_stepped_over(path: Path, odd: bytes) -> None:
    path.write_bytes(odd + dropping(1) + odd)
    found = poll(path)
    assert [row.step for row in found.dropped] == [1]
    assert found.position.offset == path.stat().st_size


def test_a_time_of_another_kind_loses_the_time_alone(path: Path) -> None:
    path.write_bytes(dropping(1).replace(TIME.encode(), b"yesterday"))
    assert poll(path).dropped == (DroppedRow(1, 150, None),)


def test_a_poll_is_bounded_and_the_next_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_debug_log, "READ_LIMIT", 300)
    path.write_bytes(b"x" * 1000 + b"\n" + b"".join(dropping(n) for n in range(20)))
    position, steps = START, list[int]()
    for _ in range(20):
        found = poll(path, position)
        assert found.position.offset - position.offset <= 300
        position = found.position
        steps += [row.step for row in found.dropped]
    assert steps == list(range(20))
    assert position.offset == path.stat().st_size
