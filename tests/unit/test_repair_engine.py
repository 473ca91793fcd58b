"""Repairs are carried out whole, survive a kill at any moment, and are taken back byte for byte."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from resume_daemon.errors import ChangedError, ResumeDaemonError, VanishedError
from resume_daemon.files import write_all
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.ledger.reader import read_records
from resume_daemon.repair.engine import Engine
from resume_daemon.repair.listing_digest import listing_digest
from resume_daemon.repair.proposals import Proposal
from resume_daemon.repair.steps import Move, RepairStep, WriteFile
from resume_daemon.repair.store import RepairStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Picture = dict[str, tuple[Any, ...]]


def make_run(root: Path) -> Path:
    """Return a run with two checkpoints, all of whose times are long ago."""
    run = root / "run"
    for name in ("checkpoint-5", "checkpoint-10"):
        (run / name).mkdir(parents=True)
        for file in ("a.json", "b.bin"):
            (run / name / file).write_bytes(f"{name} {file}".encode())
            (run / name / file).chmod(0o640)
    (run / ".resume_daemon").mkdir()
    for place in sorted(run.rglob("*"), reverse=True):
        os.utime(place, ns=(10**18, 10**18 + len(str(place.relative_to(run)))))
    os.utime(run, ns=(10**18, 10**18))
    return run


def picture(run: Path) -> Picture:
    """Return every byte, mode, owner and modification time of a run, but for our own directory."""
    found: Picture = {}
    for place in (run, *run.rglob("*")):
        name = str(place.relative_to(run))
        if name.startswith(".resume_daemon"):
            continue
        status = place.lstat()
        content = place.read_bytes() if place.is_file() else None
        found[name] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def contents(run: Path) -> dict[str, Any]:
    return {name: each[3] for name, each in picture(run).items()}


@contextmanager
def engine_of(run: Path, after: Callable[[str], None] = lambda _: None) -> Iterator[Engine]:
    sidecar = run / ".resume_daemon"
    with Ledger.open(sidecar / "ledger.jsonl", "run") as ledger:
        yield Engine(RepairStore(sidecar / "repairs"), ledger, sidecar, after)


def write(target: Path, content: bytes) -> WriteFile:
    before = blake3(target.read_bytes()).hexdigest() if target.exists() else None
    return WriteFile(target, before, content, f"write {target.name}")


def move(run: Path, name: str) -> Move:
    target = run / ".resume_daemon" / "quarantine" / name
    return Move(run / name, target, listing_digest(run / name), f"move {name}")


def proposal(*steps: RepairStep) -> list[Proposal]:
    return [Proposal("test", None, "A test.", (step,)) for step in steps]


def whole_plan(run: Path) -> list[Proposal]:
    """Return one step of each kind: replace, make, write in our own directory, move."""
    checkpoint = run / "checkpoint-5"
    return proposal(
        write(checkpoint / "a.json", b"new"),
        write(checkpoint / "c.json", b"made"),
        write(run / ".resume_daemon" / "resume.env", b"X=1\n"),
        move(run, "checkpoint-10"),
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path)


def test_a_repair_is_carried_out_and_taken_back_with_every_byte_and_time(run: Path) -> None:
    before = picture(run)
    with engine_of(run) as engine:
        repair = engine.apply(whole_plan(run), NOW)
        after = picture(run)
        engine.undo(repair.id)

    assert after["checkpoint-5/a.json"][3] == b"new"
    assert after["checkpoint-5/c.json"][3] == b"made"
    assert "checkpoint-10" not in after
    assert picture(run) == before
    assert not (run / ".resume_daemon" / "resume.env").exists()


def test_a_checkpoint_is_as_old_after_its_repair_as_it_was(run: Path) -> None:
    before = picture(run)["checkpoint-5"]
    with engine_of(run) as engine:
        engine.apply(whole_plan(run), NOW)

    assert picture(run)["checkpoint-5"] == before
    assert picture(run)["checkpoint-5/a.json"][0] == before[0] & 0 | 0o100640


def test_what_a_repair_did_is_in_the_ledger_before_and_after(run: Path) -> None:
    with engine_of(run) as engine:
        repair = engine.apply(whole_plan(run), NOW)
        engine.undo(repair.id)

    records = list(read_records(run / ".resume_daemon" / "ledger.jsonl"))
    assert [r.fields["phase"] for r in records] == ["begin"] * 4 + ["done"] * 4 + ["undone"] * 4
    assert {r.kind for r in records} == {"repair"}


def count_changes(run: Path, work: Callable[[Engine], Any]) -> int:
    told: list[str] = []
    with engine_of(run, told.append) as engine:
        work(engine)
    return len(told)


def applying(run: Path) -> Callable[[Engine], Any]:
    return lambda engine: engine.apply(whole_plan(run), NOW)


def undoing(identity: str) -> Callable[[Engine], Any]:
    return lambda engine: engine.undo(identity)


def killed(run: Path, at: int, work: Callable[[Engine], Any]) -> None:
    """Do work in a process of its own, which is killed after so many changes."""
    child = os.fork()
    if child == 0:
        left = [at]

        def after(_: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        with engine_of(run, after) as engine:
            work(engine)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


def test_a_repair_that_is_killed_after_any_change_is_whole_or_gone_at_the_next_start(
    tmp_path: Path,
) -> None:
    planned = make_run(tmp_path / "planned")
    original = picture(planned)
    changes = count_changes(planned, lambda engine: engine.apply(whole_plan(planned), NOW))
    assert changes > 12
    seen = set()
    for at in range(1, changes):
        run = make_run(tmp_path / str(at))
        killed(run, at, applying(run))
        with engine_of(run) as engine:
            told = engine.recover()
            assert engine.recover() == []
            seen |= {sentence.split()[0] for sentence in told}
            assert contents(run) in (contents(planned), {n: e[3] for n, e in original.items()})
            assert picture(run)["checkpoint-5"] == original["checkpoint-5"]
            for identity in engine.store.identities():
                if engine.store.status(engine.store.read(identity)) == "applied":
                    engine.undo(identity)
        assert picture(run) == original
    assert seen == {"Finished"}


def test_an_undo_that_is_killed_after_any_change_is_finished_at_the_next_start(
    tmp_path: Path,
) -> None:
    counted = make_run(tmp_path / "counted")
    original = picture(counted)
    with engine_of(counted) as engine:
        identity = engine.apply(whole_plan(counted), NOW).id
    changes = count_changes(counted, lambda engine: engine.undo(identity))
    for at in range(1, changes):
        run = make_run(tmp_path / str(at))
        with engine_of(run) as engine:
            identity = engine.apply(whole_plan(run), NOW).id
        killed(run, at, undoing(identity))
        with engine_of(run) as engine:
            (told,) = engine.recover()
        assert told.startswith("Took back")
        assert picture(run) == original


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["checkpoint-5/a.json", "checkpoint-5/b.bin", "checkpoint-5/new"]),
        st.binary(max_size=20),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda step: step[0],
)


@settings(max_examples=25, deadline=None)
@given(STEPS, st.booleans(), st.integers(1, 40))
def test_any_plan_killed_at_any_change_ends_planned_or_original(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, bytes]],
    moves: bool,
    at: int,
) -> None:
    run = make_run(tmp_path_factory.mktemp("any"))
    original = picture(run)

    def plan() -> list[Proposal]:
        writes = [write(run / name, content) for name, content in steps]
        return proposal(*writes, *([move(run, "checkpoint-10")] if moves else []))

    class Stop(BaseException):
        """Ends the work where it is, as a kill does: nothing catches it."""

    left = [at]

    def after(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Stop

    try:
        with engine_of(run, after) as engine:
            engine.apply(plan(), NOW)
    except Stop:
        pass
    with engine_of(run) as engine:
        engine.recover()
        done = contents(run)
        for identity in engine.store.identities():
            if engine.store.status(engine.store.read(identity)) == "applied":
                assert all(done[name] == content for name, content in steps)
                engine.undo(identity)
    assert picture(run) == original
    shutil.rmtree(run.parent)


def test_what_changed_since_the_plan_is_not_written_over(run: Path) -> None:
    plan = whole_plan(run)
    (run / "checkpoint-5" / "a.json").write_bytes(b"the user's")
    before = picture(run)
    with engine_of(run) as engine, pytest.raises(ChangedError, match="changed since"):
        engine.apply(plan, NOW)

    assert picture(run) == before


def test_a_moved_checkpoint_that_changed_since_the_plan_stays(run: Path) -> None:
    plan = whole_plan(run)
    (run / "checkpoint-10" / "late").write_bytes(b"")
    with engine_of(run) as engine, pytest.raises(ChangedError, match="checkpoint-10"):
        engine.apply(plan, NOW)

    assert (run / "checkpoint-10" / "late").exists()


def test_nothing_is_moved_to_where_something_is(run: Path) -> None:
    plan = whole_plan(run)
    (run / ".resume_daemon" / "quarantine" / "checkpoint-10").mkdir(parents=True)
    before = picture(run)
    with engine_of(run) as engine, pytest.raises(ChangedError, match="is there already"):
        engine.apply(plan, NOW)

    assert picture(run) == before


def test_what_changed_since_the_repair_is_not_undone(run: Path) -> None:
    with engine_of(run) as engine:
        repair = engine.apply(whole_plan(run), NOW)
        (run / "checkpoint-5" / "a.json").write_bytes(b"the user's")
        before = picture(run)
        with pytest.raises(ChangedError, match="is not what the repair left"):
            engine.undo(repair.id)

    assert picture(run) == before


def test_a_repair_that_was_interrupted_and_changed_since_is_taken_back_around_it(run: Path) -> None:
    changes = [0]

    def at_first_replacement(what: str) -> None:
        if what == "replaced":
            os.kill(os.getpid(), signal.SIGKILL)
        changes[0] += 1

    child = os.fork()
    if child == 0:
        with engine_of(run, at_first_replacement) as engine:
            engine.apply(whole_plan(run), NOW)
        os._exit(0)
    os.waitpid(child, 0)
    (run / "checkpoint-5" / "c.json").write_bytes(b"the user's")
    with engine_of(run) as engine:
        (told,) = engine.recover()

    assert "c.json was changed by somebody else" in told
    assert (run / "checkpoint-5" / "c.json").read_bytes() == b"the user's"
    assert (run / "checkpoint-5" / "a.json").read_bytes() == b"checkpoint-5 a.json"
    assert (run / "checkpoint-10").exists()


def test_a_disk_that_fills_up_in_the_middle_leaves_everything_as_it_was(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = picture(run)
    plan = whole_plan(run)

    def full(fd: int, content: bytes) -> None:
        if content == b"made":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(fd, content)

    monkeypatch.setattr("resume_daemon.repair.execution.write_all", full)
    with engine_of(run) as engine, pytest.raises(ResumeDaemonError, match="as it was before"):
        engine.apply(plan, NOW)

    assert picture(run) == before


def test_a_backup_that_does_not_read_back_stops_the_repair_before_anything_changes(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = picture(run)
    plan = whole_plan(run)

    def spoil(fd: int, content: bytes) -> None:
        # Only what is replaced: what is new is read back once more before it is put in place.
        write_all(fd, content[:-1] if content == b"checkpoint-5 a.json" else content)

    monkeypatch.setattr("resume_daemon.repair.store.write_all", spoil)
    with engine_of(run) as engine, pytest.raises(ResumeDaemonError, match="another digest"):
        engine.apply(plan, NOW)

    assert picture(run) == before


@pytest.mark.parametrize("identity", ["", "../..", "20260102-030405-abcd"])
def test_a_repair_that_there_is_not_is_said_to_be_none(identity: str, run: Path) -> None:
    with engine_of(run) as engine, pytest.raises(VanishedError):
        engine.undo(identity)


def test_a_repair_is_taken_back_once(run: Path) -> None:
    with engine_of(run) as engine:
        repair = engine.apply(whole_plan(run), NOW)
        engine.undo(repair.id)
        with pytest.raises(ResumeDaemonError, match="done already"):
            engine.undo(repair.id)
