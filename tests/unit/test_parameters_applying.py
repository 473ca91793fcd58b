from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3

from resume_daemon.errors import ChangedError, ResumeDaemonError
from resume_daemon.files import write_atomic
from resume_daemon.parameters.applying import apply
from resume_daemon.repair.steps import WriteFile
from resume_daemon.report.differences import difference

if TYPE_CHECKING:
    from pathlib import Path


def step(path: Path, before: bytes, after: bytes) -> WriteFile:
    path.write_bytes(before)
    path.chmod(0o660)
    return WriteFile(path, blake3(before).hexdigest(), after, "change it")


def test_files_are_written_with_their_modes_after_a_backup_of_each(tmp_path: Path) -> None:
    steps = [step(tmp_path / name, b"old", b"new " + name.encode()) for name in ("a", "b")]
    said: list[str] = []
    apply(steps, tmp_path / "kept", say=said.append)
    for each in steps:
        assert each.target.read_bytes() == each.content
        assert each.target.stat().st_mode & 0o777 == 0o660
    assert sorted(path.read_bytes() for path in (tmp_path / "kept").iterdir()) == [b"old", b"old"]
    assert [line.split()[0] for line in said] == ["Kept", "Kept", "Wrote", "Wrote"]


def test_a_file_that_changed_meanwhile_stops_everything_before_a_write(tmp_path: Path) -> None:
    first = step(tmp_path / "a", b"old", b"new")
    second = step(tmp_path / "b", b"old", b"new")
    second.target.write_bytes(b"edited by hand")
    with pytest.raises(ChangedError, match="since the plan was made"):
        apply([first, second], tmp_path / "kept", say=lambda _: None)
    assert first.target.read_bytes() == b"old"
    assert second.target.read_bytes() == b"edited by hand"


def test_a_file_that_changes_between_its_backup_and_the_write_is_not_overwritten(
    tmp_path: Path,
) -> None:
    only = step(tmp_path / "a", b"old", b"new")

    def edit(_: str) -> None:
        only.target.write_bytes(b"edited by hand")

    with pytest.raises(ChangedError):
        apply([only], tmp_path / "kept", say=edit)
    assert only.target.read_bytes() == b"edited by hand"


def test_without_a_place_for_the_backup_nothing_is_written(tmp_path: Path) -> None:
    only = step(tmp_path / "a", b"old", b"new")
    (tmp_path / "kept").write_bytes(b"a file where a directory should be")
    with pytest.raises(ResumeDaemonError, match=r"back up.*Nothing was changed"):
        apply([only], tmp_path / "kept", say=lambda _: None)
    assert only.target.read_bytes() == b"old"


def test_a_disk_that_is_full_at_the_second_file_leaves_the_first_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = step(tmp_path / "a", b"old", b"new")
    second = step(tmp_path / "b", b"old", b"new")

    def full(path: Path, content: bytes, *, mode: int) -> None:
        if path == second.target:
            raise OSError(28, os.strerror(28))
        write_atomic(path, content, mode=mode)

    monkeypatch.setattr("resume_daemon.parameters.applying.write_atomic", full)
    with pytest.raises(ResumeDaemonError, match="No space left"):
        apply([first, second], tmp_path / "kept", say=lambda _: None)
    assert [path.read_bytes() for path in (first.target, second.target)] == [b"old", b"old"]


def test_a_step_that_expects_no_file_is_not_mistaken(tmp_path: Path) -> None:
    wrong = replace(step(tmp_path / "a", b"old", b"new"), before=None)
    with pytest.raises(ChangedError):
        apply([wrong], tmp_path / "kept", say=lambda _: None)


def test_a_difference_shows_what_changes_and_a_line_around_it() -> None:
    before = b"a: 1\r\nb: 2561 # x\x1b[0m\r\nc: 3\nd: 4\ne: \xff"
    lines = list(difference("t.yaml", before, before.replace(b"2561", b"2560")))
    assert lines[:2] == ["--- t.yaml", "+++ t.yaml (changed)"]
    assert "-b: 2561 # x\\x1b[0m" in lines
    assert "+b: 2560 # x\\x1b[0m" in lines
    assert not any("\x1b" in line for line in lines)
    assert " a: 1" in lines
    assert " d: 4" not in lines


def test_a_last_line_without_an_end_is_told() -> None:
    assert list(difference("t", b"a", b"b"))[-4:] == [
        "-a",
        "\\ No newline at end of file",
        "+b",
        "\\ No newline at end of file",
    ]
