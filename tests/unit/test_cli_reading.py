"""The commands that read what a daemon has written: status, alerts, ledger, snapshots."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from resume_daemon.cli import app
from resume_daemon.lock import RunLock

if TYPE_CHECKING:
    from pathlib import Path

NEWEST_SOUND = "checkpoint-10"


def invoke(*arguments: str | Path, width: int = 80) -> Result:
    environ = {"COLUMNS": str(width), "LINES": "24"}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environ)


def shown(*arguments: str | Path) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def own_run(watched_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(watched_run, tmp_path / "run")


def test_status_shows_each_checkpoint_and_which_to_resume_from(watched_run: Path) -> None:
    result = invoke("status", watched_run)
    assert result.exit_code == 0
    rows = [re.split(r"  +", line.strip()) for line in result.stdout.splitlines()]
    found = {row[0]: row[1:3] for row in rows if row[0].startswith("checkpoint-")}
    assert found["checkpoint-5"] == ["sound", "0 @5"]
    assert found["checkpoint-10"] == ["sound", "1 @10"]
    assert found["checkpoint-15"] == ["unsound", "2 @15"]
    assert result.stdout.splitlines()[0] == "no daemon is watching now"
    assert result.stdout.splitlines()[-1] == f"resume from {NEWEST_SOUND}"


def test_a_table_keeps_whole_words_within_80_columns(watched_run: Path) -> None:
    for command in ("status", "snapshots list"):
        result = invoke(*command.split(), watched_run)
        table = result.stdout.split("\nRD7")[0]
        assert max(map(len, table.splitlines())) <= 80, table
    # The last column has room for the longest word of most sentences.
    assert "model.safetensors:" in invoke("status", watched_run).stdout


def test_status_as_json_says_the_same(watched_run: Path) -> None:
    status = shown("status", watched_run)
    rows = {row["checkpoint"]: row for row in status["checkpoints"]}
    assert [rows[name]["verdict"] for name in rows] == ["sound", "sound", "unsound"]
    assert rows["checkpoint-10"]["curriculum_step"] == 10
    assert status["newest_sound"] == NEWEST_SOUND
    assert status["daemon"] is None
    assert status["tracker_server"]["state"] == "crashed"
    codes = {each["code"] for each in status["conditions"]}
    assert {"RD701", "RD705"} <= codes
    assert all(each["since"].endswith("Z") for each in status["conditions"])


def test_status_names_the_daemon_that_watches(own_run: Path) -> None:
    with RunLock(own_run / ".resume_daemon" / "lock"):
        assert shown("status", own_run)["daemon"]["pid"] == os.getpid()
        assert f"daemon {os.getpid()} on" in invoke("status", own_run).stdout


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_watching_without_a_terminal_is_refused(watched_run: Path, option: list[str]) -> None:
    result = invoke("status", "--watch", *option, watched_run)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "needs a terminal" in result.stderr


def test_alerts_lists_what_fires_and_what_is_still_owed(watched_run: Path) -> None:
    listed = shown("alerts", "list", watched_run)
    firing = {each["code"] for each in listed["firing"]}
    assert {"RD701", "RD705"} <= firing
    owed = [{"sink": "pager", "condition": "run-unreadable", "state": "firing"}]
    assert listed["pending"] == owed
    text = invoke("alerts", "list", watched_run).stdout
    assert "RD705 error: The run was away." in text
    assert "to be delivered to pager: run-unreadable firing" in text


def test_a_whole_ledger_verifies_and_a_changed_one_fails_with_the_line(own_run: Path) -> None:
    ledger = own_run / ".resume_daemon" / "ledger.jsonl"
    whole = shown("ledger", "verify", own_run)
    assert whole["whole"] is True
    assert whole["records"] == len(ledger.read_text().splitlines())
    ledger.write_text(ledger.read_text().replace('"unsound"', '"sound"', 1))
    result = invoke("ledger", "verify", "--json", own_run)
    assert result.exit_code == 1
    broken = json.loads(result.stdout)
    assert broken["whole"] is False
    assert broken["break"]["line"] > 1
    text = invoke("ledger", "verify", own_run)
    assert text.exit_code == 1
    assert f"{ledger}: broken at line {broken['break']['line']} " in text.stdout


def test_a_ledger_that_is_damaged_stops_a_command_with_1_and_the_next_step(own_run: Path) -> None:
    ledger = own_run / ".resume_daemon" / "ledger.jsonl"
    ledger.write_text("no record\n" + ledger.read_text())
    result = invoke("status", "--json", own_run)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert str(ledger) in result.stderr
    assert "Run `resume-daemon ledger verify`" in result.stderr


def test_ledger_show_prints_the_newest_records_of_a_kind(watched_run: Path) -> None:
    lines = invoke("ledger", "show", watched_run, "--kind", "verdict").stdout.splitlines()
    assert [line.split()[3] for line in lines] == ["verdict"] * 3
    last = shown("ledger", "show", watched_run, "--kind", "verdict", "--last", "1")["records"]
    assert [record["checkpoint"] for record in last] == ["checkpoint-15"]
    every = shown("ledger", "show", watched_run, "--last", "0")["records"]
    assert [record["seq"] for record in every] == list(range(1, len(every) + 1))


def test_a_kind_that_no_record_has_is_answered_with_those_that_there_are(
    watched_run: Path,
) -> None:
    result = invoke("ledger", "show", watched_run, "--kind", "verdicts")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "No record is of kind verdicts; there are: condition, curriculum" in result.stderr


def test_a_negative_number_of_records_is_wrong_usage(watched_run: Path) -> None:
    assert invoke("ledger", "show", watched_run, "--last", "-1").exit_code == 2


def test_the_export_has_every_record_in_either_format(watched_run: Path) -> None:
    lines = invoke("ledger", "export", watched_run).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    written = (watched_run / ".resume_daemon" / "ledger.jsonl").read_text().splitlines()
    assert [record["prev"] for record in records] == [json.loads(w)["prev"] for w in written]
    rows = list(
        csv.DictReader(StringIO(invoke("ledger", "export", watched_run, "--format", "csv").stdout))
    )
    assert [int(row["seq"]) for row in rows] == [record["seq"] for record in records]
    assert {name for row in rows for name in row} == {key for r in records for key in r}


def test_an_unknown_export_format_is_wrong_usage(watched_run: Path) -> None:
    result = invoke("ledger", "export", watched_run, "--format", "xml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Use jsonl or csv" in result.stderr


def test_the_index_is_made_anew_from_the_ledger(own_run: Path) -> None:
    result = invoke("ledger", "rebuild", own_run)
    assert result.exit_code == 0
    assert (own_run / ".resume_daemon" / "index.db").is_file()
    count = shown("ledger", "verify", own_run)["records"]
    assert result.stdout == f"index rebuilt: {count} records\n"


def test_an_index_url_that_is_none_is_wrong_usage(watched_run: Path) -> None:
    result = invoke("ledger", "rebuild", watched_run, "--url", "bogus")
    assert result.exit_code != 0
    assert result.stderr.startswith("Error: ")


def test_snapshots_are_listed_by_step_with_their_curriculum(watched_run: Path) -> None:
    listed = shown("snapshots", "list", watched_run)
    assert [s["step"] for s in listed["snapshots"]] == [5, 10, 15]
    curriculum = [s["curriculum"]["curriculum_state_detailed.json"] for s in listed["snapshots"]]
    assert [each["step"] for each in curriculum] == [5, 10, 15]
    lines = invoke("snapshots", "list", watched_run).stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [f"checkpoint-{n}" for n in (5, 10, 15)]


def test_a_damaged_snapshot_fails_and_the_others_are_still_listed(own_run: Path) -> None:
    snapshot = own_run / ".resume_daemon" / "snapshots" / "checkpoint-10"
    (snapshot / "config.json").write_text("{}")
    result = invoke("snapshots", "list", "--json", own_run)
    assert result.exit_code == 1
    listed = json.loads(result.stdout)
    assert [s["step"] for s in listed["snapshots"]] == [5, 15]
    assert [e["path"] for e in listed["errors"]] == [str(snapshot)]
    assert invoke("snapshots", "show", own_run, "checkpoint-10").exit_code == 1


def test_a_snapshot_shows_its_files(watched_run: Path) -> None:
    assert shown("snapshots", "show", watched_run, "checkpoint-5")["step"] == 5
    text = invoke("snapshots", "show", watched_run, "checkpoint-5").stdout
    assert "trainer_state.json" in text
    assert "curriculum/curriculum_state_detailed.json" in text


def test_a_snapshot_that_is_not_there_is_answered_with_those_that_are(watched_run: Path) -> None:
    result = invoke("snapshots", "show", watched_run, "checkpoint-6")
    assert result.exit_code == 2
    assert "There are: checkpoint-5, checkpoint-10, checkpoint-15." in result.stderr


def test_the_difference_of_two_snapshots_names_what_changed(watched_run: Path) -> None:
    text = invoke("snapshots", "diff", watched_run, "checkpoint-5", "checkpoint-10").stdout
    assert "curriculum_state_detailed.json: differs" in text
    assert "  stage: 0 -> 1\n  step: 5 -> 10\n" in text
    same = invoke("snapshots", "diff", watched_run, "checkpoint-5", "checkpoint-5").stdout
    assert same == "curriculum_state_detailed.json: the same\n"


def test_a_restore_only_plans_until_it_is_told_to_apply(own_run: Path) -> None:
    state = own_run / "curriculum_state_detailed.json"
    before = state.read_bytes()
    planned = invoke("snapshots", "restore", own_run, "checkpoint-5")
    assert planned.exit_code == 0
    assert f"would write {state}" in planned.stdout
    assert state.read_bytes() == before
    applied = invoke("snapshots", "restore", own_run, "checkpoint-5", "--apply")
    assert applied.exit_code == 0
    assert json.loads(state.read_text())["current_stage"] == 0
    assert "Kept what curriculum_state_detailed.json was" in applied.stdout
    again = invoke("snapshots", "restore", own_run, "checkpoint-5", "--apply")
    assert "Nothing to do" in again.stdout


READERS = (
    "status",
    "alerts list",
    "ledger show",
    "ledger verify",
    "ledger export",
    "ledger rebuild",
    "snapshots list",
)


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nope", "there is no such directory"),
        ("file", "it is a file, or lies below one"),
        ("unwatched", "no daemon has watched this run yet"),
    ],
)
def test_a_run_that_has_no_ledger_is_told_in_one_sentence(
    tmp_path: Path, command: str, name: str, sentence: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "unwatched").mkdir()
    result = invoke(*command.split(), tmp_path / name)
    assert (result.exit_code, result.stdout) == (2, "")
    expected = f"Error: Cannot read the ledger of {tmp_path / name}: {sentence}. "
    assert result.stderr.startswith(expected)
    assert result.stderr.count("\n") == 1
