"""What FSDP writes through accelerate, into a trainer's checkpoint or one of ``save_state``.

Source: accelerate 1.15 ``utils/fsdp_utils.py``: save_fsdp_model, save_fsdp_optimizer. Their files
lie beside those that go with every form of training; ``i`` counts models and optimizers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resume_daemon.layouts import dcp
from resume_daemon.layouts.base import RANK, WORLD, Format, Role, rule, under
from resume_daemon.layouts.dcp import dcp_rules
from resume_daemon.layouts.ranks import missing_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Missing, Part, Rule
    from resume_daemon.listing import Listing

_FOLDER = re.compile(r"(?P<kind>pytorch_model_fsdp|optimizer)_\d+/", re.ASCII)
_LOCAL = re.compile(r"pytorch_model_fsdp_rank\d+\.bin", re.ASCII)
_SETS = "FSDP "
XLA_MODEL = "FSDP XLA model"
XLA_OPTIMIZER = "FSDP XLA optimizer"

FSDP: tuple[Rule, ...] = (
    # SHARDED_STATE_DICT: a directory of torch.distributed.checkpoint each.
    *under(r"pytorch_model_fsdp_\d+", dcp_rules(Role.WEIGHTS)),
    *under(r"optimizer_\d+", dcp_rules(Role.OPTIMIZER)),
    # FULL_STATE_DICT: one file; the optimizer is optimizer.bin.
    rule(r"pytorch_model_fsdp(?:_\d+)?\.bin", Role.WEIGHTS, Format.TORCH),
    # LOCAL_STATE_DICT, which leaves the number of the first model out, and use_dcp=False.
    *(
        rule(rf"{stem}{number}_rank{RANK}\.bin", role, Format.TORCH, of=f"{_SETS}{stem}{number}")
        for stem, role in (("pytorch_model_fsdp", Role.WEIGHTS), ("optimizer", Role.OPTIMIZER))
        for number in ("", "_0", "_1", "_2", "_3")
    ),
    # torch_xla's own FSDP (transformers trainer.py, integrations/tpu.py); not tried on a TPU.
    rule(rf"rank{RANK}-of-{WORLD}-pytorch_model\.bin", Role.WEIGHTS, Format.TORCH, of=XLA_MODEL),
    rule(rf"rank{RANK}-of-{WORLD}-optimizer\.pt", Role.OPTIMIZER, Format.TORCH, of=XLA_OPTIMIZER),
)


def holds_fsdp_model(listing: Listing) -> bool:
    """Return whether weights that only a training with FSDP can load are there."""
    return any(name.startswith("pytorch_model_fsdp") for name in listing)


def is_local(name: str) -> bool:
    """Return whether a file is a rank's piece as ``LOCAL_STATE_DICT`` saves it."""
    return _LOCAL.fullmatch(name) is not None


def missing_fsdp(parts: Mapping[str, Part], listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what the directories and the ranks' files lack; nothing where there are none."""
    for folder in sorted({match[0] for name in listing if (match := _FOLDER.match(name))}):
        yield from dcp.missing_in(folder, listing, around)
    yield from missing_ranks(
        {name: part for name, part in parts.items() if part.of.startswith(_SETS)}
    )
