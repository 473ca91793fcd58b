"""Keeps what the trainer's logs told: one record per event, with where reading goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from resume_daemon.log_events.follow import Position

if TYPE_CHECKING:
    from resume_daemon.daemon.messages import LogRead
    from resume_daemon.daemon.recorder import Recorder

log = structlog.get_logger()


class LogKeeper:
    """Turns readings of the trainer's logs into records.

    Args:
        recorder: Where they are recorded.
        enabled: Whether logs are followed at all.

    Attributes:
        ready: Whether every log was read once.
    """

    def __init__(self, recorder: Recorder, *, enabled: bool) -> None:
        self.ready = not enabled
        self._recorder = recorder

    def known(self) -> dict[str, Position]:
        """Return where reading goes on, by path."""
        return {
            path: Position(inode, offset)
            for path, (inode, offset) in self._recorder.state.log_positions.items()
        }

    def on_read(self, message: LogRead) -> None:
        """Record what was told.

        Raises:
            LedgerError: It could not be recorded; the message may be handed in again.
        """
        records = [
            (
                "trainer",
                {
                    "event": told.event.event,
                    "file": told.path,
                    "line": told.event.line,
                    "repeated": told.event.repeated,
                    "inode": told.position.inode,
                    "offset": told.position.offset,
                },
            )
            for told in message.told
        ]
        if records:
            self._recorder.append(*records)
        for told in message.told:
            log.info("trainer's log", told=told.event.event, line=told.event.line)
        self.ready = True
