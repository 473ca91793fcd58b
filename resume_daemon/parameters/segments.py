"""What changed between two segments of one run; ``grades`` says how much each change matters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.findings import Code, Severity
from resume_daemon.parameters.compare import same
from resume_daemon.parameters.grades import OF_ONE_START, grade
from resume_daemon.parameters.wording import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from resume_daemon.findings import Finding

MODEL_CHANGED = Code(
    "RD811",
    "segment-model-changed",
    Severity.ERROR,
    "The model or the shape of its adapter changed within one run",
    "The checkpoint's weights and optimizer state belong to another model, or to an adapter of "
    "another rank or on other modules. They do not load, or load into the wrong places.",
    "Go back to what the checkpoint was trained with, or start a new run.",
    "peft: adapter_config.json r and target_modules decide the tensors' names and shapes",
)
EXPERIMENT_CHANGED = Code(
    "RD812",
    "segment-experiment-changed",
    Severity.WARNING,
    "A parameter that decides the result changed within one run",
    "Before and after it the run is two experiments: its curve cannot be compared with that of a "
    "run that went through, and what happened at the seam cannot be told from what it caused.",
    "If nobody meant it, resume with the earlier value; if it was meant, write it down.",
    "the field guide's first loss: parameters that differ after a resume",
)
HARMLESS_CHANGED = Code(
    "RD813",
    "segment-parameter-changed",
    Severity.INFO,
    "A parameter that does not decide the result changed within one run",
    "How often it logs, saves or evaluates, or what nothing is known about: the weights come out "
    "the same where it is only that.",
    "Nothing, unless the script gives the parameter a meaning of its own.",
)

_MODEL_NAMES: Final = frozenset({"model", "model_id", "model_name_or_path"})
_CACHED_MODEL: Final = re.compile(r"(?:^|/)models--([^/]+)(?:/|$)")
"""huggingface_hub keeps ``Qwen/Qwen3-8B`` as ``models--Qwen--Qwen3-8B/snapshots/<commit>``."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What one stretch of a run was trained with.

    Attributes:
        name: What a person knows it by ("checkpoint-20").
        values: Parameters by the name that ``names.canonical`` gives them, plain values.
    """

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One parameter that is not the same in two segments."""

    name: str
    before: Any
    after: Any
    severity: Severity


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Yield what both have and do not agree on, the gravest first, then by name.

    What only one of them has is no change: releases of the trainer add and remove parameters.
    """
    names = (before.keys() & after.keys()) - OF_ONE_START
    found = [
        Change(name, before[name], after[name], severity)
        for name in names
        if (severity := _difference(name, before[name], after[name])) is not None
    ]
    order = list(Severity)
    yield from sorted(found, key=lambda each: (order.index(each.severity), each.name))


def seams(segments: Sequence[Segment]) -> Iterator[Change]:
    """Yield every change at every seam."""
    for before, after in pairwise(segments):
        yield from changes(before.values, after.values)


def check(segments: Sequence[Segment], known: Iterable[Change] = ()) -> Iterator[Finding]:
    """Yield a finding for each grade of each seam at which something changed.

    Args:
        segments: Of one run, the oldest first.
        known: Changes that are told already: a tracker repeats what the checkpoints say.
    """
    told = {(each.name, shown(each.before), shown(each.after)) for each in known}
    codes = {
        Severity.ERROR: MODEL_CHANGED,
        Severity.WARNING: EXPERIMENT_CHANGED,
        Severity.INFO: HARMLESS_CHANGED,
    }
    for before, after in pairwise(segments):
        found = [
            each
            for each in changes(before.values, after.values)
            if (each.name, shown(each.before), shown(each.after)) not in told
        ]
        for severity, code in codes.items():
            if graded := [each for each in found if each.severity is severity]:
                yield code.finding(
                    f"between {before.name} and {after.name}: {_listed(graded)}", file=after.name
                )


def _listed(found: Iterable[Change]) -> str:
    return "; ".join(f"{each.name} {shown(each.before)} -> {shown(each.after)}" for each in found)


def _difference(name: str, before: Any, after: Any) -> Severity | None:
    """Return how much it matters that two values are not the same; None where they are."""
    if _same(before, after):
        return None
    if name in _MODEL_NAMES and isinstance(before, str) and isinstance(after, str):
        one, other = _model(before), _model(after)
        if one == other:
            return None
        # A copy on disk is mostly called as the model is on the hub, and may be another.
        if one.rpartition("/")[2].lower() == other.rpartition("/")[2].lower():
            return Severity.WARNING
    return grade(name)


def _model(name: str) -> str:
    """Return a model's name on the hub, where a path leads into the hub's cache; else the name."""
    found = _CACHED_MODEL.search(name)
    return found[1].replace("--", "/", 1) if found else name.rstrip("/")


def _same(one: Any, other: Any) -> bool:
    """Return whether two values mean the same; what a command line says is text, 6e-6 as any."""
    if isinstance(one, str) != isinstance(other, str):
        return _said(one, other) if isinstance(one, str) else _said(other, one)
    return same(one, other)


def _said(text: str, value: Any) -> bool:
    """Return whether a text says a value that is none."""
    plain = text.strip()
    if value is None or isinstance(value, bool):
        words = {None: ("none", "null", ""), True: ("true", "1"), False: ("false", "0")}
        return plain.lower() in words[value]
    if isinstance(value, (int, float)):
        try:
            return float(plain) == value
        except ValueError:
            return False
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted(plain.replace(",", " ").split()) == sorted(map(str, value))
    return False
