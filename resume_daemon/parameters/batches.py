"""The batch that GRPO generates at once has to hold whole groups: counts that must divide.

What is demanded differs by release of TRL (read in ``grpo_config.py`` and ``grpo_trainer.py`` of
each): before 0.15 nothing; 0.15 and 0.16 the batch of one pass over all processes; 0.17 the batch
of one optimizer step; from 0.18 ``generation_batch_size``, which is that by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Final

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.findings import Finding
    from resume_daemon.parameters.release import Release

_SOURCE: Final = "TRL 1.16 grpo_config.py: GRPOConfig.__post_init__"

NOT_DIVISIBLE = Code(
    "RD805",
    "batch-not-divisible",
    Severity.ERROR,
    "The generation batch does not hold whole groups of completions",
    "GRPO compares the completions of one prompt with each other, so the batch that is generated "
    "at once has to be a multiple of num_generations. The trainer refuses to start.",
    "Change num_generations, per_device_train_batch_size, gradient_accumulation_steps, or the "
    "number of processes.",
    _SOURCE,
)
WORLD_SIZE_UNKNOWN = Code(
    "RD806",
    "processes-unknown",
    Severity.INFO,
    "Whether the batch divides depends on the number of processes, which is not known",
    "Nothing that was read says how many processes the training is started with. With some numbers "
    "the trainer starts, with others it refuses.",
    "See that the number of processes is a multiple of what is named here.",
    _SOURCE,
)
TOO_FEW_GENERATIONS = Code(
    "RD807",
    "too-few-generations",
    Severity.ERROR,
    "One completion per prompt is nothing to compare",
    "GRPO's advantage is a completion's reward against those of its group, so a group has at least "
    "two. The trainer refuses to start.",
    "Set num_generations to 2 or more.",
    _SOURCE,
)
BATCH_SET_TWICE = Code(
    "RD808",
    "generation-batch-set-twice",
    Severity.ERROR,
    "generation_batch_size and steps_per_generation are both set",
    "Each follows from the other, and the trainer refuses to start with both.",
    "Remove one of them.",
    _SOURCE,
)


@dataclass(frozen=True, slots=True)
class Batches:
    """Counts as the next start is given them; None: not given, the trainer's default holds.

    Attributes:
        num_generations: Completions per prompt.
        per_device_train_batch_size: Completions per process and pass.
        gradient_accumulation_steps: Passes per optimizer step; 1 by default.
        generation_batch_size: Completions generated at once, over all processes.
        steps_per_generation: Passes that one generation serves.
        per_device_eval_batch_size: Completions per process and pass of an evaluation.
        num_generations_eval: Completions per prompt there; ``num_generations`` by default.
        evaluates: Whether there are evaluations at all (``eval_strategy`` is not "no").
        world_size: Processes; None: not known.
        trl: Release of TRL; None: not known, and judged as a recent one.
    """

    num_generations: int | None = None
    per_device_train_batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    generation_batch_size: int | None = None
    steps_per_generation: int | None = None
    per_device_eval_batch_size: int | None = None
    num_generations_eval: int | None = None
    evaluates: bool = False
    world_size: int | None = None
    trl: Release | None = None


def check(batches: Batches) -> Iterator[Finding]:
    """Yield what GRPOConfig would refuse, and what cannot be told without the number of processes.

    What is not given is not judged: a default may be anything in a class derived from GRPOConfig.
    """
    trl = batches.trl or (1, 16, 0)
    if trl < (0, 15, 0):
        return
    groups = batches.num_generations
    if groups is not None and groups < 2:  # noqa: PLR2004 - a group is two or more
        yield TOO_FEW_GENERATIONS.finding(f"num_generations is {groups}")
        return
    if trl >= (0, 18, 0):
        if batches.generation_batch_size is not None and batches.steps_per_generation is not None:
            yield BATCH_SET_TWICE.finding(
                f"generation_batch_size is {batches.generation_batch_size} and "
                f"steps_per_generation is {batches.steps_per_generation}"
            )
            return
        if batches.generation_batch_size is not None:
            yield from _generation_batch(batches)
            yield from _evaluation(batches)
            return
    per_process, named = _per_process(batches, trl)
    if groups is not None and per_process is not None:
        yield from _divides(per_process, named, groups, "num_generations", batches.world_size)
    yield from _evaluation(batches)


def _per_process(batches: Batches, trl: Release) -> tuple[int | None, str]:
    """Return the batch of one process, and how it came about."""
    each = batches.per_device_train_batch_size
    if each is None:
        return None, ""
    named = f"per_device_train_batch_size {each}"
    if trl < (0, 17, 0):
        return each, named
    if trl >= (0, 18, 0) and batches.steps_per_generation is not None:
        steps, name = batches.steps_per_generation, "steps_per_generation"
    else:
        steps, name = batches.gradient_accumulation_steps or 1, "gradient_accumulation_steps"
    return each * steps, f"{named} x {name} {steps}"


def _generation_batch(batches: Batches) -> Iterator[Finding]:
    size, groups = batches.generation_batch_size, batches.num_generations
    if size is None:
        return
    if groups is not None and size % groups:
        yield NOT_DIVISIBLE.finding(
            f"generation_batch_size {size} is not a multiple of num_generations {groups}",
            hint=f"Set generation_batch_size to {_nearest(size, groups)}, or num_generations to a "
            f"divisor of {size}.",
        )
    each, world = batches.per_device_train_batch_size, batches.world_size
    if each is None:
        return
    if size % each or (world is not None and size % (each * world)):
        by = f"per_device_train_batch_size {each}"
        by += "" if world is None else f" x {world} processes"
        yield NOT_DIVISIBLE.finding(f"generation_batch_size {size} is not a multiple of {by}")
    elif world is None:
        yield WORLD_SIZE_UNKNOWN.finding(
            f"generation_batch_size {size} has to be a multiple of per_device_train_batch_size "
            f"{each} x the number of processes",
            hint=f"Start with a number of processes that divides {size // each}.",
        )


def _evaluation(batches: Batches) -> Iterator[Finding]:
    each = batches.per_device_eval_batch_size
    groups, name = batches.num_generations_eval, "num_generations_eval"
    if not groups:
        groups, name = batches.num_generations, "num_generations"
    if batches.evaluates and each is not None and groups is not None:
        named = f"per_device_eval_batch_size {each}"
        yield from _divides(each, named, groups, name, batches.world_size)


def _divides(
    per_process: int, named: str, groups: int, name: str, world: int | None
) -> Iterator[Finding]:
    """Judge ``per_process`` times the number of processes against the size of a group."""
    if per_process % groups == 0:
        return
    needed = groups // gcd(per_process, groups)
    if world is None:
        yield WORLD_SIZE_UNKNOWN.finding(
            f"{named} = {per_process} for each process, which is a multiple of {name} {groups} "
            f"only over a multiple of {needed} processes",
            hint=f"Start with a multiple of {needed} processes, or change one of these numbers.",
        )
    elif world % needed:
        total = per_process * world
        yield NOT_DIVISIBLE.finding(
            f"{named} x {world} processes = {total}, which is not a multiple of {name} {groups}",
            hint=f"With these batch sizes, {name} can be a divisor of {total}; or start with a "
            f"multiple of {needed} processes.",
        )


def _nearest(size: int, groups: int) -> str:
    below = size // groups * groups
    return f"{below} or {below + groups}" if below else str(groups)
