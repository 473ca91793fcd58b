"""The environment of a resume: what to set and what to unset, in the words of a shell. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from resume_daemon.resume.tracker import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.resume.tracker import TrackerChoice

CHECKPOINT_VARIABLE = "RESUME_FROM_CHECKPOINT_DIR"
"""Where a launch script finds the checkpoint to resume from."""

_FISH_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'"})
_SYSTEMD_ESCAPES = str.maketrans({c: f"\\{c}" for c in '"\\$`'})


class Shell(StrEnum):
    """Whose words are written."""

    POSIX = "posix"
    """bash, zsh, dash and their kin."""
    FISH = "fish"


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables of a resume.

    Attributes:
        variables: What to set.
        unset: What must not be there: it is left over from an earlier start.
    """

    variables: Mapping[str, str]
    unset: tuple[str, ...]

    def applied_to(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return an environment with this one laid over it."""
        kept = {name: value for name, value in environ.items() if name not in self.unset}
        return kept | dict(self.variables)


def environment(checkpoint: Path | None, choice: TrackerChoice | None) -> Environment:
    """Return the variables of a resume.

    Args:
        checkpoint: What to resume from; None for a start from the beginning.
        choice: What is done about the tracker's history; None where no tracker is known, and
            then its variables are left as they are: they may be all that knows the run.
    """
    variables = dict(choice.variables) if choice is not None else {}
    if checkpoint is not None:
        variables[CHECKPOINT_VARIABLE] = str(checkpoint)
    stale = (*VARIABLES, CHECKPOINT_VARIABLE) if choice is not None else (CHECKPOINT_VARIABLE,)
    unset = [name for name in stale if name not in variables]
    return Environment(variables, tuple(unset))


def shell_lines(found: Environment, shell: Shell) -> list[str]:
    """Return lines that the shell can evaluate, whatever bytes the values hold."""
    if shell is Shell.FISH:
        gone = [f"set -e {name}" for name in found.unset]
        return gone + [
            f"set -gx {name} '{value.translate(_FISH_ESCAPES)}'"
            for name, value in found.variables.items()
        ]
    gone = [f"unset {' '.join(found.unset)}"] if found.unset else []
    return gone + [f"export {name}={shlex.quote(v)}" for name, v in found.variables.items()]


def systemd_lines(found: Environment) -> list[str]:
    """Return lines for an ``EnvironmentFile=`` (systemd.exec(5)), which cannot unset a variable."""
    lines = ["# Written by resume-daemon env --systemd; written anew by every call."]
    if found.unset:
        lines.append(f"# In the unit beside it: UnsetEnvironment={' '.join(found.unset)}")
    return lines + [
        f'{name}="{value.translate(_SYSTEMD_ESCAPES)}"' for name, value in found.variables.items()
    ]
