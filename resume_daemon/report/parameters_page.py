"""The page of how parameters are judged, made from the tables themselves: ``--write`` renews it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.findings import Severity
from resume_daemon.parameters.grades import EXPERIMENT, MODEL
from resume_daemon.parameters.lengths import Allocation, Strategy, allocate
from resume_daemon.parameters.names import ALIASES, PATHS
from resume_daemon.parameters.release import written
from resume_daemon.parameters.removals import ADDITIONS, REMOVALS

if TYPE_CHECKING:
    from collections.abc import Iterator

from resume_daemon.report.generated import print_or_write

PAGE = Path("docs") / "parameters.md"

_HEAD = """\
# How parameters are judged

What [`resume-daemon params`](commands.md#params) holds against each other. Each finding has a page
of its own among the [findings](findings.md), RD801 and on.

This page is generated from the code (`make docs`); a test keeps it current.

## Lengths

Prompt + completion may be as long as `max_seq_length`, as the model's `max_position_embeddings`
(times the factor of a scaling of its positions), and, where vLLM generates, as
`vllm_max_model_length`. Equal is fine: 1536 + 2560 fits 4096. Where they do not fit, four
strategies fill the smallest of these exactly. `--auto-fix` takes `custom` unless another is named,
because it changes least.
"""

_BATCHES = """\

## Batches

GRPO compares the completions of one prompt, so what is generated at once has to hold whole groups
of `num_generations`. What the trainer refuses, by release of TRL:

| TRL | has to be a multiple of `num_generations` |
| --- | --- |
| before 0.15 | nothing |
| 0.15, 0.16 | `per_device_train_batch_size` x processes |
| 0.17 | `per_device_train_batch_size` x `gradient_accumulation_steps` x processes |
| from 0.18 on | `generation_batch_size`; by default `per_device_train_batch_size` x \
`steps_per_generation` (by default `gradient_accumulation_steps`) x processes |

From 0.15 on the same holds of an evaluation, `per_device_eval_batch_size` x processes, where there
is one. Where the number of processes is not known, it is said on what it depends.

## What changed between two segments of a run

Consecutive checkpoints, consecutive segments of the tracker, and the next start against the
checkpoint that it goes on from.

| grade | parameters |
| --- | --- |
"""

_REMOVED = """\

## Arguments that trainers refuse

An `error` where the trainer's own class is given one; a `warning` where a command line or a
configuration does and the script may take it itself; an `info` where the release of the trainer is
not known. What a checkpoint or a tracker remembers is not given to the next start.

| argument | refused from | instead |
| --- | --- | --- |
"""

_ADDED = """\

Arguments of GRPOConfig that older releases of TRL refuse:

| from TRL | arguments |
| --- | --- |
"""


_NAMES = """\

## Names

A parameter is known by TRL's name, whether it is written with dashes, in upper case, or as another
trainer calls it. Within tables of a configuration the last keys count where the name alone says too
little, and what stands in a table of another model (`critic`, `reward_model`, `ref`) or occasion
(`eval`) is a parameter of its own.

| written as | known as |
| --- | --- |
"""


def page() -> str:
    """Return the page as Markdown."""
    return "".join(
        [
            _HEAD,
            *_strategies(),
            _BATCHES,
            *_grades(),
            _REMOVED,
            *_removals(),
            _ADDED,
            *_additions(),
            _NAMES,
            *_names(),
        ]
    )


def _strategies() -> Iterator[str]:
    yield "\n| strategy | of 4096, given 1536 + 2561 |\n| --- | --- |\n"
    for strategy in Strategy:
        yield f"| `{strategy.value}` | {allocate(4096, strategy, Allocation(1536, 2561))} |\n"


def _grades() -> Iterator[str]:
    for severity, names in ((Severity.ERROR, MODEL), (Severity.WARNING, EXPERIMENT)):
        yield f"| {severity.value} | {_listed(sorted(names))} |\n"
    yield "| info | every other |\n"


def _removals() -> Iterator[str]:
    order = sorted(REMOVALS, key=lambda each: (each.package, each.release, each.name))
    for each in order:
        yield f"| `{each.name}` | {each.package} {written(each.release)} | {each.instead} |\n"


def _additions() -> Iterator[str]:
    for release in sorted(set(ADDITIONS.values())):
        names = sorted(name for name, since in ADDITIONS.items() if since == release)
        yield f"| {written(release)} | {_listed(names)} |\n"


def _names() -> Iterator[str]:
    written_as: dict[str, list[str]] = {}
    for other, name in (*ALIASES.items(), *PATHS.items()):
        written_as.setdefault(name, []).append(other)
    for name, others in sorted(written_as.items()):
        yield f"| {_listed(others)} | `{name}` |\n"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print_or_write(PAGE, page(), sys.argv[1:])
