"""The content of a state file as a document, and whether it is whole."""

from __future__ import annotations

import json
from typing import Any

import yaml

YAML_LIMIT = 512 * 1024
"""Bytes above which YAML is kept but not parsed. Parsing as many takes seconds; libyaml is faster,
but crashes the process on 100,000 opening brackets (measured with PyYAML 6.0.3)."""

_ZIP_START = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"
_ZIP_END_REACH = 22 + 65_535
"""Bytes from the end in which a zip's end record lies (its comment has at most 65,535)."""

_PICKLE_START = b"\x80"
_PICKLE_STOP = b"."


class NotWholeError(ValueError):
    """The content cannot be all of what was written; the message says why."""


def parse_state(name: str, content: bytes) -> Any:
    """Return the parsed document, or None for a file of no format that is parsed here.

    A prefix of a JSON object is never a JSON object, so a torn one is always found out. A torn
    YAML file may parse; for torch files and pickles only the end is looked at, nothing is
    unpickled.

    Args:
        name: File name; its suffix says what the content should be.
        content: All that was read.

    Raises:
        NotWholeError: It is empty, zero bytes only, does not parse, or lacks its format's end.
    """
    if not content:
        raise NotWholeError("it is empty")
    if not content.strip(b"\0"):
        raise NotWholeError(f"all of its {len(content)} bytes are zero")
    suffix = name.rpartition(".")[2].lower()
    if suffix == "json" or content.lstrip()[:1] == b"{":
        return _parse_json(content)
    if suffix in {"yaml", "yml"}:
        return _parse_yaml(content) if len(content) <= YAML_LIMIT else None
    if content.startswith(_ZIP_START) and _ZIP_END not in content[-_ZIP_END_REACH:]:
        raise NotWholeError("it starts as a torch or zip file and lacks the end of one")
    if content.startswith(_PICKLE_START) and not content.endswith(_PICKLE_STOP):
        raise NotWholeError("it starts as a pickle and lacks the end of one")
    return None


def _parse_json(content: bytes) -> Any:
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise NotWholeError("it is nested too deeply to be read") from error
    except ValueError as error:
        raise NotWholeError(f"it is not whole JSON ({error})") from error
    if not isinstance(document, (dict, list)):
        # The first digits of a number are a number too: such a file cannot be seen to be whole.
        raise NotWholeError("it holds a bare value, not a JSON object")
    return document


def _parse_yaml(content: bytes) -> Any:
    try:
        document = yaml.safe_load(content)
    except RecursionError as error:
        raise NotWholeError("it is nested too deeply to be read") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # The safe loader lets the last three out for tagged scalars such as `!!timestamp x`.
        reason = " ".join(str(error).split())
        raise NotWholeError(f"it is not whole YAML ({reason})") from error
    if not isinstance(document, (dict, list)):
        raise NotWholeError("it holds a bare value, not a YAML mapping")
    return document
