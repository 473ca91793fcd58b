"""The page of commands names every command, option and JSON key that there is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from resume_daemon.cli import app
from resume_daemon.lock import RunLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = "max_prompt_length: 3\nmax_completion_length: 2\nmax_seq_length: 4\n"

NAMES = {"files", "curriculum"}
"""Objects whose keys are names of files."""

ARGUMENTS = {
    "verify": ["{run}/checkpoint-10", "--against", "{run}/checkpoint-5"],
    "status": ["{run}"],
    "params": ["{run}", "--config", "{long}", "--auto-fix", "--state-dir", "{state}"],
    "alerts list": ["{run}"],
    "ledger verify": ["{run}"],
    "snapshots list": ["{run}"],
    "snapshots show": ["{run}", "checkpoint-10"],
    "snapshots diff": ["{run}", "checkpoint-5", "checkpoint-10"],
    "report": ["{run}"],
    "doctor": ["{run}", "--code", "{code}"],
    "cleanup": ["{run}"],
    "repair": ["{run}"],
    "backup": ["{run}", "--to", "{disk}", "--checkpoint", "checkpoint-10"],
    "restore": ["{elsewhere}", "checkpoint-10", "--from", "{kept}"],
    "curriculum": ["{run}", "--restore", "checkpoint-5"],
    "explain": [],
    "config check": ["{wrong}"],
}
"""What each command that prints JSON is given, so that no part of its document is empty.

``ledger show`` is left out: its records are the ledger's, with as many keys as there are kinds.
"""


def commands(command: Any, name: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield the name and the parameters of every command; a group has none of its own."""
    inner = getattr(command, "commands", {})
    if not inner or not name:
        yield name or "resume-daemon", command.params
    for each in inner:
        yield from commands(inner[each], f"{name} {each}".strip())


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def sections(repository: Path) -> dict[str, str]:
    page = (repository / "docs" / "commands.md").read_text(encoding="utf-8")
    parts = re.split(r"^##+ (.+)$", page, flags=re.MULTILINE)
    return {head.strip("`"): body for head, body in zip(parts[1::2], parts[2::2], strict=True)}


def code_in(text: str) -> str:
    """Return what stands between backticks, outside of examples."""
    return "\n".join(re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```$", "", text)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_section_that_names_its_options_and_arguments(
    sections: dict[str, str], command: str
) -> None:
    named = code_in(sections[command])
    for parameter in COMMANDS[command]:
        spellings = [*parameter.opts, *parameter.secondary_opts]
        if not spellings[0].startswith("-"):
            spellings = [parameter.metavar]
        for spelling in spellings:
            assert re.search(rf"(?m)(^|\s){re.escape(spelling)}(\s|$)", named), spelling


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "resume-daemon"])
def test_every_section_has_an_example_and_the_exit_status(
    sections: dict[str, str], command: str
) -> None:
    assert f"$ resume-daemon {command}" in sections[command]
    assert re.search(r"Exit\sstatus:", sections[command])


def test_the_page_speaks_of_no_option_that_is_gone(sections: dict[str, str]) -> None:
    known = {
        spelling
        for parameters in COMMANDS.values()
        for parameter in parameters
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help", "-h"}
    spoken = {
        option for text in sections.values() for option in re.findall(r"(?<=`)--?[a-z-]+", text)
    }
    assert spoken <= known


@pytest.mark.parametrize("command", ARGUMENTS)
def test_every_json_key_that_a_command_prints_stands_in_its_section(
    sections: dict[str, str], command: str, watched_run: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("bogus: 1\n", encoding="utf-8")
    places = {"run": watched_run, "wrong": wrong, "state": tmp_path / "state"}
    places["long"] = tmp_path / "long.yaml"
    places["long"].write_text(LONG, encoding="utf-8")
    places["code"] = tmp_path / "code.py"
    places["code"].write_text("", encoding="utf-8")
    for name in ("kept", "disk", "elsewhere"):
        places[name] = tmp_path / name
        places[name].mkdir()
    if "{kept}" in ARGUMENTS[command]:
        CliRunner().invoke(app, ["backup", str(watched_run), "--to", str(places["kept"])])
    arguments = [each.format(**places) for each in ARGUMENTS[command]]
    with RunLock(watched_run / ".resume_daemon" / "lock"):
        printed = CliRunner().invoke(app, [*command.split(), "--json", *arguments]).stdout
    document = json.loads(printed)
    unnamed = keys_of(document) - set(re.findall(r"\w+", code_in(sections[command])))
    assert unnamed == set()
    assert document["schema"] == 1


def keys_of(value: Any) -> set[str]:
    """Return every key of a document, but those that are names of files."""
    if isinstance(value, list):
        return set().union(*(keys_of(each) for each in value))
    if not isinstance(value, dict):
        return set()
    found = set(value)
    for key, inner in value.items():
        named = key in NAMES and isinstance(inner, dict)
        found |= keys_of(list(inner.values()) if named else inner)
    return found
