"""Bytecode of Python: ``__pycache__`` and what lies beside the sources (PEP 3147).

What has its source can be made again and is deleted. In ``__pycache__`` bytecode without a source
is not used by Python, but may be all that is left of a module: it is set aside. Beside where the
source would be, it *is* the module, and stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.cleanup.values import Action, EntryKind, Kept, Leftover, Removal
from resume_daemon.cleanup.view import IN_USE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.cleanup.values import Entry
    from resume_daemon.cleanup.view import TreeView

CACHE = "__pycache__"
# Python writes "<name>.<number>" and renames it; one that was killed leaves that.
_CACHED: Final = re.compile(r"(?P<module>[^.]+)\.[^/]+\.pyc(?:\.\d+)?")
_BESIDE: Final = re.compile(r"(?P<module>[^.]+)\.pyc")


def find(view: TreeView) -> Iterator[Removal | Kept]:
    """Yield the bytecode files, then the directories that are empty without them."""
    going: set[tuple[str, ...]] = set()
    for entry in view.files:
        if (found := _judge(view, entry)) is None:
            continue
        if isinstance(found, Removal):
            going.add(entry.parts)
        yield found
    for entry in view.tree.entries:
        if entry.kind is not EntryKind.DIRECTORY or entry.parts[-1] != CACHE:
            continue
        inside = view.children.get(entry.parts, {})
        if (
            not view.is_protected(entry)
            and view.segment_of(entry) is None
            and view.is_complete(entry.parts)
            and all(each.parts in going for each in inside.values())
        ):
            why = "nothing else is in it"
            yield Removal(view.tree, entry, Leftover.BYTECODE, Action.DELETE, 0, why)


def _judge(view: TreeView, entry: Entry) -> Removal | Kept | None:
    *folder, name = entry.parts
    in_cache = bool(folder) and folder[-1] == CACHE
    match = (_CACHED if in_cache else _BESIDE).fullmatch(name)
    if match is None:
        return None
    # The root may be a bytecode directory itself: then what its sources are is not known.
    where = tuple(folder[:-1] if in_cache else folder)
    has_source = any(f"{match['module']}{end}" in view.children.get(where, {}) for end in _SOURCES)
    if not has_source and not in_cache:
        why = "no source lies beside it: Python imports it, and it may be all there is"
        return Kept(view.tree.path(entry), Leftover.BYTECODE, why)
    if view.why_not(entry) == IN_USE:
        return Kept(view.tree.path(entry), Leftover.BYTECODE, IN_USE)
    size = entry.identity.size
    if has_source:
        why = "Python makes it again from its source"
        return Removal(view.tree, entry, Leftover.BYTECODE, Action.DELETE, size, why)
    why = "its source is gone, so Python does not use it"
    return Removal(view.tree, entry, Leftover.BYTECODE, Action.SET_ASIDE, size, why)


_SOURCES: Final = (".py", ".pyw")
