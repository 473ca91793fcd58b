"""Repairs on a disk that really is full, at every amount of room, and at a limit of file sizes."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.ledger.reader import read_records
from tests.unit.test_ledger_disk_full import file_size_limit, small_disk
from tests.unit.test_repair_engine import (
    NOW,
    Picture,
    engine_of,
    make_run,
    picture,
    proposal,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.repair.proposals import Proposal

__all__ = ["small_disk"]

NEW = b"n" * 3000


def plan(run: Path, new: bytes = NEW) -> list[Proposal]:
    return proposal(
        write(run / "checkpoint-5" / "a.json", new),
        write(run / "checkpoint-5" / "c.json", new + b"c"),
        write(run / "checkpoint-10" / "a.json", new + b"a"),
    )


def _is_planned(settled: Picture) -> bool:
    expected = {
        "checkpoint-5/a.json": b"",
        "checkpoint-5/c.json": b"c",
        "checkpoint-10/a.json": b"a",
    }
    return all(settled[name][3] == NEW + end for name, end in expected.items())


def after_room(run: Path) -> Picture:
    """Return the run once there is room again and the next start has settled it."""
    with engine_of(run) as engine:
        engine.recover()
    return picture(run)


@pytest.mark.parametrize(("new", "fits"), [(NEW, True), (NEW + NEW, False)])
def test_a_disk_with_any_amount_of_room_leaves_all_of_a_repair_or_none(
    new: bytes,
    fits: bool,
    small_disk: Path,
) -> None:
    ends = set()
    for pages in range(16):
        run = make_run(small_disk / f"{pages}")
        with engine_of(run):
            pass
        before = picture(run)
        steps = plan(run, new)
        filler = small_disk / "filler"
        filler.write_bytes(bytes(4096) * max(os.statvfs(small_disk).f_bavail - pages, 0))
        try:
            with engine_of(run) as engine:
                engine.apply(steps, NOW)
        except ResumeDaemonError as error:
            # Nothing was begun, or it was taken back; where even that needed room, it is said.
            ends.add("said" if "settles it" in str(error) else "refused")
            if "settles it" not in str(error):
                assert picture(run) == before
            filler.unlink()
            settled = after_room(run)
            assert settled == before or (fits and _is_planned(settled))
        else:
            ends.add("done")
            filler.unlink()
            assert (run / "checkpoint-5" / "c.json").read_bytes() == NEW + b"c"
        shutil.rmtree(run.parent)
    assert ("done" in ends) is fits
    assert "refused" in ends


@pytest.mark.parametrize("limit", [0, 100, 1000, 2000, 2999, 3000])
def test_writes_that_end_midway_leave_nothing_of_a_repair(limit: int, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    before = picture(run)
    steps = plan(run)
    with engine_of(run) as engine, file_size_limit(limit):
        with pytest.raises(ResumeDaemonError):
            engine.apply(steps, NOW)
        assert picture(run) == before

    assert after_room(run) == before
    list(read_records(run / ".resume_daemon" / "ledger.jsonl"))


def test_a_repair_that_cannot_be_finished_when_it_is_settled_is_taken_back(
    small_disk: Path,
) -> None:
    run = make_run(small_disk)
    before = picture(run)

    def interrupt(what: str) -> None:
        if what == "prepared":
            raise KeyboardInterrupt

    with engine_of(run, interrupt) as engine, pytest.raises(KeyboardInterrupt):
        engine.apply(plan(run), NOW)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(4096) * (os.statvfs(small_disk).f_bavail - 2))
    with engine_of(run) as engine:
        (told,) = engine.recover()

    assert told.startswith("Took back")
    assert "could not be finished: No space left on device" in told
    assert picture(run) == before
