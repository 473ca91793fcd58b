"""The header of a numpy array's file: a Python literal, parsed here and never evaluated.

Format: numpy 2.4 ``lib/_format_impl.py`` (NEP 1): magic, version, the header's length in two bytes
(four from version 2 on), and a dict of ``descr``, ``fortran_order`` and ``shape``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAGIC: Final = b"\x93NUMPY"

MAX_HEADER_BYTES: Final = 64 * 1024
"""Longest header that is read; ``numpy.load`` takes 10,000 bytes unless it is told otherwise."""

PREAMBLE: Final = 12
"""Bytes before the longest form of a header."""

_MAX_DIMENSIONS: Final = 64
_MAX_DEPTH: Final = 16
_LARGEST: Final = 2**63 - 1

_NAMES: Final[Mapping[str, str]] = {
    "b1": "BOOL",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    "u8": "U64",
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
    "c8": "C64",
    "c16": "C128",
}
_PLAIN: Final = re.compile(r"([<>|=]?)([biufcmMOSUVa])(\d{0,9})(?:\[[^\]]{0,20}\])?", re.ASCII)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<mark>[()\[\]{},:])|(?P<number>-?\d{1,20})L?\b|(?P<word>True|False|None)\b
    |[bu]?(?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))""",
    re.ASCII | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class NumpyHeader:
    """What a header says of its array.

    Attributes:
        data_begin: Bytes before the first element, from the magic on.
        dtype: The element type by its safetensors name; None where it has none (texts, dates,
            records of several fields, another byte order).
        width: Bytes of one element; None where the elements are pickled objects.
        shape: Elements per dimension.
        fortran: Whether the first dimension, not the last, lies together.
    """

    data_begin: int
    dtype: str | None
    width: int | None
    shape: tuple[int, ...]
    fortran: bool

    @property
    def data_bytes(self) -> int | None:
        """Bytes of all elements; None where they are pickled."""
        return None if self.width is None else self.width * prod(self.shape)


def parse_header(head: bytes) -> NumpyHeader:
    """Return what a file's first bytes say.

    Args:
        head: ``PREAMBLE + MAX_HEADER_BYTES`` bytes, or all where there are fewer.

    Raises:
        ValueError: They are no header, are cut short, or are beyond a bound.
    """
    if head[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not begin as a numpy array does")
    if len(head) < PREAMBLE:
        raise ValueError("it is cut short inside its header")
    version, size = head[6], 2 if head[6] == 1 else 4
    if version not in {1, 2, 3}:
        raise ValueError(f"version {version} of the format is not known")
    begin = len(MAGIC) + 2 + size
    length = int.from_bytes(head[begin - size : begin], "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"it claims a header of {length} bytes")
    if begin + length > len(head):
        raise ValueError("it is cut short inside its header")
    text = head[begin : begin + length].decode("utf-8" if version == 3 else "latin-1")  # noqa: PLR2004
    match _literal(text):
        case {"descr": descr, "fortran_order": bool() as fortran, "shape": tuple() as shape}:
            pass
        case _:
            raise ValueError("its header does not give descr, fortran_order and shape")
    if len(shape) > _MAX_DIMENSIONS or not all(_is_length(each) for each in shape):
        raise ValueError(f"its shape is {str(shape)[:100]}")
    width = _width(descr, 0)
    order, name = (descr[:1], descr[1:]) if isinstance(descr, str) else ("", "")
    dtype = _NAMES.get(name) if order in {"<", "|"} else None
    return NumpyHeader(begin + length, dtype, width, shape, fortran)


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _width(descr: Any, depth: int) -> int | None:
    """Return the bytes of an element, or None where pickled objects are part of it."""
    if depth > _MAX_DEPTH:
        raise ValueError("its element type is nested too deeply")
    if isinstance(descr, str):
        found = _PLAIN.fullmatch(descr)
        if found is None:
            raise ValueError(f"it has an unknown element type {descr[:50]!r}")
        kind, count = found[2], int(found[3] or 0)
        if kind == "O":
            return None
        return count * (4 if kind == "U" else 1)
    if isinstance(descr, tuple) and len(descr) == 2:  # noqa: PLR2004 - a type, and its shape.
        return _repeated(_width(descr[0], depth + 1), descr[1])
    if not isinstance(descr, list):
        raise ValueError(f"it has an element type that is a {type(descr).__name__}")  # noqa: TRY004 - bad content.
    total = 0
    for field in descr:
        if not isinstance(field, tuple) or len(field) not in {2, 3}:
            raise ValueError("a field of its elements is not described by name and type")
        width = _repeated(_width(field[1], depth + 1), field[2] if len(field) > 2 else ())  # noqa: PLR2004
        if width is None:
            return None
        total += width
    return total


def _repeated(width: int | None, shape: Any) -> int | None:
    lengths = shape if isinstance(shape, tuple) else (shape,)
    if len(lengths) > _MAX_DIMENSIONS or not all(_is_length(each) for each in lengths):
        raise ValueError("a field of its elements has no shape of whole numbers")
    return None if width is None else width * prod(lengths)


def _literal(text: str) -> Any:
    """Return the value of a Python literal made of dicts, lists, tuples, texts and numbers."""
    tokens = _tokens(text)
    value = _value(next(tokens), tokens, 0)
    if next(tokens, ("end", None))[0] != "end":
        raise ValueError("something follows the dict in its header")
    return value


def _tokens(text: str) -> Iterator[tuple[str, Any]]:
    position, text = 0, text.rstrip(" \n\0")
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ValueError(f"its header is damaged at character {position}")
        position = found.end()
        match found.lastgroup:
            case "mark":
                yield found["mark"], None
            case "number":
                yield "value", int(found["number"])
            case "word":
                yield "value", {"True": True, "False": False, "None": None}[found["word"]]
            case _:
                yield "value", found["text"][1:-1]
    yield "end", None


_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


def _value(token: tuple[str, Any], tokens: Iterator[tuple[str, Any]], depth: int) -> Any:
    opened, value = token
    if opened == "value":
        return value
    if opened not in _CLOSING or depth > _MAX_DEPTH:
        raise ValueError("its header is no literal, is cut short or nested too deeply")
    items: list[Any] = []
    keys: list[str] = []
    commas = 0
    while (token := next(tokens, ("end", None)))[0] != _CLOSING[opened]:
        item = _value(token, tokens, depth + 1)
        if opened == "{":
            if not isinstance(item, str) or item in keys or next(tokens)[0] != ":":
                raise ValueError("a key in its header is no text, or has no value")
            keys.append(item)
            item = _value(next(tokens), tokens, depth + 1)
        items.append(item)
        if (token := next(tokens))[0] == _CLOSING[opened]:
            break
        if token[0] != ",":
            raise ValueError("its header is cut short, or lacks a comma")
        commas += 1
    if opened == "{":
        return dict(zip(keys, items, strict=True))
    if opened == "[":
        return items
    # One value in parentheses without a comma is that value.
    return items[0] if len(items) == 1 and not commas else tuple(items)
