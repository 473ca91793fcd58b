"""YAML configurations: every value with its line and exact place; nothing is constructed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from resume_daemon.errors import FormatError
from resume_daemon.parameters.sources.text import Places, read_text
from resume_daemon.parameters.values import Setting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.parameters.values import Source

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 20_000
"""Values, counted wherever an alias repeats them."""

_OPERATION: Final = "read the configuration"
_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp")}
_LONGEST_NUMBER: Final = 100
# The parser in C counts characters in its marks as the one in Python does.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml_settings(path: Path, source: Source) -> list[Setting]:
    """Return the values of a YAML file, in its order; ``scope`` is the dotted path of keys.

    A list of plain values is one setting; tables inside lists are left out. What an alias or a
    merge key (``<<``) repeats has no span: there it stands for several.

    Raises:
        FormatError: It is not YAML, beyond the bounds, or no table.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    text = read_text(path, _OPERATION)
    try:
        node = yaml.compose(text, Loader=_LOADER)
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            raise FormatError(_OPERATION, path, "it is no table of names and values")
        return list(_Reader(text, path, source, node).settings(node, (), shared=False))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise FormatError(_OPERATION, path, f"{where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise FormatError(_OPERATION, path, str(error).partition("\n")[0]) from None
    except RecursionError:
        raise FormatError(_OPERATION, path, "it is nested too deeply") from None


class _Reader:
    """Walks the nodes of one document; it counts what it has seen."""

    def __init__(self, text: str, path: Path, source: Source, root: yaml.Node) -> None:
        self._places = Places(text)
        self._path = path
        self._source = source
        self._left = MAX_VALUES
        self._constructor = yaml.constructor.SafeConstructor()
        self._repeated = self._find_repeated(root)

    def settings(
        self, node: yaml.MappingNode, at: tuple[str, ...], *, shared: bool
    ) -> Iterator[Setting]:
        if len(at) > MAX_DEPTH:
            raise FormatError(_OPERATION, self._path, f"it is nested deeper than {MAX_DEPTH}")
        # What is merged in is weaker than what stands beside it, so it comes first.
        pairs = sorted(node.value, key=lambda pair: not _is_merge(pair[0]))
        for key, value in pairs:
            if _is_merge(key):
                for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(each, yaml.MappingNode):
                        yield from self.settings(each, at, shared=True)
            elif isinstance(key, yaml.ScalarNode):
                yield from self._value(key, value, at, shared=shared)

    def _value(
        self, key: yaml.ScalarNode, node: yaml.Node, at: tuple[str, ...], *, shared: bool
    ) -> Iterator[Setting]:
        self._count()
        shared = shared or id(node) in self._repeated
        if isinstance(node, yaml.MappingNode):
            yield from self.settings(node, (*at, key.value), shared=shared)
            return
        block = isinstance(node, yaml.SequenceNode) and not node.flow_style
        literal = isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}
        begin, end = node.start_mark.index, node.end_mark.index
        try:
            value = self._plain(node)
        except ValueError:
            return
        yield Setting(
            key.value,
            value,
            self._source,
            line=node.start_mark.line + 1,
            # An empty value has no text that could be replaced.
            span=None if shared or block or literal or begin == end else self._span(begin, end),
            scope=".".join(at),
        )

    def _span(self, begin: int, end: int) -> tuple[int, int]:
        return self._places.span(begin, end)

    def _plain(self, node: yaml.Node) -> Any:
        """Return a scalar or a list of scalars.

        Raises:
            ValueError: It is something else, or not what its tag says.
        """
        self._count()
        if isinstance(node, yaml.SequenceNode):
            if node.tag != _TAG + "seq" or not all(
                isinstance(each, yaml.ScalarNode) for each in node.value
            ):
                raise ValueError("a list of tables or lists")
            return [self._plain(each) for each in node.value]
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _PLAIN:
            raise ValueError("neither a scalar nor a list of them")
        if node.tag == _TAG + "timestamp" or len(node.value) > _LONGEST_NUMBER:
            return node.value
        try:
            value = self._constructor.construct_object(node)
        except (KeyError, IndexError) as error:
            raise ValueError("not what its tag says") from error
        # YAML 1.1 takes 1e-6 for a text, and transformers reads it as the number that was meant.
        return value if node.style or not isinstance(value, str) else _number(value)

    def _find_repeated(self, root: yaml.Node) -> set[int]:
        """Return the identities of nodes that stand in more than one place."""
        seen: set[int] = set()
        repeated: set[int] = set()
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                repeated.add(id(node))
                continue
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                waiting += [each for pair in node.value for each in pair]
            elif isinstance(node, yaml.SequenceNode):
                waiting += node.value
        return repeated

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise FormatError(
                _OPERATION, self._path, f"it holds more than {MAX_VALUES} values, aliases expanded"
            )


def _is_merge(key: yaml.Node) -> bool:
    return key.tag == _TAG + "merge"


def _number(text: str) -> Any:
    """Return the number that ``1e-6`` means; any other text as it is."""
    if "e" in text.lower():
        try:
            return float(text) if text.strip("+-.")[:1].isdigit() else text
        except ValueError:
            return text
    return text
