"""The generic webhook: the JSON of docs/alerts.md, signed as Standard Webhooks 1.0 says."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from resume_daemon.alerting.sinks import TIMEOUT, Message, Outcome
from resume_daemon.alerting.sinks.posting import check_url, post
from resume_daemon.errors import UsageError
from resume_daemon.files import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.alerting.outbox import Alert
    from resume_daemon.alerting.secrets import Secret

_SHORTEST_KEY = 24
"""Bytes; the specification asks for 24 to 64."""


@dataclass(frozen=True, slots=True)
class WebhookSink:
    """Posts to a URL, signed with a secret where there is one.

    Attributes:
        name: Its name in the configuration.
        url: Where to post.
        signing_secret: ``whsec_`` and base64, or None to send without a signature.
        interval: Seconds between two messages.
        timeout: Seconds that one attempt may wait.
        now: This moment in UTC; the signature covers it.

    Raises:
        UsageError: The URL or the secret is not usable.
    """

    name: str
    url: Secret
    signing_secret: Secret | None = None
    interval: float = 0.1
    timeout: float = TIMEOUT
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        check_url(self.url, self.name)
        if self.signing_secret is None:
            structlog.get_logger().warning(
                "webhook messages are not signed: no signing secret is configured", sink=self.name
            )
        elif not _is_key(self.signing_secret):
            raise UsageError(
                f"set up the alert sink {self.name!r}",
                None,
                f"its signing secret is not base64 of {_SHORTEST_KEY} bytes or more",
                hint='Make one: echo "whsec_$(openssl rand -base64 32)"',
            )

    def render(self, alert: Alert) -> Message:
        """Return the documented body; the same bytes for every attempt."""
        return Message(alert.id, canonical_json(alert.as_json()))

    def send(self, message: Message) -> Outcome:
        """Sign the message with the time of this attempt, and post it."""
        moment = self.now().astimezone(UTC)
        headers = {
            "webhook-id": message.id,
            "webhook-timestamp": str(int(moment.timestamp())),
        }
        if self.signing_secret is not None:
            from standardwebhooks import Webhook  # noqa: PLC0415 - only where messages are signed

            # Always UTC: standardwebhooks 1.1.0 replaces the zone instead of converting to it.
            headers["webhook-signature"] = Webhook(self.signing_secret.reveal()).sign(
                message.id, moment, message.body.decode()
            )
        return post(self.url, message.body, headers, timeout=self.timeout)


def _is_key(secret: Secret) -> bool:
    # standardwebhooks skips what is not base64, which would quietly make a weaker key.
    text = secret.reveal().removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(key) >= _SHORTEST_KEY
