"""The command ``cleanup`` on real directories, seen from outside."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from resume_daemon.cleanup.apply import apply
from resume_daemon.cleanup.survey import choose_roots, survey
from resume_daemon.cleanup.transfer import copy_verified
from resume_daemon.cleanup.values import Identity
from resume_daemon.cleanup.walk import walk
from resume_daemon.cli import app
from resume_daemon.errors import ChangedError, UsageError
from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from typer.testing import Result

SECOND = Path("/dev/shm")  # noqa: S108 - a file system of its own on every Linux
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def cleanup(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["cleanup", *map(str, arguments)])


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def age(root: Path, days: float = 3) -> None:
    """Make everything below a directory old."""
    then = time.time() - days * 86400
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (then, then), follow_symlinks=False)


def content_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run with a checkpoint and something of every kind that is left over."""
    run = tmp_path / "project" / "out"
    run.mkdir(parents=True)
    checkpoint = write_checkpoint(run, 10)
    write(checkpoint / "half.tmp")
    code = run.parent
    write(code / "train.py")
    write(code / "__pycache__" / "train.cpython-311.pyc")
    write(run / "state.json.tmp", b"perhaps the only copy")
    write(run / "tmp-checkpoint-7" / "model.safetensors")
    for number in range(12):
        write(run / "logs" / f"debug_{number}.log")
    write(run / "logs" / "train.log")
    age(code)
    os.utime(checkpoint)
    return run


def test_without_apply_everything_is_listed_and_nothing_is_touched(run: Path) -> None:
    before = content_of(run.parent)
    shown = cleanup(run, "--root", run.parent)
    assert shown.exit_code == 0, shown.output
    for name in ("state.json.tmp", "tmp-checkpoint-7", "train.cpython-311.pyc", "debug_"):
        assert name in shown.stdout
    assert "half.tmp" not in shown.stdout
    assert "--apply" in shown.stdout
    assert content_of(run.parent) == before


def test_apply_deletes_what_can_be_made_again_and_sets_the_rest_aside(run: Path) -> None:
    checkpoint = content_of(run / "checkpoint-10")
    done = cleanup(run, "--root", run.parent, "--apply", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)["cleanup"]
    assert all(each["done"] for each in document["removals"])
    place = Path(document["set_aside_in"])
    assert not (run.parent / "__pycache__").exists()
    assert not (run / "tmp-checkpoint-7").exists()
    assert len(list((run / "logs").glob("debug_*"))) == 10
    assert (run / "logs" / "train.log").exists()
    assert content_of(run / "checkpoint-10") == checkpoint
    index = json.loads((place / "index.json").read_bytes())
    there = {each["from"]: place / each["to"] for each in index["files"]}
    assert there[str(run / "state.json.tmp")].read_bytes() == b"perhaps the only copy"
    assert (there[str(run / "tmp-checkpoint-7")] / "model.safetensors").exists()
    assert all(path.exists() for path in there.values())
    assert "nothing to clean up" in cleanup(run, "--root", run.parent).stdout


def test_what_was_set_aside_keeps_its_times(run: Path) -> None:
    before = (run / "state.json.tmp").stat().st_mtime_ns
    document = json.loads(cleanup(run, "--apply", "--json").stdout)["cleanup"]
    moved = [Path(e["outcome"]) for e in document["removals"] if e["path"].endswith(".json.tmp")]
    assert [path.stat().st_mtime_ns for path in moved] == [before]


def test_report_only_says_what_is_wrong_and_plans_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "left-over")
    (run / "checkpoint-10" / "trainer_state.json").write_text("{", encoding="utf-8")
    shown = cleanup(run, "--report-only")
    assert shown.exit_code == 1
    assert "WANDB_RUN_ID=left-over" in shown.stdout
    assert f'eval "$(resume-daemon env {run})"' in shown.stdout
    assert "unsound" in shown.stdout
    assert "trainer_state.json" in shown.stdout
    assert "resume-daemon repair" in shown.stdout
    assert "state.json.tmp" not in shown.stdout
    assert json.loads(cleanup(run, "--report-only", "--json").stdout)["cleanup"] is None


def test_clean_only_says_nothing_of_checkpoints_and_variables(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "left-over")
    (run / "checkpoint-10" / "trainer_state.json").write_text("{", encoding="utf-8")
    shown = cleanup(run, "--clean-only")
    assert shown.exit_code == 0
    assert "left-over" not in shown.stdout
    assert "unsound" not in shown.stdout


@pytest.mark.parametrize("other", ["--clean-only", "--apply"])
def test_report_only_cannot_be_asked_for_with_what_it_excludes(run: Path, other: str) -> None:
    assert cleanup(run, "--report-only", other).exit_code == 2


@pytest.mark.parametrize(
    "inside", ["checkpoint-10", ".resume_daemon", "wandb/run-20260101_000000-a"]
)
def test_a_checkpoint_our_records_and_a_run_of_wandb_are_no_roots(run: Path, inside: str) -> None:
    (run / inside).mkdir(parents=True, exist_ok=True)
    ended = cleanup(run, "--root", run / inside)
    assert ended.exit_code == 2
    assert cleanup(run, "--root", "/").exit_code == 2


def test_an_empty_run_has_nothing_to_clean_up(tmp_path: Path) -> None:
    shown = cleanup(tmp_path)
    assert shown.exit_code == 0
    assert "nothing to clean up" in shown.stdout
    assert cleanup(tmp_path / "none").exit_code == 2


def test_links_are_not_followed_out_of_the_root(run: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "elsewhere" / "x.tmp")
    age(outside.parent)
    (run / "linked").symlink_to(outside.parent)
    (run / "link.tmp").symlink_to(outside)
    assert cleanup(run, "--clean-only", "--apply").exit_code == 0
    assert outside.exists()
    assert (run / "link.tmp").is_symlink()


def test_a_file_that_a_process_has_open_stays(run: Path) -> None:
    with (run / "state.json.tmp").open("rb"):
        document = json.loads(cleanup(run, "--clean-only", "--apply", "--json").stdout)["cleanup"]
    assert (run / "state.json.tmp").exists()
    assert {"a process has it open"} == {each["why"] for each in document["kept"]}


def planned(run: Path) -> Any:
    return survey(choose_roots(run, [run.parent])).plan.removals


def test_what_changed_after_the_plan_stays(run: Path) -> None:
    removals = planned(run)
    (run / "state.json.tmp").write_bytes(b"new")
    compiled = write(run.parent / "__pycache__" / "train.cpython-311.pyc", b"compiled again")
    outcomes, _ = apply(removals, run / ".resume_daemon" / "trash", now=NOW)
    left = {each.removal.path.name: each for each in outcomes if not each.done}
    assert set(left) == {"state.json.tmp", compiled.name, "__pycache__"}
    assert compiled.read_bytes() == b"compiled again"
    assert not any(each.failed for each in left.values())
    assert (run / "state.json.tmp").read_bytes() == b"new"


def test_a_directory_that_became_a_link_after_the_plan_is_not_entered(
    run: Path, tmp_path: Path
) -> None:
    removals = planned(run)
    elsewhere = tmp_path / "elsewhere"
    (run / "logs").rename(elsewhere)
    (run / "logs").symlink_to(elsewhere)
    before = content_of(elsewhere)
    outcomes, _ = apply(removals, run / ".resume_daemon" / "trash", now=NOW)
    assert content_of(elsewhere) == before
    assert {e.removal.path.parent.name for e in outcomes if not e.done} == {"logs"}


def test_where_nothing_can_be_set_aside_only_what_can_be_made_again_goes(run: Path) -> None:
    write(run / ".resume_daemon" / "trash", b"a file where the directory should be")
    before = content_of(run.parent)
    ended = cleanup(run, "--root", run.parent, "--clean-only", "--apply")
    assert ended.exit_code == 1
    assert "cannot be set aside" in ended.stdout
    assert set(before) - set(content_of(run.parent)) == {"__pycache__/train.cpython-311.pyc"}


def test_a_save_is_looked_at_whole_before_it_is_abandoned(run: Path) -> None:
    inner = write(run / "tmp-checkpoint-7" / "global_step7" / "optim.pt")
    age(run)
    os.utime(run / "checkpoint-10")
    with inner.open("rb"):
        assert "tmp-checkpoint-7" in kept(cleanup(run, "--clean-only", "--json"))
    os.utime(inner)
    assert "tmp-checkpoint-7" in kept(cleanup(run, "--clean-only", "--json"))


def kept(shown: Result) -> set[str]:
    return {Path(each["path"]).name for each in json.loads(shown.stdout)["cleanup"]["kept"]}


def test_a_directory_that_may_be_a_checkpoint_by_its_name_is_said_not_to_be_looked_at(
    run: Path,
) -> None:
    code = run.parent / "stage_2"
    write(code / "a.py")
    write(code / "__pycache__" / "a.cpython-311.pyc")
    shown = cleanup(run, "--root", run.parent, "--clean-only")
    assert "not looked at: 1" in shown.stdout
    assert str(code) in shown.stdout
    assert f"{code}/__pycache__" in cleanup(run, "--root", code, "--clean-only").stdout


def test_a_run_is_no_checkpoint_because_of_where_it_lies(tmp_path: Path) -> None:
    run = tmp_path / "step_5" / "checkpoint-1"
    write(run / "x.tmp")
    age(run)
    assert "x.tmp" in cleanup(run, "--clean-only").stdout


def test_a_file_system_of_its_own_is_left_by_a_verified_copy(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tmp", b"content" * 1000)
    age(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        identity = Identity.of(source.stat())
        copy_verified(fd, "a.tmp", tmp_path / "copy", identity)
        assert (tmp_path / "copy").read_bytes() == source.read_bytes()
        assert (tmp_path / "copy").stat().st_mtime_ns == source.stat().st_mtime_ns
        source.write_bytes(b"other")
        with pytest.raises(ChangedError):
            copy_verified(fd, "a.tmp", tmp_path / "second", identity)
        assert not (tmp_path / "second").exists()
    finally:
        os.close(fd)


@pytest.mark.skipif(not SECOND.is_dir(), reason="needs a second file system")
def test_what_lies_on_another_file_system_is_set_aside_as_well(run: Path) -> None:
    other = SECOND / f"resume-daemon-{os.getpid()}"
    try:
        write(other / "x.tmp", b"far away")
        age(other)
        document = json.loads(cleanup(run, "--root", other, "--apply", "--json").stdout)["cleanup"]
        assert not (other / "x.tmp").exists()
        [moved] = [e["outcome"] for e in document["removals"] if e["path"] == str(other / "x.tmp")]
        assert Path(moved).read_bytes() == b"far away"
    finally:
        shutil.rmtree(other, ignore_errors=True)


def test_a_damaged_file_of_the_cache_of_wandb_is_found_by_its_digest(run: Path) -> None:
    cache = run.parent / "cache" / "artifacts"
    paths = []
    for content, stored in ((b"good", b"good"), (b"what it was", b"what it is!")):
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        paths.append(write(cache / "obj" / "md5" / digest[:2] / digest[2:], stored))
    age(cache)
    assert cleanup(run, "--root", cache.parent, "--clean-only", "--apply").exit_code == 0
    assert [path.exists() for path in paths] == [True, False]


def test_beyond_the_bounds_it_is_said_that_not_all_was_looked_at(tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path / f"{number}.tmp")
    found = walk(tmp_path, limit=5)
    assert len(found.entries) == 5
    assert [path for path, _ in found.unseen] == [tmp_path]


def test_a_root_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="clean up"):
        walk(tmp_path / "none")


def test_undo_puts_every_byte_and_time_back(run: Path) -> None:
    def seen() -> dict[str, tuple[bytes, int]]:
        return {
            str(p.relative_to(run)): (p.read_bytes(), p.stat().st_mtime_ns)
            for p in run.rglob("*")
            if p.is_file() and ".resume_daemon" not in p.parts
        }

    before = seen()
    done = cleanup(run, "--clean-only", "--apply", "--json")
    name = Path(json.loads(done.stdout)["cleanup"]["set_aside_in"]).name
    assert seen() != before
    ended = cleanup(run, "--undo", name)
    assert ended.exit_code == 0, ended.output
    assert seen() == before


def test_undo_leaves_what_has_come_into_being_meanwhile(run: Path) -> None:
    done = cleanup(run, "--clean-only", "--apply", "--json")
    place = Path(json.loads(done.stdout)["cleanup"]["set_aside_in"])
    write(run / "state.json.tmp", b"newer")
    (run / "tmp-checkpoint-7").mkdir()
    shutil.rmtree(run / "logs")
    ended = cleanup(run, "--undo", place.name, "--json")
    assert ended.exit_code == 1
    left = [each for each in json.loads(ended.stdout)["put_back"] if not each["done"]]
    there = {"state.json.tmp", "tmp-checkpoint-7"}
    assert {each["path"] for each in left} == {str(run / name) for name in there}
    assert not list((run / "tmp-checkpoint-7").iterdir())
    assert (run / "state.json.tmp").read_bytes() == b"newer"
    kept = place / str(run / "state.json.tmp").lstrip("/")
    assert kept.read_bytes() == b"perhaps the only copy"


def test_undo_follows_no_index_to_another_place(run: Path, tmp_path: Path) -> None:
    done = cleanup(run, "--clean-only", "--apply", "--json")
    place = Path(json.loads(done.stdout)["cleanup"]["set_aside_in"])
    index = json.loads((place / "index.json").read_bytes())
    for each in index["files"]:
        each["from"] = str(tmp_path / "elsewhere" / Path(each["from"]).name)
    (place / "index.json").write_text(json.dumps(index), encoding="utf-8")
    cleanup(run, "--undo", place.name)
    assert not (tmp_path / "elsewhere").exists()


def test_undo_of_what_was_never_done_is_wrong_usage(run: Path) -> None:
    for name in ("none", "..", "../.."):
        assert cleanup(run, "--undo", name).exit_code == 2
    assert cleanup(run, "--undo", "none", "--apply").exit_code == 2


KILLING = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from resume_daemon.cleanup.apply import apply
from resume_daemon.cleanup.survey import choose_roots, survey

run, last = Path(sys.argv[1]), int(sys.argv[2])
removals = survey(choose_roots(run, [run.parent])).plan.removals
calls = 0

def watch(event, arguments):
    global calls
    if event in {"os.rename", "os.remove", "os.rmdir", "os.link", "os.mkdir"}:
        calls += 1
        if calls == last:
            os._exit(9)

sys.addaudithook(watch)
apply(removals, run / ".resume_daemon" / "trash", now=datetime.now(UTC))
"""


@pytest.mark.parametrize("last", [1, 2, 3, 5, 8, 11])
def test_killed_at_any_moment_nothing_is_lost_that_cannot_be_made_again(
    run: Path, last: int
) -> None:
    before = {
        name: content
        for name, content in content_of(run.parent).items()
        if not name.endswith(".pyc")
    }
    ended = subprocess.run(
        [sys.executable, "-c", KILLING, str(run), str(last)], timeout=50, check=False
    )
    assert ended.returncode == 9
    for place in (run / ".resume_daemon" / "trash").glob("*/index.json"):
        assert cleanup(run, "--undo", place.parent.name).exit_code == 0
    after = content_of(run.parent)
    assert {name: after.get(name) for name in before} == before
    assert cleanup(run, "--root", run.parent, "--clean-only", "--apply").exit_code == 0
