"""Repairs killed at every call that changes a file system, and in the middle of every write."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from resume_daemon.ledger.reader import read_records
from tests.unit.test_repair_engine import (
    NOW,
    contents,
    engine_of,
    make_run,
    move,
    picture,
    proposal,
    whole_plan,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from resume_daemon.repair.proposals import Proposal

CHANGES = (
    *("open", "write", "fsync", "fdatasync", "ftruncate", "rename", "replace", "unlink"),
    *("rmdir", "mkdir", "utime", "fchmod", "fchown"),
)
"""The functions of ``os`` through which files are changed or flushed; ``pathlib`` and ``shutil``
call the same."""


def count_calls(told: Callable[[str, tuple[Any, ...]], None]) -> None:
    """Have ``told`` called before each call that changes something, in this process for good."""

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            flags = arguments[1] if len(arguments) > 1 else options.get("flags", 0)
            if name != "open" or flags & os.O_CREAT:
                told(name, arguments)
            return real(*arguments, **options)

        return call

    for name in CHANGES:
        setattr(os, name, counted(name, getattr(os, name)))


def killed(run: Path, work: Callable[[Path], Any], at: int, *, torn: bool = False) -> bool:
    """Do work in a process that is killed before its ``at``-th change; return whether it was.

    Args:
        run: What ``work`` is given.
        work: What is done.
        at: Counted from 1.
        torn: Let half of the bytes be written first where the change is a write.
    """
    real_write = os.write
    child = os.fork()
    if child == 0:
        left = [at]

        def told(name: str, arguments: tuple[Any, ...]) -> None:
            left[0] -= 1
            if left[0] == 0:
                if torn and name == "write":
                    real_write(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            count_calls(told)
            work(run)
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.waitstatus_to_exitcode(ended) == 0
    return os.WIFSIGNALED(ended)


def apply(plan: Callable[[Path], list[Proposal]]) -> Callable[[Path], Any]:
    def work(run: Path) -> None:
        with engine_of(run) as engine:
            engine.apply(plan(run), NOW)

    return work


def recover(run: Path) -> None:
    with engine_of(run) as engine:
        engine.recover()


def undo_all(run: Path) -> None:
    with engine_of(run) as engine:
        for identity in engine.store.identities():
            if engine.store.status(engine.store.read(identity)) == "applied":
                engine.undo(identity)


def check_left_nothing(run: Path) -> None:
    """Assert that no half of anything is left, in the run or with what is kept of repairs."""
    assert not [path for path in run.rglob("*") if path.name.endswith((".repair", ".new"))]
    list(read_records(run / ".resume_daemon" / "ledger.jsonl"))


def test_a_repair_killed_at_any_call_or_within_any_write_is_whole_or_was_never_there(
    tmp_path: Path,
) -> None:
    planned = make_run(tmp_path / "planned")
    original = picture(planned)
    apply(whole_plan)(planned)
    ends = (contents(planned), {name: each[3] for name, each in original.items()})
    seen = [0, 0]
    at = 1
    while True:
        run = make_run(tmp_path / f"{at}")
        if not killed(run, apply(whole_plan), at, torn=True):
            break
        recover(run)
        seen[ends.index(contents(run))] += 1
        assert picture(run)["checkpoint-5"] == original["checkpoint-5"]
        check_left_nothing(run)
        undo_all(run)
        assert picture(run) == original
        shutil.rmtree(run.parent)
        at += 1
    assert at > 50
    assert min(seen) > 10


def test_an_undo_killed_at_any_call_or_within_any_write_is_taken_to_its_end(
    tmp_path: Path,
) -> None:
    original = picture(make_run(tmp_path / "original"))
    at = 1
    while True:
        run = make_run(tmp_path / f"{at}")
        apply(whole_plan)(run)
        if not killed(run, undo_all, at, torn=True):
            break
        recover(run)
        undo_all(run)
        assert picture(run) == original
        check_left_nothing(run)
        shutil.rmtree(run.parent)
        at += 1
    assert at > 20


PLACES = [
    f"{folder}/{file}"
    for folder in ("checkpoint-5", "checkpoint-10", ".")
    for file in ("a.json", "b.bin", "new", "another")
]

WRITES = st.lists(
    st.tuples(st.sampled_from(PLACES), st.binary(max_size=40)),
    max_size=4,
    unique_by=lambda each: each[0],
)
MOVES = st.lists(
    st.sampled_from(["checkpoint-5", "checkpoint-10", "checkpoint-5/a.json"]),
    max_size=2,
    unique=True,
)


def planning(writes: list[tuple[str, bytes]], moves: list[str]) -> Callable[[Path], list[Proposal]]:
    """Return what makes a plan: moves first, then writes to what is still where it was."""
    if "checkpoint-5" in moves:
        moves = [name for name in moves if name != "checkpoint-5/a.json"]
    staying = [(n, c) for n, c in writes if not any(n == m or n.startswith(f"{m}/") for m in moves)]
    # The listing of a directory that is moved must not be changed by a step before it.
    moved = [name for name in moves if "/" not in name]

    def plan(run: Path) -> list[Proposal]:
        steps = [move(run, name) for name in moved]
        return proposal(*steps, *(write(run / name, content) for name, content in staying))

    return plan


@settings(max_examples=60, deadline=None)
@given(WRITES, MOVES, st.tuples(st.integers(1, 90), st.integers(1, 40)), st.booleans())
def test_any_plan_killed_anywhere_and_again_while_it_is_settled_ends_planned_or_original(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[str, bytes]],
    moves: list[str],
    at: tuple[int, int],
    torn: bool,
) -> None:
    root = tmp_path_factory.mktemp("any")
    plan = planning(writes, moves)
    planned, run = make_run(root / "planned"), make_run(root / "killed")
    original = picture(run)
    apply(plan)(planned)
    killed(run, apply(plan), at[0], torn=torn)
    killed(run, recover, at[1], torn=torn)
    recover(run)
    assert contents(run) in (contents(planned), {n: e[3] for n, e in original.items()})
    check_left_nothing(run)
    undo_all(run)
    undo_all(planned)
    assert picture(run) == original
    assert picture(planned) == original
    shutil.rmtree(root)
