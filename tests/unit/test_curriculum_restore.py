from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.curriculum.assignment import Known, assign_all
from resume_daemon.curriculum.diff import MAX_CHANGES, compare_states
from resume_daemon.curriculum.restore import RestorePlan, apply, plan_restore
from resume_daemon.curriculum.schemas import known_schemas
from resume_daemon.curriculum.snapshot import SnapshotIndex, read_snapshot, write_snapshot
from resume_daemon.curriculum.versions import VersionStore
from resume_daemon.errors import ChangedError, FormatError

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.curriculum.snapshot import Snapshot

FILE = "curriculum/curriculum_state.json"
KEPT = b'{"current_stage": 4, "global_step": 300}'
THERE = b'{"current_stage": 0, "global_step": 312'
SCHEMAS = known_schemas()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / FILE).parent.mkdir(parents=True)
    (run / FILE).write_bytes(THERE)
    return run


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    curriculum = assign_all(310, [Known(blake3(KEPT).hexdigest(), 300, 1, FILE, 4)])
    index = SnapshotIndex("checkpoint-310", 310, curriculum)
    write_snapshot(tmp_path / "snapshots", {f"curriculum/{FILE}": KEPT}, index)
    return read_snapshot(tmp_path / "snapshots" / "checkpoint-310")


def carry_out(plan: RestorePlan, store: VersionStore) -> list[str]:
    said: list[str] = []
    apply(plan, store, say=said.append)
    return said


def test_a_restore_puts_the_state_back_and_keeps_what_was_there(
    tmp_path: Path, run: Path, snapshot: Snapshot
) -> None:
    (run / FILE).chmod(0o664)
    store = VersionStore(tmp_path / "kept")
    plan = plan_restore(snapshot, run)
    assert (run / FILE).read_bytes() == THERE
    said = carry_out(plan, store)
    assert (run / FILE).read_bytes() == KEPT
    assert stat.S_IMODE((run / FILE).stat().st_mode) == 0o664
    assert store.get(blake3(THERE).hexdigest()) == THERE
    assert store.known() == []
    assert any("10 steps behind checkpoint-310" in sentence for sentence in said)


def test_a_restore_into_an_empty_run_needs_no_backup(
    tmp_path: Path, run: Path, snapshot: Snapshot
) -> None:
    (run / FILE).unlink()
    (run / FILE).parent.rmdir()
    store = VersionStore(tmp_path / "kept")
    carry_out(plan_restore(snapshot, run), store)
    assert (run / FILE).read_bytes() == KEPT
    assert store.records() == []


def test_a_state_that_is_as_it_should_be_is_left_alone(
    tmp_path: Path, run: Path, snapshot: Snapshot
) -> None:
    (run / FILE).write_bytes(KEPT)
    inode = (run / FILE).stat().st_ino
    plan = plan_restore(snapshot, run)
    assert plan.steps == ()
    said = carry_out(plan, VersionStore(tmp_path / "kept"))
    assert (run / FILE).stat().st_ino == inode
    assert said == [f"Left {FILE} alone: it is what the snapshot has already."]


def test_a_file_that_changed_since_the_plan_is_not_touched(
    tmp_path: Path, run: Path, snapshot: Snapshot
) -> None:
    plan = plan_restore(snapshot, run)
    (run / FILE).write_bytes(b"newer")
    with pytest.raises(ChangedError, match="Stop the trainer"):
        carry_out(plan, VersionStore(tmp_path / "kept"))
    assert (run / FILE).read_bytes() == b"newer"


def test_a_trainer_that_writes_during_the_backup_is_not_overwritten(
    tmp_path: Path, run: Path, snapshot: Snapshot
) -> None:
    plan = plan_restore(snapshot, run)

    def say(_sentence: str) -> None:
        (run / FILE).write_bytes(b"newer")

    with pytest.raises(ChangedError):
        apply(plan, VersionStore(tmp_path / "kept"), say=say)
    assert (run / FILE).read_bytes() == b"newer"


def test_a_snapshot_damaged_since_the_plan_writes_nothing(
    tmp_path: Path, run: Path, snapshot: Snapshot
) -> None:
    plan = plan_restore(snapshot, run)
    (snapshot.directory / f"curriculum/{FILE}").write_bytes(b"{}")
    with pytest.raises(FormatError):
        carry_out(plan, VersionStore(tmp_path / "kept"))
    assert (run / FILE).read_bytes() == THERE


def test_a_backup_that_does_not_verify_stops_the_restore(
    tmp_path: Path, run: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = VersionStore(tmp_path / "kept")
    monkeypatch.setattr(store, "get", lambda _digest: b"another")
    with pytest.raises(FormatError, match="backup"):
        carry_out(plan_restore(snapshot, run), store)
    assert (run / FILE).read_bytes() == THERE


def test_a_place_that_leaves_the_run_is_refused(
    tmp_path: Path, run: Path, snapshot: Snapshot
) -> None:
    (tmp_path / "outside.json").write_bytes(THERE)
    (run / FILE).unlink()
    (run / FILE).symlink_to(tmp_path / "outside.json")
    with pytest.raises(FormatError, match="leaves the run"):
        plan_restore(snapshot, run)


def test_a_link_inside_the_run_stays_a_link(tmp_path: Path, run: Path, snapshot: Snapshot) -> None:
    (run / FILE).rename(run / "real.json")
    (run / FILE).symlink_to(os.path.relpath(run / "real.json", (run / FILE).parent))
    carry_out(plan_restore(snapshot, run), VersionStore(tmp_path / "kept"))
    assert (run / FILE).is_symlink()
    assert (run / "real.json").read_bytes() == KEPT


def test_a_snapshot_without_a_curriculum_has_nothing_to_restore(tmp_path: Path, run: Path) -> None:
    write_snapshot(tmp_path / "s", {"trainer_state.json": b"{}"}, SnapshotIndex("c", 1))
    with pytest.raises(FormatError, match="holds none"):
        plan_restore(read_snapshot(tmp_path / "s" / "c"), run)


def compared(before: Any, after: Any) -> dict[str, tuple[str, str]]:
    difference = compare_states(
        "curriculum_state.json", json.dumps(before).encode(), json.dumps(after).encode(), SCHEMAS
    )
    return {c.path: (c.before, c.after) for c in difference.changes}


def test_a_difference_is_told_in_stage_step_and_history_and_then_by_key() -> None:
    before = {
        "current_stage": 4,
        "history": [{"step": step} for step in range(2, 542, 2)],
        "threshold": {"easy": 0.5},
        "old": 1,
    }
    after = {
        "current_stage": 0,
        "history": [{"step": 542}],
        "threshold": {"easy": 0.75},
        "new": True,
    }
    assert compared(before, after) == {
        "stage": ("4", "0"),
        "step": ("540", "542"),
        "history": ('"270 entries, steps 2 to 540"', '"1 entries, steps 542 to 542"'),
        "threshold.easy": ("0.5", "0.75"),
        "old": ("1", "(absent)"),
        "new": ("(absent)", "true"),
    }


def test_lists_of_different_lengths_are_told_by_length_and_equal_ones_by_entry() -> None:
    assert compared({"stage": 1, "a": [1]}, {"stage": 1, "a": [1, 2]}) == {
        "a": ("1 entries", "2 entries")
    }
    assert compared({"stage": 1, "a": [1, 2]}, {"stage": 1, "a": [1, 3]}) == {"a[1]": ("2", "3")}


def test_the_changes_that_are_listed_are_bounded_and_the_others_counted() -> None:
    before = {str(n): n for n in range(MAX_CHANGES + 7)}
    after = {str(n): -n - 1 for n in range(MAX_CHANGES + 7)}
    difference = compare_states(
        "x.json", json.dumps(before).encode(), json.dumps(after).encode(), SCHEMAS
    )
    assert len(difference.changes) == MAX_CHANGES
    assert difference.as_json()["more"] == 7


def test_what_does_not_parse_is_compared_by_size() -> None:
    difference = compare_states("x.pt", b"abc", b"abcd", SCHEMAS)
    assert not difference.complete
    assert difference.changes[0].after == "4 bytes"


def test_a_yaml_state_nested_in_itself_is_compared_in_bounded_time() -> None:
    difference = compare_states("x.yaml", b"a: &a [*a, 1]\n", b"a: &a [*a, 2]\n", SCHEMAS)
    assert difference.changes


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["stage", "history", "step", "a"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(json_values, json_values)
def test_states_differ_exactly_where_their_documents_do(one: Any, two: Any) -> None:
    one, two = {"x": one}, {"x": two}
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (compared(one, two) == {}) == same
