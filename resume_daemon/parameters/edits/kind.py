"""What every kind of file offers to an edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class RefusedError(Exception):
    """A value cannot be changed without touching anything else; its text is the reason."""


class Kind(Protocol):
    """One kind of file."""

    def write(self, old: str, value: Any) -> str:
        """Return the text that stands for ``value`` where ``old`` stands, in the same manner.

        Raises:
            RefusedError: It cannot be written there.
        """
        ...

    def meaning(self, data: bytes) -> Mapping[tuple[Any, ...], Any]:
        """Return every single value of a file, by its place.

        Raises:
            RefusedError: It is not a file of this kind.
        """
        ...


def plain_text(value: Any) -> str:
    """Return a value as the text of a file that knows nothing but text.

    Raises:
        RefusedError: It has no such text.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return value
    raise RefusedError(f"{value!r} has no text here")


def quote_of(old: str) -> str:
    """Return the quotation mark that a text stands in, or nothing."""
    quoted = len(old) > 1 and old[0] == old[-1] and old[0] in "'\""
    return old[0] if quoted else ""
