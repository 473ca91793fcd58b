"""What the real trainer does with a damaged checkpoint, next to what this program says of it.

Run as a module, ``python -m tests.real.oracle_script DIRECTORY``: it trains a tiny GRPO run,
damages one file of its last checkpoint at a time in each way of the damage matrix, verifies that,
lets ``trainer.train(resume_from_checkpoint=...)`` make one step, and prints JSON for each.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils import logging

from resume_daemon.layouts.huggingface import HuggingFace
from resume_daemon.verification import References, verify
from tests.damage_matrix import DAMAGES, Site
from tests.real.grpo_trainer_script import make_trainer

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST, BEFORE = 10, 5


def cells(home: Path) -> Iterator[dict[str, Any]]:
    """Yield every file and damage with the verdict, the codes and what the trainer did.

    Args:
        home: An empty directory.
    """
    make_trainer(home / "run", max_steps=LAST).train()
    make_trainer(home / "other", max_steps=LAST, hidden_size=32).train()
    last, before, other = (
        home / "run" / f"checkpoint-{LAST}",
        home / "run" / f"checkpoint-{BEFORE}",
        home / "other" / f"checkpoint-{LAST}",
    )
    manifest = verify(before, boundary=before.parent).manifest
    whole = shutil.copytree(last, home / "whole")
    for name in ("(none)", *sorted(path.name for path in whole.iterdir())):
        for damage, do in DAMAGES.items():
            if name == "(none)" and damage != "missing":
                continue
            shutil.rmtree(last)
            shutil.copytree(whole, last)
            if name != "(none)":
                encoding = HuggingFace().part_of(name).format
                do(Site(last / name, before / name, other / name, encoding))
                if (last / name).exists() and _same(last / name, whole / name):
                    continue
            found = verify(last, boundary=last.parent, references=References(previous=manifest))
            yield {
                "file": name,
                "damage": damage if name != "(none)" else "none",
                "verdict": found.verdict.value,
                "codes": [f.code for f in found.findings if f.severity.value != "info"],
                "trainer": _resume(last, home / "resumed"),
            }


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _resume(checkpoint: Path, output: Path) -> str:
    """Return ``resumes``, or what the trainer raised, or the signal that it died of.

    In a process of its own: a damaged file may crash it.
    """
    receiving, sending = os.pipe()
    if (child := os.fork()) == 0:
        os.write(sending, _attempt(checkpoint, output).encode())
        os._exit(0)
    os.close(sending)
    with open(receiving, encoding="utf-8") as answer:  # noqa: PTH123 - a descriptor
        told = answer.read()
    _, status = os.waitpid(child, 0)
    return told or f"dies of {signal.Signals(os.WTERMSIG(status)).name}"


def _attempt(checkpoint: Path, output: Path) -> str:
    trainer = make_trainer(output, max_steps=LAST + 1, save_strategy="no", logging_strategy="no")
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint))
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return f"raises {type(error).__name__}"
    return "resumes"


def main() -> None:
    """Print every cell."""
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    for cell in cells(Path(sys.argv[1])):
        print(json.dumps(cell), flush=True)  # noqa: T201 - this is what it is for


if __name__ == "__main__":
    main()
