"""Logs: one line per record on standard error, for people, the journal or a collector.

Two promises: no line shows a registered secret, and nothing alarms twice.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO
from urllib.parse import parse_qsl, quote, urlsplit

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer

from resume_daemon.errors import ResumeDaemonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from structlog.typing import EventDict, Processor

REDACTED = "[redacted]"

_SHORTEST_SECRET = 4
"""Characters below which a value is no secret, and would blank out half of every line."""
_SHORTEST_URL_PART = 16
"""Characters from which a part of a URL's path is taken for a token and not for a word."""

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Syslog priorities, which the journal takes from a ``<N>`` before a line (sd-daemon(3))."""

_MAX_STREAKS = 1000


class Redactor:
    """Knows the secrets, and takes them out of a text in every spelling that a log gives them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spellings: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def register(self, value: str) -> None:
        """Never show ``value`` again; of a URL, its telling parts neither.

        Libraries log parts of a URL (httpcore: the path; the password stands in the host's part).
        """
        found = {s for part in _parts(value) for s in _spellings(part)}
        with self._lock:
            self._spellings |= found
            # The longest first, or a secret that begins another one would leave the rest of it.
            longest_first = sorted(self._spellings, key=len, reverse=True)
            if longest_first:
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """Return ``text`` with every secret replaced."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(REDACTED, text)


_redactor = Redactor()


def register_secret(value: str) -> None:
    """Never let ``value`` appear in a log line of this process; see ``Redactor.register``."""
    _redactor.register(value)


def configure_logs(
    format: Literal["auto", "console", "json"] = "auto",  # noqa: A002  The name of the setting.
    level: str = "info",
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send the records of structlog and of ``logging`` to ``stream``; may be called again.

    Args:
        format: ``auto`` is for people at a terminal and JSON lines elsewhere. In the journal, JSON
            lines begin with their priority; without it every line would be filed as information.
        level: The least level of our own records (``debug``, ``info``, ...). Libraries are heard
            from ``warning`` up: httpx logs each URL as information, and a Slack webhook is one.
        stream: ``sys.stderr`` where it is None.
        environ: The process's environment.
    """
    stream = sys.stderr if stream is None else stream
    least = logging.getLevelNamesMapping()[level.upper()]
    console = format == "console" or (format == "auto" and stream.isatty())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        # A person reads the local time; a collector compares machines.
        structlog.processors.TimeStamper(
            fmt="%Y-%m-%d %H:%M:%S" if console else "iso", utc=not console
        ),
        structlog.processors.StackInfoRenderer(),
    ]
    render = _console(stream) if console else _json(journal=_is_journal(stream, environ))
    handler = _Handler(stream)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *before],
            processors=[ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(least, logging.WARNING))
    for talkative in ("httpx", "httpcore"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    logging.getLogger("resume_daemon").setLevel(least)
    structlog.configure(
        processors=[*before, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: logging.getLogger("resume_daemon"),
        cache_logger_on_first_use=False,
    )


class _Formatter(ProcessorFormatter):
    """Redacts what was rendered: nothing that any processor added escapes."""

    def format(self, record: logging.LogRecord) -> str:
        return _redactor.redact(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream, and keeps quiet about secrets where that fails as well."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  The name in logging.
        """Say what went wrong with a record without printing its content, as ``logging`` would."""
        kind = traceback.format_exc(limit=0).splitlines()[-1]
        line = f"A log record of {record.name} ({record.filename}:{record.lineno}) is lost: {kind}"
        # The stream itself may be what is broken; the work goes on without logs then.
        with suppress(OSError, ValueError):
            self.stream.write(_redactor.redact(line) + self.terminator)


def _console(stream: TextIO) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(),
        # The default prints local variables where rich is installed, and secrets with them.
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_printable, renderer]


def _json(*, journal: bool) -> list[Processor]:
    def render(_logger: object, _method: str, event: EventDict) -> str:
        prefix = f"<{_PRIORITIES.get(str(event.get('level')), 6)}>" if journal else ""
        return prefix + json.dumps(_plain(event), default=str)

    exceptions = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    return [exceptions, render]


def _printable(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Escape what would steer a terminal: file names of a run come from anyone."""
    return {
        key: "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
        if isinstance(value, str) and key != "stack"
        else value
        for key, value in event.items()
    }


def _plain(value: Any) -> Any:
    """Return ``value`` without NaN and infinities, which are no JSON (and which losses become)."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether ``stream`` is what systemd connected to the journal (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _parts(value: str) -> Iterator[str]:
    if len(value.strip()) < _SHORTEST_SECRET:
        return
    yield value
    yield value.strip()
    if "://" not in value:
        return
    try:
        url = urlsplit(value.strip())
    except ValueError:
        return
    parts = [url.password or "", url.query, *(v for _, v in parse_qsl(url.query))]
    yield from (part for part in parts if len(part) >= _SHORTEST_SECRET)
    segments = [url.path, *url.path.split("/")]
    yield from (part for part in segments if len(part) >= _SHORTEST_URL_PART)


def _spellings(secret: str) -> Iterable[str]:
    """Return how a secret looks in JSON, in a ``repr``, in both, and in a URL."""
    shown = {secret, repr(secret)[1:-1]}
    in_json = {json.dumps(s)[1:-1] for s in shown}
    return shown | in_json | {quote(secret), quote(secret, safe="")}


@dataclass(frozen=True, slots=True)
class Streak:
    """Errors in a row of one thing, with nothing that worked in between.

    Attributes:
        errors: How many.
        held_back: How many of them were not logged since the last one that was.
        said_at: When one was logged last, in seconds.
    """

    errors: int
    held_back: int
    said_at: float


def after_error(streak: Streak | None, now: float, every: float) -> tuple[Streak, int | None]:
    """Return the streak with one more error, and how many were held back if it is to be logged.

    Args:
        streak: The streak so far, None where the last try worked.
        now: Seconds of a clock that never goes back.
        every: Seconds between two records of one streak.
    """
    if streak is None:
        return Streak(1, 0, now), 0
    if now - streak.said_at >= every:
        return Streak(streak.errors + 1, 0, now), streak.held_back
    return Streak(streak.errors + 1, streak.held_back + 1, streak.said_at), None


class RateLimited:
    """Logs errors that repeat: the first, then some, then that they are over.

    Args:
        every: Seconds between two records about one key.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self, *, every: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._streaks: dict[str, Streak] = {}

    @contextmanager
    def quiet(self, key: str, *errors: type[Exception], **fields: Any) -> Iterator[None]:
        """Do something that may fail for a while: its errors are logged now and then, not raised.

        Args:
            key: What is done, as it should read in the log ("read the W&B log").
            errors: Which errors; ``ResumeDaemonError`` and ``OSError`` where none is given.
            fields: Added to each record.
        """
        expected = errors or (ResumeDaemonError, OSError)
        try:
            yield
        except expected as error:
            self.failed(key, error, **fields)
        else:
            self.succeeded(key, **fields)

    def failed(self, key: str, error: Exception, **fields: Any) -> None:
        """Note an error of ``key``, and log it if it is time to."""
        with self._lock:
            streak, held_back = after_error(self._streaks.get(key), self._clock(), self._every)
            self._streaks[key] = streak
            # Keys are few; should one ever hold a name from disk, memory stays bounded.
            while len(self._streaks) > _MAX_STREAKS:
                del self._streaks[next(iter(self._streaks))]
        if held_back is not None:
            structlog.get_logger().error(
                f"Failed: {key}",
                error=str(error),
                errors=streak.errors,
                held_back=held_back,
                **fields,
            )

    def succeeded(self, key: str, **fields: Any) -> None:
        """Note that ``key`` works, and log it if it did not before."""
        with self._lock:
            streak = self._streaks.pop(key, None)
        if streak is not None:
            structlog.get_logger().info(f"Recovered: {key}", errors_before=streak.errors, **fields)
