"""Nothing of a run is changed before what takes it back would survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.unit.test_repair_engine import NOW, engine_of, make_run, picture, whole_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Disk:
    """Knows which files and directories were changed and not flushed since."""

    def __init__(self, sidecar: Path) -> None:
        self.unflushed: set[Path] = set()
        self.changes = 0
        self._sidecar = sidecar

    def mkdir(self, path: Any, *_: Any) -> None:
        if not Path(path).exists():
            self.unflushed.add(Path(path).parent)

    def open(self, path: Any, flags: int = 0, *_: Any) -> None:
        # What is only staged may be lost: it is written again.
        staged = str(path).endswith(".repair")
        if flags & os.O_CREAT and not staged and not Path(path).exists():
            self.unflushed.add(Path(path).parent)

    def write(self, fd: int, *_: Any) -> None:
        self.unflushed.add(Path(f"/proc/self/fd/{fd}").readlink())

    def fsync(self, fd: int) -> None:
        self.unflushed.discard(Path(f"/proc/self/fd/{fd}").readlink())

    def unlink(self, path: Any, *_: Any) -> None:
        self._before_a_change(Path(path))

    def rename(self, source: Any, target: Any, *_: Any) -> None:
        assert source not in self.unflushed, "the content may be lost, and the name be there"
        assert not [each for each in self.unflushed if each.is_relative_to(source)]
        self._before_a_change(Path(source))
        self._before_a_change(Path(target))
        self.unflushed |= {Path(source).parent, Path(target).parent}

    def _before_a_change(self, path: Path) -> None:
        if path.is_relative_to(self._sidecar) or path.name.endswith(".repair"):
            return
        self.changes += 1
        held = (self._sidecar.parent, self._sidecar)
        ours = [p for p in self.unflushed if p in held or p.is_relative_to(self._sidecar)]
        assert ours == [], f"{path} changes before they are flushed"


def follow(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def followed(name: str, told: Callable[..., None]) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            told(*arguments)
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("mkdir", "open", "write", "fsync", "unlink", "rename"):
        followed(name, getattr(disk, name))
    followed("replace", disk.rename)
    followed("fdatasync", disk.fsync)


def test_what_takes_a_repair_back_is_flushed_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    before = picture(run)
    plan = whole_plan(run)
    disk = Disk(run / ".resume_daemon")
    with monkeypatch.context() as patch:
        follow(disk, patch)
        with engine_of(run) as engine:
            engine.undo(engine.apply(plan, NOW).id)

    assert picture(run) == before
    assert disk.changes == 6
    assert disk.unflushed <= {run / "checkpoint-5"}
