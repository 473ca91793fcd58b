"""What the W&B server says of the run, where credentials and a network exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from resume_daemon.trackers.wandb_access import find_access
from resume_daemon.trackers.wandb_api import RunPath, fetch
from resume_daemon.trackers.wandb_poller import ApiPoller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resume_daemon.config.settings import WandbApi
    from resume_daemon.daemon.recorder import Recorder

log = structlog.get_logger()


class ServerWatch:
    """Asks about the newest W&B run, and records each change of its state.

    The local log stays the source of step pairs: the server is asked because it knows of a run that
    crashed on another machine, and how far it got.

    Args:
        settings: Whether, whom and how often to ask.
        recorder: Where changes are recorded.
        environ: Where the key may be.
        wake: Wakes the loop after each answer.
    """

    def __init__(
        self,
        settings: WandbApi,
        recorder: Recorder,
        environ: Mapping[str, str],
        wake: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._environ = environ
        self._wake = wake
        self._run_id = ""
        self._poller: ApiPoller | None = None
        self._failure = ""

    def follow(self, run_id: str) -> None:
        """Ask about this run from now on; the same run again changes nothing."""
        entity, project = self._settings.entity, self._settings.project
        if not self._settings.enabled or entity is None or project is None:
            return
        if run_id == self._run_id:
            return
        self.stop()
        self._run_id = run_id
        access = find_access(self._environ, Path.home())
        if access is None:
            log.warning("the W&B server is not asked: no key in WANDB_API_KEY or .netrc")
            return
        path, timeout = RunPath(entity, project, run_id), self._settings.timeout_seconds
        self._poller = ApiPoller(
            lambda: fetch(path, access, timeout), self._settings.poll_seconds, self._wake
        )
        self._poller.start()

    def record(self) -> None:
        """Record what is new.

        Raises:
            LedgerError: It could not be recorded; it is tried again.
        """
        if self._poller is None:
            return
        answer = self._poller.latest()
        reason = answer.error.reason if answer.error is not None else ""
        if reason != self._failure:
            self._failure = reason
            if reason:
                log.warning("the W&B server gives no answer", reason=reason)
            else:
                log.info("the W&B server answers again")
        known = self._recorder.state.server
        state = answer.state
        if state is None:
            return
        if known is not None and (known.run_id, known.state) == (self._run_id, state.state):
            return
        beat = state.heartbeat_at
        self._recorder.append(
            (
                "tracker",
                {
                    "tracker": "wandb",
                    "run_id": self._run_id,
                    "state": state.state,
                    "heartbeat_at": beat.isoformat() if beat is not None else None,
                    "tracker_step": state.last_step,
                    "trainer_step": state.trainer_step,
                    "rows": state.history_lines,
                },
            )
        )

    def stop(self) -> None:
        """Stop asking."""
        if self._poller is not None:
            self._poller.stop()
            self._poller = None
