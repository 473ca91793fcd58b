"""What the actions of a repair are given to judge, as values: they read nothing themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resume_daemon.findings import Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.findings import Finding
    from resume_daemon.repair.rebuilding.scheduler import Optimizer
    from resume_daemon.repair.rebuilding.shard_index import Shard


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """One checkpoint of the run.

    Attributes:
        name: Its name in the run.
        path: Where it is, with links resolved.
        step: The trainer's step; None where nothing tells.
        layout: The layout's name.
        verdict: What it is worth; None where it could not be judged, or was not.
        findings: Why.
        files: Every regular file: its path with links resolved.
        digests: BLAKE3 of each small file that could be read, by name.
        recorded: BLAKE3 that each small file had when the checkpoint was sound, by name; empty
            where nothing proves any.
        kept: Contents by BLAKE3, of those files that are not what was recorded.
        strayed: Files that are not what they were when it was sound, and of which nothing is kept;
            those that are missing are in ``lost``.
        lost: Files that are missing, and of which nothing is kept.
        trainer_state: Decoded, or None.
        scheduler: What ``scheduler.pt`` holds, or None.
        optimizer: What ``optimizer.pt`` says of rates and steps, or None.
        indexes: Decoded indexes of weights, by name.
        shards: By the name of an index, the shards that are there and would be its.
        listing: Digest of its names, sizes, modification times and kinds, for a move.
        obstacle: Why it cannot be moved aside, in words that follow "because"; or None.
        number: The number of its name; None where it has none.
    """

    name: str
    path: Path
    step: int | None
    layout: str
    verdict: Verdict | None = None
    findings: tuple[Finding, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, bytes] = field(default_factory=dict)
    strayed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    trainer_state: Any = None
    scheduler: Any = None
    optimizer: Optimizer | None = None
    indexes: Mapping[str, Any] = field(default_factory=dict)
    shards: Mapping[str, Mapping[str, Shard]] = field(default_factory=dict)
    listing: str = ""
    obstacle: str | None = None
    number: int | None = None

    def target(self, file: str) -> Path:
        """Return where a file's bytes go."""
        return self.files.get(file, self.path / file)

    def troubles(self) -> tuple[Finding, ...]:
        """Return the findings that keep it from being sound."""
        return tuple(f for f in self.findings if f.severity is not Severity.INFO)

    @property
    def sound(self) -> bool:
        """Whether it was found to be sound."""
        return self.verdict is Verdict.SOUND


@dataclass(frozen=True, slots=True)
class Tracker:
    """A file of the run that names the newest checkpoint, by which some trainers find it.

    Attributes:
        path: Where it is, with links resolved.
        digest: BLAKE3 of its bytes.
        text: What it says.
        number: The number in it.
    """

    path: Path
    digest: str
    text: str
    number: int


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run.

    Attributes:
        run: Its directory, with links resolved.
        quarantine: Where what is moved aside goes, on the run's file system.
        checkpoints: All of them, newest first; those that are neither damaged nor beside a damaged
            one without what would have to be read.
        trackers: Files that name the newest checkpoint.
        quarantined: Names that are taken in quarantine.
    """

    run: Path
    quarantine: Path
    checkpoints: tuple[CheckpointFacts, ...]
    trackers: tuple[Tracker, ...] = ()
    quarantined: frozenset[str] = frozenset()

    def neighbours(self, of: CheckpointFacts) -> tuple[CheckpointFacts, ...]:
        """Return the other checkpoints whose step is known, the nearest first."""
        at = of.step
        if at is None:
            return ()
        others = [
            (abs(each.step - at), each.name, each)
            for each in self.checkpoints
            if each.step is not None and each.name != of.name
        ]
        return tuple(each for _, _, each in sorted(others, key=lambda other: other[:2]))
