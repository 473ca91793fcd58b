"""All that was read of a checkpoint, as one value: what checks judge and never read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.layouts.base import Format, Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.errors import FormatError
    from resume_daemon.formats.content import Content
    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.layouts.base import Completeness, Part, StatedDigest
    from resume_daemon.limits import Limits
    from resume_daemon.listing import Listing
    from resume_daemon.manifest import Manifest
    from resume_daemon.reading.frames import FrameScan
    from resume_daemon.reading.results import FileScan, TensorStatistics


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found in one checkpoint.

    Attributes:
        name: The checkpoint's name.
        layout: The layout's name.
        declared: What each file that records a step has to say, by the checkpoint's name; None
            where the name does not tell.
        step: The trainer's step by the name, or else by a file; None where nothing says it.
        listing: Its files.
        parts: What each file is.
        completeness: What the layout's required set lacks.
        vanished: Files that the checkpoint before had and this one has not, and what they were.
        contents: What was found in each file that was looked into, by name.
        recorded_steps: Files in which the trainer wrote down its step, each with that step.
        unreadable: Files that are not what their format promises, by name.
        plain_optimizer: As the layout says.
        optimizer_steps: The optimizer's own step counters in each file, one per parameter.
        stated_digests: What the trainer says that the digests of its files are, by name.
        scans: Digests and statistics, by name; empty for a quick verification.
        frames: What compressed chunks decode to, by file; empty for a quick verification.
        previous: The manifest of the sound checkpoint before this one, where there is one.
        earlier: The manifest of the sound checkpoint before that one, where there is one.
        older: Manifests of sound checkpoints before those two, the newest first.
        recorded: This checkpoint's own manifest of an earlier verification, where there is one.
        allowed: Dotted names and ``prefix.*`` that the user allows pickles to name.
        limits: How far values may move from one checkpoint to the next.
    """

    name: str
    layout: str
    declared: int | None
    step: int | None
    listing: Listing
    parts: Mapping[str, Part]
    completeness: Completeness
    vanished: Mapping[str, Part]
    contents: Mapping[str, Content]
    recorded_steps: tuple[tuple[str, int], ...]
    unreadable: Mapping[str, FormatError]
    plain_optimizer: bool
    optimizer_steps: Mapping[str, tuple[float, ...]]
    stated_digests: Mapping[str, StatedDigest]
    scans: Mapping[str, FileScan]
    frames: Mapping[str, tuple[FrameScan, ...]]
    previous: Manifest | None
    earlier: Manifest | None
    older: tuple[Manifest, ...]
    recorded: Manifest | None
    allowed: frozenset[str]
    limits: Limits

    def files(self, role: Role) -> tuple[str, ...]:
        """Return the names of the files that hold a part, sorted."""
        return tuple(sorted(n for n, part in self.parts.items() if part.role is role))

    def has(self, role: Role) -> bool:
        """Return whether any file holds the part."""
        return any(part.role is role for part in self.parts.values())

    def holding(self, role: Role) -> tuple[str, ...]:
        """Return the names of the files that hold a part, alone or among others, sorted."""
        return tuple(
            sorted(
                name
                for name, part in self.parts.items()
                if part.role is role or any(inner is role for _, inner in part.inside)
            )
        )

    def value(self, name: str) -> Any | None:
        """Return what was decoded from a file, or None where nothing was."""
        content = self.contents.get(name)
        return None if content is None else content.value

    def document(self, role: Role) -> Any | None:
        """Return the first decoded JSON file of a role, or None."""
        return next(
            (
                self.contents[name].value
                for name in self.files(role)
                if name in self.contents and self.parts[name].format is Format.JSON
            ),
            None,
        )

    def tensors(self, role: Role) -> Iterator[tuple[str, TensorSpan]]:
        """Yield every stretch of values of a role as (file, span)."""
        for name in self.holding(role):
            if name in self.contents:
                for span in self.contents[name].spans:
                    if self.parts[name].role_of(span.name) is role:
                        yield name, span

    def shapes(self, name: str, role: Role) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of a role in a file that could be read, by name."""
        content, part = self.contents.get(name), self.parts[name]
        found = content.shapes.items() if content is not None else ()
        return {tensor: shape for tensor, shape in found if part.role_of(tensor) is role}

    def statistics(self, role: Role) -> Iterator[tuple[str, tuple[TensorStatistics, ...]]]:
        """Yield each scanned file that holds a role, with the statistics of its tensors there."""
        for name in self.holding(role):
            if name in self.contents and (scan := self.scans.get(name)) is not None:
                part = self.parts[name]
                yield name, tuple(t for t in scan.tensors if part.role_of(t.name) is role)

    def argument(self, name: str) -> Any | None:
        """Return a training argument from ``training_args.bin``; None where it is not known."""
        for file in self.files(Role.ARGUMENTS):
            state = getattr(self.value(file), "state", None)
            if isinstance(state, dict):
                return state.get(name)
        return None
