"""Which settings of a run the checks of lengths look at."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.parameters.lengths import Limit, LimitKind
from resume_daemon.parameters.names import canonical
from resume_daemon.parameters.resolve import PAST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resume_daemon.parameters.facts import Facts
    from resume_daemon.parameters.values import Setting

_TRAINER: Final = ("max_prompt_length", "max_completion_length")
_SCRIPT: Final = ("script_max_prompt_length", "script_max_completion_length")
SAME_LENGTHS: Final = tuple(zip(_SCRIPT, _TRAINER, strict=True))
"""The script's name of a length and the trainer's, which have to have the same value."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """The longest prompt and the longest completion of one configuration."""

    prompt: Setting
    completion: Setting

    @property
    def certain(self) -> bool:
        """Whether both are known without running anything."""
        return self.prompt.certain and self.completion.certain

    @property
    def past(self) -> bool:
        """Whether only a checkpoint or a tracker says so."""
        return {self.prompt.source.kind, self.completion.source.kind} <= PAST


def lengths_of(facts: Facts) -> Iterator[Lengths]:
    """Yield the lengths that the next start is given: the script's, and the trainer's if others.

    Where each gives only one of the two, those together; nothing where a length is not known.
    """
    yield from _pairs(facts.given)


def completion_of(facts: Facts) -> Setting | None:
    """Return the longest completion where nothing says how long a prompt may be; else None."""
    script, trainer = (_length(facts.given(names[1])) for names in (_SCRIPT, _TRAINER))
    return None if next(lengths_of(facts), None) is not None else script or trainer


def overruled_lengths_of(facts: Facts) -> Iterator[Lengths]:
    """Yield lengths as written, where the script makes something else of one of the two.

    Where it makes both, as an allocation strategy does, what is written counts for nothing, and
    nothing is said of it.
    """
    for pair in _pairs(lambda name: written(facts, name)):
        names = (canonical(pair.prompt.name), canonical(pair.completion.name))
        if sum(is_computed(facts.next_start(name)) for name in names) == 1:
            yield pair


def written(facts: Facts, name: str) -> Setting | None:
    """Return what the next start is given for a parameter, before the script computes anything."""
    parameter = facts.parameters.get(name)
    if parameter is None or not is_computed(parameter.next_start):
        return facts.given(name)
    rest = (each for each in parameter.settings if not is_computed(each))
    return next((each for each in rest if each.source.kind not in PAST), None)


def is_computed(setting: Setting | None) -> bool:
    """Return whether the script assigns it when it has been given everything."""
    return setting is not None and setting.scope.endswith(".__post_init__")


def _pairs(given: Callable[[str], Setting | None]) -> Iterator[Lengths]:
    script = [_length(given(name)) for name in _SCRIPT]
    trainer = [_length(given(name)) for name in _TRAINER]
    pairs = [pair for pair in (_pair(*script), _pair(*trainer)) if pair is not None]
    if not pairs:
        mixed = _pair(script[0] or trainer[0], script[1] or trainer[1])
        pairs = [mixed] if mixed is not None else []
    # What the run was trained with is no matter of a start that is given other lengths.
    pairs = [pair for pair in pairs if not pair.past] or pairs
    seen: set[tuple[int, int]] = set()
    for pair in pairs:
        if (key := (pair.prompt.value, pair.completion.value)) not in seen:
            seen.add(key)
            yield pair


def limits_of(facts: Facts) -> tuple[Limit, ...]:
    """Return what the lengths are held against, as far as it is known."""
    found: list[Limit] = []
    if (sequence := _length(facts.given("max_seq_length"))) is not None:
        found.append(Limit(LimitKind.SEQUENCE, sequence))
    if (model := _length(facts.given("max_position_embeddings"))) is not None:
        stretched = int(model.value * _stretch(facts))
        found.append(Limit(LimitKind.MODEL, dataclasses.replace(model, value=stretched)))
    uses_vllm = facts.given("use_vllm")
    vllm = _length(facts.given("vllm_max_model_length"))
    if vllm is not None and uses_vllm is not None and uses_vllm.value is True:
        found.append(Limit(LimitKind.VLLM, vllm))
    return tuple(each for each in found if each.setting.certain)


def number_of(setting: Setting | None) -> int | None:
    """Return a whole number, also where a shell gives it as text; None where it is none."""
    value: Any = None if setting is None else setting.value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        # Longer texts are no counts, and take the interpreter's limit of digits into account.
        return int(value) if len(value) < 20 else None  # noqa: PLR2004 - digits of 64 bits
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _length(setting: Setting | None) -> Setting | None:
    number = number_of(setting)
    if setting is None or number is None or number <= 0:
        return None
    return dataclasses.replace(setting, value=number)


def _pair(prompt: Setting | None, completion: Setting | None) -> Lengths | None:
    return None if prompt is None or completion is None else Lengths(prompt, completion)


def _stretch(facts: Facts) -> float:
    """Return by how much a scaling of the positions (YaRN, linear) lets the model reach further."""
    for name in ("rope_scaling", "rope_parameters"):
        setting = facts.given(name)
        if setting is not None and isinstance(setting.value, dict):
            factor = setting.value.get("factor")
            if isinstance(factor, (int, float)) and not isinstance(factor, bool):
                return min(max(1.0, float(factor)), 1e6)
    return 1.0
