"""YAML to plain values, with the line of each, within bounds whatever the text claims."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from resume_daemon.config.problems import Problem, dotted

MAX_DEPTH = 20
MAX_VALUES = 10_000
"""Values after which a document is refused: aliases can claim billions in a few lines."""

NOT_IN_FILE = 0
"""The line of a value that did not come from the file."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null"))

Location = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""


@dataclass(slots=True)
class Document:
    """What a YAML text says.

    Attributes:
        value: The values; an empty document is None.
        lines: The line (from 1) of each key and list item, by location.
        problems: What makes the text unusable or doubtful; the rest was read all the same.
    """

    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class _TooLargeError(Exception):
    """The document nests or repeats itself beyond the bounds."""


def parse(text: str) -> Document:
    """Return what a YAML text says; what is wrong with it is in ``problems``, never raised."""
    document = Document()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            document.value = _Reader(document).read(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        document.problems.append(Problem("", line, _syntax(error)))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.problems.append(
            Problem("", line, f"the character U+{error.character:04X} is not allowed")
        )
    except (_TooLargeError, RecursionError):
        document.problems.append(
            Problem(
                "",
                None,
                f"it nests more than {MAX_DEPTH} levels deep or, with its aliases expanded, holds "
                f"more than {MAX_VALUES} values; no configuration needs that",
            )
        )
    return document


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """Return one sentence for a syntax error."""
    problem = error.problem or "it cannot be parsed"
    if "'\\t'" in problem:
        return "a tab stands where YAML allows only spaces"
    if "expected a single document" in (error.context or ""):
        return "a second document starts here (---); only one is read"
    context = f" {error.context}" if error.context else ""
    return f"this is not YAML: {problem}{context}"


class _Reader:
    """Turns nodes into values; one per document, because it counts what it made."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._scalars = yaml.constructor.SafeConstructor()
        self._left = MAX_VALUES

    def read(self, node: yaml.Node, at: Location) -> Any:
        self._left -= 1
        if self._left < 0 or len(at) > MAX_DEPTH:
            raise _TooLargeError
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._item(item, (*at, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, at)

    def _item(self, node: yaml.Node, at: Location) -> Any:
        self._document.lines[at] = node.start_mark.line + 1
        return self.read(node, at)

    def _mapping(self, node: yaml.MappingNode, at: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(at, line, "has a key that is no plain text")
                continue
            # As written: `on` and `no` are booleans in YAML 1.1, and surely meant as names here.
            key = key_node.value
            here = (*at, key)
            if key in result:
                first = self._document.lines[here]
                self._problem(here, line, f"is given twice (first on line {first})")
                continue
            self._document.lines[here] = line
            result[key] = self.read(value_node, here)
        return result

    def _scalar(self, node: yaml.Node, at: Location) -> Any:
        line = node.start_mark.line + 1
        if node.tag == _TAG + "timestamp":
            self._problem(at, line, "looks like a date to YAML; put it in quotes")
        elif node.tag not in _SCALARS or not isinstance(node, yaml.ScalarNode):
            self._problem(at, line, f"has the tag {_shown(node.tag)}, which is not supported")
        else:
            try:
                return self._scalars.construct_object(node)
            except (ValueError, KeyError):
                # `!!int x`, `!!bool x`, or more digits than Python converts.
                self._problem(at, line, f"is no {node.tag.removeprefix(_TAG)} that can be read")
        return None

    def _problem(self, at: Location, line: int, message: str) -> None:
        self._document.problems.append(Problem(dotted(at), line, message))


def _shown(tag: str) -> str:
    """Return a tag as it is written in a file."""
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
