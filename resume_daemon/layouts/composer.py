"""Checkpoints of MosaicML Composer: a file for each, or with FSDP's shards a directory.

Source: composer 0.32 ``utils/checkpoint.py: _save_checkpoint, _write_checkpoint_file`` (rank 0
writes the whole state in place; DeepSpeed had one file of each rank), ``core/state.py: state_dict``
and ``callbacks/checkpoint_saver.py`` (``latest-rank0.pt`` is a link, made after the barrier).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
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
)
from resume_daemon.layouts.dcp import dcp_rules, metadata_of, missing_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

_PACKED: Final = r"(?:\.pt\.(?:bz2|gz|lz4|lzma|lzo|xz|zst)|(?:\.pt)?\.(?:tar(?:\.\w{2,4})?|tgz))"
_INSIDE = (
    ("state.model.", Role.WEIGHTS),
    ("state.optimizers.", Role.OPTIMIZER),
    ("rng.", Role.RNG),
)
_NAME = re.compile(rf"ep\d+-ba{STEP}-rank0(?:\.pt|{_PACKED})", re.ASCII)
_MOST_RANKS: Final = 100_000


class Composer(Layout):
    """``epE-baB-rank0.pt`` in the save folder, or ``epE-baB`` with shards in it."""

    name = "composer"
    facts = Facts(
        written_by="MosaicML Composer, and with it LLM Foundry",
        recognised="the name epE-baB-rank0.pt, or epE-baB with .metadata or shards in it",
        step="B of the name, which is the timestamp's batch in the state",
        required="the file with the keys state and rng, and state.model in it; of a directory "
        ".metadata and every shard that it names",
        marker="none for a file, which is written in place; .metadata for a directory",
        staging="none; latest-rank0.pt is a link to the newest, and no checkpoint",
        ranks="one file, of rank 0; with DeepSpeed, in old versions, epE-baB-rankR of every rank; "
        "the shards that .metadata names",
        rotation="nothing: whole files and directories go",
        later="nothing. Compressed files (.pt.gz and others) and archives (.tar, .tgz) are "
        "digested and not looked into: what unpacks them is not bounded",
        source="composer composer/utils/checkpoint.py, composer/core/state.py, "
        "composer/callbacks/checkpoint_saver.py",
    )
    names = (name_of(rf"ep\d+-ba{STEP}"),)
    files = (name_of(_NAME.pattern),)
    rules = (
        rule(rf"ep\d+-ba\d+-rank{RANK}\.pt", Role.STATE, Format.TORCH, of="state", inside=_INSIDE),
        rule(rf"ep\d+-ba\d+-rank{RANK}{_PACKED}", Role.WEIGHTS, Format.OPAQUE),
        *dcp_rules(Role.STATE, _INSIDE),
    )
    beats = ("dcp",)

    def companions(self, name: str) -> Iterator[str]:
        """Yield the files of the other ranks, of the same batch."""
        if _NAME.fullmatch(name):
            before, _, after = name.partition("-rank0")
            for rank in range(1, _MOST_RANKS):
                yield f"{before}-rank{rank}{after}"

    def stable_name(self, file: str) -> str:
        """Return the name without epoch and batch, so that two saves are compared."""
        return re.sub(r"^ep\d+-ba\d+-", "", file)

    def recognises(self, listing: Listing) -> bool:
        """Return whether it is such a file, or such a directory with shards."""
        if listing.file is not None:
            return _NAME.fullmatch(listing.file) is not None
        named = self.step_of(listing.name) is not None
        return named and any(
            self.part_of(name).role in {Role.STATE, Role.SHARD_METADATA} for name in listing
        )

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the file is a whole state, or every shard of the directory is there."""
        if listing.file is None:
            missing = tuple(missing_in("", listing, around))
            return Completeness(missing, saved=bool(metadata_of("", listing)))
        missing, only = (), None
        for name in listing:
            if not listing.entries[name].size:
                missing += (Missing(Role.WEIGHTS, f"{name} (what is there is empty)"),)
            elif name.endswith(".pt"):
                try:
                    state = _at(around.read(name, Format.TORCH).value, "state")
                except ResumeDaemonError:
                    # Nothing tells one that was cut off from one that is still being written.
                    return Completeness(
                        (Missing(Role.WEIGHTS, f"{name} (as a whole)"),), saved=False
                    )
                if _at(state, "model") is None:
                    missing += (Missing(Role.WEIGHTS, f"state.model in {name}"),)
                elif _at(state, "optimizers") is None:
                    only = f"{name} has no optimizers: weights_only or ignore_keys is set"
        return Completeness(missing, saved=True, model_only=only)

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield each file with the timestamp's batch, or the shard that holds it."""
        for name, content in contents.items():
            stamp = _at(_at(content.value, "state"), "timestamp")
            for batch in (
                _at(stamp, "batch"),
                _at(_at(stamp, "Timestamp"), "batch"),
                _at(content.value, "state.timestamp.Timestamp.batch"),
            ):
                if type(batch) is int:
                    yield name, batch


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
