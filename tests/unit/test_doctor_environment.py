"""What the next start would inherit: judged by values, and shown without secrets."""

from __future__ import annotations

import pytest

from resume_daemon.doctor.environment import EnvironmentFacts, NamedCheckpoint, check
from resume_daemon.doctor.masking import MASK, shown

HEALTHY = {"WANDB_RUN_ID": "mine", "WANDB_RESUME": "must", "WANDB_PROJECT": "p"}


def said(facts: EnvironmentFacts) -> list[tuple[str, str]]:
    return [(each.code, each.severity.value) for each in check(facts)]


def facts(variables: dict[str, str], *run_ids: str, certain: bool = True) -> EnvironmentFacts:
    return EnvironmentFacts(variables, run_ids, certain=certain, resume_id=(*run_ids, None)[0])


def test_variables_that_name_this_run_give_no_finding() -> None:
    assert said(facts(HEALTHY, "mine")) == []
    rewind = {"WANDB_RESUME_FROM": "mine?_step=150"}
    assert said(facts(rewind, "mine")) == []
    assert said(facts({"CUDA_VISIBLE_DEVICES": "0,1"})) == []


@pytest.mark.parametrize(
    "variables",
    [
        {"WANDB_RUN_ID": "other", "WANDB_RESUME": "must"},
        {"WANDB_RESUME_FROM": "other?_step=150"},
        {"WANDB_FORK_FROM": "other?_step=150"},
    ],
)
def test_a_variable_of_another_run_is_an_error_only_where_the_run_is_known(
    variables: dict[str, str],
) -> None:
    assert said(facts(variables, "mine")) == [("RD830", "error")]
    assert said(facts(variables, "mine", certain=False)) == [("RD830", "warning")]
    assert said(facts(variables)) == []


def test_of_several_runs_the_one_of_the_checkpoint_is_meant() -> None:
    several = EnvironmentFacts(HEALTHY, ("earlier", "mine"), resume_id="earlier")
    (found,) = check(several)
    assert (found.code, found.severity.value) == ("RD830", "warning")
    assert "was logged under earlier" in found.message
    assert said(EnvironmentFacts(HEALTHY, ("earlier", "mine"), resume_id="mine")) == []


def test_a_fork_of_this_run_may_have_an_id_of_its_own() -> None:
    fork = {"WANDB_FORK_FROM": "mine?_step=150", "WANDB_RUN_ID": "branch"}
    assert said(facts(fork, "mine")) == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WANDB_RUN_ID": "mine"}, "without WANDB_RESUME"),
        ({"WANDB_RUN_ID": "mine", "WANDB_RESUME": "never"}, "refuses a run that exists"),
        ({"WANDB_RESUME": "must"}, "no run to go on with"),
        ({**HEALTHY, "WANDB_RESUME_FROM": "mine?_step=1"}, "exclude each other"),
        ({"WANDB_RUN_ID": "a", "WANDB_RESUME_FROM": "b?_step=1"}, "refuses to start"),
    ],
)
def test_variables_that_contradict_each_other_are_a_warning(
    variables: dict[str, str], words: str
) -> None:
    (found,) = [each for each in check(facts(variables)) if each.severity.value != "info"]
    assert found.code == "RD831"
    assert words in found.message


def test_where_no_variable_names_the_run_that_goes_on_it_is_said() -> None:
    assert said(facts({}, "mine")) == [("RD835", "info")]
    assert said(facts({})) == []


def test_logging_that_is_switched_off_matters_only_to_a_run_that_was_logged() -> None:
    off = {**HEALTHY, "WANDB_MODE": "disabled"}
    assert said(facts(off, "mine")) == [("RD832", "warning")]
    assert said(facts({"WANDB_DISABLED": "true"})) == []
    assert said(facts({**HEALTHY, "WANDB_MODE": "offline"}, "mine")) == []


@pytest.mark.parametrize(
    ("named", "severity"),
    [
        (NamedCheckpoint("/r/checkpoint-9", exists=False), "error"),
        (NamedCheckpoint("/q/checkpoint-9", exists=True, in_run=False), "warning"),
        (NamedCheckpoint("/r/checkpoint-9", exists=True, in_run=True, verdict="unsound"), "error"),
        (
            NamedCheckpoint("/r/checkpoint-9", exists=True, in_run=True, wanted="checkpoint-12"),
            "warning",
        ),
        (
            NamedCheckpoint("/r/checkpoint-9/", exists=True, in_run=True, wanted="checkpoint-9"),
            None,
        ),
    ],
)
def test_the_checkpoint_that_is_named_must_be_the_one_to_resume_from(
    named: NamedCheckpoint, severity: str | None
) -> None:
    found = list(check(EnvironmentFacts({}, named=named)))
    assert [(each.code, each.severity.value) for each in found] == (
        [("RD833", severity)] if severity else []
    )


@pytest.mark.parametrize("value", ["", " ", "-1", "NoDevFiles"])
def test_gpus_that_are_hidden_matter_less_to_a_run_that_never_used_one(value: str) -> None:
    variables = {"CUDA_VISIBLE_DEVICES": value}
    assert said(EnvironmentFacts(variables)) == [("RD834", "warning")]
    assert said(EnvironmentFacts(variables, trained_on_gpu=True)) == [("RD834", "warning")]
    assert said(EnvironmentFacts(variables, trained_on_gpu=False)) == [("RD834", "info")]


def test_secrets_are_masked_by_name_and_by_what_they_look_like() -> None:
    told = dict(
        shown(
            {
                "WANDB_API_KEY": "0123456789012345678901234567890123456789",
                "HF_TOKEN": "hf_abcdefghijklmnop",
                "HF_HOME": "/data/hf",
                "WANDB_BASE_URL": "https://me:pass@wandb.example",
                "WANDB_NOTES": "key is wandb_v1_abcdefghijklm",
                "TOKENIZERS_PARALLELISM": "false",
                "MY_DATABASE": "something nobody foresaw",
                "CUDA_VISIBLE_DEVICES": "0",
            }
        )
    )
    assert told == {
        "WANDB_API_KEY": MASK,
        "HF_TOKEN": MASK,
        "HF_HOME": "/data/hf",
        "WANDB_BASE_URL": MASK,
        "WANDB_NOTES": MASK,
        "TOKENIZERS_PARALLELISM": "false",
        "MY_DATABASE": None,
        "CUDA_VISIBLE_DEVICES": "0",
    }
