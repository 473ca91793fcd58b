"""How commands end, seen from a shell: exit status, streams, closed pipes, Ctrl-C."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from resume_daemon import __version__
from resume_daemon.cli import app
from resume_daemon.cli.ending import FAILED, INTERRUPTED, PIPE_CLOSED, WRONG_USAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = (sys.executable, "-m", "resume_daemon")


def run(arguments: Sequence[str | Path], **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_program_is_called_by_its_name_however_it_is_started() -> None:
    assert run(["--version"]).stdout == f"resume-daemon {__version__}\n"
    assert run(["verify", "--help"]).stdout.startswith("Usage: resume-daemon verify ")


@pytest.mark.parametrize("arguments", [["bogus"], ["verify"], ["verify", "--bogus", "x"], ["run"]])
def test_wrong_usage_ends_with_2_and_leaves_stdout_empty(arguments: list[str]) -> None:
    ended = run(arguments)
    assert (ended.returncode, ended.stdout) == (WRONG_USAGE, "")
    assert "Error: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_names_every_command_with_a_whole_sentence_in_80_columns() -> None:
    for group in ([], ["ledger"], ["snapshots"], ["config"], ["alerts"]):
        shown = run([*group, "--help"], COLUMNS="80").stdout
        assert "..." not in shown.partition("Commands:")[2]


def test_a_closed_pipe_is_no_traceback_and_no_success(watched_run: Path) -> None:
    # The second is so short that it is still in Python's buffer when the command returns.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    short = ["ledger", "export", watched_run, "--kind", "tracker"]
    for arguments in (["explain"], short):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as closed:
            ended = subprocess.run(
                [*COMMAND, *map(str, arguments)],
                env=environ,
                stdout=closed,
                stderr=subprocess.PIPE,
                timeout=30,
                check=False,
            )
        assert (ended.returncode, ended.stderr) == (PIPE_CLOSED, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_one_sentence(watched_run: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*COMMAND, "status", "--json", str(watched_run)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert ended.returncode == FAILED
    assert ended.stderr.startswith("Error: Cannot finish: No space left on device.")
    assert ended.stderr.count("\n") == 1


def test_interrupting_a_watched_status_ends_with_130_and_no_traceback(watched_run: Path) -> None:
    process, terminal = pty.fork()
    if process == 0:  # pragma: no cover - the child becomes the program
        # A shell starts what is in the background deaf to SIGINT, and children inherit that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ.update(COLUMNS="80", LINES="24")
        arguments = [*COMMAND, "status", "--watch", str(watched_run)]
        os.execv(sys.executable, arguments)  # noqa: S606 - no shell is wanted
    shown = b""
    while b"resume from checkpoint-10" not in shown:
        shown += os.read(terminal, 65536)
    os.kill(process, signal.SIGINT)
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:
        pass  # How a pseudo-terminal says that its other side was closed.
    finally:
        os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == INTERRUPTED
    assert b"checkpoint-15  " in shown  # No column was squeezed for the long reason.
    assert b"Traceback" not in shown


def test_an_error_that_no_command_foresaw_is_a_sentence_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "secret"))

    monkeypatch.setattr("resume_daemon.config.load.read_bounded", lambda *_: denied(_))
    result = CliRunner().invoke(app, ["config", "check", str(tmp_path / "config.yaml")])
    assert result.exit_code == FAILED
    expected = f"Error: Cannot use {tmp_path / 'secret'}: Permission denied. Give this user"
    assert result.stderr.startswith(expected)


def test_names_that_are_no_text_are_written_and_not_a_traceback(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/no\xfftext")
    ended = subprocess.run(
        [*COMMAND, "config", "init", name], capture_output=True, timeout=30, check=False
    )
    assert ended.returncode == 0
    assert ended.stdout == b"wrote " + os.fsencode(tmp_path) + b"/no\\udcfftext\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_for_the_installed_command(shell: str) -> None:
    # typer asks which shell started it, and takes the name that is given only where it must not.
    script = run(
        ["--show-completion", shell], _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    ).stdout
    assert f"_RESUME_DAEMON_COMPLETE=complete_{shell}" in script
    assert "python" not in script


def test_completion_offers_commands_and_options() -> None:
    def offered(words: str, position: int) -> list[str]:
        asked = {"_RESUME_DAEMON_COMPLETE": "complete_bash", "COMP_WORDS": words}
        return run([], **asked, COMP_CWORD=str(position)).stdout.split()

    assert offered("resume-daemon ver", 1) == ["verify"]
    assert offered("resume-daemon ledger ", 2) == ["show", "verify", "export", "rebuild"]
    assert offered("resume-daemon ledger show --k", 3) == ["--kind"]
