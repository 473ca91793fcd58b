"""A hundred power cuts: whatever the moment, the next start finishes what the last one began."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from resume_daemon.curriculum.snapshot import list_snapshots, read_snapshot
from resume_daemon.ledger.chain import verify
from resume_daemon.ledger.reader import read_lines
from resume_daemon.manifest import read_manifest
from tests.checkpoints import write_checkpoint, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.conftest import RunningDaemon

KILLS = 100


class Trainer(threading.Thread):
    """Writes a checkpoint after another, and the curriculum state between them."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.run_directory = run
        self.stopping = threading.Event()
        self.step = 0

    def run(self) -> None:
        while not self.stopping.is_set():
            self.step += 1
            history = [{"step": n, "performance": 0.5} for n in range(1, self.step + 1)]
            state = {"current_stage": 1, "performance_history": history[-100:], "timestamp": "t"}
            write_json(self.run_directory / "curriculum_state_detailed.json", state)
            if self.step % 5 == 0:
                write_checkpoint(self.run_directory, self.step)
            self.stopping.wait(0.2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_kills_lose_nothing_double_nothing_and_leave_nothing_half_done(
    run: Path, daemon: RunningDaemon
) -> None:
    moments = random.Random(20261122)
    trainer = Trainer(run)
    trainer.start()
    try:
        for _ in range(KILLS):
            daemon.start()
            time.sleep(moments.uniform(0.3, 1.5))  # The moment is what is tried, not waited for.
            daemon.kill()
    finally:
        trainer.stopping.set()
        trainer.join()
    expected = {f"checkpoint-{step}" for step in range(5, trainer.step + 1, 5)}
    # All may be there already: it is also waited for that it takes notice of a request to stop.
    starts = len(daemon.of_kind("daemon"))
    daemon.start()
    daemon.wait_for(lambda _: len(daemon.of_kind("daemon")) > starts)
    state = daemon.wait_for(lambda s: set(s.snapshots) == expected, timeout=120)
    assert daemon.stop() == 0

    assert {c.verdict for c in state.checkpoints.values()} == {"sound"}
    assert set(state.checkpoints) == expected
    for kind in ("verdict", "snapshot"):
        counted = Counter(str(fields["checkpoint"]) for fields in daemon.of_kind(kind))
        assert set(counted.values()) == {1}, (kind, counted.most_common(3))
    versions = Counter(str(fields["digest"]) for fields in daemon.of_kind("curriculum"))
    assert set(versions.values()) == {1}

    sidecar = run / ".resume_daemon"
    report = verify(read_lines(sidecar / "ledger.jsonl"))
    assert report.first_break is None
    assert report.torn_tail_bytes == 0
    kept = list_snapshots(sidecar / "snapshots")
    assert {read_snapshot(path).index.checkpoint for path in kept} == expected
    assert {path.name for path in (sidecar / "snapshots").iterdir()} == expected
    for name, checkpoint in state.checkpoints.items():
        _, digest = read_manifest(sidecar / "manifests" / f"{name}.json")
        assert digest == checkpoint.manifest
