"""Whether a tracker file in the run directory names a checkpoint yet.

Megatron, verl, SkyRL and DeepSpeed write the newest step into a small file beside the checkpoints
once a save is done, and resume from what it names (verl ``utils/checkpoint/checkpoint_manager.py``:
``find_latest_ckpt_path``; Megatron ``training/checkpointing.py``: ``read_metadata``; DeepSpeed
``runtime/engine.py``: ``load_checkpoint``). Most write it in place, so it can be found cut short or
empty: verl, SkyRL and Megatron then raise ``ValueError``, whatever is in the checkpoints. Here such
a file says nothing, as does one that is not there: the files of a checkpoint speak for themselves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from resume_daemon.layouts.base import Beside
    from resume_daemon.listing import Listing

RELEASE: Final = "release"
"""What Megatron's tracker says of converted weights, which come before the first step."""

TRACKERS: Final = (
    "latest_checkpointed_iteration.txt",
    "latest_ckpt_global_step.txt",
    "latest",
    "latest_universal",
    "dlrover_latest.txt",
)
"""Every such file of a layout: Megatron's and verl's, SkyRL's, DeepSpeed's two, DLRover's."""

_TAG = re.compile(r"(?:[A-Za-z][A-Za-z_\-]*[_\-]?)?(?P<step>\d{1,18})", re.ASCII)
"""A number, alone or at the end of a name such as ``global_step5`` or ``checkpoint-5``."""


def tracked_step(text: str) -> int | None:
    """Return the step that a tracker file names; None: it is damaged, or the name has no number."""
    word = text.strip()
    if word == RELEASE:
        return 0
    match = _TAG.fullmatch(word)
    return int(match["step"]) if match else None


def is_published(step: int | None, beside: Beside | None) -> bool:
    """Return whether the tracker file names this step or a later one."""
    tracked = None if beside is None else tracked_step(beside.text)
    return step is not None and tracked is not None and tracked >= step


def unpublished(listing: Listing, step: int | None, beside: Beside | None) -> str | None:
    """Return why the tracker file says that a save is still going on; None: it does not say so.

    It does where it names an older step and was written before the newest file of the checkpoint.
    One that names an older step and is newer than the whole checkpoint was set back by hand, which
    is how a run is resumed from an earlier step: no defect.

    Args:
        listing: The checkpoint.
        step: Its own step, in what the tracker counts; None where it is not known.
        beside: The tracker file; None where there is none, as in a run that was copied.
    """
    tracked = None if beside is None else tracked_step(beside.text)
    if beside is None or tracked is None or step is None or tracked >= step:
        return None
    newest = max((entry.mtime_ns for entry in listing.entries.values()), default=0)
    if beside.mtime_ns >= newest:
        return None
    return f"the tracker file still names {beside.text.strip()} and is older than this checkpoint"
