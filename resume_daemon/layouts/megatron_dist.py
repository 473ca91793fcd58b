"""Directories of Megatron's ``dist_checkpointing``, inside of a trainer's own layout.

It is DCP with ``metadata.json`` written last, which names the backends (Megatron-LM
``core/dist_checkpointing/serialization.py: save``). What is no tensor was in ``common.pt`` until
core 0.19, and is an object ``common_state`` in the shards since (pull request 5160). With
``--verify-integrity`` ``integrity.json`` follows, with the SHA-256 of every file at the top
(``validation.py: save_integrity_manifest``; core 0.18 and later).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.dcp_metadata import DcpMetadata
from resume_daemon.layouts.base import Format, Missing, Role, Rule, StatedDigest, rule
from resume_daemon.layouts.dcp import dcp_rules, metadata_of, missing_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

INSIDE: Final = (
    ("optimizer", Role.OPTIMIZER),
    ("chained_", Role.OPTIMIZER),
    ("rng_state", Role.RNG),
    ("common_state", Role.OTHER),
    ("rerun_state_machine", Role.OTHER),
    ("", Role.WEIGHTS),
)
"""What a whole state holds; the model's tensors are called as its parameters are."""

METADATA: Final = "metadata.json"
INTEGRITY: Final = "integrity.json"
COMMON: Final = "common_state"

_BACKEND: Final = "torch_dist"
"""The only one whose shards are those of DCP; zarr, which is gone, has a directory per tensor."""

_ALGORITHM: Final = "sha256"
"""The only one that the trainer accepts."""


def dist_rules(role: Role, inside: tuple[tuple[str, Role], ...] = ()) -> tuple[Rule, ...]:
    """Return the rules of such a directory, for ``under``."""
    return (
        *dcp_rules(role, inside),
        rule(r"metadata\.json", Role.SHARD_METADATA, Format.JSON),
        rule(r"integrity\.json", Role.DIGESTS, Format.JSON),
        rule(r"common\.pt", Role.STATE, Format.TORCH),
    )


def missing_dist(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what such a directory lacks; ``folder`` is ``""`` or ends in a slash."""
    lacking = [*missing_in(folder, listing, around)]
    yield from lacking
    known = {each.what for each in lacking} | {f"{folder}{METADATA}", f"{folder}common.pt"}
    if not any(name.startswith(folder) for name in listing):
        return
    yield from _missing_stated(folder, known, listing, around)
    name = f"{folder}{METADATA}"
    if name not in listing:
        yield Missing(Role.SHARD_METADATA, name)
        return
    try:
        document = around.json(name)
        backend = document.get("sharded_backend") if isinstance(document, dict) else None
        if backend != _BACKEND:
            yield Missing(Role.SHARD_METADATA, f"{name} (what is there names no {_BACKEND})")
    except ResumeDaemonError:
        pass  # Its own finding says that it cannot be read.
    if f"{folder}common.pt" not in listing and holds(COMMON, folder, listing, around) is False:
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


def _missing_stated(
    folder: str, known: set[str], listing: Listing, around: Around
) -> Iterator[Missing]:
    """Yield the files whose digest is stated and that are not there."""
    name = f"{folder}{INTEGRITY}"
    if name not in listing:
        return
    try:
        stated = _digests(around.json(name))
    except ResumeDaemonError:
        return  # Its own finding says that it cannot be read.
    if stated is None:
        yield Missing(Role.DIGESTS, f"{name} (what is there states no SHA-256 of any file)")
        return
    for file in stated:
        if folder + file not in listing and folder + file not in known:
            yield Missing(Role.STATE, f"{folder}{file} (which {name} names)")


def stated_in(contents: Mapping[str, Content]) -> dict[str, StatedDigest]:
    """Return the digests that every ``integrity.json`` states, by file."""
    found: dict[str, StatedDigest] = {}
    for name, content in contents.items():
        folder, slash, base = name.rpartition("/")
        if base == INTEGRITY and (stated := _digests(content.value)) is not None:
            found |= {
                folder + slash + file: StatedDigest(_ALGORITHM, digest, name)
                for file, digest in stated.items()
            }
    return found


def _digests(document: Any) -> Mapping[str, str] | None:
    """Return the digest of each file; None where the document is not what the trainer reads."""
    files = document.get("files") if isinstance(document, dict) else None
    # Upstream takes SHA-256 where no algorithm is named.
    if not isinstance(files, dict) or document.get("algorithm", _ALGORITHM) != _ALGORITHM:
        return None
    if not files or not all(isinstance(digest, str) for digest in files.values()):
        return None
    return files


def common_state(content: Content) -> Mapping[str, Any]:
    """Return what is no tensor: of ``common.pt``, a shard, or a file of the legacy format."""
    value: Any = content.value
    if not isinstance(value, dict):
        return {}
    for key, each in value.items():
        if isinstance(key, str) and key.startswith(f"{COMMON}/"):
            # A sharded object is saved as a list of one.
            found = each[0] if isinstance(each, list) and each else each
            return found if isinstance(found, dict) else {}
    return value
