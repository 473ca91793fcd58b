"""The page of commands names every command, option and JSON key that there is."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from resume_daemon.cli import app
from resume_daemon.lock import RunLock
from tests.checkpoints import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.conftest import Any as Parameter

_NAMED = {"files", "curriculum"}
"""Objects in a snapshot whose keys are names of files."""


def commands(command: Any, name: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield every command's name and its parameters; the program itself is named ``resume-daemon``."""
    yield name or "resume-daemon", command.params
    for each, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {each}".strip())


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def sections(repository: Path) -> dict[str, str]:
    """Return the page's sections by the command in their heading."""
    page = (repository / "docs" / "commands.md").read_text(encoding="utf-8")
    parts = re.split(r"^##+ `(.+?)`.*$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_page_has_a_section_for_every_command_and_for_nothing_else(
    sections: dict[str, str],
) -> None:
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    assert set(sections) == set(COMMANDS) - groups


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_and_argument_of_a_command_stands_in_its_section(
    sections: dict[str, str], command: str
) -> None:
    if command not in sections:
        return  # A group, whose commands have sections of their own.
    section = sections[command]
    for parameter in COMMANDS[command]:
        spelt = [*parameter.opts, *parameter.secondary_opts]
        names = spelt if spelt[0].startswith("-") else [parameter.metavar]
        for name in names:
            if name != "--help":
                assert re.search(rf"`[^`]*{re.escape(name)}\b[^`]*`", section), (command, name)


def keys(value: Any) -> set[str]:
    """Return every key of a JSON document that is no name of a file."""
    if isinstance(value, list):
        return {key for each in value for key in keys(each)}
    if not isinstance(value, dict):
        return set()
    found = set(value)
    for key, inner in value.items():
        of_names = key in _NAMED and isinstance(inner, dict)
        for each in inner.values() if of_names else (inner,):
            found |= keys(each)
    return found


@pytest.mark.parametrize(
    "command",
    ["verify", "status", "alerts list", "ledger verify", "ledger show", "snapshots list",
     "snapshots show", "snapshots diff", "explain", "config check"],
)
def test_every_json_key_that_a_command_prints_stands_in_its_section(
    sections: dict[str, str], command: str, watched_run: Path, tmp_path: Path
) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--json", *_arguments(command, watched_run, tmp_path)])
    printed = keys(json.loads(shown.stdout))
    if command == "ledger show":
        printed = {"schema", "records"}  # The kinds' own keys are the ledger's, with a page of theirs.
    named = set(re.findall(r"`\"?([a-z_]+)\"?`", sections[command]))
    assert printed - named == set()
