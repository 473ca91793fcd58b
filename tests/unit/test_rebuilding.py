"""Files that are made anew from what else is there, or refused with the reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.formats.torch_file import read_torch_file
from resume_daemon.repair.rebuilding import scheduler, shard_index, trainer_state
from resume_daemon.repair.rebuilding.outcome import Rebuilt, Refused
from resume_daemon.repair.rebuilding.scheduler import Neighbour, Optimizer
from resume_daemon.repair.rebuilding.shard_index import Shard
from resume_daemon.repair.rebuilding.trainer_state import Source
from tests.checkpoints import trainer_state_at

if TYPE_CHECKING:
    from pathlib import Path

SHARDS = {
    "model-00001-of-00002.safetensors": Shard({"a": 8, "b": 16}, 6),
    "model-00002-of-00002.safetensors": Shard({"c": 4}, 1),
}


def index_of(outcome: Any) -> Any:
    assert isinstance(outcome, tuple)
    return json.loads(outcome[0].content)


# Shard index


def test_an_index_is_what_the_headers_of_its_shards_say() -> None:
    first, second = SHARDS
    assert index_of(shard_index.rebuild(SHARDS)) == {
        "metadata": {"total_size": 28},
        "weight_map": {"a": first, "b": first, "c": second},
    }


def test_an_index_takes_the_metadata_of_another_checkpoint_with_the_same_tensors() -> None:
    like = index_of(shard_index.rebuild(SHARDS))
    like["metadata"]["total_parameters"] = 5
    outcome = shard_index.rebuild(SHARDS, like)

    assert index_of(outcome) == like
    assert isinstance(outcome, tuple)
    assert outcome[0].doubts == ()


def test_an_index_takes_nothing_of_one_whose_tensors_lie_elsewhere() -> None:
    like = {"metadata": {"total_size": 28, "total_parameters": 5}, "weight_map": {"a": "x"}}
    assert index_of(shard_index.rebuild(SHARDS, like))["metadata"] == {"total_size": 28}


@pytest.mark.parametrize(
    ("shards", "reason"),
    [
        ({}, "there is no shard"),
        (dict([*SHARDS.items()][:1]), "number 2 is missing"),
        ({**SHARDS, "model-00001-of-00003.safetensors": Shard({}, 0)}, "shards of 2, 3 in all"),
        ({**SHARDS, [*SHARDS][1]: Shard({"a": 4}, 1)}, "'a' stands in"),
        ({**SHARDS, [*SHARDS][1]: Shard({}, 0, "it is cut short")}, "it is cut short"),
    ],
)
def test_an_index_is_refused_where_its_shards_are_not_whole(
    shards: dict[str, Shard], reason: str
) -> None:
    outcome = shard_index.rebuild(shards)
    assert isinstance(outcome, Refused)
    assert reason in outcome.reason


def test_shards_of_other_files_are_no_shards_of_the_index() -> None:
    names = [*SHARDS, "adapter-00001-of-00001.safetensors", "model-00001-of-00002.bin", "x.json"]
    assert shard_index.shards_of("model.safetensors.index.json", names) == tuple(SHARDS)


# Trainer state


def source(step: int, **changes: Any) -> Source:
    return Source(f"checkpoint-{step}", trainer_state_at(step, **changes))


def written(step: int, **changes: Any) -> bytes:
    state = trainer_state_at(step, **changes)
    return (json.dumps(state, indent=2, sort_keys=True) + "\n").encode()


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 60))
def test_a_state_is_rebuilt_byte_for_byte_from_any_later_one(
    step: int, further: int, before: int
) -> None:
    earlier = source(before) if 0 < before < step else None
    outcome = trainer_state.rebuild(step, source(step + further), earlier)

    assert isinstance(outcome, Rebuilt)
    assert outcome.content == written(step)
    assert outcome.doubts == ()


def test_a_state_keeps_the_best_where_it_was_reached_by_then() -> None:
    best = {"best_global_step": 5, "best_metric": 0.5, "best_model_checkpoint": "run/checkpoint-5"}
    outcome = trainer_state.rebuild(10, source(15, **best))

    assert isinstance(outcome, Rebuilt)
    assert outcome.content == written(10, **best)


def test_a_state_leaves_the_best_open_where_it_was_reached_later_and_says_so() -> None:
    best = {"best_global_step": 15, "best_metric": 0.5, "best_model_checkpoint": "run/x"}
    outcome = trainer_state.rebuild(10, source(15, **best))

    assert isinstance(outcome, Rebuilt)
    assert outcome.content == written(10)
    assert "best metric" in outcome.doubts[0]


def test_a_state_says_what_it_estimates() -> None:
    outcome = trainer_state.rebuild(10, source(15, num_input_tokens_seen=150, total_flos=3.0))

    assert isinstance(outcome, Rebuilt)
    assert json.loads(outcome.content)["num_input_tokens_seen"] == 100
    assert [doubt.split()[1] for doubt in outcome.doubts] == ["num_input_tokens_seen", "total_flos"]


def test_a_state_has_the_tokens_that_the_trainer_logged() -> None:
    later = source(15, num_input_tokens_seen=170)
    for row in later.state["log_history"]:
        row["num_tokens"] = float(20 + 10 * row["step"])
    outcome = trainer_state.rebuild(10, later)

    assert isinstance(outcome, Rebuilt)
    assert json.loads(outcome.content)["num_input_tokens_seen"] == 120
    assert outcome.doubts == ()


def test_a_state_leaves_out_what_a_callback_knew_later_and_says_so() -> None:
    control = {"args": {"should_save": True, "should_training_stop": True}, "attributes": {}}
    callbacks = {"TrainerControl": control, "EarlyStoppingCallback": {"attributes": {"counter": 2}}}
    outcome = trainer_state.rebuild(10, source(15, stateful_callbacks=callbacks))

    assert isinstance(outcome, Rebuilt)
    kept = json.loads(outcome.content)["stateful_callbacks"]
    assert kept == {
        "TrainerControl": {
            "args": {"should_save": True, "should_training_stop": False},
            "attributes": {},
        }
    }
    assert "EarlyStoppingCallback" in outcome.doubts[0]


@pytest.mark.parametrize(
    ("later", "earlier", "rate", "reason"),
    [
        (source(10), None, None, "not of a later step"),
        (Source("checkpoint-15", []), None, None, "no history"),
        (source(15, log_history=[{"loss": 1}]), None, None, "no history"),
        (source(15, log_history=[{"step": 2}, {"step": 1}]), None, None, "not in order"),
        (source(15, log_history=[{"step": 10, "train_runtime": 1}]), None, None, "ended at step"),
        (source(15), source(5, log_history=[{"step": 1, "loss": 9}]), None, "more than once"),
        (source(15), None, 3e-5, "another pass"),
    ],
)
def test_a_state_is_refused_where_the_later_one_may_be_of_another_pass(
    later: Source, earlier: Source | None, rate: float | None, reason: str
) -> None:
    outcome = trainer_state.rebuild(10, later, earlier, rate)
    assert isinstance(outcome, Refused)
    assert reason in outcome.reason


# Scheduler

BASE = 1e-3


def rate_at(step: int) -> float:
    return BASE * (15 - step) / 15


def optimizer_at(step: int, **changes: Any) -> Optimizer:
    group = {"lr": rate_at(step), "initial_lr": BASE, "params": [0], **changes}
    return Optimizer([group, group], [float(step)] * 3)


def scheduler_at(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "base_lrs": [BASE] * 2,
        "last_epoch": step,
        "_step_count": step + 1,
        "_is_initial": False,
        "_get_lr_called_within_step": False,
        "_last_lr": [rate_at(step)] * 2,
        "lr_lambdas": [{}, None],
        **changes,
    }


def neighbour(step: int, **changes: Any) -> Neighbour:
    scheduled = scheduler_at(step, **changes)
    return Neighbour(f"checkpoint-{step}", step, scheduled, optimizer_at(step))


@pytest.mark.parametrize("other", [5, 15])
def test_a_scheduler_is_what_the_optimizer_beside_it_says(other: int, tmp_path: Path) -> None:
    outcome = scheduler.rebuild(10, optimizer_at(10), neighbour(other))

    assert isinstance(outcome, Rebuilt)
    path = tmp_path / "scheduler.pt"
    path.write_bytes(outcome.content)
    found = read_torch_file(path)
    assert found.value == scheduler_at(10)
    assert found.references == ()


@pytest.mark.parametrize(
    ("optimizer", "other", "reason"),
    [
        (Optimizer([], []), neighbour(5), "do not all say 10"),
        (Optimizer(optimizer_at(10).groups, [10.0, 9.0]), neighbour(5), "do not all say 10"),
        (optimizer_at(10, initial_lr=2.0), neighbour(5), "do not begin with the rates"),
        (optimizer_at(10, lr=object()), neighbour(5), "do not begin with the rates"),
        (optimizer_at(10), neighbour(5, best=0.5), "keeps best"),
        (optimizer_at(10), neighbour(5, lr_lambdas=[{"warmup": 3}]), "state of their own"),
        (optimizer_at(10), neighbour(5, last_epoch=4), "one step at each step"),
        (optimizer_at(10), neighbour(5, _last_lr=[1.0, 1.0]), "rates of the optimizer beside"),
    ],
)
def test_a_scheduler_is_refused_where_it_would_be_a_guess(
    optimizer: Optimizer, other: Neighbour, reason: str
) -> None:
    outcome = scheduler.rebuild(10, optimizer, other)
    assert isinstance(outcome, Refused)
    assert reason in outcome.reason


def test_what_is_no_scheduler_is_refused() -> None:
    other = Neighbour("checkpoint-5", 5, [1], optimizer_at(5))
    assert isinstance(scheduler.rebuild(10, optimizer_at(10), other), Refused)
