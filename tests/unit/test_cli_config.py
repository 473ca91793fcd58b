"""``config`` and ``explain``: what needs no run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import CliRunner, Result

from resume_daemon import catalog
from resume_daemon.cli import app

if TYPE_CHECKING:
    from pathlib import Path

WRONG = """\
run: /data/run
watch:
  settle_seconds: soon
  rescan_second: 3
verify: {workers: 0}
"""


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG, encoding="utf-8")
    return path


def test_everything_that_is_wrong_is_said_at_once_and_once_with_its_line(wrong: Path) -> None:
    for command in (("config", "check"), ("config", "show"), ("run", "--config")):
        result = invoke(*command, wrong)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines() == [
            f"Error: Cannot use the configuration {wrong}: 3 settings are wrong:",
            "  line 3: watch.settle_seconds must be a number; it is 'soon'",
            "  line 4: watch.rescan_second is not a setting; did you mean rescan_seconds?",
            "  line 5: verify.workers must be at least 1; it is 0.",
        ]


def test_a_check_as_json_has_every_problem_and_the_same_status(wrong: Path) -> None:
    result = invoke("config", "check", "--json", wrong)
    assert (result.exit_code, result.stderr) == (2, "")
    found = [(p["line"], p["path"]) for p in json.loads(result.stdout)["problems"]]
    expected = [(3, "watch.settle_seconds"), (4, "watch.rescan_second"), (5, "verify.workers")]
    assert found == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"run: [open\n  x: :\n", "line 2: this is not YAML"),
        (b"\xff\xfe", "it is not UTF-8 text (byte 0 cannot be read)"),
        (b"- a list\n", "line 1: the file must hold keys and values"),
        (b"run: !!python/name:os.system x\n", "line 1: run has the tag"),
    ],
)
def test_what_is_no_configuration_is_told_in_one_sentence(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    result = invoke("config", "check", path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: Cannot use the configuration {path}: {sentence}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["nope.yaml", "."])
def test_a_file_that_is_not_there_or_no_file_is_wrong_usage(tmp_path: Path, name: str) -> None:
    result = invoke("config", "check", tmp_path / name)
    assert result.exit_code == 2
    assert str(tmp_path / name) in result.stderr


def test_init_writes_a_file_that_is_fine_and_never_writes_over_one(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert invoke("config", "init", path).stdout == f"wrote {path}\n"
    assert invoke("config", "check", path).stdout == f"{path}: fine\n"
    path.write_text("run: /mine\n", encoding="utf-8")
    again = invoke("config", "init", path)
    assert again.exit_code == 2
    assert "it exists already. Name another file" in again.stderr
    assert path.read_text() == "run: /mine\n"


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    result = invoke("config", "init", tmp_path / "nowhere" / "config.yaml")
    assert result.exit_code == 2
    assert str(tmp_path / "nowhere" / "config.yaml") in result.stderr


def test_show_prints_every_setting_with_the_value_that_holds(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("watch: {settle_seconds: 7}\n", encoding="utf-8")
    assert yaml.safe_load(invoke("config", "show", path).stdout)["watch"]["settle_seconds"] == 7
    defaults = yaml.safe_load(invoke("config", "show").stdout)
    assert defaults["watch"]["settle_seconds"] == 2
    assert defaults["verify"]["depth"] == "deep"


def test_the_schema_for_editors_is_json() -> None:
    schema = json.loads(invoke("config", "schema").stdout)
    assert {"run", "watch", "alerts"} <= set(schema["properties"])


@pytest.mark.parametrize("name", ["RD212", "rd212", " RD212 "])
def test_explain_tells_what_a_code_means_and_what_to_do(name: str) -> None:
    result = invoke("explain", name)
    code = catalog.codes()["RD212"]
    assert result.exit_code == 0
    assert result.stdout.startswith(f"RD212 {code.name} ({code.severity.value})\n{code.title}\n")
    assert f"\nWhat to do: {code.action}\n" in result.stdout


def test_explain_takes_a_name_and_lists_everything_without_one() -> None:
    assert invoke("explain", "checkpoint-unsound").stdout.startswith("RD701 ")
    listed = invoke("explain").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(catalog.codes())
    ids = [c["id"] for c in json.loads(invoke("explain", "--json").stdout)["codes"]]
    assert ids == list(catalog.codes())


def test_a_code_that_there_is_not_is_wrong_usage() -> None:
    result = invoke("explain", "RD999", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    expected = "Error: Cannot explain RD999: there is no such code. `resume-daemon explain` lists"
    assert result.stderr.startswith(expected)
