"""From a file to settings: everything that is wrong is said at once, with its line."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from resume_daemon.config.problems import ConfigurationError, Problem, dotted
from resume_daemon.config.schema import fields_at, paths_named
from resume_daemon.config.settings import Settings
from resume_daemon.config.yaml_lines import NOT_IN_FILE, Document, Location, parse
from resume_daemon.errors import ResumeDaemonError, VanishedError
from resume_daemon.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

MAX_BYTES = 256 * 1024
"""Bytes above which a configuration file is refused; a complete sample has about 8 KiB."""

_SHOWN_CHARACTERS = 40
_SECRET_WORDS = ("secret", "token", "password", "api_key", "url")

# What each kind of pydantic error means to somebody who wrote YAML.
_EXPECTED = {
    "string_type": "must be text; put it in quotes",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a section of keys and values",
    "is_instance_of": "must be a path",
    "literal_error": "must be {expected}",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "missing": "is missing",
    "union_tag_not_found": "needs a type: slack or webhook",
    "union_tag_invalid": "must have a type that is one of {expected_tags}",
    "model_attributes_type": "must be a section of keys and values",
    "value_error": "{error}",
}


def load_settings(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of a file, or the defaults, with ``overrides`` on top.

    Relative paths in the file start at the file's directory; a relative ``Path`` among the
    overrides starts at the working directory, as on any command line.

    Args:
        path: A YAML file, or None for the defaults.
        overrides: Values by dotted path, such as ``{"run": Path("out"), "log.level": "debug"}``.

    Raises:
        ConfigurationError: The file cannot be read, or something in it is wrong.
    """
    document = Document() if path is None else parse(_read(path))
    # The directory as it was named, not as links resolve it: a linked file's neighbours are
    # those of the link.
    base = Path.cwd() if path is None else path.absolute().parent
    data = document.value if document.value is not None else {}
    if not isinstance(data, dict):
        message = "the file must hold keys and values, such as `run: /data/my-run`"
        raise ConfigurationError(path, document.problems or [Problem("", 1, message)])
    for key, value in (overrides or {}).items():
        _override(data, document, key, value)
    try:
        settings = Settings.model_validate(data, context={"base": base})
    except ValidationError as error:
        problems = document.problems + [
            _explain(details, data, document) for details in error.errors(include_url=False)
        ]
        raise ConfigurationError(path, _distinct(problems)) from None
    if document.problems:
        raise ConfigurationError(path, document.problems)
    return settings


def _read(path: Path) -> str:
    """Return the text of a configuration file, or say in one sentence why there is none."""
    try:
        # A configuration may well be a link (/etc alternatives, mounted configuration maps).
        content = read_bounded(Path(os.path.realpath(path)), MAX_BYTES)
        return content.decode()
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 text (byte {error.start} cannot be read)"
    except VanishedError:
        reason = "there is no such file"
    except ResumeDaemonError as error:
        reason = error.reason
    raise ConfigurationError(path, [Problem("", None, reason)])


def _override(data: dict[str, Any], document: Document, key: str, value: Any) -> None:
    """Set one value by its dotted path; its line in the file, if any, no longer counts."""
    *sections, name = location = tuple(key.split("."))
    for section in sections:
        inner = data.get(section)
        if inner is None:
            inner = data[section] = {}
        if not isinstance(inner, dict):
            return  # Not a section in the file: validation says so, with its line.
        data = inner
    data[name] = value.absolute() if isinstance(value, Path) else value
    document.lines[location] = NOT_IN_FILE
    document.problems = [p for p in document.problems if p.path != key]


def _explain(details: ErrorDetails, data: Any, document: Document) -> Problem:
    """Return a problem for one validation error."""
    location: Location = details["loc"]
    if location[:2] == ("alerts", "sinks"):
        # The fourth part is the sink's type, which no file spells as a key.
        location = location[:3] + location[4:]
    kind = details["type"]
    if kind == "extra_forbidden":
        return Problem(dotted(location), _line(document, location), _unknown(location, data))
    template = _EXPECTED.get(kind)
    context = details.get("ctx", {})
    message = template.format(**context) if template else details["msg"]
    if kind not in {"missing", "value_error"} and (shown := _shown(location, details["input"])):
        message += f"; it is {shown}"
    return Problem(dotted(location), _line(document, location), message)


def _line(document: Document, location: Location) -> int | None:
    """Return the line of a location, or of what contains it."""
    for length in range(len(location), 0, -1):
        if (line := document.lines.get(location[:length])) is not None:
            return line or None
    return None


def _shown(location: Location, value: Any) -> str:
    """Return a wrong value for a message, or nothing where it may be a secret or is long."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str) and location[0] not in {"alerts", "index"}:
        return repr(value) if len(value) <= _SHOWN_CHARACTERS else ""
    return ""


def _unknown(location: Location, data: Any) -> str:
    """Return what to write instead of an unknown key."""
    *above, name = location
    known = fields_at(tuple(above), data)
    key = str(name)
    if above and any(word in key.lower() for word in _SECRET_WORDS):
        sources = [field for field in known if field.endswith(("_file", "_env", "_credential"))]
        if sources:
            return (
                "is not a setting: secrets are not written in this file; name where the value is "
                f"kept with one of {', '.join(sources)}"
            )
    if near := difflib.get_close_matches(key, known, n=1):
        return f"is not a setting; did you mean {near[0]}?"
    if elsewhere := paths_named(key):
        return f"is not a setting here; did you mean {elsewhere[0]}?"
    return f"is not a setting; known here: {', '.join(known)}"


def _distinct(problems: list[Problem]) -> list[Problem]:
    """Drop what validation says about a value that the YAML reader has already complained of."""
    return list({problem.path: problem for problem in reversed(problems)}.values())
