"""What the daemon decides about backups, with the real task doing it, and a clock of the test's."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from resume_daemon.backup.address import Address, folder_of
from resume_daemon.backup.policy import Rules
from resume_daemon.daemon.backup_keeper import FIRST_RETRY_SECONDS, BackupKeeper, Policy
from resume_daemon.daemon.backup_task import BackupTask, CopyJob, DropJob, LookJob, Place
from resume_daemon.daemon.messages import BackupDone
from resume_daemon.daemon.supervision import Stopping
from tests.checkpoints import edit_state, write_checkpoint
from tests.keepers import Checkpoints

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.daemon.backup_task import BackupJob

NEWEST = Rules(newest=1)


@dataclass
class Beside(Checkpoints):
    """The keepers of a daemon beside a run, which does jobs when it is told to."""

    disk: Path
    rules: Rules = NEWEST
    metric: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        place = Place(Address(path=self.disk), folder_of(self.run), False, None, True)
        policy = Policy(place, self.rules, self.metric)
        self.backups = BackupKeeper(self.run, self.checkpoints, self.recorder, policy, self.clock)
        self.task = BackupTask(idle=False, held=lambda: self.backups.held, put=lambda _: None)
        self.verify_all()

    def do(self, job: BackupJob) -> None:
        self.backups.busy = job
        self.backups.on_done(BackupDone(job, self.task.result(job, Stopping())))

    def settle(self) -> list[BackupJob]:
        """Do what there is to be done until there is nothing, or something failed."""
        done: list[BackupJob] = []
        while (job := self.backups.next_job(waiting=False)) is not None:
            assert len(done) < 50, "it never ends"
            done.append(job)
            self.do(job)
        return done

    def copied(self) -> list[str]:
        return [job.subject.path.name for job in self.settle() if isinstance(job, CopyJob)]

    def there(self) -> set[str]:
        folder = self.disk / folder_of(self.run)
        return {each.name.split(".")[0] for each in folder.glob("*.backup.json")}

    def records(self) -> list[tuple[str, str]]:
        found = [each for each in self.ledger.records() if each.kind == "backup"]
        return [(each.fields["phase"], each.fields["checkpoint"]) for each in found]

    def conditions(self) -> list[str]:
        return [each.message for each in self.backups.judged().conditions]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    found = tuple(tmp_path / name for name in ("run", "state", "disk"))
    for each in found:
        each.mkdir()
    run, state, disk = found
    return run, state, disk


def test_the_newest_takes_the_place_of_the_one_before_and_both_are_recorded(
    places: tuple[Path, Path, Path],
) -> None:
    write_checkpoint(places[0], 5)
    beside = Beside(*places)
    assert beside.copied() == ["checkpoint-5"]
    write_checkpoint(places[0], 10)
    beside.verify_all()
    kinds = [type(job) for job in beside.settle()]
    assert kinds == [CopyJob, DropJob]
    assert beside.there() == {"checkpoint-10"}
    assert beside.records() == [
        ("verified", "checkpoint-5"),
        ("verified", "checkpoint-10"),
        ("dropped", "checkpoint-5"),
    ]


def test_a_start_finds_what_is_there_and_sends_nothing_again(
    places: tuple[Path, Path, Path],
) -> None:
    write_checkpoint(places[0], 5)
    beside = Beside(*places)
    assert beside.copied() == ["checkpoint-5"]
    beside.ledger.close()
    again = Beside(*places)
    assert [type(job) for job in again.settle()] == [LookJob]
    assert not again.backups.waiting()


def test_nothing_is_copied_while_a_verification_waits(places: tuple[Path, Path, Path]) -> None:
    write_checkpoint(places[0], 5)
    beside = Beside(*places)
    assert beside.backups.next_job(waiting=True) is None
    assert beside.backups.held
    assert beside.backups.next_job(waiting=False) is not None
    assert not beside.backups.held


def test_the_best_by_a_metric_is_kept_after_the_trainer_removed_it(
    places: tuple[Path, Path, Path],
) -> None:
    run = places[0]
    for step, reward in ((5, 0.1), (10, 0.9)):
        checkpoint = write_checkpoint(run, step)
        edit_state(checkpoint, log_history=[{"step": step, "reward": reward}])
    beside = Beside(*places, rules=Rules(newest=1, best=1), metric="reward")
    beside.settle()
    shutil.rmtree(run / "checkpoint-10")
    shutil.rmtree(run / "checkpoint-5")
    edit_state(write_checkpoint(run, 15), log_history=[{"step": 15, "reward": 0.5}])
    beside.verify_all()
    beside.settle()
    assert beside.there() == {"checkpoint-10", "checkpoint-15"}


def test_a_failure_fires_is_tried_again_later_and_ends_with_the_next_success(
    places: tuple[Path, Path, Path],
) -> None:
    run, _, disk = places
    write_checkpoint(run, 5)
    disk.rmdir()
    beside = Beside(*places)
    beside.settle()
    (message,) = beside.conditions()
    assert "there is no such directory" in message
    assert beside.backups.next_job(waiting=False) is None
    disk.mkdir()
    assert beside.settle() == []
    beside.later += FIRST_RETRY_SECONDS
    assert beside.copied() == ["checkpoint-5"]
    assert beside.conditions() == []


def test_that_the_destination_can_be_listed_does_not_end_the_failure_of_a_copy(
    places: tuple[Path, Path, Path],
) -> None:
    run, _, disk = places
    write_checkpoint(run, 5)
    beside = Beside(*places)
    look = beside.backups.next_job(waiting=False)
    assert isinstance(look, LookJob)
    beside.do(look)
    copy = beside.backups.next_job(waiting=False)
    assert isinstance(copy, CopyJob)
    place = replace(copy.place, folder="x/y/z")
    (disk / "x").write_text("a file where a directory should be", encoding="utf-8")
    beside.backups.busy = copy
    failed = beside.task.result(CopyJob(place, copy.subject), Stopping())
    beside.backups.on_done(BackupDone(copy, failed))
    assert len(beside.conditions()) == 1
    beside.later += FIRST_RETRY_SECONDS
    again = beside.backups.next_job(waiting=False)
    assert isinstance(again, LookJob)
    beside.do(again)
    assert len(beside.conditions()) == 1
    assert beside.copied() == ["checkpoint-5"]
    assert beside.conditions() == []


def test_what_stays_is_looked_for_before_anything_is_dropped(
    places: tuple[Path, Path, Path],
) -> None:
    run, _, disk = places
    write_checkpoint(run, 5)
    beside = Beside(*places)
    beside.settle()
    write_checkpoint(run, 10)
    beside.verify_all()
    copy = beside.backups.next_job(waiting=False)
    assert isinstance(copy, CopyJob)
    beside.do(copy)
    drop = beside.backups.next_job(waiting=False)
    assert isinstance(drop, DropJob)
    for each in (disk / folder_of(run)).glob("checkpoint-10.*.backup.json"):
        each.unlink()
    beside.do(drop)
    assert beside.there() == {"checkpoint-5"}
    assert beside.copied() == ["checkpoint-10"]
    assert beside.there() == {"checkpoint-10"}


def test_what_is_half_there_of_a_checkpoint_that_is_gone_is_removed(
    places: tuple[Path, Path, Path],
) -> None:
    run, _, disk = places
    write_checkpoint(run, 5)
    folder = disk / folder_of(run)
    for name in (f"checkpoint-3.{'a' * 12}", f"checkpoint-5.{'b' * 12}", "notes"):
        (folder / name).mkdir(parents=True)
    beside = Beside(*places)
    beside.settle()
    left = {each.name for each in folder.iterdir() if each.is_dir()}
    assert f"checkpoint-3.{'a' * 12}" not in left
    assert {f"checkpoint-5.{'b' * 12}", "notes"} <= left


def test_a_checkpoint_that_is_rotated_while_it_is_copied_is_no_failure(
    places: tuple[Path, Path, Path],
) -> None:
    run = places[0]
    write_checkpoint(run, 5)
    beside = Beside(*places)
    beside.do(LookJob(beside.backups.policy.place))  # type: ignore[arg-type]
    copy = beside.backups.next_job(waiting=False)
    assert isinstance(copy, CopyJob)
    shutil.rmtree(run / "checkpoint-5")
    beside.do(copy)
    assert beside.conditions() == []
    beside.later += FIRST_RETRY_SECONDS
    assert beside.settle() == []


def test_another_destination_forgets_the_failure_and_ends_what_goes_to_the_old_one(
    places: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    run, _, disk = places
    write_checkpoint(run, 5)
    disk.rmdir()
    beside = Beside(*places)
    beside.settle()
    assert beside.conditions()
    beside.backups.busy = LookJob(beside.backups.policy.place)  # type: ignore[arg-type]
    other = tmp_path / "other"
    other.mkdir()
    place = replace(beside.backups.busy.place, address=Address(path=other))
    beside.backups.policy = replace(beside.backups.policy, place=place)
    assert beside.backups.must_give_up()
    beside.backups.busy = None
    assert beside.copied() == ["checkpoint-5"]
    beside.backups.policy = replace(beside.backups.policy, place=None)
    assert beside.settle() == []
    assert beside.backups.judged().prefixes == ("backup-failed",)
