"""A value in a YAML file."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from resume_daemon.parameters.edits.kind import RefusedError, plain_text, quote_of
from resume_daemon.parameters.edits.tree import MAX_DEPTH, leaves

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_SCALARS: Final = {_TAG + name for name in ("int", "float", "bool", "null")}
_SAFE: Final = re.compile(r"[A-Za-z0-9_./+-]+")
_BOOLEANS: Final = (
    ("true", "false"),
    ("True", "False"),
    ("TRUE", "FALSE"),
    ("yes", "no"),
    ("Yes", "No"),
    ("YES", "NO"),
    ("on", "off"),
    ("On", "Off"),
    ("ON", "OFF"),
)
_MOST_DIGITS: Final = 100


class YamlFile:
    """YAML 1.1 as PyYAML reads it, UTF-8."""

    def write(self, old: str, value: Any) -> str:
        """Return a scalar in the manner of the old one: the same quotation marks, or none."""
        if (quote := quote_of(old)) == "'":
            return "'" + plain_text(value).replace("'", "''") + "'"
        if quote:
            return json.dumps(plain_text(value), ensure_ascii=False)
        if not old or old[0] in "|>&*!{[" or "\n" in old:
            raise RefusedError("it is not a value of one line without anchor and tag")
        if isinstance(value, bool):
            pair = next((pair for pair in _BOOLEANS if old in pair), _BOOLEANS[0])
            return pair[0] if value else pair[1]
        if value is None:
            return "null"
        if isinstance(value, float):
            number, mark, exponent = repr(value).partition("e")
            # Without a point, YAML 1.1 takes 1e-05 for text.
            return f"{number}.0e{exponent}" if mark and "." not in number else repr(value)
        if isinstance(value, str):
            plain = _SAFE.fullmatch(value) and _read(value) == value
            return value if plain else "'" + value.replace("'", "''") + "'"
        return plain_text(value)

    def meaning(self, data: bytes) -> Mapping[tuple[Any, ...], Any]:
        """Return every single value of every document, those repeated by aliases each time."""
        try:
            text = data.decode("utf-8-sig")
            documents = [_value(node, 0, {}) for node in yaml.compose_all(text, Loader=_LOADER)]
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            raise RefusedError(f"it is not YAML ({reason})") from None
        return leaves(documents)


def _read(text: str) -> Any:
    return _value(yaml.compose(text, Loader=_LOADER), 0, {})


def _value(node: yaml.Node | None, depth: int, made: dict[int, Any]) -> Any:
    """Return the plain value of a node; one that aliases repeat is made once."""
    if node is None:
        return None
    if depth > MAX_DEPTH:
        raise RefusedError(f"it is nested deeper than {MAX_DEPTH} levels")
    if id(node) in made:
        return made[id(node)]
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = {
            _key(key, depth, made): _value(inner, depth + 1, made) for key, inner in node.value
        }
    elif isinstance(node, yaml.SequenceNode):
        value = [_value(inner, depth + 1, made) for inner in node.value]
    elif node.tag in _SCALARS and len(node.value) <= _MOST_DIGITS:
        value = yaml.constructor.SafeConstructor().construct_object(node)
    else:
        value = node.value
    made[id(node)] = value
    return value


def _key(node: yaml.Node, depth: int, made: dict[int, Any]) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise RefusedError("a key is a list or a table")
    return _value(node, depth + 1, made)
