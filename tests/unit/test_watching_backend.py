from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resume_daemon.watching.backend import PollingWatcher, WatchLimitError, make_watcher
from resume_daemon.watching.filesystem import BackendChoice

if not sys.platform.startswith("linux"):
    pytest.skip("inotify is Linux", allow_module_level=True)

from resume_daemon.watching.inotify import InotifyWatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 10.0
"""How long an event is waited for before a test fails; it comes within milliseconds."""

INOTIFY = BackendChoice("inotify", "a local disk")


class Heard:
    """What a watcher said, with a way to wait for it."""

    def __init__(self) -> None:
        self._paths: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self.overflow = threading.Event()
        self.overflows = 0

    def event(self, path: Path) -> None:
        """Take what changed."""
        self._paths.put(path)

    def overflowed(self) -> None:
        """Take that events were lost."""
        self.overflows += 1
        self.overflow.set()

    def next(self) -> Path:
        """Return the next path that changed, and wait for it."""
        return self._paths.get(timeout=SECONDS)

    def until(self, path: Path) -> list[Path]:
        """Return everything that came up to and with the first event of ``path``."""
        came: list[Path] = []
        while not came or came[-1] != path:
            came.append(self.next())
        return came

    def drain(self) -> None:
        """Forget what came so far."""
        while not self._paths.empty():
            self._paths.get_nowait()


@contextmanager
def watching(
    *targets: Path, interesting: Callable[[Path], bool] | None = None
) -> Iterator[tuple[InotifyWatcher, Heard]]:
    heard = Heard()
    watcher = InotifyWatcher(
        on_event=heard.event, on_overflow=heard.overflowed, interesting=interesting
    )
    watcher.start()
    try:
        watcher.set_targets(targets)
        yield watcher, heard
    finally:
        watcher.close()


def is_silent(heard: Heard, directory: Path) -> bool:
    """Return whether nothing came before an event that is made now: events keep their order."""
    mark = directory / "mark"
    mark.mkdir()
    before = heard.until(mark)
    mark.rmdir()
    heard.until(mark)
    return before == [mark]


def test_a_new_file_wakes(tmp_path: Path) -> None:
    with watching(tmp_path) as (_, heard):
        (tmp_path / "a").write_text("x")
        heard.until(tmp_path / "a")


def test_a_new_directory_wakes(tmp_path: Path) -> None:
    with watching(tmp_path) as (_, heard):
        (tmp_path / "checkpoint-1").mkdir()
        heard.until(tmp_path / "checkpoint-1")


def test_a_rewrite_in_place_wakes_before_the_writer_closes_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with watching(tmp_path) as (_, heard), (tmp_path / "a").open("r+b", buffering=0) as file:
        file.write(b"y")
        heard.until(tmp_path / "a")


def test_a_rename_over_a_file_wakes_with_both_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("y")
    with watching(tmp_path) as (_, heard):
        (tmp_path / "b").replace(tmp_path / "a")
        assert heard.until(tmp_path / "a")[0] == tmp_path / "b"


def test_a_deletion_wakes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with watching(tmp_path) as (_, heard):
        (tmp_path / "a").unlink()
        heard.until(tmp_path / "a")


def test_a_file_in_a_sub_directory_does_not_wake(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    with watching(tmp_path) as (_, heard):
        (tmp_path / "samples" / "a").write_text("x")
        assert is_silent(heard, tmp_path)


def test_our_own_reads_do_not_wake(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with watching(tmp_path) as (_, heard):
        (tmp_path / "a").read_bytes()
        list(tmp_path.iterdir())
        (tmp_path / "a").chmod(0o600)
        assert is_silent(heard, tmp_path)


def test_uninteresting_entries_of_a_directory_do_not_wake(tmp_path: Path) -> None:
    with watching(tmp_path, interesting=lambda path: path.suffix != ".png") as (_, heard):
        (tmp_path / "sample.png").write_text("x")
        assert is_silent(heard, tmp_path)


def test_a_single_file_is_heard_through_its_replacement_and_its_neighbours_are_not(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state.json"
    state.write_text("1")
    with watching(state, tmp_path / "mark") as (_, heard):
        for _ in range(2):
            (tmp_path / "new").write_text("2")
            (tmp_path / "new").replace(state)
            assert set(heard.until(state)) == {state}
        assert is_silent(heard, tmp_path)


def test_a_single_file_is_heard_in_a_directory_target_that_finds_it_uninteresting(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state.json"
    for targets in ([tmp_path, state], [state, tmp_path]):
        with watching(*targets, interesting=lambda p: p.name == "mark") as (watcher, heard):
            (tmp_path / "sample").write_text("1")
            assert is_silent(heard, tmp_path)
            state.write_text("1")
            heard.until(state)
            assert watcher.watches == 1


def test_a_target_that_does_not_exist_yet_is_waited_for_by_name(tmp_path: Path) -> None:
    with watching(tmp_path / "run") as (watcher, heard):
        (tmp_path / "run").mkdir()
        heard.until(tmp_path / "run")
        watcher.set_targets([tmp_path / "run"])
        (tmp_path / "run" / "checkpoint-1").mkdir()
        heard.until(tmp_path / "run" / "checkpoint-1")


def test_a_target_whose_directory_does_not_exist_costs_nothing(tmp_path: Path) -> None:
    with watching(tmp_path / "no" / "such" / "file", tmp_path) as (watcher, heard):
        assert watcher.watches == 1
        assert is_silent(heard, tmp_path)


def test_a_target_that_is_dropped_is_not_heard_any_more(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    with watching(old, new) as (watcher, heard):
        assert watcher.watches == 2
        watcher.set_targets([new])
        assert watcher.watches == 1
        (old / "a").touch()
        assert is_silent(heard, new)


def test_a_directory_that_is_deleted_and_made_again_is_heard_again(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint-1"
    target.mkdir()
    with watching(target) as (watcher, heard):
        target.rmdir()
        heard.until(target)  # It is deleted.
        heard.until(target)  # Its watch is gone.
        target.mkdir()
        watcher.set_targets([target])
        (target / "a").touch()
        heard.until(target / "a")


def test_a_directory_that_is_replaced_at_once_is_heard_after_the_wake_ups_it_causes(
    tmp_path: Path,
) -> None:
    target = tmp_path / "checkpoint-1"
    target.mkdir()
    with watching(target) as (watcher, heard):
        target.rmdir()
        target.mkdir()  # It may even get the same inode.
        watcher.set_targets([target])
        (target / "a").write_text("x")
        while heard.next() != target / "a":
            watcher.set_targets([target])
            (target / "a").write_text("y")


def test_a_directory_that_was_renamed_away_is_not_taken_for_its_successor(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint-1"
    target.mkdir()
    with watching(target) as (watcher, heard):
        target.rename(tmp_path / "old")
        heard.until(target)
        target.mkdir()
        watcher.set_targets([target])
        (tmp_path / "old" / "a").touch()
        (target / "b").touch()
        assert target / "a" not in heard.until(target / "b")
        assert watcher.watches == 1


def test_a_directory_that_vanishes_frees_its_watch(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint-1"
    target.mkdir()
    with watching(target, tmp_path) as (watcher, heard):
        target.rmdir()
        heard.until(target)
        watcher.set_targets([target, tmp_path])
        assert watcher.watches == 1


def test_two_names_of_one_directory_are_both_heard_and_share_a_watch(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    with watching(real, link) as (watcher, heard):
        assert watcher.watches == 1
        (real / "a").touch()
        assert set(heard.until(link / "a")) == {real / "a", link / "a"}
        watcher.set_targets([link])
        heard.drain()
        (real / "b").touch()
        assert set(heard.until(link / "b")) == {link / "b"}


def test_a_run_with_ten_checkpoints_needs_few_watches_and_one_thread(tmp_path: Path) -> None:
    targets = [tmp_path, *(tmp_path / f"checkpoint-{n}" for n in range(10))]
    for target in targets[1:]:
        target.mkdir()
        (target / "model.safetensors").touch()
    threads, descriptors = threading.active_count(), inotify_descriptors()
    with watching(*targets, tmp_path / "state.json") as (watcher, _):
        assert watcher.watches == 11
        assert threading.active_count() == threads + 1
        assert inotify_descriptors() == descriptors + 1
    assert threading.active_count() == threads
    assert inotify_descriptors() == descriptors


def inotify_descriptors() -> int:
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue  # The descriptor of this very listing.
    return links.count("anon_inode:inotify")


def test_nothing_is_said_after_close_and_closing_twice_is_fine(tmp_path: Path) -> None:
    with watching(tmp_path) as (watcher, heard):
        watcher.close()
        (tmp_path / "a").touch()
        watcher.close()
        assert watcher.watches == 0
        assert heard._paths.empty()


def test_targets_set_before_the_start_are_watched_from_the_start(tmp_path: Path) -> None:
    heard, descriptors = Heard(), inotify_descriptors()
    watcher = InotifyWatcher(on_event=heard.event, on_overflow=heard.overflowed)
    watcher.set_targets([tmp_path])
    watcher.start()
    watcher.start()
    try:
        assert inotify_descriptors() == descriptors + 1
        (tmp_path / "a").touch()
        heard.until(tmp_path / "a")
    finally:
        watcher.close()


def test_a_queue_that_overflows_is_told_once_however_many_watches_there_are(
    tmp_path: Path,
) -> None:
    """A real overflow: the watcher's thread is held up while more happens than the queue takes."""
    room = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if room > 100_000:
        pytest.skip("the kernel's queue is too long to be filled here")
    busy, go_on, heard = threading.Event(), threading.Event(), Heard()

    def hold(_: Path) -> None:
        busy.set()
        go_on.wait(SECONDS)

    other = tmp_path / "other"
    other.mkdir()
    watcher = InotifyWatcher(on_event=hold, on_overflow=heard.overflowed)
    watcher.start()
    try:
        watcher.set_targets([tmp_path, other])
        (tmp_path / "first").touch()
        assert busy.wait(SECONDS)
        # A rename is two events, and they are never merged.
        there, back = tmp_path / "there", tmp_path / "back"
        there.touch()
        for _ in range(room // 4 + 100):
            there.rename(back)
            back.rename(there)
        go_on.set()
        assert heard.overflow.wait(SECONDS)
        assert heard.overflows == 1
    finally:
        go_on.set()
        watcher.close()


LIMITED = """
import sys
from pathlib import Path
from resume_daemon.watching.backend import WatchLimitError, make_watcher
from resume_daemon.watching.filesystem import BackendChoice
import queue

heard = queue.SimpleQueue()
watcher, reason = make_watcher(
    BackendChoice("inotify", "local"), on_event=heard.put, on_overflow=lambda: None
)
root = Path(sys.argv[1])
watcher.set_targets([root / "3" / "state.json"])
try:
    watcher.set_targets([root / "1", root / "2", root / "3"])
except WatchLimitError as error:
    print(error)
    for name in "13":
        (root / name / "a").mkdir()
        print("heard", heard.get(timeout=10))
    print("watches", watcher.watches)
    watcher.close()
print(type(watcher).__name__, reason)
"""


def in_user_namespace(sysctl: str, value: int, root: Path) -> str:
    """Run ``LIMITED`` where this limit is real, in a user namespace that has limits of its own."""
    shell = f'echo {value} > /proc/sys/user/{sysctl} && exec "$@"'
    enter = ["unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh"]
    probe = subprocess.run([*enter, "true"], check=False, capture_output=True, timeout=30)
    if probe.returncode:
        pytest.skip("no user namespaces here, so the limit cannot be lowered for a test")
    done = subprocess.run(
        [*enter, sys.executable, "-c", LIMITED, str(root)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for name in "123":
        (tmp_path / name).mkdir()
    return tmp_path


def test_too_few_watches_name_the_sysctl_and_leave_the_others_at_work(three: Path) -> None:
    said = in_user_namespace("max_inotify_watches", 2, three)
    assert "sysctl user.max_inotify_watches is 2 now" in said
    assert str(three / "2") in said
    assert f"heard {three / '1' / 'a'}" in said
    assert f"heard {three / '3' / 'a'}" in said
    assert "watches 2" in said


def test_too_few_instances_fall_back_to_polling_and_say_so(three: Path) -> None:
    said = in_user_namespace("max_inotify_instances", 0, three)
    assert said.startswith("PollingWatcher")
    assert "sysctl user.max_inotify_instances is 0 now" in said


def test_a_limit_that_is_the_machines_is_named_as_such() -> None:
    from resume_daemon.watching.inotify import _smallest  # noqa: PLC0415  Only this test.

    value = Path("/proc/sys/fs/inotify/max_user_watches").read_text().strip()
    assert f"sysctl fs.inotify.max_user_watches is {value} now" == _smallest(
        "fs/inotify/max_user_watches"
    )


def test_polling_promises_the_same_and_does_nothing(tmp_path: Path) -> None:
    heard = Heard()
    choice = BackendChoice("polling", "it is NFS")
    watcher, reason = make_watcher(choice, on_event=heard.event, on_overflow=heard.overflowed)
    assert isinstance(watcher, PollingWatcher)
    assert reason == "it is NFS"
    watcher.start()
    watcher.set_targets([tmp_path])
    assert watcher.watches == 0
    watcher.close()


def test_make_watcher_returns_a_started_watcher_with_the_reason_of_the_choice(
    tmp_path: Path,
) -> None:
    heard = Heard()
    watcher, reason = make_watcher(
        INOTIFY,
        on_event=heard.event,
        on_overflow=heard.overflowed,
        interesting=lambda path: path.name != "a",
    )
    try:
        assert reason == "a local disk"
        watcher.set_targets([tmp_path])
        (tmp_path / "a").touch()
        assert is_silent(heard, tmp_path)
    finally:
        watcher.close()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Lose root's right to read everything, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_directory_that_may_not_be_read_is_left_to_the_rescan() -> None:
    # pytest's own directory may be traversed by its owner alone.
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o777)
        closed = root / "closed"
        closed.mkdir()
        closed.chmod(0)
        with unprivileged(), watching(closed, root) as (watcher, heard):
            assert watcher.watches == 1
            watcher.set_targets([closed, root])
            assert watcher.watches == 1
            assert is_silent(heard, root)


def test_a_limit_error_is_one_of_the_programs_own() -> None:
    assert str(WatchLimitError("watch", "/x", "full", hint="Raise it.")) == (
        "Cannot watch /x: full. Raise it."
    )
