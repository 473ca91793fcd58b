"""What a changed configuration changes in a running daemon: decided here, carried out there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from resume_daemon.config.fields import Section
from resume_daemon.config.schema import section_of, walk

if TYPE_CHECKING:
    from resume_daemon.config.settings import Settings

AnySection = TypeVar("AnySection", bound=Section)

NEEDS_RESTART = frozenset(
    {
        # The lock, the ledger and every record carry these.
        "run",
        "name",
        "state_dir",
        # Held by threads, watches and connections that are made once, at the start.
        "watch.backend",
        "watch.poll_seconds",
        "verify.priority",
        "curriculum.enabled",
        "curriculum.files",
        "curriculum.schemas",
        "snapshot.configuration_files",
        "index.url",
        "trainer_log.files",
        "trainer_log.patterns",
        *(path for path, _ in walk() if path.startswith("trackers.")),
    }
)
"""Settings that a reload leaves as they are."""


@dataclass(frozen=True, slots=True)
class Reload:
    """What a reload does.

    Attributes:
        settings: What holds from now on: the new settings, less what needs a restart.
        applied: Paths of the changed settings that take effect now.
        needs_restart: Paths of the changed settings that the next start will take up.
    """

    settings: Settings
    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


def compare(old: Settings, new: Settings) -> Reload:
    """Return what changes when ``new`` is loaded into a daemon that runs with ``old``."""
    changed = [
        path
        for path, field in walk()
        if section_of(field) is None and value_at(old, path) != value_at(new, path)
    ]
    return Reload(
        settings=_merge(old, new, ""),
        applied=tuple(path for path in changed if path not in NEEDS_RESTART),
        needs_restart=tuple(path for path in changed if path in NEEDS_RESTART),
    )


def value_at(settings: Section, path: str) -> object:
    """Return the value at a dotted path."""
    value: object = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _merge(old: AnySection, new: AnySection, prefix: str) -> AnySection:
    """Return ``new`` with the old value of everything that needs a restart."""
    kept: dict[str, object] = {}
    for name in type(new).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if prefix + name in NEEDS_RESTART:
            kept[name] = before
        elif isinstance(after, Section):
            kept[name] = _merge(before, after, f"{prefix}{name}.")
    return new.model_copy(update=kept)
