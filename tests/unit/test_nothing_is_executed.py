"""No command runs, imports or unpickles anything of the user's: everything here would leave a mark.

The run, its code, its launch script, its configuration and the trainer's environment are as real
ones are, and whichever of them is imported, started, sourced or loaded makes a file.
"""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = (sys.executable, "-m", "resume_daemon")

CODE = """\
{mark}
from dataclasses import dataclass


@dataclass
class ScriptConfig:
    max_seq_length: int = 4096
    max_prompt_length: int = 1536
    max_completion_length: int = 2561
    seed: int = (lambda: open({path!r}, "w").close() or 7)()


class CurriculumManager:
    {mark}
    stages = [{{"name": "easy"}}, {{"name": "hard"}}]

    def get_current_stage_dataset(self): return self.stages
    def should_advance_stage(self): return False
    def advance_to_next_stage(self): pass
    def save_state(self, path): pass
    def load_state(self, path): pass
"""

SCRIPT = """\
#!/bin/bash
touch {mark}
SEED=$(touch {mark}; echo 7)
export LR=`touch {mark}; echo 1e-5`
python train.py --seed "$SEED" --learning_rate "$LR" --max_completion_length 2561
"""


class Marks:
    """Unpickled, it makes the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {shlex.quote(str(self._path))}",))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a directory with all of it; whatever runs makes ``it ran`` in it."""
    mark = tmp_path / "it ran"
    quoted = shlex.quote(str(mark))
    run = tmp_path / "run"
    for step in (10, 20):
        write_checkpoint(run, step)
    newest = run / "checkpoint-20"
    (newest / "training_args.bin").write_bytes(pickle.dumps(Marks(mark)))
    with zipfile.ZipFile(newest / "rng_state.pth", "w") as archive:
        archive.writestr("rng_state/data.pkl", pickle.dumps(Marks(mark), protocol=2))
        archive.writestr("rng_state/version", "3\n")
    statement = f"open({str(mark)!r}, 'w').close()"
    code = tmp_path / "code" / "configs"
    code.mkdir(parents=True)
    (code / "__init__.py").write_text(CODE.format(mark=statement, path=str(mark)), "utf-8")
    # Beside the run, where a command's own imports would find them first.
    for name in ("sitecustomize", "usercustomize", "transformers", "trl", "torch", "wandb"):
        (tmp_path / f"{name}.py").write_text(f"{statement}\n", "utf-8")
    (tmp_path / "train.sh").write_text(SCRIPT.format(mark=quoted), "utf-8")
    (tmp_path / "train.sh").chmod(0o755)
    (tmp_path / "train.env").write_text(f"SEED=$(touch {quoted})\n", "utf-8")
    (tmp_path / "train.yaml").write_text(
        f"max_completion_length: 2561\nx: !!python/object/apply:os.system ['touch {quoted}']\n",
        "utf-8",
    )
    (run / "curriculum_state_detailed.json").write_text(
        '{"current_stage": 1, "performance_history": [], "timestamp": "t"}', "utf-8"
    )
    environment = tmp_path / "venv"
    packages = environment / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "it.pth").write_text(f"import os; os.system('touch {quoted}')\n", "utf-8")
    (packages / "sitecustomize.py").write_text(f"{statement}\n", "utf-8")
    (environment / "bin").mkdir()
    (environment / "bin" / "python").write_text(f"#!/bin/sh\ntouch {quoted}\n", "utf-8")
    (environment / "bin" / "python").chmod(0o755)
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n", "utf-8")
    return tmp_path


COMMANDS = {
    "verify": ["verify", "run"],
    "run": ["run", "--once", "run"],
    "plan": ["plan", "run", "--degraded"],
    "env": ["env", "run", "--degraded"],
    "params": [
        *("params", "run", "--script", "train.sh", "--config", "train.yaml", "--code", "code"),
        *("--env-file", "train.env", "--python", "venv/bin/python", "--all"),
    ],
    "params of the dataclass": ["params", "run", "--code", "code/configs/__init__.py"],
    "params --auto-fix": ["params", "run", "--code", "code", "--script", "train.sh", "--auto-fix"],
    "doctor": ["doctor", "run", "--code", "code", "--python", "venv/bin/python", "--deep"],
    "doctor --preflight": ["doctor", "--preflight", "run"],
    "curriculum": ["curriculum", "run", "--code", "code"],
    "curriculum --create-fresh": [
        *("curriculum", "run", "--create-fresh", "--checkpoint", "checkpoint-20"),
        *("--code", "code", "--apply"),
    ],
    "curriculum --auto-fix": ["curriculum", "run", "--auto-fix", "--code", "code", "--apply"],
    "repair": ["repair", "run", "--apply"],
    "cleanup": ["cleanup", "run", "--root", "code", "--apply"],
    "report": ["report", "run", "--html", "report.html"],
    "snapshots": ["snapshots", "restore", "run", "checkpoint-20", "--apply"],
    "backup": ["backup", "run", "--checkpoint", "checkpoint-10", "--to", "backups"],
}


WATCHED = {"report", "snapshots"}
"""Those that need a daemon to have looked."""


def resume_daemon(home: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=home,
        # As the installed command: the directory that it is started in is not imported from.
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_of_the_users_runs(home: Path, name: str) -> None:
    if name in WATCHED:
        resume_daemon(home, COMMANDS["run"])
    done = resume_daemon(home, COMMANDS[name])
    assert "Traceback" not in done.stderr
    assert done.returncode in {0, 1}, done.stderr
    assert not (home / "it ran").exists()


def test_what_would_leave_a_mark_does_so_when_it_runs(home: Path) -> None:
    mark = home / "it ran"
    for start in (
        ["./train.sh"],
        ["venv/bin/python"],
        [sys.executable, "-S", "-c", "import sys; sys.path.insert(0, 'code'); import configs"],
        [
            sys.executable,
            "-c",
            "import pickle; pickle.load(open('run/checkpoint-20/training_args.bin', 'rb'))",
        ],
    ):
        subprocess.run(start, cwd=home, capture_output=True, check=False, timeout=50)
        assert mark.exists(), start
        mark.unlink()
