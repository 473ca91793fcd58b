from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from resume_daemon.ledger.chain import verify
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.ledger.reader import read_lines

if TYPE_CHECKING:
    from pathlib import Path

# One write of 4 MB: long enough that a kill falls into it now and then (1 of 60 kills measured).
BATCH = 16
WRITER = f"""
import sys
from pathlib import Path
from resume_daemon.ledger.ledger import Ledger

with Ledger.open(Path(sys.argv[1]), "run") as ledger:
    while True:
        for record in ledger.append_many([("report", {{"text": "x" * 250_000}})] * {BATCH}):
            print(record.seq, record.digest, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    moments = random.Random()
    for _ in range(30):
        path.unlink(missing_ok=True)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            acknowledged = [child.stdout.readline() for _ in range(BATCH)]
            # No event to wait for: the moment is meant to be any.
            time.sleep(moments.uniform(0, 0.03))
            child.kill()
            acknowledged += child.stdout.readlines()
        size = path.stat().st_size
        pairs = [line.split() for line in acknowledged if line.endswith("\n")]
        with Ledger.open(path, "run") as ledger:
            report = verify(read_lines(path))
            assert (report.first_break, report.torn_tail_bytes) == (None, 0)
            on_disk = {str(record.seq): record.digest for record in ledger.records()}
            torn = 0 if ledger.torn is None else ledger.torn.path.stat().st_size
        assert pairs
        for seq, digest in pairs:
            assert on_disk[seq] == digest
        # Whatever the kill tore is beside the ledger: not a byte is gone.
        assert path.stat().st_size + torn == size


# The kernel writes up to the limit and kills the writer at the next byte: always a torn record.
DYING_WRITER = """
import resource, signal, sys
from pathlib import Path
from resume_daemon.ledger.ledger import Ledger

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with Ledger.open(Path(sys.argv[1]), "run") as ledger:
    record = ledger.append("daemon", event="started")
    print(record.seq, record.digest, flush=True)
    size = Path(sys.argv[1]).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + int(sys.argv[2]),) * 2)
    ledger.append_many([("report", {"text": "x" * 500})] * 3)
"""


@pytest.mark.parametrize(("room", "whole"), [(1, 0), (600, 0), (1000, 1)])
def test_what_a_writer_tore_by_dying_is_set_aside_and_nothing_acknowledged_is_lost(
    tmp_path: Path, room: int, whole: int
) -> None:
    path = tmp_path / "ledger.jsonl"
    command = [sys.executable, "-c", DYING_WRITER, str(path), str(room)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == -signal.SIGXFSZ
    content = path.read_bytes()
    with Ledger.open(path, "run") as ledger:
        assert ledger.torn is not None
        assert path.read_bytes() + ledger.torn.path.read_bytes() == content
        first, *rest = ledger.records()
        assert (f"{first.seq} {first.digest}", len(rest)) == (child.stdout.strip(), whole)
        assert ledger.append("daemon", event="started").seq == 2 + whole
    report = verify(read_lines(path))
    assert (report.first_break, report.torn_tail_bytes) == (None, 0)
