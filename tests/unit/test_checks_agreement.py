from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from resume_daemon.verification import verify
from tests.checkpoints import (
    SHAPES,
    adapter_at,
    edit_state,
    optimizer_at,
    trainer_state_at,
    weights_at,
    write_adapter,
    write_adapter_checkpoint,
    write_arguments,
    write_checkpoint,
    write_json,
)
from tests.torch_files import Global, Reduced, write_torch_file
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from pathlib import Path

STATE = "trainer_state.json"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, 10)


def log_of(*entries: Any) -> dict[str, Any]:
    return {"log_history": list(entries)}


def set_counters(
    checkpoint: Path, *, optimizer: int | None = None, scheduler: int | None = None
) -> None:
    """Write an optimizer and a schedule that have counted so many steps."""
    if optimizer is not None:
        write_torch_file(checkpoint / "optimizer.pt", optimizer_at(optimizer))
    if scheduler is not None:
        write_torch_file(checkpoint / "scheduler.pt", {"last_epoch": scheduler})


def write_run(run: Path, *counters: tuple[int, int, int], **arguments: Any) -> list[Path]:
    """Write checkpoints whose trainer, optimizer and schedule have counted so many steps."""
    written = []
    for step, optimizer, scheduler in counters:
        checkpoint = write_checkpoint(run, step)
        set_counters(checkpoint, optimizer=optimizer, scheduler=scheduler)
        write_arguments(checkpoint, **arguments)
        written.append(checkpoint)
    return written


# The trainer's state


def test_a_step_that_is_not_the_name_s_is_an_error(checkpoint: Path) -> None:
    edit_state(checkpoint, global_step=17)

    assert told(verified(checkpoint)) == ["RD401 error", "RD403 error", "RD404 error"]
    assert found(verified(checkpoint), "RD401").message == (
        "global_step is 17, the directory says 10"
    )


def test_a_directory_of_another_name_declares_no_step(checkpoint: Path) -> None:
    best = checkpoint.rename(checkpoint.with_name("best"))

    assert told(verified(best)) == []


@pytest.mark.parametrize("value", [None, "10", 10.0, True, -1, 10**100, [10]])
def test_a_step_that_is_no_whole_number_is_an_error(checkpoint: Path, value: Any) -> None:
    edit_state(checkpoint, global_step=value)

    assert told(verified(checkpoint)) == ["RD408 error"]


@pytest.mark.parametrize("value", [None, {}, "log"])
def test_a_log_that_is_no_list_is_an_error(checkpoint: Path, value: Any) -> None:
    edit_state(checkpoint, log_history=value)

    assert told(verified(checkpoint)) == ["RD408 error"]


@pytest.mark.parametrize("entries", [[{"step": 11}], [{"step": 12}, {"step": 9}]])
def test_a_log_that_ends_after_its_own_step_is_an_error(
    checkpoint: Path, entries: list[Any]
) -> None:
    edit_state(checkpoint, **log_of(*entries))

    assert "RD402 error" in told(verified(checkpoint))


def test_a_log_that_goes_back_is_told_once(checkpoint: Path) -> None:
    edit_state(checkpoint, **log_of({"step": 4}, {"step": 2}, {"step": 1}, {"step": 5}))

    assert told(verified(checkpoint)) == ["RD406 warning"]
    assert found(verified(checkpoint), "RD406").message == (
        "entry 1 of log_history is of step 2, after step 4"
    )


@pytest.mark.parametrize("entry", [None, 5, "x", [], {}, {"step": None}, {"step": "1"}])
def test_an_entry_without_a_step_is_told(checkpoint: Path, entry: Any) -> None:
    for entries in ([entry], [{"step": 3}, {"step": 2}, entry], [entry, {"loss": 1.0}]):
        edit_state(checkpoint, **log_of(*entries))
        assert told(verified(checkpoint))[-1] == "RD406 warning"


HEALTHY_LOGS = {
    "nothing logged yet": [],
    "every tenth step": [{"loss": 1.0, "step": 10}],
    "an evaluation of the same step": [{"loss": 1.0, "step": 10}, {"eval_loss": 1.0, "step": 10}],
    "the end of the training": [{"loss": 1.0, "step": 10}, {"train_runtime": 1.0, "step": 10}],
    "a whole number as loss": [{"loss": 0, "step": 10}],
    "an infinite metric that is no loss": [{"kl": math.inf, "step": 10}],
}


@pytest.mark.parametrize("entries", HEALTHY_LOGS.values(), ids=HEALTHY_LOGS.keys())
def test_a_healthy_log_is_not_accused(checkpoint: Path, entries: list[Any]) -> None:
    edit_state(checkpoint, **log_of(*entries))

    assert told(verified(checkpoint)) == []


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_now_is_a_warning_and_one_of_old_is_told(
    checkpoint: Path, loss: float
) -> None:
    bad, good = {"loss": loss, "step": 4}, {"loss": 1.0, "step": 8}

    edit_state(checkpoint, **log_of(bad))
    assert told(verified(checkpoint)) == ["RD407 warning"]

    edit_state(checkpoint, **log_of(bad, good))
    assert told(verified(checkpoint)) == ["RD407 info"]
    assert "finite again at step 8" in found(verified(checkpoint), "RD407").message


def test_the_first_checkpoint_of_all_may_be_of_step_zero(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 0)
    write_torch_file(checkpoint / "optimizer.pt", {"state": {}, "param_groups": [{"params": []}]})

    assert told(verified(checkpoint)) == []


# Counters


def test_a_schedule_of_another_step_is_an_error(checkpoint: Path) -> None:
    for other in (5, 15):
        set_counters(checkpoint, scheduler=other)
        assert told(verified(checkpoint)) == ["RD403 error"]


def test_an_optimizer_of_another_step_is_an_error(checkpoint: Path) -> None:
    for other in (5, 15):
        set_counters(checkpoint, optimizer=other)
        assert told(verified(checkpoint)) == ["RD404 error"]


def test_a_counter_that_is_ahead_is_an_error_whatever_the_other_says(checkpoint: Path) -> None:
    set_counters(checkpoint, optimizer=15, scheduler=15)

    assert told(verified(checkpoint)) == ["RD403 error", "RD404 error"]


def test_the_name_s_step_counts_where_the_state_is_not_there(checkpoint: Path) -> None:
    set_counters(checkpoint, optimizer=5)
    (checkpoint / STATE).write_text("{")

    assert told(verified(checkpoint)) == ["RD120 error", "RD404 error"]


SCHEDULES = {
    "none that counts (ChainedScheduler)": {"_schedulers": [{"last_epoch": 10}], "_last_lr": [0.1]},
    "a sequence of others": {"_milestones": [5], "last_epoch": 10, "_schedulers": [{}, {}]},
    "by evaluations (ReduceLROnPlateau)": {"last_epoch": 2, "num_bad_epochs": 0, "best": 1.0},
    "with restarts": {"T_0": 4, "T_cur": 2, "last_epoch": 10, "_step_count": 0},
    "of another form": ["last_epoch", 3],
}


@pytest.mark.parametrize("state", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_a_schedule_of_any_kind_is_not_accused(checkpoint: Path, state: Any) -> None:
    write_torch_file(checkpoint / "scheduler.pt", state)

    assert told(verified(checkpoint)) == []


def optimizers() -> dict[str, Any]:
    groups = [{"lr": 1e-5, "params": [0, 1]}]
    moments = np.ones((96, 64), np.float32)
    small = np.ones(3, np.uint8)
    return {
        "without any state (SGD)": {"state": {}, "param_groups": groups},
        "with momentum and no counter": {
            "state": {0: {"momentum_buffer": moments}},
            "param_groups": groups,
        },
        "with momentum of None": {"state": {0: {"momentum_buffer": None}}, "param_groups": groups},
        "with plain numbers": {"state": {0: {"step": 10}, 1: {"step": 7}}, "param_groups": groups},
        "with tensors of one element": {
            "state": {0: {"step": np.array([10.0], np.float32)}},
            "param_groups": groups,
        },
        "in 8 bits": {
            "state": {0: {"step": 10, "state1": small, "state2": small, "qmap1": small}},
            "param_groups": groups,
        },
        "with parameters by name (FSDP)": {
            "state": {"model.norm.weight": {"step": np.array(10.0, np.float32)}},
            "param_groups": [],
        },
        "of which most parameters never had a gradient": {
            "state": {0: {"step": 10}, **{n: {"step": 1} for n in range(1, 9)}},
            "param_groups": groups,
        },
        "that is no dict": [1, 2, 3],
    }


@pytest.mark.parametrize("state", optimizers().values(), ids=optimizers().keys())
def test_an_optimizer_of_any_kind_is_not_accused(checkpoint: Path, state: Any) -> None:
    write_torch_file(checkpoint / "optimizer.pt", state)

    assert told(verified(checkpoint)) == []


@pytest.mark.parametrize("step", [5, 5.0, np.array([5], np.int64), np.array(5.0, np.float32)])
def test_a_counter_of_any_kind_is_compared(checkpoint: Path, step: Any) -> None:
    state = {0: {"step": step}, 1: {"step": 2}, 2: "no state", 3: {"steps": 99}}
    write_torch_file(checkpoint / "optimizer.pt", {"state": state, "param_groups": []})

    assert told(verified(checkpoint)) == ["RD404 error"]
    assert "has counted 5 steps" in found(verified(checkpoint), "RD404").message


@pytest.mark.parametrize(
    "step", [-5, 2**60, 10**4000, math.nan, math.inf, True, "10", np.array(np.nan, np.float32)]
)
def test_a_counter_that_is_none_is_not_compared(checkpoint: Path, step: Any) -> None:
    write_torch_file(
        checkpoint / "optimizer.pt", {"state": {0: {"step": step}}, "param_groups": []}
    )
    write_torch_file(checkpoint / "scheduler.pt", {"last_epoch": step})
    verification = verified(checkpoint)

    assert set(told(verification)) <= {"RD311 error"}
    assert verification.manifest is not None
    assert verification.manifest.steps == {"trainer": 10}


# An optimizer that an earlier resume lost


def test_an_optimizer_that_was_started_afresh_is_a_warning_and_then_history(
    tmp_path: Path,
) -> None:
    first, second = write_run(tmp_path, (10, 4, 4), (12, 6, 6))

    assert told(verified(first)) == ["RD409 warning"]
    assert told(verified(second, before=first)) == ["RD409 info"]


def test_the_gap_of_the_checkpoint_before_explains_no_other_gap(tmp_path: Path) -> None:
    first, second = write_run(tmp_path, (10, 4, 4), (20, 6, 6))

    assert told(verified(second, before=first)) == ["RD409 warning"]


def test_files_of_the_save_before_are_told_although_both_agree(tmp_path: Path) -> None:
    first, second = write_run(tmp_path, (10, 10, 10), (20, 10, 10))

    assert told(verified(second, before=first)) == ["RD409 warning", "RD413 error", "RD413 error"]


def test_where_only_one_counts_it_may_be_a_fresh_start_or_a_mix_up(checkpoint: Path) -> None:
    write_torch_file(checkpoint / "optimizer.pt", {"state": {}, "param_groups": []})
    set_counters(checkpoint, scheduler=4)
    assert told(verified(checkpoint)) == ["RD403 warning"]

    set_counters(checkpoint, optimizer=4)
    write_torch_file(checkpoint / "scheduler.pt", {"_schedulers": []})
    assert told(verified(checkpoint)) == ["RD404 warning"]


def test_a_schedule_that_was_lost_alone_long_ago_is_history(tmp_path: Path) -> None:
    first, second = write_run(tmp_path, (10, 10, 4), (12, 12, 6))

    assert told(verified(second)) == ["RD403 error"]
    assert told(verified(second, before=first)) == []


# Steps that a gradient scaler skipped


@pytest.mark.parametrize("counters", [(10, 7, 7), (10, 7, 10)], ids=["plain", "fused"])
@pytest.mark.parametrize("known", ["argument", "scaler"])
def test_skipped_steps_of_half_precision_are_no_fault(
    tmp_path: Path, counters: tuple[int, int, int], known: str
) -> None:
    (checkpoint,) = write_run(tmp_path, counters, fp16=known == "argument")
    if known == "scaler":
        write_torch_file(checkpoint / "scaler.pt", {"scale": 1024.0})

    assert verified(checkpoint).verdict == "sound"


def test_the_same_lag_without_half_precision_is_one(tmp_path: Path) -> None:
    (checkpoint,) = write_run(tmp_path, (10, 7, 10), fp16=False)

    assert told(verified(checkpoint)) == ["RD404 error"]


def test_a_scaler_makes_no_counter_run_ahead(tmp_path: Path) -> None:
    (checkpoint,) = write_run(tmp_path, (10, 12, 11), fp16=True)

    assert told(verified(checkpoint)) == ["RD403 error", "RD404 error"]


def test_an_optimizer_that_stands_still_is_of_the_save_before(tmp_path: Path) -> None:
    first, second = write_run(tmp_path, (100, 97, 100), (200, 97, 200), fp16=True)

    assert told(verified(second, before=first)) == ["RD404 error"]


def test_a_scaler_may_skip_every_step_of_the_first_few(tmp_path: Path) -> None:
    first, second = write_run(tmp_path, (2, 0, 0), (12, 0, 0), fp16=True)
    weights = (first / "model.safetensors").read_bytes()
    (second / "model.safetensors").write_bytes(weights)

    assert told(verified(second, before=first)) == ["RD409 info", "RD216 warning"]


# Shapes


def set_optimizer(checkpoint: Path, *shapes: tuple[int, ...]) -> None:
    named = {str(number): shape for number, shape in enumerate(shapes)}
    write_torch_file(checkpoint / "optimizer.pt", optimizer_at(10, named))


def test_an_optimizer_of_a_larger_model_is_an_error(checkpoint: Path) -> None:
    set_optimizer(checkpoint, *((2 * rows, *rest) for rows, *rest in SHAPES.values()))

    assert told(verified(checkpoint)) == ["RD405 error"]


def test_frozen_weights_have_no_moments(checkpoint: Path) -> None:
    set_optimizer(checkpoint, *list(SHAPES.values())[3:])

    assert told(verified(checkpoint)) == []


def test_weights_that_are_saved_in_another_form_than_they_are_trained_are_fine(
    checkpoint: Path,
) -> None:
    # transformers 5 trains the experts of a layer as one tensor, and saves one per expert.
    experts = {
        f"model.layers.0.mlp.experts.{n}.{kind}.weight": np.ones((32, 64), np.float32)
        for n in range(4)
        for kind in ("gate_proj", "up_proj")
    }
    save_file({**weights_at(10), **experts}, checkpoint / "model.safetensors")
    set_optimizer(checkpoint, *SHAPES.values(), (4, 64, 64))
    assert told(verified(checkpoint)) == []

    set_optimizer(checkpoint, *SHAPES.values(), (4, 64, 64), (4, 64, 64))
    assert told(verified(checkpoint)) == ["RD405 error"]


@pytest.mark.parametrize("rank", [8, 32])
def test_an_optimizer_of_another_adapter_rank_is_an_error(tmp_path: Path, rank: int) -> None:
    checkpoint = write_adapter_checkpoint(tmp_path, 10)
    set_optimizer(checkpoint, (rank, 64), (64, rank))

    assert told(verified(checkpoint)) == ["RD405 error"]
    assert found(verified(checkpoint), "RD405").message == (
        f"1 moments of shape [{rank}, 64], but 0 such weights"
    )


def test_adapters_with_more_than_their_two_matrices_are_fine(tmp_path: Path) -> None:
    stem = "base_model.model"
    weights = adapter_at(10) | {
        f"{stem}.q_proj.lora_magnitude_vector": np.ones(64, np.float32),
        f"{stem}.lm_head.weight": np.ones((96, 64), np.float32),
        f"{stem}.q_proj.lora_B.bias": np.ones(64, np.float32),
    }
    checkpoint = write_adapter_checkpoint(tmp_path, 10, weights)
    write_adapter(checkpoint / "ref", adapter_at(3))

    assert told(verified(checkpoint)) == []


@pytest.mark.parametrize("kind", ["ADALORA", "VBLORA", "PROMPT_TUNING", None, []])
def test_adapters_that_are_saved_in_another_form_are_not_judged(tmp_path: Path, kind: Any) -> None:
    checkpoint = write_adapter_checkpoint(tmp_path, 10)
    write_json(checkpoint / "adapter_config.json", {"peft_type": kind})
    set_optimizer(checkpoint, (6, 64), (64, 6))

    assert told(verified(checkpoint)) == []


@pytest.mark.parametrize("name", ["galore_adamw", "apollo_adamw", "muon"])
def test_low_rank_moments_are_meant_to_be_smaller(tmp_path: Path, name: str) -> None:
    checkpoint = write_adapter_checkpoint(tmp_path, 10)
    set_optimizer(checkpoint, (4, 64))
    kind = Reduced(Global("transformers.training_args", "OptimizerNames"), name)
    write_arguments(checkpoint, optim=kind)

    assert told(verified(checkpoint)) == []


def test_shapes_are_not_judged_where_a_shard_is_missing(checkpoint: Path) -> None:
    weights = weights_at(10)
    (checkpoint / "model.safetensors").unlink()
    names = sorted(weights)
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    save_file({n: weights[n] for n in names[:2]}, checkpoint / shards[0])
    weight_map = dict.fromkeys(names[:2], shards[0]) | dict.fromkeys(names[2:], shards[1])
    write_json(checkpoint / "model.safetensors.index.json", {"weight_map": weight_map})

    assert told(verified(checkpoint)) == ["RD101 error"]


# Hostile documents

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["step", "loss", "grad_norm", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run"), 10)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(list(trainer_state_at(1))), VALUES, max_size=4),
    st.lists(VALUES, max_size=4),
)
def test_no_trainer_state_makes_the_checks_fail(
    scratch: Path, changes: dict[str, Any], entries: list[Any]
) -> None:
    state = {**trainer_state_at(10), "log_history": entries, **changes}
    (scratch / STATE).write_text(json.dumps(state))

    verify(scratch, boundary=scratch.parent)
