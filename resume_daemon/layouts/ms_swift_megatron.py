"""Checkpoints of ms-swift with Megatron: ``checkpoint-N`` with ``iter_000000N`` in it.

Source: ms-swift of August 2026 ``swift/megatron/trainers/base.py: save_checkpoint`` and
``swift/megatron/utils/megatron_lm_utils.py: save_mcore_checkpoint, load_mcore_checkpoint``. The
tracker lies in the checkpoint, and with ``async_save`` it is written before the shards are. With
``save_safetensors`` and ``no_save_optim`` there is nothing but ``common.pt`` in the inner
directory, and the weights are those for Hugging Face, followed by their ``config.json``
(``swift/megatron/init.py: save_weights``).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

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
from resume_daemon.layouts.megatron import (
    TRACKER,
    has_ended,
    iterations,
    megatron_rules,
    missing_in,
    training_arguments,
    without_optimizer,
)
from resume_daemon.layouts.megatron_dist import stated_in
from resume_daemon.layouts.published import tracked_step
from resume_daemon.layouts.transformers_weights import EXPORTED, missing_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content, Part, StatedDigest
    from resume_daemon.listing import Listing

_INNER = re.compile(r"iter_\d{7,18}/", re.ASCII)
_COMMON: Final = "common.pt"
_WEIGHTS = (Role.WEIGHTS, Role.WEIGHTS_INDEX)


class MsSwiftMegatron(Layout):
    """``checkpoint-N/{args.json, latest_checkpointed_iteration.txt, iter_000000N/}``."""

    name = "ms-swift-megatron"
    facts = Facts(
        written_by="ms-swift with Megatron (megatron sft, rlhf and others)",
        recognised=f"{TRACKER} and a directory iter_* in checkpoint-N",
        step=f"N of checkpoint-N, which {TRACKER} and iteration in the inner directory say as well",
        required=f"{TRACKER}; iter_N as Megatron writes it, or common.pt in it and, beside it, "
        "config.json and the weights as safetensors, or an adapter, where save_safetensors and "
        "no_save_optim are set",
        marker="metadata.json in the inner directory; the tracker proves nothing, since async_save "
        "writes it before the shards",
        staging="none; checkpoint-N-merged is an export, and no checkpoint",
        ranks="the shards that .metadata names",
        rotation="nothing: the whole directory goes",
        later="safetensors for Hugging Face, where save_safetensors is set",
        source="ms-swift swift/megatron/trainers/base.py, "
        "swift/megatron/utils/megatron_lm_utils.py",
    )
    names = (name_of(rf"checkpoint-{STEP}"),)
    rules = (
        *under(r"iter_\d{7,18}", megatron_rules()),
        rule(re.escape(TRACKER), Role.MARKER, Format.TEXT),
        rule(r"args\.json", Role.OTHER, Format.JSON),
        *EXPORTED,
    )
    beats = ("huggingface",)

    def recognises(self, listing: Listing) -> bool:
        """Return whether a directory of Megatron's lies in it, or its tracker."""
        named = self.step_of(listing.name) is not None
        return (named and TRACKER in listing) or bool(_folders(listing))

    def parts(self, listing: Listing) -> Mapping[str, Part]:
        """Return what each file is: of an export that stands for shards, a configuration counts."""
        parts = dict(super().parts(listing))
        if self._stands_for_shards(listing) and (name := _configuration(parts)) in parts:
            parts[name] = replace(parts[name], role=Role.CONFIGURATION)
        return parts

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the inner directory is whole, or what stands for it."""
        missing: list[Missing] = []
        lost: list[Missing] = []
        if TRACKER not in listing:
            missing.append(Missing(Role.MARKER, TRACKER))
        folder = self._inner(listing)
        parts = {n: self.part_of(n) for n in listing if "/" not in n}
        exported = any(part.role in _WEIGHTS for part in parts.values())
        if self._stands_for_shards(listing):
            missing += missing_weights(parts, listing, around)
            # It comes after the weights, and they cannot be loaded without.
            if (configuration := _configuration(parts)) not in listing:
                missing.append(Missing(Role.CONFIGURATION, configuration))
            ended = not missing
        else:
            missing += missing_in(folder, listing, around)
            lost += missing_weights(parts, listing, around) if exported else ()
            ended = has_ended(folder, listing, around)
        return Completeness(tuple(missing), saved=ended, lost=tuple(lost))

    def reconsidered(
        self,
        found: Completeness,
        contents: Mapping[str, Content],
        around: Around,  # noqa: ARG002
    ) -> Completeness:
        """Return what is to be said where there is no optimizer."""
        return without_optimizer(found, training_arguments(contents), contents)

    def stated_digests(self, contents: Mapping[str, Content]) -> Mapping[str, StatedDigest]:
        """Return what ``integrity.json`` states."""
        return stated_in(contents)

    def stable_name(self, file: str) -> str:
        """Return the name without the iteration, so that two saves are compared."""
        return _INNER.sub("iter/", file, count=1)

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the tracker's step, and the iteration of each file that holds it."""
        if TRACKER in contents:
            # What is no number names no checkpoint, and the trainer raises.
            step = tracked_step(str(contents[TRACKER].value))
            yield TRACKER, -1 if step is None else step
        yield from iterations(contents)

    def _inner(self, listing: Listing) -> str:
        """Return the inner directory that the name speaks of, else the newest."""
        step = self.step_of(listing.name)
        found = _folders(listing)
        expected = f"iter_{step:07d}/" if step is not None else ""
        return expected if expected in found or not found else found[-1]

    def _stands_for_shards(self, listing: Listing) -> bool:
        """Return whether weights for Hugging Face are all that there is of the model."""
        folder = self._inner(listing)
        exported = any(self.part_of(n).role in _WEIGHTS for n in listing if "/" not in n)
        return exported and [n for n in listing if n.startswith(folder)] == [f"{folder}{_COMMON}"]


def _configuration(parts: Mapping[str, Part]) -> str:
    """Return the name of what describes the weights; the base of an adapter is elsewhere."""
    adapter = any(name.startswith("adapter_") for name in parts)
    return "adapter_config.json" if adapter else "config.json"


def _folders(listing: Listing) -> list[str]:
    return sorted({match[0] for name in listing if (match := _INNER.match(name))})
