"""Is the content still what it was when it was verified?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role
from resume_daemon.manifest import resource_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

SILENT_CHANGE = Code(
    "RD221",
    "silent-change",
    Severity.ERROR,
    "The content changed although the file was not touched",
    "Size and modification time are those of the verified file, the bytes are not: the disk, the "
    "controller or the memory gave back something else than was written.",
    "Do not resume from it; check the disk. The place is named in bytes.",
)
CHANGED_LATER = Code(
    "RD222",
    "changed-later",
    Severity.ERROR,
    "A file was changed after it was verified, and the rest of the checkpoint was not",
    "The trainer writes all parts of a checkpoint together. One part that is newer than the others "
    "was damaged, replaced or edited.",
    "Find out who changed it; resume from another checkpoint.",
)
REWRITTEN = Code(
    "RD223",
    "rewritten",
    Severity.INFO,
    "The checkpoint was saved again",
    "Every part is newer than the last verification: the trainer passed this step a second time, "
    "after a resume from an earlier one.",
    "Nothing to do.",
)

_EVERY_SAVE = {Role.WEIGHTS, Role.OPTIMIZER, Role.SCHEDULER, Role.SCALER, Role.TRAINER_STATE}
_LEARNED = {Role.WEIGHTS, Role.OPTIMIZER}
_STATE = {*_EVERY_SAVE, Role.RNG}
"""A save with fewer ranks than the one before leaves the random states of the others behind."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each file whose digest is not the one in the manifest."""
    recorded = evidence.recorded
    if recorded is None or not evidence.scans:
        return
    known = {file.name: file for file in recorded.files}
    touched = {
        name
        for name, file in known.items()
        if (entry := evidence.listing.entries.get(name)) is not None
        # A copy of the run has other inodes and the same times, and may have been made badly.
        and (entry.mtime_ns, entry.size) != (file.mtime_ns, file.size)
    }
    changed = {name: where for name in known if (where := _difference(name, evidence)) is not None}
    for name in sorted(set(changed) - touched):
        yield SILENT_CHANGE.finding(f"{name}: {changed[name]} changed in silence", file=name)
    roles = {name: evidence.parts[name].role for name in known if name in evidence.parts}
    rewritten = sorted(n for n in set(changed) & touched if roles[n] in _STATE)
    saved = all(name in touched for name, role in roles.items() if role in _EVERY_SAVE)
    # Another training gives other weights and other moments; one without the other is damage.
    moved, both = ({roles[n] for n in names} & _LEARNED for names in (rewritten, roles))
    if rewritten and saved and moved in (both, set()):
        yield REWRITTEN.finding("every part is newer than the last verification")
        return
    for name in rewritten:
        yield CHANGED_LATER.finding(
            f"{name}: {changed[name]} changed after it was verified", file=name
        )


def _difference(name: str, evidence: Evidence) -> str | None:
    """Return which bytes of a file differ from its manifest, or None where none do."""
    scan = evidence.scans.get(name)
    if scan is None or evidence.recorded is None:
        return None
    now = {resource_name(name, r.begin, r.end, scan.size): r for r in scan.ranges}
    for resource in evidence.recorded.digests_of(name):
        found = now.get(resource.name)
        if found is None:
            return "its size"
        if found.digest != resource.digest:
            whole = resource.name == name
            return "it" if whole else f"bytes {found.begin} to {found.end}"
    return None
