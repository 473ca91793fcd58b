"""The settings model as data: which keys stand where, in the order in which they are declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resume_daemon.config.fields import Section
from resume_daemon.config.settings import Settings, Slack, Webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

SINKS: dict[str, type[Section]] = {"slack": Slack, "webhook": Webhook}
"""The model of each type of sink."""


def walk(model: type[Section] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every field with its dotted path: a section first, then what is in it."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        if section := section_of(field):
            yield from walk(section, f"{prefix}{name}.")


def section_of(field: FieldInfo) -> type[Section] | None:
    """Return the model of a field that is a section, or None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def fields_at(location: tuple[str | int, ...], data: Any) -> list[str]:
    """Return the keys that are known at a location of a document.

    Args:
        location: Where, as keys and indexes.
        data: The document, which tells the type of a sink.
    """
    if location[:2] == ("alerts", "sinks"):
        kind = data["alerts"]["sinks"][location[2]].get("type")
        return list(SINKS[kind].model_fields)
    model: type[Section] = Settings
    for part in location:
        section = section_of(model.model_fields[str(part)])
        if section is None:
            return []
        model = section
    return list(model.model_fields)


def paths_named(name: str) -> list[str]:
    """Return the paths of all settings of this name, wherever they stand."""
    return [path for path, _ in walk() if path.rpartition(".")[2] == name]
