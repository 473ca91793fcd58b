from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resume_daemon.parameters.facts import Facts
from resume_daemon.parameters.names import ALIASES, canonical, parameter_of
from resume_daemon.parameters.resolve import resolve
from resume_daemon.parameters.values import Setting, Source, SourceKind


def setting(kind: SourceKind, value: Any, name: str = "max_seq_length") -> Setting:
    return Setting(name, value, Source(kind, Path("/run/file"), kind.value))


@pytest.mark.parametrize(
    "name", ["max_seq_length", "--max-seq-length", "MAX_SEQ_LENGTH", "max_sequence_length"]
)
def test_a_parameter_is_known_by_one_name_however_it_is_written(name: str) -> None:
    assert canonical(name) == "max_seq_length"


@pytest.mark.parametrize(
    ("keys", "name", "known"),
    [
        ("actor_rollout_ref.actor.optim", "lr", "learning_rate"),
        ("critic.optim", "lr", "critic.optim.lr"),
        ("actor_rollout_ref.rollout", "n", "num_generations"),
        ("trainer", "name", "trainer.name"),
        ("model", "path", "model_name_or_path"),
        ("reward_model.model", "path", "reward_model.model.path"),
        ("training", "max-seq-length", "max_seq_length"),
    ],
)
def test_a_name_in_a_table_is_known_by_what_the_table_is(keys: str, name: str, known: str) -> None:
    assert parameter_of(name, keys) == known


def test_the_critics_learning_rate_is_not_that_of_what_is_trained() -> None:
    source = Source(SourceKind.CONFIGURATION, Path("/run/a.yaml"), "a.yaml")
    found = resolve(
        [
            Setting("lr", 1e-6, source, scope="actor.optim"),
            Setting("lr", 1e-5, source, scope="critic.optim"),
        ]
    )
    rate = found["learning_rate"].next_start
    assert rate is not None
    assert rate.value == 1e-6
    assert "critic.optim.lr" in found


def test_no_alias_leads_to_another_alias() -> None:
    assert not set(ALIASES) & set(ALIASES.values())


def test_the_command_line_counts_before_the_environment_before_the_file_before_the_code() -> None:
    kinds = list(SourceKind)[:4]
    while kinds:
        found = resolve(setting(kind, kind.value) for kind in reversed(kinds))["max_seq_length"]
        assert found.next_start is not None
        assert found.next_start.value == kinds.pop(0).value


def test_what_a_checkpoint_says_is_the_past_and_counts_before_the_tracker() -> None:
    past = [setting(SourceKind.TRACKER, 1), setting(SourceKind.CHECKPOINT, 2)]
    found = resolve(past)["max_seq_length"]
    assert found.next_start is None
    assert found.trained_with is not None
    assert found.trained_with.value == 2


def test_of_two_options_the_later_one_counts() -> None:
    found = resolve([setting(SourceKind.COMMAND_LINE, n) for n in (1, 2)])["max_seq_length"]
    assert found.next_start is not None
    assert found.next_start.value == 2
    assert [each.value for each in found.settings] == [2, 1]


def test_the_learning_rate_of_the_checkpoint_counts_after_a_resume() -> None:
    both = [
        setting(SourceKind.COMMAND_LINE, 2e-6, "lr"),
        setting(SourceKind.CHECKPOINT, 1e-6, "learning_rate"),
    ]
    parameters = resolve(both)
    found = parameters["learning_rate"]
    assert found.restored
    assert found.effective is found.trained_with
    facts = Facts(Path("/run"), parameters)
    assert facts.given("learning_rate") is found.next_start
    assert facts.given("beta") is None
