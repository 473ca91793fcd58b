"""Keeps known checkpoints from decaying unseen: which is read again, how far, what it showed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from resume_daemon.daemon.checkpoint_keeper import RETRY_SECONDS
from resume_daemon.daemon.scrubbing import Candidate, Settings, next_scrub
from resume_daemon.daemon.worker import ScrubJob
from resume_daemon.errors import CancelledError, ChangedError, VanishedError
from resume_daemon.findings import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.daemon.checkpoint_keeper import CheckpointKeeper
    from resume_daemon.daemon.messages import Scrubbed
    from resume_daemon.daemon.recorder import Recorder
    from resume_daemon.daemon.roster import Clock
    from resume_daemon.findings import Finding

log = structlog.get_logger()

_NO_MANIFEST_SECONDS = 3600.0
"""How soon a checkpoint whose manifest is lost is looked at again."""


class ScrubKeeper:
    """Has every sound or degraded checkpoint read again, one at a time, while nothing else waits.

    One that is unsound already is left alone: what it would show changes nothing.

    Args:
        checkpoints: Their keeper.
        recorder: Where results are recorded.
        settings: When and how fast.
        clock: What time it is.
    """

    def __init__(
        self,
        checkpoints: CheckpointKeeper,
        recorder: Recorder,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self._checkpoints = checkpoints
        self._recorder = recorder
        self._clock = clock
        self._progress: dict[str, tuple[str, int]] = {}
        self._not_before: dict[str, float] = {}

    def next_job(self, *, waiting: bool) -> ScrubJob | None:
        """Return what the worker should read again, if anything."""
        now = self._clock.wall()
        name = next_scrub(self._candidates(), self.settings, waiting=waiting, now=now)
        if name is None:
            return None
        manifest = self._checkpoints.manifest(name)
        if manifest is None:
            self._not_before[name] = self._clock.monotonic() + _NO_MANIFEST_SECONDS
            return None
        fingerprint, begin = self._progress.get(name, ("", 0))
        if fingerprint != manifest.fingerprint:
            begin = 0
        return ScrubJob(name, manifest, begin, self.settings.bytes_per_second)

    def on_scrubbed(self, message: Scrubbed) -> None:
        """Record what was seen, unless the checkpoint changed while it was read.

        Raises:
            LedgerError: It could not be recorded; the message may be handed in again.
        """
        name, result = message.checkpoint, message.result
        self._checkpoints.look([name])
        self._progress.pop(name, None)
        known = self._recorder.state.checkpoints.get(name)
        if known is not None and known.fingerprint == message.fingerprint:
            if result.decayed is not None:
                self._record_decay(message, result.decayed)
            elif result.whole:
                self._record_unchanged(message)
            else:
                self._progress[name] = message.fingerprint, result.done
        if result.stopped is None or isinstance(result.stopped, CancelledError):
            self._checkpoints.unread.pop(name, None)
        else:
            self._not_before[name] = self._clock.monotonic() + RETRY_SECONDS
            if not isinstance(result.stopped, VanishedError | ChangedError):
                self._checkpoints.unread[name] = result.stopped
                reason = str(result.stopped)
                log.warning("checkpoint cannot be read again", checkpoint=name, reason=reason)
        self._checkpoints.busy = None

    def _candidates(self) -> Iterator[Candidate]:
        state, members = self._recorder.state, self._checkpoints.roster.members
        now = self._clock.monotonic()
        for name, known in state.checkpoints.items():
            member = members.get(name)
            if (
                known.manifest is not None
                and known.verdict in {Verdict.SOUND, Verdict.DEGRADED}
                and member is not None
                and member.seen.fingerprint == known.fingerprint
                and now >= self._not_before.get(name, now)
            ):
                read_at = known.at
                scrubbed = state.scrubs.get(name)
                if scrubbed is not None and scrubbed.fingerprint == known.fingerprint:
                    read_at = max(read_at, scrubbed.at)
                yield Candidate(name, read_at.timestamp())

    def _record_decay(self, message: Scrubbed, decayed: Finding) -> None:
        name, result = message.checkpoint, message.result
        known = self._recorder.state.checkpoints[name]
        self._recorder.append(
            (
                "verdict",
                {
                    "checkpoint": name,
                    "path": known.path,
                    "layout": known.layout,
                    "step": known.step,
                    "verdict": Verdict.UNSOUND.value,
                    "codes": list(dict.fromkeys((decayed.code, *known.codes))),
                    "why": decayed.message,
                    # Of what was verified: a copy that is put back is compared with that.
                    "manifest": known.manifest,
                    "fingerprint": known.fingerprint,
                    "bytes": result.bytes_read,
                    "seconds": round(result.seconds, 3),
                },
            )
        )
        log.warning("decayed", checkpoint=name, why=decayed.message)

    def _record_unchanged(self, message: Scrubbed) -> None:
        result = message.result
        self._recorder.append(
            (
                "scrub",
                {
                    "checkpoint": message.checkpoint,
                    "fingerprint": message.fingerprint,
                    "bytes": result.bytes_read,
                    "seconds": round(result.seconds, 3),
                },
            )
        )
        log.info("unchanged", checkpoint=message.checkpoint, seconds=round(result.seconds, 1))
