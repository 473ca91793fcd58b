"""Verifying a checkpoint in a test, and saying in a word what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.limits import Limits
from resume_daemon.verification import Depth, Options, References, verify

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.findings import Finding
    from resume_daemon.manifest import Manifest
    from resume_daemon.verification import Verification

DEFAULT = Limits()


def verified(
    checkpoint: Path,
    *,
    before: Path | None = None,
    earlier: Path | None = None,
    older: tuple[Path, ...] = (),
    recorded: Manifest | None = None,
    depth: Depth = Depth.DEEP,
    allowed: frozenset[str] = frozenset(),
    limits: Limits = DEFAULT,
) -> Verification:
    """Verify a checkpoint, alone or beside the one or two before it."""
    previous = None if before is None else manifest_of(before)
    first = None if earlier is None else manifest_of(earlier)
    return verify(
        checkpoint,
        boundary=checkpoint.parent,
        references=References(
            previous=previous,
            earlier=first,
            older=tuple(map(manifest_of, older)),
            recorded=recorded,
        ),
        options=Options(depth=depth, allowed=allowed, limits=limits),
    )


def manifest_of(checkpoint: Path) -> Manifest:
    """Return the manifest of a checkpoint as it is now."""
    manifest = verify(checkpoint, boundary=checkpoint.parent).manifest
    assert manifest is not None
    return manifest


def told(verification: Verification) -> list[str]:
    """Return code and severity of every finding, in order: ``["RD104 warning"]``."""
    return [f"{finding.code} {finding.severity}" for finding in verification.findings]


def found(verification: Verification, code: str) -> Finding:
    """Return the one finding of a code."""
    (finding,) = (each for each in verification.findings if each.code == code)
    return finding
