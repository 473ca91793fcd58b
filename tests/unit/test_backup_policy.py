from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.backup.policy import Candidate, Decision, Held, Rules, decide, numbers_of

RULES = st.builds(
    Rules,
    newest=st.integers(0, 3),
    every=st.integers(0, 4),
    keep_every=st.integers(0, 3),
    best=st.integers(0, 3),
    greater_is_better=st.booleans(),
)
METRIC = st.none() | st.floats(allow_nan=True, allow_infinity=True, width=16)


def candidate(step: int, metric: float | None = None, *, content: str = "") -> Candidate:
    name = f"checkpoint-{step}"
    return Candidate(name, content or f"c{step}", saved_ns=step, number=step, metric=metric)


def backup_of(each: Candidate, *, policy: bool = True) -> Held:
    return Held(
        id=f"{each.checkpoint}.{each.content}",
        checkpoint=each.checkpoint,
        content=each.content,
        saved_ns=each.saved_ns,
        number=each.number,
        metric=each.metric,
        policy=policy,
    )


@dataclass
class Keeping:
    """A run and its destination, to which every decision is applied until there is none."""

    rules: Rules
    there: list[Candidate] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)

    def settle(self) -> None:
        for _ in range(100):
            decision = decide(self.rules, self.there, self.held)
            if decision == Decision():
                return
            self.apply(decision)
        raise AssertionError("it never ends")

    def apply(self, decision: Decision) -> None:
        """Do the first thing of a decision, as the daemon does before it decides again."""
        assert not (decision.copy and decision.drop)
        if decision.copy:
            (each,) = (c for c in self.there if c.checkpoint == decision.copy[0])
            assert each.content not in {h.content for h in self.held}, "sent twice"
            self.held.append(backup_of(each))
        else:
            self.held = [h for h in self.held if h.id != decision.drop[0]]

    def names(self) -> set[str]:
        return {each.checkpoint for each in self.held}


SAVES = st.lists(st.tuples(st.integers(1, 12), METRIC, st.integers(1, 3)), max_size=25)


def simulate(rules: Rules, saves: list[tuple[int, float | None, int]]) -> Keeping:
    """Let a trainer save, also again under an old name, and remove all but the last few."""
    keeping = Keeping(rules)
    for at, (step, metric, limit) in enumerate(saves, 1):
        name = f"checkpoint-{step}"
        keeping.there = [each for each in keeping.there if each.checkpoint != name]
        keeping.there.append(Candidate(name, f"c{at}", saved_ns=at, number=step, metric=metric))
        keeping.there = keeping.there[-limit:]
        keeping.settle()
    return keeping


@given(RULES, SAVES)
def test_every_decision_leads_to_an_end_within_the_numbers_that_are_kept(
    rules: Rules, saves: list[tuple[int, float | None, int]]
) -> None:
    keeping = simulate(rules, saves)
    assert len(keeping.held) <= rules.newest + rules.keep_every + rules.best


@given(RULES, SAVES)
def test_what_was_saved_last_is_backed_up_where_any_newest_are_kept(
    rules: Rules, saves: list[tuple[int, float | None, int]]
) -> None:
    keeping = simulate(rules, saves)
    if rules.newest and saves:
        assert f"c{len(saves)}" in {each.content for each in keeping.held}


@given(RULES, SAVES, st.sets(st.integers(1, 12)))
def test_a_backup_that_a_person_made_is_never_dropped(
    rules: Rules, saves: list[tuple[int, float | None, int]], steps: set[int]
) -> None:
    own = [backup_of(candidate(step, content=f"own{step}"), policy=False) for step in steps]
    keeping = simulate(rules, saves)
    keeping.held += own
    keeping.settle()
    assert set(own) <= set(keeping.held)


@given(RULES, st.lists(st.integers(1, 12), unique=True), st.lists(st.integers(1, 12), unique=True))
def test_nothing_is_dropped_before_all_that_replaces_it_is_held(
    rules: Rules, there: list[int], held: list[int]
) -> None:
    found = [candidate(step, metric=step % 5) for step in there]
    known = [backup_of(candidate(step, metric=step % 5)) for step in held]
    decision = decide(rules, found, known)
    assert not (decision.copy and decision.drop)
    assert set(decision.copy) <= {each.checkpoint for each in found}


def test_the_newest_replaces_the_one_before_only_when_it_is_there() -> None:
    old, new = candidate(1), candidate(2)
    rules = Rules(newest=1)
    assert decide(rules, [old, new], [backup_of(old)]) == Decision(copy=("checkpoint-2",))
    both = [backup_of(old), backup_of(new)]
    assert decide(rules, [old, new], both) == Decision(drop=("checkpoint-1.c1",))


def test_every_third_is_kept_when_the_trainer_has_long_removed_it() -> None:
    keeping = Keeping(Rules(newest=1, every=3, keep_every=2))
    for step in range(1, 12):
        keeping.there = [candidate(step)]
        keeping.settle()
    assert keeping.names() == {"checkpoint-6", "checkpoint-9", "checkpoint-11"}


def test_the_best_are_kept_by_either_direction_and_what_is_no_number_is_never_best() -> None:
    found = [
        candidate(1, 0.5),
        candidate(2, 0.9),
        candidate(3, float("nan")),
        candidate(4, None),
        candidate(5, float("inf")),
    ]
    assert decide(Rules(newest=0, best=1), found, []).copy == ("checkpoint-2",)
    lower = Rules(newest=0, best=1, greater_is_better=False)
    assert decide(lower, found, []).copy == ("checkpoint-1",)


def test_after_going_back_the_new_timeline_counts_as_newest() -> None:
    ahead = backup_of(candidate(200))
    again = Candidate("checkpoint-110", "new", saved_ns=900, number=11, metric=None)
    assert decide(Rules(newest=1), [again], [ahead]).copy == ("checkpoint-110",)


def test_a_checkpoint_that_was_trained_again_is_another_one() -> None:
    first = backup_of(candidate(10, content="first"))
    second = candidate(10, content="second")
    rules = Rules(newest=1)
    assert decide(rules, [second], [first]).copy == ("checkpoint-10",)
    assert decide(rules, [second], [first, backup_of(second)]).drop == (first.id,)


def test_a_checkpoint_is_numbered_by_its_step_among_all_that_ever_were_sound() -> None:
    sound = {"checkpoint-20": 20, "checkpoint-5": 5, "checkpoint-10": 10}
    assert numbers_of(sound) == {"checkpoint-5": 1, "checkpoint-10": 2, "checkpoint-20": 3}
