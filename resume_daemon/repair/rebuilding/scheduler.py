"""The state of a learning rate scheduler, from the optimizer that it set the rates of.

``torch.optim.lr_scheduler.LRScheduler`` writes each rate into the optimizer's groups as it makes a
step, and what it saves beside them is how many steps it made (torch 2.13 ``optim/lr_scheduler.py``:
``_update_lr``, ``state_dict``). The functions of a ``LambdaLR`` are not saved. So where it keeps
nothing else, the optimizer of the same save says all that changed since another checkpoint of the
run; no formula of rates is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.formats.torch_archive import torch_archive
from resume_daemon.repair.rebuilding.outcome import Rebuilt, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE: Final = "scheduler.pt"

_CHANGING: Final = frozenset({"last_epoch", "_step_count", "_last_lr"})
_CONSTANT: Final = frozenset(
    {"base_lrs", "lr_lambdas", "_is_initial", "_get_lr_called_within_step", "verbose"}
)
"""What ``LambdaLR`` saves; the last of them until torch 2.6."""


@dataclass(frozen=True, slots=True)
class Optimizer:
    """What an optimizer file says, as far as it matters here.

    Attributes:
        groups: Its ``param_groups``.
        steps: Its own step counter of each parameter.
    """

    groups: Sequence[Mapping[str, Any]]
    steps: Sequence[float]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Scheduler and optimizer of another checkpoint of the run, which is sound."""

    name: str
    step: int
    scheduler: Any
    optimizer: Optimizer


def rebuild(step: int, optimizer: Optimizer, neighbour: Neighbour) -> Rebuilt | Refused:
    """Return ``scheduler.pt`` of a checkpoint whose own is missing or belongs to another step.

    Args:
        step: The checkpoint's step.
        optimizer: Its optimizer.
        neighbour: Another checkpoint of the run.
    """
    if not optimizer.steps or set(optimizer.steps) != {step}:
        return Refused(
            f"the optimizer's own counters do not all say {step}, and a step that it left out "
            "the scheduler leaves out as well"
        )
    state = neighbour.scheduler
    if reason := _unlike_any(state, neighbour):
        return Refused(f"that of {neighbour.name} {reason}")
    rates = [group.get("lr") for group in optimizer.groups]
    first = [group.get("initial_lr") for group in optimizer.groups]
    if first != state["base_lrs"] or not all(type(rate) is float for rate in rates):
        return Refused(
            f"the optimizer's groups do not begin with the rates that {neighbour.name} began with"
        )
    changed = {"last_epoch": step, "_step_count": step + 1, "_last_lr": rates}
    value = {key: changed.get(key, known) for key, known in state.items()}
    return Rebuilt(
        torch_archive("scheduler", value),
        f"the rates and counters in optimizer.pt, and the form of the one in {neighbour.name}",
    )


def _unlike_any(state: Any, neighbour: Neighbour) -> str | None:
    """Return why a scheduler's state cannot be carried over to another step, or None."""
    if not isinstance(state, dict) or not _CHANGING | {"base_lrs"} <= state.keys():
        return "is no state of a scheduler that is known here"
    if more := sorted(map(str, state.keys() - _CHANGING - _CONSTANT)):
        return f"keeps {', '.join(more[:3])}, and what they were at another step nothing tells"
    lambdas = state.get("lr_lambdas", [])
    # A function is kept as None; an object with the attributes that it had.
    if not isinstance(lambdas, list) or any(each not in (None, {}) for each in lambdas):
        return "keeps functions with a state of their own"
    if (state["last_epoch"], state["_step_count"]) != (neighbour.step, neighbour.step + 1):
        return "does not make one step at each step of the trainer"
    groups = neighbour.optimizer.groups
    if state["_last_lr"] != [group.get("lr") for group in groups]:
        return "does not have the rates of the optimizer beside it"
    if state["base_lrs"] != [group.get("initial_lr") for group in groups]:
        return "does not begin with the rates of the optimizer beside it"
    return None
