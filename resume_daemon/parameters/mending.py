"""What can be put right without a choice that only the user can make: facts in, wishes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.parameters.edits.plan import Wish, steps_for
from resume_daemon.parameters.lengths import Allocation, allocate, tightest
from resume_daemon.parameters.resolve import PAST
from resume_daemon.parameters.selection import (
    SAME_LENGTHS,
    lengths_of,
    limits_of,
    number_of,
    overruled_lengths_of,
    written,
)
from resume_daemon.parameters.wording import place, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.parameters.facts import Facts
    from resume_daemon.parameters.lengths import Strategy
    from resume_daemon.parameters.values import Setting
    from resume_daemon.repair.steps import WriteFile


@dataclass(frozen=True, slots=True)
class Mending:
    """What is to be changed so that a finding goes away: all of it, or nothing.

    Attributes:
        sentence: What it is for.
        wishes: Each value that has to change, and no other.
        reason: Why it cannot be done, a sentence; or "".
    """

    sentence: str
    wishes: tuple[Wish, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MendingPlan:
    """What will be written, and what is left to a person.

    Attributes:
        steps: One for each file.
        done: What the steps put right.
        left: What they do not, each with its reason.
    """

    steps: tuple[WriteFile, ...]
    done: tuple[Mending, ...]
    left: tuple[Mending, ...]


def mendings(facts: Facts, strategy: Strategy) -> Iterator[Mending]:
    """Yield what would put right the lengths, by the strategy chosen.

    Lengths that fit and agree are left as they are, whatever the strategy would make of them.
    """
    smallest = tightest(limits_of(facts))
    for pair in (*lengths_of(facts), *overruled_lengths_of(facts)):
        given = Allocation(pair.prompt.value, pair.completion.value)
        if smallest is None or given.total <= smallest.tokens:
            continue
        sentence = f"fit {given} into {told(smallest.setting)}, {strategy.value}"
        if not pair.certain:
            yield Mending(sentence, reason="a length is computed when the training starts")
        elif (made := allocate(smallest.tokens, strategy, given)) is None:
            yield Mending(sentence, reason="no lengths fit so few tokens")
        else:
            yield _lengths(facts, sentence, made)
        # What the script and the trainer are given is set together, to the same numbers.
        return
    for script, trainer in SAME_LENGTHS:
        one, other = facts.next_start(script), facts.next_start(trainer)
        meant = number_of(one)
        if one is None or other is None or meant is None or number_of(other) in {None, meant}:
            continue
        if one.certain and other.certain:
            yield Mending(f"give the trainer the script's {told(one)}", (Wish(other, meant),))


def plan(facts: Facts, strategy: Strategy) -> MendingPlan:
    """Return the steps of every mending that can be done without touching anything else.

    Files are read, and nothing is written.
    """
    done: list[Mending] = []
    left: list[Mending] = []
    for mending in mendings(facts, strategy):
        if mending.reason:
            left.append(mending)
            continue
        try:
            steps_for(mending.wishes)
        except ResumeDaemonError as error:
            left.append(Mending(mending.sentence, mending.wishes, str(error)))
        else:
            done.append(mending)
    steps = steps_for(wish for mending in done for wish in mending.wishes)
    return MendingPlan(steps, tuple(done), tuple(left))


def _lengths(facts: Facts, sentence: str, made: Allocation) -> Mending:
    wishes: list[Wish] = []
    for names, tokens in zip(SAME_LENGTHS, (made.prompt, made.completion), strict=True):
        given = [each for name in names if (each := written(facts, name)) is not None]
        # What the run was trained with is not edited, and need not be where something else counts.
        for setting in [each for each in given if each.source.kind not in PAST] or given:
            if number_of(setting) in {None, tokens}:
                continue
            if setting.source.kind in PAST:
                return Mending(sentence, reason=_of_the_past(setting, tokens))
            wishes.append(Wish(setting, tokens))
    return Mending(sentence, tuple(wishes))


def _of_the_past(setting: Setting, tokens: int) -> str:
    return (
        f"nothing that the next start is given says {setting.name}, and what {place(setting)} "
        f"remembers is not edited: give the trainer {setting.name} {tokens}"
    )
