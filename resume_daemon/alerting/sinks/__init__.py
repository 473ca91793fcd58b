"""Sinks: where alerts go. One small file each, all with the same interface.

To add one, write a class with the four members of ``Sink`` and name it in ``create``. It decides
nothing: when to send, whether to try again and what to log is up to ``delivery``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from resume_daemon.alerting.outbox import Alert
    from resume_daemon.alerting.secrets import Secret

SINK_TYPES = ("memory", "slack", "webhook")
"""The names by which a configuration chooses a sink."""

TIMEOUT = 10.0
"""Seconds that one attempt waits for a connection and for each part of an answer."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one alert looks like for one sink: the exact bytes that are sent, and the alert's id."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back from one attempt, as far as it decides about the next.

    Attributes:
        status: The HTTP status, or what it would be; None where no answer came.
        detail: What the receiver or the network said: one short line without any secret.
        retry_after: The ``Retry-After`` header as it came, or None.
    """

    status: int | None
    detail: str = ""
    retry_after: str | None = None


class Sink(Protocol):
    """A place that alerts are sent to."""

    @property
    def name(self) -> str:
        """The name in the configuration, which ledger records carry."""

    @property
    def interval(self) -> float:
        """Seconds to leave between two messages."""

    def render(self, alert: Alert) -> Message:
        """Return the message for an alert; pure."""

    def send(self, message: Message) -> Outcome:
        """Make one attempt, within the sink's own time-out; trouble is an outcome, no error."""


def create(
    type_name: str,
    name: str,
    *,
    url: Secret | None = None,
    signing_secret: Secret | None = None,
    timeout: float = TIMEOUT,
) -> Sink:
    """Return the sink of this type.

    Args:
        type_name: One of ``SINK_TYPES``.
        name: Its name in the configuration.
        url: Where to send, for ``slack`` and ``webhook``.
        signing_secret: The key that signs, for ``webhook``.
        timeout: Seconds that one attempt may wait, for ``slack`` and ``webhook``.

    Raises:
        UsageError: The type is unknown, or a setting is missing or unusable.
    """
    # Imported here, because the modules of the sinks need the values above.
    from resume_daemon.alerting.sinks.memory import MemorySink  # noqa: PLC0415 - see above
    from resume_daemon.alerting.sinks.slack import SlackSink  # noqa: PLC0415 - see above
    from resume_daemon.alerting.sinks.webhook import WebhookSink  # noqa: PLC0415 - see above

    operation = f"set up the alert sink {name!r}"
    if type_name not in SINK_TYPES:
        known = ", ".join(SINK_TYPES)
        raise UsageError(operation, None, f"{type_name!r} is no type of sink (known: {known})")
    if type_name == "memory":
        return MemorySink(name)
    if url is None:
        raise UsageError(operation, None, f"a {type_name} sink needs a URL")
    if type_name == "slack":
        return SlackSink(name, url, timeout=timeout)
    return WebhookSink(name, url, signing_secret, timeout=timeout)
