"""``params --auto-fix`` from outside: the guide's example, one token too long, in each file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app
from resume_daemon.lock import RunLock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typer.testing import Result

YAML = """\
# Lengths of the second run; do not touch the seed.
training:
    seed:   42
    max_prompt_length:    1536      # longest prompt, in tokens
    max_completion_length: {completion}   # "answers" get the rest
    max_seq_length: 4096
tags: [grpo,   'verilog']   # kept as it is
"""
JSON = """\
{{"max_seq_length":4096,
\t"max_prompt_length" : 1536 , "max_completion_length":   {completion},
  "notes": "größer \\u00e4", "lr": 6e-6 }}
"""
PYTHON = '''\
"""Configuration of the run."""
import os  # noqa
open(os.environ["IMPORTED"], "w")

from dataclasses import dataclass, field


@dataclass
class ScriptConfig:
    """Lengths: 2561 is a prime number."""

    max_seq_length: int = field(default=4096, metadata={{"help": "tokens"}})
    script_max_prompt_length: int = 1536  # longest prompt
    script_max_completion_length: int = field(
        default={completion},   # the rest
        metadata={{"help": "2561 would be one too many"}},
    )
'''
SHELL = """\
#!/usr/bin/env bash
# Starts the training. It was 2561 once, don't.
set -euo pipefail
MAX_LEN=4096
MAX_COMPLETION="{completion}"   # tokens

torchrun --nproc_per_node 1 train.py \\
    --max_seq_length "$MAX_LEN" \\
    --max_prompt_length=1536 \\
    --max_completion_length $MAX_COMPLETION \\
    --learning_rate 6e-6
"""
ENVIRONMENT = """\
# Read by systemd.
MAX_SEQ_LENGTH=4096
MAX_PROMPT_LENGTH=1536
MAX_COMPLETION_LENGTH="{completion}"
"""

FILES: dict[str, tuple[str, str, str]] = {
    "yaml": ("train.yaml", YAML, "--config"),
    "json": ("train.json", JSON, "--config"),
    "dataclass": ("configs.py", PYTHON, "--code"),
    "shell": ("train.sh", SHELL, "--script"),
    "environment": ("train.env", ENVIRONMENT, "--env-file"),
}


def params(arguments: Sequence[str | Path], **environ: str) -> Result:
    """Run the command in this process, with no more in its environment than is given."""
    return CliRunner().invoke(app, ["params", *map(str, arguments)], env=environ)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    return run


def write(directory: Path, kind: str, completion: int) -> tuple[Path, list[str | Path]]:
    """Write a file of one kind, and return it with the option that names it."""
    name, content, option = FILES[kind]
    path = directory / name
    # Of every kind, one with the line ends of another system, where its readers take them.
    ends = "\r\n" if kind in {"yaml", "json"} else "\n"
    path.write_bytes(content.format(completion=completion).replace("\n", ends).encode())
    return path, [option, path]


@pytest.mark.parametrize("kind", FILES)
def test_1536_and_2560_fit_4096(run: Path, tmp_path: Path, kind: str) -> None:
    path, option = write(tmp_path, kind, 2560)
    before = path.read_bytes()
    done = params([run, *option, "--auto-fix"], IMPORTED=str(tmp_path / "imported"))
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "1536" in done.stdout
    assert "= 4096 fits" in done.stdout
    assert "RD801" not in done.stdout
    assert "nothing to fix" in done.stdout
    assert path.read_bytes() == before
    assert not (tmp_path / "imported").exists()
    assert not (run / ".resume_daemon").exists()


@pytest.mark.parametrize("kind", FILES)
def test_1536_and_2561_do_not_and_what_to_change_is_told_for_each_strategy(
    run: Path, tmp_path: Path, kind: str
) -> None:
    path, option = write(tmp_path, kind, 2561)
    before = path.read_bytes()
    done = params([run, *option, "--json"], IMPORTED=str(tmp_path / "imported"))
    assert done.exit_code == 1, done.stderr
    findings = json.loads(done.stdout)["findings"]
    (finding,) = [each for each in findings if each["code"] == "RD801"]
    assert "= 4097, which is 1 more than" in finding["message"]
    for words in (
        "balanced: 2048 + 2048",
        "prompt_heavy: 2457 + 1639",
        "completion_heavy: 1638 + 2458",
        "custom (keeps your ratio): 1536 + 2560",
    ):
        assert words in finding["hint"]
    assert path.read_bytes() == before
    assert not (tmp_path / "imported").exists()


LENGTHS = {
    "custom": (1536, 2560),
    "balanced": (2048, 2048),
    "prompt_heavy": (2457, 1639),
    "completion_heavy": (1638, 2458),
}


@pytest.mark.parametrize("strategy", LENGTHS)
@pytest.mark.parametrize("kind", FILES)
def test_it_is_fixed_with_every_other_byte_kept(
    run: Path, tmp_path: Path, kind: str, strategy: str
) -> None:
    path, option = write(tmp_path, kind, 2561)
    before = path.read_bytes()
    path.chmod(0o750)
    environ = {"IMPORTED": str(tmp_path / "imported")}
    done = params([run, *option, "--auto-fix", "--strategy", strategy], **environ)
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "= 4096 fits" in done.stdout
    prompt, completion = LENGTHS[strategy]
    expected = replace_last(before, b"2561", str(completion).encode(), kind)
    assert path.read_bytes() == expected.replace(b"1536", str(prompt).encode())
    assert path.stat().st_mode & 0o777 == 0o750
    assert "take it back with `resume-daemon repair" in done.stdout
    assert not (tmp_path / "imported").exists()
    # Again, there is nothing to do.
    again = params([run, *option, "--auto-fix", "--strategy", strategy], **environ)
    assert "nothing to fix" in again.stdout
    assert again.exit_code == 0


def replace_last(data: bytes, old: bytes, new: bytes, kind: str) -> bytes:
    """Return the data with the value replaced, and not the numbers in its comments."""
    marks = {
        "yaml": b"max_completion_length: ",
        "json": b'"max_completion_length":   ',
        "dataclass": b"        default=",
        "shell": b'MAX_COMPLETION="',
        "environment": b'MAX_COMPLETION_LENGTH="',
    }
    assert data.count(marks[kind] + old) == 1
    return data.replace(marks[kind] + old, marks[kind] + new)


def test_what_would_change_is_shown_before_it_does(run: Path, tmp_path: Path) -> None:
    _, option = write(tmp_path, "yaml", 2561)
    lines = params([run, *option, "--auto-fix"]).stdout.splitlines()
    minus = next(n for n, line in enumerate(lines) if line.startswith("  -    max_completion"))
    assert lines[minus + 1].startswith("  +    max_completion_length: 2560   # ")
    assert lines.index(next(line for line in lines if line.startswith("wrote"))) > minus
    assert sum(line.startswith(("  -   ", "  +   ")) for line in lines) == 2


def test_json_tells_what_was_done_and_stands_alone_on_stdout(run: Path, tmp_path: Path) -> None:
    path, option = write(tmp_path, "yaml", 2561)
    done = params([run, *option, "--auto-fix", "--json"])
    document: dict[str, Any] = json.loads(done.stdout)
    fix = document["fix"]
    assert fix["strategy"] == "custom"
    assert [each["path"] for each in fix["files"]] == [str(path)]
    assert fix["left"] == []
    assert not any(each["code"] == "RD801" for each in document["findings"])
    assert "wrote" in done.stderr


@pytest.mark.parametrize("kind", FILES)
def test_a_fix_is_taken_back_byte_for_byte(run: Path, tmp_path: Path, kind: str) -> None:
    path, option = write(tmp_path, kind, 2561)
    before, times = path.read_bytes(), path.stat().st_mtime_ns
    environ = {"IMPORTED": str(tmp_path / "imported")}
    done = params([run, *option, "--auto-fix", "--json"], **environ)
    assert path.read_bytes() != before
    identity = json.loads(done.stdout)["fix"]["repair"]
    undone = CliRunner().invoke(app, ["repair", str(run), "--undo", identity])
    assert undone.exit_code == 0, undone.output
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == times


def test_a_file_that_changes_between_plan_and_write_is_not_overwritten(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resume_daemon.parameters import mending  # noqa: PLC0415 - changed only here

    path, option = write(tmp_path, "yaml", 2561)
    plan_of = mending.plan

    def edited_meanwhile(*arguments: Any) -> Any:
        plan = plan_of(*arguments)
        path.write_text("edited: by hand\n", encoding="utf-8")
        return plan

    monkeypatch.setattr(mending, "plan", edited_meanwhile)
    done = params([run, *option, "--auto-fix"])
    assert done.exit_code == 1
    assert "changed since" in done.stderr
    assert path.read_text(encoding="utf-8") == "edited: by hand\n"


def test_while_a_daemon_watches_nothing_is_written_and_it_is_said(
    run: Path, tmp_path: Path
) -> None:
    path, option = write(tmp_path, "yaml", 2561)
    before = path.read_bytes()
    (run / ".resume_daemon").mkdir()
    with RunLock(run / ".resume_daemon" / "lock"):
        done = params([run, *option, "--auto-fix"])
    assert done.exit_code == 2
    assert "has held it since" in done.stderr
    assert path.read_bytes() == before


def test_report_only_never_writes(run: Path, tmp_path: Path) -> None:
    path, option = write(tmp_path, "yaml", 2561)
    before = path.read_bytes()
    done = params([run, *option, "--report-only"])
    assert done.exit_code == 0
    assert "RD801" in done.stdout
    both = params([run, *option, "--report-only", "--auto-fix"])
    assert both.exit_code == 2
    assert path.read_bytes() == before
    assert not (run / ".resume_daemon").exists()


def test_an_unknown_strategy_is_wrong_usage(run: Path, tmp_path: Path) -> None:
    _, option = write(tmp_path, "yaml", 2561)
    done = params([run, *option, "--auto-fix", "--strategy", "half"])
    assert done.exit_code == 2
    assert "completion_heavy" in done.stderr


def test_the_weaker_of_two_sources_is_left_alone(run: Path, tmp_path: Path) -> None:
    weaker, option = write(tmp_path, "yaml", 2561)
    before = weaker.read_bytes()
    stronger, more = write(tmp_path, "environment", 2561)
    done = params([run, *option, *more, "--auto-fix"])
    assert done.exit_code == 0, done.stdout
    assert weaker.read_bytes() == before
    assert b'MAX_COMPLETION_LENGTH="2560"' in stronger.read_bytes()


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("yaml", "{completion}   #", "&length {completion}\n    other: *length   #"),
        ("dataclass", "default={completion}", "default=4096 - 1535"),
        ("shell", '"{completion}"', '"$((4096 - 1535))"'),
    ],
)
def test_a_length_that_is_no_single_value_is_left_and_said(
    run: Path, tmp_path: Path, kind: str, old: str, new: str
) -> None:
    name, content, option = FILES[kind]
    path = tmp_path / name
    assert old in content
    path.write_text(content.replace(old, new).format(completion=2561), encoding="utf-8")
    before = path.read_bytes()
    done = params([run, option, path, "--auto-fix"], IMPORTED=str(tmp_path / "imported"))
    assert done.exit_code in {0, 1}
    assert ("not fixed" in done.stdout) is ("RD801" in done.stdout)
    assert path.read_bytes() == before


def test_a_length_of_this_processs_environment_is_left_and_said(run: Path, tmp_path: Path) -> None:
    path, option = write(tmp_path, "yaml", 2560)
    done = params([run, *option, "--auto-fix"], MAX_COMPLETION_LENGTH="2561")
    assert done.exit_code == 1
    assert "it is in the environment of this process" in done.stdout
    assert b"2560" in path.read_bytes()


def test_a_report_is_written_as_text_or_json(run: Path, tmp_path: Path) -> None:
    _, option = write(tmp_path, "yaml", 2561)
    text, document = tmp_path / "report.txt", tmp_path / "report.json"
    for file in (text, document):
        assert params([run, *option, "--report", file]).exit_code == 1
        # An older report is replaced.
        assert params([run, *option, "--report", file]).exit_code == 1
    lines = text.read_text(encoding="utf-8").splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("  RD801 error: "))
    assert lines[first + 1].startswith("      to do: Prompt + completion that fit 4096")
    assert any(line.startswith("max_completion_length  2561") for line in lines)
    findings = json.loads(document.read_text(encoding="utf-8"))["findings"]
    order = ["error", "warning", "info"]
    assert findings == sorted(findings, key=lambda each: order.index(each["severity"]))
    assert all(each["hint"] for each in findings)


def test_a_report_replaces_nothing_else(run: Path, tmp_path: Path) -> None:
    path, option = write(tmp_path, "yaml", 2561)
    before = path.read_bytes()
    assert params([run, *option, "--report", path]).exit_code == 2
    assert params([run, *option, "--report", tmp_path / "nowhere" / "r.txt"]).exit_code == 2
    assert path.read_bytes() == before


CUTTING = """\
from dataclasses import dataclass


@dataclass
class ScriptConfig:
    max_seq_length: int = 4096
    script_max_prompt_length: int = 1536
    script_max_completion_length: int = {completion}  # cut if it does not fit
    length_allocation_strategy: str = "{strategy}"

    def __post_init__(self):
        if self.length_allocation_strategy == "balanced":
            self.script_max_prompt_length = self.max_seq_length // 2
            self.script_max_completion_length = self.max_seq_length // 2
        if self.script_max_prompt_length + self.script_max_completion_length > self.max_seq_length:
            print("too long")
            self.script_max_completion_length = self.max_seq_length - self.script_max_prompt_length
"""


def test_a_length_that_the_script_would_cut_is_told_and_written_as_it_would_be(
    run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "configs.py"
    path.write_text(CUTTING.format(completion=2561, strategy="custom"), encoding="utf-8")
    done = params([run, "--code", path])
    assert done.exit_code == 0
    assert "RD801 warning" in done.stdout
    assert "the script makes it script_max_completion_length 2560" in done.stdout
    done = params([run, "--code", path, "--auto-fix"])
    assert "RD801" not in done.stdout
    expected = CUTTING.format(completion=2560, strategy="custom")
    assert path.read_text(encoding="utf-8") == expected


def test_defaults_that_an_allocation_strategy_replaces_are_left_alone(
    run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "configs.py"
    content = CUTTING.format(completion=2561, strategy="balanced")
    path.write_text(content, encoding="utf-8")
    done = params([run, "--code", path, "--auto-fix"])
    assert "RD801" not in done.stdout
    assert "nothing to fix" in done.stdout
    assert "2048 = 4096 fits" in done.stdout
    assert path.read_text(encoding="utf-8") == content


ONE_FOR_BOTH = """\
LEN={length}
python train.py --max_seq_length 4096 --max_prompt_length $LEN --max_completion_length "$LEN"
"""


def test_a_variable_that_both_lengths_are_given_by_is_changed_only_where_both_get_the_same(
    run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "train.sh"
    path.write_text(ONE_FOR_BOTH.format(length=2049), encoding="utf-8")
    done = params([run, "--script", path, "--auto-fix", "--strategy", "prompt_heavy"])
    assert done.exit_code == 1
    assert "is given by the same text" in done.stdout
    assert path.read_text(encoding="utf-8") == ONE_FOR_BOTH.format(length=2049)
    done = params([run, "--script", path, "--auto-fix"])
    assert done.exit_code == 0, done.output
    assert path.read_text(encoding="utf-8") == ONE_FOR_BOTH.format(length=2048)


PUT_TOGETHER = """\
CMD="python train.py --max_prompt_length 1536"
CMD="$CMD --max_completion_length={completion}"  # tokens
CMD+=" --max_seq_length 4096"
eval "$CMD"
"""


def test_a_length_in_a_command_that_is_put_together_as_text_is_changed_in_place(
    run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "train.sh"
    path.write_text(PUT_TOGETHER.format(completion=2561), encoding="utf-8")
    done = params([run, "--script", path, "--auto-fix"])
    assert done.exit_code == 0, done.output
    assert path.read_text(encoding="utf-8") == PUT_TOGETHER.format(completion=2560)
