"""Whether the curriculum in the run is the one of the checkpoint that is resumed from. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.findings import Finding
    from resume_daemon.resume.plan import CurriculumPoint

ANOTHER = Code(
    "RD851",
    "curriculum-of-another-step",
    Severity.WARNING,
    "The run's curriculum state is not that of the checkpoint to resume from",
    "The trainer would go on with the stage and the history of another step than the weights'.",
    "`resume-daemon snapshots restore RUN CHECKPOINT --apply` puts the right one back and keeps "
    "the other.",
)


def check(points: Sequence[CurriculumPoint], checkpoint: str | None) -> Iterator[Finding]:
    """Yield a finding per state file that is another version than the checkpoint's.

    Args:
        points: The versions that belong to the checkpoint, and whether they are in place.
        checkpoint: Its name.
    """
    for point in points:
        if not point.in_place:
            stage = "" if point.stage is None else f"stage {point.stage}, "
            yield ANOTHER.finding(
                f"{point.file} is not what {checkpoint} was saved with ({stage}{point.sentence}).",
                file=point.file,
            )


def summary(points: Sequence[CurriculumPoint], findings: Sequence[Finding]) -> str:
    """Return what was seen, in a sentence."""
    if not points:
        return "judged by the files of the run" if findings else "no version was kept by a daemon"
    stages = ", ".join(
        f"{point.file} at stage {point.stage if point.stage is not None else '?'}"
        for point in points
    )
    return f"kept for the checkpoint: {stages}"
