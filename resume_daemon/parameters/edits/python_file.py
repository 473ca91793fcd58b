"""A literal in a Python file: parsed, and never run."""

from __future__ import annotations

import ast
import io
import tokenize
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.parameters.edits.kind import RefusedError, plain_text, quote_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_DEPTH: Final = 200
_SPACE: Final = {
    tokenize.NEWLINE,
    tokenize.NL,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
}


class PythonFile:
    """Python as the interpreter that runs this program parses it."""

    def write(self, old: str, value: Any) -> str:
        """Return a literal in the manner of the old one: the same quotation marks."""
        _require_literal(old)
        if quote := quote_of(old):
            text = plain_text(value)
            if quote in text or "\\" in text or not text.isprintable():
                raise RefusedError(f"{value!r} cannot stand between these quotation marks")
            return f"{quote}{text}{quote}"
        if value is None or isinstance(value, (bool, int, float, str)):
            return repr(value)
        raise RefusedError(f"{value!r} is no single value")

    def meaning(self, data: bytes) -> Mapping[tuple[Any, ...], Any]:
        """Return every literal and every name and operator, by its place in the syntax tree."""
        try:
            tree = ast.parse(data)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise RefusedError(f"it is not Python ({error})") from None
        return dict(_walk(tree, ()))


def _require_literal(old: str) -> None:
    """Refuse what is more than one literal, such as a sum, a call, or text in two pieces."""
    try:
        tokens = [
            token
            for token in tokenize.generate_tokens(io.StringIO(old).readline)
            if token.type not in _SPACE
        ]
    except (tokenize.TokenError, SyntaxError):
        tokens = []
    if len(tokens) > 1 and tokens[0].string in {"-", "+"}:
        tokens = tokens[1:]
    single = len(tokens) == 1 and (
        tokens[0].type in {tokenize.NUMBER, tokenize.STRING}
        or tokens[0].string in {"True", "False", "None"}
    )
    if not single or old[:1] not in "-+'\"0123456789.TFN":
        raise RefusedError("it is computed, or more than one literal")


def _walk(node: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if len(place) > _MAX_DEPTH:
        raise RefusedError("it is nested too deeply")
    if isinstance(node, ast.AST):
        if (number := _signed(node)) is not None:
            yield place, number
            return
        yield place, type(node).__name__
        for name, inner in ast.iter_fields(node):
            if name != "kind":
                yield from _walk(inner, (*place, name))
    elif isinstance(node, list):
        for number, inner in enumerate(node):
            yield from _walk(inner, (*place, number))
    else:
        yield place, node


def _signed(node: ast.AST) -> float | None:
    """Return the number of ``-1`` or ``+1``, which are an operator and a number to the parser."""
    if not (isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)):
        return None
    number = node.operand.value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    if isinstance(node.op, ast.USub):
        return -number
    return number if isinstance(node.op, ast.UAdd) else None
