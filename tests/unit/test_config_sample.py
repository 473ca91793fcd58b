from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from resume_daemon.config import sample
from resume_daemon.config.load import load_settings
from resume_daemon.config.reload import NEEDS_RESTART
from resume_daemon.config.schema import SINKS, section_of, walk
from resume_daemon.config.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

GENERATED = ["config.example.yaml", "docs/configuration.md"]


@pytest.mark.parametrize("name", GENERATED)
def test_the_generated_files_are_current(repository: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "docs").mkdir()
    sample.write(tmp_path)
    current = (repository / name).read_text()
    assert current == (tmp_path / name).read_text(), "run `make docs`"


def test_the_sample_loads_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sample.yaml"
    path.write_text(sample.sample())
    assert load_settings(path) == Settings()


def test_the_sample_holds_every_setting(tmp_path: Path) -> None:
    written = yaml.safe_load(sample.sample())
    for path, field in walk():
        value = written
        for part in path.split("."):
            assert part in value, path
            value = value[part]
        if not section_of(field):
            assert yaml.safe_load(yaml.safe_dump(value)) == value


def test_the_sinks_of_the_sample_load_once_they_are_uncommented(tmp_path: Path) -> None:
    text = re.sub(r"^  sinks: \[\]$", "  sinks:", sample.sample(), flags=re.MULTILINE)
    path = tmp_path / "sample.yaml"
    path.write_text(re.sub(r"^  #(-| ) (?= ?[a-z_]+: )", r"  \1 ", text, flags=re.MULTILINE))
    assert {sink.type for sink in load_settings(path).alerts.sinks} == set(SINKS)


def test_no_line_of_the_sample_is_too_long_for_a_terminal() -> None:
    assert max(map(len, sample.sample().splitlines())) <= 100


def test_the_reference_page_names_every_setting_and_what_needs_a_restart() -> None:
    page = sample.reference()
    for path, field in walk():
        if section_of(field):
            continue
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{path}` |")]
        assert row.endswith("| restart |" if path in NEEDS_RESTART else "| at once |")
    for model in SINKS.values():
        for name in model.model_fields:
            assert f"| `alerts.sinks[].{name}` |" in page


def test_the_editor_schema_knows_every_key_and_refuses_others() -> None:
    schema = sample.json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["properties"]) == set(Settings.model_fields)
    definitions = [schema, *schema["$defs"].values()]
    assert all(definition["additionalProperties"] is False for definition in definitions)
    for definition in definitions:
        for name, value in definition["properties"].items():
            assert "description" in value or "$ref" in value, name


def test_the_module_prints_the_sample_and_writes_only_when_asked(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    command = [sys.executable, "-m", "resume_daemon.config.sample"]
    environment = {"PYTHONPATH": str(repository)}
    printed = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert printed.stdout == sample.sample()
    assert not (tmp_path / GENERATED[0]).exists()
    subprocess.run([*command, "--write"], cwd=tmp_path, env=environment, check=True)
    assert all((tmp_path / name).read_text() for name in GENERATED)
