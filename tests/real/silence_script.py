"""What a real trainer makes of each damage that it takes in silence, without a daemon.

Run as a module, ``python -m tests.real.silence_script RUN HOME``: for each of the twelve it copies
two checkpoints of a run of 15 steps, damages the later one (step 10), lets the trainer resume from
it up to step 15, and prints JSON: whether it raised, its losses, digests of its weights and of the
optimizer's moments, and what of the damaged checkpoint cannot be loaded by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from tests.real.damages import DAMAGES
from tests.real.grpo_trainer_script import Curriculum, make_tokenizer, make_trainer

if TYPE_CHECKING:
    from collections.abc import Callable


def outcome(run: Path, name: str, home: Path) -> dict[str, Any]:
    """Return what became of a resume from a checkpoint with one damage, or with none."""
    copy = home / "run"
    for step in (5, 10):
        shutil.copytree(run / f"checkpoint-{step}", copy / f"checkpoint-{step}")
    last = copy / "checkpoint-10"
    for damage in DAMAGES:
        if damage.name == name:
            damage.apply(last, copy / "checkpoint-5")
    unloadable = alone(last)
    trainer = make_trainer(copy, max_steps=15, callbacks=[Curriculum(home / "state.json")])
    try:
        trainer.train(resume_from_checkpoint=str(last))
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return {"damage": name, "raised": type(error).__name__}
    rows = [row for row in trainer.state.log_history if "loss" in row and row["step"] > 10]
    return {
        "damage": name,
        "raised": None,
        "losses": {row["step"]: (row["loss"], row["reward"]) for row in rows},
        **digests(copy / "checkpoint-15"),
        "unloadable": unloadable,
    }


def digests(checkpoint: Path) -> dict[str, str]:
    """Return one digest of the weights' file and one of the optimizer's moments.

    Empty ones where there is no such checkpoint: a trainer that was told a step beyond the last one
    ends at once.
    """
    if not checkpoint.exists():
        return {"weights": "", "moments": ""}
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    moments = sha256()
    for index in sorted(state):
        for name in ("exp_avg", "exp_avg_sq"):
            moments.update(state[index][name].numpy().tobytes())
    weights = (checkpoint / "model.safetensors").read_bytes()
    return {"weights": sha256(weights).hexdigest(), "moments": moments.hexdigest()}


def alone(checkpoint: Path) -> list[str]:
    """Return what of a checkpoint cannot be loaded where nothing but it is left."""
    failed = []
    loads: dict[str, Callable[[], Any]] = {
        "model": lambda: AutoModelForCausalLM.from_pretrained(checkpoint),
        "tokenizer": lambda: _same_words(PreTrainedTokenizerFast.from_pretrained(checkpoint)),
        "arguments": lambda: torch.load(checkpoint / "training_args.bin", weights_only=False),
    }
    for what, load in loads.items():
        try:
            load()
        except Exception:  # noqa: BLE001 - whatever it raises is the answer
            failed.append(what)
    return failed


def _same_words(tokenizer: Any) -> None:
    """Raise where a tokenizer is another one than that of the run."""
    text = "w1 w2 w3"
    if tokenizer(text)["input_ids"] != make_tokenizer()(text)["input_ids"]:
        raise ValueError("it splits texts differently")


def main() -> None:
    """Print one line for each damage, and one without any; each in a process of its own."""
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    run, home = Path(sys.argv[1]), Path(sys.argv[2])
    print(json.dumps({"whole": digests(run / "checkpoint-15")}))  # noqa: T201 - as below
    for number, name in enumerate(["none", *(each.name for each in DAMAGES if each.silent)]):
        if (child := os.fork()) == 0:
            print(json.dumps(outcome(run, name, home / str(number))), flush=True)  # noqa: T201 - it is what this is for
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
