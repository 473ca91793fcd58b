"""What the checkpoints are worth once a repair was carried out: every byte is read again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.findings import Verdict
from resume_daemon.ledger.queries import RunState, fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.ledger.verdicts import verdict_fields
from resume_daemon.manifest import (
    file_of,
    forget_sound_manifest,
    write_manifest,
)
from resume_daemon.references import references_of
from resume_daemon.repair.actions import curriculum_version, quarantine, resume_env
from resume_daemon.verification import References, Verification, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from resume_daemon.ledger.ledger import Ledger
    from resume_daemon.manifest import Manifest
    from resume_daemon.repair.proposals import Proposal
    from resume_daemon.state_directory import StateDirectory

_NO_FILES = frozenset({quarantine.ACTION, curriculum_version.ACTION, resume_env.ACTION})


def written_in(proposals: Iterable[Proposal]) -> dict[str, frozenset[str]]:
    """Return which files of which checkpoints proposals write."""
    found: dict[str, frozenset[str]] = {}
    for each in proposals:
        if each.checkpoint is not None and each.file is not None and each.action not in _NO_FILES:
            found[each.checkpoint] = found.get(each.checkpoint, frozenset()) | {each.file}
    return found


def verify_after(
    run: Path,
    state: StateDirectory | None,
    name: str,
    written: Collection[str],
    *,
    watch: Callable[[Path], Callable[[int], None]] = lambda _: lambda _: None,
) -> Verification:
    """Verify a checkpoint after files of it were written.

    What the repair wrote is not held against what it replaced; everything else is.

    Args:
        run: The run directory, with its links resolved.
        state: Where the daemon's files are, or None.
        name: The checkpoint.
        written: Its files that were written.
        watch: Told of the checkpoint; what it returns is told the bytes.

    Raises:
        ResumeDaemonError: It cannot be read.
    """
    found = References()
    if state is not None:
        known = fold(read_records(state.ledger)) if state.ledger.exists() else RunState()
        found = references_of(name, known, state.manifests)
    path = Path(os.path.realpath(run / name))
    return verify(
        path,
        boundary=run,
        references=replace(found, recorded=_without(found.recorded, written)),
        progress=watch(path),
    )


def record_after(state: StateDirectory, ledger: Ledger, found: Verification) -> None:
    """Record that a checkpoint is sound after its repair, as the daemon records a verdict.

    What is not sound is left for the daemon to judge: the manifest of when it was sound stays.

    Raises:
        OSError: The manifest cannot be written.
        LedgerError: The ledger cannot be written.
    """
    if found.verdict is not Verdict.SOUND or found.manifest is None:
        return
    path = state.manifests / f"{found.path.name}.json"
    digest = write_manifest(path, found.manifest)
    forget_sound_manifest(path)
    ledger.append("verdict", **verdict_fields(found, digest))


def _without(manifest: Manifest | None, written: Collection[str]) -> Manifest | None:
    if manifest is None:
        return None
    return replace(
        manifest,
        files=tuple(each for each in manifest.files if each.name not in written),
        resources=tuple(each for each in manifest.resources if file_of(each.name) not in written),
    )
