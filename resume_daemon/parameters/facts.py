"""All that is known of what a run was, and will be, trained with, as one value for the checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resume_daemon.parameters.compare import same

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.parameters.post_init import Refusal
    from resume_daemon.parameters.values import Setting


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, with every value that was found for it side by side.

    Attributes:
        name: The name that all its settings are known by here, in the trainer's own words.
        settings: Every value found, the strongest source first.
        next_start: What the next start is given, by the guide's precedence; None where nothing
            gives it, so that the trainer's own default holds.
        trained_with: What the checkpoint was trained with, or else the tracker's run; None where
            neither says.
        restored: Whether the trainer takes it from the checkpoint when it resumes, so that what the
            next start is given counts for nothing.
    """

    name: str
    settings: tuple[Setting, ...]
    next_start: Setting | None = None
    trained_with: Setting | None = None
    restored: bool = False

    @property
    def differs(self) -> bool:
        """Whether the next start is given another value than it was trained with.

        What is only known when the training starts is not said to differ.
        """
        one, other = self.next_start, self.trained_with
        if one is None or other is None or not (one.certain and other.certain):
            return False
        return not same(one.value, other.value)

    @property
    def effective(self) -> Setting | None:
        """What the training goes on with after a resume; None where the trainer's default does."""
        if self.restored and self.trained_with is not None:
            return self.trained_with
        return self.next_start


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What one checkpoint says of its training.

    Attributes:
        name: Directory name.
        path: Where it is.
        step: The trainer's step, or None.
        settings: From its training arguments, trainer state, model and adapter configuration.
        shapes: Shape of each tensor of its adapter, by name; empty where it has none, or where
            only the parameters were asked for.
        restored: Parameters that stand in its optimizer or scheduler, so that a resume from it
            brings them back.
    """

    name: str
    path: Path
    step: int | None
    settings: tuple[Setting, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    restored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What one process told the tracker that it trains with.

    Attributes:
        name: Of the segment, with the tracker's run id.
        run_id: The tracker's run.
        settings: Its configuration record.
        versions: Packages that it had, by name, where the tracker noted them.
    """

    name: str
    run_id: str | None
    settings: tuple[Setting, ...]
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unread:
    """A source that could not be read, or not wholly, and why, as a sentence."""

    path: Path | None
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the checks of parameters judge; they read nothing themselves.

    Attributes:
        run: The run directory.
        parameters: By name, sorted.
        settings: Every setting of every source, as found.
        checkpoint: The one that the run would be resumed from, or that was asked for.
        checkpoints: All of the run, oldest first, each with what it was trained with.
        segments: The tracker's segments of this run, oldest first.
        launcher: What the launcher itself (torchrun, accelerate, deepspeed) is given, by its name.
        processes: Processes that the training is started with, all nodes together; None where
            nothing says.
        versions: Packages of the trainer's interpreter by name, as far as known.
        refusals: Rules of the user's own classes that the next start does not keep.
        unread: What could not be read.
    """

    run: Path
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    settings: tuple[Setting, ...] = ()
    checkpoint: CheckpointFacts | None = None
    checkpoints: tuple[CheckpointFacts, ...] = ()
    segments: tuple[SegmentFacts, ...] = ()
    launcher: Mapping[str, Setting] = field(default_factory=dict)
    processes: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    unread: tuple[Unread, ...] = ()

    def next_start(self, name: str) -> Setting | None:
        """Return what the next start is given for a parameter; None where nothing gives it."""
        found = self.parameters.get(name)
        return None if found is None else found.next_start

    def trained_with(self, name: str) -> Setting | None:
        """Return what the checkpoint was trained with; None where nothing says."""
        found = self.parameters.get(name)
        return None if found is None else found.trained_with

    def given(self, name: str) -> Setting | None:
        """Return what the next start is given, or else what the checkpoint was trained with."""
        return self.next_start(name) or self.trained_with(name)
