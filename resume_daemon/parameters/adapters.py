"""An adapter's configuration against the tensors that it is saved as."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.findings import Finding

_SOURCE: Final = "peft 0.21 tuners/lora/layer.py: lora_A has r rows, lora_B has r columns"

RANK_DISAGREES = Code(
    "RD814",
    "adapter-rank-disagrees",
    Severity.ERROR,
    "The adapter's tensors have another rank than is configured",
    "A LoRA of rank r is saved as a matrix of r rows and one of r columns. With another r the "
    "weights do not load, or a script that makes a fresh adapter trains that one.",
    "Set the rank that the tensors have, or resume from the checkpoint that has the rank you want.",
    _SOURCE,
)
TARGETS_DISAGREE = Code(
    "RD815",
    "adapter-targets-disagree",
    Severity.ERROR,
    "The adapter's tensors are on other modules than is configured",
    "Modules that are configured and have no tensors start from nothing; tensors on modules that "
    "are not configured are left out when the adapter is loaded.",
    "Set the modules that the tensors are on.",
    _SOURCE,
)

_LORA: Final = re.compile(
    r"(?P<module>.+)\.(?P<kind>lora_A|lora_B|lora_embedding_A|lora_embedding_B)"
    r"(?:\.[^.]+)?(?:\.weight)?"
)
_PREFIX: Final = re.compile(r"^(?:base_model\.model\.)+")
_MOST_NAMED: Final = 8


@dataclass(frozen=True, slots=True)
class AdapterTensors:
    """What the tensors of a LoRA say by themselves.

    Attributes:
        ranks: Rank of each module, by its full name without peft's prefix.
    """

    ranks: Mapping[str, int]

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the last parts of the modules' names, sorted: what target_modules mostly names."""
        return tuple(sorted({module.rpartition(".")[2] for module in self.ranks}))


def adapter_of(shapes: Mapping[str, tuple[int, ...]]) -> AdapterTensors | None:
    """Return what tensors' names and shapes say of a LoRA; None where there is none."""
    ranks: dict[str, int] = {}
    for name, shape in shapes.items():
        found = _LORA.fullmatch(name)
        # Only A, whose rows are the rank: B of a convolution has its rank elsewhere.
        if found is not None and found["kind"].endswith("_A") and shape:
            ranks[_PREFIX.sub("", found["module"])] = shape[0]
    return AdapterTensors(dict(sorted(ranks.items()))) if ranks else None


def check(
    tensors: AdapterTensors,
    *,
    rank: Any,
    targets: Any,
    where: str,
    patterns: bool = False,
) -> Iterator[Finding]:
    """Yield where a configuration and the tensors do not agree.

    Args:
        tensors: From ``adapter_of``.
        rank: The rank configured; anything but a number is not judged.
        targets: The modules configured: a list of names; a pattern ("all-linear", or a regular
            expression) is not judged.
        where: Where both stand, for the message.
        patterns: Whether ranks differ by module on purpose (``rank_pattern``).
    """
    if isinstance(rank, int) and not isinstance(rank, bool) and not patterns:
        others = {name: found for name, found in tensors.ranks.items() if found != rank}
        if others:
            first, found = next(iter(others.items()))
            more = f", and so have {len(others) - 1} more modules" if len(others) > 1 else ""
            yield RANK_DISAGREES.finding(
                f"{where} says rank {rank}, and the tensors of {first} have rank {found}{more}",
                hint=f"Set the rank to {found}." if len(set(others.values())) == 1 else None,
            )
    if isinstance(targets, (list, tuple, set, frozenset)) and targets:
        names = sorted(str(each) for each in targets)
        without = [name for name in names if not any(_is(m, name) for m in tensors.ranks)]
        beyond = sorted(
            {
                module.rpartition(".")[2]
                for module in tensors.ranks
                if not any(_is(module, name) for name in names)
            }
        )
        if without or beyond:
            said = []
            if without:
                said.append(f"no tensors are on {_some(without)}, which {where} names")
            if beyond:
                said.append(f"there are tensors on {_some(beyond)}, which {where} does not name")
            yield TARGETS_DISAGREE.finding(
                "; ".join(said), hint=f"The tensors are on {_some(list(tensors.targets))}."
            )


def _is(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
