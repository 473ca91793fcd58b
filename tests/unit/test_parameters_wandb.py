"""What a run's processes told W&B, out of what the real wandb wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from resume_daemon.cli import app
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.parameters.sources.wandb import read_segments
from resume_daemon.trackers.wandb_config import read_logged_configuration
from resume_daemon.trackers.wandb_log import read_log
from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.parameters.facts import SegmentFacts

LOGGING = """
import json, sys, wandb
for id, first, later in json.loads(sys.stdin.read()):
    run = wandb.init(id=id, resume="allow", config=first)
    run.config.update(later, allow_val_change=True)
    run.log({"loss": 1.0})
    run.finish()
"""

DECODING = """
import json, sys
from wandb.proto.wandb_internal_pb2 import Record
found = {}
for line in sys.stdin:
    record = Record.FromString(bytes.fromhex(line))
    for config in (record.config, record.run.config):
        for item in config.update:
            keys = [item.key] if item.key else list(item.nested_key)
            inner = found
            for key in keys[:-1]:
                inner = inner.setdefault(key, {})
            inner[keys[-1]] = json.loads(item.value_json)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run beside W&B's directory, which has two segments of it and one of another."""
    root = tmp_path_factory.mktemp("logged")
    run = root / "run"
    write_checkpoint(run, 10)
    first = {"learning_rate": 1e-6, "max_prompt_length": 1536, "seed": 1}
    later = {"output_dir": "run", "beta": 0.04, "rope_scaling": {"type": "yarn", "factor": 4.0}}
    script = {"training": {"temperature": 0.9, "seed": 2}, "tags": ["a", "b"]}
    segments: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("mine", first, {**later, **script}),
        ("mine", {**first, "learning_rate": 2e-6}, later),
        ("other", first, {"output_dir": "elsewhere", "beta": 9.0}),
    ]
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    env |= {
        "HOME": str(root),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(root),
        "WANDB_CACHE_DIR": str(root),
        "WANDB_CONFIG_DIR": str(root),
        "WANDB_SILENT": "true",
    }
    for each in segments:
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LOGGING],
            input=json.dumps([each]),
            env=env,
            cwd=root,
            text=True,
            check=True,
            timeout=50,
        )
    return run


def read(run: Path, *run_ids: str) -> list[SegmentFacts]:
    return read_segments(run, 0, run_ids, {})[0]


def values(segment: SegmentFacts) -> dict[str, Any]:
    return {f"{s.scope}.{s.name}".lstrip("."): s.value for s in segment.settings}


def test_the_configuration_of_each_segment_is_read_as_it_was_given(logged: Path) -> None:
    first, second = read(logged)
    assert values(first) == {
        "learning_rate": 1e-6,
        "max_prompt_length": 1536,
        "seed": 1,
        "output_dir": "run",
        "beta": 0.04,
        "rope_scaling": {"type": "yarn", "factor": 4.0},
        "training": {"temperature": 0.9, "seed": 2},
        "training.temperature": 0.9,
        "training.seed": 2,
        "tags": ["a", "b"],
    }
    assert values(second)["learning_rate"] == 2e-6
    assert (first.run_id, second.run_id) == ("mine", "mine")


def test_a_segment_of_another_run_in_the_same_directory_is_none_of_this_one(logged: Path) -> None:
    assert all(values(each)["beta"] != 9.0 for each in read(logged))
    assert [each.run_id for each in read(logged, "other")] == ["mine", "mine", "other"]
    assert read(logged.parent / "third") == []


def test_wandb_itself_reads_the_same(logged: Path) -> None:
    log = min(logged.parent.glob("wandb/offline-run-*-mine/run-mine.wandb"))
    lines = "\n".join(payload.hex() for payload, _ in read_log(log).records)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DECODING],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    expected = json.loads(done.stdout)
    assert "beta" in expected
    assert read_logged_configuration(log) == expected


def test_params_shows_what_the_tracker_knows_and_what_changed_between_segments(
    logged: Path,
) -> None:
    done = CliRunner().invoke(app, ["params", str(logged), "--json"])
    document = json.loads(done.stdout)
    found = {each["name"]: each for each in document["parameters"]}
    assert found["max_prompt_length"]["trained_with"]["kind"] == "tracker"
    assert found["max_prompt_length"]["trained_with"]["source"] == "W&B run mine"
    messages = [f["message"] for f in document["findings"] if f["code"] == "RD812"]
    assert any("learning_rate 1e-06 -> 2e-06" in message for message in messages)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
@given(data=st.data())
def test_a_damaged_log_is_read_as_far_as_it_goes(
    logged: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = min(logged.parent.glob("wandb/offline-run-*-mine/run-mine.wandb")).read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    damage = data.draw(st.binary(max_size=8))
    log = tmp_path / "run-x.wandb"
    log.write_bytes(
        whole[:at] + damage + whole[at + len(damage) :][: data.draw(st.integers(0, 999))]
    )
    try:
        found = read_logged_configuration(log)
    except ResumeDaemonError:
        return
    assert isinstance(found, dict)
