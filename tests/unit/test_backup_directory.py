"""Backups in a directory, and what ends them early."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from resume_daemon.backup import restoring
from resume_daemon.backup.copying import Subject, back_up
from resume_daemon.backup.destinations.directory import DirectoryDestination
from resume_daemon.backup.inventory import remove_backup, take_inventory
from resume_daemon.backup.pace import Pace
from resume_daemon.backup.reading_back import damages
from resume_daemon.backup.restoring import restore
from resume_daemon.backup.sent import FullError, How
from resume_daemon.errors import (
    CancelledError,
    ChangedError,
    ResumeDaemonError,
    UsageError,
    VanishedError,
)
from resume_daemon.reading.page_cache import is_present
from resume_daemon.verification import verify
from tests.checkpoints import write_checkpoint, zero_second_half

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def subject_of(checkpoint: Path, **changes: Any) -> Subject:
    found = verify(checkpoint, boundary=checkpoint.parent)
    assert found.manifest is not None
    values = {"number": 1, "metrics": {}, "policy": True, **changes}
    return Subject(checkpoint, found.manifest, found.step, found.verdict.value, **values)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "run", 5)


@pytest.fixture
def place(tmp_path: Path) -> DirectoryDestination:
    (tmp_path / "disk").mkdir()
    return DirectoryDestination(tmp_path / "disk", "run-1", hard_links=False)


def after(reads: int, do: Callable[[], object]) -> Pace:
    """Return a pace that does something once, before a read."""
    left = [reads]

    def held() -> bool:
        left[0] -= 1
        if left[0] == 0:
            do()
        return False

    return Pace(held=held)


def test_a_backup_is_the_checkpoint_file_by_file_with_its_times(
    checkpoint: Path, place: DirectoryDestination, tmp_path: Path
) -> None:
    outcome = back_up(subject_of(checkpoint), place, Pace())
    copy = tmp_path / "disk" / "run-1" / outcome.backup.id
    assert contents(copy) == contents(checkpoint)
    for path in checkpoint.iterdir():
        assert (copy / path.name).stat().st_mtime_ns == path.stat().st_mtime_ns
    assert take_inventory(place).backups == (outcome.backup,)


@pytest.mark.skipif(shutil.which("b3sum") is None, reason="b3sum is not installed")
def test_a_backup_is_checked_by_hand_with_b3sum(
    checkpoint: Path, place: DirectoryDestination, tmp_path: Path
) -> None:
    backup = back_up(subject_of(checkpoint), place, Pace()).backup
    folder = tmp_path / "disk" / "run-1"
    command = ["b3sum", "--check", str(folder / f"{backup.id}.b3sums")]
    done = subprocess.run(command, cwd=folder / backup.id, capture_output=True, check=False)
    assert done.returncode == 0


def test_what_is_there_is_not_sent_again(checkpoint: Path, place: DirectoryDestination) -> None:
    subject = subject_of(checkpoint)
    first = back_up(subject, place, Pace())
    again = back_up(subject, place, Pace())
    assert first.new
    assert not again.new
    assert again.sent == 0
    assert again.backup == first.backup


def test_an_interrupted_backup_is_none_and_goes_on_where_it_was(
    checkpoint: Path, place: DirectoryDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(checkpoint)
    stopped: list[bool] = []
    pace = Pace(cancelled=lambda: bool(stopped), progress=lambda _: None)
    send, sent = place.send, []

    def counting(source: Any, name: str) -> Any:
        done = send(source, name)
        sent.append(name)
        if len(sent) == 4:
            stopped.append(True)
        return done

    monkeypatch.setattr(place, "send", counting)
    with pytest.raises(CancelledError):
        back_up(subject, place, pace)
    inventory = take_inventory(place)
    assert inventory.backups == ()
    assert len(inventory.unfinished) == 1
    outcome = back_up(subject, place, Pace())
    assert len(sent) == len(set(sent)) == len(outcome.backup.files)
    assert damages(outcome.backup, place, Pace()) == ()


def test_two_at_the_same_time_make_one_backup(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    subject = subject_of(checkpoint)

    def make(_: int) -> str:
        place = DirectoryDestination(tmp_path / "disk", "run-1", hard_links=False)
        return back_up(subject, place, Pace(2_000_000)).backup.id

    with ThreadPoolExecutor(4) as pool:
        (identity,) = set(pool.map(make, range(4)))
    assert contents(tmp_path / "disk" / "run-1" / identity) == contents(checkpoint)


def test_a_damaged_backup_is_mended_by_what_is_read_anew(
    checkpoint: Path, place: DirectoryDestination, tmp_path: Path
) -> None:
    backup = back_up(subject_of(checkpoint), place, Pace()).backup
    damaged = tmp_path / "disk" / "run-1" / backup.id / "optimizer.pt"
    damaged.write_bytes(b"cut")
    assert damages(backup, place, Pace()) != ()
    outcome = back_up(subject_of(checkpoint), place, Pace(), anew=True)
    assert (outcome.new, outcome.sent) == (False, damaged.stat().st_size)
    assert damages(backup, place, Pace()) == ()


def test_a_whole_backup_stays_where_the_checkpoint_goes_while_it_is_read_anew(
    checkpoint: Path, place: DirectoryDestination
) -> None:
    subject = subject_of(checkpoint)
    backup = back_up(subject, place, Pace()).backup
    with pytest.raises(VanishedError):
        back_up(subject, place, after(2, lambda: shutil.rmtree(checkpoint)), anew=True)
    assert take_inventory(place).backups == (backup,)


def test_the_page_cache_is_left_as_it_was_found(
    tmp_path: Path, place: DirectoryDestination
) -> None:
    checkpoint = write_checkpoint(tmp_path / "run", 5)
    large = checkpoint / "replay_buffer.bin"
    large.write_bytes(os.urandom(24 * 1024 * 1024))
    subject = subject_of(checkpoint)
    fd = os.open(large, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        # Asking begins to read the page, so this one is not asked about again.
        if is_present(fd, 23 * 1024 * 1024):
            pytest.skip("this file system keeps all of its pages, or cannot say")
        outcome = back_up(subject, place, Pace())
        copy = os.open(tmp_path / "disk" / "run-1" / outcome.backup.id / large.name, os.O_RDONLY)
        try:
            for offset in range(0, 20 * 1024 * 1024, 4 * 1024 * 1024):
                assert not is_present(fd, offset)
                assert not is_present(copy, offset)
        finally:
            os.close(copy)
    finally:
        os.close(fd)


def test_a_file_that_is_there_with_other_bytes_is_sent_again(
    checkpoint: Path, place: DirectoryDestination, tmp_path: Path
) -> None:
    subject = subject_of(checkpoint)
    backup = back_up(subject, place, Pace()).backup
    place.remove(f"{backup.id}.backup.json")
    damaged = tmp_path / "disk" / "run-1" / backup.id / "optimizer.pt"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    outcome = back_up(subject, place, Pace())
    assert outcome.sent == damaged.stat().st_size
    assert damages(outcome.backup, place, Pace()) == ()


@pytest.mark.parametrize("reads", [2, 5, 12])
def test_a_checkpoint_that_is_rotated_meanwhile_leaves_nothing_behind(
    checkpoint: Path, place: DirectoryDestination, reads: int
) -> None:
    pace = after(reads, lambda: shutil.rmtree(checkpoint))
    with pytest.raises(VanishedError):
        back_up(subject_of(checkpoint), place, pace)
    assert take_inventory(place) == take_inventory(
        DirectoryDestination(checkpoint.parent, "nothing", hard_links=False)
    )


@pytest.mark.parametrize(("file", "reads"), [("training_args.bin", 3), ("config.json", 15)])
def test_a_checkpoint_that_is_written_to_meanwhile_is_no_backup(
    checkpoint: Path, place: DirectoryDestination, file: str, reads: int
) -> None:
    """The first file to be sent is written to when it has long been, the last one before."""

    def save_again() -> None:
        (checkpoint / file).write_bytes(b"another save")

    with pytest.raises(ChangedError):
        back_up(subject_of(checkpoint), place, after(reads, save_again))
    assert take_inventory(place).unfinished == ()


def test_bytes_that_differ_from_those_that_were_verified_are_not_backed_up(
    checkpoint: Path, place: DirectoryDestination
) -> None:
    subject = subject_of(checkpoint)
    path = checkpoint / "model.safetensors"
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ResumeDaemonError, match="not what it was given"):
        back_up(subject, place, Pace())
    assert take_inventory(place).backups == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root and mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(mount)]
    tried = subprocess.run(command, capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"mount refused: {tried.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_told_and_nothing_half_is_left_on_it(
    checkpoint: Path, small_disk: Path
) -> None:
    place = DirectoryDestination(small_disk, "run-1", hard_links=False)
    with pytest.raises(FullError, match="Make room"):
        back_up(subject_of(checkpoint), place, Pace())
    assert contents(small_disk) == {}


def test_a_restore_to_a_full_disk_is_refused_before_it_begins(
    checkpoint: Path, place: DirectoryDestination, small_disk: Path
) -> None:
    backup = back_up(subject_of(checkpoint), place, Pace()).backup
    with pytest.raises(ResumeDaemonError, match="are free"):
        restore(backup, place, small_disk, Pace())
    assert contents(small_disk) == {}


@pytest.fixture
def cloning_disk(tmp_path: Path) -> Iterator[Path]:
    mount, image = tmp_path / "xfs", tmp_path / "image"
    mount.mkdir()
    maker = shutil.which("mkfs.xfs") or shutil.which("mkfs.btrfs")
    if os.geteuid() != 0 or maker is None or shutil.which("mount") is None:
        pytest.skip("a file system that clones needs root, mount and mkfs.xfs or mkfs.btrfs")
    with image.open("wb") as stream:
        stream.truncate(320 * 1024 * 1024)
    subprocess.run([maker, str(image)], check=True, capture_output=True)
    tried = subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=False)
    if tried.returncode:
        pytest.skip("mount refused")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_file_system_that_clones_is_sent_no_byte(cloning_disk: Path) -> None:
    checkpoint = write_checkpoint(cloning_disk / "run", 5)
    place = DirectoryDestination(cloning_disk, "run-1", hard_links=False)
    outcome = back_up(subject_of(checkpoint), place, Pace())
    assert (outcome.how, outcome.sent) == (frozenset({How.REFLINK}), 0)
    before = contents(checkpoint)
    (checkpoint / "model.safetensors").write_bytes(b"rewritten in place")
    assert contents(cloning_disk / "run-1" / outcome.backup.id) == before


def test_hard_links_are_made_only_where_they_were_asked_for(
    checkpoint: Path, place: DirectoryDestination, tmp_path: Path
) -> None:
    assert back_up(subject_of(checkpoint), place, Pace()).how <= {How.COPY, How.REFLINK}
    linking = DirectoryDestination(tmp_path / "disk", "run-2", hard_links=True)
    linking._clones = False
    outcome = back_up(subject_of(checkpoint), linking, Pace())
    assert (outcome.how, outcome.sent) == (frozenset({How.HARD_LINK}), 0)
    shutil.rmtree(checkpoint)
    assert damages(outcome.backup, linking, Pace()) == ()


def test_a_destination_that_is_not_there_is_not_made(checkpoint: Path, tmp_path: Path) -> None:
    place = DirectoryDestination(tmp_path / "mount-point" / "gone", "run-1", hard_links=False)
    with pytest.raises(ResumeDaemonError, match="mount the disk"):
        take_inventory(place)
    with pytest.raises(ResumeDaemonError, match="mount the disk"):
        back_up(subject_of(checkpoint), place, Pace())
    assert not (tmp_path / "mount-point").exists()


def test_a_restored_checkpoint_is_the_same_to_the_byte_and_the_time(
    checkpoint: Path, place: DirectoryDestination, tmp_path: Path
) -> None:
    (checkpoint / "assets").mkdir()
    (checkpoint / "assets" / "extra.bin").write_bytes(b"in a directory inside")
    os.utime(checkpoint, ns=(10**18, 10**18))
    before = contents(checkpoint)
    backup = back_up(subject_of(checkpoint), place, Pace()).backup
    other = tmp_path / "other"
    other.mkdir()
    restored = restore(backup, place, other, Pace())
    assert restored.path == other / "checkpoint-5"
    assert restored.verification.verdict.value == "sound"
    assert contents(restored.path) == before
    assert restored.path.stat().st_mtime_ns == 10**18
    assert [each.name for each in other.iterdir()] == ["checkpoint-5"]


def test_bytes_that_the_disk_does_not_give_back_are_not_restored(
    checkpoint: Path,
    place: DirectoryDestination,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backup = back_up(subject_of(checkpoint), place, Pace()).backup
    other = tmp_path / "other"
    other.mkdir()
    fetch = restoring._fetch

    def lose_a_page(backup: Any, file: Any, destination: Any, root: Path, pace: Any) -> int:
        fetched = fetch(backup, file, destination, root, pace)
        if file.name == "model.safetensors":
            zero_second_half(root / file.name)
        return fetched

    monkeypatch.setattr(restoring, "_fetch", lose_a_page)
    with pytest.raises(ResumeDaemonError, match="other bytes than were written"):
        restore(backup, place, other, Pace())
    assert not (other / "checkpoint-5").exists()


def test_nothing_is_ever_restored_over_what_is_there(
    checkpoint: Path, place: DirectoryDestination
) -> None:
    backup = back_up(subject_of(checkpoint), place, Pace()).backup
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()
    with pytest.raises(UsageError, match="nothing is ever put over it"):
        restore(backup, place, checkpoint.parent, Pace())
    assert list(checkpoint.iterdir()) == []


def test_a_restore_that_was_killed_is_no_checkpoint_and_is_gone_on_with(
    checkpoint: Path, place: DirectoryDestination, tmp_path: Path
) -> None:
    backup = back_up(subject_of(checkpoint), place, Pace()).backup
    other = tmp_path / "other"
    other.mkdir()
    script = """
import os, sys
from pathlib import Path
from resume_daemon.backup import restoring
from resume_daemon.backup.destinations.directory import DirectoryDestination
from resume_daemon.backup.inventory import take_inventory
from resume_daemon.backup.pace import Pace

place = DirectoryDestination(Path(sys.argv[1]), "run-1", hard_links=False)
fetch, done = restoring._fetch, []

def fetching(*arguments):
    if len(done) == 5:
        os.kill(os.getpid(), 9)
    done.append(fetch(*arguments))
    return done[-1]

restoring._fetch = fetching
restoring.restore(take_inventory(place).backups[0], place, Path(sys.argv[2]), Pace())
"""
    command = [sys.executable, "-c", script, str(tmp_path / "disk"), str(other)]
    assert subprocess.run(command, check=False, timeout=50).returncode == -9
    assert [each.name for each in other.iterdir()] == [".restoring"]
    restored = restore(backup, place, other, Pace())
    assert restored.fetched == sum(file.size for file in backup.files[5:])
    assert contents(restored.path) == contents(checkpoint)


@pytest.mark.parametrize("how", ["cut", "gone", "changed", "manifest"])
def test_a_damaged_backup_is_refused_and_leaves_the_run_as_it_was(
    checkpoint: Path, place: DirectoryDestination, tmp_path: Path, how: str
) -> None:
    backup = back_up(subject_of(checkpoint), place, Pace()).backup
    folder = tmp_path / "disk" / "run-1"
    path = folder / backup.id / "model.safetensors"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "gone":
        path.unlink()
    elif how == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    else:
        (folder / f"{backup.id}.manifest.json").write_bytes(b"{}")
    if how != "manifest":
        assert [each.file for each in damages(backup, place, Pace())] == ["model.safetensors"]
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ResumeDaemonError, match="is damaged"):
        restore(backup, place, other, Pace())
    assert list(other.iterdir()) == []


def test_a_record_that_is_cut_short_is_told_and_counts_for_nothing(
    checkpoint: Path, place: DirectoryDestination, tmp_path: Path
) -> None:
    backup = back_up(subject_of(checkpoint), place, Pace()).backup
    record = tmp_path / "disk" / "run-1" / f"{backup.id}.backup.json"
    record.write_bytes(record.read_bytes()[:-20])
    inventory = take_inventory(place)
    assert inventory.backups == ()
    assert [identity for identity, _ in inventory.damaged] == [backup.id]


def test_a_backup_that_a_person_asks_for_is_not_the_policys_any_more(
    checkpoint: Path, place: DirectoryDestination
) -> None:
    back_up(subject_of(checkpoint), place, Pace())
    back_up(subject_of(checkpoint, policy=False), place, Pace())
    (backup,) = take_inventory(place).backups
    assert not backup.policy


def test_reads_and_writes_keep_to_the_limit_together(
    checkpoint: Path, place: DirectoryDestination
) -> None:
    subject = subject_of(checkpoint)
    begin = time.monotonic()
    back_up(subject, place, Pace(1_000_000))
    # Half a megabyte is read, written and read back; a quarter of a second's worth is free.
    assert time.monotonic() - begin > 1.0


def test_a_backup_that_is_half_removed_counts_for_nothing(
    checkpoint: Path, place: DirectoryDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = back_up(subject_of(checkpoint), place, Pace()).backup

    def fail(name: str) -> None:
        raise ResumeDaemonError("remove", name, "the disk failed")

    monkeypatch.setattr(place, "remove_folder", fail)
    with pytest.raises(ResumeDaemonError, match="the disk failed"):
        remove_backup(place, backup.id)
    assert take_inventory(place).backups == ()
    assert take_inventory(place).unfinished == (backup.id,)


def test_a_backup_waits_while_it_is_held(checkpoint: Path, place: DirectoryDestination) -> None:
    answers = iter([True] * 3)
    asked = []

    def held() -> bool:
        asked.append(next(answers, False))
        return asked[-1]

    back_up(subject_of(checkpoint), place, Pace(held=held))
    assert asked[:4] == [True, True, True, False]
