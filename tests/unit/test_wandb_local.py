from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.files import canonical_json
from resume_daemon.seams import StepMode, bases_of, lookup, mode_of, newest_seam
from resume_daemon.trackers import testing
from resume_daemon.trackers.wandb_local import (
    Polled,
    SegmentState,
    find_pair,
    list_segments,
    poll,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from resume_daemon.steps import StepPair

KEY = "train/global_step"
NAME = "run-20260101_000000-abc-1"


def segment(tmp_path: Path, records: Sequence[bytes], name: str = NAME) -> Path:
    return testing.write_segment(tmp_path / "wandb", records, name=name, run_id="abc-1")


def healthy_log(steps: int, seed: int = 0) -> list[bytes]:
    """A log like TRL's: side rows carry the last trainer step, the first ones a phantom 0."""
    source = random.Random(seed)
    records = [testing.header(), testing.run("abc-1"), testing.metric("*", KEY)]
    row = last = 0
    for step in range(1, steps + 1):
        for _ in range(source.randint(0, 6)):
            records.append(testing.history(row, {"profiling/x": 0.5, KEY: last}))
            row += 1
        records.append(testing.history(row, {"train/loss": 0.5, KEY: step}))
        records.append(testing.summary({"train/loss": 0.5, KEY: step}))
        row += 1
        last = step
    return records


def read_all(directory: Path, state: SegmentState | None = None, limit: int = 1 << 16) -> Polled:
    pairs: list[StepPair] = []
    while True:
        polled = poll(directory, state, limit=limit)
        assert polled is not None
        pairs += polled.pairs
        state = polled.state
        if not polled.more:
            return Polled(state, tuple(pairs), more=False)


def steps(polled: Polled) -> list[tuple[int, int]]:
    return [(pair.tracker_step, pair.trainer_step) for pair in polled.pairs]


def test_only_the_first_row_with_a_new_trainer_step_is_trusted(tmp_path: Path) -> None:
    values: list[dict[str, Any]] = [
        {KEY: 0},  # inserted before the trainer logged anything
        {KEY: 10},
        {KEY: 10},  # inserted
        {"eval/loss": 1},
        {KEY: 20},
        {KEY: 20.0},
        {KEY: float("nan")},
        {KEY: 30.0},
    ]
    rows = [testing.history(step, row) for step, row in enumerate(values)]
    polled = read_all(segment(tmp_path, rows))
    assert steps(polled) == [(1, 10), (4, 20), (7, 30)]
    state = polled.state
    assert (state.rows, state.trusted, state.highest_trainer_step) == (8, 3, 30)
    assert (state.first_tracker_step, state.last_tracker_step) == (0, 7)
    assert (state.first_pair, state.last_pair) == (polled.pairs[0], polled.pairs[-1])
    assert state.recent == ((10, 3), (10, 3))


def test_a_real_offline_run_gives_each_trainer_step_once(real_wandb_directory: Path) -> None:
    first, second = list_segments(real_wandb_directory)
    polled = read_all(first)
    # One row before the loop, a profiling row before each step, an evaluation after every fifth.
    assert steps(polled) == [(1 + 2 * (g - 1) + (g - 1) // 5 + 1, g) for g in range(1, 31)]
    state = polled.state
    assert (state.run_id, state.offline, state.exit_code) == ("grpo-run-1", True, 0)
    assert state.step_sync
    assert state.key == KEY
    assert state.producer.count(".") == 2
    assert state.started_at > 1.7e9
    assert (state.rows, state.damaged, state.shared) == (67, 0, 0)
    again = read_all(second)
    assert [pair.trainer_step for pair in again.pairs] == list(range(21, 41))
    assert mode_of([state]) is StepMode.AUTOMATIC


def test_the_matched_drift_of_a_real_resume_is_the_number_of_stale_rows(
    real_wandb_directory: Path,
) -> None:
    first, second = list_segments(real_wandb_directory)
    states = [read_all(first).state, read_all(second).state]
    wanted = lookup(states)
    assert wanted is not None
    match = find_pair(real_wandb_directory / wanted.segment, wanted.trainer_step)
    seam = newest_seam(states, match=match)
    assert seam is not None
    # Steps 21 to 30 with two rows each and two evaluations; the second start logs one row more.
    assert seam.drift == 10 * 2 + 2 + 1
    assert seam.predicted
    assert bases_of(states) == {first.name: (0, False), second.name: (67, True)}


def test_a_segment_without_a_log_is_nothing_yet(tmp_path: Path) -> None:
    directory = tmp_path / NAME
    directory.mkdir()
    assert poll(directory) is None
    with pytest.raises(VanishedError):
        poll(tmp_path / "run-20260101_000001-gone")


def test_the_run_id_comes_from_the_logs_name(tmp_path: Path) -> None:
    state = read_all(segment(tmp_path, [], name="offline-run-20260101_000000-abc-1-1")).state
    assert (state.run_id, state.offline) == ("abc-1", True)


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40
)
@given(seed=st.integers(0, 2**32))
def test_polling_a_growing_log_gives_what_one_read_gives(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    content = testing.encode_log(healthy_log(60, seed))
    directory = segment(tmp_path, [])
    log = directory / "run-abc-1.wandb"
    log.write_bytes(content)
    whole = read_all(directory)
    log.write_bytes(b"")
    state: SegmentState | None = None
    pairs: list[StepPair] = []
    written = 0
    while written < len(content):
        with log.open("ab") as file:
            written += file.write(content[written : written + source.randint(1, 9000)])
        polled = read_all(directory, state, limit=source.choice([1, 1 << 20]))
        pairs += polled.pairs
        # What the ledger keeps is what goes on after a restart.
        state = SegmentState.from_json(json.loads(canonical_json(polled.state.as_json())))
        assert state == polled.state
    assert tuple(pairs) == whole.pairs
    assert state == whole.state


def test_an_idle_poll_changes_nothing(tmp_path: Path) -> None:
    directory = segment(tmp_path, healthy_log(20))
    polled = read_all(directory)
    assert poll(directory, polled.state) == Polled(polled.state, (), more=False)


def test_a_replaced_log_is_read_from_its_start(tmp_path: Path) -> None:
    directory = segment(tmp_path, healthy_log(40))
    state = read_all(directory).state
    segment(tmp_path, healthy_log(5, seed=1))
    polled = poll(directory, state)
    assert polled is not None
    assert polled.restarted
    assert polled.pairs == read_all(directory).pairs
    assert polled.state == read_all(directory).state


@pytest.mark.parametrize("key", ["trainer/global_step", "training/global_step"])
def test_the_keys_of_other_trainers_are_found(tmp_path: Path, key: str) -> None:
    rows = [testing.history(step, {key: step, "loss": 1}) for step in range(1, 5)]
    polled = read_all(segment(tmp_path, rows))
    assert steps(polled) == [(step, step) for step in range(1, 5)]
    assert polled.state.key == key
    assert mode_of([polled.state]) is StepMode.EXPLICIT


def test_the_first_key_that_is_found_stays(tmp_path: Path) -> None:
    rows = [
        testing.history(0, {"trainer/global_step": 5}),
        testing.history(1, {"trainer/global_step": 6, KEY: 99}),
    ]
    directory = segment(tmp_path, rows)
    assert steps(read_all(directory)) == [(0, 5), (1, 6)]
    configured = poll(directory, keys=("mine", KEY))
    assert configured is not None
    assert steps(configured) == [(1, 99)]


def test_shared_mode_counts_rows_and_gives_no_pair(tmp_path: Path) -> None:
    rows = [testing.history(None, {KEY: step}) for step in range(1, 5)]
    polled = read_all(segment(tmp_path, rows))
    assert polled.pairs == ()
    assert (polled.state.rows, polled.state.shared) == (4, 4)


def test_the_end_of_a_run_and_its_branch_are_known(tmp_path: Path) -> None:
    rows = [testing.run("abc-1", branch_step=99), testing.history(100, {KEY: 101})]
    state = read_all(segment(tmp_path, rows)).state
    assert (state.branch_step, state.exit_code) == (99, None)
    state = read_all(segment(tmp_path, [*rows, testing.finish(255)])).state
    assert state.exit_code == 255


def test_damage_and_odd_records_are_counted(tmp_path: Path) -> None:
    directory = segment(tmp_path, [*healthy_log(600), b"\x12\xff"])
    log = directory / "run-abc-1.wandb"
    content = bytearray(log.read_bytes())
    content[40_000] ^= 1
    log.write_bytes(content)
    assert read_all(directory).state.damaged == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"starting_step": 150, "starting_runtime": 3}', 150),
        (b'{"starting_step": 0}', 0),
        (b'{"starting_step": tru', 0),
        (b"[]", 0),
    ],
)
def test_the_starting_step_of_a_synced_offline_segment_is_read(
    tmp_path: Path, content: bytes, expected: int
) -> None:
    name = "offline-run-20260101_000000-abc-1"
    directory = segment(tmp_path, healthy_log(3), name=name)
    state = read_all(directory).state
    assert state.starting_step == 0
    (directory / "run-abc-1.wandb.syncstate").write_bytes(content)
    assert read_all(directory, state).state.starting_step == expected


def test_a_pair_is_found_again_by_its_trainer_step(tmp_path: Path) -> None:
    directory = segment(tmp_path, healthy_log(80))
    pairs = read_all(directory).pairs
    for after in (None, pairs[10], pairs[49]):
        assert find_pair(directory, 50, after) == pairs[49]
    assert find_pair(directory, 51, pairs[49]) == pairs[50]
    assert find_pair(directory, 1000) == pairs[-1]
    assert find_pair(directory, 0) is None
    assert find_pair(tmp_path / "run-20260101_000009-gone", 5) is None


def test_the_latest_of_two_rows_with_the_same_trainer_step_is_found(tmp_path: Path) -> None:
    logged = [10, 20, 30, 10, 20, 40]
    rows = [testing.history(w, {KEY: g}) for w, g in enumerate(logged)]
    directory = segment(tmp_path, rows)
    found = find_pair(directory, 20)
    assert found is not None
    assert (found.tracker_step, found.trainer_step) == (4, 20)
    below = find_pair(directory, 25)
    assert below is not None
    assert (below.tracker_step, below.trainer_step) == (4, 20)


def test_segments_are_listed_in_the_order_of_their_start(tmp_path: Path) -> None:
    root = tmp_path / "wandb"
    names = [
        "run-20251231_235959-abc-1",
        "offline-run-20260101_000000-abc-1",
        "offline-run-20260101_000000-abc-1-1",
        "offline-run-20260101_000000-abc-1-2",
        "run-20260101_000001-abc-1",
    ]
    for name in reversed(names):
        testing.write_segment(root, [], name=name, run_id="abc-1")
    (root / "latest-run").symlink_to(names[0])
    (root / "run-20260102_000000-link").symlink_to(names[0])
    (root / "run-20260102_000000-file").write_bytes(b"")
    (root / "sweep-x").mkdir()
    assert [path.name for path in list_segments(root)] == names
    assert list_segments(tmp_path / "none") == []


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    directory = tmp_path / NAME
    directory.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(testing.encode_log(healthy_log(3)))
    (directory / "run-abc-1.wandb").symlink_to(secret)
    with pytest.raises(FormatError, match="symbolic link"):
        poll(directory)
