from __future__ import annotations

import json
import os
import shutil
import socket
from typing import TYPE_CHECKING, Any

from tests.checkpoints import write_checkpoint, write_json, zero_second_half
from tests.layouts.verl import write_fsdp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.conftest import RunningDaemon


def test_a_checkpoint_that_appears_beside_a_running_daemon_gets_a_verdict_and_a_snapshot(
    run: Path, daemon: RunningDaemon
) -> None:
    daemon.start()
    write_checkpoint(run, 5)
    state = daemon.wait_for(lambda s: "checkpoint-5" in s.snapshots)
    assert state.checkpoints["checkpoint-5"].verdict == "sound"
    assert state.checkpoints["checkpoint-5"].manifest is not None
    assert (run / ".resume_daemon" / "manifests" / "checkpoint-5.json").is_file()
    assert (run / ".resume_daemon" / "snapshots" / "checkpoint-5" / "snapshot.json").is_file()
    assert daemon.stop() == 0
    assert daemon.of_kind("daemon")[-1]["event"] == "stop"


def test_a_damaged_checkpoint_is_unsound_and_its_neighbour_is_not(
    run: Path, daemon: RunningDaemon
) -> None:
    write_checkpoint(run, 5)
    zero_second_half(write_checkpoint(run, 10) / "model.safetensors")
    daemon.start()
    daemon.wait_for(lambda s: len(s.checkpoints) == 2)
    assert daemon.verdicts() == {"checkpoint-5": "sound", "checkpoint-10": "unsound"}
    state = daemon.wait_for(lambda s: bool(s.firing))
    assert list(state.firing) == ["checkpoint-unsound:checkpoint-10"]


def test_a_half_written_checkpoint_is_incomplete_once_and_sound_when_it_is_finished(
    run: Path, daemon: RunningDaemon
) -> None:
    checkpoint = write_checkpoint(run, 5)
    state = (checkpoint / "trainer_state.json").read_bytes()
    (checkpoint / "trainer_state.json").unlink()
    daemon.start()
    daemon.wait_for(lambda s: bool(s.checkpoints))
    assert daemon.verdicts() == {"checkpoint-5": "incomplete"}
    (checkpoint / "trainer_state.json").write_bytes(state)
    daemon.wait_for(lambda s: s.checkpoints["checkpoint-5"].verdict == "sound")
    assert [v["verdict"] for v in daemon.of_kind("verdict")] == ["incomplete", "sound"]
    daemon.wait_for(lambda s: not s.firing)
    flips = [f["state"] for f in _flips(daemon) if "incomplete" in f["condition"]]
    assert flips == ["firing", "resolved"]


def test_a_checkpoint_that_changes_after_its_verdict_is_verified_again(
    run: Path, daemon: RunningDaemon
) -> None:
    checkpoint = write_checkpoint(run, 5)
    daemon.start()
    daemon.wait_for(lambda s: bool(s.checkpoints))
    zero_second_half(checkpoint / "model.safetensors")
    daemon.wait_for(lambda s: s.checkpoints["checkpoint-5"].verdict == "unsound")


def test_a_removed_checkpoint_is_rotated_and_no_condition(run: Path, daemon: RunningDaemon) -> None:
    checkpoint = write_checkpoint(run, 5)
    write_checkpoint(run, 10)
    daemon.start()
    daemon.wait_for(lambda s: len(s.snapshots) == 2)
    shutil.rmtree(checkpoint)
    daemon.wait_for(lambda s: s.checkpoints["checkpoint-5"].verdict == "rotated")
    assert _flips(daemon) == []
    assert (run / ".resume_daemon" / "snapshots" / "checkpoint-5").is_dir()


def test_a_checkpoint_that_the_trainer_removed_in_part_is_rotated(
    run: Path, daemon: RunningDaemon
) -> None:
    checkpoint = write_checkpoint(run, 5)
    write_checkpoint(run, 10)
    daemon.start()
    daemon.wait_for(lambda s: len(s.snapshots) == 2)
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "optimizer.pt").unlink()
    daemon.wait_for(lambda s: s.checkpoints["checkpoint-5"].verdict == "rotated")


def test_what_rotation_left_before_the_daemon_came_is_rotated_and_no_condition(
    run: Path, daemon: RunningDaemon
) -> None:
    stub = write_fsdp(run, 10)
    shutil.rmtree(stub / "actor")
    shutil.rmtree(stub / "critic")
    write_fsdp(run, 20)
    daemon.start()
    daemon.wait_for(lambda s: len(s.checkpoints) == 2)
    assert daemon.verdicts() == {"global_step_10": "rotated", "global_step_20": "sound"}
    assert _flips(daemon) == []


def test_an_optimizer_that_goes_missing_from_the_newest_checkpoint_is_no_rotation(
    run: Path, daemon: RunningDaemon
) -> None:
    checkpoint = write_checkpoint(run, 5)
    daemon.start()
    daemon.wait_for(lambda s: bool(s.checkpoints))
    (checkpoint / "optimizer.pt").unlink()
    daemon.wait_for(lambda s: s.checkpoints["checkpoint-5"].verdict == "degraded")


def test_staging_names_links_out_of_the_run_and_fifos_do_no_harm(
    run: Path, daemon: RunningDaemon, tmp_path: Path
) -> None:
    outside = write_checkpoint(tmp_path / "elsewhere", 7)
    (run / "checkpoint-7").symlink_to(outside)
    write_checkpoint(tmp_path / "staged", 8).rename(run / "tmp-checkpoint-8")
    checkpoint = write_checkpoint(run, 5)
    os.mkfifo(checkpoint / "pipe.bin")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(checkpoint / "s.sock"))
    (run / "checkpoint-9").write_text("a file, not a checkpoint", encoding="utf-8")
    daemon.start()
    daemon.wait_for(lambda s: bool(s.snapshots))
    server.close()
    assert daemon.verdicts() == {"checkpoint-5": "sound"}


def test_each_checkpoint_gets_the_curriculum_of_its_own_step(
    run: Path, daemon: RunningDaemon
) -> None:
    daemon.start()
    daemon.wait_for(lambda s: s.daemon is not None)
    history: list[dict[str, Any]] = []
    for step in range(1, 11):
        history.append({"step": step, "performance": 0.5, "loss": 1.0, "stage": step // 6})
        state = {"current_stage": step // 6, "performance_history": history, "timestamp": "t"}
        write_json(run / "curriculum_state_detailed.json", state)
        daemon.wait_for(lambda s, n=step: any(v.step == n for v in s.curriculum.values()))  # type: ignore[misc]
        if step % 5 == 0:
            write_checkpoint(run, step)
    state_now = daemon.wait_for(lambda s: len(s.snapshots) == 2)
    assert {n: s.curriculum_step for n, s in state_now.snapshots.items()} == {
        "checkpoint-5": 5,
        "checkpoint-10": 10,
    }
    kept = run / ".resume_daemon/snapshots/checkpoint-5/curriculum/curriculum_state_detailed.json"
    assert json.loads(kept.read_text())["performance_history"][-1]["step"] == 5


def test_a_second_daemon_says_who_holds_the_run_and_exits_with_2(
    run: Path, daemon: RunningDaemon, tmp_path: Path
) -> None:
    write_checkpoint(run, 5)
    daemon.start()
    daemon.wait_for(lambda s: bool(s.checkpoints))
    second = type(daemon)(run, daemon.config)
    second.log = tmp_path / "second.log"
    second.start()
    assert second.process is not None
    assert second.process.wait(20) == 2
    assert daemon.process is not None
    assert str(daemon.process.pid) in second.log.read_text()


def test_a_restart_judges_nothing_twice(run: Path, daemon: RunningDaemon) -> None:
    write_checkpoint(run, 5)
    daemon.start()
    daemon.wait_for(lambda s: bool(s.snapshots))
    daemon.kill()
    daemon.start()
    write_checkpoint(run, 10)
    daemon.wait_for(lambda s: len(s.snapshots) == 2)
    assert [v["checkpoint"] for v in daemon.of_kind("verdict")] == ["checkpoint-5", "checkpoint-10"]
    assert len(daemon.of_kind("snapshot")) == 2


def test_a_run_directory_that_goes_away_is_a_condition_and_recovers(
    run: Path, daemon: RunningDaemon, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    text = daemon.config.read_text() + f"state_dir: {state}\n"
    daemon.config.write_text(text, encoding="utf-8")
    write_checkpoint(run, 5)
    daemon.start()
    records = _ledger_below(daemon, state)
    daemon.wait_for(lambda _: any(r["kind"] == "snapshot" for r in records()))
    run.rename(tmp_path / "moved")
    daemon.wait_for(lambda _: _states(records(), "run-unreadable") == ["firing"])
    (tmp_path / "moved").rename(run)
    daemon.wait_for(lambda _: _states(records(), "run-unreadable") == ["firing", "resolved"])
    assert [r["verdict"] for r in records() if r["kind"] == "verdict"] == ["sound"]


def test_an_unsound_checkpoint_alerts_once_over_a_restart_and_resolves(
    run: Path, daemon: RunningDaemon, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = receiver
    sinks = f"alerts: {{sinks: [{{name: hook, type: webhook, url: '{url}'}}]}}\n"
    daemon.config.write_text(daemon.config.read_text() + sinks, encoding="utf-8")
    checkpoint = write_checkpoint(run, 5)
    zero_second_half(checkpoint / "model.safetensors")
    daemon.start()
    daemon.wait_for(lambda _: len(daemon.of_kind("alert")) == 1)
    daemon.kill()
    daemon.start()
    daemon.wait_for(lambda _: len(daemon.of_kind("daemon")) == 2)
    shutil.rmtree(checkpoint)
    daemon.wait_for(lambda _: len(daemon.of_kind("alert")) == 2)
    assert [r["type"] for r in received] == ["condition.firing", "condition.resolved"]
    assert received[1]["lasted_seconds"] > 0
    assert {r["outcome"] for r in daemon.of_kind("alert")} == {"delivered"}


def _flips(daemon: RunningDaemon) -> list[dict[str, Any]]:
    return [*daemon.of_kind("condition"), *daemon.of_kind("drift")]


def _states(records: list[dict[str, Any]], condition: str) -> list[str]:
    return [r["state"] for r in records if r.get("condition") == condition]


def _ledger_below(daemon: RunningDaemon, state: Path) -> Any:
    def read() -> list[dict[str, Any]]:
        ledgers = list(state.glob("*/ledger.jsonl"))
        lines = ledgers[0].read_text().splitlines() if ledgers else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    return read
