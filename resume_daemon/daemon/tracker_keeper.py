"""Keeps the tracker's side: which step pairs are recorded, and what drift there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from resume_daemon.daemon.keeper import Judged
from resume_daemon.drift import CODES, DroppedRows, conditions, stalled
from resume_daemon.errors import LedgerError, ResumeDaemonError
from resume_daemon.findings import Verdict
from resume_daemon.seams import Seam, bases_of, lookup, mode_of, newest_seam
from resume_daemon.trackers.pairs import compact
from resume_daemon.trackers.rows import SegmentRows, TrustedRows, pair_of_checkpoint
from resume_daemon.trackers.wandb_local import SegmentState, find_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resume_daemon.config.settings import Drift
    from resume_daemon.daemon.messages import TrackerPolled
    from resume_daemon.daemon.recorder import Recorder
    from resume_daemon.ledger.queries import CheckpointState, PairState
    from resume_daemon.seams import Lookup
    from resume_daemon.steps import StepPair
    from resume_daemon.trackers.view import TrackerView

log = structlog.get_logger()

_PAIRED = {Verdict.SOUND, Verdict.DEGRADED, Verdict.UNSOUND}
"""Verdicts of checkpoints whose save ended, so that one step is theirs."""

_PREFIXES = tuple(f"{code.name}:" for code in CODES)


class TrackerKeeper:
    """Turns views of the tracker's logs into recorded pairs and conditions.

    Args:
        recorder: Where pairs are recorded.
        settings: Which drift is accepted.
        wall: Seconds since the epoch.
    """

    def __init__(self, recorder: Recorder, settings: Drift, wall: Callable[[], float]) -> None:
        self.settings = settings
        self.view: TrackerView | None = None
        self._recorder = recorder
        self._wall = wall
        self._match: tuple[Lookup, StepPair | None] | None = None
        self._rows: dict[str, TrustedRows] = {}
        self._row_seen: dict[str, tuple[int, float]] = {}

    def known_segments(self) -> dict[str, SegmentState]:
        """Return the segment states that the ledger keeps, from which reading goes on.

        None of them where a checkpoint's pair is still owed: its row may lie before the offset.
        """
        state = self._recorder.state
        if any(
            not _is_current(state.pair_at_checkpoint.get(name), checkpoint)
            for name, checkpoint in state.checkpoints.items()
            if checkpoint.verdict in _PAIRED
        ):
            return {}
        found = {}
        for pair in self._recorder.state.pair_in_segment.values():
            if pair.state is None:
                continue
            try:
                found[pair.segment] = SegmentState.from_json(pair.state)
            except (TypeError, KeyError, ValueError):
                # Written by another version: the log is read again from its beginning.
                log.info("W&B log is read from its beginning", segment=pair.segment)
        return found

    def on_polled(self, message: TrackerPolled) -> None:
        """Record the pairs that are worth it.

        Raises:
            LedgerError: They could not be recorded; the message may be handed in again.
        """
        view = message.view
        before, self.view = self.view, view
        try:
            self._record_changes(view, before)
        except LedgerError:
            self.view = before
            raise
        self._remember(view)

    @property
    def seam(self) -> Seam | None:
        """The newest seam between two segments, if there is one."""
        if self.view is None:
            return None
        return newest_seam(
            self.view.segments, match=self._matched(), checkpoint_steps=self._steps()
        )

    def segment_started_at(self, segment: str) -> float:
        """Return when a segment's process started, seconds since the epoch; 0.0 if not known."""
        segments = self.view.segments if self.view is not None else ()
        return next((s.started_at for s in segments if s.segment == segment), 0.0)

    def judged(self) -> Judged:
        """Return what drift there is now; nothing is judged before the logs were read."""
        view = self.view
        if view is None:
            return Judged()
        if not view.segments:
            return Judged(_PREFIXES)
        found = list(
            conditions(
                view.segments,
                match=self._matched(),
                dropped=self._dropped(view),
                checkpoint_steps=self._steps(),
            )
        )
        accepted = self.settings.accepted_rows
        found = [c for c in found if c.drift is None or abs(c.drift) > accepted]
        if (stall := self._stalled(view)) is not None:
            found.append(stall)
        return Judged(_PREFIXES, tuple(found))

    def record_checkpoints(self, changed: Mapping[str, int]) -> None:
        """Record the pair of each checkpoint whose row has arrived.

        Args:
            changed: By checkpoint that is on disk, its change time in nanoseconds since the epoch.

        Raises:
            LedgerError: They could not be recorded; they are found again.
        """
        if self.view is None or not self.view.segments:
            return
        rows = self._segment_rows(self.view)
        # The trainer's own note of a save stands until the log has the row: both say the same.
        known_segments = {segment.segment for segment in self.view.segments}
        told = {p.trainer_step: p for p in self.view.told if p.segment in known_segments}
        state = self._recorder.state
        records: list[tuple[str, dict[str, Any]]] = []
        for name, checkpoint in state.checkpoints.items():
            if checkpoint.step is None or name not in changed or checkpoint.verdict not in _PAIRED:
                continue
            known = state.pair_at_checkpoint.get(name)
            pair = pair_of_checkpoint(checkpoint.step, changed[name] / 1e9, rows)
            if pair is None:
                pair = told.get(checkpoint.step)
            if pair is not None and not (known is not None and _is_same(known, pair)):
                records.append(("pair", self._fields(pair, name)))
        if records:
            self._recorder.append(*records)

    def _record_changes(self, view: TrackerView, before: TrackerView | None) -> None:
        """Record the pairs at which the relation of the two steps changes."""
        last = before.segments[-1].last_pair if before and before.segments else None
        known = self._recorder.state.pair_in_segment.values()
        records = [
            ("pair", self._fields(kept.pair, None))
            for kept in compact(view.pairs, previous=last, mode=mode_of(view.segments))
            if not any(_is_same(pair, kept.pair) for pair in known)
        ]
        if records:
            self._recorder.append(*records)

    def _fields(self, pair: StepPair, checkpoint: str | None) -> dict[str, Any]:
        segments = self.view.segments if self.view is not None else ()
        segment = next((s for s in segments if s.segment == pair.segment), None)
        # An offline segment counts from 0 again; W&B adds the base when it is synced.
        base, predicted = bases_of(segments).get(pair.segment, (0, False))
        return {
            "tracker": pair.tracker,
            "run_id": pair.run_id,
            "segment": pair.segment,
            "tracker_step": pair.tracker_step,
            "trainer_step": pair.trainer_step,
            "checkpoint": checkpoint,
            "base": base,
            "predicted": predicted,
            "offset": pair.offset,
            "state": segment.as_json() if segment is not None else None,
        }

    def _remember(self, view: TrackerView) -> None:
        """Keep the new rows, so that checkpoints and seams find theirs without reading again."""
        for pair in view.pairs:
            rows = self._rows.get(pair.segment)
            if rows is None:
                rows = TrustedRows(pair.tracker, pair.run_id, pair.segment)
                self._rows[pair.segment] = rows
            rows.extend([pair])
            self._row_seen[pair.segment] = (pair.trainer_step, self._wall())

    def _segment_rows(self, view: TrackerView) -> list[SegmentRows]:
        newest = view.segments[-1].segment
        return [
            SegmentRows(
                started_at=segment.started_at,
                ended=segment.exit_code is not None or segment.segment != newest,
                rows=self._rows[segment.segment],
            )
            for segment in view.segments
            if segment.segment in self._rows
        ]

    def _matched(self) -> StepPair | None:
        """Return the earlier row of the step at the newest seam; searched for once per seam."""
        if self.view is None or (wanted := lookup(self.view.segments)) is None:
            return None
        if self._match is not None and self._match[0] == wanted:
            return self._match[1]
        rows = self._rows.get(wanted.segment)
        found = rows.at_or_below(wanted.trainer_step) if rows is not None else None
        path = self.view.paths.get(wanted.segment)
        if found is None and path is not None:
            try:
                found = find_pair(path, wanted.trainer_step)
            except ResumeDaemonError as error:
                log.warning(
                    "W&B log cannot be searched", segment=wanted.segment, reason=error.reason
                )
        self._match = (wanted, found)
        return found

    def _steps(self) -> tuple[int, ...]:
        """Return the steps of every checkpoint that was ever seen; rotated ones count too."""
        states = self._recorder.state.checkpoints.values()
        return tuple(state.step for state in states if state.step is not None)

    def _dropped(self, view: TrackerView) -> tuple[DroppedRows, ...]:
        ids = {segment.segment: segment.run_id for segment in view.segments}
        return tuple(
            DroppedRows(
                run_id=ids[segment],
                segment=segment,
                count=rows.count,
                first=rows.first,
                last=rows.last,
            )
            for segment, rows in view.dropped.items()
            if segment in ids
        )

    def _stalled(self, view: TrackerView) -> Any | None:
        segment = view.segments[-1]
        complete = [
            (state.step, state.at.timestamp())
            for state in self._recorder.state.checkpoints.values()
            if state.step is not None and state.verdict != Verdict.INCOMPLETE
        ]
        if not complete or segment.segment not in self._row_seen:
            return None
        step, at = max(complete)
        _, seen = self._row_seen[segment.segment]
        return stalled(segment, checkpoint_step=step, seconds_behind=at - seen)


def _is_same(known: PairState, pair: StepPair) -> bool:
    return (known.segment, known.tracker_step, known.trainer_step) == (
        pair.segment,
        pair.tracker_step,
        pair.trainer_step,
    )


def _is_current(known: PairState | None, checkpoint: CheckpointState) -> bool:
    """Return whether a checkpoint's pair was recorded after its last verdict."""
    return known is not None and known.seq > checkpoint.seq
