"""What the real trainer with FSDP on two ranks does with a damaged checkpoint, beside our verdict.

Run as a module, ``python -m tests.real.fsdp_trainer_script DIRECTORY VERSION STATE``, with the
version of FSDP and ``SHARDED_STATE_DICT`` or ``FULL_STATE_DICT``. It trains a tiny model on the CPU
with gloo, verifies each checkpoint, then damages the last one in each way, verifies that, lets the
trainer resume from it, and prints JSON for each. Ranks are forked, so that the libraries are
imported once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.utils import logging

from resume_daemon.verification import References, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.manifest import Manifest

    Damage = Callable[[Path, Path], None]
    """Damages the first checkpoint; the second is the one before it."""

WORLD = 2
STEPS = (2, 4, 6)
PATIENCE = 60.0
"""Seconds for one start of the trainer."""


def allow_cpu() -> None:
    """Let accelerate use FSDP on the CPU: it passes the plugin over in silence there.

    accelerate 1.15 ``state.py: AcceleratorState.__init__`` asks for several accelerators, and is
    all that does: what shards, saves and loads is the libraries' own, over gloo. FSDP1 with
    FULL_STATE_DICT cannot be had so: torch 2.13 dies of SIGSEGV where it gathers the parameters.
    """
    made = AcceleratorState.__init__

    def make(self: Any, *arguments: Any, fsdp_plugin: Any = None, **more: Any) -> None:
        made(self, *arguments, fsdp_plugin=fsdp_plugin, **more)
        if fsdp_plugin is not None and self.distributed_type is DistributedType.MULTI_CPU:
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = DistributedType.FSDP
            # FSDP1 calls the device by no number.
            self.device = torch.device("cpu")
            PartialState._shared_state |= {
                "distributed_type": DistributedType.FSDP,
                "device": self.device,
            }

    AcceleratorState.__init__ = make


class Tokens(Dataset[dict[str, torch.Tensor]]):  # type: ignore[misc]
    """Sixteen short texts."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.arange(index, index + 8) % 64
        return {"input_ids": ids, "labels": ids}


def make_trainer(output: Path, version: int, state: str, *, max_steps: int) -> Trainer:
    """Return a trainer of one rank, which the environment names."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            tie_word_embeddings=False,
        )
    )
    return Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(output),
            use_cpu=True,
            fsdp=True,
            fsdp_config={
                "version": version,
                "state_dict_type": state,
                "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
                # FSDP1 raises where it is on and there is no accelerator; every rank has the same.
                "sync_module_states": False,
            },
            max_steps=max_steps,
            save_steps=STEPS[0],
            per_device_train_batch_size=1,
            learning_rate=1e-3,
            report_to=[],
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Tokens(),
    )


def on_ranks(work: Callable[[], object]) -> str:
    """Do some work on every rank, each a process; return how it went.

    Returns:
        ``resumes``; or what a rank raised, or the signal that it died of; or ``hangs``.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    receiving, sending = os.pipe()
    ranks = {_start(rank, port, sending, work) for rank in range(WORLD)}
    os.close(sending)
    told = _awaited(ranks)
    with open(receiving, encoding="utf-8", errors="replace") as answers:  # noqa: PTH123
        raised = answers.read().split()
    # Of a rank whose neighbour is gone gloo says so; what happened to the neighbour counts.
    raised.sort(key=lambda each: each == "RuntimeError")
    return raised[0] if told == "raises" and raised else told


def _start(rank: int, port: int, sending: int, work: Callable[[], object]) -> int:
    if (child := os.fork()) != 0:
        return child
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(WORLD),
        "LOCAL_WORLD_SIZE": str(WORLD),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the answer; torch raises one
        os.write(sending, f"{type(error).__name__}\n".encode())
        os._exit(1)
    os._exit(0)


def _awaited(ranks: set[int]) -> str:
    """Wait for all ranks; where one fails, end the others that do not end soon."""
    deadline, failed = time.monotonic() + PATIENCE, False
    left, told = set(ranks), "resumes"
    while left and time.monotonic() < deadline:
        for rank in sorted(left):
            ended, status = os.waitpid(rank, os.WNOHANG)
            if not ended:
                continue
            left.remove(rank)
            if os.WIFSIGNALED(status):
                told = signal.Signals(os.WTERMSIG(status)).name
            elif status and told == "resumes":
                told = "raises"
            if status and not failed:
                deadline, failed = time.monotonic() + 2, True
        time.sleep(0.02)
    for rank in left:
        os.kill(rank, signal.SIGKILL)
        os.waitpid(rank, 0)
    return "hangs" if left and not failed else told


def _without(pattern: str) -> Damage:
    def do(checkpoint: Path, _: Path) -> None:
        for path in checkpoint.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return do


def _of_another_step(name: str) -> Damage:
    def do(checkpoint: Path, before: Path) -> None:
        shutil.copy2(before / name, checkpoint / name)

    return do


def _cut_in_half(name: str) -> Damage:
    def do(checkpoint: Path, _: Path) -> None:
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content[: len(content) // 2])

    return do


_MODEL, _OPTIMIZER = "pytorch_model_fsdp_0", "optimizer_0"
_EITHER: dict[str, Damage] = {
    "a rank's random state is missing": _without("rng_state_1.pth"),
}
DAMAGES: dict[str, dict[str, Damage]] = {
    "SHARDED_STATE_DICT": {
        "a shard of the model is missing": _without(f"{_MODEL}/__1_0.distcp"),
        "the model's metadata is missing": _without(f"{_MODEL}/.metadata"),
        "a shard of the optimizer is missing": _without(f"{_OPTIMIZER}/__0_0.distcp"),
        "the optimizer's metadata is missing": _without(f"{_OPTIMIZER}/.metadata"),
        "the optimizer is missing": _without(_OPTIMIZER),
        "the model is missing": _without(_MODEL),
        "a shard of the model is another step's": _of_another_step(f"{_MODEL}/__1_0.distcp"),
        "a shard of the optimizer is another step's": _of_another_step(
            f"{_OPTIMIZER}/__0_0.distcp"
        ),
        "a shard of the model is cut in half": _cut_in_half(f"{_MODEL}/__0_0.distcp"),
        **_EITHER,
    },
    "FULL_STATE_DICT": {
        "the model is missing": _without("pytorch_model_fsdp.bin"),
        "the optimizer is missing": _without("optimizer.bin"),
        "the model is another step's": _of_another_step("pytorch_model_fsdp.bin"),
        "the optimizer is another step's": _of_another_step("optimizer.bin"),
        "the model is cut in half": _cut_in_half("pytorch_model_fsdp.bin"),
        "the copy of the model for others is missing": _without("model.safetensors"),
        **_EITHER,
    },
}


def main(home: Path, version: int, state: str) -> None:
    """Train, and print a line for each checkpoint and each damage."""
    run, again = home / "run", home / "again"

    def train(output: Path, steps: int, **more: Any) -> str:
        return on_ranks(lambda: make_trainer(output, version, state, max_steps=steps).train(**more))

    def say(damage: str, checkpoint: Path, before: list[Manifest], trainer: str) -> Manifest | None:
        found = verify(
            checkpoint, boundary=checkpoint.parent, references=References.after(before, None)
        )
        told = [[f.code, f.severity.value, f.message] for f in found.findings]
        line = {"damage": damage, "verdict": found.verdict.value, "told": told, "trainer": trainer}
        print(json.dumps(line), flush=True)  # noqa: T201 - this is what it is for
        return found.manifest

    trained = train(run, STEPS[-1])
    if trained != "resumes":
        sys.exit(trained)
    *earlier, last = [run / f"checkpoint-{step}" for step in STEPS]
    before: list[Manifest] = []
    for checkpoint in earlier:
        manifest = say(f"none ({checkpoint.name})", checkpoint, before, trained)
        before[:0] = [manifest] if manifest is not None else []
    whole = shutil.copytree(last, home / "whole")
    for damage, do in {"none": lambda *_: None, **DAMAGES[state]}.items():
        shutil.rmtree(last)
        shutil.copytree(whole, last)
        do(last, earlier[-1])
        resumed = train(again, STEPS[-1] + 1, resume_from_checkpoint=str(last))
        say(damage, last, before, resumed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    with suppress(ImportError):
        import_module("deepspeed")  # transformers does, in every rank, where it is installed.
    warnings.simplefilter("ignore")
    allow_cpu()
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
