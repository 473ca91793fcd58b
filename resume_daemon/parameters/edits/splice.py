"""How a value is changed: its bytes are replaced, and the outcome is read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resume_daemon.parameters.edits.kind import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resume_daemon.parameters.edits.kind import Kind
    from resume_daemon.parameters.values import Setting


def replaced(data: bytes, setting: Setting, value: Any, kind: Kind) -> bytes:
    """Return a file's bytes with one value changed and every other byte as it was.

    Args:
        data: The file as it is.
        setting: The value that stands there, with its span.
        value: What is to stand there.
        kind: What kind of file it is.

    Raises:
        RefusedError: It cannot be changed alone, or is not what it was when it was read.
    """
    if not setting.certain:
        raise RefusedError("it is computed when the training starts")
    if setting.span is None:
        raise RefusedError("it is not written there as one value")
    begin, end = setting.span
    if not 0 <= begin < end <= len(data):
        raise RefusedError("the file is not what it was when it was read")
    try:
        old = data[begin:end].decode()
    except UnicodeDecodeError:
        raise RefusedError("it is not written in UTF-8") from None
    before = kind.meaning(data)
    if _alike(setting.value, value):
        return data
    after = data[:begin] + kind.write(old, value).encode() + data[end:]
    _require_only(before, kind.meaning(after), setting.value, value)
    return after


def _require_only(
    before: Mapping[tuple[Any, ...], Any],
    after: Mapping[tuple[Any, ...], Any],
    old: Any,
    new: Any,
) -> None:
    """Refuse unless exactly one value differs, and differs as asked."""
    if before.keys() != after.keys():
        raise RefusedError("the file would be read in another way")
    changed = [place for place in before if not _identical(before[place], after[place])]
    if not changed:
        raise RefusedError("it would change nothing: the same name is given again further down")
    if len(changed) > 1:
        raise RefusedError(f"{len(changed) - 1} more values refer to it and would change with it")
    place = changed[0]
    if not _alike(before[place], old):
        raise RefusedError("the file is not what it was when it was read")
    if not _alike(after[place], new):
        raise RefusedError(f"it would be read as {after[place]!r}, and not as {new!r}")


def _identical(one: Any, other: Any) -> bool:
    # repr: 1, 1.0 and True are three values, and NaN is the same NaN.
    return type(one) is type(other) and repr(one) == repr(other)


def _alike(one: Any, other: Any) -> bool:
    """Return whether a value is the one meant; between quotation marks a number is text."""
    if isinstance(one, str) != isinstance(other, str):
        return _says(one, other) if isinstance(one, str) else _says(other, one)
    return _identical(one, other)


def _says(text: str, value: Any) -> bool:
    """Return whether a text is how a value may be written: ``6e-6`` is 6e-06."""
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, float):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text == repr(value)
