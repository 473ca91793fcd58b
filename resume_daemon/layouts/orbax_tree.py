"""Orbax's tree of parameters (``_METADATA``), and the documents beside it that follow its names.

Source: orbax-checkpoint 0.12 ``_src/metadata/``: ``tree.py``, ``value_metadata_entry.py``,
``sharding.py``, ``array_metadata_store.py``. Each reads the members named here without asking
whether they are there, and raises where one is not.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.json_document import parse_json
from resume_daemon.layouts.orbax_names import device_problems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METADATA: Final = "_CHECKPOINT_METADATA"
"""Of the whole checkpoint, at its top."""
TREE: Final = "_METADATA"
SHARDING: Final = "_sharding"
STRINGS: Final = "_strings.json"
SHAPES: Final = "array_metadatas/"
"""A folder, with a document of each process."""

_IN_STORE: Final = frozenset({"jax.Array", "np.ndarray", "scalar"})
"""Kinds of values that are arrays of the store; texts are in ``STRINGS``."""
_KINDS_OF_KEYS: Final = (1, 2)
_SHARDINGS: Final = {
    "NamedSharding": ("shape", "axis_names", "partition_spec"),
    "SingleDeviceSharding": ("device_str",),
}
"""All that are ever written (``sharding.py: from_jax_sharding``), with what each needs."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What the tree of parameters says.

    Attributes:
        arrays: The name of each array that has to be in the store.
        texts: The name of each text.
        names: The name of every leaf.
        problems: What in it cannot be understood, in words.
    """

    arrays: tuple[str, ...]
    texts: tuple[str, ...]
    names: frozenset[str]
    problems: tuple[str, ...]


def tree_of(document: Any) -> Tree:
    """Return what a decoded ``_METADATA`` says."""
    leaves = document.get("tree_metadata") if isinstance(document, dict) else None
    if not isinstance(leaves, dict):
        return Tree((), (), frozenset(), ("it has no tree of parameters (tree_metadata)",))
    kinds: dict[str, str] = {}
    problems = []
    for label, leaf in leaves.items():
        try:
            name, value = _name(leaf["key_metadata"]), leaf["value_metadata"]
            skipped = value["skip_deserialize"]
            kinds[name] = value["value_type"] if skipped is False else ""
        except (TypeError, KeyError, AttributeError, ValueError):
            problems.append(f"its entry {label[:100]} lacks a part, or has one of another kind")
    return Tree(
        tuple(name for name, kind in kinds.items() if kind in _IN_STORE),
        tuple(name for name, kind in kinds.items() if kind == "string"),
        frozenset(kinds),
        tuple(problems),
    )


def _name(keys: Any) -> str:
    if any(key["key_type"] not in _KINDS_OF_KEYS for key in keys):
        raise ValueError("a key is of no known kind")
    return ".".join(str(key["key"]) for key in keys)


def texts_problems(document: Any, tree: Tree) -> Iterator[str]:
    """Yield what the texts lack that the tree names."""
    for name in tree.texts:
        if not isinstance(document.get(name), str):
            yield f"it lacks the text {name}, which {TREE} names"


def sharding_problems(document: Any, tree: Tree, path: Path) -> Iterator[str]:
    """Yield each entry that tells of no array, or not how it was shared out among devices."""
    devices: list[str] = []
    for key, text in document.items():
        try:
            name = base64.b64decode(key, validate=True).decode()
        except (binascii.Error, ValueError):
            yield f"its entry {key[:100]} is no name in base64"
            continue
        if name not in tree.names:
            yield f"its entry {name[:100]} is of no array that {TREE} names"
            continue
        try:
            entry = parse_json(text.encode(), path)
            lacks = [each for each in _SHARDINGS[entry["sharding_type"]] if each not in entry]
        except (ResumeDaemonError, TypeError, KeyError, AttributeError):
            lacks = ["a kind that can be read"]
        if lacks:
            yield f"the sharding of {name} lacks {', '.join(lacks)}"
        elif isinstance(device := entry.get("device_str"), str):
            devices.append(device)
    yield from device_problems(devices)


def shapes_problems(document: Any, tree: Tree) -> Iterator[str]:
    """Yield each entry of a process's arrays that tells of no array, or no shape of it."""
    entries = document.get("array_metadatas", [])
    for number, entry in enumerate(entries if isinstance(entries, list) else [None]):
        try:
            array = entry["array_metadata"]
            name, shapes = array["param_name"], (array["write_shape"], array["chunk_shape"])
        except (TypeError, KeyError):
            yield f"its entry {number} lacks a part"
            continue
        if name not in tree.names:
            yield f"its entry {str(name)[:100]} is of no array that {TREE} names"
        elif not all(isinstance(shape, list) for shape in shapes):
            yield f"a shape of {name} is no list"
