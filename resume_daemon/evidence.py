"""All that was read of a checkpoint, as one value: what checks judge and never read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.layouts.base import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.errors import FormatError
    from resume_daemon.formats.safetensors import SafetensorsHeader
    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.formats.torch_file import TorchFile
    from resume_daemon.layouts.base import Completeness, Part
    from resume_daemon.listing import Listing
    from resume_daemon.manifest import Manifest
    from resume_daemon.reading.results import FileScan


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found in one checkpoint.

    Attributes:
        name: The directory's name.
        step: The step that the name declares, or None.
        listing: Its files.
        parts: What each file is.
        completeness: What the layout's required set lacks.
        documents: JSON files, decoded, by name.
        headers: Headers of safetensors files, by name.
        torch_files: Inert content of torch archives and pickles, by name.
        unreadable: Files that are not what their format promises, by name.
        optimizer_steps: The optimizer's own step counters, one per parameter, where it keeps any.
        scans: Digests and statistics, by name; empty for a quick verification.
        previous: The manifest of the sound checkpoint before this one, where there is one.
        recorded: This checkpoint's own manifest of an earlier verification, where there is one.
        allowed: Dotted names and ``prefix.*`` that the user allows pickles to name.
    """

    name: str
    step: int | None
    listing: Listing
    parts: Mapping[str, Part]
    completeness: Completeness
    documents: Mapping[str, Any]
    headers: Mapping[str, SafetensorsHeader]
    torch_files: Mapping[str, TorchFile]
    unreadable: Mapping[str, FormatError]
    optimizer_steps: tuple[float, ...]
    scans: Mapping[str, FileScan]
    previous: Manifest | None
    recorded: Manifest | None
    allowed: frozenset[str]

    def files(self, role: Role) -> tuple[str, ...]:
        """Return the names of the files that hold a part, sorted."""
        return tuple(sorted(n for n, part in self.parts.items() if part.role is role))

    def has(self, role: Role) -> bool:
        """Return whether any file holds the part."""
        return any(part.role is role for part in self.parts.values())

    def document(self, role: Role) -> Any | None:
        """Return the first decoded JSON file of a role, or None."""
        return next((self.documents[n] for n in self.files(role) if n in self.documents), None)

    def tensors(self, role: Role) -> Iterator[tuple[str, TensorSpan]]:
        """Yield every tensor of a role's files as (file, span)."""
        for name in self.files(role):
            if name in self.headers:
                yield from ((name, span) for span in self.headers[name].tensors)
            elif name in self.torch_files:
                yield from ((name, span) for span in self.torch_files[name].storages)

    def argument(self, name: str) -> Any | None:
        """Return a training argument from ``training_args.bin``; None where it is not known."""
        for torch_file in (self.torch_files.get(file) for file in self.files(Role.ARGUMENTS)):
            state = getattr(getattr(torch_file, "value", None), "state", None)
            if isinstance(state, dict):
                return state.get(name)
        return None
