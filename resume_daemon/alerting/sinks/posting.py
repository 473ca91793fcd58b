"""One HTTP POST of a few kilobytes: bounded in time and bytes, no redirects, no trace of the URL.

The URL of an incoming webhook is a password. httpx logs it with every request at INFO, and httpcore
logs answers' headers at DEBUG; both are silenced in this thread for as long as a request takes.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import resume_daemon
from resume_daemon.alerting.sinks import Outcome
from resume_daemon.errors import UsageError
from resume_daemon.logs import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx

    from resume_daemon.alerting.secrets import Secret

_ANSWER_LIMIT = 2048
_DETAIL_LIMIT = 200
_TALKATIVE = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.proxy",
    "httpcore.socks",
)
_posting: ContextVar[bool] = ContextVar("posting", default=False)


def check_url(url: Secret, sink: str) -> None:
    """Check that a URL can be posted to.

    Raises:
        UsageError: It is no http or https URL with a host. The URL itself is not told.
    """
    try:
        parts = urlsplit(url.reveal())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"set up the alert sink {sink!r}",
            None,
            "its URL is not of the form https://host/path",
            hint="Copy it again from where the webhook was made.",
        )


def post(url: Secret, body: bytes, headers: Mapping[str, str], *, timeout: float) -> Outcome:
    """Post JSON and return what came back.

    Proxies of the environment (``HTTPS_PROXY``) are used: many clusters reach out by them alone.
    """
    import httpx  # noqa: PLC0415 - heavy, and only a daemon with alerts needs it

    sent = {
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": f"resume-daemon/{resume_daemon.__version__}",
        **headers,
    }
    try:
        with (
            _unlogged(),
            httpx.Client(timeout=timeout, follow_redirects=False) as client,
            client.stream("POST", url.reveal(), content=body, headers=sent) as response,
        ):
            detail = "" if response.is_success else _answer(response, timeout)
            retry_after = response.headers.get("retry-after")
            return Outcome(response.status_code, redact(detail, url), retry_after)
    except httpx.TimeoutException:
        return Outcome(None, f"no answer within {timeout:g} seconds")
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        # The last three also stand for a proxy of the environment that httpx cannot use.
        return Outcome(None, redact(f"{type(error).__name__}: {error}", url))


def redact(text: str, url: Secret) -> str:
    """Return a text from outside as one short printable line without what is secret in the URL."""
    redactor = Redactor()
    redactor.register(url.reveal())
    text = redactor.redact(text)
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(line.split())[:_DETAIL_LIMIT]


def _answer(response: httpx.Response, timeout: float) -> str:
    """Return the beginning of an answer's body, unless it is a page for a browser."""
    deadline = time.monotonic() + timeout
    content = b""
    # Raw: an answer that is compressed nevertheless must not unfold in our memory.
    for piece in response.iter_raw(_ANSWER_LIMIT):
        content += piece
        if len(content) >= _ANSWER_LIMIT or time.monotonic() > deadline:
            break
    text = content[:_ANSWER_LIMIT].decode(errors="replace").strip()
    return "" if text.startswith("<") else text


@contextmanager
def _unlogged() -> Iterator[None]:
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_is_not_ours)
    token = _posting.set(True)
    try:
        yield
    finally:
        _posting.reset(token)


def _is_not_ours(_record: logging.LogRecord) -> bool:
    return not _posting.get()
