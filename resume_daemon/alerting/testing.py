"""A message to try a sink with; it is no news and goes through no ledger."""

from __future__ import annotations

import secrets
import socket
from datetime import UTC, datetime

from resume_daemon.alerting.conditions import Flip, State
from resume_daemon.alerting.outbox import Alert
from resume_daemon.conditions import Condition
from resume_daemon.findings import Severity

TEST_CODE = "RD000"
"""The code in a test message; no finding has it."""


def test_alert(run: str) -> Alert:
    """Return a message that nobody can mistake for news; each call has an id of its own."""
    now = datetime.now(UTC)
    condition = Condition(
        key="test",
        code=TEST_CODE,
        severity=Severity.INFO,
        message=(
            "This is a test message: somebody ran `resume-daemon alerts test`. Nothing is wrong."
        ),
    )
    return Alert(
        id=f"msg_{secrets.token_hex(16)}",
        sink="test",
        run=run,
        host=socket.gethostname(),
        flip=Flip(condition, State.FIRING, since=now, at=now),
        test=True,
    )
