"""What the callback writes and reads, without a trainer: its state document, pairs, and verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.curriculum.schemas import known_schemas
from resume_daemon.curriculum.state import interpret
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.integrations.curriculum_document import STATE_FILE, document, state_reader
from resume_daemon.integrations.resume_check import refuse_unsound
from resume_daemon.integrations.step_pairs import DIRECTORY, PairWriter, TrainerPair, read_pairs
from tests.checkpoints import write_checkpoint


@dataclass
class Stage:  # noqa: D101 - a stage of somebody's
    name: str


class Manager:  # noqa: D101 - a manager of somebody's
    def get_curriculum_state(self) -> dict[str, Any]:
        return {"current_stage": 2, "stages": {Stage("a").name}, "path": Path("x")}


def test_a_managers_state_is_found_by_the_names_that_managers_use() -> None:
    assert json.loads(document(state_reader(Manager())(), 30)) == {
        "resume_daemon": 1,
        "global_step": 30,
        "state": {"current_stage": 2, "stages": ["a"], "path": "x"},
    }
    with pytest.raises(TypeError, match="has none of the methods state_dict"):
        state_reader(3)


@pytest.mark.parametrize("state", [[1], {"x": float("nan")}, {"x": object()}])
def test_a_state_that_json_cannot_hold_is_refused(state: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        document(state, 1)


def test_the_daemon_knows_the_file_and_reads_stage_and_step() -> None:
    content = document({"current_stage": 3, "performance_history": []}, 40)
    summary = interpret(STATE_FILE, content, known_schemas(), mtime_ns=1, seen_at=1).summary
    assert (summary.schema, summary.stage, summary.step) == ("resume-daemon-callback", 3, 40)


@given(
    st.lists(
        st.builds(
            TrainerPair,
            st.integers(0, 2**40),
            st.integers(0, 2**40),
            st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
            st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
        ),
        max_size=5,
    ),
    st.binary(max_size=40),
)
def test_pairs_are_read_back_and_what_a_kill_tore_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[TrainerPair], torn: bytes
) -> None:
    run = tmp_path_factory.mktemp("run")
    writer = PairWriter(run)
    for pair in pairs:
        writer.write(pair)
    assert read_pairs(run) == tuple(pairs)
    for path in (run / ".resume_daemon" / DIRECTORY).glob("*"):
        path.write_bytes(path.read_bytes() + b'{"trainer_step":' + torn)
    assert read_pairs(run)[: len(pairs)] == tuple(pairs)


def test_what_wandb_cannot_tell_is_no_pair() -> None:
    class Shared:
        @property
        def step(self) -> int:
            raise RuntimeError("several processes write this run")

    whole = SimpleNamespace(step=9, id="r", dir="/w/wandb/run-1-r/files")
    assert TrainerPair.seen(4, whole) == TrainerPair(4, 8, "r", "run-1-r")
    assert TrainerPair.seen(4, Shared()) is None
    assert TrainerPair.seen(4, None) is None
    assert TrainerPair.seen(4, SimpleNamespace(step=0, id="r", dir="/w/r/files")) is None


def test_a_resume_from_elsewhere_is_said_to_be_unjudged(tmp_path: Path) -> None:
    told = refuse_unsound(tmp_path, 30, None)
    assert not told.judged
    assert "what it was resumed from was not judged" in told.sentence


def test_a_checkpoint_is_refused_where_it_is_unsound_and_named_where_it_is_sound(
    tmp_path: Path,
) -> None:
    checkpoint = write_checkpoint(tmp_path, 30)
    assert refuse_unsound(tmp_path, 30, True).sentence.endswith("which is sound.")
    (checkpoint / "scheduler.pt").unlink()
    told = refuse_unsound(tmp_path, 30, str(checkpoint))
    assert "which is degraded (RD105 scheduler.pt is missing)" in told.sentence
    (checkpoint / "optimizer.pt").write_bytes(b"")
    with pytest.raises(ResumeDaemonError, match="it is unsound: RD301"):
        refuse_unsound(tmp_path, 30, None)
