"""Asking a W&B server about one run: one GraphQL query by a client of our own.

Why not ``wandb.Api()``: it starts a second process (95 MiB for the two, against 39 MiB here),
does not tell a wrong key, a rate limit and a dead server apart, and some of its calls ignore their
time-out (measured with wandb 0.31.0 and httpx 0.28.1 against a local server).
"""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.trackers.wandb_local import STEP_KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

    from resume_daemon.trackers.wandb_access import Access

MAX_ANSWER_BYTES = 16 << 20
"""Bytes of an answer above which it is refused; summaries with large tables reach megabytes."""

_MAX_WAIT = 3600.0
_QUERY = (
    "query RunStep($project: String!, $entity: String!, $name: String!) {"
    " project(name: $project, entityName: $entity) { run(name: $name) {"
    " state heartbeatAt historyLineCount historyKeys summaryMetrics } } }"
)


class ApiError(ResumeDaemonError):
    """The W&B server did not tell about the run; the key is in no message."""


class UnauthorisedError(ApiError):
    """The server does not accept the key, or the key may not see the run."""


class RunNotFoundError(ApiError):
    """The server knows no such run."""


class RateLimitedError(ApiError):
    """The server asks for patience: ``retry_after`` seconds, or None where it does not say."""

    def __init__(self, server: str, retry_after: float | None) -> None:
        self.retry_after = retry_after
        wait = "later" if retry_after is None else f"in {retry_after:.0f} s"
        super().__init__(_OPERATION, server, "it asks for fewer requests", hint=f"Tried {wait}.")


class UnreachableError(ApiError):
    """The server cannot be reached, is too slow, or has a fault of its own."""


class UnexpectedAnswerError(ApiError):
    """What answers does not speak as a W&B server does."""


@dataclass(frozen=True, slots=True)
class RunPath:
    """Entity, project and id of a W&B run."""

    entity: str
    project: str
    id: str


@dataclass(frozen=True, slots=True)
class ApiState:
    """What the server knows of a run.

    Attributes:
        state: ``running``, ``finished``, ``failed``, ``crashed`` (heartbeats stopped), ``killed``,
            ``preempting``, ``preempted`` or ``pending``.
        heartbeat_at: When the server last heard of it, or None.
        history_lines: Rows that the server has, or None.
        last_step: W&B's step of the last row, or None where there is none.
        trainer_step: The trainer's step in the summary, which is of the same row unless the last
            row logged none; or None.
    """

    state: str
    heartbeat_at: datetime | None
    history_lines: int | None
    last_step: int | None
    trainer_step: int | None


_OPERATION = "ask the W&B server"


def fetch(
    run: RunPath,
    access: Access,
    timeout: float = 10.0,
    trainer_keys: Sequence[str] = STEP_KEYS,
) -> ApiState:
    """Ask the server once; returns or raises within ``timeout`` seconds, whatever it does.

    Args:
        run: The run.
        access: The server and the key.
        timeout: Seconds for everything together: name resolution, connection and answer.
        trainer_keys: Summary keys of the trainer's step; the first that is there counts.

    Raises:
        UnauthorisedError: The key is refused.
        RunNotFoundError: There is no such run.
        RateLimitedError: Too many requests.
        UnreachableError: No answer in time, no connection, or a fault of the server.
        UnexpectedAnswerError: The answer is not one of a W&B server.
    """
    deadline = time.monotonic() + timeout
    answers: queue.SimpleQueue[ApiState | BaseException] = queue.SimpleQueue()
    streams: list[Any] = []

    def work() -> None:
        try:
            status, content = _post(run, access, deadline, streams)
            answers.put(_read_answer(status, content, run, access, trainer_keys))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            answers.put(error)

    # A thread of its own, since neither name resolution nor a server that sends its headers a byte
    # at a time heeds any time-out of httpx.
    threading.Thread(target=work, name="wandb-api-request", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        _break_off(streams)
        raise _unreachable(access, f"no whole answer within {timeout:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _post(
    run: RunPath, access: Access, deadline: float, streams: list[Any]
) -> tuple[httpx.Response, bytes]:
    """Send the query; return the response and its content, which is no longer than allowed."""
    import httpx  # noqa: PLC0415 - 50 ms and 10 MiB that runs without W&B do not pay

    def remember(event: str, details: dict[str, Any]) -> None:
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            streams.append(details["return_value"])

    variables = {"entity": run.entity, "project": run.project, "name": run.id}
    content = bytearray()
    try:
        with (
            httpx.Client(timeout=max(0.001, deadline - time.monotonic())) as client,
            client.stream(
                "POST",
                f"{access.base_url}/graphql",
                json={"operationName": "RunStep", "query": _QUERY, "variables": variables},
                auth=httpx.BasicAuth("api", access.key),
                # A compressed answer could grow a thousandfold before its size is known.
                headers={"Accept-Encoding": "identity"},
                # A redirect is an answer like any other: the key goes to the configured server.
                follow_redirects=False,
                extensions={"trace": remember},
            ) as response,
        ):
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise _unexpected(access, "it is compressed, though that was not asked for")
            for piece in response.iter_raw():
                content += piece
                if len(content) > MAX_ANSWER_BYTES:
                    raise _unexpected(access, f"it has more than {MAX_ANSWER_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise _unreachable(access, "its answer is too slow")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # OSError and ValueError: a certificate file or a proxy of the environment is no such thing.
        raise _unreachable(access, str(error) or type(error).__name__) from error
    return response, bytes(content)


def _break_off(streams: Sequence[Any]) -> None:
    """Close the connections of an abandoned request, so that its thread ends."""
    for stream in streams:
        connection = stream.get_extra_info("socket")
        try:
            if connection is not None:
                connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # It was closed already.


def _read_answer(
    response: httpx.Response,
    content: bytes,
    run: RunPath,
    access: Access,
    trainer_keys: Sequence[str],
) -> ApiState:
    server, status = _server(access), response.status_code
    if status in {401, 403}:
        hint = "Check WANDB_API_KEY, or the entry of this host in ~/.netrc (`wandb login`)."
        raise UnauthorisedError(_OPERATION, server, "it does not accept the key", hint=hint)
    if status == 429:  # noqa: PLR2004 - Too Many Requests
        raise RateLimitedError(server, _retry_after(response.headers))
    if status >= 500:  # noqa: PLR2004 - the server's own faults
        raise _unreachable(access, f"it has a fault of its own (HTTP {status})")
    try:
        answer: Any = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    if status != 200 or not isinstance(answer, dict):  # noqa: PLR2004 - OK
        raise _unexpected(access, f"it is no GraphQL answer (HTTP {status})")
    found = _at(answer, "data", "project", "run")
    if isinstance(found, dict):
        return _state(found, trainer_keys)
    if errors := answer.get("errors"):
        first = errors[0] if isinstance(errors, list) else errors
        text = str(_at(first, "message") or "unknown error")
        # The server's words, without a key that it might repeat.
        text = text.replace(access.key, "...")[:200]
        if "permission" in text.lower() or "unauthor" in text.lower():
            raise UnauthorisedError(_OPERATION, server, f"it says: {text}")
        raise _unexpected(access, f"it says: {text}")
    if not isinstance(answer.get("data"), dict):
        raise _unexpected(access, "it holds no data")
    name = f"{run.entity}/{run.project}/{run.id}"
    hint = "Check entity, project and run id; the key may also not be allowed to see it."
    raise RunNotFoundError(_OPERATION, server, f"it knows no run {name}", hint=hint)


def _state(found: dict[str, Any], trainer_keys: Sequence[str]) -> ApiState:
    summary, keys = _mapping(found.get("summaryMetrics")), _mapping(found.get("historyKeys"))
    last = _whole(keys.get("lastStep"))
    if last is None:
        last = _whole(summary.get("_step"))
    steps = (_whole(summary[key]) for key in trainer_keys if key in summary)
    return ApiState(
        state=str(found.get("state") or "unknown")[:50],
        heartbeat_at=_time(found.get("heartbeatAt")),
        history_lines=_whole(found.get("historyLineCount")),
        # -1 stands for a history without rows.
        last_step=None if last is None or last < 0 else last,
        trainer_step=next(steps, None),
    )


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _mapping(value: Any) -> dict[str, Any]:
    """Return a JSON object that is sent as one, or as its text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int | None:
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds to wait: ``Retry-After`` (a number or a date), or ``RateLimit-Reset``."""
    for name in ("Retry-After", "RateLimit-Reset"):
        if (text := headers.get(name)) is None:
            continue
        try:
            seconds = float(text)
        except ValueError:
            try:
                moment = parsedate_to_datetime(text)
            except ValueError:
                continue
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (moment - datetime.now(UTC)).total_seconds()
        if seconds == seconds:  # noqa: PLR0124 - not NaN, which float() reads too
            return min(max(0.0, seconds), _MAX_WAIT)
    return None


def _server(access: Access) -> str:
    """Return the address as it may be shown: without a user or password in it."""
    scheme, _, rest = access.base_url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"


def _unreachable(access: Access, reason: str) -> UnreachableError:
    reason = reason.replace(access.key, "...")
    return UnreachableError(_OPERATION, _server(access), reason, hint="It is tried again.")


def _unexpected(access: Access, reason: str) -> UnexpectedAnswerError:
    hint = "Is WANDB_BASE_URL (or base_url in ~/.config/wandb/settings) a W&B server?"
    return UnexpectedAnswerError(_OPERATION, _server(access), f"its answer: {reason}", hint=hint)
