from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon import drift, seams
from resume_daemon.drift import CODES, DroppedRows, conditions, stalled
from resume_daemon.findings import Code, Severity
from resume_daemon.seams import Lookup, SeamKind, StepMode, lookup, mode_of, newest_seam
from resume_daemon.trackers import testing
from resume_daemon.trackers.wandb_local import SegmentState, find_pair, poll

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from resume_daemon.conditions import Condition
    from resume_daemon.seams import Seam
    from resume_daemon.steps import StepPair

KEY = "train/global_step"
SETTINGS = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)


class Wandb:
    """W&B beside a trainer: processes are run one after another, each leaving a segment."""

    def __init__(self, root: Path, *, offline: bool = False, explicit: bool = False) -> None:
        self.root = root / "wandb"
        self.offline = offline
        self.explicit = explicit
        self.rows: list[int] = []
        """The trainer step of each row that the server holds."""
        self.states: list[SegmentState] = []

    def train(
        self,
        first: int,
        last: int,
        *,
        every: int = 1,
        side_rows: Callable[[int], int] = lambda _: 0,
        rewind: int | None = None,
        unflushed: int = 0,
        stop_early: int = 0,
        run_id: str = "r",
        end: bool = False,
        producer: str = "0.31.0",
    ) -> None:
        """Log the steps from first to last.

        ``rewind``: W&B is rewound to this step first. ``unflushed``: rows that a kill keeps from
        the local log. ``stop_early``: rows that a kill keeps from being logged at all.
        """
        begin = len(self.rows) if rewind is None else rewind + 1
        del self.rows[begin:]
        local = 0 if self.offline and rewind is None else begin
        logged: list[tuple[int, dict[str, object]]] = []
        known = 0
        for step in range(first, last + 1):
            if self.explicit:
                if step % every == 0:
                    logged.append((step, {KEY: step}))
                continue
            for _ in range(side_rows(step)):
                logged.append((local + len(logged), {"profiling/x": 1, KEY: known}))
                self.rows.append(step)
            if step % every == 0:
                logged.append((local + len(logged), {"train/loss": 1, KEY: step}))
                self.rows.append(step)
                known = step
        keep = max(0, len(logged) - stop_early)
        del self.rows[len(self.rows) - (len(logged) - keep) :]
        on_disk = logged[: max(0, keep - unflushed)]
        records = [testing.header(producer), testing.run(run_id, branch_step=rewind)]
        if not self.explicit:
            records.append(testing.metric("*", KEY))
        records += [testing.history(step, values) for step, values in on_disk]
        if end:
            records.append(testing.finish())
        mode = "offline-run" if self.offline else "run"
        name = f"{mode}-20260101_{len(self.states):06}-{run_id}"
        directory = testing.write_segment(self.root, records, name=name, run_id=run_id)
        polled = poll(directory, limit=1 << 30)
        assert polled is not None
        self.states.append(polled.state)

    def seam(self, checkpoints: Collection[int] = ()) -> Seam | None:
        """Return the newest seam, with what the logs on disk hold."""
        return newest_seam(self.states, match=self._match(), checkpoint_steps=checkpoints)

    def conditions(
        self, checkpoints: Collection[int] = (), dropped: Sequence[DroppedRows] = ()
    ) -> tuple[Condition, ...]:
        """Return what holds now."""
        return conditions(
            self.states, match=self._match(), checkpoint_steps=checkpoints, dropped=dropped
        )

    def the_condition(self) -> Condition:
        """Return the one condition that holds."""
        (condition,) = self.conditions()
        return condition

    def _match(self) -> StepPair | None:
        wanted = lookup(self.states)
        return (
            None if wanted is None else find_pair(self.root / wanted.segment, wanted.trainer_step)
        )


@pytest.fixture
def wandb(tmp_path: Path) -> Wandb:
    return Wandb(tmp_path)


def eval_every_50(step: int) -> int:
    """The evaluation after steps 50, 100, ...: it lies before the row of the next step."""
    return 1 if step > 1 and step % 50 == 1 else 0


def test_a_resume_without_rewind_leaves_the_stale_rows_as_matched_drift(wandb: Wandb) -> None:
    # The measured case of transformers: killed in step 150, resumed from checkpoint-100.
    wandb.train(1, 149, side_rows=eval_every_50)
    wandb.train(101, 250, side_rows=lambda s: eval_every_50(s) if s > 101 else 1)
    condition = wandb.the_condition()
    assert condition.code == "RD601"
    assert condition.key == "wandb-drift:r:run-20260101_000001-r"
    assert condition.drift == 50
    assert condition.message == (
        "W&B=150, trainer=100, offset=50: 50 rows of W&B history belong to steps 101 to 149 that "
        "were trained again; the curve shows them twice. To repair it, stop, rewind W&B with "
        "resume_from='r?_step=100' and resume from step 100 again; or accept it."
    )
    assert (condition.tracker_step, condition.trainer_step, condition.offset) == (150, 100, 50)


@pytest.mark.parametrize(
    ("offline", "first", "last", "again", "expected", "rewind_to"),
    [
        (False, 1, 150, 101, 50, 99),
        (False, 1, 149, 101, 49, 99),
        (True, 1, 150, 101, 50, 99),
        (False, 1, 150, 150, 1, 148),
        (False, 1, 150, 1, 150, None),
    ],
)
def test_matched_drift_counts_the_rows_that_are_logged_twice(
    tmp_path: Path,
    *,
    offline: bool,
    first: int,
    last: int,
    again: int,
    expected: int,
    rewind_to: int | None,
) -> None:
    wandb = Wandb(tmp_path, offline=offline)
    wandb.train(first, last)
    wandb.train(again, 200)
    seam = wandb.seam()
    assert seam is not None
    assert (seam.kind, seam.drift, seam.rewind_to) == (SeamKind.DRIFT, expected, rewind_to)
    assert seam.resume_step == again - 1
    assert seam.predicted is offline
    assert ("offline" in wandb.the_condition().message) is offline


def test_rewinding_as_the_message_says_is_clean(wandb: Wandb) -> None:
    wandb.train(1, 150, side_rows=lambda _: 6)
    wandb.train(101, 160, side_rows=lambda _: 6)
    seam = wandb.seam()
    assert seam is not None
    wandb.train(101, 200, side_rows=lambda _: 6, rewind=seam.rewind_to)
    after = wandb.seam()
    assert after is not None
    assert (after.kind, after.drift) == (SeamKind.CLEAN, 0)
    assert wandb.conditions() == ()


def test_a_rewind_that_stops_too_early_leaves_drift(wandb: Wandb) -> None:
    wandb.train(1, 150)
    wandb.train(101, 200, rewind=119)
    assert wandb.the_condition().drift == 20


@pytest.mark.parametrize("extra", [0, 1])
def test_rows_around_a_rewind_that_one_process_did_not_log_are_no_fault(
    wandb: Wandb, extra: int
) -> None:
    # The first process evaluated after step 100, the second logs something when it starts.
    wandb.train(1, 150, side_rows=eval_every_50)
    wandb.train(101, 200, side_rows=lambda s: extra if s == 101 else 0, rewind=100)
    assert wandb.conditions() == ()


def test_the_steps_of_trl_match_whatever_it_logs_besides(wandb: Wandb) -> None:
    # The measured case of GRPO: 8 rows per step, killed in step 13, resumed from checkpoint-10.
    wandb.train(1, 13, side_rows=lambda _: 7, stop_early=2)
    wandb.train(11, 20, side_rows=lambda _: 7)
    assert wandb.the_condition().drift == 22


def test_a_resume_where_the_trainer_stopped_is_clean(wandb: Wandb) -> None:
    wandb.train(1, 150, end=True)
    wandb.train(151, 200)
    assert wandb.conditions() == ()


def test_an_evaluation_before_training_is_no_rollback(wandb: Wandb) -> None:
    wandb.train(1, 100)
    wandb.train(100, 150)
    assert wandb.conditions(checkpoints=[50, 100]) == ()
    assert [c.drift for c in wandb.conditions(checkpoints=[50, 99, 100])] == [1]


def test_a_seam_before_its_first_trusted_row_leaves_the_one_before_it_standing(
    wandb: Wandb,
) -> None:
    wandb.train(1, 150)
    wandb.train(101, 180)
    before = wandb.conditions()
    wandb.train(161, 160)
    assert wandb.conditions() == before
    wandb.train(181, 200)
    assert wandb.conditions() == (), "the newest seam is clean, so the one before it resolves"


def test_each_seam_with_drift_is_a_condition_of_its_own(wandb: Wandb) -> None:
    wandb.train(1, 150)
    wandb.train(101, 180)
    first = wandb.the_condition()
    wandb.train(161, 200)
    second = wandb.the_condition()
    assert (first.drift, second.drift) == (50, 20)
    assert first.key != second.key


def test_a_line_that_was_left_is_found_again(wandb: Wandb) -> None:
    wandb.train(1, 150)
    wandb.train(101, 103)
    wandb.train(111, 130)  # From checkpoint-110 of the first process.
    assert lookup(wandb.states) == Lookup("run-20260101_000000-r", 111)
    condition = wandb.the_condition()
    assert condition.code == "RD601"
    assert condition.drift == 40 + 3
    assert "steps 111 to 150" in condition.message


def test_a_continued_line_is_clean_although_an_older_one_went_further(wandb: Wandb) -> None:
    wandb.train(1, 150)
    wandb.train(101, 120)
    wandb.train(121, 140)
    assert wandb.conditions() == ()


def test_rows_that_a_kill_took_along_are_lost(tmp_path: Path) -> None:
    wandb = Wandb(tmp_path, offline=True)
    wandb.train(1, 150, unflushed=28)
    wandb.train(151, 200)
    condition = wandb.the_condition()
    assert (condition.code, condition.drift) == ("RD602", None)
    assert condition.message.startswith(
        "W&B=121, trainer=150, offset=-29: W&B has no row of steps 123 to 150,"
    )


def test_rows_that_only_the_server_has_are_not_lost(wandb: Wandb) -> None:
    wandb.train(1, 150, unflushed=28, producer="0.30.0")
    wandb.train(151, 200)
    assert wandb.conditions() == ()


def test_rows_that_only_the_server_has_are_counted_as_stale(wandb: Wandb) -> None:
    wandb.train(1, 150, unflushed=28, producer="0.30.0")
    wandb.train(101, 200)
    condition = wandb.the_condition()
    assert condition.drift == 50
    assert "steps 101 to 122 or more that were trained again" in condition.message


def test_lost_rows_are_not_claimed_before_the_new_cadence_is_known(wandb: Wandb) -> None:
    wandb.train(1, 100)
    wandb.train(101, 150, every=50)
    assert wandb.conditions() == ()
    wandb.states[-1:] = []
    wandb.train(101, 300, every=50)
    assert wandb.conditions() == (), "it logs less often than the process before"


def test_lost_rows_are_not_claimed_of_a_damaged_log(tmp_path: Path) -> None:
    wandb = Wandb(tmp_path, offline=True)
    wandb.train(1, 150, unflushed=28)
    wandb.states[0] = replace(wandb.states[0], damaged=1)
    wandb.train(151, 200)
    assert wandb.conditions() == ()


@pytest.mark.parametrize("last", [115, 135])
@pytest.mark.parametrize(("end", "codes"), [(True, []), (False, ["RD602"])])
def test_a_process_that_ended_in_order_before_it_logged_again_lost_nothing(
    wandb: Wandb, last: int, *, end: bool, codes: list[str]
) -> None:
    wandb.train(1, 100)
    wandb.train(101, last, every=20, end=end)
    wandb.train(last + 1, last + 15)
    assert [condition.code for condition in wandb.conditions()] == codes


def test_a_step_that_was_not_logged_before_is_matched_by_the_row_below(wandb: Wandb) -> None:
    wandb.train(1, 150, every=10)
    wandb.train(101, 200, every=5)
    condition = wandb.the_condition()
    # Stale are the rows of steps 110, 120, 130, 140 and 150.
    assert condition.drift == 5


def test_a_server_that_never_got_the_rows_sets_wandbs_step_back(wandb: Wandb) -> None:
    # The measured case: killed three seconds after step 150, the server had nothing.
    wandb.train(1, 150, unflushed=63)
    wandb.rows.clear()
    wandb.train(101, 200)
    condition = wandb.the_condition()
    assert condition.code == "RD605"
    assert condition.key.startswith("wandb-step-back:r:")
    assert condition.message.startswith("W&B=86, trainer=100, offset=-14: W&B continues before")


def test_a_server_with_too_few_rows_for_the_checkpoint_sets_the_step_back(wandb: Wandb) -> None:
    wandb.train(1, 150)
    del wandb.rows[90:]
    wandb.train(101, 200)
    condition = wandb.the_condition()
    assert (condition.code, condition.drift) == ("RD605", -10)
    assert "10 rows too early: rows up to step 100" in condition.message


def test_a_resume_without_its_run_id_is_told(wandb: Wandb) -> None:
    wandb.train(1, 150, run_id="old")
    wandb.rows.clear()
    wandb.train(101, 101, run_id="new")
    assert wandb.conditions() == (), "one row does not tell a resume from a slow first log"
    wandb.states.pop()
    wandb.rows.clear()
    wandb.train(101, 120, run_id="new")
    condition = wandb.the_condition()
    assert condition.code == "RD604"
    assert condition.key == "wandb-run-id-changed:new:run-20260101_000001-new"
    assert condition.message.startswith("W&B=149, trainer=100, offset=49: the trainer continues")
    assert "WANDB_RUN_ID=old" in condition.message
    wandb.train(121, 140, run_id="new")
    assert wandb.conditions() == (), "the new id was kept"


@pytest.mark.parametrize(
    ("first", "rewind", "checkpoints"),
    [(1, None, ()), (400, None, ()), (101, 100, ()), (101, None, (50,))],
    ids=["a new training", "another training", "a fork", "no such checkpoint"],
)
def test_another_run_in_the_same_directory_is_no_fault(
    wandb: Wandb, first: int, rewind: int | None, checkpoints: Collection[int]
) -> None:
    wandb.train(1, 150, run_id="old")
    wandb.rows.clear()
    wandb.train(first, first + 50, run_id="new", rewind=rewind)
    assert wandb.conditions(checkpoints) == ()


def test_explicit_steps_hide_the_seam_until_rows_are_dropped(tmp_path: Path) -> None:
    wandb = Wandb(tmp_path, explicit=True)
    wandb.train(1, 150)
    wandb.train(151, 200)  # What is left after W&B dropped 101 to 149.
    assert mode_of(wandb.states) is StepMode.EXPLICIT
    assert wandb.conditions() == ()
    segment = wandb.states[1].segment
    rows = DroppedRows("r", segment, 49, first=(101, 150), last=(149, 150))
    (condition,) = wandb.conditions(dropped=[rows])
    assert condition.code == "RD603"
    assert condition.key == f"wandb-rows-dropped:r:{segment}"
    assert condition.message.startswith(
        "W&B=150, trainer=100, offset=50: W&B dropped 49 rows of steps 101 to 149"
    )
    assert "resume_from='r?_step=100'" in condition.message
    wandb.train(201, 220)
    assert wandb.conditions(dropped=[rows]) == ()


def test_dropped_rows_are_told_before_the_segment_has_any_row(tmp_path: Path) -> None:
    wandb = Wandb(tmp_path, explicit=True)
    wandb.train(1, 150)
    wandb.train(151, 150)
    rows = DroppedRows("r", wandb.states[1].segment, 1, first=(101, 150), last=(101, 150))
    (condition,) = wandb.conditions(dropped=[rows])
    assert "W&B dropped 1 row of step 101," in condition.message


def test_dropped_rows_without_a_resume_name_another_cause(tmp_path: Path) -> None:
    wandb = Wandb(tmp_path, explicit=True)
    wandb.train(1, 150)
    rows = DroppedRows("r", wandb.states[0].segment, 3, first=(120, 125), last=(124, 125))
    (condition,) = wandb.conditions(dropped=[rows])
    assert "rewind" not in condition.message
    assert "define_metric" in condition.message


def test_dropped_rows_stand_for_their_seam_alone(wandb: Wandb) -> None:
    wandb.train(1, 150)
    wandb.train(101, 160)
    rows = DroppedRows("r", wandb.states[1].segment, 3, first=(101, 150), last=(103, 150))
    assert [c.code for c in wandb.conditions(dropped=[rows])] == ["RD603"]


def test_explicit_steps_offline_are_not_shifted(tmp_path: Path) -> None:
    wandb = Wandb(tmp_path, explicit=True, offline=True)
    wandb.train(0, 150)
    wandb.train(101, 200)
    assert wandb.conditions() == ()
    assert seams.bases_of(wandb.states)[wandb.states[1].segment] == (0, False)


def test_the_base_of_a_synced_offline_segment_is_wandbs_own(tmp_path: Path) -> None:
    wandb = Wandb(tmp_path, offline=True)
    wandb.train(1, 150)
    wandb.train(101, 200)
    wandb.states[1] = replace(wandb.states[1], starting_step=150)
    seam = wandb.seam()
    assert seam is not None
    assert (seam.drift, seam.predicted) == (50, False)


def test_the_resumed_checkpoint_is_named_where_the_trainer_logs_seldom(wandb: Wandb) -> None:
    wandb.train(1, 150, every=10)
    wandb.train(101, 200, every=10)
    assert wandb.the_condition().trainer_step == 109
    (condition,) = wandb.conditions(checkpoints=[50, 100, 150])
    assert condition.message.startswith("W&B=14, trainer=100, offset=-86: 5 rows")


def test_a_seam_whose_earlier_log_is_gone_says_that_the_number_is_unknown(wandb: Wandb) -> None:
    wandb.train(1, 150)
    wandb.train(101, 200)
    (condition,) = conditions(wandb.states)
    assert condition.drift is None
    assert "an unknown number of rows" in condition.message


def test_a_damaged_log_is_told(wandb: Wandb) -> None:
    wandb.train(1, 150)
    wandb.states[0] = replace(wandb.states[0], damaged=2)
    condition = wandb.the_condition()
    assert (condition.code, condition.severity) == ("RD607", Severity.INFO)
    assert "2 places" in condition.message


@pytest.mark.parametrize(
    ("rows", "mode"),
    [
        ([(0, 1), (1, 2), (2, 3)], StepMode.UNKNOWN),
        ([(1, 1), (2, 2), (3, 3)], StepMode.EXPLICIT),
        ([(10, 10), (20, 20)], StepMode.UNKNOWN),
        ([(10, 10), (20, 20), (30, 30)], StepMode.EXPLICIT),
        ([(0, None), (1, 1), (2, 2), (3, 3)], StepMode.AUTOMATIC),
        ([(0, 10), (1, 20), (2, 30)], StepMode.AUTOMATIC),
        ([], StepMode.UNKNOWN),
    ],
)
def test_who_decides_the_step_is_known_from_the_rows(
    tmp_path: Path, rows: list[tuple[int, int | None]], mode: StepMode
) -> None:
    records = [testing.history(w, {"x": 1} if g is None else {KEY: g}) for w, g in rows]
    directory = testing.write_segment(tmp_path, records, name="run-1", run_id="r")
    polled = poll(directory)
    assert polled is not None
    assert mode_of([polled.state]) is mode


def stalling(tmp_path: Path, *, end: bool = False, producer: str = "0.31.0") -> SegmentState:
    wandb = Wandb(tmp_path)
    wandb.train(1, 100, every=5, end=end, producer=producer)
    return wandb.states[0]


def test_a_checkpoint_far_beyond_the_last_row_is_told(tmp_path: Path) -> None:
    state = stalling(tmp_path)
    condition = stalled(state, checkpoint_step=150, seconds_behind=300)
    assert condition is not None
    assert (condition.code, condition.key) == ("RD606", "wandb-stalled:r")
    assert condition.message.startswith(
        "W&B=19, trainer=150, offset=-131: the last row in run-20260101_000000-r is of step "
        "100, 50 steps behind"
    )


@pytest.mark.parametrize(
    ("checkpoint_step", "seconds_behind"), [(110, 300), (150, 59), (150, -10), (90, 300)]
)
def test_a_lag_that_the_cadence_or_the_delay_explains_is_not(
    tmp_path: Path, checkpoint_step: int, seconds_behind: float
) -> None:
    state = stalling(tmp_path)
    assert stalled(state, checkpoint_step=checkpoint_step, seconds_behind=seconds_behind) is None


def test_a_run_that_ended_in_order_is_not(tmp_path: Path) -> None:
    state = stalling(tmp_path, end=True)
    assert stalled(state, checkpoint_step=500, seconds_behind=300) is None


@pytest.mark.parametrize("producer", ["0.30.0", "0.22.3", "odd"])
def test_older_wandb_may_hold_back_a_block_of_rows(tmp_path: Path, producer: str) -> None:
    state = replace(stalling(tmp_path, producer=producer), offset=20 * 1170, rows=20)
    # 1170 bytes a row: 28 rows a block, one row each 5 steps.
    assert stalled(state, checkpoint_step=100 + 28 * 5, seconds_behind=300) is None
    assert stalled(state, checkpoint_step=100 + 60 * 5, seconds_behind=300) is not None


def test_a_segment_without_two_trusted_rows_is_not(tmp_path: Path) -> None:
    wandb = Wandb(tmp_path)
    wandb.train(1, 1)
    assert stalled(wandb.states[0], checkpoint_step=500, seconds_behind=300) is None


@SETTINGS
@given(
    cadences=st.lists(st.integers(1, 25), min_size=1, max_size=4),
    side=st.integers(0, 9),
    offline=st.booleans(),
    data=st.data(),
)
def test_a_run_that_always_continues_where_it_stopped_never_alarms(
    tmp_path_factory: pytest.TempPathFactory,
    cadences: list[int],
    side: int,
    *,
    offline: bool,
    data: st.DataObject,
) -> None:
    wandb = Wandb(tmp_path_factory.mktemp("run"), offline=offline)
    first = 1
    for every in cadences:
        last = first + data.draw(st.integers(0, 120))
        wandb.train(
            first, last, every=every, side_rows=lambda step: step * 7 % (side + 1), end=True
        )
        assert wandb.conditions() == ()
        first = last + 1


@SETTINGS
@given(
    every=st.integers(1, 12),
    side=st.integers(0, 8),
    offline=st.booleans(),
    data=st.data(),
)
def test_every_kill_and_rollback_gives_one_condition_with_the_number_of_stale_rows(
    tmp_path_factory: pytest.TempPathFactory,
    every: int,
    side: int,
    *,
    offline: bool,
    data: st.DataObject,
) -> None:
    def side_rows(step: int) -> int:
        return step * 5 % (side + 1)

    wandb = Wandb(tmp_path_factory.mktemp("run"), offline=offline)
    processes: list[tuple[int, list[int]]] = []
    """Of each process: the number of its first row, and the trainer steps that it logged."""
    checkpoint = 0
    for _ in range(data.draw(st.integers(2, 4))):
        killed = checkpoint + data.draw(st.integers(2 * every, 60))
        early = data.draw(st.integers(0, min(side, 1)))
        before = len(wandb.rows)
        wandb.train(checkpoint + 1, killed, every=every, side_rows=side_rows, stop_early=early)
        steps = range(checkpoint + 1, wandb.states[-1].highest_trainer_step + 1)
        logged = [s for s in steps if s % every == 0]
        again = [number for number, (_, old) in enumerate(processes) if logged[0] in old]
        expected = []
        if again and logged[0] <= processes[-1][1][-1]:
            # From the first row beyond the checkpoint, in the process that passed it last.
            begin = processes[again[-1]][0]
            stale = next(n for n in range(begin, before) if wandb.rows[n] > checkpoint)
            expected = [before - stale]
        found = wandb.conditions()
        assert [c.drift for c in found] == expected
        assert all(c.code == "RD601" for c in found)
        processes.append((before, logged))
        # The trainer resumes from what this process saved, or from an older checkpoint.
        checkpoint = every * data.draw(st.integers(0, logged[-1] // every))


def test_the_codes_are_complete_and_none_is_an_error() -> None:
    assert [code.id for code in CODES] == [f"RD60{n}" for n in range(1, 8)]
    assert len({code.name for code in CODES}) == len(CODES)
    for code in CODES:
        assert code.severity is not Severity.ERROR
        assert code.meaning.endswith(".")
        assert code.action.endswith(".")
        assert not code.title.endswith(".")
        assert code.source
    assert set(CODES) == {value for value in vars(drift).values() if isinstance(value, Code)}
