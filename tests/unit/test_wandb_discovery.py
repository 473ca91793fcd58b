from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resume_daemon.trackers.wandb_discovery import (
    Found,
    candidate_segments,
    find_wandb_directories,
    segment_run_id,
)

SECOND = 1_000_000_000
BEGAN = 1_800_000_000 * SECOND


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "project" / "outputs" / "run1"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    directory = tmp_path / "proc"
    (directory / "self").mkdir(parents=True)
    (directory / "uptime").write_text("1.0")
    return directory


def segment(
    directory: Path, name: str = "run-20260101_000000-abc", *, written_ns: int = BEGAN
) -> Path:
    made = directory / name
    (made / "logs").mkdir(parents=True)
    (made / "logs" / "debug-internal.log").touch()
    log = made / f"run-{name.rsplit('-', 1)[1]}.wandb"
    log.touch()
    for path in (log, made / "logs" / "debug-internal.log", made):
        os.utime(path, ns=(written_ns, written_ns))
    return made


def process(
    proc: Path,
    pid: int,
    working: Path,
    arguments: list[str],
    *,
    environ: list[str] | None = None,
    opened: Path | None = None,
) -> Path:
    made = proc / str(pid)
    (made / "fd").mkdir(parents=True)
    (made / "cwd").symlink_to(working)
    (made / "cmdline").write_bytes(b"".join(part.encode() + b"\0" for part in arguments))
    (made / "environ").write_bytes(b"".join(part.encode() + b"\0" for part in environ or []))
    (made / "fd" / "0").symlink_to("/dev/null")
    if opened is not None:
        (made / "fd" / "3").symlink_to(opened)
    return made


def found_in(run: Path, proc: Path, **environ: str) -> list[Path]:
    return [found.path for found in find_wandb_directories(run, None, environ, proc)]


@pytest.mark.parametrize("name", ["wandb", ".wandb"])
def test_it_is_found_in_the_run_beside_it_and_under_wandb_dir(
    run: Path, proc: Path, tmp_path: Path, name: str
) -> None:
    places = [run / name, run.parent / name, tmp_path / "elsewhere" / name]
    for place in places:
        segment(place)
    assert found_in(run, proc, WANDB_DIR=str(tmp_path / "elsewhere")) == places


def test_a_directory_without_segments_does_not_count(run: Path, proc: Path) -> None:
    (run / "wandb" / "latest-run").mkdir(parents=True)
    (run / "wandb" / "run-of-the-mill.txt").touch()
    (run.parent / "wandb").mkdir()
    (run.parent / "wandb" / "run-linked").symlink_to(run)
    assert found_in(run, proc) == []


def test_offline_segments_count(run: Path, proc: Path) -> None:
    segment(run / "wandb", "offline-run-20260101_000000-abc")
    assert found_in(run, proc) == [run / "wandb"]


@pytest.mark.parametrize("below", [True, False])
def test_the_setting_overrides_everything_and_may_name_the_directory_above(
    run: Path, proc: Path, tmp_path: Path, *, below: bool
) -> None:
    segment(run / "wandb")
    segment(tmp_path / "set" / "wandb")
    configured = tmp_path / "set" / "wandb" if below else tmp_path / "set"
    found = find_wandb_directories(run, configured, {}, proc)
    assert found == [Found(tmp_path / "set" / "wandb", "the setting")]
    assert find_wandb_directories(run, tmp_path / "nothing", {}, proc) == []


def test_two_ways_to_one_directory_find_it_once(run: Path, proc: Path, tmp_path: Path) -> None:
    segment(run / "wandb")
    (tmp_path / "link").symlink_to(run)
    assert found_in(run, proc, WANDB_DIR=str(tmp_path / "link")) == [run / "wandb"]


@pytest.mark.parametrize("argument", ["outputs/run1", "--output_dir=outputs/run1", "ABSOLUTE"])
def test_a_trainer_that_names_the_run_shows_where_it_works(
    run: Path, proc: Path, tmp_path: Path, argument: str
) -> None:
    project = tmp_path / "project"
    segment(project / "wandb")
    argument = argument.replace("ABSOLUTE", str(run / "checkpoint-10"))
    process(proc, 17, project, ["python", "train.py", argument])
    found = find_wandb_directories(run, None, {}, proc)
    assert found == [Found(project / "wandb", "process 17")]


def test_a_trainer_that_has_a_file_of_the_run_open_shows_where_it_works(
    run: Path, proc: Path, tmp_path: Path
) -> None:
    segment(tmp_path / "project" / "wandb")
    process(proc, 17, tmp_path / "project", ["python"], opened=run / "runs" / "events")
    assert found_in(run, proc) == [tmp_path / "project" / "wandb"]


def test_the_wandb_dir_of_a_trainer_comes_before_its_working_directory(
    run: Path, proc: Path, tmp_path: Path
) -> None:
    for name in ("wandb", "logs/wandb"):
        segment(tmp_path / "project" / name)
    names = ["train", str(run)]
    process(proc, 17, tmp_path / "project", names, environ=["A=b", "WANDB_DIR=logs", "broken"])
    assert found_in(run, proc) == [
        tmp_path / "project" / "logs" / "wandb",
        tmp_path / "project" / "wandb",
    ]


def test_processes_that_have_nothing_to_do_with_the_run_are_left_alone(
    run: Path, proc: Path, tmp_path: Path
) -> None:
    segment(tmp_path / "project" / "wandb")
    process(proc, 17, tmp_path / "project", ["python", "train.py", f"{run}0", "outputs"])
    process(proc, 18, tmp_path / "project", ["python", "/bin/resume-daemon", "run", str(run)])
    process(proc, 19, tmp_path / "project", ["python", "-m", "resume_daemon", "run", str(run)])
    assert found_in(run, proc) == []


def test_processes_that_end_or_close_their_doors_are_stepped_over(
    run: Path, proc: Path, tmp_path: Path
) -> None:
    segment(tmp_path / "project" / "wandb")
    process(proc, 17, tmp_path / "project", ["train", str(run)])
    (proc / "18").mkdir()
    (process(proc, 19, tmp_path / "project", []) / "cmdline").unlink()
    (process(proc, 20, tmp_path / "project", []) / "fd" / "9").write_text("no link")
    os.mkfifo(process(proc, 21, tmp_path, []) / "pipe")
    assert found_in(run, proc) == [tmp_path / "project" / "wandb"]
    assert found_in(run, tmp_path / "no proc at all") == []


def test_a_real_process_is_recognised(run: Path, tmp_path: Path) -> None:
    if not Path("/proc/self/cwd").exists():
        pytest.skip("there is no /proc")
    segment(tmp_path / "project" / "wandb")
    code = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "--output_dir", "outputs/run1"],
        cwd=tmp_path / "project",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = find_wandb_directories(run, None, {})
        child.communicate(b"\n")
    assert found == [Found(tmp_path / "project" / "wandb", f"process {child.pid}")]


def test_every_segment_of_a_directory_inside_the_run_belongs_to_it(run: Path) -> None:
    old = segment(run / "wandb", "run-20250101_000000-abc", written_ns=SECOND)
    new = segment(run / "wandb", "offline-run-20260101_000000-xyz")
    (run / "wandb" / "latest-run").symlink_to(new)
    assert candidate_segments(Found(run / "wandb", ""), run, BEGAN) == [old, new]


def test_segments_that_ended_before_the_run_began_are_not_its_own(run: Path) -> None:
    shared = run.parent / "wandb"
    segment(shared, "run-20250101_000000-abc", written_ns=BEGAN - SECOND)
    running = segment(shared, "run-20251231_000000-abc", written_ns=BEGAN)
    later = segment(shared, "run-20260102_000000-abc", written_ns=BEGAN + SECOND)
    assert candidate_segments(Found(shared, ""), run, BEGAN) == [running, later]


def test_a_segment_whose_log_lags_is_known_by_its_debug_log(run: Path) -> None:
    made = segment(run.parent / "wandb", written_ns=BEGAN - SECOND)
    os.utime(made / "logs" / "debug-internal.log", ns=(BEGAN, BEGAN))
    assert candidate_segments(Found(run.parent / "wandb", ""), run, BEGAN) == [made]


def test_a_configured_run_id_decides_whatever_the_times(run: Path) -> None:
    shared = run.parent / "wandb"
    mine = segment(shared, "run-20250101_000000-abc", written_ns=SECOND)
    segment(shared, "run-20260102_000000-other")
    assert candidate_segments(Found(shared, ""), run, BEGAN, run_id="abc") == [mine]


def test_the_run_id_is_read_from_the_log_and_not_from_the_directory(tmp_path: Path) -> None:
    made = tmp_path / "run-20260101_000000-my-run-1"
    made.mkdir()
    assert segment_run_id(made) is None
    (made / "run-my-run.wandb.syncstate").touch()
    (made / "run-my-run.wandb").touch()
    assert segment_run_id(made) == "my-run"
    assert segment_run_id(tmp_path / "gone") is None


def test_a_directory_that_is_gone_has_no_segments(run: Path) -> None:
    assert candidate_segments(Found(run / "wandb", ""), run, BEGAN) == []
