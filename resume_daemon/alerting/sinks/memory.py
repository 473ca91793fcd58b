"""A sink that keeps what it is sent: for tests, and for trying what would be sent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from resume_daemon.alerting.sinks import Message, Outcome
from resume_daemon.files import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resume_daemon.alerting.outbox import Alert


class MemorySink:
    """Answers with the scripted outcomes, one for each attempt, and with 200 after the last.

    Attributes:
        name: Its name.
        interval: Seconds between two messages.
        attempts: Every message that was sent, in order, whatever came of it.
    """

    def __init__(
        self, name: str = "memory", outcomes: Iterable[Outcome] = (), *, interval: float = 0.0
    ) -> None:
        self.name = name
        self.interval = interval
        self.attempts: list[Message] = []
        self._outcomes = deque(outcomes)

    def render(self, alert: Alert) -> Message:
        """Return the body that the generic webhook sends."""
        return Message(alert.id, canonical_json(alert.as_json()))

    def send(self, message: Message) -> Outcome:
        """Keep the message and return the next scripted outcome."""
        self.attempts.append(message)
        return self._outcomes.popleft() if self._outcomes else Outcome(200)
