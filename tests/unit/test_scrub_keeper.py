from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from resume_daemon.daemon.messages import Scrubbed
from resume_daemon.daemon.scrub_keeper import ScrubKeeper
from resume_daemon.daemon.scrubbing import Settings
from resume_daemon.errors import CancelledError, ResumeDaemonError
from resume_daemon.scrub import Scrub
from tests.checkpoints import write_checkpoint
from tests.keepers import Checkpoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.daemon.worker import ScrubJob

HOUR = 3600.0
SETTINGS = Settings(enabled=True, interval=HOUR, bytes_per_second=1)


@dataclass
class Beside(Checkpoints):
    """The keepers of a daemon that was just started beside a run, and its clock."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scrubs = ScrubKeeper(self.checkpoints, self.recorder, SETTINGS, self.clock)

    def next(self) -> ScrubJob | None:
        return self.scrubs.next_job(waiting=self.checkpoints.plan().waiting)

    def end(self, job: ScrubJob, result: Scrub) -> None:
        self.scrubs.on_scrubbed(Scrubbed(job.checkpoint, job.manifest.fingerprint, result))

    def restarted(self) -> Beside:
        self.ledger.close()
        return Beside(self.run, self.state, later=self.later)

    def conditions(self) -> list[str]:
        return [condition.key for condition in self.checkpoints.judged().conditions]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    write_checkpoint(tmp_path / "run", 5)
    write_checkpoint(tmp_path / "run", 10)
    (tmp_path / "state").mkdir()
    keepers = Beside(tmp_path / "run", tmp_path / "state")
    keepers.verify_all()
    yield keepers
    keepers.ledger.close()


def whole(job: ScrubJob) -> Scrub:
    return Scrub(len(job.manifest.resources), whole=True)


def test_a_restart_knows_when_each_checkpoint_was_read_last(beside: Beside) -> None:
    assert beside.next() is None
    beside.later += HOUR
    first = beside.next()
    assert first is not None
    assert first.checkpoint == "checkpoint-10", "it was verified first"
    beside.end(first, whole(first))
    again = beside.restarted()
    second = again.next()
    assert second is not None
    assert second.checkpoint == "checkpoint-5"
    again.ledger.close()


def test_a_scrub_goes_on_where_it_was_interrupted_unless_the_checkpoint_changed(
    beside: Beside,
) -> None:
    beside.later += HOUR
    job = beside.next()
    assert job is not None
    beside.end(job, Scrub(3, stopped=CancelledError("scrub", None, "stopped")))
    following = beside.next()
    assert following is not None
    assert (following.checkpoint, following.begin) == (job.checkpoint, 3)
    assert beside.recorder.state.scrubs == {}
    os.utime(beside.run / "checkpoint-10" / "model.safetensors")
    beside.checkpoints.rescan()
    beside.verify_all()
    after = {each.checkpoint: each.begin for each in _all_due(beside)}
    assert after == {"checkpoint-5": 0, "checkpoint-10": 0}


def test_a_checkpoint_that_the_disk_no_longer_gives_back_is_a_condition_until_it_does(
    beside: Beside,
) -> None:
    beside.later += HOUR
    job = beside.next()
    assert job is not None
    beside.end(job, Scrub(3, stopped=ResumeDaemonError("read", "f", "the disk failed")))
    assert beside.conditions() == ["checkpoint-unreadable:checkpoint-10"]
    other = beside.next()
    assert other is not None
    assert other.checkpoint == "checkpoint-5", "one that fails does not keep others from it"
    beside.later += 60.0
    retried = beside.next()
    assert retried is not None
    assert (retried.checkpoint, retried.begin) == ("checkpoint-10", 3)
    beside.end(retried, whole(retried))
    assert beside.conditions() == []


def test_a_lost_manifest_keeps_nothing_else_from_being_read(beside: Beside) -> None:
    (beside.state / "manifests" / "checkpoint-10.json").unlink()
    beside.later += HOUR
    assert beside.next() is None
    job = beside.next()
    assert job is not None
    assert job.checkpoint == "checkpoint-5"
    assert beside.conditions() == []


def test_an_unsound_checkpoint_is_not_read_again(beside: Beside) -> None:
    (beside.run / "checkpoint-10" / "config.json").write_text("[", encoding="utf-8")
    beside.checkpoints.rescan()
    beside.verify_all()
    assert beside.recorder.state.checkpoints["checkpoint-10"].verdict == "unsound"
    beside.later += 2 * HOUR
    assert [job.checkpoint for job in _all_due(beside)] == ["checkpoint-5"]


def _all_due(beside: Beside) -> Iterator[ScrubJob]:
    """Yield what is due, each one failing for a while so that the next takes its turn."""
    while (job := beside.next()) is not None:
        yield job
        stopped = ResumeDaemonError("read", "f", "the disk failed")
        beside.end(job, Scrub(job.begin, stopped=stopped))
