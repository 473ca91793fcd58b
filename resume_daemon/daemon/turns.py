"""Whose turn it is at the one worker: the newest checkpoint, then snapshots, then scrubs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.daemon.worker import ScrubJob, VerifyJob
from resume_daemon.layouts.registry import step_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from resume_daemon.daemon.worker import Job


@dataclass(frozen=True, slots=True)
class Plan:
    """What comes next.

    Attributes:
        job: What the worker should do, or None.
        waiting: Whether a checkpoint waits for its verdict or a snapshot is owed, now or soon.
        look_again: When to ask again otherwise (monotonic).
        give_up: Whether what the worker does now should make room for something more urgent.
    """

    job: Job | None
    waiting: bool
    look_again: float | None
    give_up: bool = False


def age(name: str) -> tuple[int, str]:
    """Return what orders checkpoints from the oldest to the newest."""
    return step_of(name) or 0, name


def gives_way(
    busy: Job | None, ready: Iterable[str], *, gave_way: Collection[str], waiting: bool
) -> bool:
    """Return whether the worker should end what it does.

    A scrub gives way to everything. The verification of a checkpoint gives way to a newer one, but
    only once: it is read in the end, however often the trainer saves.

    Args:
        busy: What the worker does.
        ready: Checkpoints that could be verified now.
        gave_way: Those that gave way before.
        waiting: Whether anything new waits.
    """
    match busy:
        case ScrubJob():
            return waiting
        case VerifyJob(checkpoint=name):
            return name not in gave_way and any(age(each) > age(name) for each in ready)
    return False
