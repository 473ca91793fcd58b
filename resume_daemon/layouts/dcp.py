"""Directories of ``torch.distributed.checkpoint`` (DCP), bare or inside of another layout's.

Source: torch 2.13 ``distributed/checkpoint/filesystem.py``: every rank writes and flushes
``__<rank>_<i>.distcp``, then the coordinator writes ``.metadata.tmp`` and renames it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.dcp_metadata import DcpMetadata
from resume_daemon.layouts.base import (
    STEP,
    Completeness,
    Facts,
    Format,
    Layout,
    Missing,
    Role,
    name_of,
    rule,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.layouts.base import Around, Rule
    from resume_daemon.listing import Listing

METADATA = ".metadata"


def dcp_rules(role: Role, inside: tuple[tuple[str, Role], ...] = ()) -> tuple[Rule, ...]:
    """Return the rules of a DCP directory whose shards hold a role, or several (``Role.STATE``)."""
    return (
        # Without collectives each rank has its own: __<rank>.metadata.
        rule(r"(?:__\d+)?\.metadata", Role.SHARD_METADATA, Format.DCP_METADATA),
        rule(r"__\d+_\d+\.distcp", role, Format.DCP_SHARD, inside=inside),
        rule(r"(?:__\d+)?\.metadata\.tmp", Role.OTHER, Format.OPAQUE),
    )


def metadata_of(folder: str, listing: Listing) -> list[str]:
    """Return the metadata files in a folder (``""``, or ending in a slash)."""
    if f"{folder}{METADATA}" in listing:
        return [f"{folder}{METADATA}"]
    return sorted(
        name
        for name in listing
        if name.startswith(f"{folder}__")
        and name.endswith(METADATA)
        and "/" not in name[len(folder) :]
    )


def missing_in(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what a DCP directory lacks: its metadata, or shards that the metadata promises.

    Args:
        folder: ``""``, or a folder's name that ends in a slash.
        listing: The checkpoint.
        around: Reads the metadata.
    """
    names = metadata_of(folder, listing)
    if not names:
        yield Missing(Role.SHARD_METADATA, f"{folder}{METADATA}")
    for name in names:
        try:
            found = around.read(name, Format.DCP_METADATA).value
        except ResumeDaemonError:
            continue  # It is there, and its own finding says that it cannot be read.
        if isinstance(found, DcpMetadata):
            for shard in found.shards:
                if f"{folder}{shard}" not in listing:
                    yield Missing(Role.STATE, f"{folder}{shard}")


class TorchDcp(Layout):
    """``step-N``, ``checkpoint-N`` or any other directory with ``.metadata`` and shards in it."""

    name = "dcp"
    facts = Facts(
        written_by="torch.distributed.checkpoint.save, and trainers of one's own that use it",
        recognised=".metadata, or a file such as __0_0.distcp",
        step="the number at the end of the directory's name",
        required=".metadata and every shard that it names, each as long as it says",
        marker=".metadata, which is renamed into place after every shard was flushed",
        staging="none; .metadata.tmp is there while it is written",
        ranks="the shards that .metadata names; a rank without a tensor writes none",
        rotation="up to whoever saves",
        later="nothing; an overwritten directory keeps shards of a larger world, which no metadata "
        "names",
        source="torch 2.13 distributed/checkpoint/filesystem.py, metadata.py",
    )
    names = (name_of(rf"(?:step|checkpoint|ckpt|global_step|iter)[-_=]?{STEP}"),)
    distinctive = False
    rules = dcp_rules(
        Role.STATE,
        (
            ("optim", Role.OPTIMIZER),
            ("model", Role.WEIGHTS),
            ("app.model", Role.WEIGHTS),
            ("app.optim", Role.OPTIMIZER),
        ),
    )

    def recognises(self, listing: Listing) -> bool:
        """Return whether metadata or a shard lies at the top."""
        return any(self.part_of(name).role is not Role.OTHER for name in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the metadata and every shard that it names are there."""
        missing = tuple(missing_in("", listing, around))
        return Completeness(missing, saved=bool(metadata_of("", listing)))
