from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3

from resume_daemon.curriculum.assignment import Known, assign
from resume_daemon.curriculum.checks import (
    ahead_at_resume,
    assignment_notes,
    history_damaged,
    history_lost,
    stage_back,
    unreadable,
)
from resume_daemon.curriculum.codes import CODES
from resume_daemon.curriculum.schemas import Unit, known_schemas
from resume_daemon.curriculum.state import Missing, Refused, StateVersion, Torn, read_state
from resume_daemon.curriculum.summary import History, Summary
from resume_daemon.findings import Severity

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.curriculum.checks import Noted

FILE = "curriculum_state_detailed.json"


def history(first: int, last: int, every: int = 2) -> History:
    return History((last - first) // every + 1, first, last, in_order=True, finite=True)


def version(
    extent: History | None = None, *, step: int | None = None, stage: int | str | None = None
) -> StateVersion:
    step = extent.last_step if extent and step is None else step
    content = repr((extent, step, stage)).encode()
    summary = Summary("s", Unit.OPTIMIZER_STEPS, stage, step, extent)
    digest = blake3(content).hexdigest()
    return StateVersion(FILE, digest, content, len(content), 0, 0, summary, valid_json=True)


def lost(
    now: History, *earlier: History, first_logged: int | None = 2, window: int | None = None
) -> Noted | None:
    return history_lost(
        version(now),
        earlier=[version(h) for h in earlier],
        first_logged=first_logged,
        cadence=2,
        window=window,
    )


def is_alert(noted: Noted | None) -> bool:
    return noted is not None and noted.condition is not None


def test_a_history_that_begins_long_after_the_trainer_did_is_lost() -> None:
    noted = lost(history(542, 600), window=100)
    assert noted is not None
    assert "the history before step 542 is lost" in noted.finding.message
    assert (noted.finding.code, noted.finding.severity) == ("RD501", Severity.WARNING)
    assert noted.condition is not None
    assert noted.condition.key == f"curriculum-history-lost:{FILE}"


@pytest.mark.parametrize(
    ("now", "earlier", "window"),
    [
        (history(2, 60), (), 100),  # It begins with the training.
        (history(4, 60), (), 100),  # One log entry later is within the cadence.
        (history(50, 600, 50), (), None),  # It is kept every 50 steps, so it begins at 50.
        (history(102, 300), (), 100),  # As many as the window holds.
        (history(302, 498), (history(202, 398),), None),  # As many as before, moved on.
        (history(302, 360), (history(282, 340),), 100),  # A window that somebody made smaller.
        (history(542, 542), (), 100),  # One entry tells nothing.
    ],
)
def test_what_the_cadence_or_a_window_explains_is_no_loss(
    now: History, earlier: tuple[History, ...], window: int | None
) -> None:
    assert lost(now, *earlier, window=window) is None


def test_a_history_that_was_cut_between_two_versions_is_lost_at_its_first_entry() -> None:
    noted = lost(history(542, 542), history(2, 540), first_logged=None)
    assert is_alert(noted)
    assert noted is not None
    assert "before step 542 is lost" in noted.finding.message
    assert "270 entries, of steps 2 to 540" in noted.finding.message


def test_an_empty_history_after_a_full_one_is_lost() -> None:
    noted = history_lost(
        version(History(0, None, None, in_order=True, finite=True), step=540),
        earlier=[version(history(2, 540))],
    )
    assert is_alert(noted)
    assert noted is not None
    assert "until step 540 is lost" in noted.finding.message


def test_a_second_history_as_long_as_the_lost_one_does_not_pass_for_a_window() -> None:
    assert is_alert(lost(history(542, 600), history(2, 60), window=100))


def test_a_likely_window_size_seen_once_is_undecided_and_no_alert() -> None:
    noted = lost(history(102, 356), window=None)
    assert noted is not None
    assert noted.condition is None
    assert noted.finding.severity is Severity.INFO
    assert is_alert(lost(history(102, 358), history(102, 356)))
    assert lost(history(104, 358), history(102, 356)) is None


def test_an_older_state_put_back_is_no_loss() -> None:
    assert lost(history(2, 40), history(2, 540)) is None


@pytest.mark.parametrize(
    ("state", "checkpoint", "code", "severity", "alerts"),
    [
        (300, 310, "RD508", Severity.INFO, False),
        (100, 310, "RD503", Severity.WARNING, True),
        (320, 310, "RD502", Severity.WARNING, True),
    ],
)
def test_the_distance_of_state_and_checkpoint_is_always_said(
    state: int, checkpoint: int, code: str, severity: Severity, *, alerts: bool
) -> None:
    assignment = assign(checkpoint, [Known("d", state, 0, FILE)])
    assert assignment is not None
    noted = assignment_notes(assignment, f"checkpoint-{checkpoint}")
    assert noted is not None
    assert (noted.finding.code, noted.finding.severity) == (code, severity)
    assert is_alert(noted) == alerts
    if noted.condition:
        assert noted.condition.drift == state - checkpoint
        assert noted.condition.checkpoint == f"checkpoint-{checkpoint}"


def test_limits_and_the_cadence_of_writing_are_respected() -> None:
    behind = assign(310, [Known("d", 100, 0, FILE)])
    ahead = assign(310, [Known("d", 312, 0, FILE)])
    same = assign(310, [Known("d", 310, 0, FILE)])
    unknown = assign(310, [Known("d", None, 0, FILE)])
    assert behind
    assert ahead
    assert same
    assert unknown
    assert not is_alert(assignment_notes(behind, "c", save_every=500))
    assert not is_alert(assignment_notes(ahead, "c", ahead_limit=2))
    assert assignment_notes(same, "c") is None
    noted = assignment_notes(unknown, "c")
    assert noted is not None
    assert noted.finding.code == "RD509"


def test_a_resume_below_the_state_on_disk_is_an_alert() -> None:
    noted = ahead_at_resume(version(step=13), 10)
    assert noted is not None
    assert noted.condition is not None
    assert noted.condition.drift == 3
    assert "it will continue at step 13 with the weights of step 10" in noted.finding.message
    assert ahead_at_resume(version(step=10), 10) is None
    assert ahead_at_resume(version(), 10) is None


@pytest.mark.parametrize(
    ("before", "after", "severity"),
    [
        (version(stage=4, step=540), version(stage=0, step=542), Severity.WARNING),
        (version(stage=4, step=540), version(stage=3, step=542), Severity.INFO),
        (version(stage=4, step=540), version(stage=0, step=10), Severity.INFO),
        (version(stage=3, step=10), version(stage=4, step=12), None),
        (version(stage="walk"), version(stage="run"), None),
    ],
)
def test_only_a_deep_fall_of_the_stage_while_training_goes_on_is_a_warning(
    before: StateVersion, after: StateVersion, severity: Severity | None
) -> None:
    noted = stage_back(before, after)
    assert (noted.finding.severity if noted else None) == severity


def test_a_history_that_is_not_finite_is_an_alert() -> None:
    assert history_damaged(version(history(2, 60))) is None
    noted = history_damaged(version(History(3, 2, 6, in_order=True, finite=False)))
    assert is_alert(noted)
    assert noted is not None
    assert "NaN" in noted.finding.message


def test_a_history_whose_steps_go_back_is_told_and_left_to_the_alert_on_the_resume() -> None:
    noted = history_damaged(version(History(3, 2, 1, in_order=False, finite=True)))
    assert noted is not None
    assert noted.condition is None
    assert "go back" in noted.finding.message


def test_a_torn_state_is_an_alert_once_no_write_can_explain_it() -> None:
    torn = Torn(FILE, "it is empty")
    assert unreadable(torn, 10.0) is None
    assert is_alert(unreadable(torn, 61.0))
    assert is_alert(unreadable(Refused(FILE, "no permission"), 61.0))
    assert unreadable(Missing(FILE), 61.0) is None
    assert unreadable(version(), 61.0) is None


def test_every_code_is_told_apart_and_explained() -> None:
    assert len({code.id for code in CODES}) == len({code.name for code in CODES}) == len(CODES)
    for code in CODES:
        assert code.id.startswith("RD5")
        assert code.meaning
        assert code.action
        assert code.source


def real_state(run: Path) -> tuple[StateVersion, dict[str, Any]]:
    found = read_state(run / FILE, run=run, schemas=known_schemas(), wait=lambda _attempt: None)
    assert isinstance(found, StateVersion)
    newest = max(run.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    return found, json.loads((newest / "trainer_state.json").read_text())


def test_the_first_real_run_lost_its_history_before_step_542(shared_runs: Path) -> None:
    found, trainer = real_state(shared_runs / "v3-LR6e-6-R16-20250612-175657")
    noted = history_lost(
        found,
        first_logged=trainer["log_history"][0]["step"],
        cadence=trainer["logging_steps"],
        window=100,
    )
    assert is_alert(noted)
    assert noted is not None
    assert "the history before step 542 is lost" in noted.finding.message


def test_the_second_real_run_lags_by_ten_steps_and_lost_nothing(shared_runs: Path) -> None:
    found, trainer = real_state(shared_runs / "v3-LR6e-6-R16-20250615-021543")
    noted = history_lost(
        found,
        first_logged=trainer["log_history"][0]["step"],
        cadence=trainer["logging_steps"],
        window=100,
    )
    assert noted is None
    known = Known(found.digest, found.trainer_step, found.seen_at, found.file, found.stage)
    assignment = assign(trainer["global_step"], [known])
    assert assignment is not None
    lag = assignment_notes(assignment, "checkpoint-310", save_every=50)
    assert lag is not None
    assert "lags by 10 steps" in lag.finding.message
    assert (lag.finding.severity, lag.condition) == (Severity.INFO, None)
