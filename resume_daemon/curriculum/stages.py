"""Whether the stages that a curriculum state defines are well formed, and the stage among them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.curriculum.paths import find, parse_path
from resume_daemon.curriculum.summary import whole
from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from resume_daemon.curriculum.schemas import Schema
    from resume_daemon.findings import Finding

STAGE_OUT_OF_RANGE = Code(
    "RD510",
    "curriculum-stage-out-of-range",
    Severity.WARNING,
    "The curriculum's stage is none of those that it defines",
    "The state names a stage that is not in its own list: the list was shortened, the number was "
    "edited, or the file is another run's. On resume the trainer fails at the first look-up, or "
    "takes the last stage for it.",
    "Put back the version of the checkpoint ('resume-daemon curriculum --restore'), or correct the "
    "number.",
    "qhy991/GRPO-Clean-2, grpo_project/curriculum/manager.py: stages are looked up by their index",
)
STAGE_MALFORMED = Code(
    "RD511",
    "curriculum-stage-malformed",
    Severity.WARNING,
    "A stage of the curriculum is not well formed",
    "A stage lacks what every stage has to have, or holds a value that cannot be one: a range "
    "whose end is below its beginning, a threshold that is no number. The trainer fails when it "
    "reaches that stage, perhaps days from now, or never passes it.",
    "Correct the stage in the file, or make the state anew ('resume-daemon curriculum "
    "--create-fresh').",
    "the guide's curriculum repair: every stage has a name, levels, a range and a threshold",
)
FIELDS_MISSING = Code(
    "RD512",
    "curriculum-fields-missing",
    Severity.WARNING,
    "The curriculum state lacks a field that its shape has",
    "The file has the name and nearly all of the shape of a known curriculum state. The trainer "
    "fails when it loads it, or takes a default for what is missing: a stage of 0, no history.",
    "Put back the version of the checkpoint ('resume-daemon curriculum --restore'), or add the "
    "field; where your trainer writes such a shape, describe it under curriculum.schemas.",
    "qhy991/GRPO-Clean-2: what is missing is read with a default",
)

MAX_SHOWN = 5
"""Stages whose faults are told one by one."""

_THRESHOLDS = ("threshold", "ratio")
_RANGES = ("range",)
_PAIR = 2


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages that a state defines itself.

    Attributes:
        definitions: Each as it stands in the file.
        where: Path of the list in the document, for messages.
    """

    definitions: tuple[Any, ...]
    where: str

    def __len__(self) -> int:
        """Return the number of stages."""
        return len(self.definitions)


def stages_of(document: Any, schema: Schema | None) -> Stages | None:
    """Return the stages that a state defines, or None where it defines none."""
    if schema is None:
        return None
    for path in schema.stages:
        for value in find(document, parse_path(path)):
            if isinstance(value, list):
                return Stages(tuple(value), path)
    return None


def stage_findings(
    file: str, document: Any, schema: Schema | None, stage: int | str | None
) -> Iterator[Finding]:
    """Yield what is wrong with a state's stages.

    A number one past the last is told as info: some managers mean by it that all is done.

    Args:
        file: The state file, for messages.
        document: Its parsed content.
        schema: By which it was recognised.
        stage: The stage that it is in.
    """
    stages = stages_of(document, schema)
    if stages is None or schema is None:
        return
    faults = [
        f"stage {number}{_called(each)} {fault}"
        for number, each in enumerate(stages.definitions)
        if (fault := stage_fault(each, schema.stage_fields, stages.definitions))
    ]
    if not stages.definitions:
        faults = [f"{stages.where} is an empty list"]
    stated = document.get("stage_count") if isinstance(document, dict) else None
    if whole(stated) is not None and stated != len(stages):
        faults.append(f"stage_count is {stated}, and {stages.where} has {len(stages)}")
    if faults:
        more = f"; and {len(faults) - MAX_SHOWN} more" if len(faults) > MAX_SHOWN else ""
        yield STAGE_MALFORMED.finding(f"{file}: {'; '.join(faults[:MAX_SHOWN])}{more}.", file=file)
    if not stages.definitions:
        return
    names = [each["name"] for each in stages.definitions if _is_named(each)]
    if isinstance(stage, int) and stage >= len(stages):
        last = f"the last of its {len(stages)} stages is {len(stages) - 1}"
        if stage == len(stages):
            yield STAGE_OUT_OF_RANGE.finding(
                f"{file}: the stage is {stage} and {last}: some trainers mean by it that all are "
                "done.",
                file=file,
                severity=Severity.INFO,
            )
        else:
            yield STAGE_OUT_OF_RANGE.finding(f"{file}: the stage is {stage}; {last}.", file=file)
    if isinstance(stage, str) and len(names) == len(stages) and stage not in names:
        known = ", ".join(map(str, names[:MAX_SHOWN]))
        yield STAGE_OUT_OF_RANGE.finding(
            f"{file}: the stage is {stage!r}, which is none of {known}.", file=file
        )


def fields_missing(file: str, document: Any, schemas: Sequence[Schema]) -> Finding | None:
    """Return whether a state is a known one but for one required field.

    Only where the file has exactly the name of that shape, and no known shape fits it as it is.

    Args:
        file: The state file.
        document: Its parsed content, which was recognised by no schema with required fields.
        schemas: Those that are known.
    """
    last = file.rpartition("/")[2]
    for schema in schemas:
        if last not in schema.files or len(schema.required) <= _PAIR:
            continue
        missing = [path for path in schema.required if not find(document, parse_path(path))]
        if len(missing) == 1:
            message = f"{file}: {missing[0]} is missing; all else is as {schema.name} has it."
            return FIELDS_MISSING.finding(message, file=file)
    return None


def stage_fault(stage: Any, required: Sequence[str] = (), others: Sequence[Any] = ()) -> str | None:
    """Return what is wrong with one stage, as the end of a sentence, or None.

    Args:
        stage: Its definition.
        required: Keys that it has to have.
        others: All stages: a key that each of them has but this one is missing here.
    """
    if isinstance(stage, str) and stage:
        return None  # A name alone: the definitions are elsewhere.
    if not isinstance(stage, dict):
        return "is no mapping"
    missing = [key for key in required if key not in stage]
    missing += [key for key in _shared(stage, others) if key not in missing]
    if missing:
        return f"lacks {', '.join(missing)}"
    for key, value in stage.items():
        words = str(key).lower()
        if any(word in words for word in _THRESHOLDS) and not _is_number(value):
            return f"has {key} {value!r}, which is no number"
        if any(word in words for word in _RANGES) and not _is_range(value):
            return f"has {key} {value!r}, which is no range"
    return None


def _shared(stage: Mapping[str, Any], others: Sequence[Any]) -> list[str]:
    """Return the keys that every other stage has and this one lacks; two others agree at least."""
    rest = [each for each in others if isinstance(each, dict) and each is not stage]
    if len(rest) < _PAIR:
        return []
    return sorted(str(key) for key in set.intersection(*map(set, rest)) - set(stage))


def _is_number(value: Any) -> bool:
    if value is None or isinstance(value, (dict, list)):
        return True  # No threshold, or one for each of several measures.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_range(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != _PAIR:
        return True  # Of a shape that is not known here.
    low, high = value
    if low is None or high is None:
        return True
    return _is_number(low) and _is_number(high) and not isinstance(low, list) and bool(low <= high)


def _is_named(stage: Any) -> bool:
    return isinstance(stage, dict) and isinstance(stage.get("name"), str)


def _called(stage: Any) -> str:
    return f" ({stage['name'][:80]})" if _is_named(stage) else ""
