"""Pickles, read without loading them: values, inert nodes, and a list of what loading would run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.formats.byte_ranges import HEAD, blank_reason
from resume_daemon.formats.expansion import check_expansion
from resume_daemon.formats.inert_values import (
    COMPUTED,
    BeyondBoundError,
    Call,
    GlobalReference,
    How,
    Limits,
    PersistentReference,
    Reference,
)
from resume_daemon.formats.pickle_budget import Budget
from resume_daemon.formats.pickle_machine import PickleMachine
from resume_daemon.formats.pickle_opcodes import run
from resume_daemon.formats.plain_calls import PLAIN_CALLS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from resume_daemon.formats.pickle_source import Source
    from resume_daemon.formats.plain_calls import Rebuilder

__all__ = [
    "COMPUTED",
    "Call",
    "GlobalReference",
    "How",
    "Limits",
    "PersistentReference",
    "PickleContent",
    "Reference",
    "load",
]

_OPERATION: Final = "read the pickle in"
_DEFAULT_LIMITS: Final = Limits()

_STORAGE_PICKLES: Final = 5
"""Pickles at the beginning of a stored storage: magic number, version, system, value, keys."""


@dataclass(frozen=True, slots=True)
class PickleContent:
    """A pickle as a value.

    Attributes:
        value: Plain scalars and containers (an ``OrderedDict`` or ``defaultdict`` is a dict, a
            ``torch.Size`` a tuple), and inert nodes for everything else. It may contain itself,
            and the same part may stand in many places.
        references: Everything that loading would import, each once, with the gravest thing that
            would happen to it, in the order of first appearance.
        end: Offset after the last instruction.
        shared: Identities of the containers in the value that stand in more than one place.
    """

    value: Any
    references: tuple[Reference, ...]
    end: int
    shared: Collection[int] = ()


def load(
    data: Source,
    path: Path,
    limits: Limits = _DEFAULT_LIMITS,
    *,
    begin: int = 0,
    budget: Budget | None = None,
    rebuilders: Mapping[tuple[str, str], Rebuilder] | None = None,
) -> PickleContent:
    """Return what a pickle holds; nothing in it is imported or called.

    Args:
        data: The pickle, or the file that it is in; what follows it is left alone.
        path: Where it came from, for messages.
        limits: Bounds on what is accepted.
        begin: Offset in ``data`` at which it begins.
        budget: What it may cost, where other pickles share that.
        rebuilders: By module and name, what replaces the result of a call, beyond the calls that
            make plain Python values.

    Raises:
        BeyondBoundsError: It is larger than is read.
        FormatError: It is no pickle, cut short, or needs what is outside it.
    """
    if reason := blank_reason(data[begin : begin + HEAD]):
        raise FormatError(_OPERATION, path, reason)
    machine = PickleMachine(
        data,
        begin,
        limits,
        budget or Budget(limits),
        rebuilders=PLAIN_CALLS if rebuilders is None else {**PLAIN_CALLS, **rebuilders},
        nested=_load_nested,
    )
    try:
        value = run(machine)
        check_expansion(value, machine.shared, depth=limits.depth, expanded=limits.expanded)
    except BeyondBoundError as error:
        raise BeyondBoundsError(_OPERATION, path, str(error)) from None
    except ValueError as error:
        raise FormatError(_OPERATION, path, str(error)) from None
    references = tuple(
        Reference(module, name, how) for (module, name), how in machine.references.items()
    )
    return PickleContent(value, references, machine.position, machine.shared)


def _load_nested(outer: PickleMachine, data: Source, begin: int) -> None:
    """Read the pickles inside a pickled storage, which loading would load with no restriction.

    ``torch.storage._load_from_bytes`` passes its bytes to ``torch.load(weights_only=False)``
    (torch 2.13 ``torch/storage.py``), so what they name counts as much as what the outer names.
    """
    limits = replace(outer.limits, nested=outer.limits.nested - 1)
    try:
        if limits.nested < 0:
            raise ValueError  # noqa: TRY301 - the same as one that cannot be read.
        for _ in range(_STORAGE_PICKLES):
            inner = PickleMachine(
                data, begin, limits, outer.budget, rebuilders=PLAIN_CALLS, nested=_load_nested
            )
            try:
                run(inner)
            finally:
                # Loading runs what comes before a fault.
                begin = inner.position
                for (module, name), how in inner.references.items():
                    outer.refer(module, name, how)
    except ValueError:
        outer.refer(COMPUTED, "a pickle inside the pickle that cannot be read", How.CALL)
