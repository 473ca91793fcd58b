from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.findings import Severity
from resume_daemon.parameters.batches import Batches, check
from resume_daemon.parameters.release import Release, release_of, written

GOOD = Batches(
    num_generations=8,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    world_size=1,
)


def codes(batches: Batches) -> list[str]:
    return [each.code for each in check(batches)]


def test_a_batch_of_whole_groups_is_fine() -> None:
    assert codes(GOOD) == []


def test_nothing_known_is_nothing_said() -> None:
    assert codes(Batches()) == []
    assert codes(Batches(num_generations=8)) == []
    assert codes(Batches(per_device_train_batch_size=3, world_size=2)) == []


def test_a_batch_that_splits_a_group_is_told_with_numbers_that_would_do() -> None:
    (finding,) = check(dataclasses.replace(GOOD, num_generations=6))
    assert finding.code == "RD805"
    assert finding.severity is Severity.ERROR
    assert "x 1 processes = 8, which is not a multiple of num_generations 6" in finding.message
    assert "multiple of 3 processes" in finding.hint


def test_without_the_number_of_processes_it_is_said_on_what_it_depends() -> None:
    (finding,) = check(dataclasses.replace(GOOD, num_generations=16, world_size=None))
    assert (finding.code, finding.severity) == ("RD806", Severity.INFO)
    assert "multiple of 2 processes" in finding.hint


def test_what_divides_with_any_number_of_processes_says_nothing_of_them() -> None:
    assert codes(dataclasses.replace(GOOD, world_size=None)) == []


def test_one_completion_is_no_group() -> None:
    assert codes(dataclasses.replace(GOOD, num_generations=1)) == ["RD807"]


def test_the_generation_batch_has_one_name_at_a_time() -> None:
    both = dataclasses.replace(GOOD, generation_batch_size=8, steps_per_generation=2)
    assert codes(both) == ["RD808"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"generation_batch_size": 16}, []),
        ({"generation_batch_size": 12}, ["RD805"]),
        ({"generation_batch_size": 8, "per_device_train_batch_size": 16}, ["RD805"]),
        ({"generation_batch_size": 16, "world_size": 3}, ["RD805"]),
        ({"generation_batch_size": 16, "world_size": None}, ["RD806"]),
        ({"steps_per_generation": 1}, ["RD805"]),
        ({"steps_per_generation": 4}, []),
        ({"evaluates": True, "per_device_eval_batch_size": 8}, []),
        ({"evaluates": True, "per_device_eval_batch_size": 4}, ["RD805"]),
        ({"evaluates": False, "per_device_eval_batch_size": 4}, []),
        (
            {"evaluates": True, "per_device_eval_batch_size": 4, "num_generations_eval": 2},
            [],
        ),
    ],
)
def test_what_the_trainer_demands_is_demanded(changes: dict[str, Any], expected: list[str]) -> None:
    assert codes(dataclasses.replace(GOOD, **changes)) == expected


@pytest.mark.parametrize(
    ("trl", "expected"),
    [
        ((0, 14, 0), []),
        ((0, 15, 2), ["RD805"]),
        ((0, 16, 1), ["RD805"]),
        ((0, 17, 0), []),
        ((0, 28, 0), []),
        ((1, 16, 0), []),
        (None, []),
    ],
)
def test_old_releases_count_one_pass_and_newer_ones_a_whole_step(
    trl: Release | None, expected: list[str]
) -> None:
    assert codes(dataclasses.replace(GOOD, trl=trl)) == expected


@given(
    groups=st.integers(2, 64),
    each=st.integers(1, 64),
    steps=st.integers(1, 16),
    world=st.integers(1, 64),
    known=st.booleans(),
)
def test_the_number_of_processes_that_is_named_is_right(
    *, groups: int, each: int, steps: int, world: int, known: bool
) -> None:
    batches = Batches(
        num_generations=groups,
        per_device_train_batch_size=each,
        gradient_accumulation_steps=steps,
        world_size=world if known else None,
    )
    divides = each * steps * world % groups == 0
    found = list(check(batches))
    if known:
        assert bool(found) is not divides
    elif found:
        needed = int(found[0].hint.split("multiple of ")[1].split()[0])
        assert (world % needed == 0) is divides
    else:
        assert divides


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("1.16.0", (1, 16, 0)),
        ("0.28.0.dev0", (0, 28, 0)),
        ("v5.24", (5, 24, 0)),
        ("2.13.0+cpu", (2, 13, 0)),
        ("main", None),
        ("", None),
        (None, None),
    ],
)
def test_a_version_is_a_release(version: str | None, release: Release | None) -> None:
    assert release_of(version) == release


def test_a_release_is_written_as_people_do() -> None:
    assert [written((0, 28, 0)), written((4, 57, 6))] == ["0.28", "4.57.6"]
