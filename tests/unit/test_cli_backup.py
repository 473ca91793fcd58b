"""The commands ``backup`` and ``restore``, as a person uses them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app
from tests.checkpoints import write_checkpoint, zero_second_half

if TYPE_CHECKING:
    from pathlib import Path


def call(*arguments: object) -> tuple[int, dict[str, Any], str]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return done.exit_code, json.loads(done.stdout or "{}"), done.stderr


def read(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    return done.exit_code, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for step in (5, 10, 15):
        write_checkpoint(run, step)
    zero_second_half(run / "checkpoint-15" / "model.safetensors")
    return run


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    disk.mkdir()
    return disk


def test_the_newest_sound_one_is_backed_up_where_none_is_named(run: Path, disk: Path) -> None:
    status, document, err = call("backup", run, "--to", disk)
    assert (status, err) == (0, "")
    assert [each["checkpoint"] for each in document["backups"]] == ["checkpoint-10"]


def test_what_may_not_be_resumed_from_is_not_backed_up_and_the_others_are(
    run: Path, disk: Path
) -> None:
    names = ("--checkpoint", "checkpoint-15", "--checkpoint", "checkpoint-5")
    status, document, err = call("backup", run, "--to", disk, *names)
    assert status == 1
    assert [each["checkpoint"] for each in document["backups"]] == ["checkpoint-5"]
    assert "checkpoint-15: it is unsound" in err


def test_backup_list_verify_and_restore_tell_one_story(run: Path, disk: Path) -> None:
    assert read("backup", run, "--to", disk, "--list") == (0, f"no backup of this run at {disk}")
    status, text = read("backup", run, "--to", disk)
    assert status == 0
    assert f"checkpoint-10 is at {disk} as checkpoint-10." in text
    assert "read back and verified" in text
    status, text = read("backup", run, "--to", disk, "--verify")
    assert (status, "verified" in text) == (0, True)
    shutil.rmtree(run / "checkpoint-10")
    status, text = read("restore", run, "checkpoint-10", "--from", disk)
    assert status == 0
    assert "it is sound" in text
    assert "may remove it at its next save" in text


def test_a_run_that_moved_finds_its_backups_where_only_it_has_such_a_one(
    run: Path, disk: Path, tmp_path: Path
) -> None:
    assert call("backup", run, "--to", disk)[0] == 0
    moved = tmp_path / "moved"
    moved.mkdir()
    status, document, _ = call("restore", moved, "checkpoint-10", "--from", disk)
    assert (status, document["path"]) == (0, str(moved / "checkpoint-10"))
    other = tmp_path / "other"
    write_checkpoint(other, 10, seed=3)
    assert call("backup", other, "--to", disk)[0] == 0
    shutil.rmtree(moved / "checkpoint-10")
    status, _, err = call("restore", moved, "checkpoint-10", "--from", disk)
    assert status == 2
    assert "several runs have a backup of it" in err
    assert call("restore", moved, document["backup"], "--from", disk)[0] == 0


def test_a_backup_can_be_put_elsewhere(run: Path, disk: Path, tmp_path: Path) -> None:
    assert call("backup", run, "--to", disk)[0] == 0
    (tmp_path / "elsewhere").mkdir()
    status, document, _ = call(
        "restore", run, "checkpoint-10", "--from", disk, "--to", tmp_path / "elsewhere"
    )
    assert (status, document["path"]) == (0, str(tmp_path / "elsewhere" / "checkpoint-10"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["backup", "{run}"], "nothing says where they are"),
        (["backup", "{run}/gone", "--to", "{disk}"], "there is no such directory"),
        (["backup", "{run}/checkpoint-5/config.json", "--to", "{disk}"], "it is a file"),
        (["backup", "{run}", "--to", "{run}"], "it is the run itself"),
        (["backup", "{run}", "--to", "{run}/checkpoint-5"], "it lies in a checkpoint"),
        (["backup", "{run}", "--to", "nosuch://x/y"], "nosuch"),
        (["backup", "{run}", "--to", "s3://a:b@x/y"], "carries a password"),
        (["backup", "{run}", "--to", "{disk}", "--checkpoint", "checkpoint-7"], "no such checkpo"),
        (["backup", "{run}", "--to", "{disk}", "--list", "--verify"], "only one of the two"),
        (["backup", "{run}", "--to", "{disk}", "--list", "--checkpoint", "x"], "no whole backup"),
        (["restore", "{run}", "checkpoint-5", "--from", "{disk}"], "no whole backup of it"),
        (["restore", "{run}", "checkpoint-5"], "nothing says where they are"),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(
    run: Path, disk: Path, arguments: list[str], told: str
) -> None:
    words = [each.format(run=run, disk=disk) for each in arguments]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_without_a_sound_checkpoint_is_told_and_fails(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, document, err = call("backup", tmp_path / "empty", "--to", disk)
    assert (status, document) == (1, {})
    assert "it has no checkpoint" in err


def test_the_run_is_only_read(run: Path, disk: Path) -> None:
    def seen() -> dict[str, tuple[int, int]]:
        found = {p: p.stat() for p in (run, *run.rglob("*"))}
        return {str(p): (s.st_mtime_ns, s.st_ctime_ns) for p, s in found.items()}

    before = seen()
    assert call("backup", run, "--to", disk)[0] == 0
    assert seen() == before


def test_a_protocol_that_cannot_be_written_to_is_told(run: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", run)
    status, text = read("backup", run, "--to", f"zip://x::file://{archive}")
    assert status == 1
    assert "Error: Cannot" in text
    assert "Traceback" not in text


def test_a_destination_of_any_protocol_of_fsspec_will_do(run: Path, disk: Path) -> None:
    url = f"local://{disk}"
    status, document, err = call("backup", run, "--to", url)
    assert (status, err, document["backups"][0]["state"]) == (0, "", "new")
    shutil.rmtree(run / "checkpoint-10")
    status, document, err = call("restore", run, "checkpoint-10", "--from", url)
    assert (status, err, document["verdict"]) == (0, "", "sound")
    assert not [each for each in disk.rglob("*") if "tmp" in each.name]
