"""Words in Orbax's documents that are always the same: one that differs in a letter is damage.

Nothing else guards these documents. A flipped bit changes one character, and no word that is
written here is one character away from another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.formats.dcp_metadata import one_character_apart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MEMBERS: Final = (
    "item_handlers",
    "metrics",
    "performance_metrics",
    "init_timestamp_nsecs",
    "commit_timestamp_nsecs",
    "custom_metadata",
)
"""Of the document of a checkpoint (``_src/metadata/step_metadata_serialization.py``)."""

_HANDLERS: Final = tuple(
    f"orbax.checkpoint._src.handlers.{name}"
    for name in (
        "array_checkpoint_handler.ArrayCheckpointHandler",
        "base_pytree_checkpoint_handler.BasePyTreeCheckpointHandler",
        "composite_checkpoint_handler.CompositeCheckpointHandler",
        "json_checkpoint_handler.JsonCheckpointHandler",
        "proto_checkpoint_handler.ProtoCheckpointHandler",
        "pytree_checkpoint_handler.PyTreeCheckpointHandler",
        "random_key_checkpoint_handler.JaxRandomKeyCheckpointHandler",
        "random_key_checkpoint_handler.NumpyRandomKeyCheckpointHandler",
        "standard_checkpoint_handler.StandardCheckpointHandler",
    )
)
"""Orbax's own; users may have others."""

_PLATFORMS: Final = frozenset({"cpu", "gpu", "tpu"})
"""These differ in a letter, and an array may be kept on another device than the rest."""


def checkpoint_problems(document: Any) -> Iterator[str]:
    """Yield each word of the document of a checkpoint that is one letter away from what it is."""
    yield from _misspelt(document, _MEMBERS)
    handlers = document.get("item_handlers")
    named = handlers.values() if isinstance(handlers, dict) else [handlers]
    yield from _misspelt([each for each in named if isinstance(each, str)], _HANDLERS)


def device_problems(devices: Iterable[str]) -> Iterator[str]:
    """Yield each device of a sharding whose platform is one letter away from another's there."""
    platforms = {re.sub(r"[^A-Za-z_]", "", each): each for each in devices}
    seen: set[str] = set()
    for platform, device in platforms.items():
        others = {each for each in seen if one_character_apart(each, platform)}
        if others and not (others | {platform}) <= _PLATFORMS:
            yield f"{device!r} is beside {platforms[min(others)]!r}, and one of them is misspelt"
        seen.add(platform)


def _misspelt(words: Iterable[str], known: tuple[str, ...]) -> Iterator[str]:
    for word in words:
        for right in known:
            if one_character_apart(word, right):
                yield f"{word[:100]!r} should be {right!r}"
