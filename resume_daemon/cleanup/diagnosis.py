"""What stands in the way of a training besides left-overs: stale variables, the newest checkpoint.

``doctor`` looks at far more; this is what can be said at once, beside a clean-up.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import ResumeDaemonError, VanishedError
from resume_daemon.findings import Severity, Verdict
from resume_daemon.layouts.registry import checkpoints_in
from resume_daemon.resume.tracker import VARIABLES
from resume_daemon.verification import Depth, Options, verify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.verification import Verification

_BAD = {Verdict.UNSOUND, Verdict.INCOMPLETE}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was seen.

    Attributes:
        variables: Variables of W&B in this environment that say which run is written to.
        checkpoint: The newest checkpoint as a quick verification finds it; None where there is
            none, or it could not be read.
        unread: Why it could not be read, or None.
    """

    variables: Mapping[str, str]
    checkpoint: Verification | None
    unread: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the newest checkpoint must not be resumed from, or could not be judged."""
        bad = self.checkpoint is not None and self.checkpoint.verdict in _BAD
        return bad or self.unread is not None

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``cleanup --json`` promises."""
        found = self.checkpoint
        return {
            "variables": dict(self.variables),
            "checkpoint": None
            if found is None
            else {
                "path": str(found.path),
                "verdict": found.verdict.value,
                "findings": [each.as_json() for each in found.findings],
            },
            "error": self.unread,
        }

    def lines(self, run: str) -> list[str]:
        """Return it in lines; ``run`` is the run as the user named it."""
        named = shlex.quote(run)
        found: list[str] = []
        if self.variables:
            there = ", ".join(f"{name}={value}" for name, value in self.variables.items())
            found += [
                f"set in this shell, perhaps by an earlier start: {there}",
                "  no program can unset what its caller has set; your shell can:",
                f'  eval "$(resume-daemon env {named})"',
            ]
        if self.unread is not None:
            found.append(f"the newest checkpoint could not be judged: {self.unread}")
        elif self.checkpoint is None:
            found.append("there is no checkpoint yet")
        else:
            found += self._checkpoint(self.checkpoint, named)
        found.append(f"the environment, packages and lengths: resume-daemon doctor {named}")
        return found

    @staticmethod
    def _checkpoint(newest: Verification, run: str) -> list[str]:
        how = "headers and small files were read"
        found = [f"newest: {newest.path.name}  {newest.verdict.value} ({how})"]
        found += [
            f"  {each.code} {each.severity.value}: {each.message}"
            for each in newest.findings
            if each.severity is not Severity.INFO
        ]
        if newest.verdict in _BAD:
            found += [
                f"  what to start from instead: resume-daemon plan {run}",
                f"  a damaged file is set aside and made whole by: resume-daemon repair {run}",
            ]
        return found


def diagnose(run: Path, environ: Mapping[str, str]) -> Diagnosis:
    """Look at the environment and, quickly, at the newest checkpoint.

    Args:
        run: The run directory, links resolved.
        environ: The environment.

    Raises:
        ResumeDaemonError: The run cannot be listed.
    """
    variables = {name: environ[name] for name in VARIABLES if name in environ}
    names = checkpoints_in(run)
    while names:
        newest = run / names.pop()
        try:
            return Diagnosis(
                variables, verify(newest, boundary=run, options=Options(depth=Depth.QUICK))
            )
        except VanishedError:
            continue  # The trainer removed it meanwhile.
        except ResumeDaemonError as error:
            return Diagnosis(variables, None, str(error))
    return Diagnosis(variables, None)
