"""Do prompt and completion fit, and if not, what would: values in, findings and lengths out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from resume_daemon.findings import Code, Severity
from resume_daemon.parameters.wording import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.findings import Finding
    from resume_daemon.parameters.values import Setting

_GUIDE: Final = "the field guide's rule: prompt + completion <= max_seq_length, equality allowed"

BEYOND_SEQUENCE = Code(
    "RD801",
    "lengths-exceed-sequence",
    Severity.ERROR,
    "Prompt and completion do not fit the sequence length",
    "The longest prompt and the longest completion together have more tokens than max_seq_length. "
    "Either the script cuts one of them without a word, so that the run goes on with other lengths "
    "than it was started with, or the sequence is longer than memory was planned for.",
    "Shorten one of them, or raise max_seq_length where the model and the memory allow it; "
    "`resume-daemon params --auto-fix --strategy NAME` writes lengths that fit exactly.",
    _GUIDE,
)
BEYOND_MODEL = Code(
    "RD802",
    "lengths-exceed-model",
    Severity.ERROR,
    "Prompt and completion are longer than the model's positions",
    "The model was made for max_position_embeddings tokens. Beyond them a model with learned "
    "positions fails, and one with rotary positions writes text that it was never trained for.",
    "Shorten the lengths, or choose a model (or a scaling of its positions) that reaches further.",
    "transformers, config.json: max_position_embeddings",
)
BEYOND_VLLM = Code(
    "RD803",
    "lengths-exceed-vllm",
    Severity.WARNING,
    "Prompt and completion are longer than vLLM's context",
    "vLLM holds vllm_max_model_length tokens. Completions are cut there, before "
    "max_completion_length, and a prompt that is longer by itself stops the training.",
    "Set vllm_max_model_length to at least the longest prompt plus max_completion_length, or "
    "shorten the lengths.",
    "TRL 1.16 grpo_config.py: vllm_max_model_length is to be at least the longest prompt plus "
    "max_completion_length",
)


NO_ROOM = Code(
    "RD819",
    "no-room-for-a-prompt",
    Severity.WARNING,
    "The longest completion leaves no room for a prompt",
    "Nothing says how long a prompt may be, as TRL from 0.28 on does not, and the longest "
    "completion alone fills what there is: with any prompt before it, it reaches beyond.",
    "Lower max_completion_length by the longest prompt of the dataset, or raise the limit.",
    "TRL 1.16 grpo_config.py has no max_prompt_length",
)


class Strategy(StrEnum):
    """How a sequence is divided between prompt and completion."""

    BALANCED = "balanced"
    PROMPT_HEAVY = "prompt_heavy"
    COMPLETION_HEAVY = "completion_heavy"
    CUSTOM = "custom"


_PROMPT_PERCENT: Final = {
    Strategy.BALANCED: 50,
    Strategy.PROMPT_HEAVY: 60,
    Strategy.COMPLETION_HEAVY: 40,
}


class LimitKind(StrEnum):
    """What a limit belongs to."""

    SEQUENCE = "sequence"
    MODEL = "model"
    VLLM = "vllm"


_CODES: Final = {
    LimitKind.SEQUENCE: BEYOND_SEQUENCE,
    LimitKind.MODEL: BEYOND_MODEL,
    LimitKind.VLLM: BEYOND_VLLM,
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of tokens that prompt and completion together may have, and where it stands."""

    kind: LimitKind
    setting: Setting

    @property
    def tokens(self) -> int:
        """Return the limit as a number of tokens."""
        return int(self.setting.value)


@dataclass(frozen=True, slots=True)
class Allocation:
    """Tokens for the longest prompt and the longest completion."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        """Return the tokens of both."""
        return self.prompt + self.completion

    def __str__(self) -> str:
        return f"{self.prompt} + {self.completion}"


def allocate(limit: int, strategy: Strategy, given: Allocation) -> Allocation | None:
    """Return lengths that together are exactly ``limit`` tokens.

    ``custom`` keeps the ratio of the lengths given, to the nearest token. None where the limit is
    too small to leave a token for each.
    """
    if strategy is Strategy.CUSTOM:
        # Half a token counts as one; whole numbers, so that no rounding of floats is seen.
        prompt = (2 * limit * given.prompt + given.total) // (2 * given.total)
    else:
        prompt = limit * _PROMPT_PERCENT[strategy] // 100
    prompt = min(max(prompt, 1), limit - 1)
    return Allocation(prompt, limit - prompt) if prompt >= 1 else None


def allocations(limit: int, given: Allocation) -> dict[Strategy, Allocation]:
    """Return what each strategy would make of a limit, those left out that cannot."""
    found = ((each, allocate(limit, each, given)) for each in Strategy)
    return {strategy: made for strategy, made in found if made is not None}


def tightest(limits: Sequence[Limit]) -> Limit | None:
    """Return the smallest limit, which is the one that lengths have to fit."""
    return min(limits, key=lambda limit: limit.tokens, default=None)


def check(prompt: Setting, completion: Setting, limits: Sequence[Limit]) -> Iterator[Finding]:
    """Yield a finding for each limit that prompt and completion together exceed.

    Args:
        prompt: The longest prompt; its value is a positive number.
        completion: The longest completion, likewise.
        limits: What they are held against.
    """
    given = Allocation(prompt.value, completion.value)
    smallest = tightest(limits)
    for limit in limits:
        if smallest is None or given.total <= limit.tokens:
            continue
        too_many = given.total - limit.tokens
        # A prompt that is too long by itself is no matter of completions that are cut.
        graver = limit.kind is LimitKind.VLLM and given.prompt > limit.tokens
        yield _CODES[limit.kind].finding(
            f"{told(prompt)} + {told(completion)} = {given.total}, which is {too_many} more than "
            f"{told(limit.setting)}",
            file=None if completion.source.path is None else str(completion.source.path),
            severity=Severity.ERROR if graver else None,
            hint=_hint(given, limit, smallest, limits),
        )


def check_completion(completion: Setting, limits: Sequence[Limit]) -> Iterator[Finding]:
    """Yield a finding for each limit that a completion fills alone, where no prompt is known."""
    for limit in limits:
        if completion.value >= limit.tokens:
            yield NO_ROOM.finding(
                f"{told(completion)} leaves no room for a prompt in {told(limit.setting)}",
                file=None if completion.source.path is None else str(completion.source.path),
            )


def fitting(prompt: Setting, completion: Setting, limits: Sequence[Limit]) -> Iterator[str]:
    """Yield a sentence for each limit that is kept."""
    given = Allocation(prompt.value, completion.value)
    for limit in limits:
        if given.total <= limit.tokens:
            left = limit.tokens - given.total
            how = "exactly" if left == 0 else f"and leaves {left}"
            yield (
                f"{prompt.name} {given.prompt} + {completion.name} {given.completion} = "
                f"{given.total} fits {told(limit.setting)} {how}"
            )


def _hint(given: Allocation, limit: Limit, smallest: Limit, limits: Sequence[Limit]) -> str:
    made = "; ".join(f"{name}: {each}" for name, each in _made(smallest.tokens, given))
    if not made:
        return f"No lengths fit {smallest.tokens} tokens: raise {smallest.setting.name}."
    others = [each for each in limits if each.kind is not limit.kind]
    raised = ""
    if limit.kind is not LimitKind.MODEL and all(each.tokens >= given.total for each in others):
        raised = f" Or raise {limit.setting.name} to {given.total}."
    return (
        f"Prompt + completion that fit {smallest.tokens} exactly, by strategy: {made}. "
        f"`--auto-fix --strategy NAME` writes them.{raised}"
    )


def _made(limit: int, given: Allocation) -> Iterator[tuple[str, Allocation]]:
    for strategy, made in allocations(limit, given).items():
        kept = " (keeps your ratio)" if strategy is Strategy.CUSTOM else ""
        yield f"{strategy.value}{kept}", made
