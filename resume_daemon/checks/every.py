"""Every check, in the order in which findings are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.checks import (
    agreement,
    array_store,
    companions,
    continuity,
    huggingface,
    integrity,
    lightning,
    presence,
    ranks,
    readable,
    steps,
    torch_files,
    values,
    weights,
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
    agreement.check,
    steps.check,
    lightning.check,
    ranks.check,
    continuity.check,
    values.check,
    integrity.check,
)
