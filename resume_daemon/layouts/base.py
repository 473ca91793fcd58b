"""What a layout says of a checkpoint: which file is which part, and whether all of it is there."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from resume_daemon.formats.content import Content, Format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from resume_daemon.listing import Listing

__all__ = ["Around", "Completeness", "Content", "Facts", "Format", "Layout", "Missing", "Part"]


class Role(StrEnum):
    """The part of the training state that a file holds; checks speak of roles, not of names."""

    WEIGHTS = "weights"
    WEIGHTS_INDEX = "weights index"
    OPTIMIZER = "optimizer"
    SCHEDULER = "scheduler"
    SCALER = "gradient scaler"
    RNG = "random state"
    DATA = "position in the data"
    EXTRA = "further state"
    """State that a trainer resumes with, or does without in silence."""
    STATE = "whole state"
    """Several parts in one file: ``Part.inside`` says which tensors belong to which."""
    SHARD_METADATA = "shard metadata"
    TRAINER_STATE = "trainer state"
    ARGUMENTS = "training arguments"
    DIGESTS = "stated digests"
    """What the trainer says that the digests of the other files are."""
    CONFIGURATION = "model configuration"
    ADAPTER_CONFIGURATION = "adapter configuration"
    TOKENIZER = "tokenizer"
    MARKER = "completion marker"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Part:
    """What one file of a checkpoint is.

    Attributes:
        role: The part of the training state.
        format: How it is encoded.
        rank: Of the process that wrote it, where each writes its own.
        world: How many processes there were, where the file's name says so.
        of: What the files of all ranks together are, such as ``actor/model``: their contents are
            held against one another.
        inside: For ``Role.STATE``: beginnings of tensor names, each with the role of the tensors
            that begin so; the first that fits counts, and the rest are ``Role.OTHER``.
        needed: Where a run saves it at all, the trainer raises without it.
    """

    role: Role
    format: Format
    rank: int | None = None
    world: int | None = None
    of: str = ""
    inside: tuple[tuple[str, Role], ...] = ()
    needed: bool = False

    def role_of(self, tensor: str) -> Role:
        """Return the role of a tensor in this file."""
        if self.role is not Role.STATE:
            return self.role
        return next((role for begin, role in self.inside if tensor.startswith(begin)), Role.OTHER)


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is not there.

    Attributes:
        role: Which part of the training state it is.
        what: In words that finish "it lacks ..."; where it is a file, its name comes first.
    """

    role: Role
    what: str

    @property
    def file(self) -> str | None:
        """The name of the file, where it is one."""
        name = self.what.partition(" ")[0]
        return name if "." in name else None


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether the required set is there.

    Attributes:
        missing: What the required set lacks: without it nothing can be resumed.
        saved: What the trainer writes last is there, so nothing that is missing will come.
        marker: What says that the save did not finish (a file, or a tracker's older step), or None.
        lost: What a resume can do without, at a loss.
        stub: What says that this is the rest that the trainer's rotation leaves, or None.
        model_only: What says that nothing but the model was to be saved, or None.
    """

    missing: tuple[Missing, ...]
    saved: bool
    marker: str | None = None
    lost: tuple[Missing, ...] = ()
    stub: str | None = None
    model_only: str | None = None

    @property
    def complete(self) -> bool:
        """Nothing is missing and nothing says that the save is still going on."""
        return not self.missing and self.marker is None and self.stub is None


@dataclass(frozen=True, slots=True)
class StatedDigest:
    """What the trainer says that a file's digest is.

    Attributes:
        algorithm: Name in ``hashlib``.
        digest: In hexadecimal, of any case.
        source: The file that says so.
    """

    algorithm: str
    digest: str
    source: str


@dataclass(frozen=True, slots=True)
class Beside:
    """A small text file in the run directory, such as the one that names the newest step.

    Of a large one it is only told that it is there: its text is empty.
    """

    text: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Around:
    """What a layout may look at besides names and sizes.

    Attributes:
        read: Reads a file of the checkpoint, by name and format; raises ``ResumeDaemonError``.
        beside: Reads a small file of the run directory; None where it is not there.
    """

    read: Callable[[str, Format], Content]
    beside: Callable[[str], Beside | None] = lambda _: None

    def json(self, name: str) -> Any:
        """Return a decoded JSON file of the checkpoint.

        Raises:
            ResumeDaemonError: It cannot be read.
        """
        return self.read(name, Format.JSON).value


@dataclass(frozen=True, slots=True)
class Facts:
    """What ``docs/layouts.md`` says of a layout; whole sentences without a full stop.

    ``source`` names the upstream files that the facts were read in.
    """

    written_by: str
    recognised: str
    step: str
    required: str
    marker: str
    staging: str
    ranks: str
    rotation: str
    later: str
    source: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern of file names and what such files are.

    Groups named ``rank`` and ``world`` give the numbers of the part, and one named ``of`` what
    distinguishes its set of ranks from others.
    """

    pattern: re.Pattern[str]
    part: Part

    def part_of(self, name: str) -> Part | None:
        """Return what a file is, or None where its name does not fit."""
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        groups = match.groupdict()
        rank, world, of = groups.get("rank"), groups.get("world"), groups.get("of")
        if rank is None and world is None:
            return self.part
        return replace(
            self.part,
            of=self.part.of if of is None else f"{self.part.of} {of}",
            rank=self.part.rank if rank is None else int(rank),
            world=self.part.world if world is None else int(world),
        )


def rule(pattern: str, role: Role, encoding: Format, **more: Any) -> Rule:
    r"""Return a rule; ``\d`` in the pattern is an ASCII digit, and the whole name has to fit."""
    return Rule(re.compile(pattern, re.ASCII), Part(role, encoding, **more))


def under(folder: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return the rules for the same files below a folder, given as a pattern without a slash.

    Ranks there are those of ``folder/what`` each, so that two folders are two sets of ranks.
    """
    return tuple(
        Rule(
            re.compile(f"{folder}/{each.pattern.pattern}", re.ASCII),
            replace(each.part, of=f"{folder}/{each.part.of}" if each.part.of else ""),
        )
        for each in rules
    )


def name_of(pattern: str) -> re.Pattern[str]:
    r"""Return the pattern of a checkpoint's name, with the number as the group ``step``."""
    return re.compile(pattern, re.ASCII)


STEP = r"(?P<step>\d{1,18})"
"""A step in a pattern of names: 18 digits fit every integer that such a number is stored in."""

RANK = r"(?P<rank>\d{1,6})"
WORLD = r"(?P<world>\d{1,6})"


class Layout(ABC):
    """The shape that one trainer family gives a checkpoint.

    Implementations hold no state and read nothing themselves. Others than this project's are found
    by the entry point group ``resume_daemon.layouts``.

    Attributes:
        name: How it is called in verdicts and records.
        facts: What the page of layouts says.
        names: Patterns of what its checkpoints are called; the group ``step`` is the number.
        files: The same for checkpoints that are files and not directories.
        staging: Patterns of names that the trainer has not published yet.
        lies_beside: Globs in the run directory, one of which tells it from a layout that is the
            same in itself; empty where its own files tell.
        distinctive: Such a name alone means a checkpoint, whatever is in it. Where it is false, as
            for plain numbers, files must fit as well.
        number_is_step: The number in the name is the trainer's step; otherwise it counts saves,
            epochs or rollouts, and only says which is newer.
        plain_optimizer: The optimizer is one of ``torch.optim``, saved beside the weights in their
            shapes, and makes one step at each step of the trainer.
        rules: What each file is, the first rule that fits.
        beats: Names of more general layouts that also recognise what this one does.
    """

    name: ClassVar[str]
    facts: ClassVar[Facts]
    names: ClassVar[tuple[re.Pattern[str], ...]] = ()
    files: ClassVar[tuple[re.Pattern[str], ...]] = ()
    staging: ClassVar[tuple[re.Pattern[str], ...]] = ()
    lies_beside: ClassVar[tuple[str, ...]] = ()
    distinctive: ClassVar[bool] = True
    number_is_step: ClassVar[bool] = True
    plain_optimizer: ClassVar[bool] = False
    rules: ClassVar[tuple[Rule, ...]] = ()
    beats: ClassVar[tuple[str, ...]] = ()

    def step_of(self, name: str) -> int | None:
        """Return the number by which checkpoints are ordered; None: no name of this layout.

        A name without a number comes before all others.
        """
        for pattern in (*self.names, *self.files):
            if match := pattern.fullmatch(name):
                return int(match["step"] or 0)
        return None

    def declared_step(self, name: str) -> int | None:
        """Return the trainer's step that a checkpoint's name declares; None where it does not."""
        return self.step_of(name) if self.number_is_step else None

    def recorded_number(self, name: str) -> int | None:
        """Return what a file that records a step has to say; None where the name does not tell."""
        return self.declared_step(name)

    def shown_names(self) -> tuple[str, ...]:
        """Return the patterns of names as people write them: ``checkpoint-N``."""
        return tuple(
            re.sub(r"\\(.)", r"\1", each.pattern.replace(STEP, "N"))
            for each in (*self.names, *self.files)
        )

    def is_staging(self, name: str) -> bool:
        """Return whether the name marks something that the trainer has not published yet."""
        return any(pattern.fullmatch(name) for pattern in self.staging)

    def companions(self, name: str) -> Iterator[str]:  # noqa: ARG002 - most have none
        """Yield the files that belong to a checkpoint that is a file, in the same directory.

        Those that are not there do not count; a long sequence ends where eight in a row are not.
        """
        return iter(())

    def parts(self, listing: Listing) -> Mapping[str, Part]:
        """Return what each file is, by name; every file of the listing has a part."""
        return {name: self.part_of(name) for name in listing}

    def part_of(self, name: str) -> Part:
        """Return what a file is by its name: by the rules, else by its ending."""
        for each in self.rules:
            if (part := each.part_of(name)) is not None:
                return part
        return _by_ending(name)

    @abstractmethod
    def recognises(self, listing: Listing) -> bool:
        """Return whether the files look like this layout, whatever the directory is called."""

    @abstractmethod
    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the required set is there."""

    def reconsidered(
        self,
        found: Completeness,
        contents: Mapping[str, Content],  # noqa: ARG002 - most learn nothing from them
        around: Around,  # noqa: ARG002
    ) -> Completeness:
        """Return the completeness again, now that the files were read: they may promise others.

        Args:
            found: What ``completeness`` returned.
            contents: What was found in the files that could be read, by name.
            around: As for ``completeness``.
        """
        return found

    def stated_digests(self, contents: Mapping[str, Content]) -> Mapping[str, StatedDigest]:  # noqa: ARG002 - most have none
        """Return the digests that the trainer wrote down of its files, by name.

        Args:
            contents: What was found in the files that could be read, by name.
        """
        return {}

    def stable_name(self, file: str) -> str:
        """Return a file's name without what changes from one checkpoint to the next.

        That of a checkpoint which is a file says its step; two of them are compared all the same.
        """
        itself = any(pattern.fullmatch(file) for pattern in self.files)
        return re.sub(r"\d+", "#", file) if itself else file

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:  # noqa: ARG002 - most have none
        """Yield each file in which the trainer wrote down its step, with that step.

        Args:
            contents: What was found in the files that could be read, by name.
        """
        return iter(())


def _by_ending(name: str) -> Part:
    if name.endswith(".json"):
        return Part(Role.OTHER, Format.JSON)
    return Part(Role.OTHER, Format.OPAQUE)
