"""The types that settings are made of: each refuses what cannot be meant, with the reason."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    model_validator,
)

from resume_daemon.backup.address import parse_address
from resume_daemon.curriculum.schemas import Schema
from resume_daemon.errors import UsageError

DAY_SECONDS = 86_400

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_SINK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_GLOBAL_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\.([A-Za-z_]\w*|\*)")


class Section(BaseModel):
    """A part of the settings: immutable, without unknown keys, without silent conversions.

    Strict, because YAML already has numbers and booleans: ``"2"`` where a number is expected is a
    mistake to show, and so is ``yes`` where a number of workers is expected.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_means_defaults(cls, data: Any) -> Any:
        """Accept a section of which every line is commented out."""
        return {} if data is None else data


def _matches(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    """Return a validator that refuses text without repeating it: it may be a misplaced secret."""

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"must be {expected}")
        return value

    return AfterValidator(check)


def _anchored(value: Any, info: ValidationInfo) -> Any:
    """Expand ``~`` and make a relative path absolute, where the base directory is known."""
    if not isinstance(value, str):
        return value
    if not value or "\0" in value:
        raise ValueError("must be a path")
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError("names a home directory that is not known here") from error
    base = (info.context or {}).get("base")
    return path if base is None else base / path


def _absolute(value: Any) -> Any:
    """Refuse a relative path: state must not depend on where a program was started."""
    if isinstance(value, str) and not value.startswith(("/", "~")):
        raise ValueError("must be an absolute path (~ is the home directory)")
    return value


def _run_pattern(value: str) -> str:
    """Refuse a glob that leaves the run directory or descends without a bound."""
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("must stay inside the run directory")
    return _bounded_pattern(value)


def _bounded_pattern(value: str) -> str:
    """Refuse ``**``: runs hold a hundred thousand sample files, which nobody wants walked."""
    if not value or "\0" in value:
        raise ValueError("must be a file name or a glob")
    if "**" in value:
        raise ValueError("may not contain **, which would walk the whole tree; use * per directory")
    return value


def _http_url(value: str) -> str:
    """Refuse a URL that cannot be posted to, or that carries a password."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", value):
        raise ValueError("must be a URL that starts with http:// or https://")
    if parts.username is not None:
        raise ValueError("carries a user or password; keep such a URL out of here (url_file)")
    return value


def _database_url(value: str) -> str:
    """Refuse what SQLAlchemy would not take, or a password in plain sight."""
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if not re.match(r"[a-z0-9+]+://", value):
        raise ValueError("must be a SQLAlchemy URL, such as postgresql+psycopg://host/database")
    if parts.password is not None:
        raise ValueError("carries a password; leave it out and use ~/.pgpass or PGPASSFILE")
    return value


def _backup_address(value: str, info: ValidationInfo) -> str:
    """Refuse a destination that is neither path nor URL, or a URL with a password in it."""
    try:
        return str(parse_address(value, (info.context or {}).get("base")))
    except UsageError as error:
        raise ValueError(f"cannot be used: {error.reason}") from error


def _curriculum_schema(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse a schema that the curriculum reader would refuse later, without its line."""
    try:
        Schema.from_mapping(value)
    except UsageError as error:
        raise ValueError(error.reason) from error
    return value


def _expression(value: str) -> str:
    """Refuse what is no regular expression."""
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"must be a regular expression: {error}") from error
    return value


def _nothing_means_empty(value: Any) -> Any:
    """Accept a list of which every line is commented out."""
    return () if value is None else value


Seconds = Annotated[float, Field(gt=0, le=DAY_SECONDS)]
"""A period: more than none, at most a day."""

Kept = Annotated[int, Field(ge=0, le=1000)]
"""How many are kept; 0 for none."""

Steps = Annotated[int, Field(ge=0)]

FilePath = Annotated[Path, BeforeValidator(_anchored)]
"""A path; a relative one starts at the directory of the configuration file."""

AbsolutePath = Annotated[Path, BeforeValidator(_anchored), BeforeValidator(_absolute)]

NonEmpty = Annotated[str, Field(min_length=1, max_length=200)]

EnvironmentName = Annotated[
    str, _matches(_ENVIRONMENT_NAME, "the name of an environment variable, not its value")
]

CredentialName = Annotated[
    str, _matches(_CREDENTIAL_NAME, "the name of a systemd credential, not its value")
]

SinkName = Annotated[str, _matches(_SINK_NAME, "1 to 64 letters, digits, hyphens or underscores")]

GlobalName = Annotated[
    str, _matches(_GLOBAL_NAME, "a dotted name such as my_project.rewards.Reward or my_project.*")
]

Expression = Annotated[str, Field(max_length=2000), AfterValidator(_expression)]

RunPattern = Annotated[str, AfterValidator(_run_pattern)]

AnyPattern = Annotated[str, AfterValidator(_bounded_pattern)]

HttpUrl = Annotated[str, AfterValidator(_http_url)]

DatabaseUrl = Annotated[str, AfterValidator(_database_url)]

BackupAddress = Annotated[str, AfterValidator(_backup_address)]

CurriculumSchema = Annotated[dict[str, Any], AfterValidator(_curriculum_schema)]

# A list in a file becomes a tuple here: settings are values and do not change under a reader.
AsTuple = (Strict(False), BeforeValidator(_nothing_means_empty))
