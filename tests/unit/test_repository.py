from __future__ import annotations

import re
import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from pathlib import Path


def make(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=repository,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )


def requirements(repository: Path, extra: str = "") -> list[str]:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [re.split(r"[<>=[]", requirement)[0] for requirement in wanted]


def test_make_alone_lists_every_target(repository: Path) -> None:
    done = make(repository)
    phony = re.search(r"^\.PHONY: (.*)$", (repository / "Makefile").read_text(), re.MULTILINE)
    assert phony
    listed = re.findall(r"^  make (\S+) +\S", done.stdout, re.MULTILINE)
    assert listed == phony[1].split()


def test_run_without_a_run_says_how_to_name_one(repository: Path) -> None:
    # -o: the environment that the target would make first is taken for made.
    done = make(repository, "-o", ".venv/.core", "run")
    assert done.returncode != 0
    assert "make run RUN=" in done.stderr


@pytest.mark.parametrize(
    ("python", "expected"),
    [("no-such-python", "There is no no-such-python"), ("./old", "3.11 or newer is needed")],
)
def test_a_python_that_is_missing_or_too_old_is_said_to_be(
    repository: Path, tmp_path: Path, python: str, expected: str
) -> None:
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_text((repository / name).read_text())
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\ntest "$1" = --version && echo Python 3.9.2 && exit\nexit 1\n')
    old.chmod(0o755)
    done = make(tmp_path, f"PYTHON={python}", ".venv/.core")
    assert done.returncode != 0
    assert expected in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_is_a_script_that_stops_at_the_first_failure(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_hooks_are_local_and_run_the_tools_of_the_environment(repository: Path) -> None:
    configuration = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())
    for source in configuration["repos"]:
        assert source["repo"] == "local"
        for hook in source["hooks"]:
            assert hook["language"] == "system"
            assert hook["entry"].startswith(".venv/bin/")


def test_every_dependency_has_its_reason_on_record(repository: Path) -> None:
    page = (repository / "docs" / "decisions" / "0002-dependencies.md").read_text()
    for name in requirements(repository):
        assert re.search(rf"^\*\*.*\b{name}\b.*\*\*", page, re.MULTILINE), name
    for name in requirements(repository, "real") + requirements(repository, "test"):
        assert name in page, name


def test_decisions_are_numbered_without_gaps(repository: Path) -> None:
    names = sorted(path.name for path in (repository / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_the_places_that_contributing_names_exist(repository: Path) -> None:
    text = (repository / "CONTRIBUTING.md").read_text()
    places = re.findall(r"`((?:resume_daemon|docs|tests|benchmarks)/[a-z_/.]*)`", text)
    assert places
    for place in places:
        assert (repository / place).exists(), place
