"""W&B's local logs: from the directory of one process's log to trusted step pairs.

One process is one directory, a *segment*: ``wandb/run-<time>-<id>`` or ``wandb/offline-run-...``,
with ``run-<id>.wandb`` in it. A resume with the same id makes a new directory (measured with wandb
0.22.3 to 0.31.0).

A row is *trusted* where a new trainer step other than 0 appears in it. Other rows that carry the
key do so because W&B inserts its last value (``define_metric(..., step_sync=True)``, which
transformers asks for), and after every restart it inserts a 0 that no trainer ever logged.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.files import read_bounded, read_error
from resume_daemon.steps import StepPair
from resume_daemon.trackers.wandb_log import PIECE, read_log
from resume_daemon.trackers.wandb_records import (
    ExitRecord,
    HeaderRecord,
    HistoryRow,
    MetricDefinition,
    RunRecord,
    WireError,
    decode_record,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resume_daemon.trackers.wandb_records import Record

STEP_KEYS = ("train/global_step", "trainer/global_step", "training/global_step")
"""Where the trainer step is logged: transformers, TRL and OpenRLHF; Lightning; verl."""

RECENT = 16
"""Distances between trusted rows that are kept, to know how often the trainer logs."""

_SEGMENT = re.compile(r"(?P<offline>offline-)?run-(?P<time>\d{8}_\d{6})-(?P<id>.+)")
_SYNC_STATE_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class SegmentState:
    """What is known of one segment after reading its log up to ``offset``.

    Attributes:
        segment: Directory name.
        run_id: W&B's id of the run.
        offline: Whether the process ran in offline mode, where ``_step`` starts at 0 again.
        offset: Bytes of the log that were read: the whole state of the reader.
        rows: History rows seen.
        first_tracker_step: ``_step`` of the first row that has one.
        last_tracker_step: ``_step`` of the last row that has one.
        first_pair: The first trusted row.
        last_pair: The last trusted row.
        highest_trainer_step: The highest trainer step of a trusted row; 0 before the first.
        trusted: Number of trusted rows.
        key: The history key that holds the trainer step: the first of those asked for that a row
            carried. It stays.
        recent: Distances (trainer steps, tracker steps) between the last trusted rows.
        widest: Largest distance in tracker steps between two trusted rows that follow each other.
        step_sync: W&B was told to insert the trainer step in every row, so the trainer leaves
            ``_step`` to W&B.
        offset_moved: The difference of the two steps changed from one trusted row to another.
        side_rows_move: A row that is not trusted had a ``_step`` of its own.
        shared: Rows without ``_step``: the backend assigns it and nothing here can compare.
        damaged: Places at which records were lost.
        exit_code: Of the exit record, which a killed process does not write.
        branch_step: ``_step`` that this segment was rewound to or forked from.
        starting_step: Of an offline segment that was synced by wandb 0.31 or later: its first
            ``_step`` on W&B's side, from ``.syncstate``; else 0.
        producer: Version of wandb that wrote the log.
        started_at: Seconds since the epoch; 0.0 until the run record is read.
    """

    segment: str
    run_id: str
    offline: bool
    offset: int = 0
    rows: int = 0
    first_tracker_step: int | None = None
    last_tracker_step: int | None = None
    first_pair: StepPair | None = None
    last_pair: StepPair | None = None
    highest_trainer_step: int = 0
    trusted: int = 0
    key: str | None = None
    recent: tuple[tuple[int, int], ...] = ()
    widest: int = 0
    step_sync: bool = False
    offset_moved: bool = False
    side_rows_move: bool = False
    shared: int = 0
    damaged: int = 0
    exit_code: int | None = None
    branch_step: int | None = None
    starting_step: int = 0
    producer: str = ""
    started_at: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SegmentState:
        """Return the state that ``as_json`` wrote, also after JSON made lists of its tuples.

        Raises:
            TypeError: ``value`` has other fields: it was written by another version.
        """
        fields = dict(value)
        for name in ("first_pair", "last_pair"):
            if fields.get(name) is not None:
                fields[name] = StepPair(**fields[name])
        fields["recent"] = tuple((trainer, tracker) for trainer, tracker in fields["recent"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Polled:
    """One poll of a segment.

    Attributes:
        state: What is known now; hand it to the next poll.
        pairs: The trusted rows that are new, in order.
        more: Whether the limit left something unread: poll again soon.
        restarted: The log was replaced or cut; ``state`` and ``pairs`` begin from its start.
    """

    state: SegmentState
    pairs: tuple[StepPair, ...]
    more: bool
    restarted: bool = False


def list_segments(wandb_directory: Path) -> list[Path]:
    """Return the segments of a ``wandb`` directory in the order of their start.

    Links (``latest-run``) are not followed. A directory that is not there holds no segment.

    Raises:
        ResumeDaemonError: The directory cannot be listed.
    """
    found: list[tuple[str, int, str]] = []
    try:
        with os.scandir(wandb_directory) as entries:
            for entry in entries:
                match = _SEGMENT.fullmatch(entry.name)
                if match is None:
                    continue
                try:
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    # Two starts in one second: the second gets "-1" behind its name, which an id
                    # may end with too. The logs' names tell, and failing that the time of creation.
                    log = _find_log(Path(entry.path))
                    again = _suffix(match["id"], log)
                except VanishedError:
                    continue
                found.append((match["time"], again, entry.name))
    except OSError as error:
        gone = read_error(error, wandb_directory)
        if isinstance(gone, VanishedError):
            return []
        raise gone from error
    return [wandb_directory / name for _, _, name in sorted(found)]


def poll(
    directory: Path,
    state: SegmentState | None = None,
    keys: Sequence[str] = STEP_KEYS,
    limit: int = PIECE,
) -> Polled | None:
    """Read what a segment's log has gained; None where it has no log yet.

    Args:
        directory: The segment.
        state: Of the poll before, or None to begin.
        keys: History keys that may hold the trainer step; the first one found in a row is kept.
        limit: Bytes to read at most, approximately (see ``read_log``).

    Raises:
        VanishedError: The segment is gone.
        FormatError: Its log is no W&B log.
        ResumeDaemonError: It cannot be read.
    """
    if state is None:
        log = _find_log(directory)
        if log is None:
            return None
        state = _new_state(directory, log)
    log = directory / f"run-{state.run_id}.wandb"
    piece = read_log(log, state.offset, limit)
    if piece.shrunk:
        again = poll(directory, _new_state(directory, log), keys, limit)
        return replace(again, restarted=True) if again is not None else None
    starting_step = state.starting_step or (_starting_step(log) if state.offline else 0)
    if not piece.records and piece.offset == state.offset:
        if starting_step != state.starting_step:
            state = replace(state, starting_step=starting_step)
        return Polled(state, (), piece.more)
    reader = _Reader(state, keys)
    for payload, end in piece.records:
        reader.feed(payload, end)
    return Polled(
        reader.state(piece.offset, piece.damaged, starting_step), tuple(reader.pairs), piece.more
    )


def find_pair(
    directory: Path,
    trainer_step: int,
    after: StepPair | None = None,
    keys: Sequence[str] = STEP_KEYS,
) -> StepPair | None:
    """Read a segment again for the trusted row of ``trainer_step``.

    Args:
        directory: The segment.
        trainer_step: The step to look for.
        after: A trusted row of this segment to start behind, such as one from the ledger; None
            starts at the beginning.
        keys: As for ``poll``.

    Returns:
        The last trusted row with that step; where there is none, the one with the highest step
        below it; None where all are above, or the segment is gone.

    Raises:
        FormatError: The log is no W&B log.
        ResumeDaemonError: It cannot be read.
    """
    best: StepPair | None = None
    state: SegmentState | None = None
    try:
        log = _find_log(directory)
        if log is None:
            return None
        state = _new_state(directory, log)
        if after is not None and after.segment == directory.name:
            state = replace(state, offset=after.offset, first_pair=after, last_pair=after)
            best = after if after.trainer_step <= trainer_step else None
        more = True
        while more:
            polled = poll(directory, state, keys)
            if polled is None or polled.restarted:
                return None
            for pair in polled.pairs:
                below = best.trainer_step if best is not None else 0
                if below <= pair.trainer_step <= trainer_step:
                    best = pair
            state, more = polled.state, polled.more
    except VanishedError:
        return None
    return best


class _Reader:
    """The facts of a segment while records are fed in; exists for one poll."""

    def __init__(self, state: SegmentState, keys: Sequence[str]) -> None:
        self._state = state
        self._keys = keys
        self._wanted = {key.encode(): key for key in ([state.key] if state.key else keys)}
        self._facts: dict[str, Any] = {}
        self._rows = state.rows
        self._trusted = state.trusted
        self._key = state.key
        self._first = state.first_tracker_step
        self._last = state.last_tracker_step
        self._first_pair = state.first_pair
        self._last_pair = state.last_pair
        self._highest = state.highest_trainer_step
        self._recent = list(state.recent)
        self._widest = state.widest
        self._offset_moved = state.offset_moved
        self._side_rows_move = state.side_rows_move
        self._shared = state.shared
        self._damaged = state.damaged
        self.pairs: list[StepPair] = []

    def feed(self, payload: bytes, end: int) -> None:
        try:
            record = decode_record(payload, self._wanted)
        except WireError:
            self._damaged += 1
            return
        if type(record) is HistoryRow:
            self._row(record, end)
        elif record is not None:
            self._facts.update(_facts_of(record, self._keys))

    def _row(self, row: HistoryRow, end: int) -> None:
        self._rows += 1
        step = row.step
        if step is None:
            self._shared += 1
            return
        if self._key is None:
            self._key = next((key for key in self._keys if row.values.get(key)), None)
            if self._key is not None:
                self._wanted = {self._key.encode(): self._key}
        value = row.values.get(self._key) if self._key is not None else None
        trainer_step = (whole_number(value) if value is not None else None) or 0
        known = self._last_pair.trainer_step if self._last_pair is not None else 0
        if trainer_step > 0 and trainer_step != known:
            self._pair(step, trainer_step, end)
        elif step != self._last:
            self._side_rows_move = True
        if self._first is None:
            self._first = step
        self._last = step

    def _pair(self, step: int, trainer_step: int, end: int) -> None:
        state, previous = self._state, self._last_pair
        pair = StepPair("wandb", state.run_id, state.segment, step, trainer_step, end)
        if previous is not None:
            trainer = trainer_step - previous.trainer_step
            tracker = step - previous.tracker_step
            self._offset_moved = self._offset_moved or trainer != tracker
            self._recent.append((trainer, tracker))
            del self._recent[:-RECENT]
            self._widest = max(self._widest, tracker)
        self._first_pair = self._first_pair or pair
        self._last_pair = pair
        self._highest = max(self._highest, trainer_step)
        self._trusted += 1
        self.pairs.append(pair)

    def state(self, offset: int, damaged: int, starting_step: int) -> SegmentState:
        return replace(
            self._state,
            offset=offset,
            rows=self._rows,
            first_tracker_step=self._first,
            last_tracker_step=self._last,
            first_pair=self._first_pair,
            last_pair=self._last_pair,
            highest_trainer_step=self._highest,
            trusted=self._trusted,
            key=self._key,
            recent=tuple(self._recent),
            widest=self._widest,
            offset_moved=self._offset_moved,
            side_rows_move=self._side_rows_move,
            shared=self._shared,
            damaged=self._damaged + damaged,
            starting_step=starting_step,
            **self._facts,
        )


def _facts_of(record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a segment that a record other than a row settles."""
    if isinstance(record, MetricDefinition):
        return {"step_sync": True} if record.step_sync and record.step_metric in keys else {}
    if isinstance(record, RunRecord):
        facts: dict[str, Any] = {"started_at": record.started_at}
        if record.branch_step is not None:
            facts["branch_step"] = whole_number(record.branch_step)
        return facts
    if isinstance(record, ExitRecord):
        return {"exit_code": record.exit_code}
    if isinstance(record, HeaderRecord):
        return {"producer": record.producer}
    return {}


def _find_log(directory: Path) -> Path | None:
    """Return the log of a segment, or None while it has none; its name holds the run id."""
    try:
        with os.scandir(directory) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.startswith("run-") and entry.name.endswith(".wandb")
            )
    except OSError as error:
        raise read_error(error, directory) from error
    return directory / names[0] if names else None


def _run_id(log: Path) -> str:
    return log.name.removeprefix("run-").removesuffix(".wandb")


def _suffix(name: str, log: Path | None) -> int:
    """Return the n of a segment that is called ``<id>-<n>``: its place within one second."""
    tail = name.removeprefix(_run_id(log)) if log is not None else ""
    return int(tail[1:]) if re.fullmatch(r"-\d{1,6}", tail) else 0


def _new_state(directory: Path, log: Path) -> SegmentState:
    offline = directory.name.startswith("offline-")
    return SegmentState(segment=directory.name, run_id=_run_id(log), offline=offline)


def _starting_step(log: Path) -> int:
    """Return W&B's own note of where a segment starts, or 0; written since wandb 0.29."""
    try:
        value = json.loads(read_bounded(log.with_name(f"{log.name}.syncstate"), _SYNC_STATE_LIMIT))
    except (VanishedError, FormatError, ValueError, RecursionError):
        # It is a hint that is rewritten in place: absent, half written or odd, there is none.
        return 0
    step = value.get("starting_step") if isinstance(value, dict) else None
    return step if type(step) is int and step > 0 else 0
