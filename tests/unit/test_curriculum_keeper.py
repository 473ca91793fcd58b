"""What is said of a curriculum after a resume, over more versions than are compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from resume_daemon.config.settings import Curriculum
from resume_daemon.curriculum.schemas import known_schemas
from resume_daemon.curriculum.state import interpret
from resume_daemon.curriculum.versions import VersionStore
from resume_daemon.daemon.curriculum_keeper import REMEMBERED, CurriculumKeeper
from resume_daemon.daemon.messages import StatesRead
from resume_daemon.daemon.recorder import Recorder
from resume_daemon.findings import Severity
from resume_daemon.ledger.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "curriculum_state_detailed.json"
RESUMED_FROM = 5
REACHED = 13


class Scene:
    """A keeper, and a trainer that rewrites its state at every step, one second apart."""

    def __init__(self, directory: Path) -> None:
        self._ledger = Ledger.open(directory / "ledger.jsonl", "run")
        self._store = VersionStore(directory / "curriculum")
        self._clock = 1e9
        self.resume: tuple[int, float] | None = None
        self.restart()

    def restart(self) -> None:
        """Let the daemon start anew, with what it kept."""
        recorder = Recorder(
            self._ledger, run="run", host="host", sinks=(), minimum=Severity.WARNING
        )
        self._keeper = CurriculumKeeper(self._store, recorder, Curriculum(), known_schemas())

    def train(self, steps: range, history: list[int]) -> list[int]:
        """Append each step to the history and write it; return the history."""
        for step in steps:
            history = [*history, step]
            self._clock += 1
            entries = [{"step": s, "performance": 0.5, "loss": 0.1, "stage": 0} for s in history]
            document = {"current_stage": 0, "performance_history": entries, "timestamp": 0}
            at = int(self._clock * 1e9)
            content = json.dumps(document).encode()
            version = interpret(FILE, content, known_schemas(), mtime_ns=at, seen_at=at)
            self._keeper.on_states(StatesRead((version,)))
        return history

    def start_again(self) -> None:
        """Let a trainer start from the checkpoint of step 5."""
        self._clock += 1
        self.resume = RESUMED_FROM, self._clock

    def codes(self) -> list[str]:
        """Return the codes of what is wrong now."""
        judged = self._keeper.judged(newest=None, trainer=None, resume=self.resume)
        return [condition.code for condition in judged.conditions]

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def test_a_state_that_ran_ahead_is_said_once_and_for_as_long_as_the_process_lasts(
    scene: Scene,
) -> None:
    history = scene.train(range(1, REACHED + 1), [])
    scene.start_again()

    for step in range(RESUMED_FROM + 1, REACHED + 2 * REMEMBERED):
        history = scene.train(range(step, step + 1), history)
        assert scene.codes() == ["RD504"], step
    scene.restart()
    scene.train(range(REACHED + 2 * REMEMBERED, REACHED + 2 * REMEMBERED + 1), history)
    assert scene.codes() == ["RD504"]


def test_a_state_that_the_trainer_put_back_is_never_said_to_have_run_ahead(scene: Scene) -> None:
    history = scene.train(range(1, REACHED + 1), [])
    scene.start_again()
    history = history[:RESUMED_FROM]

    for step in range(RESUMED_FROM + 1, REACHED + 2 * REMEMBERED):
        history = scene.train(range(step, step + 1), history)
        assert scene.codes() == [], step
    scene.restart()
    scene.train(range(REACHED + 2 * REMEMBERED, REACHED + 2 * REMEMBERED + 1), history)
    assert scene.codes() == []
