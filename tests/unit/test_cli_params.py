"""``params``: what a run is trained with, from outside."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app
from tests.checkpoints import write_checkpoint, write_json
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """\
max_prompt_length: 1536
max_completion_length: {completion}  # tokens
max_seq_length: 4096
learning_rate: 2e-6
"""


def params(*arguments: str | Path, status: int = 0, env: dict[str, str] | None = None) -> str:
    done = CliRunner().invoke(app, ["params", *map(str, arguments)], env=env or {})
    assert done.exit_code == status, done.output
    return done.stdout


def parameters(*arguments: str | Path, **more: Any) -> dict[str, Any]:
    document = json.loads(params(*arguments, "--json", **more))
    return {each["name"]: each for each in document["parameters"]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run with a checkpoint and, in its own directory, a configuration that fits."""
    run = tmp_path / "run"
    write_checkpoint(run, 10)
    (run / "train.yaml").write_text(CONFIGURATION.format(completion=2560), encoding="utf-8")
    return run


def test_the_guides_own_example_fits(run: Path) -> None:
    shown = params(run)
    assert "1536 + max_completion_length 2560 = 4096 fits max_seq_length 4096" in shown
    assert "RD801" not in shown


def test_one_token_more_does_not_fit_and_ends_with_1(run: Path) -> None:
    (run / "train.yaml").write_text(CONFIGURATION.format(completion=2561), encoding="utf-8")
    assert "RD801 error" in params(run, status=1)
    assert "RD801 error" in params(run, "--report-only", status=0)


def test_what_the_next_start_is_given_stands_beside_what_the_checkpoint_has(run: Path) -> None:
    text = json.dumps({"max_steps": 500, "save_steps": 5, "max_grad_norm": 1.0})
    (run.parent / "given.json").write_text(text, encoding="utf-8")
    found = parameters(run, "--config", run.parent / "given.json")
    steps = found["max_steps"]
    assert (steps["next_start"]["value"], steps["trained_with"]["value"]) == (500, 1000)
    assert steps["next_start"]["path"] == str(run.parent / "given.json")
    assert steps["trained_with"]["source"] == "checkpoint-10/trainer_state.json"
    assert steps["differs"]
    assert not found["save_steps"]["differs"]
    assert found["learning_rate"]["next_start"] is None, "one that is named stands for all"
    assert "!=" in params(run, "--config", run.parent / "given.json")


def test_the_environment_counts_before_the_configuration(run: Path) -> None:
    (run.parent / "a.env").write_text("MAX_PROMPT_LENGTH=512\n", encoding="utf-8")
    found = parameters(run, env={"MAX_PROMPT_LENGTH": "1024"})["max_prompt_length"]
    assert [each["value"] for each in found["values"]] == [1024, 1536]
    assert found["next_start"]["kind"] == "environment"
    found = parameters(run, "--env-file", run.parent / "a.env")["max_prompt_length"]
    assert (found["next_start"]["value"], found["next_start"]["line"]) == (512, 1)


def test_only_files_that_speak_of_training_are_taken_for_its_configuration(run: Path) -> None:
    (run / "other.yaml").write_text("colour: red\nmax_steps: 3\n", encoding="utf-8")
    (run / "broken.json").write_text("{", encoding="utf-8")
    document = json.loads(params(run, "--json"))
    assert [each["source"] for each in document["sources"]] == [
        "train.yaml",
        "checkpoint-10/config.json",
        "checkpoint-10/optimizer.pt",
        "checkpoint-10/scheduler.pt",
        "checkpoint-10/trainer_state.json",
        "checkpoint-10/training_args.bin",
    ]
    assert [each["path"] for each in document["unread"]] == [str(run / "broken.json")]


def test_the_configuration_that_a_snapshot_kept_is_what_it_was_trained_with(tmp_path: Path) -> None:
    from resume_daemon.curriculum.snapshot import SnapshotIndex, write_snapshot  # noqa: PLC0415

    run = tmp_path / "run"
    write_checkpoint(run, 10)
    now = tmp_path / "train.yaml"
    now.write_text("max_steps: 9\nbeta: 0.1\n", encoding="utf-8")
    (run / ".resume_daemon").mkdir()
    kept = {f"configuration/{now.relative_to('/')}": b"beta: 0.04\nseed: 7\n"}
    write_snapshot(run / ".resume_daemon" / "snapshots", kept, SnapshotIndex("checkpoint-10", 10))
    found = parameters(run)
    assert (found["beta"]["next_start"]["value"], found["beta"]["trained_with"]["value"]) == (
        0.1,
        0.04,
    )
    assert found["seed"]["trained_with"]["source"].startswith("snapshot of checkpoint-10")
    assert found["max_steps"]["trained_with"]["value"] == 1000, "what the trainer wrote counts more"


def test_a_checkpoint_is_looked_at_by_name(run: Path) -> None:
    state = run / write_checkpoint(run, 20) / "trainer_state.json"
    write_json(state, {**json.loads(state.read_text(encoding="utf-8")), "max_steps": 77})
    assert parameters(run)["max_steps"]["trained_with"]["value"] == 77
    old = parameters(run, "--checkpoint", "checkpoint-10")
    assert old["max_steps"]["trained_with"]["value"] == 1000


def test_bad_input_is_told_in_a_sentence(run: Path, tmp_path: Path) -> None:
    params(run, "--checkpoint", "checkpoint-7", status=2)
    params(tmp_path / "nowhere", status=2)
    params(run / "train.yaml", status=2)
    params(run, "--config", tmp_path / "nowhere.yaml", status=2)
    params(run, "--script", tmp_path, status=1)
    garbage = tmp_path / "garbage.yaml"
    garbage.write_bytes(os.urandom(64) + b"\xff")
    done = CliRunner().invoke(app, ["params", str(run), "--config", str(garbage)])
    assert done.exit_code == 1
    assert "Traceback" not in done.output


def test_an_empty_run_is_said_to_say_nothing(tmp_path: Path) -> None:
    assert "nothing says what it is trained with" in params(tmp_path)
    assert parameters(tmp_path) == {}


SCRIPT = """\
#!/bin/bash
cd ..
export MAX_SEQ_LENGTH=4096 WANDB_API_KEY=abcdef
torchrun --nproc_per_node=2 train.py --config code/train.yaml \\
    --max-prompt-length 1024 --hub_token hf_abcdef
"""


@pytest.fixture
def script(run: Path) -> Path:
    """Return a launch script in a folder of its own, which names a configuration there."""
    folder = run.parent / "code"
    folder.mkdir()
    (folder / "train.yaml").write_text("max_prompt_length: 1\nbeta: 0.04\n", encoding="utf-8")
    path = folder / "train.sh"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def test_a_script_is_read_and_so_is_the_configuration_that_it_names(
    run: Path, script: Path
) -> None:
    found = parameters(run, "--script", script)
    length = found["max_prompt_length"]
    assert [(each["value"], each["kind"]) for each in length["values"]] == [
        (1024, "command line"),
        (1, "configuration file"),
    ]
    assert (length["next_start"]["line"], length["next_start"]["path"]) == (5, str(script))
    assert found["beta"]["next_start"]["path"] == str(script.with_name("train.yaml"))
    assert found["max_seq_length"]["next_start"]["kind"] == "environment"
    assert "nproc_per_node" not in found
    assert json.loads(params(run, "--script", script, "--json"))["processes"] == 2


def test_what_a_script_exports_goes_over_what_it_inherits(run: Path, script: Path) -> None:
    found = parameters(run, "--script", script, env={"MAX_SEQ_LENGTH": "1"})["max_seq_length"]
    assert [each["value"] for each in found["values"]] == [4096, 1]


def test_tokens_and_other_variables_are_not_shown(run: Path, script: Path) -> None:
    shown = params(run, "--script", script, "--all") + params(run, "--script", script, "--json")
    assert "abcdef" not in shown
    assert "(not shown)" in shown
    assert "WANDB_API_KEY" not in shown


def test_a_script_in_the_run_is_found_if_it_starts_a_training(run: Path, script: Path) -> None:
    text = "torchrun train.py --beta 0.1 --seed 3 --lr 1e-6\n"
    (run / "launch.sh").write_text(text, encoding="utf-8")
    (run / "fetch.sh").write_text("python fetch.py --seed 7\n", encoding="utf-8")
    assert parameters(run)["seed"]["next_start"]["value"] == 3


def test_a_script_that_is_none_ends_with_a_sentence(run: Path, tmp_path: Path) -> None:
    python = tmp_path / "train.sh"
    python.write_text("#!/usr/bin/env python\nprint(1)\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["params", str(run), "--script", str(python)])
    assert done.exit_code == 1
    assert "its first line names python" in done.output


CODE = """\
open({made!r}, "w").close()
from dataclasses import dataclass

@dataclass
class ScriptArguments:
    max_prompt_length: int = 512
    max_completion_length: int = 1024  # kept
    max_seq_length: int = None
    temperature: float = 0.7

    def __post_init__(self):
        self.max_seq_length = self.max_prompt_length + self.max_completion_length
        if self.temperature > 1.5:
            raise ValueError("too hot")
"""


def test_the_code_that_a_script_starts_is_read_and_not_imported(run: Path, script: Path) -> None:
    made = run.parent / "made"
    code = run.parent / "train.py"
    code.write_text(CODE.format(made=str(made)), encoding="utf-8")
    found = parameters(run, "--script", script)
    length = found["max_completion_length"]["next_start"]
    assert (length["value"], length["kind"], length["line"]) == (1024, "default in code", 7)
    assert length["source"] == "train.py: ScriptArguments"
    sequence = found["max_seq_length"]["next_start"]
    assert sequence["value"] == 2048, "1024 of the command line and 1024 of the code"
    assert sequence["scope"] == "ScriptArguments.__post_init__"
    assert not made.exists()


def test_values_that_the_users_own_rule_refuses_are_told(run: Path, tmp_path: Path) -> None:
    code = tmp_path / "configs.py"
    code.write_text(CODE.format(made=str(tmp_path / "made")), encoding="utf-8")
    (tmp_path / "hot.yaml").write_text("temperature: 2.0\nmax_steps: 1\n", encoding="utf-8")
    assert "RD818" not in params(run, "--code", code)
    shown = params(run, "--code", code, "--config", tmp_path / "hot.yaml", status=1)
    assert "ScriptArguments raises if self.temperature > 1.5 (configs.py line 14)" in shown
    assert not (tmp_path / "made").exists()


def test_code_that_is_missing_or_no_python_ends_with_a_sentence(run: Path, tmp_path: Path) -> None:
    def told(path: Path, status: int) -> str:
        done = CliRunner().invoke(app, ["params", str(run), "--code", str(path)])
        assert done.exit_code == status, done.output
        return done.stderr

    missing = tmp_path / "nowhere.py"
    assert told(missing, 2) == f"Error: Cannot read {missing}: it is not there. Look at --code.\n"
    bad = tmp_path / "bad.py"
    bad.write_text("class A(:\n", encoding="utf-8")
    assert f"Error: Cannot read the Python of {bad}: line 1: " in told(bad, 1)
    (tmp_path / "empty").mkdir()
    assert told(tmp_path / "empty", 0) == ""


def test_the_packages_of_the_trainers_interpreter_are_looked_up(run: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    site = environment / "lib" / "python3.11" / "site-packages"
    (site / "trl-1.16.0.dist-info").mkdir(parents=True)
    (environment / "bin").mkdir()
    (environment / "bin" / "python").write_text("", encoding="utf-8")
    (environment / "pyvenv.cfg").write_text("version = 3.11.7\n", encoding="utf-8")
    document = json.loads(params(run, "--python", environment, "--json", "--report-only"))
    assert document["versions"] == {"trl": "1.16.0"}
    assert "RD809" in [each["code"] for each in document["findings"]], "max_prompt_length is gone"
    params(run, "--python", tmp_path / "none", status=2)


def test_what_a_resume_restored_is_read_where_it_is_true(run: Path) -> None:
    checkpoint = run / "checkpoint-10"
    groups = [
        {"initial_lr": 3e-6, "lr": 1e-6, "betas": (0.8, 0.95), "eps": 1e-7, "weight_decay": decay}
        for decay in (0.1, 0.0)
    ]
    write_torch_file(checkpoint / "optimizer.pt", {"state": {}, "param_groups": groups})
    write_torch_file(checkpoint / "scheduler.pt", {"base_lrs": [3e-6, 3e-6], "last_epoch": 10})
    found = parameters(run)
    trained = {name: each["trained_with"] for name, each in found.items() if each["restored"]}
    assert {name: (each["value"], each["source"]) for name, each in trained.items()} == {
        "adam_beta1": (0.8, "checkpoint-10/optimizer.pt"),
        "adam_beta2": (0.95, "checkpoint-10/optimizer.pt"),
        "adam_epsilon": (1e-7, "checkpoint-10/optimizer.pt"),
        "learning_rate": (3e-6, "checkpoint-10/scheduler.pt"),
        "weight_decay": (0.1, "checkpoint-10/optimizer.pt"),
    }
    assert found["learning_rate"]["next_start"]["value"] == 2e-6
    assert "the checkpoint's counts when it resumes" in " ".join(params(run).split())
    # Without them there is nothing to restore.
    (checkpoint / "optimizer.pt").unlink()
    (checkpoint / "scheduler.pt").unlink()
    assert not any(each["restored"] for each in parameters(run).values())


def test_the_modules_of_an_adapter_are_the_same_in_any_order(run: Path, tmp_path: Path) -> None:
    adapter = {"peft_type": "LORA", "r": 16, "target_modules": ["v_proj", "q_proj"]}
    write_json(run / "checkpoint-10" / "adapter_config.json", adapter)
    given = tmp_path / "given.yaml"
    given.write_text("lora_target_modules: [q_proj, v_proj]\nlora_r: 8\n", encoding="utf-8")
    found = parameters(run, "--config", given, "--report-only")
    assert found["lora_target_modules"]["trained_with"]["value"] == ["q_proj", "v_proj"]
    assert not found["lora_target_modules"]["differs"]
    assert found["lora_r"]["differs"]


PARSED = """\
from dataclasses import dataclass
from transformers import HfArgumentParser

@dataclass
class Used:
    seed: int = 1

@dataclass
class Unused:
    seed: int = 2

parser = HfArgumentParser((Used, GRPOConfig))
"""


def test_only_the_classes_that_arguments_are_parsed_into_count(run: Path, tmp_path: Path) -> None:
    code = tmp_path / "train.py"
    code.write_text(PARSED, encoding="utf-8")
    found = parameters(run, "--code", code)["seed"]
    assert [each["value"] for each in found["values"] if each["kind"] == "default in code"] == [1]
