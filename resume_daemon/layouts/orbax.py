"""Checkpoints of Orbax: JAX trainers such as MaxText and everything on flax.

Source: orbax-checkpoint 0.12 ``_src/path/step.py`` (names), ``atomicity.py`` (a rename, or a commit
file; ``commit_success.txt`` is written either way), ``_src/metadata/checkpoint.py``,
``_src/handlers/base_pytree_checkpoint_handler.py``; checkpoints made with it and damaged.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.zarr_arrays import DESCRIPTIONS, Array, Arrays
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
from resume_daemon.layouts.orbax_tree import METADATA, STRINGS, TREE, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around
    from resume_daemon.layouts.orbax_tree import Tree
    from resume_daemon.listing import Listing

COMMITTED = "commit_success.txt"
MANIFEST = "manifest.ocdbt"
_SHOWN = 8
_CHUNK = r"(?P<array>.+?)/(?:\d+(?:\.\d+)*|c(?:/\d+)*)"
"""The file of a chunk of an array that is a directory: zarr 2 and zarr 3."""
_OWN = re.compile(
    rf"{METADATA}|(?:[^/]+/)?(?:_METADATA|manifest\.ocdbt|ocdbt\.process_[^/]+/.+|"
    r"array_metadatas/process_\d+)|[^/]+\.orbax-checkpoint-tmp[^/]*/.+"
)
"""What nobody else writes: also of an item that is not there whole, or is staged inside."""

_INSIDE = (
    *((name, Role.WEIGHTS) for name in ("params.", "model.", "target.", "state.params.")),
    *(
        (name, Role.OPTIMIZER)
        for name in ("opt_state.", "optimizer.", "opt.", "state.opt_state.", "state.param_states.")
    ),
)
"""As flax's TrainState, MaxText, nnx and t5x call them."""


class Orbax(Layout):
    """``N`` or ``<prefix>_N`` in the directory of a ``CheckpointManager``."""

    name = "orbax"
    facts = Facts(
        written_by="Orbax's CheckpointManager and Checkpointer: MaxText, flax and others on JAX",
        recognised=f"{METADATA}, or an item's {TREE} or {MANIFEST}",
        step="N of the name, with zeros before it or not",
        required=f"of each item that {METADATA} names its files: {TREE}, {MANIFEST}, every data "
        "file that its tree references with the bytes that it does, every array that "
        f"{TREE} names with all of its chunks, {STRINGS} where it names texts; metadata of an item "
        "of JSON",
        marker=f"{COMMITTED}, or a time of the commit in {METADATA}; on object stores the final "
        "name is there before them",
        staging="<name>.orbax-checkpoint-tmp, with a time after it or not",
        ranks="ocdbt.process_P of each process, as far as the tree references its data files",
        rotation="nothing; the whole directory goes",
        later="nothing",
        source="orbax-checkpoint 0.12 _src/path/atomicity.py, step.py; tensorstore "
        "kvstore/ocdbt/index.rst; measured: what Orbax restores with each file damaged",
    )
    names = (name_of(rf"(?!ocdbt\.process_)(?:.+_)?{STEP}"),)
    staging = (name_of(r".+\.orbax-checkpoint-tmp.*"),)
    distinctive = False
    rules = (
        # What a process wrote for itself, before all were merged into one tree: nobody reads it.
        rule(r"(?:.+/)?ocdbt\.process_[^/]+/manifest\.ocdbt", Role.OTHER, Format.OPAQUE),
        rule(
            r"(?:.+/)?(?:d|ocdbt_data|ocdbt_meta)/[0-9a-f]{32}",
            Role.STATE,
            Format.ARRAY_DATA,
            inside=_INSIDE,
        ),
        rule(r"(?:.+/)?manifest\.ocdbt", Role.STATE, Format.ARRAY_STORE, inside=_INSIDE),
        rule(r"(?:.+/)?(?:_METADATA|_strings\.json)", Role.SHARD_METADATA, Format.JSON),
        # Without it one that does not say how arrays are shared out raises.
        rule(r"(?:.+/)?_sharding", Role.SHARD_METADATA, Format.JSON, needed=True),
        rule(r"(?:.+/)?array_metadatas/process_\d+", Role.SHARD_METADATA, Format.JSON),
        # Without it a restore that does not say how each item was saved raises.
        rule(METADATA, Role.EXTRA, Format.JSON, needed=True),
        rule(r"(?:.+/)?commit_success\.txt", Role.MARKER, Format.OPAQUE),
        rule(r"[^/]+/metadata", Role.TRAINER_STATE, Format.JSON),
        rule(r"metrics/metrics", Role.OTHER, Format.JSON),
        # Without OCDBT each array is a directory.
        rule(r".+/(?:\.zarray|zarr\.json)", Role.SHARD_METADATA, Format.ARRAY),
        rule(_CHUNK, Role.STATE, Format.ARRAY_DATA, inside=_INSIDE),
    )

    def shown_names(self) -> tuple[str, ...]:
        """Return the names as its standard format gives them."""
        return ("N", "<prefix>_N")

    def recognises(self, listing: Listing) -> bool:
        """Return whether something that only Orbax writes is there."""
        if listing.file is not None or listing.name.startswith("ocdbt.process_"):
            return False
        if any(name.count("/") == 1 and name.endswith(f"/{METADATA}") for name in listing):
            return False  # The directory of a manager, with checkpoints in it.
        return any(_OWN.fullmatch(name) for name in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether it was committed, and each item is there with all of its arrays."""
        document = _document(METADATA, listing, around)
        committed = COMMITTED in listing or document.get("commit_timestamp_nsecs") is not None
        missing: list[Missing] = []
        for folder, handler in sorted(_items(listing, document).items()):
            missing += _missing_in(folder, handler, listing, around)
        if not committed and METADATA in listing:
            missing.append(Missing(Role.MARKER, f"{COMMITTED} (it was not committed)"))
        return Completeness(tuple(missing), saved=committed)


def _items(listing: Listing, document: Mapping[str, Any]) -> dict[str, str]:
    """Return each item's folder (``""``, or ending in a slash), with the class that saved it."""
    handlers = document.get("item_handlers")
    if isinstance(handlers, str):
        return {"": handlers}
    if isinstance(handlers, dict) and handlers:
        return {f"{item}/": str(handler) for item, handler in handlers.items()}
    found = [name for name in listing if name.rpartition("/")[2] in {TREE, MANIFEST}]
    return {
        name.rpartition("/")[0] + "/" if "/" in name else "": "PyTree"
        for name in found
        if "ocdbt.process_" not in name
    }


def _missing_in(folder: str, handler: str, listing: Listing, around: Around) -> Iterator[Missing]:
    if handler.endswith("JsonCheckpointHandler"):
        if not any(f"{folder}{name}" in listing for name in ("metadata", "metrics")):
            yield Missing(Role.STATE, f"{folder}metadata (of an item of JSON)")
        return
    if "PyTree" not in handler and "Standard" not in handler:
        if folder and not any(name.startswith(folder) for name in listing):
            yield Missing(Role.STATE, f"{folder} (an item that {METADATA} names)")
        return
    if f"{folder}{TREE}" not in listing:
        yield Missing(Role.SHARD_METADATA, f"{folder}{TREE} (the tree of parameters)")
    document = _document(f"{folder}{TREE}", listing, around)
    tree = tree_of(document)
    whole = document.get("store_array_data_equal_to_fill_value") is True
    if tree.texts and f"{folder}{STRINGS}" not in listing:
        yield Missing(Role.STATE, f"{folder}{STRINGS} (the texts of the tree)")
    if f"{folder}{MANIFEST}" in listing:
        yield from _missing_of_store(folder, tree, listing, around, whole=whole)
    elif document.get("use_ocdbt") is not False:
        yield Missing(Role.SHARD_METADATA, f"{folder}{MANIFEST} (the store of arrays)")
    else:
        yield from _missing_of_arrays(folder, tree, listing, around, whole=whole)


def _missing_of_store(
    folder: str, tree: Tree, listing: Listing, around: Around, *, whole: bool
) -> Iterator[Missing]:
    try:
        store = around.read(f"{folder}{MANIFEST}", Format.ARRAY_STORE).value
    except ResumeDaemonError:
        return  # Its own finding says so.
    if not isinstance(store, Arrays):
        return
    for file in sorted(store.files):
        if f"{folder}{file}" not in listing:
            yield Missing(Role.STATE, f"{folder}{file} (a data file, by the tree)")
    lost = [name for name in tree.arrays if name not in store.arrays]
    for name in lost[:_SHOWN]:
        yield Missing(Role.STATE, f"the array {name}, which {folder}{TREE} names")
    if whole:
        for name, count in store.absent():
            yield Missing(Role.STATE, f"{count} chunks of the array {name}")


def _missing_of_arrays(
    folder: str, tree: Tree, listing: Listing, around: Around, *, whole: bool
) -> Iterator[Missing]:
    """Yield what arrays lack that are directories of their own."""
    matches = (re.fullmatch(_CHUNK, name, re.ASCII) for name in listing)
    chunks = Counter(match["array"] for match in matches if match is not None)
    for name in tree.arrays:
        array = f"{folder}{name}"
        description = next((d for d in DESCRIPTIONS if f"{array}/{d}" in listing), None)
        if description is None:
            yield Missing(Role.STATE, f"{array}/.zarray (or zarr.json)")
            continue
        try:
            found = around.read(f"{array}/{description}", Format.ARRAY).value
        except ResumeDaemonError:
            continue  # Its own finding says so.
        if whole and isinstance(found, Array) and chunks[array] < found.grid:
            yield Missing(Role.STATE, f"{found.grid - chunks[array]} chunks of the array {array}")


def _document(name: str, listing: Listing, around: Around) -> Mapping[str, Any]:
    """Return a JSON file that is an object; an empty one where it cannot be read."""
    if name not in listing:
        return {}
    try:
        found = around.json(name)
    except ResumeDaemonError:
        return {}  # Its own finding says so.
    return found if isinstance(found, dict) else {}
