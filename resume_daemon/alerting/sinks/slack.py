"""Slack, by an incoming webhook.

Limits (docs.slack.dev, Block Kit): 150 characters in a header, 3000 in a section, 10 fields of
2000. The whole is refused from somewhere near 13,000 characters on, which is not documented; so
10,000 is the cap here, counted with the JSON around them. The limits below keep it even where JSON
escapes every character. About one message a second is taken, more are answered 429.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from resume_daemon.alerting.sinks import TIMEOUT, Message, Outcome
from resume_daemon.alerting.sinks.posting import check_url, post
from resume_daemon.files import canonical_json
from resume_daemon.findings import Severity

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from resume_daemon.alerting.outbox import Alert
    from resume_daemon.alerting.secrets import Secret

_HEADER_LIMIT = 150
_FIELD_LIMIT = 200
_SECTION_LIMIT = 3000
_TEXT_LIMIT = 300

_LABELS = {
    Severity.ERROR: ":red_circle: Error",
    Severity.WARNING: ":large_yellow_circle: Warning",
    Severity.INFO: ":large_blue_circle: Note",
}
_RESOLVED = ":white_check_mark: Resolved"
_TEST = ":test_tube: Test"


@dataclass(frozen=True, slots=True)
class SlackSink:
    """Posts to the channel that the webhook's URL belongs to.

    Attributes:
        name: Its name in the configuration.
        url: The webhook's URL, which is a password.
        interval: Seconds between two messages.
        timeout: Seconds that one attempt may wait.

    Raises:
        UsageError: The URL is not usable.
    """

    name: str
    url: Secret
    interval: float = 1.1
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        check_url(self.url, self.name)

    def render(self, alert: Alert) -> Message:
        """Return the message: what, numbers, since when, and what to do."""
        return Message(alert.id, canonical_json(_payload(alert)))

    def send(self, message: Message) -> Outcome:
        """Post the message."""
        return post(self.url, message.body, {}, timeout=self.timeout)


def _payload(alert: Alert) -> dict[str, Any]:
    flip, condition = alert.flip, alert.flip.condition
    label = _LABELS[condition.severity]
    message = condition.message
    todo = f"What to do: `resume-daemon explain {condition.code}`"
    if alert.test:
        label, todo = _TEST, "What to do: nothing."
    elif flip.lasted is not None:
        label, todo = _RESOLVED, f"About it: `resume-daemon explain {condition.code}`"
        message = f"This holds no more; it lasted {duration(flip.lasted)}. It was:\n{message}"
    title = f"{label} {condition.code} in {_line(alert.run)}"
    return {
        "text": clip(f"{title}: {message}", _TEXT_LIMIT),
        "blocks": [
            {
                "type": "header",
                "text": {"type": "plain_text", "emoji": True, "text": clip(title, _HEADER_LIMIT)},
            },
            {"type": "section", "text": {"type": "mrkdwn", "text": clip(message, _SECTION_LIMIT)}},
            {
                "type": "section",
                "fields": [
                    {
                        "type": "mrkdwn",
                        "text": f"*{name}*\n{clip(_line(value), _FIELD_LIMIT)}",
                    }
                    for name, value in _fields(alert)
                ],
            },
            {
                "type": "section",
                "text": {"type": "mrkdwn", "text": clip(todo, _TEXT_LIMIT)},
            },
            # Slack drops no repetitions; with the id, a reader can tell one.
            {"type": "context", "elements": [{"type": "plain_text", "text": alert.id}]},
        ],
    }


def _fields(alert: Alert) -> list[tuple[str, str]]:
    flip, condition = alert.flip, alert.flip.condition
    known = [
        ("Run", alert.run),
        ("Host", alert.host),
        ("Checkpoint", condition.checkpoint),
        ("Trainer step", condition.trainer_step),
        ("Tracker step", condition.tracker_step),
        ("Offset (raw)", _signed(condition.offset)),
        ("Drift", _signed(condition.drift)),
        ("Since", _minute(flip.since)),
        ("Until", None if flip.lasted is None else _minute(flip.at)),
    ]
    return [(name, str(value)) for name, value in known if value is not None]


def clip(text: str, limit: int) -> str:
    """Return a text with ``&<>`` escaped, at most ``limit`` characters and no half escape."""
    kept = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
    escaped = kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= limit:
        # Slack refuses an empty text, and with it the whole message.
        return escaped if escaped.strip() else "-"
    return re.sub(r"&[a-z]*$", "", escaped[: limit - 1]) + "…"


def duration(lasted: timedelta) -> str:
    """Return a duration in its two largest units, such as ``2 h 5 min``."""
    seconds = int(lasted.total_seconds())
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, size), (lesser, lesser_size) in pairwise(units):
        if seconds >= size:
            rest = seconds % size // lesser_size
            return f"{seconds // size} {name}" + (f" {rest} {lesser}" if rest else "")
    return f"{seconds} s"


def _line(text: str) -> str:
    return " ".join(text.split())


def _signed(number: int | None) -> str | None:
    return None if number is None else f"{number:+d}"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
