from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.findings import Severity
from resume_daemon.ledger.queries import MAX_CURRICULUM_VERSIONS, RunState, fold
from resume_daemon.ledger.record import FIRST_PREV, Record, decode, encode

# A busy machine is no failure: how long an example takes is not what is claimed here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

START = datetime(2026, 1, 1, tzinfo=UTC)


def chain(*entries: tuple[str, dict[str, Any]]) -> list[Record]:
    records: list[Record] = []
    prev = FIRST_PREV
    for seq, (kind, fields) in enumerate(entries, start=1):
        at = START + timedelta(minutes=seq)
        records.append(decode(encode(seq, at, kind, "run", prev, fields)))
        prev = records[-1].digest
    return records


def verdict(checkpoint: str, value: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "verdict", {"checkpoint": checkpoint, "verdict": value, **more}


def condition(key: str, state: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "condition", {"condition": key, "state": state, **more}


def pair(segment: str, tracker: int, trainer: int, checkpoint: str | None) -> Any:
    fields = {
        "tracker": "wandb",
        "run_id": "abc",
        "segment": segment,
        "tracker_step": tracker,
        "trainer_step": trainer,
        "checkpoint": checkpoint,
    }
    return "pair", fields


def test_the_latest_verdict_on_each_checkpoint_counts() -> None:
    state = fold(
        chain(
            verdict("checkpoint-10", "incomplete", step=10),
            verdict("checkpoint-20", "sound", step=20),
            verdict(
                "checkpoint-10",
                "unsound",
                path="/r/checkpoint-10",
                layout="huggingface",
                step=10,
                codes=["RD201", "RD401"],
                manifest="m",
                fingerprint="f",
            ),
        )
    )
    assert [c.verdict for c in state.checkpoints.values()] == ["unsound", "sound"]
    latest = state.checkpoints["checkpoint-10"]
    assert (latest.codes, latest.manifest, latest.fingerprint) == (("RD201", "RD401"), "m", "f")
    assert (latest.step, latest.path, latest.layout) == (10, "/r/checkpoint-10", "huggingface")
    assert (latest.seq, latest.at) == (3, START + timedelta(minutes=3))


def test_a_verdict_that_is_repeated_keeps_the_time_of_its_first() -> None:
    same = [verdict("c", "unsound")] * 3
    state = fold(chain(verdict("c", "sound"), *same))
    assert state.checkpoints["c"].since == START + timedelta(minutes=2)
    assert state.checkpoints["c"].at == START + timedelta(minutes=4)


def test_the_newest_pair_is_known_by_checkpoint_and_by_segment() -> None:
    state = fold(
        chain(
            pair("run-1", 100, 50, "checkpoint-50"),
            pair("run-1", 120, 60, None),
            pair("run-2", 130, 51, "checkpoint-50"),
        )
    )
    assert state.pair_at_checkpoint["checkpoint-50"].tracker_step == 130
    assert state.pair_in_segment["wandb", "abc", "run-1"].trainer_step == 60
    assert state.pair_in_segment["wandb", "abc", "run-2"].trainer_step == 51


def test_the_latest_snapshot_of_each_checkpoint_counts() -> None:
    fields = {"checkpoint": "c", "step": 5, "curriculum_step": 4, "stage": 2, "files": {"a": "d"}}
    state = fold(chain(("snapshot", {"checkpoint": "c", "step": 5}), ("snapshot", fields)))
    snapshot = state.snapshots["c"]
    assert (snapshot.curriculum_step, snapshot.stage, snapshot.files) == (4, "2", {"a": "d"})


def test_a_condition_fires_from_its_first_record_until_it_is_resolved() -> None:
    records = chain(
        condition("a", "firing", code="RD601", severity="error", message="first"),
        ("drift", {"condition": "b", "state": "firing", "drift": 49, "offset": 48}),
        condition("a", "firing", code="RD601", severity="error", message="second"),
        condition("b", "resolved"),
    )
    state = fold(records)
    assert list(state.firing) == ["a"]
    assert state.firing["a"].condition.message == "second"
    assert state.firing["a"].condition.severity is Severity.ERROR
    assert state.firing["a"].since == START + timedelta(minutes=1)
    before = fold(records[:3]).firing["b"].condition
    assert (before.drift, before.offset) == (49, 48)


def test_since_is_taken_from_the_record_where_it_says() -> None:
    since = "2025-12-31T23:00:00.000000Z"
    state = fold(chain(condition("a", "firing", since=since)))
    assert state.firing["a"].since == datetime(2025, 12, 31, 23, tzinfo=UTC)


def test_the_last_daemon_event_counts() -> None:
    started = {"event": "started", "version": "1", "pid": 7, "host": "h"}
    state = fold(chain(("daemon", started), ("daemon", {**started, "event": "stopped"})))
    assert state.daemon is not None
    assert (state.daemon.event, state.daemon.pid) == ("stopped", 7)


def test_a_curriculum_file_that_returns_to_an_old_content_has_it_now() -> None:
    def version(digest: str, step: int) -> tuple[str, dict[str, Any]]:
        fields = {"file": "c.json", "digest": digest, "step": step, "stage": "easy", "size": 9}
        return "curriculum", {**fields, "schema": 2}

    state = fold(chain(version("one", 1), version("two", 2), version("one", 3)))
    latest = state.curriculum_of("c.json")
    assert latest is not None
    assert (latest.digest, latest.step, latest.schema) == ("one", 3, "2")
    assert len(state.curriculum) == 2
    assert state.curriculum_of("other.json") is None


def test_memory_does_not_grow_with_the_number_of_records() -> None:
    count = MAX_CURRICULUM_VERSIONS + 100
    versions = [("curriculum", {"file": "c", "digest": str(n)}) for n in range(count)]
    state = fold(chain(*versions, *[pair("s", n, n, None) for n in range(1, 200)]))
    assert len(state.curriculum) == MAX_CURRICULUM_VERSIONS
    assert ("c", str(count - 1)) in state.curriculum
    assert ("c", "0") not in state.curriculum
    assert len(state.pair_in_segment) == 1


def test_a_record_that_was_applied_is_not_applied_again() -> None:
    records = chain(condition("a", "firing"), condition("a", "resolved"))
    state = fold(records)
    state.apply(records[0])
    assert state.firing == {}
    assert (state.seq, state.digest) == (2, records[1].digest)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)
kinds = st.sampled_from(
    ["verdict", "pair", "snapshot", "drift", "condition", "curriculum", "daemon", "new"]
)
names = ["checkpoint", "verdict", "codes", "step", "files", "condition", "state", "severity"]
more_names = ["since", "tracker", "segment", "tracker_step", "trainer_step", "file", "digest"]
keys = st.sampled_from([*names, *more_names, "event", "pid"])


@unhurried
@given(st.lists(st.tuples(kinds, st.dictionaries(keys, anything)), max_size=5))
def test_fields_of_an_unexpected_type_never_break_the_fold(
    entries: list[tuple[str, dict[str, Any]]],
) -> None:
    assert fold(chain(*entries)).seq == len(entries)


def test_nothing_recorded_is_a_state_too() -> None:
    assert fold([]) == RunState()
