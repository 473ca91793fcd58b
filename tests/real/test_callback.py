"""``ResumeDaemonCallback`` in real trainers: what it writes, what it refuses, what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch", reason="the trainer needs torch (make test-real)")
pytest.importorskip("transformers", reason="the trainer is of transformers (make test-real)")
pytest.importorskip("trl", reason="the trainer is TRL's GRPOTrainer (make test-real)")

import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.integrations.step_pairs import read_pairs
from resume_daemon.integrations.transformers import ResumeDaemonCallback
from tests.real.grpo_trainer_script import make_model
from tests.real.running import RUN_ID, RunningTrainer, segments, wandb_rows

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

STATE = "curriculum_state_callback.json"


@dataclass
class Manager:
    """A curriculum in the shape that managers have: a stage, a history, tensors in it."""

    stages: int = 3
    history: list[Any] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Return what belongs to this moment."""
        self.history.append(torch.tensor(0.5))
        return {"current_stage": len(self.history) // 2, "performance_history": self.history}


def plain_trainer(output: Path, callback: ResumeDaemonCallback, steps: int) -> Trainer:
    """Return a trainer of transformers itself, without TRL."""
    rows = [{"input_ids": [3, 4, 5], "labels": [3, 4, 5]} for _ in range(16)]
    return Trainer(
        model=make_model(torch.float32, hidden_size=32),
        args=TrainingArguments(
            output_dir=str(output),
            max_steps=steps,
            save_steps=3,
            logging_steps=1,
            per_device_train_batch_size=2,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        callbacks=[callback],
    )


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """Return the home of a GRPO run that was killed after step 11."""
    trainer = RunningTrainer(tmp_path / "run")
    try:
        trainer.start("--max-steps", "15", "--hold-after", "11", "--callback")
        trainer.wait_for_step(11)
    finally:
        trainer.kill()
    return tmp_path


def test_a_killed_trainer_has_left_the_pairs_that_its_log_has_not(killed: Path) -> None:
    run = killed / "run"
    pairs = {pair.trainer_step: pair for pair in read_pairs(run)}
    log = next(segments(killed)[-1].glob("*.wandb"))
    rows: dict[int, int] = {}
    for row in wandb_rows(log.parent):
        if row.trainer_step:
            rows.setdefault(row.trainer_step, row.tracker_step)
    assert {step: pair.tracker_step for step, pair in pairs.items()} == {
        step: rows[step] for step in (5, 7, 10)
    }

    # What W&B before 0.31 leaves of a log of less than 32 KiB when it is killed: its header.
    os.truncate(log, 7)
    once = subprocess.run(
        [sys.executable, "-m", "resume_daemon", "run", "--once", str(run)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert once.returncode == 0, once.stderr
    told = json.loads(
        subprocess.run(
            [sys.executable, "-m", "resume_daemon", "plan", str(run), "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    )
    assert told["resume_from"]["checkpoint"] == "checkpoint-10"
    assert told["tracker"]["run_id"] == RUN_ID
    assert told["tracker"]["tracker_step"] == pairs[10].tracker_step


def test_the_state_of_a_save_is_that_of_its_step(killed: Path) -> None:
    state = json.loads((killed / "run" / STATE).read_text())
    assert state["global_step"] == 10
    assert state["state"]["performance_history"][-1]["step"] == 10


def test_a_plain_trainer_saves_the_managers_state_and_goes_on_from_a_sound_checkpoint(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    plain_trainer(run, ResumeDaemonCallback(Manager(), every_steps=2), 6).train()
    state = json.loads((run / STATE).read_text())
    assert state["global_step"] == 6
    assert state["state"]["performance_history"][0] == 0.5

    again = plain_trainer(run, ResumeDaemonCallback(Manager()), 9)
    again.train(resume_from_checkpoint=str(run / "checkpoint-6"))
    assert again.state.global_step == 9


@pytest.mark.parametrize("named", [True, False])
def test_a_resume_from_a_damaged_checkpoint_ends_before_its_first_step(
    tmp_path: Path, *, named: bool
) -> None:
    run = tmp_path / "run"
    plain_trainer(run, ResumeDaemonCallback(), 6).train()
    optimizer = run / "checkpoint-6" / "optimizer.pt"
    # The trainer itself goes on without a word where the moments are those of another step.
    optimizer.write_bytes((run / "checkpoint-3" / "optimizer.pt").read_bytes())

    again = plain_trainer(run, ResumeDaemonCallback(), 9)
    path = str(run / "checkpoint-6") if named else True
    with pytest.raises(ResumeDaemonError, match=r"it is unsound: RD404 .*resume-daemon plan"):
        again.train(resume_from_checkpoint=path)
    assert again.state.global_step == 6

    willing = plain_trainer(run, ResumeDaemonCallback(refuse_unsound=False), 9)
    willing.train(resume_from_checkpoint=path)
    assert willing.state.global_step == 9


def test_a_state_that_cannot_be_written_ends_a_training_at_its_start_and_never_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TypeError, match="has a object in it"):
        plain_trainer(tmp_path / "a", ResumeDaemonCallback(lambda: {"stage": object()}), 3).train()

    run = tmp_path / "b"
    # A directory stands where the file belongs, as if the place could not be written.
    (run / STATE).mkdir(parents=True)
    trainer = plain_trainer(run, ResumeDaemonCallback(lambda: {"stage": 1}, every_steps=1), 4)
    trainer.train()
    assert trainer.state.global_step == 4
