"""What commands ask of a ledger, as a fold over its records: no database is needed.

Memory is bounded by the number of checkpoints, conditions and tracker segments (and
``MAX_CURRICULUM_VERSIONS``), not by the number of records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from resume_daemon.conditions import Condition
from resume_daemon.findings import Severity, Verdict
from resume_daemon.ledger.record import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resume_daemon.ledger.record import Record

MAX_CURRICULUM_VERSIONS = 1000
"""Versions of curriculum files that are remembered; older ones stay in the ledger alone."""


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """The latest verdict on one checkpoint.

    ``fingerprint`` is that of the listing it was reached on (``Listing.fingerprint``), ``manifest``
    the digest of the manifest; both None where the record has none. ``since`` is when this same
    verdict was first given in an unbroken row. ``why`` is the gravest finding's message.
    """

    checkpoint: str
    path: str
    layout: str
    step: int | None
    verdict: str
    codes: tuple[str, ...]
    manifest: str | None
    fingerprint: str | None
    at: datetime
    since: datetime
    seq: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class ScrubState:
    """The latest time that a checkpoint was read again and found to be what it was."""

    checkpoint: str
    fingerprint: str | None
    at: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class SnapshotState:
    """The latest snapshot of one checkpoint.

    ``files`` maps names to digests; ``fingerprint`` is that of the listing it was taken of.
    """

    checkpoint: str
    step: int | None
    curriculum_step: int | None
    stage: str | None
    files: Mapping[str, str]
    at: datetime
    seq: int
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class PairState:
    """A recorded step pair.

    ``tracker_step`` is the segment's own; with ``base`` added it is the run's (offline segments
    start at 0 again). ``state`` is what the reader knew of the segment then.
    """

    tracker: str
    run_id: str
    segment: str
    tracker_step: int
    trainer_step: int
    checkpoint: str | None
    at: datetime
    seq: int
    state: Mapping[str, Any] | None = None
    base: int = 0


@dataclass(frozen=True, slots=True)
class BackupState:
    """The latest that became of one backup.

    ``phase`` is ``verified`` (all of it is at the destination, read back) or ``dropped``;
    ``content`` is the digest of what the checkpoint consists of.
    """

    id: str
    destination: str
    checkpoint: str
    step: int | None
    content: str
    phase: str
    at: datetime
    seq: int

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``status --json`` and ``plan --json`` promise."""
        return {
            "backup": self.id,
            "checkpoint": self.checkpoint,
            "step": self.step,
            "destination": self.destination,
            "at": rfc3339(self.at),
        }


@dataclass(frozen=True, slots=True)
class FiringState:
    """A condition that fires now; ``since`` is when it started to, not its latest record."""

    condition: Condition
    since: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class DaemonEvent:
    """The last thing that a daemon said about itself."""

    event: str
    version: str
    pid: int | None
    host: str
    at: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class CurriculumVersion:
    """One content that a curriculum file had; ``size`` in bytes."""

    file: str
    digest: str
    step: int | None
    stage: str | None
    schema: str | None
    size: int | None
    at: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the tracker's server last said of the run; ``state`` is the server's own word."""

    tracker: str
    run_id: str
    state: str
    tracker_step: int | None
    trainer_step: int | None
    at: datetime
    seq: int


@dataclass(slots=True)
class RunState:
    """What a ledger says now. Apply its records in order; those already applied are skipped.

    Attributes:
        seq: The newest record that was applied, 0 for none.
        digest: Its digest.
        checkpoints: Latest verdict by checkpoint.
        sound: Latest verdict by checkpoint that was sound; it may be worse by now.
        backups: Latest that became of each backup, by its destination and id.
        scrubs: Latest scrub by checkpoint.
        snapshots: Latest snapshot by checkpoint.
        pair_at_checkpoint: Newest step pair by checkpoint.
        pair_in_segment: Newest step pair by (tracker, run id, segment).
        firing: Conditions that fire now, by key, in the order in which they started.
        daemon: The last daemon event, or None.
        server: What the tracker's server last said, or None.
        curriculum: Versions by (file, digest), the latest seen last.
        log_positions: By path of a trainer's log, its inode and up to where it was read.
    """

    seq: int = 0
    digest: str = ""
    checkpoints: dict[str, CheckpointState] = field(default_factory=dict)
    sound: dict[str, CheckpointState] = field(default_factory=dict)
    backups: dict[tuple[str, str], BackupState] = field(default_factory=dict)
    scrubs: dict[str, ScrubState] = field(default_factory=dict)
    snapshots: dict[str, SnapshotState] = field(default_factory=dict)
    pair_at_checkpoint: dict[str, PairState] = field(default_factory=dict)
    pair_in_segment: dict[tuple[str, str, str], PairState] = field(default_factory=dict)
    firing: dict[str, FiringState] = field(default_factory=dict)
    daemon: DaemonEvent | None = None
    server: ServerState | None = None
    curriculum: dict[tuple[str, str], CurriculumVersion] = field(default_factory=dict)
    log_positions: dict[str, tuple[int, int]] = field(default_factory=dict)

    def apply(self, record: Record) -> None:
        """Take one record in; kinds that say nothing about the present only move ``seq``."""
        if record.seq <= self.seq:
            return
        self.seq, self.digest = record.seq, record.digest
        match record.kind:
            case "verdict":
                self._verdict(record)
            case "scrub":
                get = record.fields.get
                if (name := _text(get("checkpoint"))) is not None:
                    fingerprint = _text(get("fingerprint"))
                    self.scrubs[name] = ScrubState(name, fingerprint, record.at, record.seq)
            case "snapshot":
                self._snapshot(record)
            case "pair":
                self._pair(record)
            case "backup":
                self._backup(record)
            case "drift" | "condition":
                self._condition(record)
            case "curriculum":
                self._curriculum(record)
            case "trainer":
                get = record.fields.get
                path, inode, offset = _text(get("file")), get("inode"), get("offset")
                if path is not None and type(inode) is int and type(offset) is int:
                    self.log_positions[path] = (inode, offset)
            case "tracker":
                get = record.fields.get
                self.server = ServerState(
                    tracker=_text(get("tracker")) or "",
                    run_id=_text(get("run_id")) or "",
                    state=_text(get("state")) or "",
                    tracker_step=_integer(get("tracker_step")),
                    trainer_step=_integer(get("trainer_step")),
                    at=record.at,
                    seq=record.seq,
                )
            case "daemon":
                get = record.fields.get
                self.daemon = DaemonEvent(
                    _text(get("event")) or "",
                    _text(get("version")) or "",
                    _integer(get("pid")),
                    _text(get("host")) or "",
                    record.at,
                    record.seq,
                )

    def verified_backups(self) -> list[BackupState]:
        """Return the backups that the daemon made and did not drop since, the newest first."""
        found = [each for each in self.backups.values() if each.phase == "verified"]
        return sorted(found, key=lambda each: each.seq, reverse=True)

    def curriculum_of(self, file: str) -> CurriculumVersion | None:
        """Return the latest version of a curriculum file, or None."""
        return next((v for v in reversed(self.curriculum.values()) if v.file == file), None)

    def _verdict(self, record: Record) -> None:
        get = record.fields.get
        name, verdict = _text(get("checkpoint")), _text(get("verdict"))
        if name is None or verdict is None:
            return
        before = self.checkpoints.get(name)
        same = before is not None and before.verdict == verdict
        self.checkpoints[name] = CheckpointState(
            checkpoint=name,
            path=_text(get("path")) or "",
            layout=_text(get("layout")) or "",
            step=_integer(get("step")),
            verdict=verdict,
            codes=_texts(get("codes")),
            manifest=_text(get("manifest")),
            fingerprint=_text(get("fingerprint")),
            at=record.at,
            since=before.since if before is not None and same else record.at,
            seq=record.seq,
            why=_text(get("why")) or "",
        )
        if verdict == Verdict.SOUND:
            self.sound[name] = self.checkpoints[name]

    def _backup(self, record: Record) -> None:
        get = record.fields.get
        identity, phase = _text(get("backup")), _text(get("phase"))
        if identity is None or phase not in {"verified", "dropped"}:
            return  # What failed changes nothing of what is there.
        destination = _text(get("destination")) or ""
        self.backups[destination, identity] = BackupState(
            id=identity,
            destination=destination,
            checkpoint=_text(get("checkpoint")) or "",
            step=_integer(get("step")),
            content=_text(get("content")) or "",
            phase=phase,
            at=record.at,
            seq=record.seq,
        )

    def _snapshot(self, record: Record) -> None:
        get = record.fields.get
        if (name := _text(get("checkpoint"))) is None:
            return
        files = get("files")
        self.snapshots[name] = SnapshotState(
            checkpoint=name,
            step=_integer(get("step")),
            curriculum_step=_integer(get("curriculum_step")),
            stage=_name(get("stage")),
            files=cast("dict[str, str]", files) if isinstance(files, dict) else {},
            at=record.at,
            seq=record.seq,
            fingerprint=_text(get("fingerprint")),
        )

    def _pair(self, record: Record) -> None:
        get = record.fields.get
        key = tuple(_text(get(part)) or "" for part in ("tracker", "run_id", "segment"))
        tracker_step, trainer_step = _integer(get("tracker_step")), _integer(get("trainer_step"))
        if tracker_step is None or trainer_step is None:
            return
        tracker, run_id, segment = key
        checkpoint = _text(get("checkpoint"))
        pair = PairState(
            tracker=tracker,
            run_id=run_id,
            segment=segment,
            tracker_step=tracker_step,
            trainer_step=trainer_step,
            checkpoint=checkpoint,
            at=record.at,
            seq=record.seq,
            state=get("state") if isinstance(get("state"), dict) else None,
            base=_integer(get("base")) or 0,
        )
        self.pair_in_segment[tracker, run_id, segment] = pair
        if checkpoint is not None:
            self.pair_at_checkpoint[checkpoint] = pair

    def _condition(self, record: Record) -> None:
        get = record.fields.get
        if (key := _text(get("condition"))) is None:
            return
        if get("state") == "resolved":
            self.firing.pop(key, None)
        elif get("state") == "firing":
            condition = Condition(
                key=key,
                code=_text(get("code")) or "",
                severity=_severity(get("severity")),
                message=_text(get("message")) or "",
                checkpoint=_text(get("checkpoint")),
                tracker_step=_integer(get("tracker_step")),
                trainer_step=_integer(get("trainer_step")),
                offset=_integer(get("offset")),
                drift=_integer(get("drift")),
            )
            before = self.firing.get(key)
            since = before.since if before else _time(get("since")) or record.at
            self.firing[key] = FiringState(condition, since, record.seq)

    def _curriculum(self, record: Record) -> None:
        get = record.fields.get
        file, digest = _text(get("file")), _text(get("digest"))
        if file is None or digest is None:
            return
        # Moved to the end: a file that returns to an old content has that content now.
        self.curriculum.pop((file, digest), None)
        self.curriculum[file, digest] = CurriculumVersion(
            file=file,
            digest=digest,
            step=_integer(get("step")),
            stage=_name(get("stage")),
            schema=_name(get("schema")),
            size=_integer(get("size")),
            at=record.at,
            seq=record.seq,
        )
        if len(self.curriculum) > MAX_CURRICULUM_VERSIONS:
            del self.curriculum[next(iter(self.curriculum))]


def fold(records: Iterable[Record]) -> RunState:
    """Return the state after all of ``records``."""
    state = RunState()
    for record in records:
        state.apply(record)
    return state


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _name(value: Any) -> str | None:
    """Return a stage or schema, which may be written as a number, as text."""
    return None if value is None else str(value)


def _time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None


def _severity(value: Any) -> Severity:
    try:
        return Severity(value)
    except ValueError:
        return Severity.WARNING
