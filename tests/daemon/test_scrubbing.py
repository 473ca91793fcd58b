from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.conftest import RunningDaemon

OFTEN = "scrub: {interval_hours: 0.0001, mib_per_second: 1000}\n"
SLOWLY = "scrub: {interval_hours: 0.0001, mib_per_second: 0.15}\n"


def configure(daemon: RunningDaemon, more: str) -> None:
    daemon.config.write_text(daemon.config.read_text() + more, encoding="utf-8")


def flip(path: Path) -> None:
    """Change one bit and leave size, times and inode as they were, as a failing disk does."""
    status = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        (byte,) = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_silent_decay_becomes_an_alert_that_a_good_copy_ends(
    run: Path, daemon: RunningDaemon, tmp_path: Path
) -> None:
    configure(daemon, OFTEN)
    checkpoint = write_checkpoint(run, 5)
    write_checkpoint(run, 10)
    good = shutil.copy2(checkpoint / "model.safetensors", tmp_path / "good")
    daemon.start()
    daemon.wait_for(lambda s: len(s.scrubs) == 2)
    flip(checkpoint / "model.safetensors")
    state = daemon.wait_for(lambda s: bool(s.firing))
    assert list(state.firing) == ["checkpoint-unsound:checkpoint-5"]
    known = state.checkpoints["checkpoint-5"]
    assert known.codes[0] == "RD221"
    assert known.why == "model.safetensors: it changed in silence"
    count = len(daemon.of_kind("scrub"))
    daemon.wait_for(lambda _: len(daemon.of_kind("scrub")) > count + 1)
    assert daemon.verdicts() == {"checkpoint-5": "unsound", "checkpoint-10": "sound"}
    shutil.copy2(good, tmp_path / "copy")
    (tmp_path / "copy").replace(checkpoint / "model.safetensors")
    daemon.wait_for(lambda s: not s.firing)
    assert daemon.verdicts()["checkpoint-5"] == "sound"


def test_a_checkpoint_that_does_not_change_costs_one_small_record_per_scrub(
    run: Path, daemon: RunningDaemon
) -> None:
    configure(daemon, OFTEN)
    checkpoint = write_checkpoint(run, 5)
    daemon.start()
    daemon.wait_for(lambda _: len(daemon.of_kind("scrub")) >= 2)
    assert len(daemon.of_kind("verdict")) == 1
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    assert {record["bytes"] for record in daemon.of_kind("scrub")} == {size}


def test_a_new_checkpoint_does_not_wait_for_a_scrub_which_goes_on_afterwards(
    run: Path, daemon: RunningDaemon
) -> None:
    configure(daemon, SLOWLY + "log: {level: debug}\n")
    write_checkpoint(run, 5)
    daemon.start()
    daemon.wait_for(lambda _: "ScrubJob" in daemon.log.read_text())
    begin = time.monotonic()
    write_checkpoint(run, 10)
    daemon.wait_for(lambda s: "checkpoint-10" in s.snapshots)
    assert not daemon.of_kind("scrub"), f"ten seconds of reading took {time.monotonic() - begin}"
    state = daemon.wait_for(lambda s: bool(s.scrubs))
    assert list(state.scrubs) == ["checkpoint-5"]


def test_the_verification_of_an_older_checkpoint_gives_way_to_a_newer_one(
    run: Path, daemon: RunningDaemon
) -> None:
    configure(daemon, "verify: {read_mib_per_second: 0.2}\nlog: {level: debug}\n")
    write_checkpoint(run, 5)
    daemon.start()
    daemon.wait_for(lambda _: "VerifyJob" in daemon.log.read_text())
    write_checkpoint(run, 10)
    daemon.wait_for(lambda s: len(s.checkpoints) == 2, timeout=50)
    order = [record["checkpoint"] for record in daemon.of_kind("verdict")]
    assert order == ["checkpoint-10", "checkpoint-5"]
    assert daemon.verdicts() == {"checkpoint-5": "sound", "checkpoint-10": "sound"}
