"""What a layout says of a checkpoint: which file is which part, and whether all of it is there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resume_daemon.listing import Listing


class Role(StrEnum):
    """The part of the training state that a file holds; checks speak of roles, not of names."""

    WEIGHTS = "weights"
    WEIGHTS_INDEX = "weights index"
    OPTIMIZER = "optimizer"
    SCHEDULER = "scheduler"
    SCALER = "gradient scaler"
    RNG = "random state"
    TRAINER_STATE = "trainer state"
    ARGUMENTS = "training arguments"
    CONFIGURATION = "model configuration"
    ADAPTER_CONFIGURATION = "adapter configuration"
    TOKENIZER = "tokenizer"
    MARKER = "completion marker"
    OTHER = "other"


class Format(StrEnum):
    """How a file is encoded; one reader in ``resume_daemon.formats`` each."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    JSON = "json"
    OPAQUE = "opaque"
    """Digested, never looked into."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one file of a checkpoint is; ``rank`` where each rank writes its own."""

    role: Role
    format: Format
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether the required set is there.

    Attributes:
        missing: What the required set lacks, in words that finish "it lacks ..."; where it is a
            file, its name comes first.
        saved: The file that the trainer writes last is there, so nothing that is missing will come.
        marker: A file that says by its presence that the save did not finish, or None.
    """

    missing: tuple[str, ...]
    saved: bool
    marker: str | None = None

    @property
    def complete(self) -> bool:
        """Nothing is missing and nothing says that the save is still going on."""
        return not self.missing and self.marker is None


class Layout(Protocol):
    """The shape that one trainer family gives a checkpoint.

    Implementations hold no state and read nothing themselves; they are found by the entry point
    group ``resume_daemon.layouts``, so others can add theirs without touching this project.
    """

    name: str

    def step_of(self, directory_name: str) -> int | None:
        """Return the step that a directory's name declares; None: not a name of this layout."""

    def is_staging(self, directory_name: str) -> bool:
        """Return whether the name marks a directory that the trainer has not published yet."""

    def recognises(self, listing: Listing) -> bool:
        """Return whether the files look like this layout, whatever the directory is called."""

    def parts(self, listing: Listing) -> Mapping[str, Part]:
        """Return what each file is, by name; every file of the listing has a part."""

    def completeness(self, listing: Listing, read_json: Callable[[str], Any]) -> Completeness:
        """Return whether the required set is there.

        Args:
            listing: The checkpoint's files.
            read_json: Reads one of them; raises ``ResumeDaemonError`` when it cannot.
        """
