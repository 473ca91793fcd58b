"""What is wrong with the parameters of a run: facts in, findings out, from one module a theme."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.findings import Code, Severity
from resume_daemon.parameters import (
    adapters,
    agreement,
    batches,
    lengths,
    refusals,
    rejected,
    segments,
)
from resume_daemon.parameters.names import canonical
from resume_daemon.parameters.release import release_of
from resume_daemon.parameters.selection import (
    SAME_LENGTHS,
    completion_of,
    is_computed,
    lengths_of,
    limits_of,
    number_of,
    overruled_lengths_of,
)
from resume_daemon.parameters.values import SourceKind
from resume_daemon.parameters.wording import shown, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resume_daemon.findings import Finding
    from resume_daemon.parameters.facts import Facts
    from resume_daemon.parameters.selection import Lengths
    from resume_daemon.parameters.values import Setting

NOT_KNOWN = Code(
    "RD816",
    "lengths-not-known",
    Severity.INFO,
    "Whether the lengths fit is decided when the training starts",
    "A length is computed by the script. What can be read of it does not tell the number, so that "
    "nothing is said of whether prompt and completion fit.",
    "Look at the first lines of the trainer's log, or write the length as a number.",
)
RESTORED = Code(
    "RD817",
    "parameter-restored",
    Severity.WARNING,
    "A resume takes this parameter from the checkpoint, whatever is given",
    "The optimizer and the scheduler bring theirs with them when they are loaded. What the next "
    "start is given is shown in its log and in the tracker, and counts for nothing.",
    "Give what the checkpoint was trained with. To really change it, start a new run from the "
    "weights alone.",
    "torch 2.13 Optimizer.load_state_dict, LRScheduler.load_state_dict",
)

_NEXT: Final = "the next start"
_OF_STATE: Final = frozenset(
    {
        "best_global_step",
        "best_metric",
        "best_model_checkpoint",
        "epoch",
        "global_step",
        "num_input_tokens_seen",
        "total_flos",
        "trial_name",
        "trial_params",
    }
)
"""What a trainer state says of the moment, and not of the training."""


def check(facts: Facts) -> Iterator[Finding]:
    """Yield everything that is wrong, or uncertain, about what a run is trained with.

    The gravest come first; within a severity, those of the next start before those of the past.
    """
    found = [
        *_lengths(facts),
        *_agreement(facts),
        *batches.check(_batches(facts)),
        *refusals.check(facts.refusals),
        *_rejected(facts),
        *_adapters(facts),
        *_restored(facts),
        *_segments(facts),
    ]
    order = list(Severity)
    yield from sorted(found, key=lambda each: order.index(each.severity))


def fitting(facts: Facts) -> Iterator[str]:
    """Yield a sentence for each limit that the lengths keep."""
    limits = limits_of(facts)
    for pair in lengths_of(facts):
        if pair.certain:
            yield from lengths.fitting(pair.prompt, pair.completion, limits)


def _lengths(facts: Facts) -> Iterator[Finding]:
    limits = limits_of(facts)
    for pair in lengths_of(facts):
        if pair.certain:
            yield from lengths.check(pair.prompt, pair.completion, limits)
        elif limits:
            doubtful = pair.completion if pair.prompt.certain else pair.prompt
            yield NOT_KNOWN.finding(f"{told(doubtful)} is computed when the training starts")
    if (alone := completion_of(facts)) is not None and alone.certain:
        yield from lengths.check_completion(alone, limits)
    for pair in overruled_lengths_of(facts):
        for finding in lengths.check(pair.prompt, pair.completion, limits):
            made = next(filter(is_computed, map(facts.next_start, _names(pair))), None)
            # The start goes well, with other lengths than are written.
            but = "" if made is None else f"; the script makes it {told(made)}"
            yield dataclasses.replace(
                finding, severity=Severity.WARNING, message=f"{finding.message}{but}"
            )


def _names(pair: Lengths) -> tuple[str, str]:
    return canonical(pair.prompt.name), canonical(pair.completion.name)


def _agreement(facts: Facts) -> Iterator[Finding]:
    for script, trainer in SAME_LENGTHS:
        one, other = facts.next_start(script), facts.next_start(trainer)
        if one is not None and other is not None:
            yield from agreement.check(_as_number(one), _as_number(other))


def _as_number(setting: Setting) -> Setting:
    number = number_of(setting)
    return setting if number is None else dataclasses.replace(setting, value=number)


def _batches(facts: Facts) -> batches.Batches:
    def count(name: str) -> int | None:
        setting = facts.given(name)
        number = number_of(setting)
        certain = setting is not None and setting.certain
        return number if certain and number is not None and number > 0 else None

    strategy = facts.given("eval_strategy")
    return batches.Batches(
        num_generations=count("num_generations"),
        per_device_train_batch_size=count("per_device_train_batch_size"),
        gradient_accumulation_steps=count("gradient_accumulation_steps"),
        generation_batch_size=_chosen(facts, "generation_batch_size", count),
        steps_per_generation=_chosen(facts, "steps_per_generation", count),
        per_device_eval_batch_size=count("per_device_eval_batch_size"),
        num_generations_eval=count("num_generations_eval"),
        evaluates=strategy is not None and str(strategy.value).lower() in {"steps", "epoch"},
        world_size=facts.processes,
        trl=release_of(facts.versions.get("trl")),
    )


def _chosen(facts: Facts, name: str, count: Any) -> int | None:
    """Return a count that the next start is given; saved arguments have it computed by then."""
    return None if facts.next_start(name) is None else count(name)


def _rejected(facts: Facts) -> Iterator[Finding]:
    own = frozenset(
        _spelled(each)
        for each in facts.settings
        if each.source.kind is SourceKind.CODE and each.scope not in rejected.CLASSES
    )
    named = (dataclasses.replace(each, name=_spelled(each)) for each in facts.settings)
    versions = {name: release_of(facts.versions.get(name)) for name in ("trl", "transformers")}
    yield from rejected.check(named, own, versions)


def _spelled(setting: Setting) -> str:
    """Return the argument's own name, without what a command line or a shell makes of it."""
    return setting.name.lstrip("-").replace("-", "_").lower()


def _adapters(facts: Facts) -> Iterator[Finding]:
    checkpoint = facts.checkpoint
    tensors = None if checkpoint is None else adapters.adapter_of(checkpoint.shapes)
    if checkpoint is None or tensors is None:
        return
    saved = _values(checkpoint.settings)
    patterns = bool(saved.get("rank_pattern"))
    yield from adapters.check(
        tensors,
        rank=saved.get("lora_r"),
        targets=saved.get("lora_target_modules"),
        where=f"{checkpoint.name}/adapter_config.json",
        patterns=patterns,
    )
    rank, targets = facts.next_start("lora_r"), facts.next_start("lora_target_modules")
    if rank is not None and rank.certain and (number := number_of(rank)) != saved.get("lora_r"):
        where = f"{told(rank)}, which is given,"
        yield from adapters.check(
            tensors, rank=number, targets=None, where=where, patterns=patterns
        )
    if targets is not None and targets.certain:
        pair = {"targets": targets.value}, {"targets": saved.get("lora_target_modules")}
        if any(segments.changes(*pair)):
            where = f"{told(targets)}, which is given,"
            yield from adapters.check(tensors, rank=None, targets=targets.value, where=where)


def _restored(facts: Facts) -> Iterator[Finding]:
    for parameter in facts.parameters.values():
        given, saved = parameter.next_start, parameter.trained_with
        if not parameter.restored or given is None or saved is None or not given.certain:
            continue
        if any(segments.changes({"value": saved.value}, {"value": given.value})):
            yield RESTORED.finding(
                f"{told(given)} is given, and a resume goes on with {shown(saved.value)} "
                f"({saved.source.label})"
            )


def _segments(facts: Facts) -> Iterator[Finding]:
    past = [segments.Segment(each.name, _values(each.settings)) for each in facts.checkpoints]
    yield from segments.check(past)
    tracked = [segments.Segment(each.name, _values(each.settings)) for each in facts.segments]
    yield from segments.check(tracked, known=segments.seams(past))
    yield from segments.check(_seam_ahead(facts))


def _seam_ahead(facts: Facts) -> tuple[segments.Segment, ...]:
    """Return what the run was trained with and what the next start is given, where both say."""
    # A default in code is overruled by a command that nobody showed us: then it says nothing.
    handed = {SourceKind.COMMAND_LINE, SourceKind.CONFIGURATION, SourceKind.ENVIRONMENT}
    started = any(each.source.kind in handed for each in facts.settings)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for name, parameter in facts.parameters.items():
        given, saved = parameter.next_start, parameter.trained_with
        if given is None or saved is None or not given.certain or parameter.restored:
            continue
        if given.source.kind in handed or started:
            before[name], after[name] = saved.value, given.value
    name = _NEXT if facts.checkpoint is None else facts.checkpoint.name
    return segments.Segment(name, before), segments.Segment(_NEXT, after)


def _values(settings: Iterable[Setting]) -> dict[str, Any]:
    named = ((canonical(each.name), each.value) for each in settings if each.certain)
    return {name: value for name, value in named if name not in _OF_STATE}
