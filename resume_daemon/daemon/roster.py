"""The checkpoints of the run: what each look found, and what is to be done with each."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError, VanishedError
from resume_daemon.files import is_inside, read_error
from resume_daemon.layouts.around import around
from resume_daemon.layouts.registry import (
    is_checkpoint_entry,
    is_checkpoint_name,
    is_what_its_name_says,
    layout_of,
    list_checkpoint,
    step_of,
)
from resume_daemon.watching.settle import Action, Decision, Seen, Settings, decide, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from resume_daemon.listing import Listing


@dataclass(frozen=True, slots=True)
class Member:
    """One checkpoint as the last look found it."""

    seen: Seen
    names: frozenset[str]
    changed_ns: int
    is_file: bool = False


@dataclass(frozen=True, slots=True)
class Clock:
    """Monotonic time for waiting, and time since the epoch for comparing with files; seconds."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


class Roster:
    """Every checkpoint directory that is there now.

    Args:
        run: The run directory.
        settings: How long a checkpoint must be quiet.
        clock: What time it is.
        verified: Returns the fingerprint that the last verdict on a checkpoint was given for.
    """

    def __init__(
        self,
        run: Path,
        settings: Settings,
        clock: Clock,
        verified: Callable[[str], str | None],
    ) -> None:
        self.run = run
        self.settings = settings
        self.members: dict[str, Member] = {}
        self.unreadable: dict[str, ResumeDaemonError] = {}
        self._clock = clock
        self._verified = verified

    def rescan(self) -> tuple[str, ...]:
        """Look at the run directory and every checkpoint; return those that went away.

        Raises:
            ResumeDaemonError: The run directory is not there or cannot be listed.
        """
        present = self._names()
        gone = tuple(name for name in self.members if name not in present)
        for name in gone:
            del self.members[name]
        self.look(present)
        return gone

    def look(self, names: Iterable[str]) -> None:
        """Look at some checkpoints again."""
        for name in names:
            try:
                listing = list_checkpoint(self.run / name, boundary=self.run)
            except VanishedError:
                self.members.pop(name, None)
                self.unreadable.pop(name, None)
            except ResumeDaemonError as error:
                self.unreadable[name] = error
            else:
                self.unreadable.pop(name, None)
                self._fold(name, listing)

    def decisions(self) -> dict[str, Decision]:
        """Return what is to be done with each checkpoint that is not as it was verified."""
        now = self._clock.monotonic()
        found = {}
        for name, member in self.members.items():
            decision = decide(
                member.seen, verified=self._verified(name), settings=self.settings, now=now
            )
            if decision.action is not Action.NOTHING:
                found[name] = decision
        return found

    def directories(self) -> tuple[str, ...]:
        """Return the checkpoints that are directories; events of the others come from the run's."""
        return tuple(name for name, member in self.members.items() if not member.is_file)

    def again(self, name: str) -> None:
        """Let a checkpoint settle anew: it changed while it was read."""
        if (member := self.members.get(name)) is not None:
            seen = Seen(member.seen.fingerprint, self._clock.monotonic(), member.seen.complete)
            self.members[name] = replace(member, seen=seen)

    def newest_step(self) -> int | None:
        """Return the highest step that any directory's name declares."""
        return max((s for n in self.members if (s := step_of(n)) is not None), default=None)

    def _fold(self, name: str, listing: Listing) -> None:
        fingerprint = listing.fingerprint()
        before = self.members.get(name)
        unchanged = before is not None and before.seen.fingerprint == fingerprint
        if unchanged and before is not None:
            complete = before.seen.complete
        elif fingerprint == self._verified(name):
            complete = True
        else:
            if not is_what_its_name_says(listing):
                # A directory that merely has such a name, as one of a year or an export has.
                self.members.pop(name, None)
                return
            layout = layout_of(listing)
            complete = (
                layout is not None
                and layout.completeness(listing, around(listing, self.run)).complete
            )
        seen = observe(
            before.seen if before else None,
            fingerprint=fingerprint,
            complete=complete,
            changed=listing.changed_ns / 1e9,
            now=self._clock.monotonic(),
            wall=self._clock.wall(),
        )
        self.members[name] = Member(
            seen, frozenset(listing), listing.changed_ns, is_file=listing.file is not None
        )

    def _names(self) -> set[str]:
        """Return the names of checkpoints, without staging and links that leave."""
        found = set()
        try:
            with os.scandir(self.run) as entries:
                for entry in entries:
                    # The name first: a run may hold a hundred thousand files that are none.
                    if not is_checkpoint_name(entry.name):
                        continue
                    if entry.is_symlink() and not is_inside(self.run / entry.name, self.run):
                        continue
                    if is_checkpoint_entry(entry, self.run):
                        found.add(entry.name)
        except OSError as error:
            raise read_error(error, self.run) from error
        return found
