from __future__ import annotations

import pytest

from resume_daemon.catalog import code
from resume_daemon.findings import Verdict
from resume_daemon.health import (
    checkpoint_condition,
    run_condition,
    storage_condition,
    unreadable_condition,
)


@pytest.mark.parametrize(
    ("verdict", "name", "severity"),
    [
        (Verdict.UNSOUND, "checkpoint-unsound", "error"),
        (Verdict.DEGRADED, "checkpoint-degraded", "warning"),
        (Verdict.INCOMPLETE, "checkpoint-incomplete", "error"),
    ],
)
def test_a_checkpoint_that_is_not_sound_is_a_condition_of_its_own(
    verdict: Verdict, name: str, severity: str
) -> None:
    condition = checkpoint_condition("checkpoint-5", verdict, "optimizer.pt is missing", 5)

    assert condition is not None
    assert condition.key == f"{name}:checkpoint-5"
    assert condition.severity == severity
    assert condition.message.startswith(f"checkpoint-5 is {verdict}: optimizer.pt is missing. ")
    assert (condition.checkpoint, condition.trainer_step) == ("checkpoint-5", 5)
    known = code(condition.code)
    assert known is not None
    assert known.name == name


@pytest.mark.parametrize("verdict", [Verdict.SOUND, Verdict.ROTATED])
def test_a_checkpoint_that_is_sound_or_gone_is_none(verdict: Verdict) -> None:
    assert checkpoint_condition("checkpoint-5", verdict, "", 5) is None


def test_without_a_reason_the_code_says_what_it_is() -> None:
    condition = checkpoint_condition("checkpoint-5", Verdict.INCOMPLETE, "", None)

    assert condition is not None
    assert "A checkpoint was never finished. Resume from" in condition.message


def test_what_stops_the_daemon_from_seeing_or_writing_is_told_by_its_name() -> None:
    conditions = {
        "checkpoint-unreadable:checkpoint-5": unreadable_condition("checkpoint-5", "why"),
        "run-unreadable": run_condition("why"),
        "storage-blocked": storage_condition("why"),
    }
    for key, condition in conditions.items():
        known = code(condition.code)
        assert known is not None
        assert condition.key == key
        assert key.partition(":")[0] == known.name
        assert condition.message.endswith("why")
        assert condition.severity == known.severity
