"""Checkpoints of Orbax: JAX trainers such as MaxText and everything on flax.

Source: orbax-checkpoint 0.12 ``_src/path/step.py`` (names), ``atomicity.py`` (a rename, or a commit
file; ``commit_success.txt`` is written either way), ``_src/metadata/checkpoint.py``,
``_src/handlers/base_pytree_checkpoint_handler.py``; checkpoints made with it and damaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.zarr_arrays import Arrays
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
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around
    from resume_daemon.listing import Listing

METADATA = "_CHECKPOINT_METADATA"
COMMITTED = "commit_success.txt"
TREE = "_METADATA"
MANIFEST = "manifest.ocdbt"
_SHOWN = 8
_IN_STORE = frozenset({"jax.Array", "np.ndarray", "scalar"})
"""Kinds of values that are arrays of the store; texts are in ``_strings.json``."""

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
        f"{TREE} names with all of its chunks; metadata of an item of JSON",
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
        rule(r"(?:.+/)?d/[0-9a-f]{32}", Role.STATE, Format.ARRAY_DATA, inside=_INSIDE),
        rule(r"(?:.+/)?manifest\.ocdbt", Role.STATE, Format.ARRAY_STORE, inside=_INSIDE),
        rule(r"(?:.+/)?(?:_METADATA|_sharding|_strings\.json)", Role.SHARD_METADATA, Format.JSON),
        rule(r"(?:.+/)?array_metadatas/process_\d+", Role.SHARD_METADATA, Format.JSON),
        rule(METADATA, Role.EXTRA, Format.JSON),
        rule(r"(?:.+/)?commit_success\.txt", Role.MARKER, Format.OPAQUE),
        rule(r"[^/]+/metadata", Role.TRAINER_STATE, Format.JSON),
        rule(r"metrics/metrics", Role.OTHER, Format.JSON),
        # Without OCDBT each array is a directory.
        rule(r"(?:.+/)?(?:\.zarray|zarr\.json)", Role.SHARD_METADATA, Format.JSON),
        rule(r".+/(?:\d+(?:\.\d+)*|c(?:/\d+)*)", Role.STATE, Format.OPAQUE),
    )

    def shown_names(self) -> tuple[str, ...]:
        """Return the names as its standard format gives them."""
        return ("N", "<prefix>_N")

    def recognises(self, listing: Listing) -> bool:
        """Return whether its own metadata or a store of arrays is there."""
        if listing.file is not None or listing.name.startswith("ocdbt.process_"):
            return False
        own = (METADATA, TREE, MANIFEST)
        return any(name.rpartition("/")[2] in own and name.count("/") < 2 for name in listing)  # noqa: PLR2004 - at the top, or in an item

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
    tree = _document(f"{folder}{TREE}", listing, around)
    if f"{folder}{MANIFEST}" in listing:
        yield from _missing_of_store(folder, tree, listing, around)
    elif tree.get("use_ocdbt") is not False:
        yield Missing(Role.SHARD_METADATA, f"{folder}{MANIFEST} (the store of arrays)")
    else:
        for name in _named(tree):
            if not any(f"{folder}{name}/{each}" in listing for each in (".zarray", "zarr.json")):
                yield Missing(Role.STATE, f"{folder}{name}/.zarray (or zarr.json)")


def _missing_of_store(
    folder: str, tree: Mapping[str, Any], listing: Listing, around: Around
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
    lost = [name for name in _named(tree) if name not in store.arrays]
    for name in lost[:_SHOWN]:
        yield Missing(Role.STATE, f"the array {name}, which {folder}{TREE} names")
    if tree.get("store_array_data_equal_to_fill_value") is True:
        for name, count in store.absent():
            yield Missing(Role.STATE, f"{count} chunks of the array {name}")


def _named(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield the name of each array that the tree of parameters says is in the store."""
    leaves = tree.get("tree_metadata")
    for leaf in leaves.values() if isinstance(leaves, dict) else ():
        try:
            value = leaf["value_metadata"]
            if value["value_type"] in _IN_STORE and value.get("skip_deserialize") is False:
                yield ".".join(str(key["key"]) for key in leaf["key_metadata"])
        except (TypeError, KeyError, AttributeError):
            continue  # Of another version than the one that this was read in.


def _document(name: str, listing: Listing, around: Around) -> Mapping[str, Any]:
    """Return a JSON file that is an object; an empty one where it cannot be read."""
    if name not in listing:
        return {}
    try:
        found = around.json(name)
    except ResumeDaemonError:
        return {}  # Its own finding says so.
    return found if isinstance(found, dict) else {}
