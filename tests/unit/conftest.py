"""What is made once per session: a real W&B run without a network, and a run a daemon has seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REAL_RUN_ID = "grpo-run-1"

LOGGING = """
import json, math, struct, sys
import wandb

first, last = int(sys.argv[1]), int(sys.argv[2])
run = wandb.init(project="p", settings=wandb.Settings(console="off"))
run.define_metric("train/global_step")
run.define_metric("*", step_metric="train/global_step", step_sync=True)
run.log({"side/start": 1})
for step in range(first, last + 1):
    run.log({"profiling/time": math.inf if step % 7 else 0.25})
    loss = math.nan if step == 3 else 1 / step
    run.log({"train/loss": loss, "train/global_step": step, "nested": {"train/global_step": -1}})
    if step % 5 == 0:
        run.log({"eval/note": "train/global_step"})
run.finish()
"""

DECODING = """
import json, sys
from wandb.proto.wandb_internal_pb2 import Record

wanted = ("train/global_step", "train/loss", "profiling/time")
for line in sys.stdin:
    record = Record.FromString(bytes.fromhex(line))
    kind = record.WhichOneof("record_type")
    out = {"kind": kind}
    if kind == "history":
        values = {}
        for item in record.history.item:
            key = item.key or ".".join(item.nested_key)
            if key in wanted:
                values[key] = repr(float(json.loads(item.value_json)))
        out |= {"step": record.history.step.num, "values": dict(sorted(values.items()))}
    elif kind == "metric":
        m = record.metric
        out |= {"metric": [m.glob_name, m.step_metric, m.options.step_sync]}
    elif kind == "run":
        time = record.run.start_time
        branch = record.run.branch_point.value if record.run.HasField("branch_point") else None
        at = round(time.seconds + time.nanos / 1e9, 3)
        out |= {"run": [branch, getattr(record.run, "resume", False), at]}
    elif kind == "exit":
        out |= {"code": record.exit.exit_code}
    elif kind == "header":
        out |= {"producer": record.header.version_info.producer.partition("+")[0]}
    else:
        continue
    print(json.dumps(out))
"""


def _python(script: str, *arguments: str, env: Mapping[str, str], text: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        env=env,
        input=text,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def real_wandb_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ``wandb`` directory with two real segments: steps 1 to 30, then again from 21.

    Both ended in an orderly way, so that every row is on disk. The first has 1 + 30 * 2 + 6 rows.
    """
    root = tmp_path_factory.mktemp("wandb")
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    env |= {
        "HOME": str(root),
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(root),
        "WANDB_CACHE_DIR": str(root),
        "WANDB_CONFIG_DIR": str(root),
        "WANDB_SILENT": "true",
        "WANDB_RUN_ID": REAL_RUN_ID,
        "WANDB_RESUME": "allow",
    }
    _python(LOGGING, "1", "30", env=env)
    _python(LOGGING, "21", "40", env=env)
    return root / "wandb"


@pytest.fixture(scope="session")
def real_wandb_run(real_wandb_directory: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Return the log of the first real segment and what wandb's own protobuf reads in it."""
    from resume_daemon.trackers.wandb_log import read_log  # noqa: PLC0415 - only where asked for.

    log = min(real_wandb_directory.glob(f"offline-run-*/run-{REAL_RUN_ID}.wandb"))
    lines = "\n".join(payload.hex() for payload, _ in read_log(log).records)
    decoded = _python(DECODING, env=dict(os.environ), text=lines)
    return log, [json.loads(line) for line in decoded.splitlines()]


@pytest.fixture(scope="session")
def watched_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that a daemon has seen: 5 and 10 sound, 15 damaged, a stage that advanced.

    Shared by tests, which must not change it. Two things that need a network are added to its
    ledger by hand: what a W&B server said, and an alert that is still owed to a sink ``pager``.
    """
    from resume_daemon.alerting.conditions import Flip, State, as_record, record_kind  # noqa: PLC0415
    from resume_daemon.health import run_condition  # noqa: PLC0415 - only where asked for, as all
    from resume_daemon.ledger.ledger import Ledger  # noqa: PLC0415
    from tests.checkpoints import write_checkpoint, write_json, zero_second_half  # noqa: PLC0415

    root = tmp_path_factory.mktemp("watched")
    run = root / "run"
    run.mkdir()
    config = root / "config.yaml"
    config.write_text(f"run: {run}\nwatch: {{settle_seconds: 0.2}}\n", encoding="utf-8")
    history: list[dict[str, Any]] = []
    for last in (5, 10, 15):
        history += [
            {"step": n, "performance": 0.5, "stage": n // 6} for n in range(last - 4, last + 1)
        ]
        state = {"current_stage": last // 6, "performance_history": history, "timestamp": "t"}
        write_json(run / "curriculum_state_detailed.json", state)
        checkpoint = write_checkpoint(run, last)
        if last == 15:
            zero_second_half(checkpoint / "model.safetensors")
        subprocess.run(
            [sys.executable, "-m", "resume_daemon", "run", "--once", "--config", str(config)],
            capture_output=True,
            timeout=50,
            check=False,
        )
    now = datetime.now(UTC)
    flip = Flip(run_condition("The run was away."), State.FIRING, since=now, at=now)
    with Ledger.open(run / ".resume_daemon" / "ledger.jsonl", "run") as ledger:
        answer = {"run_id": "abc", "state": "crashed", "tracker_step": 9, "trainer_step": 9}
        ledger.append("tracker", tracker="wandb", **answer)
        ledger.append(record_kind(flip.condition), **as_record(flip, ["pager"]))
    return run
