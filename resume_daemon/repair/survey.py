"""Look at a run and say what can be put right in it; nothing is changed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from resume_daemon.cached import CachedVerdicts
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import is_inside, read_bounded
from resume_daemon.findings import Verdict
from resume_daemon.layouts.around import BESIDE_LIMIT
from resume_daemon.layouts.published import TRACKERS, tracked_step
from resume_daemon.layouts.registry import checkpoints_in, list_checkpoint, step_of
from resume_daemon.ledger.queries import RunState, fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.manifest import find_manifest, read_manifest
from resume_daemon.references import known_step, references_of
from resume_daemon.repair.facts import CheckpointFacts, RunFacts, Tracker
from resume_daemon.repair.gathering import (
    Places,
    compare,
    digests_of,
    documents_of,
    paths_of,
    shards_in,
)
from resume_daemon.repair.listing_digest import listing_digest
from resume_daemon.resume.plan import newest_first
from resume_daemon.state_directory import SIDECAR
from resume_daemon.verification import Depth, Options, Verification, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resume_daemon.listing import Listing
    from resume_daemon.manifest import Manifest
    from resume_daemon.state_directory import StateDirectory

QUIET_SECONDS: Final = 600
"""An unfinished save that was written to since may still be going on: it is not moved aside."""

NEIGHBOURS: Final = 2
"""Checkpoints before and after a damaged one that are looked into."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A run as it was found.

    Attributes:
        facts: What the actions judge.
        verifications: Of the checkpoints that were judged, by name.
    """

    facts: RunFacts
    verifications: dict[str, Verification]


def survey_repair(
    run: Path,
    state: StateDirectory | None,
    *,
    now_ns: int,
    options: Options | None = None,
    watch: Callable[[Path], Callable[[int], None]] = lambda _: lambda _: None,
) -> Surveyed:
    """Return what the actions of a repair judge.

    Checkpoints are verified from the newest on until one is sound; of those before it, the ledger
    says which are not.

    Args:
        run: The run directory, with its links resolved.
        state: Where the daemon's files are, or None where none has watched.
        now_ns: The time, in nanoseconds since the epoch.
        options: How checkpoints are verified; None for every byte.
        watch: Told of each checkpoint that is read; what it returns is told the bytes.

    Raises:
        ResumeDaemonError: The run cannot be listed, or its ledger cannot be read.
    """
    known = fold(read_records(state.ledger)) if state is not None else RunState()
    look = _Look(run, state, known, options or Options(), watch)
    found = look.verifications()
    looked_into = _looked_into(look.order, found)
    checkpoints = tuple(
        look.facts(name, found.get(name), now_ns) if name in looked_into else look.outline(name)
        for name in look.order
    )
    quarantine = quarantine_of(run, state)
    taken = frozenset(p.name for p in quarantine.iterdir()) if quarantine.is_dir() else frozenset()
    facts = RunFacts(run, quarantine, checkpoints, _trackers(run), taken)
    return Surveyed(facts, found)


def _looked_into(order: Sequence[str], found: dict[str, Verification]) -> set[str]:
    """Return the damaged checkpoints and those around them, of all from the newest on."""
    names: set[str] = set()
    for place, name in enumerate(order):
        if name in found and found[name].verdict is not Verdict.SOUND:
            names |= set(order[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1])
    return names


def quarantine_of(run: Path, state: StateDirectory | None) -> Path:
    """Return where what is moved aside goes: on the file system of the run, where a move is one."""
    if state is not None:
        with suppress(OSError):
            if state.path.stat().st_dev == run.stat().st_dev:
                return state.quarantine
    return run / SIDECAR / "quarantine"


class _Look:
    """Looks at the checkpoints of one run."""

    def __init__(
        self,
        run: Path,
        state: StateDirectory | None,
        known: RunState,
        options: Options,
        watch: Callable[[Path], Callable[[int], None]],
    ) -> None:
        self._run = run
        self._state = state
        self._known = known
        self._options = options
        self._watch = watch
        self._cached = CachedVerdicts({run: known})
        self._steps = {name: known_step(name, known) for name in checkpoints_in(run)}
        self.order = newest_first(self._steps)

    def verifications(self) -> dict[str, Verification]:
        """Return what was found of each checkpoint that is damaged, and of the newest sound one."""
        found: dict[str, Verification] = {}
        sound = False
        for name in self.order:
            path = self._path(name)
            with suppress(ResumeDaemonError):
                told = self._cached.find(path, Depth.DEEP)
                if told is not None and told.verdict is Verdict.SOUND:
                    found[name], sound = told, True
                elif not sound or name in self._known.checkpoints:
                    # What is older than a sound one is read where it is known to be worse, or was
                    # touched since it was judged.
                    found[name] = self._verify(path)
                    sound = sound or found[name].verdict is Verdict.SOUND
        return found

    def outline(self, name: str) -> CheckpointFacts:
        """Return what is known of a checkpoint that nothing has to be read of."""
        known = self._known.checkpoints.get(name)
        verdict = None
        with suppress(ValueError):
            verdict = Verdict(known.verdict) if known is not None else None
        return CheckpointFacts(
            name, self._path(name), self._steps[name], "", verdict, number=step_of(name)
        )

    def facts(self, name: str, judged: Verification | None, now_ns: int) -> CheckpointFacts:
        """Return all that the actions may want to know of a checkpoint."""
        path = self._path(name)
        outline = self.outline(name)
        try:
            listing = list_checkpoint(path, boundary=self._run)
            moved = listing_digest(path)
        except ResumeDaemonError:
            return outline
        files = paths_of(listing)
        facts = replace(outline, files=files, listing=moved, **documents_of(files))
        if judged is None:
            return facts
        facts = replace(
            facts,
            layout=judged.layout,
            step=judged.step if judged.step is not None else facts.step,
            verdict=judged.verdict,
            findings=judged.findings,
            obstacle=_obstacle(self._run / name, listing, judged.verdict, now_ns),
        )
        if judged.verdict is Verdict.SOUND:
            return facts
        digests = digests_of(files)
        before = compare(listing, digests, self._sound(name), judged.findings, self._places(name))
        return replace(
            facts,
            digests=digests,
            recorded=before.recorded,
            kept=before.kept,
            strayed=before.strayed,
            lost=before.lost,
            shards=shards_in(files),
        )

    def _path(self, name: str) -> Path:
        return Path(os.path.realpath(self._run / name))

    def _verify(self, path: Path) -> Verification:
        manifests = self._state.manifests if self._state is not None else None
        return verify(
            path,
            boundary=self._run,
            references=references_of(path.name, self._known, manifests),
            options=self._options,
            progress=self._watch(path),
        )

    def _sound(self, name: str) -> Manifest | None:
        """Return the manifest of when a checkpoint was last sound, if the ledger vouches for it."""
        sound = self._known.sound.get(name)
        if self._state is None or sound is None:
            return None
        return find_manifest(self._state.manifests / f"{name}.json", sound.manifest)

    def _manifest(self, name: str) -> Manifest | None:
        if self._state is None:
            return None
        with suppress(ResumeDaemonError):
            return read_manifest(self._state.manifests / f"{name}.json")[0]
        return None

    def _places(self, name: str) -> Places:
        others = tuple(self._path(other) for other in self.order if other != name)
        if self._state is None:
            return Places(others=others)
        return Places(self._state.small_files, self._state.snapshots / name, others)


def _trackers(run: Path) -> tuple[Tracker, ...]:
    found = []
    for name in TRACKERS:
        path = Path(os.path.realpath(run / name))
        with suppress(ResumeDaemonError):
            if is_inside(path, run):
                content = read_bounded(path, BESIDE_LIMIT)
                text = content.decode(errors="replace")
                number = tracked_step(text)
                if number is not None:
                    found.append(Tracker(path, blake3(content).hexdigest(), text, number))
    return tuple(found)


def _obstacle(path: Path, listing: Listing, verdict: Verdict, now_ns: int) -> str | None:
    """Return why a checkpoint cannot be moved aside, in words that follow "because"."""
    if listing.file is not None:
        return "it is a file, with others beside it that belong to it"
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "it is a link; move what it points to by hand"
    quiet = (now_ns - listing.changed_ns) / 1e9
    if verdict is Verdict.INCOMPLETE and quiet < QUIET_SECONDS:
        return f"it was written to {max(0, quiet):.0f} s ago, and may still be being saved"
    return None
