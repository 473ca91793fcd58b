"""Checkpoints of prime-rl: ``step_N``, half of it the trainer's and half the orchestrator's.

Source: prime-rl 0.8 ``trainer/ckpt.py`` and ``orchestrator/ckpt.py``. The two are processes of
their own, which save when each comes to the step, and a resume takes the highest ``step_N``
without looking at what is in it. Supervised fine-tuning has no orchestrator, and saves the
position in the data for every rank instead.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.layouts.base import (
    RANK,
    STEP,
    Completeness,
    Facts,
    Format,
    Layout,
    Missing,
    Role,
    name_of,
    rule,
    under,
)
from resume_daemon.layouts.dcp import dcp_rules, metadata_of, missing_in
from resume_daemon.layouts.ranks import missing_ranks, world_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

PROGRESS: Final = "orchestrator/progress.pt"

_DATA = "trainer/dataloader/"
_SHARD = re.compile(rf"trainer/__{RANK}_\d+\.distcp", re.ASCII)


class PrimeRl(Layout):
    """``checkpoints/step_N/{trainer,orchestrator}``."""

    name = "prime-rl"
    facts = Facts(
        written_by="prime-rl, for RL and for supervised fine-tuning",
        recognised=".metadata or a .distcp file in trainer/, or orchestrator/progress.pt",
        step="N of step_N, which is progress.step of the trainer's state",
        required="trainer/ with .metadata and every shard that it names, and "
        "orchestrator/progress.pt; in supervised fine-tuning trainer/dataloader/rank_0.pt instead",
        marker="none; trainer/.metadata and orchestrator/progress.pt are each renamed into place, "
        "in either order",
        staging="none for the directory; orchestrator/progress.pt.*.tmp",
        ranks="the shards that .metadata names; rank_R.pt of every rank",
        rotation="nothing: the whole directory goes",
        later="the other half, from another process",
        source="prime-rl 0.8 src/prime_rl/trainer/ckpt.py, src/prime_rl/orchestrator/ckpt.py",
    )
    names = (name_of(rf"step_{STEP}"),)
    distinctive = False
    rules = (
        *under(
            "trainer",
            dcp_rules(
                Role.STATE, (("app.model.", Role.WEIGHTS), ("app.optimizers.", Role.OPTIMIZER))
            ),
        ),
        rule(rf"trainer/dataloader/rank_{RANK}\.pt", Role.DATA, Format.TORCH, of=_DATA.rstrip("/")),
        rule(r"orchestrator/progress\.pt", Role.DATA, Format.TORCH),
    )

    def recognises(self, listing: Listing) -> bool:
        """Return whether one of the halves is there."""
        return PROGRESS in listing or any(
            name.startswith("trainer/") and name.endswith((".distcp", "/.metadata"))
            for name in listing
        )

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether both halves are there; neither says anything of the other."""
        missing = list(missing_in("trainer/", listing, around))
        lost: list[Missing] = []
        whole = bool(metadata_of("trainer/", listing))
        data = {n: self.part_of(n) for n in listing if n.startswith(_DATA)}
        data = {name: part for name, part in data.items() if part.rank is not None}
        if data:
            # Another rank's position is taken from rank 0, with a warning.
            if f"{_DATA}rank_0.pt" not in data:
                missing.append(Missing(Role.DATA, f"{_DATA}rank_0.pt"))
            else:
                # A rank that has a shard has data, too.
                shards = [int(m["rank"]) for name in listing if (m := _SHARD.fullmatch(name))]
                lost += missing_ranks(data, max([world_size(data), *(r + 1 for r in shards)]))
        elif PROGRESS not in listing:
            whole = False
            missing.append(Missing(Role.DATA, PROGRESS))
        return Completeness(tuple(missing), saved=whole, lost=tuple(lost))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the step in the trainer's half, where a shard holds it."""
        for name, content in contents.items():
            if name.endswith(".distcp") and isinstance(content.value, dict):
                step = content.value.get("app.progress.step")
                if type(step) is int:
                    yield name, step
