"""Every check, in the order in which findings are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.checks import (
    agreement,
    array_store,
    companions,
    continuity,
    deepspeed,
    huggingface,
    integrity,
    lightning,
    moments,
    movement,
    old_files,
    orbax,
    presence,
    ranks,
    readable,
    stated_digests,
    steps,
    stillness,
    torch_files,
    values,
    weights,
    zeros,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resume_daemon.evidence import Evidence
    from resume_daemon.findings import Finding

CHECKS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    presence.check,
    huggingface.check,
    companions.check,
    readable.check,
    weights.check,
    torch_files.check,
    array_store.check,
    orbax.check,
    agreement.check,
    steps.check,
    deepspeed.check,
    lightning.check,
    ranks.check,
    continuity.check,
    old_files.check,
    values.check,
    stated_digests.check,
    zeros.check,
    moments.check,
    movement.check,
    stillness.check,
    integrity.check,
)
