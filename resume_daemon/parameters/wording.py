"""How a setting is named in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from resume_daemon.parameters.values import Setting

_LONGEST: Final = 60


def shown(value: Any) -> str:
    """Return a value for a sentence, cut where it is long; text in quotes."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def told(setting: Setting) -> str:
    """Return a setting with its value and place: ``max_seq_length 4096 (train.yaml line 3)``."""
    return f"{setting.name} {shown(setting.value)} ({place(setting)})"


def place(setting: Setting) -> str:
    """Return where a setting stands: ``train.yaml line 3``."""
    line = "" if setting.line is None else f" line {setting.line}"
    return f"{setting.source.label}{line}"
