"""Values that are to be changed, turned into the steps that change their files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from resume_daemon.errors import FormatError
from resume_daemon.files import read_bounded
from resume_daemon.parameters.edits.json_file import JsonFile
from resume_daemon.parameters.edits.kind import RefusedError
from resume_daemon.parameters.edits.python_file import PythonFile
from resume_daemon.parameters.edits.shell_file import ShellFile
from resume_daemon.parameters.edits.splice import replaced
from resume_daemon.parameters.edits.yaml_file import YamlFile
from resume_daemon.parameters.wording import shown
from resume_daemon.repair.steps import WriteFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resume_daemon.parameters.edits.kind import Kind
    from resume_daemon.parameters.values import Setting

EDIT_LIMIT: Final = 1024 * 1024
"""Bytes above which a file is not edited: what a person configures is a few kilobytes."""

_KINDS: Final[dict[str, Kind]] = {
    ".json": JsonFile(),
    ".py": PythonFile(),
    ".yaml": YamlFile(),
    ".yml": YamlFile(),
    ".sh": ShellFile(),
    ".bash": ShellFile(),
    ".zsh": ShellFile(),
    ".slurm": ShellFile(),
    ".sbatch": ShellFile(),
    ".env": ShellFile(),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """One value that is to be another.

    Attributes:
        setting: What stands there now.
        value: What is to stand there.
    """

    setting: Setting
    value: Any

    def __str__(self) -> str:
        line = "" if self.setting.line is None else f" line {self.setting.line}"
        return (
            f"set {self.setting.name} from {shown(self.setting.value)} to {shown(self.value)} "
            f"in {self.setting.source.label}{line}"
        )


def kind_of(path: Path, data: bytes) -> Kind:
    """Return what kind of file this is, by its name, or by its first line where that says nothing.

    Raises:
        RefusedError: It is none that can be edited.
    """
    # ".env" is all name and no suffix to pathlib.
    suffix = path.suffix.lower() or path.name.lower()
    if kind := _KINDS.get(suffix):
        return kind
    first = data[:100].partition(b"\n")[0]
    if path.name.startswith(".env") or (first.startswith(b"#!") and b"sh" in first):
        return ShellFile()
    if first.startswith(b"#!") and b"python" in first:
        return PythonFile()
    raise RefusedError("only YAML, JSON, Python, shell and environment files are edited")


def steps_for(wishes: Iterable[Wish]) -> tuple[WriteFile, ...]:
    """Return one step for each file in which something is to change.

    Raises:
        FormatError: A value cannot be changed without touching anything else.
        VanishedError: A file is not there any more.
        ResumeDaemonError: It cannot be read.
    """
    by_file: dict[Path, list[Wish]] = {}
    for wish in wishes:
        path = wish.setting.source.path
        if path is None:
            raise FormatError(_operation(wish), None, "it is in the environment of this process")
        by_file.setdefault(Path(os.path.realpath(path)), []).append(wish)
    steps = (_step(target, found) for target, found in sorted(by_file.items()))
    return tuple(step for step in steps if step is not None)


def _step(target: Path, wishes: Sequence[Wish]) -> WriteFile | None:
    data = read_bounded(target, EDIT_LIMIT)
    after = data
    sentence = "; ".join(str(wish) for wish in wishes)
    wishes = _together(wishes)
    # From the last to the first, so that the places of those before stay what they are.
    for wish in sorted(wishes, key=lambda each: each.setting.span or (0, 0), reverse=True):
        try:
            after = replaced(after, wish.setting, wish.value, kind_of(target, data))
        except RefusedError as error:
            raise FormatError(
                _operation(wish),
                wish.setting.source.path,
                str(error),
                hint=f"Change it by hand: set it to {shown(wish.value)}.",
            ) from None
    if after == data:
        return None
    return WriteFile(
        target=target,
        before=blake3(data).hexdigest(),
        content=after,
        sentence=sentence,
    )


def _together(wishes: Sequence[Wish]) -> list[Wish]:
    """Return the wishes without those that another one brings about: the same text, once.

    Raises:
        FormatError: The text stands for another setting as well, which is to stay what it is.
    """
    found: dict[tuple[int, int] | int, Wish] = {}
    for number, wish in enumerate(wishes):
        setting = wish.setting
        same = [each for each in wishes if each.setting.span == setting.span]
        changed = {each.setting.name for each in same if each.value == wish.value}
        if missing := [name for name in setting.also if name not in changed]:
            raise FormatError(
                _operation(wish),
                setting.source.path,
                f"{missing[0]} is given by the same text",
                hint=f"Change it by hand: set {setting.name} to {shown(wish.value)}.",
            )
        found.setdefault(setting.span if setting.also and setting.span else number, wish)
    return list(found.values())


def _operation(wish: Wish) -> str:
    return f"change {wish.setting.name} in"
