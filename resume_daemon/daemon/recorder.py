"""The one writer of the ledger: appends, folds what it appended, knows what sinks are owed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resume_daemon.alerting.conditions import as_record, flips, record_kind
from resume_daemon.alerting.outbox import Outbox
from resume_daemon.findings import Severity
from resume_daemon.ledger.queries import RunState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from resume_daemon.alerting.conditions import Flip
    from resume_daemon.alerting.outbox import Closed
    from resume_daemon.conditions import Condition
    from resume_daemon.ledger.ledger import Ledger

_GRAVITY = tuple(Severity)


class Recorder:
    """Everything that is written goes through here; nothing is acted on before it is flushed.

    Args:
        ledger: The open ledger; it is read once, from the beginning.
        run: The run's name in alerts.
        host: This host's name.
        sinks: Names of the configured sinks.
        minimum: The least severity that is sent to them.

    Attributes:
        state: The fold of everything recorded.
        outbox: What is owed to sinks.
        sinks: Names of the configured sinks.
    """

    def __init__(
        self, ledger: Ledger, *, run: str, host: str, sinks: Collection[str], minimum: Severity
    ) -> None:
        self.state = RunState()
        self.outbox = Outbox(run, host)
        self._ledger = ledger
        self.sinks = tuple(sinks)
        self._minimum = minimum
        for record in ledger.records():
            self.state.apply(record)
            self.outbox.apply(record.kind, record.digest, record.fields)

    def configure_sinks(self, sinks: Collection[str], minimum: Severity) -> None:
        """Owe flips from now on to these sinks."""
        self.sinks = tuple(sinks)
        self._minimum = minimum

    def append(self, *records: tuple[str, Mapping[str, Any]]) -> None:
        """Append records, all or none, flush them, and fold them.

        Raises:
            LedgerError: They could not be written; nothing has changed.
        """
        for record in self._ledger.append_many(records):
            self.state.apply(record)
            self.outbox.apply(record.kind, record.digest, record.fields)

    def flip(
        self,
        present: Iterable[Condition],
        now: datetime,
        *,
        evaluated: Collection[str],
    ) -> tuple[Flip, ...]:
        """Record what began and what ended since the last time, and return it.

        Args:
            present: Every condition that holds now, of those that were evaluated.
            now: UTC.
            evaluated: Prefixes of the keys that were evaluated; others stay as they are.

        Raises:
            LedgerError: The flips could not be written; they are found again the next time.
        """
        found = flips(self.outbox.firing, present, now, evaluated=evaluated)
        if found:
            self.append(*((record_kind(f.condition), as_record(f, self._owed(f))) for f in found))
        return found

    def record_told(self, flip: Flip) -> None:
        """Record a flip that the sinks were told of before it could be recorded.

        Raises:
            LedgerError: It could not be written.
        """
        self.append((record_kind(flip.condition), as_record(flip, ())))

    def close(self, closed: Closed) -> None:
        """Record that an alert reached its sink, or never will."""
        self.append(("alert", closed.as_record()))

    def _owed(self, flip: Flip) -> tuple[str, ...]:
        grave = _GRAVITY.index(flip.condition.severity) <= _GRAVITY.index(self._minimum)
        return self.sinks if grave else ()
