"""Whether the checkpoint that a trainer has just loaded may be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resume_daemon.cached import CachedVerdicts
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.findings import Severity, Verdict
from resume_daemon.verification import Depth, verify

if TYPE_CHECKING:
    from resume_daemon.verification import Verification

_REFUSED = {Verdict.UNSOUND, Verdict.INCOMPLETE, Verdict.ROTATED}


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be said of a resume that may go on.

    Attributes:
        sentence: For the trainer's log.
        judged: Whether the checkpoint was found and is known to be what the sentence says.
    """

    sentence: str
    judged: bool


def refuse_unsound(run: Path, step: int, given: Any) -> Told:
    """Return what the checkpoint of a resume is worth.

    Args:
        run: The trainer's output directory.
        step: The step that the trainer goes on from.
        given: ``args.resume_from_checkpoint``; a path in it goes first. Trainers that were given
            the path as an argument of ``train`` do not keep it: then it is the checkpoint of that
            step in the output directory.

    Raises:
        ResumeDaemonError: It must not be resumed from.
    """
    named = Path(given) if isinstance(given, str) and given else None
    checkpoint = named if named is not None and named.is_dir() else run / f"checkpoint-{step}"
    if not checkpoint.is_dir():
        return Told(
            f"resume_daemon: the training goes on from step {step}, and no checkpoint of that step "
            f"is in {run}: what it was resumed from was not judged.",
            judged=False,
        )
    found = _judge(checkpoint.resolve())
    if found.verdict in _REFUSED:
        why = next((f for f in found.findings if f.severity is Severity.ERROR), None)
        reason = f"it is {found.verdict.value}" + (f": {why.code} {why.message}" if why else "")
        raise ResumeDaemonError(
            "resume from",
            checkpoint,
            reason,
            hint=f"`resume-daemon plan {run}` names the newest sound one.",
        )
    lost = [f"{f.code} {f.message}" for f in found.findings if f.severity is Severity.WARNING]
    detail = f" ({lost[0]})" if lost else ""
    return Told(
        f"resume_daemon: resumed from {checkpoint.name}, which is {found.verdict.value}{detail}.",
        judged=not lost,
    )


def _judge(checkpoint: Path) -> Verification:
    known = CachedVerdicts().find(checkpoint, Depth.DEEP)
    return known if known is not None else verify(checkpoint, boundary=checkpoint.parent)
