from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from resume_daemon.errors import ResumeDaemonError, UsageError, VanishedError
from resume_daemon.state_directory import (
    SIDECAR,
    StateDirectory,
    choose_state_directory,
    find_state_directory,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    return run


@pytest.fixture
def closed(run: Path) -> Path:
    """A run in which no sidecar can be made, not even by root: its place is taken by a file."""
    (run / SIDECAR).write_text("in the way")
    return run


def everything_below(path: Path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*")}


def test_the_sidecar_is_beside_the_run_and_nothing_else_is_left_there(run: Path) -> None:
    chosen = choose_state_directory(run, None, {"STATE_DIRECTORY": "/nowhere", "HOME": "/nowhere"})
    assert chosen.path == run / SIDECAR
    assert everything_below(run) == {SIDECAR}


def test_choosing_twice_is_choosing_once(run: Path) -> None:
    first = choose_state_directory(run, None, {})
    first.prepare()
    assert choose_state_directory(run, None, {}) == first


def test_a_configured_directory_wins_and_gives_each_run_its_own(tmp_path: Path) -> None:
    paths = set()
    for parent in "ab":
        run = tmp_path / parent / "run"
        run.mkdir(parents=True)
        chosen = choose_state_directory(run, tmp_path / "state", {"HOME": str(tmp_path)})
        assert chosen.path.parent == tmp_path / "state"
        assert chosen.path.name.startswith("run-")
        assert len(chosen.path.name) == len("run-") + 8
        assert everything_below(run) == set()
        paths.add(chosen.path)
    assert len(paths) == 2


def test_a_run_has_one_name_by_whatever_path_it_is_reached(run: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to(run)
    state = tmp_path / "state"
    assert (
        choose_state_directory(link, state, {}).path == choose_state_directory(run, state, {}).path
    )


def test_a_configured_directory_that_cannot_be_written_is_an_error_and_no_other_is_taken(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"Not a directory.*change state_dir"):
        choose_state_directory(run, tmp_path / "file" / "state", {"HOME": str(tmp_path)})
    assert everything_below(run) == set()


def test_a_configured_directory_needs_no_run_yet(tmp_path: Path) -> None:
    chosen = choose_state_directory(tmp_path / "later", tmp_path / "state", {})
    assert chosen.path.is_dir()
    assert not (tmp_path / "later").exists()


def test_a_run_that_is_not_there_is_waited_for_and_never_made(tmp_path: Path) -> None:
    with pytest.raises(VanishedError, match="the run directory is not there"):
        choose_state_directory(tmp_path / "later", None, {"HOME": str(tmp_path)})
    assert everything_below(tmp_path) == set()


def test_a_service_keeps_state_in_its_first_state_directory_when_the_run_is_closed(
    closed: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "var" / "first", tmp_path / "var" / "second"
    environ = {"STATE_DIRECTORY": f"{first}:{second}", "XDG_STATE_HOME": str(tmp_path / "xdg")}
    chosen = choose_state_directory(closed, None, environ)
    assert chosen.path.parent == first
    assert str(closed / SIDECAR) in chosen.reason
    assert "File exists" in chosen.reason


def test_a_user_keeps_state_in_the_xdg_state_home(closed: Path, tmp_path: Path) -> None:
    xdg, home = tmp_path / "xdg", tmp_path / "home"
    both = {"XDG_STATE_HOME": str(xdg), "HOME": str(home)}
    assert choose_state_directory(closed, None, both).path.parent == xdg / "resume_daemon"
    relative = {"XDG_STATE_HOME": "xdg", "HOME": str(home)}
    for environ in (relative, {"HOME": str(home)}):
        path = choose_state_directory(closed, None, environ).path
        assert path.parent == home / ".local" / "state" / "resume_daemon"


def test_a_place_that_cannot_be_written_gives_way_to_the_next(closed: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    environ = {"STATE_DIRECTORY": str(blocked), "HOME": str(tmp_path / "home")}
    chosen = choose_state_directory(closed, None, environ)
    assert chosen.path.is_relative_to(tmp_path / "home")
    assert str(blocked) in chosen.reason


def test_where_nothing_can_be_written_every_obstacle_is_named(closed: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with pytest.raises(ResumeDaemonError, match="Name a writable state_dir") as error:
        choose_state_directory(closed, None, {"HOME": str(blocked)})
    assert str(closed / SIDECAR) in error.value.reason
    assert str(blocked) in error.value.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_of_another_user_is_left_alone(run: Path, tmp_path: Path) -> None:
    run.chmod(0o500)
    chosen = choose_state_directory(run, None, {"HOME": str(tmp_path)})
    assert "Permission denied" in chosen.reason
    assert chosen.path.is_relative_to(tmp_path / ".local")


def test_finding_makes_nothing_and_finds_nothing_in_a_run_never_watched(
    run: Path, tmp_path: Path
) -> None:
    environ = {"HOME": str(tmp_path)}
    assert find_state_directory(run, None, environ) is None
    assert find_state_directory(run, tmp_path / "state", environ) is None
    assert find_state_directory(tmp_path / "no", None, environ) is None
    assert everything_below(tmp_path) == {"run"}


@pytest.mark.parametrize(
    "variables", [{"HOME": "home"}, {"XDG_STATE_HOME": "xdg"}, {"STATE_DIRECTORY": "one:two"}]
)
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("configured", [False, True])
def test_what_was_chosen_is_found(
    run: Path, tmp_path: Path, variables: dict[str, str], *, blocked: bool, configured: bool
) -> None:
    environ = {key: f"{tmp_path}/{value}" for key, value in variables.items()}
    if blocked:
        (run / SIDECAR).write_text("in the way")
    state = tmp_path / "configured" if configured else None
    chosen = choose_state_directory(run, state, environ)
    found = find_state_directory(run, state, environ)
    assert found is not None
    assert found.path == chosen.path


def test_of_two_places_the_one_whose_ledger_changed_last_is_current(
    run: Path, tmp_path: Path
) -> None:
    environ = {"HOME": str(tmp_path)}
    (run / SIDECAR).write_text("in the way")
    elsewhere = choose_state_directory(run, None, environ)
    (run / SIDECAR).unlink()
    beside = choose_state_directory(run, None, environ)
    assert find_state_directory(run, None, environ) == beside
    elsewhere.ledger.touch()
    found = find_state_directory(run, None, environ)
    assert found is not None
    assert found.path == elsewhere.path
    beside.ledger.touch()
    os.utime(elsewhere.ledger, ns=(1, 1))
    assert find_state_directory(run, None, environ) == beside


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, "a test")
    names = {
        state.ledger: "ledger.jsonl",
        state.manifests: "manifests",
        state.snapshots: "snapshots",
        state.curriculum: "curriculum",
        state.quarantine: "quarantine",
        state.resume_env: "resume.env",
        state.lock: "lock",
        state.index: "index.db",
    }
    assert {path.relative_to(tmp_path).as_posix(): name for path, name in names.items()} == {
        name: name for name in names.values()
    }


def test_a_prepared_directory_explains_itself_and_is_never_committed(run: Path) -> None:
    state = choose_state_directory(run, None, {})
    state.prepare()
    for directory in (state.manifests, state.snapshots, state.curriculum, state.quarantine):
        assert directory.is_dir()
    assert (state.path / ".gitignore").read_text() == "*\n"
    assert len((state.path / "README.txt").read_text().splitlines()) == 3


def test_preparing_again_keeps_what_people_changed(run: Path) -> None:
    state = choose_state_directory(run, None, {})
    state.prepare()
    (state.path / ".gitignore").write_text("!ledger.jsonl\n")
    state.prepare()
    assert (state.path / ".gitignore").read_text() == "!ledger.jsonl\n"


def test_a_directory_that_cannot_be_prepared_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResumeDaemonError, match="prepare the state directory"):
        StateDirectory(tmp_path / "file" / "state", "a test").prepare()


def test_a_full_disk_does_not_move_a_run_that_has_a_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / ".resume_daemon").mkdir(parents=True)
    (run / ".resume_daemon" / "ledger.jsonl").touch()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # The outermost edge: a file system that refuses the probe's bytes.
    monkeypatch.setattr("resume_daemon.state_directory.write_all", full)
    chosen = choose_state_directory(run, None, {"HOME": str(tmp_path / "home")})
    assert chosen.path == run / ".resume_daemon"
    assert "full" in chosen.reason
