"""Checkpoints of Megatron-LM: ``iter_0000100``, in the formats that it has had.

Source: Megatron-LM of August 2026 (core 0.19) ``megatron/training/checkpointing.py``:
``_get_checkpoint_format`` (``metadata.json``, else ``mp_rank_0*``, else ``.metadata``),
``save_checkpoint`` (the tracker comes last, then the tokenizer) and ``load_checkpoint``; and
checkpoints that megatron-core 0.16 wrote on two ranks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

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
from resume_daemon.layouts.dcp import METADATA as DCP_METADATA
from resume_daemon.layouts.dcp import missing_in as missing_dcp
from resume_daemon.layouts.megatron_dist import (
    COMMON,
    INSIDE,
    INTEGRITY,
    METADATA,
    common_state,
    dist_rules,
    holds,
    missing_dist,
    stated_in,
)
from resume_daemon.layouts.megatron_legacy import (
    LEGACY,
    STATES,
    arguments_of,
    is_legacy,
    missing_legacy,
)
from resume_daemon.layouts.published import RELEASE, is_published, unpublished
from resume_daemon.layouts.transformers_weights import SIDE_FILES

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content, Rule, StatedDigest
    from resume_daemon.listing import Listing

TRACKER: Final = "latest_checkpointed_iteration.txt"


def megatron_rules() -> tuple[Rule, ...]:
    """Return the rules of the files in ``iter_0000100``, in any format."""
    return (
        *LEGACY,
        *dist_rules(Role.STATE, INSIDE),
        rule(r"train_dataloader_dprank\d+\.pt", Role.DATA, Format.TORCH),
        *under("tokenizer", SIDE_FILES),
    )


def missing_in(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what such a directory lacks, in its format; ``folder`` is ``""`` or ends in a slash."""
    if f"{folder}{METADATA}" not in listing and is_legacy(listing, folder):
        yield from missing_legacy(folder, listing, around)
    elif is_dist(folder, listing, around):
        yield from missing_dist(folder, listing, around)
    else:
        yield from missing_dcp(folder, listing, around)


def is_dist(folder: str, listing: Listing, around: Around) -> bool:
    """Return whether it is of ``torch_dist``, even before ``metadata.json`` is there.

    ``torch_dcp`` and ``fsdp_dtensor`` have neither that file nor a common state.
    """
    return (
        f"{folder}{METADATA}" in listing
        or f"{folder}common.pt" in listing
        or f"{folder}{INTEGRITY}" in listing
        or holds(f"{COMMON}/", folder, listing, around) is True
    )


def has_ended(folder: str, listing: Listing, around: Around) -> bool:
    """Return whether the file that comes last in its format is there; the old one has none."""
    if is_legacy(listing, folder):
        return False
    last = METADATA if is_dist(folder, listing, around) else DCP_METADATA
    return f"{folder}{last}" in listing


class Megatron(Layout):
    """``iter_0000100`` beside ``latest_checkpointed_iteration.txt``."""

    name = "megatron"
    facts = Facts(
        written_by="Megatron-LM and trainers on top of it, Megatron-Bridge among them",
        recognised="metadata.json beside .metadata, directories such as mp_rank_00, or .metadata "
        "alone in a directory of this name",
        step="N of iter_N, which is iteration in model_optim_rng.pt, common.pt or the shards",
        required="torch_dist: .metadata, every shard that it names, metadata.json, and common.pt "
        "where the shards hold no common_state (before core 0.19); torch: model_optim_rng.pt of "
        "every tensor-parallel, pipeline and expert rank, and distrib_optim.pt where the "
        "distributed optimizer is used; torch_dcp and fsdp_dtensor: .metadata and every shard; the "
        "optimizer, unless no_save_optim is set",
        marker=f"metadata.json for torch_dist, .metadata for torch_dcp; {TRACKER} beside the "
        "checkpoints names N or a later step; integrity.json, which --verify-integrity asks for, "
        "comes between the two, and the SHA-256 that it states are computed and compared",
        staging="none; an incomplete directory is overwritten",
        ranks="the sizes among the arguments in model_optim_rng.pt, and the numbers in the names "
        "of directories; or the shards that .metadata names",
        rotation="nothing: the whole directory goes",
        later="tokenizer/ is written after the tracker",
        source="Megatron-LM megatron/training/checkpointing.py, "
        "megatron/core/dist_checkpointing/{serialization,validation}.py",
    )
    names: ClassVar[tuple[re.Pattern[str], ...]] = (name_of(rf"iter_{STEP}"),)
    distinctive = False
    rules = megatron_rules()
    beats: ClassVar[tuple[str, ...]] = ("dcp",)

    def recognises(self, listing: Listing) -> bool:
        """Return whether the files are of one of its formats; the last one only by the name."""
        if is_legacy(listing) and any(name.endswith(f"/{STATES}") for name in listing):
            return True
        dcp = any(self.part_of(name).format is Format.DCP_SHARD for name in listing)
        named = self.step_of(listing.name) is not None
        return (METADATA in listing and dcp) or (named and (dcp or DCP_METADATA in listing))

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether all ranks' files are there, and whether the tracker says that it ended."""
        missing = tuple(missing_in("", listing, around))
        step, beside = self.step_of(listing.name), around.beside(TRACKER)
        marker = unpublished(listing, step, beside)
        ended = is_published(step, beside) or has_ended("", listing, around)
        return Completeness(missing, saved=marker is None and ended, marker=marker)

    def reconsidered(
        self, found: Completeness, contents: Mapping[str, Content], around: Around
    ) -> Completeness:
        """Return what the arguments promise besides: an optimizer, and digests of every file."""
        arguments = training_arguments(contents)
        found = without_optimizer(found, arguments, contents)
        if arguments.get("verify_integrity") is True and INTEGRITY not in contents:
            published = any(
                is_published(step, around.beside(TRACKER))
                for step in {step for _, step in self.recorded_steps(contents)}
            )
            lacking = Missing(Role.DIGESTS, f"{INTEGRITY} (verify_integrity is set)")
            missing = (*found.missing, lacking)
            # Digesting takes long, and the tracker comes after it.
            found = replace(found, missing=missing, saved=found.saved and published)
        return found

    def stated_digests(self, contents: Mapping[str, Content]) -> Mapping[str, StatedDigest]:
        """Return what ``integrity.json`` states."""
        return stated_in(contents)

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the iteration of each file that holds it."""
        yield from iterations(contents)


class MegatronRelease(Megatron):
    """``release``: weights that were converted, and no step of any training."""

    name = "megatron-release"
    facts = replace(
        Megatron.facts,
        written_by="Megatron-LM's converters of weights",
        recognised="the same files in a directory that is called release",
        step="none; the tracker says release",
        required="the same as for iter_N, without an optimizer",
    )
    names = ()
    number_is_step = False

    def step_of(self, name: str) -> int | None:
        """Return 0 for ``release``: it is older than every iteration."""
        return 0 if name == RELEASE else None

    def recognises(self, listing: Listing) -> bool:
        """Return whether it is called so, and its files fit."""
        return listing.name == RELEASE and super().recognises(listing)

    def reconsidered(
        self,
        found: Completeness,
        contents: Mapping[str, Content],  # noqa: ARG002
        around: Around,  # noqa: ARG002
    ) -> Completeness:
        """Return it as it is: neither optimizer nor digests are asked for."""
        return found


def iterations(contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
    """Yield each file of a checkpoint that records its iteration, with it."""
    for name, content in contents.items():
        base = name.rpartition("/")[2]
        if base in {STATES, "common.pt"} or base.endswith(".distcp"):
            iteration = common_state(content).get("iteration")
            if type(iteration) is int:
                yield name, iteration


def training_arguments(contents: Mapping[str, Content]) -> Mapping[str, Any]:
    """Return the arguments of the training, from whichever file holds them."""
    return next(
        (found for each in contents.values() if (found := arguments_of(common_state(each)))), {}
    )


def without_optimizer(
    found: Completeness, arguments: Mapping[str, Any], contents: Mapping[str, Content]
) -> Completeness:
    """Return the completeness with what is to be said where no optimizer is in any file.

    Without one a resume ends with an error, unless it is told to do without
    (``load_checkpoint``: ``no_load_optim``).
    """
    if found.missing or any(_has_optimizer(content) for content in contents.values()):
        return found
    if arguments.get("no_save_optim") is True:
        return replace(found, model_only="no_save_optim is set: only the model was saved")
    if not arguments and not any(content.shapes for content in contents.values()):
        return found  # What cannot be read has its own finding.
    if not arguments:
        return replace(found, model_only="there is no optimizer in it, nor arguments that say why")
    lacking = Missing(Role.OPTIMIZER, "an optimizer in any file (no_save_optim is not set)")
    return replace(found, missing=(lacking,))


def _has_optimizer(content: Content) -> bool:
    named = isinstance(content.value, dict) and "optimizer" in content.value
    return named or any("optimizer" in name for name in content.shapes)
