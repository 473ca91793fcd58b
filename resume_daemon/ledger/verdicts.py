"""What the ledger records of a verification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resume_daemon.findings import Severity

if TYPE_CHECKING:
    from resume_daemon.verification import Verification


def verdict_fields(result: Verification, manifest: str | None) -> dict[str, Any]:
    """Return the fields of a ``verdict`` record; ``why`` is the gravest finding's message.

    Args:
        result: What was found.
        manifest: Digest of the manifest that was written, or None.
    """
    counted = [finding for finding in result.findings if finding.severity is not Severity.INFO]
    return {
        "checkpoint": result.path.name,
        "path": str(result.path),
        "layout": result.layout,
        "step": result.step,
        "verdict": result.verdict.value,
        "codes": list(dict.fromkeys(finding.code for finding in result.findings)),
        "why": counted[0].message if counted else "",
        "manifest": manifest,
        "fingerprint": result.fingerprint,
        "bytes": result.bytes_read,
        "seconds": round(result.seconds, 3),
    }
