from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.findings import Severity
from resume_daemon.parameters.agreement import check as check_agreement
from resume_daemon.parameters.lengths import (
    Allocation,
    Limit,
    LimitKind,
    Strategy,
    allocate,
    allocations,
    check,
    fitting,
    tightest,
)
from resume_daemon.parameters.values import Setting, Source, SourceKind

SOURCE = Source(SourceKind.CONFIGURATION, Path("/run/train.yaml"), "train.yaml")


def setting(name: str, value: int | None, line: int | None = None, **more: bool) -> Setting:
    return Setting(name, value, SOURCE, line=line, certain=more.get("certain", True))


def limit(tokens: int, kind: LimitKind = LimitKind.SEQUENCE) -> Limit:
    names = {
        LimitKind.SEQUENCE: "max_seq_length",
        LimitKind.MODEL: "max_position_embeddings",
        LimitKind.VLLM: "vllm_max_model_length",
    }
    return Limit(kind, setting(names[kind], tokens, 9))


PROMPT = setting("max_prompt_length", 1536, 3)
COMPLETION = setting("max_completion_length", 2560, 4)
LONGER = setting("max_completion_length", 2561, 4)


def test_lengths_that_fill_the_sequence_exactly_fit() -> None:
    assert list(check(PROMPT, COMPLETION, [limit(4096)])) == []
    (sentence,) = fitting(PROMPT, COMPLETION, [limit(4096)])
    assert sentence == (
        "max_prompt_length 1536 + max_completion_length 2560 = 4096 fits max_seq_length 4096 "
        "(train.yaml line 9) exactly"
    )


def test_one_token_too_many_is_told_with_what_each_strategy_would_make_of_it() -> None:
    (finding,) = check(PROMPT, LONGER, [limit(4096)])
    assert finding.code == "RD801"
    assert finding.severity is Severity.ERROR
    assert "= 4097, which is 1 more than max_seq_length 4096 (train.yaml line 9)" in finding.message
    for made in (
        "balanced: 2048 + 2048",
        "prompt_heavy: 2457 + 1639",
        "completion_heavy: 1638 + 2458",
        "custom (keeps your ratio): 1536 + 2560",
    ):
        assert made in finding.hint
    assert "Or raise max_seq_length to 4097." in finding.hint
    assert list(fitting(PROMPT, LONGER, [limit(4096)])) == []


def test_the_sequence_is_not_said_to_be_raised_beyond_the_model() -> None:
    found = list(check(PROMPT, LONGER, [limit(4096), limit(4096, LimitKind.MODEL)]))
    assert [each.code for each in found] == ["RD801", "RD802"]
    assert not any("Or raise" in each.hint for each in found)


def test_the_hint_is_for_the_tightest_limit() -> None:
    limits = [limit(4000), limit(2000, LimitKind.VLLM)]
    tight = tightest(limits)
    assert tight is not None
    assert tight.tokens == 2000
    for finding in check(PROMPT, LONGER, limits):
        assert "balanced: 1000 + 1000" in finding.hint


@pytest.mark.parametrize(("tokens", "severity"), [(1536, "warning"), (1535, "error")])
def test_vllm_cuts_completions_but_a_prompt_that_is_too_long_stops_it(
    tokens: int, severity: str
) -> None:
    (finding,) = check(PROMPT, COMPLETION, [limit(tokens, LimitKind.VLLM)])
    assert (finding.code, finding.severity) == ("RD803", severity)


def test_a_limit_of_one_token_has_no_lengths() -> None:
    assert allocate(1, Strategy.BALANCED, Allocation(1, 1)) is None
    (finding,) = check(PROMPT, COMPLETION, [limit(1)])
    assert "No lengths fit 1 tokens" in finding.hint


POSITIVE = st.integers(1, 10**7)


@given(st.integers(2, 10**7), st.sampled_from(Strategy), POSITIVE, POSITIVE)
def test_every_strategy_fills_the_limit_exactly(
    tokens: int, strategy: Strategy, prompt: int, completion: int
) -> None:
    made = allocate(tokens, strategy, Allocation(prompt, completion))
    assert made is not None
    assert made.total == tokens
    assert min(made.prompt, made.completion) >= 1


@given(POSITIVE, POSITIVE)
def test_custom_leaves_lengths_that_fill_the_limit_as_they_are(
    prompt: int, completion: int
) -> None:
    given_lengths = Allocation(prompt, completion)
    assert allocate(given_lengths.total, Strategy.CUSTOM, given_lengths) == given_lengths


@given(st.integers(100, 10**7), POSITIVE, POSITIVE)
def test_the_shares_are_those_that_the_names_say(tokens: int, prompt: int, completion: int) -> None:
    made = allocations(tokens, Allocation(prompt, completion))
    for strategy, share in (
        (Strategy.BALANCED, 0.5),
        (Strategy.PROMPT_HEAVY, 0.6),
        (Strategy.COMPLETION_HEAVY, 0.4),
        (Strategy.CUSTOM, prompt / (prompt + completion)),
    ):
        assert abs(made[strategy].prompt - tokens * share) <= 1


def test_the_scripts_length_has_to_be_the_trainers() -> None:
    script = setting("script_max_prompt_length", 1536)
    assert list(check_agreement(script, setting("max_prompt_length", 1536))) == []
    (finding,) = check_agreement(script, setting("max_prompt_length", 1024, 7))
    assert finding.code == "RD804"
    assert "max_prompt_length 1024 (train.yaml line 7)" in finding.message


@pytest.mark.parametrize(
    "other",
    [setting("max_prompt_length", None), setting("max_prompt_length", 7, certain=False)],
)
def test_a_length_that_is_not_known_does_not_disagree(other: Setting) -> None:
    assert list(check_agreement(setting("script_max_prompt_length", 1536), other)) == []
