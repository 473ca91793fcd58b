"""The demo's checkpoints: a Hugging Face ``Trainer``'s files, with everything a resume needs.

Order and content: transformers 5.23 ``trainer.py: _save_checkpoint`` and files that it wrote.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from resume_daemon.demo.learning import (
    BETAS,
    CHARACTERS,
    CONTEXT,
    EPSILON,
    LEARNING_RATE,
    SEED,
    Array,
    Moments,
    Training,
    learning_rate,
)
from resume_daemon.demo.safetensors_file import safetensors_file
from resume_daemon.demo.torch_archive import Enumerated, Instance, NumpyArray, torch_archive
from resume_daemon.formats.json_document import read_json
from resume_daemon.formats.safetensors import read_header
from resume_daemon.formats.torch_file import read_torch_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Log = list[dict[str, Any]]

# Of torch's CPU generator (ATen CPUGeneratorImpl.cpp: CPUGeneratorImplState): seed, words left,
# seeded, next word, 624 words, three cached normals and whether they are valid.
_TORCH_RANDOM: Final = struct.Struct("<QiiQ624Q3di4xf?3x")


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
    yield "rng_state.pth", torch_archive("rng_state", _random_states(training))
    yield "trainer_state.json", _json(_trainer_state(training.step, log_history, steps, save_steps))


def load_checkpoint(directory: Path) -> tuple[Training, Log]:
    """Return the training that a checkpoint holds, and its log.

    Raises:
        FormatError: A file is not what its format promises.
        VanishedError: A file is missing.
    """
    weights = _saved_weights(directory / "model.safetensors")
    moments = _saved_tensors(directory / "optimizer.pt")
    optimizer = {
        name: Moments(*(moments[f"state.{number}.{kind}"] for kind in Moments.__slots__))
        for number, name in enumerate(weights)
    }
    state = read_json(directory / "trainer_state.json")
    schedule = read_torch_file(directory / "scheduler.pt").value
    training = Training(weights, optimizer, state["global_step"], schedule["last_epoch"])
    _restore_random_states(training, directory / "rng_state.pth")
    return training, state["log_history"]


def _saved_weights(path: Path) -> dict[str, Array]:
    return {
        span.name: np.fromfile(
            path, np.float32, span.size // np.float32().itemsize, offset=span.begin
        ).reshape(span.shape)
        for span in read_header(path).tensors
    }


def _saved_tensors(path: Path) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, tensor in read_torch_file(path).tensors.items():
        if tensor.span is not None:
            kind = np.uint8 if tensor.dtype == "U8" else np.float32
            values = np.fromfile(path, kind, tensor.elements, offset=tensor.span.begin)
            found[name] = values.reshape(tensor.shape)
    return found


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


def _random_states(training: Training) -> dict[str, Any]:
    kind, words, position, *normals = training.positions.get_state(legacy=True)
    _, own, next_word, *_ = training.dropout.get_state(legacy=True)
    torch_state = _TORCH_RANDOM.pack(
        SEED, len(own) + 1 - next_word, 1, next_word, *map(int, own), 0, 0, 0, 0, 0, False
    )
    return {
        "python": training.passages.getstate(),
        "numpy": (kind, NumpyArray(np.asarray(words)), int(position), *normals),
        "cpu": np.frombuffer(torch_state, np.uint8),
    }


def _restore_random_states(training: Training, path: Path) -> None:
    value = read_torch_file(path).value
    training.passages.setstate(value["python"])
    kind, array, *rest = value["numpy"]
    # The array is an inert node, whose state ends in its bytes (numpy ndarray.__setstate__).
    training.positions.set_state((kind, np.frombuffer(array.state[4], np.uint32), *rest))
    _, _, _, next_word, *words = _TORCH_RANDOM.unpack(_saved_tensors(path)["cpu"].tobytes())
    own = np.array(words[: len(words) - 6], np.uint32)
    training.dropout.set_state(("MT19937", own, next_word))


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
_TOKENIZER: Final = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": "(?s:.)"},
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
