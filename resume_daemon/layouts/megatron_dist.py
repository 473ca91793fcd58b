"""Directories of Megatron's ``dist_checkpointing``, inside of a trainer's own layout.

It is DCP with ``metadata.json`` written last, which names the backends (Megatron-LM
``core/dist_checkpointing/serialization.py: save``). What is no tensor was in ``common.pt`` until
core 0.19, and is an object ``common_state`` in the shards since (pull request 5160).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.dcp_metadata import DcpMetadata
from resume_daemon.layouts.base import Format, Missing, Role, Rule, rule
from resume_daemon.layouts.dcp import dcp_rules, metadata_of, missing_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.layouts.base import Around
    from resume_daemon.listing import Listing

INSIDE: Final = (
    ("optimizer", Role.OPTIMIZER),
    ("chained_", Role.OPTIMIZER),
    ("rng_state", Role.RNG),
    ("common_state", Role.OTHER),
    ("", Role.WEIGHTS),
)
"""What a whole state holds; the model's tensors are called as its parameters are."""

METADATA: Final = "metadata.json"


def dist_rules(role: Role, inside: tuple[tuple[str, Role], ...] = ()) -> tuple[Rule, ...]:
    """Return the rules of such a directory, for ``under``."""
    return (
        *dcp_rules(role, inside),
        rule(r"metadata\.json", Role.SHARD_METADATA, Format.JSON),
        rule(r"common\.pt", Role.STATE, Format.TORCH),
    )


def missing_dist(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what such a directory lacks; ``folder`` is ``""`` or ends in a slash."""
    yield from missing_in(folder, listing, around)
    if not any(name.startswith(folder) for name in listing):
        return
    name = f"{folder}{METADATA}"
    if name not in listing:
        yield Missing(Role.SHARD_METADATA, name)
        return
    try:
        if not isinstance(around.json(name), dict):
            yield Missing(Role.SHARD_METADATA, f"{name} (what is there is no object)")
    except ResumeDaemonError:
        pass  # Its own finding says that it cannot be read.
    if (
        f"{folder}common.pt" not in listing
        and holds("common_state", folder, listing, around) is False
    ):
        yield Missing(Role.STATE, f"{folder}common.pt")


def holds(word: str, folder: str, listing: Listing, around: Around) -> bool | None:
    """Return whether any tensor or object there has a word in its name; None: it is not known."""
    names = metadata_of(folder, listing)
    if not names:
        return None
    for name in names:
        try:
            found = around.read(name, Format.DCP_METADATA).value
        except ResumeDaemonError:
            return None
        if not isinstance(found, DcpMetadata):
            return None
        if any(word in each for each in (*found.tensors, *found.objects)):
            return True
    return False
