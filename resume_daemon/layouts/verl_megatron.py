"""Checkpoints of verl with Megatron: the same ``global_step_N``, with other files in its models.

Source: verl 0.9 ``utils/checkpoint/megatron_checkpoint_manager.py``: model, optimizer and random
state each have a directory of Megatron's ``dist_checkpointing``, the model may be one of
safetensors instead, and ``ckpt_contents.json`` is renamed into place when all ranks are done. Until
0.8 everything was in one ``dist_ckpt``, and nothing said that it was whole.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
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
from resume_daemon.layouts.megatron_dist import INSIDE, dist_rules, missing_dist
from resume_daemon.layouts.published import is_published
from resume_daemon.layouts.transformers_weights import EXPORTED, missing_weights
from resume_daemon.layouts.verl import SIDE, TRACKER, is_stub, judged, missing_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content, Rule
    from resume_daemon.listing import Listing

MANIFEST: Final = "ckpt_contents.json"

_MODEL: Final[tuple[Rule, ...]] = (
    # Megatron-FSDP puts all of its state where others put the model.
    *under("model/dist_ckpt", dist_rules(Role.STATE, INSIDE)),
    *under("optimizer/dist_ckpt", dist_rules(Role.OPTIMIZER)),
    *under("extra/dist_ckpt", dist_rules(Role.RNG)),
    *under("dist_ckpt", dist_rules(Role.STATE, INSIDE)),
    *under("model/huggingface", EXPORTED),
    *under("huggingface", EXPORTED),
    rule(r"ckpt_contents\.json", Role.MARKER, Format.JSON),
)
_OURS = re.compile(
    r"(?P<folder>(?:actor/|critic/)?)"
    r"(?:ckpt_contents\.json|(?P<split>(?:model|optimizer|extra)/).*|dist_ckpt/.*)",
    re.ASCII,
)


class VerlMegatron(Layout):
    """``global_step_N/{actor,critic}`` with ``dist_ckpt`` directories."""

    name = "verl-megatron"
    facts = Facts(
        written_by="verl with Megatron, for RL and for supervised fine-tuning",
        recognised="ckpt_contents.json, or dist_ckpt directories, in actor/, in critic/ or at the "
        "top",
        step="N of global_step_N, which is global_step of ckpt_contents.json",
        required="what ckpt_contents.json lists; without it, until 0.8, dist_ckpt with .metadata, "
        "every shard that it names, metadata.json, and common.pt where the shards do not hold it",
        marker="ckpt_contents.json, renamed into place last; before 0.9 only "
        "latest_checkpointed_iteration.txt beside the checkpoints",
        staging="none; ckpt_contents.json.tmp is there while it is written",
        ranks="the shards that .metadata names; world_size in ckpt_contents.json",
        rotation="actor/ and critic/ are removed, global_step_N/data.pt stays",
        later="with async_save, the shards, ckpt_contents.json and the tracker come after data.pt",
        source="verl 0.9 utils/checkpoint/megatron_checkpoint_manager.py",
    )
    names = (name_of(rf"global_step_{STEP}"),)
    rules = (*under("actor", _MODEL), *under("critic", _MODEL), *_MODEL, *SIDE)

    def recognises(self, listing: Listing) -> bool:
        """Return whether a manifest or ``dist_ckpt`` directories lie where verl puts them."""
        return any(_OURS.fullmatch(name) for name in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether all that the manifests list is there, or else what can be told."""
        matches = [match for name in listing if (match := _OURS.fullmatch(name))]
        folders = {match["folder"] for match in matches}
        step = self.step_of(listing.name)
        published = is_published(step, around.beside(TRACKER))
        missing: list[Missing] = []
        lost: list[Missing] = []
        unmarked = False
        if not folders & {"", "actor/"} and not is_stub(listing):
            missing.append(Missing(Role.WEIGHTS, "actor"))
        for folder in sorted(folders):
            contents = _contents(folder, listing, around)
            if contents is not None:
                missing += self._missing_listed(folder, contents, listing, around)
                lost += _lost_listed(folder, contents, listing)
                lost += [
                    Missing(role, f"{folder}{name}")
                    for name, role in _EXPECTED.items()
                    if name not in contents
                ]
                continue
            split = any(match["split"] for match in matches if match["folder"] == folder)
            if f"{folder}{MANIFEST}" in listing:
                lost.append(
                    Missing(Role.MARKER, f"{folder}{MANIFEST} (what is there lists nothing)")
                )
            elif split:
                # Nothing but the tracker, which comes later still, tells a lost one from one that
                # is not written yet.
                (lost if published else missing).append(Missing(Role.MARKER, folder + MANIFEST))
                unmarked = not published
            missing += self._missing_seen(folder, listing, around, split=split)
        lost += missing_data(listing, "data_0.pt" if "" in folders else "data.pt")
        result = judged(listing, step, around, missing, lost)
        return replace(result, saved=result.saved and not unmarked)

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the step of each manifest."""
        for name, content in contents.items():
            if name.rpartition("/")[2] == MANIFEST and isinstance(content.value, dict):
                step = content.value.get("global_step")
                if type(step) is int:
                    yield name, step

    def _missing_listed(
        self, folder: str, contents: Mapping[str, Any], listing: Listing, around: Around
    ) -> Iterator[Missing]:
        """Yield what is not there of what a manifest lists."""
        for path, encoding in _places(contents):
            if encoding == "megatron_dist_checkpoint":
                yield from missing_dist(f"{folder}{path}/", listing, around)
            elif encoding == "huggingface":
                yield from self._missing_export(f"{folder}{path}/", listing, around)

    def _missing_seen(
        self, folder: str, listing: Listing, around: Around, *, split: bool
    ) -> Iterator[Missing]:
        """Yield what the directories that are there lack: no manifest says which should be."""
        there = [
            place
            for place in ("model/dist_ckpt/", "optimizer/dist_ckpt/", "extra/dist_ckpt/")
            if any(name.startswith(folder + place) for name in listing)
        ]
        for place in there if split else ["dist_ckpt/"]:
            yield from missing_dist(folder + place, listing, around)
        if split and "model/dist_ckpt/" not in there:
            yield from self._missing_export(f"{folder}model/huggingface/", listing, around)

    def _missing_export(self, place: str, listing: Listing, around: Around) -> Iterator[Missing]:
        parts = {n: self.part_of(n) for n in listing if n.startswith(place)}
        # With LoRA the base model is not written; the adapter's own directory is.
        if not any(n.startswith(f"{place}adapter/") for n in parts):
            yield from missing_weights(parts, listing, around)


_EXPECTED: Final = {"optimizer": Role.OPTIMIZER, "rng_state": Role.RNG}


def _places(contents: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the paths that a manifest lists, each once, with their formats."""
    listed = [each for each in contents.values() if isinstance(each, dict)]
    found = {(str(each.get("path")).strip("/"), str(each.get("format"))) for each in listed}
    return sorted(found)


def _lost_listed(folder: str, contents: Mapping[str, Any], listing: Listing) -> Iterator[Missing]:
    """Yield the single files that a manifest lists, such as the configuration: none is loaded."""
    for path, encoding in _places(contents):
        if encoding == "json" and f"{folder}{path}" not in listing:
            yield Missing(Role.OTHER, f"{folder}{path}")


def _contents(folder: str, listing: Listing, around: Around) -> Mapping[str, Any] | None:
    """Return what a manifest lists; None where there is none that says so."""
    if f"{folder}{MANIFEST}" not in listing:
        return None
    try:
        document: Any = around.json(f"{folder}{MANIFEST}")
    except ResumeDaemonError:
        return None
    contents = document.get("contents") if isinstance(document, dict) else None
    return contents if isinstance(contents, dict) and contents else None
