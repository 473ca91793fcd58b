"""A callback for the trainers of transformers and TRL: what only the trainer itself knows, written.

It is optional: a daemon sees most of it from outside. What it adds is exactness. The curriculum's
state is written in the same moment as the checkpoint that it belongs to; the step of W&B is told
by W&B itself, also where its log is written late and a kill loses the end of it; and a resume from
a damaged checkpoint ends before its first step.

    from resume_daemon.integrations.transformers import ResumeDaemonCallback

    trainer = GRPOTrainer(..., callbacks=[ResumeDaemonCallback(curriculum=manager)])

Works with transformers 4.5x and 5.x: hooks are called with keywords and unknown ones are passed by
(transformers ``trainer_callback.py: CallbackHandler.call_event``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.utils import logging

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.integrations.curriculum_document import STATE_FILE, document, state_reader
from resume_daemon.integrations.resume_check import refuse_unsound
from resume_daemon.integrations.step_pairs import PairWriter, TrainerPair

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_log = logging.get_logger(__name__)


class ResumeDaemonCallback(TrainerCallback):  # type: ignore[misc]  # transformers ships no types here
    """Saves the curriculum's state and a step pair at every save and every few steps.

    A state that cannot be written once the training runs (a full disk) is told in the log and does
    not end the training. One that could never be written ends it before its first step.

    Args:
        curriculum: What holds the curriculum's state: an object with one of the methods
            ``state_dict``, ``get_curriculum_state``, ``get_state``; or a function; or None where
            there is no curriculum. It returns a mapping that JSON can hold.
        every_steps: Steps between two writes, beside those at each save.
        refuse_unsound: Whether a resume from an unsound or incomplete checkpoint ends in an error.
            The verdict is the daemon's where nothing was touched since; else every byte is read.
    """

    def __init__(
        self, curriculum: Any = None, *, every_steps: int = 100, refuse_unsound: bool = True
    ) -> None:
        if every_steps < 1:
            raise ValueError(f"every_steps must be 1 or more; it is {every_steps}")
        self._read = state_reader(curriculum) if curriculum is not None else None
        self._every_steps = every_steps
        self._refuse_unsound = refuse_unsound
        self._pairs: PairWriter | None = None
        self._pair: TrainerPair | None = None
        self._written = -1
        self._failed = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        """Look at what was resumed from; see whether the curriculum's state can be written.

        Raises:
            ResumeDaemonError: The checkpoint must not be resumed from.
            TypeError: The curriculum's state has something in it that JSON cannot hold.
        """
        if not state.is_world_process_zero:
            return
        run = Path(args.output_dir)
        if self._refuse_unsound and state.global_step:
            told = refuse_unsound(run, state.global_step, args.resume_from_checkpoint)
            (_log.info if told.judged else _log.warning)(told.sentence)
        if self._read is not None:
            document(self._read(), state.global_step)
        self._pairs = PairWriter(run)

    def on_log(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Remember which row of W&B this step's log became; W&B's own callback comes before.

        Only where the pair will be written: asking W&B is a call to another process.
        """
        wanted = control.should_save or state.global_step % self._every_steps == 0
        if self._pairs is None or not wanted or "wandb" not in sys.modules:
            return
        self._pair = TrainerPair.seen(state.global_step, getattr(sys.modules["wandb"], "run", None))
        if not control.should_save:
            self._write_pair()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write every few steps, and before a save: then the state is there when a daemon looks."""
        if control.should_save or state.global_step % self._every_steps == 0:
            self._write_curriculum(args, state)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        """Write what belongs to the checkpoint that was saved just now."""
        self._write_curriculum(args, state)
        self._write_pair()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        """Write the last state."""
        self._write_curriculum(args, state)
        self._write_pair()

    def _write_curriculum(self, args: TrainingArguments, state: TrainerState) -> None:
        if self._read is None or self._pairs is None or self._written == state.global_step:
            return
        from resume_daemon.files import write_atomic  # noqa: PLC0415 - only where one is written

        try:
            content = document(self._read(), state.global_step)
            write_atomic(Path(args.output_dir) / STATE_FILE, content)
        except (OSError, TypeError, ValueError) as error:
            self._tell(f"Cannot write the curriculum's state at step {state.global_step}: {error}")
        else:
            self._written, self._failed = state.global_step, False

    def _write_pair(self) -> None:
        if self._pairs is None or self._pair is None:
            return
        try:
            self._pairs.write(self._pair)
        except (OSError, ResumeDaemonError) as error:
            self._tell(f"Cannot write a step pair at step {self._pair.trainer_step}: {error}")
        else:
            self._pair = None

    def _tell(self, sentence: str) -> None:
        # Once until it works again: a full disk would fill the log too.
        if not self._failed:
            _log.error("resume_daemon: %s. The training goes on without.", sentence)
        self._failed = True
