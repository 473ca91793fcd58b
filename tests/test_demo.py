"""The whole demo, as a user starts it: real processes, a real ledger, real alerts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_demo_does_what_it_says_and_the_daemon_sees_it(
    tmp_path: Path, repository: Path
) -> None:
    home = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "resume_daemon", "demo", "--directory", str(home)],
        cwd=repository,
        env={**os.environ, "HOME": str(tmp_path), "WANDB_MODE": "online"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    for line in (
        "checkpoint-20 is sound",
        "checkpoint-25 is incomplete: trainer_state.json is missing",
        "checkpoint-30 is unsound: model.safetensors",
        "W&B's step drifted by",
        "alerts arrived at the webhook, each with a right signature",
        "Resume from checkpoint-20.",
        f" status {home / 'run'}",
        f"rm -r {home}",
        "The daemon recorded exactly what was done.",
    ):
        assert line in done.stdout
    ledger = home / "run" / ".resume_daemon" / "ledger.jsonl"
    kinds = [json.loads(line)["kind"] for line in ledger.read_text().splitlines()]
    assert {"daemon", "verdict", "snapshot", "pair", "drift", "alert"} <= set(kinds)
    logs = "".join(path.read_text() for path in home.glob("*.log"))
    assert "Traceback" not in logs
    assert "whsec_" not in logs + (home / "resume_daemon.yaml").read_text()
