from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.daemon.scrubbing import Candidate, Settings, next_scrub
from resume_daemon.daemon.turns import gives_way
from resume_daemon.daemon.worker import ScrubJob, SnapshotJob, VerifyJob
from resume_daemon.manifest import Manifest
from resume_daemon.verification import References

WEEKLY = Settings(enabled=True, interval=100.0, bytes_per_second=1)
NOTHING = Manifest("checkpoint-5", "huggingface", 5, "", (), (), {}, {})
SCRUB = ScrubJob("checkpoint-5", NOTHING, 0, 1)
VERIFY = VerifyJob("checkpoint-9", References())
SNAPSHOT = SnapshotJob("checkpoint-5", 5, "", {})

candidates = st.lists(
    st.builds(Candidate, st.sampled_from("abcdef"), st.floats(0, 1000)), unique_by=lambda c: c.name
)


def chosen(*each: Candidate, now: float, waiting: bool = False) -> str | None:
    return next_scrub(each, WEEKLY, waiting=waiting, now=now)


def test_nothing_is_read_again_before_its_interval_has_passed() -> None:
    assert chosen(Candidate("a", 50.0), now=149.9) is None
    assert chosen(Candidate("a", 50.0), now=150.0) == "a"


def test_what_was_left_alone_for_longest_comes_first() -> None:
    assert chosen(Candidate("a", 20.0), Candidate("b", 10.0), now=500.0) == "b"


@given(candidates, st.floats(0, 2000))
def test_nothing_is_read_again_while_a_new_checkpoint_waits(
    known: list[Candidate], now: float
) -> None:
    assert chosen(*known, now=now, waiting=True) is None


@given(candidates, st.floats(0, 2000))
def test_nothing_is_read_again_where_it_is_switched_off(known: list[Candidate], now: float) -> None:
    off = replace(WEEKLY, enabled=False)
    assert next_scrub(known, off, waiting=False, now=now) is None


@given(candidates, st.floats(0, 10))
def test_a_scrub_that_was_interrupted_is_gone_on_with_before_another_is_begun(
    known: list[Candidate], later: float
) -> None:
    first = chosen(*known, now=1000.0)
    if first is not None:
        assert chosen(*known, now=1000.0 + later) == first


def test_a_scrub_gives_way_to_whatever_waits() -> None:
    assert gives_way(SCRUB, (), gave_way=(), waiting=True)
    assert not gives_way(SCRUB, (), gave_way=(), waiting=False)


def test_a_verification_gives_way_to_a_newer_checkpoint_by_its_step() -> None:
    assert gives_way(VERIFY, ["checkpoint-10"], gave_way=(), waiting=True)
    assert not gives_way(VERIFY, ["checkpoint-8"], gave_way=(), waiting=True)
    assert not gives_way(VERIFY, ["checkpoint-9"], gave_way=(), waiting=True)


def test_a_verification_gives_way_only_once() -> None:
    assert not gives_way(VERIFY, ["checkpoint-10"], gave_way={"checkpoint-9"}, waiting=True)


def test_a_snapshot_is_finished_and_an_idle_worker_has_nothing_to_give_up() -> None:
    assert not gives_way(SNAPSHOT, ["checkpoint-10"], gave_way=(), waiting=True)
    assert not gives_way(None, ["checkpoint-10"], gave_way=(), waiting=True)
