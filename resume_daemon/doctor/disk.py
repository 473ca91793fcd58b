"""Whether the disk can take what the run will write: now, and until its end. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.findings import Finding

NO_ROOM = Code(
    "RD852",
    "no-room-for-checkpoint",
    Severity.ERROR,
    "The next checkpoint does not fit on the disk",
    "The save is cut off in the middle. Trainers that rotate write the new checkpoint before they "
    "remove the oldest, so room for one more is always needed.",
    "Free space, or move older checkpoints away; `resume-daemon cleanup RUN` lists what may go.",
    "transformers trainer.py: _rotate_checkpoints is called after the save",
)
FILLS_UP = Code(
    "RD853",
    "disk-fills-up",
    Severity.WARNING,
    "The disk is full before the training ends",
    "At the size and the rhythm of the checkpoints until now, one of the next does not fit.",
    "Set save_total_limit, save less often, or make room in time.",
)
NO_INODES = Code(
    "RD854",
    "no-inodes-for-checkpoint",
    Severity.ERROR,
    "The file system has no room for the files of the next checkpoint",
    "There is space, but no inode is left for a new file: the save fails with 'No space left on "
    "device' all the same. Many small sample files are the usual reason.",
    "Remove or pack small files; `df -i` shows the count.",
)
SIDECAR_FULL = Code(
    "RD855",
    "sidecar-disk-full",
    Severity.ERROR,
    "The disk of resume-daemon's own records is full",
    "Verdicts, steps and curriculum versions cannot be recorded there.",
    "Free space there, or set state_dir to another place.",
)

_RECENT = 3
_FAR_DAYS = 730
_SIDECAR_BYTES = 16 * 1024 * 1024
"""Free bytes below which the sidecar's disk is called full: a manifest of a large checkpoint has
10 MB."""


@dataclass(frozen=True, slots=True)
class Saved:
    """One checkpoint on disk; ``at`` in seconds since the epoch, when its last file was written."""

    name: str
    step: int | None
    bytes: int
    files: int
    at: float


@dataclass(frozen=True, slots=True)
class Room:
    """Of a file system, for the user that trains: bytes and inodes.

    ``free_inodes`` is None where the file system has no fixed number of them.
    """

    total: int
    free: int
    free_inodes: int | None = None


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What is written, how often, and how much room there is.

    Attributes:
        room: Of the run's file system.
        saved: The run's checkpoints, the oldest first.
        sidecar: Of the sidecar's, where that is another one.
        limit: ``save_total_limit`` of the trainer, or None.
        save_steps: Steps between two saves, or None.
        last_step: The step at which the training ends, or None.
        count: How many checkpoints there are, where ``saved`` has only the newest; else None.
    """

    room: Room
    saved: tuple[Saved, ...] = ()
    sidecar: Room | None = None
    limit: int | None = None
    save_steps: int | None = None
    last_step: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to come.

    Attributes:
        bytes: Size of the next checkpoint: the largest of the last three.
        files: Its number of files.
        fits: How many more fit.
        wanted: How many more will be there at once before rotation or the end stops the growth;
            None where that is not known.
        every: Seconds between two saves, or None where too few are there to tell.
    """

    bytes: int
    files: int
    fits: int
    wanted: int | None
    every: float | None


def forecast(facts: DiskFacts) -> Forecast | None:
    """Return what is to come; None where no checkpoint shows what one takes."""
    recent = [each for each in facts.saved[-_RECENT:] if each.bytes > 0]
    if not recent:
        return None
    size = max(each.bytes for each in recent)
    return Forecast(
        bytes=size,
        files=max(each.files for each in recent),
        fits=facts.room.free // size,
        wanted=_wanted(facts),
        every=_rhythm(facts.saved),
    )


def check(facts: DiskFacts) -> Iterator[Finding]:
    """Yield what will not fit."""
    if (sidecar := facts.sidecar) is not None and sidecar.free < _SIDECAR_BYTES:
        yield SIDECAR_FULL.finding(f"{amount(sidecar.free)} are free there.")
    found = forecast(facts)
    if found is None:
        return
    free = facts.room.free
    # At a limit the trainer still writes the new one first; at its end it writes none.
    if found.wanted != 0 and found.fits < 1:
        yield NO_ROOM.finding(f"{amount(free)} are free; a checkpoint takes {amount(found.bytes)}.")
    elif found.wanted is not None and found.fits < found.wanted:
        yield FILLS_UP.finding(
            f"{amount(free)} are free, room for {found.fits} more of {amount(found.bytes)}; "
            f"{found.wanted} more are to come{_when(found)}."
        )
    inodes = facts.room.free_inodes
    if inodes is not None and found.wanted != 0 and inodes < found.files:
        yield NO_INODES.finding(f"{inodes} inodes are free; a checkpoint has {found.files} files.")


def summary(facts: DiskFacts) -> str:
    """Return what was seen, in a sentence."""
    lead = f"{amount(facts.room.free)} of {amount(facts.room.total)} free"
    found = forecast(facts)
    if found is None:
        return f"{lead}; no checkpoint yet shows what one takes"
    if found.wanted == 0:
        return f"{lead}; no more checkpoints are to come"
    more = f"room for {found.fits} more of {amount(found.bytes)}"
    if found.wanted is not None and found.fits >= found.wanted:
        more += ", enough for what is to come"
    elif found.wanted is None:
        more += f"{_when(found)}, as far as they are not rotated"
    return f"{lead}; {more}; a quota would not be seen"


def amount(number: int) -> str:
    """Return bytes for a person, in the units of ``df -h``."""
    size = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - the step between two units
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _wanted(facts: DiskFacts) -> int | None:
    """Return how many more checkpoints will be there at once, at most."""
    steps = [each.step for each in facts.saved if each.step is not None]
    to_come = None
    if facts.last_step is not None and facts.last_step > 0 and facts.save_steps and steps:
        left = facts.last_step - max(steps)
        # The trainer saves at its end as well, whether or not that is a multiple.
        to_come = max(0, -(-left // facts.save_steps))
    if facts.limit is None or facts.limit < 1:
        return to_come
    # One more than the limit is there while the newest is written.
    count = len(facts.saved) if facts.count is None else facts.count
    growth = max(1, facts.limit - count + 1)
    return growth if to_come is None else min(growth, to_come)


def _rhythm(saved: Sequence[Saved]) -> float | None:
    """Return the seconds between two saves: the median, since a pause between two runs is none."""
    gaps = [b.at - a.at for a, b in pairwise(saved) if b.at > a.at]
    return median(gaps) if gaps else None


def _when(found: Forecast) -> str:
    if found.every is None:
        return ""
    return f"; full after about {_duration(found.every * (found.fits + 1))} of training"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 120:  # noqa: PLR2004 - two hours
        return f"{max(1, minutes)} minutes"
    hours = round(minutes / 60)
    if hours < 48:  # noqa: PLR2004 - two days
        return f"{hours} hours"
    days = round(hours / 24)
    return f"{days} days" if days < _FAR_DAYS else "years"
