"""Are the bytes those whose digest the trainer wrote down when it saved them?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

STATED_DIGEST = Code(
    "RD132",
    "stated-digest",
    Severity.ERROR,
    "A file's digest is not the one that the trainer wrote down",
    "The trainer digested every file when it saved it, and stored the digests beside them. The "
    "bytes of this one are others now: it was damaged, replaced, or belongs to another save. A "
    "trainer that is told to verify raises; one that is not resumes with the damage.",
    "Resume from an earlier checkpoint, and look at the disk.",
    "Megatron-LM core/dist_checkpointing/validation.py: verify_integrity_manifest",
)

_SHOWN = 16
"""Digits of a digest in a message."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each file that was read whole and has not the digest that was stated."""
    for name, stated in sorted(evidence.stated_digests.items()):
        scan = evidence.scans.get(name)
        if scan is None or scan.whole is None or scan.whole == stated.digest.lower():
            continue
        yield STATED_DIGEST.finding(
            f"{name}: {stated.source} states {stated.algorithm} {stated.digest[:_SHOWN]}..., "
            f"and it is {scan.whole[:_SHOWN]}...",
            file=name,
        )
