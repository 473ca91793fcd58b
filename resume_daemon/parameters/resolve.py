"""Which of several values counts: settings in, parameters out. Pure.

The guide's precedence: command line, then environment, then configuration file, then the default
in code. A checkpoint overrides the part that the trainer restores from it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from resume_daemon.parameters.compare import same
from resume_daemon.parameters.facts import Parameter
from resume_daemon.parameters.names import canonical, parameter_of
from resume_daemon.parameters.values import SourceKind

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from resume_daemon.parameters.values import Setting

STRENGTH: Final = {kind: place for place, kind in enumerate(SourceKind)}
"""The order of ``SourceKind`` is the order of precedence."""

PAST: Final = frozenset({SourceKind.CHECKPOINT, SourceKind.TRACKER})
"""Sources that tell what the run was trained with, and not what the next start is given."""

RESTORED: Final = frozenset(
    {"learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"}
)
"""What a resume takes from the checkpoint, whatever the next start is given.

``optimizer.pt`` brings its parameter groups and ``scheduler.pt`` its ``base_lrs`` (torch 2.13
``Optimizer.load_state_dict``, ``LRScheduler.load_state_dict``).
"""


def resolve(
    settings: Iterable[Setting], restored: Container[str] = RESTORED
) -> dict[str, Parameter]:
    """Return every parameter by name, sorted, with all that was said of it.

    Among settings of equal strength the one that comes later counts, as a repeated option or a
    second assignment does.

    Args:
        settings: Of every source, in the order in which each source has them.
        restored: Parameters that a resume takes from the checkpoint.
    """
    found: dict[str, list[Setting]] = {}
    for setting in settings:
        found.setdefault(name_of(setting), []).append(setting)
    return {name: _parameter(name, found[name], restored) for name in sorted(found)}


def name_of(setting: Setting) -> str:
    """Return the name that a setting's parameter is known by."""
    # Classes and commands are scopes as well, and say nothing of the parameter.
    keyed = setting.source.kind is SourceKind.CONFIGURATION or (
        setting.source.kind is SourceKind.COMMAND_LINE
        and setting.scope.replace(".", "").isidentifier()
        and not setting.scope.endswith(".py")
    )
    return parameter_of(setting.name, setting.scope if keyed else "")


def with_computed(
    parameters: Mapping[str, Parameter], computed: Iterable[Setting]
) -> dict[str, Parameter]:
    """Return parameters with what the user's code makes of them when it has been given them.

    What it leaves as it was given stays the setting that it was given by.

    Args:
        parameters: From ``resolve``.
        computed: What is assigned at the end, whatever was given.
    """
    found = dict(parameters)
    for setting in computed:
        name = canonical(setting.name)
        parameter = found.get(name, Parameter(name, ()))
        given = parameter.next_start
        stays = given is not None and same(given.value, setting.value)
        if not stays or (given is not None and given.certain != setting.certain):
            found[name] = replace(
                parameter, settings=(setting, *parameter.settings), next_start=setting
            )
    return dict(sorted(found.items()))


def _parameter(name: str, settings: list[Setting], restored: Container[str]) -> Parameter:
    # Later ones first, so that a stable sort leaves the one that counts at the head of its kind.
    order = settings[::-1]
    order.sort(key=lambda each: STRENGTH[each.source.kind])
    future = [each for each in order if each.source.kind not in PAST]
    past = [each for each in order if each.source.kind in PAST]
    return Parameter(
        name,
        tuple(order),
        next_start=next(iter(future), None),
        trained_with=next(iter(past), None),
        restored=name in restored,
    )
