from __future__ import annotations

import json
import logging
import socket
import textwrap
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from standardwebhooks import Webhook, WebhookVerificationError
from structlog.testing import capture_logs

from resume_daemon.alerting import testing
from resume_daemon.alerting.conditions import as_record, flips, record_kind
from resume_daemon.alerting.delivery import Delivery
from resume_daemon.alerting.outbox import Closed, Outbox
from resume_daemon.alerting.secrets import Secret
from resume_daemon.alerting.sinks import Outcome, Sink, create
from resume_daemon.alerting.sinks.posting import redact
from resume_daemon.alerting.sinks.slack import SlackSink
from resume_daemon.alerting.sinks.webhook import WebhookSink
from resume_daemon.conditions import Condition
from resume_daemon.config.settings import Settings
from resume_daemon.errors import UsageError
from resume_daemon.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0
SIGNING_SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
PATH = "/services/T0SECRET/B0SECRET/tokentoken"
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "alerts.md"


@dataclass
class _Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"


@dataclass
class _Request:
    path: str
    headers: dict[str, str]
    body: bytes


class _Receiver(ThreadingHTTPServer):
    """Answers as scripted, and 200 after that; ``None`` in the script is no answer at all."""

    daemon_threads = True

    def __init__(self, *script: _Answer | None, port: int = 0) -> None:
        self.script = deque(script)
        self.requests: list[_Request] = []
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)

    def url(self, path: str = PATH) -> Secret:
        return Secret(f"http://127.0.0.1:{self.server_address[1]}{path}")


class _Handler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(_Request(self.path, headers, body))
        answer = self.server.script.popleft() if self.server.script else _Answer(200)
        if answer is None:
            self.server.ended.wait(PATIENCE)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def receiver(*script: _Answer | None, port: int = 0) -> Iterator[_Receiver]:
    with _Receiver(*script, port=port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def webhook(url: Secret, **settings: Any) -> WebhookSink:
    return WebhookSink("hook", url, Secret(SIGNING_SECRET), **settings)


def attempt(sink: Sink) -> Outcome:
    return sink.send(sink.render(testing.test_alert("run")))


class _Daemon:
    """The part of the main loop that alerts need, over a real sink; its pauses take no time."""

    def __init__(self, sink: Sink, records: list[tuple[str, str, dict[str, Any]]]) -> None:
        self.records = records
        self.outbox = Outbox("run", "host")
        for record in records:
            self.outbox.apply(*record)
        self.closed: Queue[Closed] = Queue()
        self.pauses: list[float] = []
        self.paused = threading.Event()
        self.delivery = Delivery(
            [sink], self.closed.put, clock=lambda: 0.0, jitter=lambda: 0.0, pause=self._pause
        )
        self.delivery.start()

    def _pause(self, event: threading.Event, seconds: float) -> bool:
        if seconds >= 1:
            self.pauses.append(seconds)
            self.paused.set()
        return event.is_set()

    def write(self, kind: str, fields: dict[str, Any]) -> None:
        self.records.append((kind, f"{len(self.records):064x}"[::-1], fields))
        self.outbox.apply(*self.records[-1])

    def look(self, *keys: str) -> None:
        present = [Condition(key, "RD601", Severity.ERROR, f"{key} is wrong") for key in keys]
        for flip in flips(self.outbox.firing, present, datetime.now(UTC)):
            self.write(record_kind(flip.condition), as_record(flip, ["hook"]))
        self.delivery.submit(self.outbox.pending())

    def record(self, count: int) -> list[Closed]:
        closed = [self.closed.get(timeout=PATIENCE) for _ in range(count)]
        for one in closed:
            self.write("alert", one.as_record())
        return closed

    def stop(self) -> None:
        assert self.delivery.stop(PATIENCE)


@contextmanager
def daemon(
    sink: Sink, records: list[tuple[str, str, dict[str, Any]]] | None = None
) -> Iterator[_Daemon]:
    running = _Daemon(sink, [] if records is None else records)
    try:
        yield running
    finally:
        running.stop()


def test_the_receiver_can_verify_the_signature_over_the_exact_bytes() -> None:
    with receiver() as server:
        assert attempt(webhook(server.url())) == Outcome(200)
    (request,) = server.requests
    body = Webhook(SIGNING_SECRET).verify(request.body, request.headers)
    assert body["type"] == "condition.test"
    assert body["id"] == request.headers["webhook-id"]
    assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(SIGNING_SECRET).verify(request.body + b" ", request.headers)


def test_a_clock_of_another_zone_signs_the_same_moment() -> None:
    elsewhere = timezone(timedelta(hours=-7))
    with receiver() as server:
        attempt(webhook(server.url(), now=lambda: datetime.now(elsewhere)))
    Webhook(SIGNING_SECRET).verify(server.requests[0].body, server.requests[0].headers)


def test_the_documented_lines_verify_what_is_sent() -> None:
    code = DOCUMENTATION.read_text().split("```python\n")[1].split("```")[0]
    namespace: dict[str, Any] = {}
    exec(compile(code, "docs/alerts.md", "exec"), namespace)  # noqa: S102 - our own documentation
    with receiver() as server:
        attempt(webhook(server.url()))
    (request,) = server.requests
    assert namespace["verified"](SIGNING_SECRET, request.headers, request.body)["schema"] == 1


def test_the_documented_body_has_exactly_the_keys_that_are_sent() -> None:
    documented = json.loads(DOCUMENTATION.read_text().split("```json\n")[1].split("```")[0])
    sent = testing.test_alert("run").as_json()
    assert list(documented) == list(sent)
    assert list(documented["condition"]) == list(sent["condition"])


def test_the_documented_configuration_is_valid() -> None:
    blocks = [
        textwrap.dedent(rest.split("```")[0])
        for rest in DOCUMENTATION.read_text().split("```yaml\n")[1:]
    ]
    kinds = [
        sink.type
        for block in blocks
        for sink in Settings.model_validate(yaml.safe_load(block)).alerts.sinks
    ]
    assert kinds == ["slack", "webhook"]


def test_without_a_secret_nothing_is_signed_and_that_is_said_once() -> None:
    with receiver() as server, capture_logs() as logs:
        sink = WebhookSink("hook", server.url())
        attempt(sink)
        attempt(sink)
    assert [entry["event"] for entry in logs] == [
        "webhook messages are not signed: no signing secret is configured"
    ]
    assert all("webhook-id" in request.headers for request in server.requests)
    assert not any("webhook-signature" in request.headers for request in server.requests)


@pytest.mark.parametrize("key", ["whsec_", "whsec_c2hvcnQ=", "a passphrase of many words, not!"])
def test_a_secret_that_is_no_key_is_refused_and_not_told(key: str) -> None:
    with pytest.raises(UsageError, match="base64 of 24 bytes") as caught:
        WebhookSink("hook", Secret("https://example.org/x"), Secret(key))
    assert key.removeprefix("whsec_") == "" or key.removeprefix("whsec_") not in str(caught.value)


def test_a_scripted_outage_ends_with_one_delivery_under_one_id() -> None:
    script = [_Answer(500), _Answer(429, {"Retry-After": "30"}), _Answer(200)]
    with receiver(*script) as server, daemon(webhook(server.url())) as running:
        running.look("drift")
        (closed,) = running.record(1)
        assert running.outbox.pending() == ()
    assert closed.outcome == "delivered"
    assert running.pauses == [1, 30]
    assert {request.headers["webhook-id"] for request in server.requests} == {closed.alert.id}
    assert len({request.body for request in server.requests}) == 1
    for request in server.requests:
        Webhook(SIGNING_SECRET).verify(request.body, request.headers)


def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    script = _Answer(302, {"Location": "/elsewhere?token=tokentoken"})
    with receiver(script) as server, daemon(webhook(server.url())) as running:
        running.look("drift")
        (closed,) = running.record(1)
    assert closed.outcome == "failed"
    assert closed.reason.startswith("HTTP 302: the URL redirects")
    assert [request.path for request in server.requests] == [PATH]


def test_a_slow_receiver_is_given_up_for_now_and_tried_again() -> None:
    with receiver(None) as server, daemon(webhook(server.url(), timeout=0.1)) as running:
        running.look("drift")
        (closed,) = running.record(1)
    assert closed.outcome == "delivered"
    assert len(server.requests) == 2


def test_a_time_out_is_told_with_its_length() -> None:
    with receiver(None) as server:
        outcome = attempt(webhook(server.url(), timeout=0.1))
    assert outcome == Outcome(None, "no answer within 0.1 seconds")


def test_a_receiver_that_comes_up_later_gets_the_alert() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    sink = webhook(Secret(f"http://127.0.0.1:{port}/"))
    assert "refused" in attempt(sink).detail
    with daemon(sink) as running:
        running.look("drift")
        assert running.paused.wait(PATIENCE)
        with receiver(port=port):
            assert running.record(1)[0].outcome == "delivered"


def test_after_a_crash_between_send_and_record_the_same_id_is_sent_again_and_none_is_lost() -> None:
    records: list[tuple[str, str, dict[str, Any]]] = []
    with receiver() as server:
        with daemon(webhook(server.url()), records) as first:
            first.look("drift", "disk")
            first.closed.get(timeout=PATIENCE)
            first.record(1)
        with daemon(webhook(server.url()), records) as second:
            second.look("drift", "disk")
            second.record(1)
            assert second.outbox.pending() == ()
    sent = [request.headers["webhook-id"] for request in server.requests]
    assert len(sent) == 3
    assert sent[2] == sent[0]
    assert len(set(sent)) == 2
    assert server.requests[2].body == server.requests[0].body


def test_an_answer_is_read_only_so_far_and_told_without_the_url() -> None:
    echo = f"no_service {PATH} ".encode() + b"x" * 1_000_000
    with receiver(_Answer(404, body=echo)) as server:
        outcome = attempt(SlackSink("ops", server.url()))
    assert outcome.status == 404
    assert outcome.detail.startswith("no_service [redacted] xxx")
    assert "SECRET" not in outcome.detail
    assert len(outcome.detail) == 200


def test_a_page_for_a_browser_is_not_told() -> None:
    with receiver(_Answer(503, body=b"<html>Bad gateway</html>")) as server:
        assert attempt(SlackSink("ops", server.url())) == Outcome(503)


def test_every_secret_part_of_a_url_is_redacted_from_what_the_outside_says() -> None:
    url = Secret("https://user:pass1234@example.org/hooks/abcdef0123456789?token=xyz789&n=1")
    assert redact(f"cannot reach {url.reveal()}\n", url) == "cannot reach [redacted]"
    shown = redact("abcdef0123456789 xyz789 pass1234", url)
    assert shown == "[redacted] [redacted] [redacted]"


@pytest.mark.parametrize(
    "script", [_Answer(200), _Answer(302, {"Location": PATH}), _Answer(404, body=PATH.encode())]
)
def test_the_url_is_in_no_log_at_any_level(
    script: _Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    with receiver(script) as server, capture_logs() as logs:
        with daemon(SlackSink("hook", server.url())) as running:
            running.look("drift")
            running.record(1)
        # The same libraries stay as talkative as they were for everybody else.
        httpx.post(server.url("/somebody-else").reveal())
    said = caplog.text + str(logs) + str(running.records) + repr(SlackSink("ops", server.url()))
    assert "/somebody-else" in caplog.text
    assert "httpcore" in caplog.text
    assert "SECRET" not in said
    assert "tokentoken" not in said


def test_a_proxy_that_cannot_be_used_is_an_outcome_and_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", "nonsense://127.0.0.1:1")
    outcome = attempt(webhook(Secret("http://127.0.0.1:9/")))
    assert outcome.status is None
    assert "proxy" in outcome.detail.lower()


def test_sinks_are_made_by_the_name_of_their_type() -> None:
    url = Secret("https://example.org/x")
    assert isinstance(create("slack", "ops", url=url), SlackSink)
    hook = create("webhook", "hook", url=url, signing_secret=Secret(SIGNING_SECRET))
    assert isinstance(hook, WebhookSink)
    assert create("memory", "trying").name == "trying"


def test_an_unknown_type_or_a_missing_url_is_refused_with_what_is_known() -> None:
    with pytest.raises(UsageError, match="known: memory, slack, webhook"):
        create("pager", "ops")
    with pytest.raises(UsageError, match="a slack sink needs a URL"):
        create("slack", "ops")
