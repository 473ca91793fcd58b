"""What to do after one attempt to deliver: done, never, or again later. Pure.

Which statuses are final follows the Standard Webhooks 1.0 specification (2xx is success, redirects
are failures, 410 disables, 429, 502 and 504 back off) and Slack's documentation of incoming
webhooks (400 ``invalid_payload`` and ``invalid_token``, 403, 404 ``no_service``, 410
``channel_is_archived``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from resume_daemon.alerting.sinks import Outcome

FIRST_DELAY = 1.0
"""Seconds before the second attempt; doubled from then on."""

LONGEST_DELAY = 300.0
"""Seconds between attempts in a long outage; reached nine minutes in, and kept for ever."""

LONGEST_RETRY_AFTER = 3600.0
"""Seconds beyond which a receiver's ``Retry-After`` is not believed."""

_DOUBLINGS = 9  # 2**9 seconds exceed LONGEST_DELAY; a larger exponent would only overflow.
_TRANSIENT = {408, 425, 429}
_GONE = 410
_MEANING = {
    400: "the receiver does not accept the message or its token",
    401: "the receiver does not accept the credentials; set new ones and reload",
    403: "the receiver forbids it; look at the credentials and at the channel, then reload",
    404: "the receiver knows no such address; set a new URL and reload",
    _GONE: "the receiver is gone; nothing more is sent to this sink until a reload",
}


@dataclass(frozen=True, slots=True)
class Delivered:
    """It arrived."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It will never arrive, and why; ``disables`` where nothing else will either."""

    reason: str
    disables: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Send it again, this many seconds from now, and why."""

    after: float
    reason: str


def decide(
    outcome: Outcome, attempt: int, now: datetime, *, jitter: float = 0.0
) -> Delivered | Failed | Retry:
    """Return what to do after an attempt.

    Whatever may be an outage is tried for ever: 1, 2, 4, ... up to 300 seconds apart, or when the
    receiver asks for it, whichever is later.

    Args:
        outcome: What came back.
        attempt: Which attempt in a row it was, from 1.
        now: This moment, to read a date in ``Retry-After`` against.
        jitter: From 0 to 1: lengthens the delay by up to a quarter, so that the daemons of a
            cluster do not come back all at once. It never shortens a delay.
    """
    status = outcome.status
    detail = f": {outcome.detail}" if outcome.detail else ""
    if status is None:
        reason = outcome.detail or "no answer"
    elif 200 <= status < 300:  # noqa: PLR2004 - the classes of HTTP statuses need no names
        return Delivered()
    elif status in _TRANSIENT or status >= 500:  # noqa: PLR2004 - as above
        reason = f"HTTP {status}{detail}"
    elif 300 <= status < 400:  # noqa: PLR2004 - as above
        return Failed(f"HTTP {status}: the URL redirects, which is not followed; set the final URL")
    else:
        meaning = _MEANING.get(status, "the receiver refuses the message")
        return Failed(f"HTTP {status}{detail} ({meaning})", disables=status == _GONE)
    delay = min(FIRST_DELAY * 2 ** min(attempt - 1, _DOUBLINGS), LONGEST_DELAY)
    asked = retry_after_seconds(outcome.retry_after, now)
    return Retry(max(delay * (1 + jitter / 4), asked), reason)


def retry_after_seconds(header: str | None, now: datetime) -> float:
    """Return how long a ``Retry-After`` header asks to wait, at most an hour.

    It is a number of seconds or an HTTP date (RFC 9110, 10.2.3); anything else counts as 0.
    """
    if not header:
        return 0.0
    try:
        if header.strip().isdecimal():
            seconds = float(header)
        else:
            moment = parsedate_to_datetime(header)
            # A date "-0000" comes back without a zone; HTTP knows no other than UTC.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (moment - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
