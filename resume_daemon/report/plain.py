"""Text from a run as it may be shown: the names in it were chosen by somebody else."""

from __future__ import annotations

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def plain(text: str) -> str:
    """Return one line without control characters, which could rewrite a terminal's screen."""
    return text.translate(_CONTROLS)
