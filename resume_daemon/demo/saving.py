"""Saving: a Hugging Face ``Trainer``'s files, with everything that a resume needs.

Order and content: transformers 5.23 ``trainer.py: _save_checkpoint`` and files that it wrote.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.demo.learning import (
    BETAS,
    CHARACTERS,
    CONTEXT,
    EPSILON,
    LEARNING_RATE,
    SEED,
    Moments,
    learning_rate,
)
from resume_daemon.demo.random_states import random_states
from resume_daemon.demo.safetensors_file import safetensors_file
from resume_daemon.formats.torch_archive import Enumerated, Instance, torch_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.demo.learning import Training

Log = list[dict[str, Any]]


def checkpoint_files(
    training: Training, log_history: Log, *, steps: int, save_steps: int
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file, in the order in which the trainer writes them.

    Args:
        training: What is saved.
        log_history: An entry per logged step.
        steps: Length of the schedule, in steps.
        save_steps: Steps between two saves.
    """
    yield "config.json", _json(_CONFIGURATION)
    yield "model.safetensors", safetensors_file(training.weights)
    yield "tokenizer_config.json", _json(_TOKENIZER_CONFIGURATION)
    yield "tokenizer.json", _json(_TOKENIZER)
    yield "training_args.bin", torch_archive("training_args", _arguments(steps, save_steps))
    yield "optimizer.pt", torch_archive("optimizer", _optimizer(training, steps))
    yield "scheduler.pt", torch_archive("scheduler", _scheduler(training, steps))
    yield "rng_state.pth", torch_archive("rng_state", random_states(training))
    yield "trainer_state.json", _json(_trainer_state(training.step, log_history, steps, save_steps))


def _optimizer(training: Training, steps: int) -> dict[str, Any]:
    moments = training.optimizer.values()
    group = {
        "lr": learning_rate(training.last_epoch, steps),
        "betas": BETAS,
        "eps": EPSILON,
        "weight_decay": 0.0,
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "decoupled_weight_decay": False,
        "initial_lr": LEARNING_RATE,
        "params": list(range(len(moments))),
    }
    state = {
        number: {kind: getattr(each, kind) for kind in Moments.__slots__}
        for number, each in enumerate(moments)
    }
    return {"state": state, "param_groups": [group]}


def _scheduler(training: Training, steps: int) -> dict[str, Any]:
    """Return the state of torch's ``LambdaLR``."""
    return {
        "base_lrs": [LEARNING_RATE],
        "last_epoch": training.last_epoch,
        "_step_count": training.last_epoch + 1,
        "_is_initial": False,
        "_get_lr_called_within_step": False,
        "_last_lr": [learning_rate(training.last_epoch, steps)],
        "lr_lambdas": [{}],
    }


def _arguments(steps: int, save_steps: int) -> Instance:
    attributes = {
        "output_dir": "run",
        "max_steps": steps,
        "save_steps": save_steps,
        "logging_steps": 1,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": Enumerated("transformers.trainer_utils", "SchedulerType", "linear"),
        "optim": Enumerated("transformers.training_args", "OptimizerNames", "adamw_torch"),
        "seed": SEED,
        "bf16": False,
        "fp16": False,
        "save_only_model": False,
        "report_to": ["wandb"],
    }
    return Instance("transformers.training_args", "TrainingArguments", attributes)


def _trainer_state(step: int, log_history: Log, steps: int, save_steps: int) -> dict[str, Any]:
    """Return transformers' ``TrainerState``, with all of its keys."""
    control = dict.fromkeys(("should_epoch_stop", "should_evaluate", "should_log"), False)
    control |= {"should_save": True, "should_training_stop": step >= steps}
    return {
        "best_global_step": None,
        "best_metric": None,
        "best_model_checkpoint": None,
        "epoch": step / steps,
        "eval_steps": 500,
        "global_step": step,
        "is_hyper_param_search": False,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": log_history,
        "logging_steps": 1,
        "max_steps": steps,
        "num_input_tokens_seen": 0,
        "num_train_epochs": 1,
        "save_steps": save_steps,
        "stateful_callbacks": {"TrainerControl": {"args": control, "attributes": {}}},
        "total_flos": 0.0,
        "train_batch_size": 512,
        "trial_name": None,
        "trial_params": None,
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


_CONFIGURATION: Final = {
    "architectures": ["NextCharacterForCausalLM"],
    "dtype": "float32",
    "model_type": "next-character",
    "num_hidden_layers": CONTEXT,
    "vocab_size": len(CHARACTERS),
}
_TOKENIZER_CONFIGURATION: Final = {
    "model_max_length": CONTEXT,
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": "\n",
}
_TOKENIZER: Final[dict[str, Any]] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": r"[\s\S]"},
        "behavior": "Isolated",
        "invert": False,
    },
    "post_processor": None,
    "decoder": {"type": "Fuse"},
    "model": {
        "type": "WordLevel",
        "vocab": {character: number for number, character in enumerate(CHARACTERS)},
        "unk_token": "\n",
    },
}
