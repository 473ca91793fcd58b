"""The outbox: which alerts are still owed to which sink. A pure view of the ledger.

A flip's record names the sinks that it is owed to; an ``alert`` record closes one (flip, sink).
What lies between is pending, before and after any crash. Where the daemon dies between a send and
its record, the same message goes out again with the same id: at least once, never zero times.

A flip that resolves a condition never swallows the flip that fired it, even where neither was
delivered yet. Both go out, in order, each with its own times: that tells what happened, and any
merging would have to guess what the reader has seen.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from resume_daemon.alerting.conditions import Firing, Flip, State, from_record
from resume_daemon.errors import LedgerError
from resume_daemon.ledger.record import rfc3339

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

CAPACITY = 1000
"""Alerts that may wait for one sink; a sink that takes one a second clears them in 17 minutes."""

_FLIP_KINDS = {"condition", "drift"}


@dataclass(frozen=True, slots=True)
class Alert:
    """One message that is owed to one sink.

    Attributes:
        id: ``msg_`` and 32 hexadecimal digits of the digest of the flip's ledger line: the same
            over retries and restarts, and for every sink.
        sink: Name of the sink.
        run: Name of the run.
        host: Name of the host that the daemon runs on.
        flip: What changed.
        test: Whether a person only tries the sink.
    """

    id: str
    sink: str
    run: str
    host: str
    flip: Flip
    test: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the body that docs/alerts.md promises; it only grows."""
        flip, condition = self.flip, self.flip.condition
        return {
            "schema": 1,
            "type": "condition.test" if self.test else f"condition.{flip.state.value}",
            "id": self.id,
            "at": rfc3339(flip.at),
            "run": _text(self.run),
            "host": self.host,
            "condition": {
                "key": _text(condition.key),
                "code": condition.code,
                "severity": condition.severity.value,
                "message": _text(condition.message),
                "checkpoint": None if condition.checkpoint is None else _text(condition.checkpoint),
                "tracker_step": condition.tracker_step,
                "trainer_step": condition.trainer_step,
                "offset": condition.offset,
                "drift": condition.drift,
            },
            "since": rfc3339(flip.since),
            "lasted_seconds": None if flip.lasted is None else flip.lasted.total_seconds(),
        }


@dataclass(frozen=True, slots=True)
class Closed:
    """An alert that is owed no more: it arrived, or it never will."""

    alert: Alert
    outcome: Literal["delivered", "failed"]
    reason: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return the fields of the ``alert`` record that closes it."""
        return {
            "id": self.alert.id,
            "condition": self.alert.flip.condition.key,
            "state": self.alert.flip.state.value,
            "sink": self.alert.sink,
            "outcome": self.outcome,
            "reason": self.reason,
        }


class Outbox:
    """A fold over the ledger's records, in their order.

    Args:
        run: Name of the run, for the messages.
        host: Name of the host, for the messages.
        capacity: Alerts that may wait for one sink.
    """

    def __init__(self, run: str, host: str, *, capacity: int = CAPACITY) -> None:
        self._run = run
        self._host = host
        self._capacity = capacity
        self._owed: dict[tuple[str, str], Alert] = {}
        self._firing: dict[str, Firing] = {}

    @property
    def firing(self) -> Mapping[str, Firing]:
        """By key, the conditions that fire now; ``flips`` compares with these."""
        return MappingProxyType(self._firing)

    def apply(self, kind: str, digest: str, fields: Mapping[str, Any]) -> None:
        """Take in one ledger record; kinds that are of no concern here are ignored.

        Args:
            kind: The record's kind.
            digest: The digest of its line, with or without a prefix such as ``blake3:``.
            fields: The record.

        Raises:
            LedgerError: A flip's record is not what ``as_record`` writes.
        """
        if kind == "alert":
            self._owed.pop((str(fields.get("id")), str(fields.get("sink"))), None)
        elif kind in _FLIP_KINDS:
            flip = from_record(fields)
            key = flip.condition.key
            if flip.state is State.FIRING:
                self._firing[key] = Firing(flip.condition, flip.since)
            else:
                self._firing.pop(key, None)
            message_id = _message_id(digest)
            for sink in fields.get("sinks", ()):
                alert = Alert(message_id, sink, run=self._run, host=self._host, flip=flip)
                self._owed[message_id, sink] = alert

    def pending(self) -> tuple[Alert, ...]:
        """Return what is owed, in the order of the ledger."""
        return tuple(self._owed.values())

    def unsendable(self, sinks: Collection[str]) -> tuple[Closed, ...]:
        """Return what must be given up, for the caller to record before it submits the rest.

        That is what is owed to a sink that is configured no more, and what exceeds the capacity:
        of that first the news that is over, because a condition that still fires matters most.

        Args:
            sinks: Names of the sinks that are configured.
        """
        waiting: defaultdict[str, list[Alert]] = defaultdict(list)
        for alert in self._owed.values():
            waiting[alert.sink].append(alert)
        given_up: list[Closed] = []
        for sink, alerts in waiting.items():
            if sink not in sinks:
                reason = "no sink of this name is configured any more"
                given_up += (Closed(alert, "failed", reason) for alert in alerts)
            elif (excess := len(alerts) - self._capacity) > 0:
                reason = f"more than {self._capacity} alerts were waiting for this sink"
                dispensable = sorted(alerts, key=self._still_holds)[:excess]
                given_up += (Closed(alert, "failed", reason) for alert in dispensable)
        return tuple(given_up)

    def _still_holds(self, alert: Alert) -> bool:
        flip = alert.flip
        known = self._firing.get(flip.condition.key)
        return flip.state is State.FIRING and known is not None and known.since == flip.since


def _text(text: str) -> str:
    """Return a text that UTF-8 can carry: a file name that it cannot gets question marks."""
    return text.encode(errors="replace").decode()


def _message_id(digest: str) -> str:
    if not (match := re.search(r"(?:^|:)([0-9a-f]{32})[0-9a-f]*$", digest)):
        raise LedgerError("name an alert", None, f"{digest!r} is no digest of a ledger line")
    return f"msg_{match[1]}"
