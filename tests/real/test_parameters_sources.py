"""What is read of parameters, held against what the real trainer and its parser make of them."""

from __future__ import annotations

import dataclasses
import json
import warnings
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch", reason="the trainer saves its arguments (make test-real)")
pytest.importorskip("trl", reason="the arguments are TRL's GRPOConfig (make test-real)")

import torch
import trl
from transformers import Trainer, TrainingArguments

from resume_daemon.parameters.compare import same
from resume_daemon.parameters.resolve import RESTORED
from resume_daemon.parameters.sources.checkpoint import read_checkpoint
from resume_daemon.parameters.sources.discovery import SourceFiles
from resume_daemon.parameters.survey import Request, survey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.parameters.facts import Facts

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

PLAIN = (str, int, float, bool, type(None))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_the_arguments_that_the_trainer_saved_are_read_as_they_were(tmp_path: Path) -> None:
    arguments = trl.GRPOConfig(
        output_dir=str(tmp_path),
        max_completion_length=2560,
        learning_rate=6e-6,
        num_generations=4,
        per_device_train_batch_size=4,
        lr_scheduler_type="cosine",
        report_to=[],
        bf16=False,
        use_cpu=True,
    )
    checkpoint = tmp_path / "checkpoint-5"
    checkpoint.mkdir()
    torch.save(arguments, checkpoint / "training_args.bin")
    (checkpoint / "trainer_state.json").write_text('{"global_step": 5}', encoding="utf-8")
    facts, unread = read_checkpoint(checkpoint)
    found = {each.name: each.value for each in facts.settings}
    assert unread == []
    wrong = {}
    compared = 0
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        value = value.value if isinstance(value, Enum) else value
        if isinstance(value, PLAIN) and not field.name.startswith("_"):
            compared += 1
            if field.name not in found or not same(found[field.name], value):
                wrong[field.name] = (found.get(field.name), value)
    assert wrong == {}
    assert compared > 100
    assert found["num_processes"] == 1


class Line(torch.nn.Module):  # type: ignore[misc]  # torch ships no types here
    """A model of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Any, labels: Any) -> dict[str, Any]:
        """Return the loss of a line through the origin."""
        return {"loss": ((self.weight * x - labels) ** 2).mean()}


def train(run: Path, steps: int, *, resume: bool, **given: Any) -> Trainer:
    data = [{"x": torch.tensor([1.0]), "labels": torch.tensor([2.0])}] * 8
    arguments = TrainingArguments(
        output_dir=str(run),
        max_steps=steps,
        save_steps=2,
        logging_steps=1,
        lr_scheduler_type="constant",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **given,
    )
    trainer = Trainer(model=Line(), args=arguments, train_dataset=data)
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer


def test_what_is_said_to_be_restored_is_what_the_trainer_restores(tmp_path: Path) -> None:
    first = {
        "learning_rate": 1e-2,
        "weight_decay": 0.1,
        "adam_beta1": 0.8,
        "adam_beta2": 0.9,
        "adam_epsilon": 1e-6,
    }
    other = {
        "learning_rate": 5e-2,
        "weight_decay": 0.3,
        "adam_beta1": 0.7,
        "adam_beta2": 0.95,
        "adam_epsilon": 1e-7,
    }
    assert set(first) == RESTORED
    run = tmp_path / "run"
    train(run, 2, resume=False, **first)
    trainer = train(run, 4, resume=True, **other)
    group = trainer.optimizer.param_groups[0]
    after = {
        "learning_rate": group["lr"],
        "weight_decay": group["weight_decay"],
        "adam_beta1": group["betas"][0],
        "adam_beta2": group["betas"][1],
        "adam_epsilon": group["eps"],
    }
    assert after == first, "and not what the second start was given"
    logged = [each["learning_rate"] for each in trainer.state.log_history if "loss" in each]
    assert set(logged) == {1e-2}
    # The arguments of the second start were saved with its checkpoint, and are not the truth.
    saved = torch.load(run / "checkpoint-4" / "training_args.bin", weights_only=False)
    assert saved.learning_rate == other["learning_rate"]
    for checkpoint in ("checkpoint-2", "checkpoint-4"):
        facts = known(run, json.dumps(other), checkpoint=checkpoint)
        for name, value in first.items():
            parameter = facts.parameters[name]
            assert parameter.effective is not None
            assert parameter.effective.value == value
            assert parameter.differs


def known(run: Path, configuration: str, script: str = "", checkpoint: str | None = None) -> Facts:
    given = run.parent / "given.json"
    given.write_text(configuration, encoding="utf-8")
    scripts: tuple[Path, ...] = ()
    if script:
        scripts = (run.parent / "train.sh",)
        scripts[0].write_text(script, encoding="utf-8")
    named = SourceFiles(scripts=scripts, configurations=(given,))
    return survey(run, None, Request(checkpoint, named), {})


def test_the_command_line_counts_before_the_configuration_as_the_trainers_parser_has_it(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    configuration = {
        "output_dir": str(run),
        "learning_rate": 1e-6,
        "max_completion_length": 128,
        "beta": 0.04,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "lr_scheduler_type": "cosine",
        "logging_steps": 5,
    }
    script = (
        'LR=3e-6\nARGS=(--max-completion-length 256 --seed "7")\n'
        'python train.py --learning_rate $LR "${ARGS[@]}" --no_shuffle_dataset --save_steps=20 '
        "--gradient_checkpointing\n"
    )
    facts = known(run, json.dumps(configuration), script)
    path = tmp_path / "given.yaml"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    words = "--learning_rate 3e-6 --max-completion-length 256 --seed 7 --no_shuffle_dataset"
    words += f" --save_steps=20 --gradient_checkpointing --config {path}"
    (arguments,) = trl.TrlParser((trl.GRPOConfig,)).parse_args_and_config(words.split())
    names = [
        *configuration,
        "seed",
        "shuffle_dataset",
        "save_steps",
        "gradient_checkpointing",
    ]
    wrong = {}
    for name in names:
        if name in {"report_to", "config"}:
            continue  # Turned into a list when it is parsed.
        value = getattr(arguments, name)
        value = value.value if isinstance(value, Enum) else value
        setting = facts.next_start(name)
        if setting is None or not same(setting.value, value):
            wrong[name] = (setting, value)
    assert wrong == {}
