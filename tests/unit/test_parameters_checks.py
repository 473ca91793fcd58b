"""What is said of the parameters of a run, with the sources that a run has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from resume_daemon.parameters.checks import check, fitting
from resume_daemon.parameters.facts import CheckpointFacts, Facts, SegmentFacts
from resume_daemon.parameters.lengths import Strategy
from resume_daemon.parameters.mending import mendings
from resume_daemon.parameters.resolve import resolve
from resume_daemon.parameters.values import Setting, Source, SourceKind

RUN = Path("/run")
FILE = Source(SourceKind.CONFIGURATION, RUN / "train.yaml", "train.yaml")
LINE = Source(SourceKind.COMMAND_LINE, RUN / "train.sh", "train.sh")
CODE = Source(SourceKind.CODE, RUN / "configs.py", "configs.py")
SAVED = Source(SourceKind.CHECKPOINT, RUN / "checkpoint-20", "checkpoint-20/training_args.bin")
MODEL = Source(SourceKind.CHECKPOINT, RUN / "checkpoint-20", "checkpoint-20/config.json")
ADAPTER = Source(SourceKind.CHECKPOINT, RUN / "checkpoint-20", "adapter_config.json")

FITS = {"max_prompt_length": 1536, "max_completion_length": 2560, "max_seq_length": 4096}
TOO_LONG = {**FITS, "max_completion_length": 2561}


def settings(source: Source, values: dict[str, Any], **more: Any) -> tuple[Setting, ...]:
    return tuple(
        Setting(name, value, source, line=number, **more)
        for number, (name, value) in enumerate(values.items(), start=1)
    )


def facts(*found: tuple[Setting, ...], **more: Any) -> Facts:
    every = tuple(setting for group in found for setting in group)
    # A release that takes max_prompt_length, which is not what most tests are about.
    more = {"versions": {"trl": "0.27.0"}, **more}
    return Facts(RUN, parameters=resolve(every), settings=every, **more)


def codes(found: Facts) -> list[str]:
    return [each.code for each in check(found)]


def test_nothing_known_is_nothing_said() -> None:
    assert codes(facts()) == []


def test_the_guides_own_example_fits_and_one_token_more_does_not() -> None:
    assert codes(facts(settings(FILE, FITS))) == []
    (sentence,) = fitting(facts(settings(FILE, FITS)))
    assert "= 4096 fits max_seq_length 4096" in sentence
    (finding,) = check(facts(settings(FILE, TOO_LONG)))
    assert finding.code == "RD801"
    assert "custom (keeps your ratio): 1536 + 2560" in finding.hint


def test_the_command_line_is_what_counts() -> None:
    line = settings(LINE, {"--max-completion-length": "2560"})
    assert codes(facts(settings(FILE, TOO_LONG), line)) == []


def test_lengths_of_the_script_count_under_their_own_names() -> None:
    script = {
        "script_max_prompt_length": 1536,
        "script_max_completion_length": 2561,
        "max_seq_length": 4096,
    }
    assert codes(facts(settings(CODE, script))) == ["RD801"]


def test_lengths_that_are_computed_at_the_start_are_not_judged() -> None:
    computed = settings(FILE, {"max_completion_length": 9999}, certain=False)
    rest = settings(FILE, {"max_prompt_length": 1536, "max_seq_length": 4096})
    assert codes(facts(computed, rest)) == ["RD816"]
    assert list(fitting(facts(computed, rest))) == []


def test_the_script_and_the_trainer_have_to_agree() -> None:
    found = facts(
        settings(CODE, {"script_max_prompt_length": 1536}),
        settings(FILE, {"max_prompt_length": 1024}),
    )
    assert codes(found) == ["RD804"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"max_position_embeddings": 32768}, []),
        ({"max_position_embeddings": 4096}, []),
        ({"max_position_embeddings": 2048}, ["RD802"]),
        ({"max_position_embeddings": 2048, "rope_scaling": {"factor": 4.0}}, []),
        ({"max_position_embeddings": 2048, "rope_scaling": {"factor": "x"}}, ["RD802"]),
        ({"max_position_embeddings": 2048, "rope_scaling": None}, ["RD802"]),
        # The bound of generate(), which has nothing to do with training.
        ({"max_length": 20}, []),
        ({"max_position_embeddings": -1}, []),
    ],
)
def test_the_models_positions_are_a_limit(model: dict[str, Any], expected: list[str]) -> None:
    assert codes(facts(settings(FILE, FITS), settings(MODEL, model))) == expected


@pytest.mark.parametrize(("used", "expected"), [(True, ["RD803"]), (False, []), (None, [])])
def test_vllms_context_is_a_limit_where_it_is_used(used: bool | None, expected: list[str]) -> None:
    values = {**FITS, "vllm_max_model_length": 4000, "use_vllm": used}
    assert codes(facts(settings(FILE, values))) == expected


def test_lengths_of_the_past_are_no_matter_of_a_start_that_is_given_others() -> None:
    script = {"script_max_prompt_length": 512, "script_max_completion_length": 512}
    given = settings(LINE, {**script, "max_seq_length": 1024})
    assert "RD801" not in codes(facts(settings(SAVED, TOO_LONG), given))
    assert "RD801" in codes(facts(settings(SAVED, TOO_LONG), settings(LINE, {"seed": 1})))


@pytest.mark.parametrize(("completion", "expected"), [(4095, []), (4096, ["RD819"])])
def test_a_completion_without_a_prompts_length_leaves_room_for_one(
    completion: int, expected: list[str]
) -> None:
    model = settings(MODEL, {"max_position_embeddings": 4096})
    assert codes(facts(settings(FILE, {"max_completion_length": completion}), model)) == expected
    prompt = {"max_completion_length": completion, "max_prompt_length": 1}
    assert "RD819" not in codes(facts(settings(FILE, prompt), model))


def computed(values: dict[str, Any]) -> tuple[Setting, ...]:
    return settings(CODE, values, scope="ScriptConfig.__post_init__")


def test_a_length_that_the_script_cuts_is_told_as_it_is_written() -> None:
    found = facts(computed({"max_completion_length": 2560}), settings(LINE, TOO_LONG))
    # As the survey has it: what the script makes of it counts.
    name = "max_completion_length"
    made = found.parameters[name]
    cut = next(each for each in made.settings if each.scope)
    parameters = {**found.parameters, name: dataclasses.replace(made, next_start=cut)}
    found = dataclasses.replace(found, parameters=parameters)
    (finding,) = check(found)
    assert (finding.code, finding.severity) == ("RD801", "warning")
    assert "max_completion_length 2561 (train.sh line 2) = 4097" in finding.message
    assert "the script makes it max_completion_length 2560" in finding.message
    assert wished(found) == [("max_completion_length", 2560)]


def test_lengths_that_the_script_allocates_itself_are_judged_as_it_does() -> None:
    both = {"max_prompt_length": 2048, "max_completion_length": 2048}
    found = facts(computed(both), settings(CODE, TOO_LONG))
    parameters = dict(found.parameters)
    for name in both:
        made = next(each for each in parameters[name].settings if each.scope)
        parameters[name] = dataclasses.replace(parameters[name], next_start=made)
    found = dataclasses.replace(found, parameters=parameters)
    assert codes(found) == []
    assert wished(found) == []


def test_batches_are_judged_with_the_processes_that_are_started() -> None:
    values = {"num_generations": 6, "per_device_train_batch_size": "4"}
    assert codes(facts(settings(LINE, values), processes=2)) == ["RD805"]
    assert codes(facts(settings(LINE, values), processes=3)) == []
    assert codes(facts(settings(LINE, values))) == ["RD806"]


def test_counts_that_saved_arguments_have_computed_are_not_taken_for_given() -> None:
    saved = {
        "num_generations": 8,
        "per_device_train_batch_size": 8,
        "generation_batch_size": 8,
        "steps_per_generation": 1,
    }
    assert codes(facts(settings(SAVED, saved), processes=1)) == []


def test_an_argument_is_judged_by_the_trainers_release() -> None:
    call = settings(CODE, {"max_prompt_length": 1536}, scope="GRPOConfig")
    assert codes(facts(call, versions={"trl": "1.16.0"})) == ["RD809"]
    assert codes(facts(call, versions={"trl": "0.24.0"})) == []
    assert codes(facts(call, versions={})) == ["RD810"]


def test_a_scripts_own_field_of_that_name_is_no_argument_of_the_trainer() -> None:
    own = settings(CODE, {"max_prompt_length": 1536}, scope="ScriptConfig")
    line = settings(LINE, {"--max-prompt-length": 1536})
    assert codes(facts(own, line, versions={"trl": "1.16.0"})) == []


def checkpoint(step: int, values: dict[str, Any], **more: Any) -> CheckpointFacts:
    name = f"checkpoint-{step}"
    return CheckpointFacts(name, RUN / name, step, settings(SAVED, values), **more)


def test_a_learning_rate_that_changed_between_checkpoints_is_told() -> None:
    found = facts(
        checkpoints=(
            checkpoint(10, {"learning_rate": 6e-6, "seed": 42, "global_step": 10}),
            checkpoint(20, {"learning_rate": 1e-5, "seed": 42, "global_step": 20}),
        )
    )
    (finding,) = check(found)
    assert finding.code == "RD812"
    assert "between checkpoint-10 and checkpoint-20: learning_rate" in finding.message


def test_a_tracker_that_says_the_same_again_is_not_repeated() -> None:
    segments = tuple(
        SegmentFacts(name, "r", settings(SAVED, {"learning_rate": rate, "beta": beta}))
        for name, rate, beta in (("one", 6e-6, 0.04), ("two", 1e-5, 0.1))
    )
    found = facts(
        checkpoints=(
            checkpoint(10, {"learning_rate": 6e-6}),
            checkpoint(20, {"learning_rate": 1e-5}),
        ),
        segments=segments,
    )
    first, second = check(found)
    assert "learning_rate" in first.message
    assert "beta" in second.message
    assert "learning_rate" not in second.message


def test_what_the_next_start_changes_is_told_before_it_does() -> None:
    saved = settings(SAVED, {"beta": 0.04, "seed": 42})
    given = settings(LINE, {"--beta": "0.1", "--seed": "42"})
    (finding,) = check(facts(saved, given))
    assert finding.code == "RD812"
    assert "beta 0.04 -> '0.1'" in finding.message


def test_a_default_in_code_is_no_change_where_the_command_is_not_known() -> None:
    saved = settings(SAVED, {"beta": 0.04})
    assert codes(facts(saved, settings(CODE, {"beta": 0.1}))) == []
    known = settings(LINE, {"--seed": "42"})
    assert codes(facts(saved, settings(CODE, {"beta": 0.1}), known)) == ["RD812"]


def test_a_learning_rate_that_a_resume_overrules_is_told() -> None:
    saved = settings(SAVED, {"learning_rate": 6e-6})
    (finding,) = check(facts(saved, settings(LINE, {"--learning-rate": "1e-5"})))
    assert finding.code == "RD817"
    assert codes(facts(saved, settings(LINE, {"--lr": "6e-06"}))) == []


SHAPES = {
    "base_model.model.layers.0.q_proj.lora_A.weight": (16, 64),
    "base_model.model.layers.0.q_proj.lora_B.weight": (64, 16),
}


@pytest.mark.parametrize(
    ("adapter", "given", "expected"),
    [
        ({"r": 16, "target_modules": ["q_proj"]}, {}, []),
        ({"r": 16, "target_modules": ["q_proj"]}, {"--lora_rank": "16"}, []),
        ({"r": 32, "target_modules": ["q_proj"]}, {}, ["RD814"]),
        ({"r": 16, "target_modules": ["q_proj", "v_proj"]}, {}, ["RD815"]),
        ({"r": 16, "target_modules": ["q_proj"]}, {"--lora_rank": "64"}, ["RD814"]),
    ],
)
def test_the_adapters_tensors_are_what_counts(
    adapter: dict[str, Any], given: dict[str, Any], expected: list[str]
) -> None:
    saved = settings(ADAPTER, adapter)
    at = CheckpointFacts("checkpoint-20", RUN, 20, saved, SHAPES)
    assert codes(facts(settings(LINE, given), checkpoint=at)) == expected


def test_the_gravest_come_first() -> None:
    found = facts(
        settings(SAVED, {"seed": 1}),
        settings(LINE, {**TOO_LONG, "seed": 2, "num_generations": 6}),
        settings(LINE, {"per_device_train_batch_size": 4}),
    )
    assert codes(found) == ["RD801", "RD812", "RD806"]


def wished(found: Facts, strategy: Strategy = Strategy.CUSTOM) -> list[tuple[str, int]]:
    return [
        (wish.setting.name, wish.value)
        for mending in mendings(found, strategy)
        for wish in mending.wishes
    ]


def test_lengths_that_fit_are_left_alone_whatever_the_strategy() -> None:
    for strategy in Strategy:
        assert wished(facts(settings(FILE, FITS)), strategy) == []


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.CUSTOM, [("max_completion_length", 2560)]),
        (
            Strategy.BALANCED,
            [("max_prompt_length", 2048), ("max_completion_length", 2048)],
        ),
        (
            Strategy.PROMPT_HEAVY,
            [("max_prompt_length", 2457), ("max_completion_length", 1639)],
        ),
        (
            Strategy.COMPLETION_HEAVY,
            [("max_prompt_length", 1638), ("max_completion_length", 2458)],
        ),
    ],
)
def test_only_the_lengths_that_have_to_change_are_changed(
    strategy: Strategy, expected: list[tuple[str, int]]
) -> None:
    assert wished(facts(settings(FILE, TOO_LONG)), strategy) == expected


def test_the_scripts_and_the_trainers_lengths_are_set_together() -> None:
    found = facts(
        settings(CODE, {"script_max_completion_length": 2561, "script_max_prompt_length": 1536}),
        settings(FILE, TOO_LONG),
    )
    assert wished(found) == [
        ("script_max_completion_length", 2560),
        ("max_completion_length", 2560),
    ]


def test_one_plan_sets_all_of_them_where_none_fits() -> None:
    found = facts(
        settings(CODE, {"script_max_completion_length": 2561, "script_max_prompt_length": 1536}),
        settings(FILE, {**TOO_LONG, "max_prompt_length": 1024, "max_completion_length": 4000}),
    )
    assert wished(found) == [
        ("max_prompt_length", 1536),
        ("script_max_completion_length", 2560),
        ("max_completion_length", 2560),
    ]


def test_the_trainers_length_follows_the_scripts() -> None:
    found = facts(
        settings(CODE, {"script_max_prompt_length": 1536}),
        settings(FILE, {"max_prompt_length": 1024}),
    )
    assert wished(found) == [("max_prompt_length", 1536)]


def test_what_only_a_checkpoint_remembers_is_not_edited() -> None:
    (mending,) = mendings(facts(settings(SAVED, TOO_LONG)), Strategy.CUSTOM)
    assert mending.wishes == ()
    assert "give the trainer max_completion_length 2560" in mending.reason


def test_a_length_that_is_computed_is_not_edited() -> None:
    computed = settings(FILE, {"max_completion_length": 9999}, certain=False)
    rest = settings(FILE, {"max_prompt_length": 1536, "max_seq_length": 4096})
    (mending,) = mendings(facts(computed, rest), Strategy.CUSTOM)
    assert "computed" in mending.reason
