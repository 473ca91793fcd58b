"""YAML documents (configurations beside a checkpoint): bounded plain values, nothing constructed.

The parser's events are walked one by one, so depth, size and what aliases would expand to are
bounded before anything grows. A tag of Python's, which an unsafe loader would act on, leaves its
value as it is and is named among the references (PyYAML 6.0 ``constructor.py: UnsafeConstructor``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.files import read_bounded
from resume_daemon.formats.byte_ranges import HEAD, blank_reason
from resume_daemon.formats.content import Content
from resume_daemon.formats.inert_values import BeyondBoundError, How, Reference

if TYPE_CHECKING:
    from pathlib import Path

YAML_LIMIT: Final = 1024 * 1024
"""Bytes above which a document is not read: the parser without libyaml does 0.1 MB a second."""

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 100_000
"""Values, counted wherever an alias repeats them."""

_MAX_NUMBER: Final = 100
"""Characters of a number: base 60 takes time that grows with the square of its length."""

_OPERATION: Final = "read the YAML of"
_TAG: Final = "tag:yaml.org,2002:"
_NUMBERS: Final = {_TAG + "int", _TAG + "float"}
_SCALARS: Final = {*_NUMBERS, _TAG + "bool", _TAG + "null"}
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PYTHON: Final = re.compile(
    r"tag:yaml\.org,2002:python/(?P<kind>object/apply|object/new|object|name|module):"
    r"(?P<module>[^:]*?)(?:\.(?P<name>[^.:]*))?"
)
_HOW: Final = {"object/apply": How.CALL, "object/new": How.NEW, "object": How.NEW}


def read_yaml(path: Path) -> Content:
    """Return the value of a YAML file of one document; merge keys (``<<``) stay as written.

    Raises:
        BeyondBoundsError: It is larger than is read.
        FormatError: It is not YAML, or nested too deeply.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    data = read_bounded(path, YAML_LIMIT)
    if reason := blank_reason(data[:HEAD]):
        raise FormatError(_OPERATION, path, reason)
    reader = _Reader()
    try:
        for event in yaml.parse(data, Loader=_LOADER):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1} column {mark.column + 1}: " if mark else ""
        raise FormatError(_OPERATION, path, f"{where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise FormatError(_OPERATION, path, str(error).partition("\n")[0]) from None
    except BeyondBoundError as error:
        raise BeyondBoundsError(_OPERATION, path, str(error)) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(_OPERATION, path, str(error)) from None
    return Content(value=reader.value, references=tuple(reader.references))


@dataclass(slots=True)
class _Open:
    """A list or table that has not ended; ``size`` counts what is in it, aliases expanded."""

    value: list[Any] | dict[Any, Any]
    anchor: str | None
    size: int = 1
    keys: list[Any] = field(default_factory=list)


class _Reader:
    """Makes values of events; one per document, because it counts what it made."""

    def __init__(self) -> None:
        self.value: Any = None
        self.references: dict[Reference, None] = {}
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._documents = 0
        self._constructor = yaml.constructor.SafeConstructor()
        self._resolver = yaml.resolver.Resolver()

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise ValueError("a second document follows, and only one is read")
            case yaml.AliasEvent():
                # What is still open is not among the anchors: a table cannot hold itself.
                if event.anchor not in self._anchors:
                    raise ValueError(f"the alias {event.anchor!r} stands for nothing before it")
                self._add(*self._anchors[event.anchor])
            case yaml.ScalarEvent():
                value = self._scalar(event)
                self._remember(event.anchor, value, 1)
                self._add(value, 1)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._refer(event.tag)
                if len(self._open) >= MAX_DEPTH:
                    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
                if event.anchor is not None:
                    self._anchors.pop(event.anchor, None)
                empty: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
                self._open.append(_Open(empty, event.anchor))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                ended = self._open.pop()
                self._remember(ended.anchor, ended.value, ended.size)
                self._add(ended.value, ended.size)

    def _remember(self, anchor: str | None, value: Any, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)

    def _add(self, value: Any, size: int) -> None:
        """Put a value into what is open."""
        if not self._open:
            self.value = value
            return
        into = self._open[-1]
        into.size += size
        if into.size > MAX_VALUES:
            raise BeyondBoundError(f"it holds more than {MAX_VALUES} values, its aliases expanded")
        if isinstance(into.value, list):
            into.value.append(value)
        elif into.keys:
            into.value[into.keys.pop()] = value
        elif isinstance(value, (list, dict)):
            raise ValueError("a key is a list or a table")
        else:
            into.keys.append(value)

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            # Typeshed leaves the resolver without types.
            resolver: Any = self._resolver
            tag = resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        self._refer(tag)
        # Dates and what has a tag of its own stay the text that they are.
        if tag not in _SCALARS or (tag in _NUMBERS and len(event.value) > _MAX_NUMBER):
            return event.value
        try:
            return self._constructor.construct_object(yaml.ScalarNode(tag, event.value))
        except (ValueError, KeyError, IndexError):
            raise ValueError(f"{event.value[:50]!r} is no {tag.removeprefix(_TAG)}") from None

    def _refer(self, tag: str | None) -> None:
        """Note what a tag would make an unsafe loader import."""
        if tag is not None and (found := _PYTHON.fullmatch(tag)):
            how = _HOW.get(found["kind"], How.MENTION)
            module, name = found["module"], found["name"]
            if found["kind"] == "module":
                module, name = found["module"] + (f".{name}" if name else ""), "*"
            elif name is None:
                module, name = "builtins", module
            self.references[Reference(module, name, how)] = None
