"""Examine a run: each theme in turn, whatever becomes of the others. Nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.doctor.diagnosis import Diagnosis, Section
from resume_daemon.doctor.themes import (
    checkpoints_theme,
    clock_theme,
    code_theme,
    curriculum_theme,
    dependencies_theme,
    disk_theme,
    environment_theme,
    limits_theme,
    parameters_theme,
    permissions_theme,
    tracker_theme,
)
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.doctor.subject import Subject

NOT_EXAMINED = Code(
    "RD863",
    "theme-not-examined",
    Severity.WARNING,
    "A theme could not be examined",
    "Something that it rests on could not be read, so nothing is said about it: neither that all "
    "is well nor that it is not.",
    "See the reason; run this as the user that trains.",
)


MACHINE = (environment_theme, dependencies_theme, code_theme, limits_theme)
"""What can be said without a run."""

RUN = (
    checkpoints_theme,
    environment_theme,
    tracker_theme,
    parameters_theme,
    curriculum_theme,
    dependencies_theme,
    code_theme,
    disk_theme,
    permissions_theme,
    clock_theme,
    limits_theme,
)

PREFLIGHT = (
    checkpoints_theme,
    environment_theme,
    parameters_theme,
    curriculum_theme,
    disk_theme,
)
"""What may refuse a start, and takes no second."""


def examine(subject: Subject) -> Diagnosis:
    """Return what was found, theme by theme.

    Raises:
        UsageError: There is no interpreter where the user said.
        ResumeDaemonError: The run cannot be listed, or its ledger cannot be read.
    """
    themes = PREFLIGHT if subject.wishes.brief else RUN if subject.given else MACHINE
    # What all else rests on is not one theme's failure.
    _ = (subject.names, subject.known)
    return Diagnosis(
        subject.run if subject.given else None,
        tuple(_guarded(theme, subject) for theme in themes),
    )


def _guarded(theme: Callable[[Subject], Section], subject: Subject) -> Section:
    """Return the section of a theme; what cannot be read ends this theme, and no other."""
    name = theme.__name__.removesuffix("_theme")
    try:
        return theme(subject)
    except UsageError:
        raise
    except ResumeDaemonError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename or name}: {error.strerror or error}"
    # Where nothing is known of the checkpoints, a start cannot be said to be safe.
    severity = Severity.ERROR if theme is checkpoints_theme else None
    finding = NOT_EXAMINED.finding(f"{name} could not be examined: {reason}", severity=severity)
    return Section(name, "not examined", (finding,))
