"""Checkpoints of PyTorch Lightning: a file, or with a sharded strategy a directory, ``*.ckpt``.

Source: lightning 2.6 ``pytorch/callbacks/model_checkpoint.py`` (names),
``pytorch/trainer/connectors/checkpoint_connector.py: dump_checkpoint`` (keys; ``hpc_ckpt_K``),
``pytorch/strategies/fsdp.py: save_checkpoint`` (``meta.pt`` last) and ``strategies/deepspeed.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts import dcp, deepspeed
from resume_daemon.layouts.base import (
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

_INSIDE = (("state_dict.", Role.WEIGHTS), ("optimizer_states.", Role.OPTIMIZER))
_WITH_STEP = name_of(rf"(?:.*[^A-Za-z])?step={STEP}(?:[^0-9].*)?\.ckpt")
_NAMES = (
    _WITH_STEP,
    # K is a version; the step lies inside.
    name_of(rf"hpc_ckpt_{STEP}\.ckpt"),
    name_of(r"last(?:-v\d+)?(?P<step>)\.ckpt"),
)
_META = "meta.pt"
_ENGINE = "checkpoint/"


class Lightning(Layout):
    """``epoch=E-step=N.ckpt`` in the callback's directory, and ``last.ckpt``."""

    name = "lightning"
    facts = Facts(
        written_by="PyTorch Lightning and Lightning Fabric's strategies",
        recognised="a file *.ckpt that is a torch archive, or a directory of that name with "
        "meta.pt, .metadata or checkpoint/",
        step="N of step=N, which is global_step inside; of last.ckpt and hpc_ckpt_K.ckpt only "
        "global_step inside tells it",
        required="the file as a whole archive with state_dict and global_step; of FSDP .metadata, "
        "its shards and meta.pt; of DeepSpeed every rank's files",
        marker="none for a file; meta.pt is the last of FSDP",
        staging="none in the directory: a temporary file elsewhere is moved, which across file "
        "systems is a copy",
        ranks="as .metadata or DeepSpeed's model states say",
        rotation="nothing",
        later="a link last.ckpt, with save_last='link', which is no checkpoint of its own",
        source="lightning 2.6 pytorch/callbacks/model_checkpoint.py; checkpoints made with it",
    )
    names = _NAMES
    files = _NAMES
    distinctive = False
    rules = (
        rule(r"[^/]+\.ckpt", Role.STATE, Format.TORCH, inside=_INSIDE),
        rule(r"meta\.pt", Role.TRAINER_STATE, Format.TORCH),
        *dcp.dcp_rules(Role.STATE, (("model.", Role.WEIGHTS), ("optimizer", Role.OPTIMIZER))),
        *under("checkpoint", deepspeed.deepspeed_rules()),
        rule(deepspeed.LATEST, Role.SHARD_METADATA, Format.TEXT),
    )

    def declared_step(self, name: str) -> int | None:
        """Return N of ``step=N``."""
        match = _WITH_STEP.fullmatch(name)
        return int(match["step"]) if match else None

    def recognises(self, listing: Listing) -> bool:
        """Return whether it is such a file, or a directory with the parts of a strategy."""
        if listing.file is not None:
            return self.step_of(listing.file) is not None
        named = listing.name.endswith(".ckpt")
        return named and any(self.part_of(name).role is not Role.OTHER for name in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the parts are there; that a file is whole shows at its end."""
        if listing.file is not None:
            return _of_file(listing.name, around)
        if any(name.startswith(_ENGINE) for name in listing):
            missing = (
                *deepspeed.missing_in(_ENGINE, listing, around),
                *deepspeed.missing_tag(listing, around),
            )
            return Completeness(missing, saved=deepspeed.LATEST in listing)
        missing = tuple(dcp.missing_in("", listing, around))
        if _META not in listing:
            missing = (*missing, Missing(Role.TRAINER_STATE, _META))
        return Completeness(missing, saved=_META in listing)

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the file in which ``global_step`` stands."""
        for name, content in contents.items():
            if name == _META or name.endswith(".ckpt"):
                value = content.value if isinstance(content.value, dict) else {}
                if type(step := value.get("global_step")) is int:
                    yield name, step
        yield from deepspeed.steps_in(_ENGINE, contents)


def _of_file(name: str, around: Around) -> Completeness:
    """Return what a single file lacks; one that cannot be read was cut off, or is still written."""
    try:
        value = around.read(name, Format.TORCH).value
    except ResumeDaemonError:
        return Completeness((), saved=True)  # Its own finding says so.
    keys = value.keys() if isinstance(value, dict) else frozenset()
    missing = tuple(
        Missing(role, f"{key} in {name}")
        for key, role in (("state_dict", Role.WEIGHTS), ("global_step", Role.TRAINER_STATE))
        if key not in keys
    )
    return Completeness(missing, saved=True, model_only="optimizer_states" not in keys)
