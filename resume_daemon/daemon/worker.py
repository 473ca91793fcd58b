"""The worker: a side task that reads checkpoints and writes snapshots, one job at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import structlog

from resume_daemon.curriculum.collect import collect
from resume_daemon.curriculum.snapshot import CURRICULUM, SnapshotIndex, write_snapshot
from resume_daemon.daemon.jobs import Jobs, outcome
from resume_daemon.daemon.messages import Scrubbed, Snapshotted, UnwrittenError, Verified
from resume_daemon.daemon.still_reading import StillReading
from resume_daemon.errors import ChangedError, ResumeDaemonError
from resume_daemon.files import read_bounded
from resume_daemon.layouts.registry import layout_of, list_checkpoint
from resume_daemon.reading.priority import lower_priority
from resume_daemon.scrub import Scrub, scrub
from resume_daemon.small_files import worth_keeping
from resume_daemon.verification import Options, References, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from resume_daemon.curriculum.assignment import Assignment
    from resume_daemon.curriculum.versions import VersionStore
    from resume_daemon.daemon.messages import Message
    from resume_daemon.daemon.supervision import Stopping
    from resume_daemon.listing import Listing
    from resume_daemon.manifest import Manifest
    from resume_daemon.small_files import SmallFiles
    from resume_daemon.verification import Verification

log = structlog.get_logger()
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class VerifyJob:
    """Read a checkpoint once and judge it."""

    checkpoint: str
    references: References


@dataclass(frozen=True, slots=True)
class ScrubJob:
    """Read a checkpoint again, slowly, and compare it with its manifest."""

    checkpoint: str
    manifest: Manifest
    begin: int
    bytes_per_second: int


@dataclass(frozen=True, slots=True)
class SnapshotJob:
    """Keep the small files of a checkpoint and the curriculum state that belongs to it.

    Of one that is sound, further small files are kept for a repair.
    """

    checkpoint: str
    step: int
    fingerprint: str
    curriculum: Mapping[str, Assignment]
    sound: bool = False


Job = VerifyJob | ScrubJob | SnapshotJob


class Worker:
    """Does the slow reading, so that the loop never waits for a disk.

    Args:
        run: The run directory.
        snapshots: Where snapshots go.
        small_files: Where small files of sound checkpoints are kept.
        versions: Where the contents of curriculum states are kept.
        configuration: Globs of the user's configuration files.
        options: How checkpoints are verified.
        idle: Whether the training goes first, on processors and disks.
        put: Takes each result.
    """

    def __init__(
        self,
        run: Path,
        *,
        snapshots: Path,
        small_files: SmallFiles,
        versions: VersionStore,
        configuration: Sequence[str],
        options: Options,
        idle: bool,
        put: Callable[[Message], None],
    ) -> None:
        self.options = options
        self._run = run
        self._snapshots = snapshots
        self._small_files = small_files
        self._versions = versions
        self._configuration = configuration
        self._idle = idle
        self._put = put
        self._jobs: Jobs[Job] = Jobs()

    def submit(self, job: Job) -> None:
        """Leave a job; its result comes as a message."""
        self._jobs.submit(job)

    def give_up(self) -> None:
        """End the reading of the present job soon; its message says how far it came."""
        self._jobs.give_up()

    def body(self, stopping: Stopping) -> None:
        """Do jobs until told to stop; the body of the side task."""
        if self._idle and (refused := lower_priority()):
            # Under systemd the unit says how high the priority is, and may keep us from doing so.
            log.info("the priority of reading stays as it is", reason=refused)
        for job in self._jobs.taken(stopping):
            self._put(self._do(job, stopping))

    def _do(self, job: Job, stopping: Stopping) -> Message:
        match job:
            case VerifyJob():
                verified = self._guarded(lambda: self._verify(job, stopping), stopping)
                return Verified(job.checkpoint, verified)
            case ScrubJob():
                scrubbed = self._guarded(lambda: self._scrub(job, stopping), stopping)
                if isinstance(scrubbed, ResumeDaemonError):
                    scrubbed = Scrub(job.begin, stopped=scrubbed)
                return Scrubbed(job.checkpoint, job.manifest.fingerprint, scrubbed)
            case SnapshotJob():
                snapshot = self._guarded(lambda: self._snapshot(job), stopping)
                return Snapshotted(job.checkpoint, job.fingerprint, snapshot)

    def _guarded(
        self, work: Callable[[], Result], stopping: Stopping
    ) -> Result | ResumeDaemonError:
        return outcome(work, stopping, operation="read", where=str(self._run))

    def _verify(self, job: VerifyJob, stopping: Stopping) -> Verification:
        return verify(
            self._run / job.checkpoint,
            boundary=self._run,
            references=job.references,
            options=self.options,
            cancelled=lambda: stopping() or self._jobs.given_up(),
            progress=StillReading(job.checkpoint),
        )

    def _scrub(self, job: ScrubJob, stopping: Stopping) -> Scrub:
        return scrub(
            self._run / job.checkpoint,
            boundary=self._run,
            manifest=job.manifest,
            begin=job.begin,
            reading=replace(self.options.reading, bytes_per_second=job.bytes_per_second),
            cancelled=lambda: stopping() or self._jobs.given_up(),
        )

    def _snapshot(self, job: SnapshotJob) -> SnapshotIndex:
        listing = list_checkpoint(self._run / job.checkpoint, boundary=self._run)
        if listing.fingerprint() != job.fingerprint:
            raise ChangedError("snapshot", listing.root, "it changed since it was verified")
        collected = collect(listing, self._run, self._configuration)
        for name, why in collected.left_out.items():
            log.info("left out of the snapshot", checkpoint=job.checkpoint, file=name, reason=why)
        contents = dict(collected.contents)
        for file, assignment in job.curriculum.items():
            contents[CURRICULUM + file] = self._versions.get(assignment.digest)
        index = SnapshotIndex(job.checkpoint, job.step, curriculum=job.curriculum)
        try:
            if job.sound:
                self._keep_small_files(listing)
            return write_snapshot(self._snapshots, contents, index)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnwrittenError("write a snapshot to", self._snapshots, reason) from error

    def _keep_small_files(self, listing: Listing) -> None:
        layout = layout_of(listing)
        if layout is None:
            return
        for name in worth_keeping(listing, layout.parts(listing)):
            self._small_files.add(read_bounded(listing.path(name)))
        self._small_files.prune()
