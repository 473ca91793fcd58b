"""Checkpoints of PyTorch Lightning: a file, or with a sharded strategy a directory, ``*.ckpt``.

Source: lightning 2.6 ``pytorch/callbacks/model_checkpoint.py`` (names),
``pytorch/trainer/connectors/checkpoint_connector.py: dump_checkpoint`` (keys; ``hpc_ckpt_K``),
``pytorch/strategies/fsdp.py`` and ``model_parallel.py: save_checkpoint`` (``meta.pt`` last), and
``strategies/deepspeed.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resume_daemon.errors import CutShortError, ResumeDaemonError
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
_SHARDED = (
    ("model.", Role.WEIGHTS),
    ("state_dict.", Role.WEIGHTS),
    ("optimizer_", Role.OPTIMIZER),
)
"""As FSDP, and as ModelParallelStrategy call them."""
_NAMES = (
    name_of(rf"(?:.*[^A-Za-z])?step={STEP}(?:[^0-9].*)?\.ckpt"),
    # The step of these lies inside: templates without it, versions of saves on SIGTERM, the last.
    name_of(r"(?:.*[^A-Za-z])?epoch=\d+(?P<step>)(?:[^0-9].*)?\.ckpt"),
    name_of(r"hpc_ckpt_\d+(?P<step>)\.ckpt"),
    name_of(r"last(?:-v\d+)?(?P<step>)\.ckpt"),
)
_META = "meta.pt"
_ENGINE = "checkpoint/"
_OWN_KEYS = frozenset({"pytorch-lightning_version", "loops", "state_dict"})
_REQUIRED = (
    ("pytorch-lightning_version", Role.STATE),
    ("state_dict", Role.WEIGHTS),
    ("optimizer_states", Role.OPTIMIZER),
    ("lr_schedulers", Role.SCHEDULER),
)
"""Measured on 2.6: ``fit(ckpt_path=...)`` raises KeyError without any of them."""
_LOST = ("global_step", "loops", "callbacks")
"""Measured on 2.6: it resumes without a word."""
_SEPARATE = frozenset({"state_dict", "optimizer_states"})
"""Keys that a sharded strategy takes out of ``meta.pt``."""


class Lightning(Layout):
    """``epoch=E-step=N.ckpt`` in the callback's directory, and ``last.ckpt``."""

    name = "lightning"
    facts = Facts(
        written_by="PyTorch Lightning's Trainer",
        recognised="a file of such a name, or a directory with meta.pt, .metadata or checkpoint/ "
        "in it",
        step="global_step inside; N of step=N is usually the same, but is whatever the module logs "
        "as step, and last.ckpt, hpc_ckpt_K.ckpt and templates without it name none",
        required="of a file state_dict, optimizer_states, lr_schedulers and "
        "pytorch-lightning_version, without which fit raises (so one that was saved with "
        "save_weights_only cannot be resumed from); of FSDP .metadata, its shards and meta.pt; of "
        "DeepSpeed every rank's files",
        marker="none for a file, whose directory at its end is written last; meta.pt is the last "
        "of FSDP",
        staging="none in the directory: a temporary file elsewhere is moved, which across file "
        "systems is a copy",
        ranks="as .metadata or DeepSpeed's model states say",
        rotation="nothing; last.ckpt is written anew at each save",
        later="a link last.ckpt, with save_last='link', which is no checkpoint of its own",
        source="lightning 2.6 pytorch/callbacks/model_checkpoint.py, "
        "trainer/connectors/checkpoint_connector.py; checkpoints made with it, and resumed from",
    )
    names = _NAMES
    files = _NAMES
    distinctive = False
    rules = (
        rule(r"[^/]+\.ckpt", Role.STATE, Format.TORCH, inside=_INSIDE),
        rule(r"meta\.pt", Role.STATE, Format.TORCH),
        *dcp.dcp_rules(Role.STATE, _SHARDED),
        *under("checkpoint", deepspeed.deepspeed_rules()),
        rule(deepspeed.LATEST, Role.SHARD_METADATA, Format.TEXT),
    )

    def shown_names(self) -> tuple[str, ...]:
        """Return the names as the callback's template gives them."""
        return ("epoch=E-step=N.ckpt", "epoch=E-*.ckpt", "last.ckpt", "hpc_ckpt_K.ckpt")

    def declared_step(self, name: str) -> int | None:  # noqa: ARG002 - as the base has it
        """Return None: N of ``step=N`` is any metric that the module logs under that name.

        Source: ``model_checkpoint.py: _monitor_candidates``.
        """
        return None

    def stable_name(self, file: str) -> str:
        """Return one name for every file of checkpoints: templates put metrics into names."""
        return "(itself)" if file.endswith(".ckpt") and "/" not in file else file

    def recognises(self, listing: Listing) -> bool:
        """Return whether it is such a file, or a directory with the parts of a strategy."""
        if listing.file is not None:
            return listing.file.endswith(".ckpt")
        named = listing.name.endswith(".ckpt")
        return named and any(self.part_of(name).role is not Role.OTHER for name in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the parts are there; that a file is whole shows at its end."""
        if listing.file is not None:
            return _of_keys(listing.name, listing, around)
        if any(name.startswith(_ENGINE) for name in listing):
            missing = (
                *deepspeed.missing_in(_ENGINE, listing, around),
                *deepspeed.missing_tag(listing, around),
            )
            return Completeness(missing, saved=deepspeed.LATEST in listing)
        missing = tuple(dcp.missing_in("", listing, around))
        if _META not in listing:
            return Completeness((*missing, Missing(Role.STATE, _META)), saved=False)
        found = _of_keys(_META, listing, around, _SEPARATE)
        return replace(found, missing=(*missing, *found.missing))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the file in which ``global_step`` stands."""
        for name, content in contents.items():
            if name == _META or name.endswith(".ckpt"):
                value = content.value if isinstance(content.value, dict) else {}
                if type(step := value.get("global_step")) is int and step >= 0:
                    yield name, step
        yield from deepspeed.steps_in(_ENGINE, contents)


def _of_keys(
    name: str, listing: Listing, around: Around, elsewhere: frozenset[str] = frozenset()
) -> Completeness:
    """Return what the table in a file lacks; one without an end may still be being copied."""
    cut = Completeness((Missing(Role.STATE, f"{name} (the end of it)"),), saved=False)
    if not listing.entries[name].size:
        return cut
    try:
        value = around.read(name, Format.TORCH).value
    except CutShortError:
        return cut
    except ResumeDaemonError:
        return Completeness((), saved=True)  # Its own finding says so.
    keys = value.keys() if isinstance(value, dict) else frozenset()
    if not _OWN_KEYS & keys:
        foreign = Missing(Role.STATE, f"{_REQUIRED[0][0]} in {name} (the Trainer did not write it)")
        return Completeness((), saved=True, lost=(foreign,))
    absent = [(key, role) for key, role in _REQUIRED if key not in {*keys, *elsewhere}]
    only = " (only the model was saved, and fit raises)" if "lr_schedulers" not in keys else ""
    missing = tuple(Missing(role, f"{key} in {name}{only}") for key, role in absent)
    lost = tuple(Missing(Role.OTHER, f"{key} in {name}") for key in _LOST if key not in keys)
    return Completeness(missing, saved=True, lost=() if missing else lost)
