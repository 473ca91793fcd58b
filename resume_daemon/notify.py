"""What the service manager is told, by the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_SEND_SECONDS = 1.0
"""How long a full socket of the manager may hold up the main loop."""


class Notifier:
    """Sends the daemon's state to the manager that started it; without one, does nothing.

    Attributes:
        watchdog_interval: Seconds after which ``watchdog`` should be called at the latest, half of
            what the manager allows, or None where it does not ask.
    """

    def __init__(self, address: str | None, *, watchdog_interval: float | None = None) -> None:
        self._address = address
        self._failed = False
        self.watchdog_interval = watchdog_interval

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Return a notifier, and take its variables out of ``environ``.

        They are taken out because a child that inherited them could speak for the daemon.
        """
        path = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
        # The kernel spells an abstract address with a leading zero byte, systemd with "@".
        address = "\0" + path[1:] if path.startswith("@") else path
        asked = microseconds.isdecimal() and int(microseconds) > 0 and pid == str(os.getpid())
        interval = int(microseconds) / 2_000_000 if asked else None
        return cls(address or None, watchdog_interval=interval)

    def ready(self, status: str = "") -> None:
        """Say that the start, or a reload, is complete."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Say that the configuration is being read again; ``ready`` must follow."""
        # systemd compares the time with that of its own request (CLOCK_MONOTONIC, microseconds).
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Say that the daemon is on its way out."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        self._send(_status(text))

    def watchdog(self) -> None:
        """Say that the main loop made progress."""
        if self.watchdog_interval is not None:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        """Send one datagram; a failure is logged the first time and never raised."""
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.settimeout(_SEND_SECONDS)
                connection.sendto("\n".join(filter(None, lines)).encode(), self._address)
        except OSError as error:
            if not self._failed:
                structlog.get_logger().warning(
                    "The service manager cannot be told how the daemon is; the work goes on",
                    socket=self._address.replace("\0", "@"),
                    reason=error.strerror or str(error),
                )
            self._failed = True
        else:
            self._failed = False


def _status(text: str) -> str:
    # A line break would begin a new assignment, which a file name could then make.
    return f"STATUS={' '.join(text.split())}" if text else ""
