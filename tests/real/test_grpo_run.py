"""What the daemon makes of real GRPO runs: one that is healthy, one that is killed and resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch", reason="the trainer needs torch (make test-real)")
pytest.importorskip("trl", reason="the trainer is TRL's GRPOTrainer (make test-real)")

from standardwebhooks import Webhook

from tests.real.conftest import SECRET
from tests.real.running import RUN_ID, Row, segments, wandb_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.conftest import WatchedRun

# Two trainers that import torch and train on a busy machine; pytest counts the fixtures.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

CURRICULUM = "curriculum_state_detailed.json"


def command(*arguments: str | Path) -> tuple[int, Any]:
    """Run the command line and return its exit status and its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "resume_daemon", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def trusted(rows: list[Row]) -> dict[int, int]:
    """Return W&B's step of the row of each trainer step: the first that names it."""
    found: dict[int, int] = {}
    for row in rows:
        if row.trainer_step:
            found.setdefault(row.trainer_step, row.tracker_step)
    return found


# Healthy


def test_every_checkpoint_of_a_healthy_run_is_recorded_as_sound(healthy: WatchedRun) -> None:
    verdicts = {name: state.verdict for name, state in healthy.state().checkpoints.items()}

    assert verdicts == {"checkpoint-5": "sound", "checkpoint-10": "sound", "checkpoint-15": "sound"}
    assert not [code for state in healthy.state().checkpoints.values() for code in state.codes]


def test_verify_finds_nothing_in_a_healthy_run(healthy: WatchedRun) -> None:
    status, report = command("verify", healthy.run)

    assert status == 0
    assert [(c["step"], c["verdict"]) for c in report["checkpoints"]] == [
        (5, "sound"),
        (10, "sound"),
        (15, "sound"),
    ]
    assert not [finding for c in report["checkpoints"] for finding in c["findings"]]


@pytest.mark.parametrize("step", [5, 10, 15])
def test_each_snapshot_holds_the_curriculum_of_its_own_step(healthy: WatchedRun, step: int) -> None:
    directory = healthy.run / ".resume_daemon" / "snapshots" / f"checkpoint-{step}"
    state = json.loads((directory / "curriculum" / CURRICULUM).read_text())

    assert state["performance_history"][-1]["step"] == step
    assert len(state["performance_history"]) == step
    assert healthy.state().snapshots[f"checkpoint-{step}"].curriculum_step == step


def test_each_checkpoint_has_the_step_pair_that_stands_in_the_log(healthy: WatchedRun) -> None:
    (segment,) = segments(healthy.home)
    in_log = trusted(wandb_rows(segment))

    pairs = healthy.state().pair_at_checkpoint
    assert {name: (pair.tracker_step, pair.trainer_step) for name, pair in pairs.items()} == {
        f"checkpoint-{step}": (in_log[step], step) for step in (5, 10, 15)
    }


def test_the_raw_offset_moves_in_a_healthy_run_and_nobody_is_told(healthy: WatchedRun) -> None:
    (segment,) = segments(healthy.home)
    offsets = {w - g for g, w in trusted(wandb_rows(segment)).items()}

    assert len(offsets) > 10, "TRL writes several rows per step, so the offset grows"
    assert healthy.delivered == []
    assert not healthy.daemon.of_kind("drift")
    assert not healthy.daemon.of_kind("condition")


# Killed and resumed from an older checkpoint


def brute_force_drift(resumed: WatchedRun) -> int:
    """Count, from the two logs alone, by how much W&B is ahead after the resume.

    W&B counts on where the log of the killed process ended, so its step of a row of the second one
    is the number of rows in the first plus the row's own.
    """
    first, second = (wandb_rows(segment) for segment in segments(resumed.home))
    before, after = trusted(first), trusted(second)
    step = min(after)
    assert step == resumed.resumed_from + 1
    return (first[-1].tracker_step + 1) + after[step] - before[step]


def told(resumed: WatchedRun, prefix: str) -> list[dict[str, Any]]:
    """Return the conditions of this name that the webhook was told of."""
    return [
        message.condition
        for message in resumed.delivered
        if message.condition["key"].startswith(f"{prefix}:")
    ]


def test_the_drift_of_a_resume_is_told_once_with_the_number_of_stale_rows(
    resumed: WatchedRun,
) -> None:
    (drift,) = told(resumed, "wandb-drift")

    assert drift["code"] == "RD601"
    assert drift["key"] == f"wandb-drift:{RUN_ID}:{segments(resumed.home)[1].name}"
    assert drift["drift"] == brute_force_drift(resumed)
    assert drift["drift"] > resumed.killed_after - resumed.resumed_from
    assert drift["trainer_step"] == resumed.resumed_from


def test_the_curriculum_that_ran_ahead_is_told_once(resumed: WatchedRun) -> None:
    (ahead,) = [
        message.condition
        for message in resumed.delivered
        if message.condition["code"].startswith("RD5")
    ]

    assert ahead["code"] == "RD504"
    assert ahead["drift"] == resumed.killed_after - resumed.resumed_from


def test_nothing_else_is_told_and_each_message_comes_once_and_signed(resumed: WatchedRun) -> None:
    bodies = [Webhook(SECRET).verify(m.body, m.headers) for m in resumed.delivered]

    assert sorted((body["type"], body["condition"]["code"]) for body in bodies) == [
        ("condition.firing", "RD504"),
        ("condition.firing", "RD601"),
    ]
    assert len({m.headers["webhook-id"] for m in resumed.delivered}) == len(resumed.delivered)
    outcomes = [(a["sink"], a["outcome"]) for a in resumed.daemon.of_kind("alert")]
    assert outcomes == [("pager", "delivered")] * 2


def test_every_checkpoint_is_sound_after_the_resume_also_the_one_saved_twice(
    resumed: WatchedRun,
) -> None:
    status, report = command("verify", resumed.run)

    assert status == 0
    assert {c["step"]: c["verdict"] for c in report["checkpoints"]} == dict.fromkeys(
        (5, 10, 15, 20), "sound"
    )
    recorded = {name: state.verdict for name, state in resumed.state().checkpoints.items()}
    assert recorded == {f"checkpoint-{step}": "sound" for step in (5, 10, 15, 20)}
    assert not [v for v in resumed.daemon.of_kind("verdict") if v["verdict"] == "unsound"]


def test_the_checkpoint_that_was_saved_twice_has_its_second_curriculum(resumed: WatchedRun) -> None:
    directory = resumed.run / ".resume_daemon" / "snapshots" / "checkpoint-10"
    state = json.loads((directory / "curriculum" / CURRICULUM).read_text())

    steps = [entry["step"] for entry in state["performance_history"]]
    assert steps == [*range(1, resumed.killed_after + 1), *range(resumed.resumed_from + 1, 11)]


def test_each_checkpoint_after_the_resume_is_paired_with_its_newest_row(
    resumed: WatchedRun,
) -> None:
    newest = segments(resumed.home)[1]
    in_log = trusted(wandb_rows(newest))

    pairs = resumed.state().pair_at_checkpoint
    for step in (10, 15, 20):
        pair = pairs[f"checkpoint-{step}"]
        assert (pair.segment, pair.tracker_step) == (newest.name, in_log[step])
    rows_before = wandb_rows(segments(resumed.home)[0])[-1].tracker_step + 1
    last = resumed.daemon.of_kind("pair")[-1]
    assert (last["base"], last["predicted"]) == (rows_before, True)


def test_the_ledger_is_whole_after_all_that(resumed: WatchedRun) -> None:
    status, report = command("ledger", "verify", resumed.run)

    assert status == 0
    assert report["whole"]
    assert report["records"] == len(resumed.daemon.records())
