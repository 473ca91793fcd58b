from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from resume_daemon.trackers.wandb_access import Access
from resume_daemon.trackers.wandb_api import (
    ApiError,
    ApiState,
    RateLimitedError,
    RunNotFoundError,
    RunPath,
    UnauthorisedError,
    UnexpectedAnswerError,
    UnreachableError,
    fetch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "secret" * 7
RUN = RunPath("team", "grpo", "abc")
FOUND = {
    "state": "running",
    "heartbeatAt": "2026-11-22T11:06:38Z",
    "historyLineCount": 250,
    "historyKeys": {"lastStep": 249, "keys": {}},
    "summaryMetrics": json.dumps({"_step": 249, "train/global_step": 200.0, "loss": 0.1}),
}


@dataclass
class StandIn:
    """A stand-in for the W&B server: answers the one query of the client as it is told to."""

    run: dict[str, Any] | None = None
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)
    url: str = ""


def send(handler: BaseHTTPRequestHandler, status: int, content: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if "Content_Length" not in headers:
        handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@pytest.fixture
def server() -> Iterator[StandIn]:
    told = StandIn(run=dict(FOUND))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.requests.append({"path": self.path, "headers": dict(self.headers), **body})
            try:
                if told.answer is not None:
                    told.answer(self)
                else:
                    answer = {"data": {"project": {"run": told.run}}}
                    send(self, 200, json.dumps(answer).encode())
            except OSError:
                told.hung_up.set()

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as running:
        told.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield told
        told.released.set()
        running.shutdown()
        thread.join()


def failure(server: StandIn, timeout: float = 10.0) -> ApiError:
    with pytest.raises(ApiError) as caught:
        fetch(RUN, Access(server.url, KEY), timeout)
    assert KEY not in str(caught.value)
    assert server.url in str(caught.value)
    return caught.value


def test_both_steps_of_a_run_come_with_one_request(server: StandIn) -> None:
    heartbeat = datetime(2026, 11, 22, 11, 6, 38, tzinfo=UTC)
    assert fetch(RUN, Access(server.url, KEY)) == ApiState("running", heartbeat, 250, 249, 200)
    [request] = server.requests
    assert request["path"] == "/graphql"
    assert request["variables"] == {"entity": "team", "project": "grpo", "name": "abc"}
    user = base64.b64decode(request["headers"]["Authorization"].removeprefix("Basic "))
    assert user.decode() == f"api:{KEY}"


@pytest.mark.parametrize(
    ("changed", "last_step", "trainer_step"),
    [
        ({"historyKeys": None}, 249, 200),
        ({"historyKeys": '{"lastStep": 7}'}, 7, 200),
        ({"historyKeys": {"lastStep": -1}, "summaryMetrics": "{}"}, None, None),
        ({"summaryMetrics": '{"trainer/global_step": 3, "_step": NaN}'}, 249, 3),
        ({"summaryMetrics": "no json", "historyKeys": 5}, None, None),
        ({"summaryMetrics": '{"train/global_step": "NaN"}'}, 249, None),
    ],
)
def test_what_the_server_leaves_out_is_not_known(
    server: StandIn, changed: dict[str, Any], last_step: int | None, trainer_step: int | None
) -> None:
    server.run = {**FOUND, **changed}
    state = fetch(RUN, Access(server.url, KEY))
    assert (state.last_step, state.trainer_step) == (last_step, trainer_step)


def test_a_run_that_the_server_does_not_know_is_named(server: StandIn) -> None:
    server.run = None
    error = failure(server)
    assert isinstance(error, RunNotFoundError)
    assert "team/grpo/abc" in str(error)


def test_a_project_that_the_server_does_not_know_is_a_run_not_found(server: StandIn) -> None:
    server.answer = lambda handler: send(handler, 200, b'{"data": {"project": null}}')
    assert isinstance(failure(server), RunNotFoundError)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_apart(server: StandIn, status: int) -> None:
    server.answer = lambda handler: send(handler, status, KEY.encode())
    error = failure(server)
    assert isinstance(error, UnauthorisedError)
    assert "WANDB_API_KEY" in error.hint


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "17"}, 17),
        ({"RateLimit_Reset": "3"}, 3),
        ({"Retry_After": "soon", "RateLimit_Reset": "4"}, 4),
        ({"Retry_After": "9" * 30}, 3600),
        ({"Retry_After": "-5"}, 0),
        ({"Retry_After": "nan"}, None),
        ({}, None),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(
    server: StandIn, headers: dict[str, str], seconds: float | None
) -> None:
    server.answer = lambda handler: send(handler, 429, b"", **headers)
    error = failure(server)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == seconds


def test_a_rate_limit_may_name_a_date(server: StandIn) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    server.answer = lambda handler: send(handler, 429, b"", Retry_After=date)
    error = failure(server)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 600


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_fault_of_the_server_counts_as_unreachable(server: StandIn, status: int) -> None:
    server.answer = lambda handler: send(handler, status, b"<html>")
    assert isinstance(failure(server), UnreachableError)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>welcome</html>", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"data": 5}'],
)
def test_an_answer_of_another_kind_is_not_taken_for_a_missing_run(
    server: StandIn, content: bytes
) -> None:
    server.answer = lambda handler: send(handler, 200, content)
    assert isinstance(failure(server), UnexpectedAnswerError)


def test_errors_of_the_server_are_repeated_without_the_key(server: StandIn) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        errors = [{"message": f"bad field for {KEY}"}]
        send(handler, 200, json.dumps({"data": None, "errors": errors}).encode())

    server.answer = answer
    error = failure(server)
    assert isinstance(error, UnexpectedAnswerError)
    assert "bad field for ..." in str(error)


def test_a_denied_permission_within_an_answer_is_unauthorised(server: StandIn) -> None:
    content = b'{"errors": [{"message": "permission denied"}], "data": {"project": null}}'
    server.answer = lambda handler: send(handler, 200, content)
    assert isinstance(failure(server), UnauthorisedError)


def test_a_redirect_is_not_followed_with_the_key(server: StandIn) -> None:
    server.answer = lambda handler: send(handler, 307, b"", Location=f"{server.url}/other")
    assert isinstance(failure(server), UnexpectedAnswerError)
    assert len(server.requests) == 1


def test_a_server_that_hangs_is_given_up_at_the_limit(server: StandIn) -> None:
    def hang(_: BaseHTTPRequestHandler) -> None:
        server.released.wait()

    server.answer = hang
    assert isinstance(failure(server, timeout=0.2), UnreachableError)


def test_headers_that_drip_are_given_up_and_the_connection_is_closed(server: StandIn) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not server.released.wait(0.01):
            handler.wfile.write(b"x")

    server.answer = drip
    assert isinstance(failure(server, timeout=0.3), UnreachableError)
    # Not only the caller is freed: the thread that asked ends, and so does the connection.
    assert server.hung_up.wait(10)


def test_a_body_that_drips_is_given_up(server: StandIn) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.released.wait(0.01):
            handler.wfile.write(b" ")

    server.answer = drip
    assert isinstance(failure(server, timeout=0.3), UnreachableError)
    assert server.hung_up.wait(10)


def test_a_server_that_closes_at_once_is_unreachable(server: StandIn) -> None:
    server.answer = lambda handler: handler.connection.close()
    assert isinstance(failure(server), UnreachableError)


def test_an_answer_that_breaks_off_is_unreachable(server: StandIn) -> None:
    server.answer = lambda handler: send(handler, 200, b'{"data"', Content_Length="1000")
    assert isinstance(failure(server), UnreachableError)


def test_a_gigabyte_is_refused_early(server: StandIn) -> None:
    sent = 0

    def flood(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1024):
            handler.wfile.write(b" " * (1 << 20))
            sent += 1

    server.answer = flood
    assert isinstance(failure(server, timeout=30), UnexpectedAnswerError)
    assert server.hung_up.wait(10)
    assert sent < 100


def test_a_compressed_answer_is_refused_before_it_can_grow(server: StandIn) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    server.answer = lambda handler: send(handler, 200, bomb, Content_Encoding="gzip")
    assert isinstance(failure(server), UnexpectedAnswerError)
    assert server.requests[0]["headers"]["Accept-Encoding"] == "identity"


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match="refused"):
        fetch(RUN, Access("http://127.0.0.1:9", KEY))


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(UnreachableError) as caught:
        fetch(RUN, Access("http://user:pass@127.0.0.1:9/base", KEY))
    assert "pass" not in str(caught.value)


def test_a_broken_environment_is_an_error_of_its_own_kind(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://proxy")
    monkeypatch.setenv("NO_PROXY", "")
    assert isinstance(failure(server), UnreachableError)


def test_no_thread_stays_behind_after_an_answer(server: StandIn) -> None:
    fetch(RUN, Access(server.url, KEY))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = [t for t in threading.enumerate() if t.name == "wandb-api-request"]
        if not left:
            break
        left[0].join(1)
    assert not left
