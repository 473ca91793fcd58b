from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

from resume_daemon.ledger.chain import verify
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.ledger.reader import read_lines

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys
from pathlib import Path
from resume_daemon.ledger.ledger import Ledger

with Ledger.open(Path(sys.argv[1]), "run") as ledger:
    while True:
        record = ledger.append("report", text="x" * 50_000)
        print(record.seq, record.digest, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    moments = random.Random(7)  # noqa: S311 - moments, no secrets
    for _ in range(30):
        start = verify(read_lines(path)).records if path.exists() else 0
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            acknowledged = [child.stdout.readline() for _ in range(moments.randint(1, 12))]
            child.kill()
            acknowledged += child.stdout.readlines()
        pairs = [line.split() for line in acknowledged if line.endswith("\n")]
        with Ledger.open(path, "run") as ledger:
            report = verify(read_lines(path))
            assert (report.first_break, report.torn_tail_bytes) == (None, 0)
            on_disk = {str(record.seq): record.digest for record in ledger.records(start)}
        assert pairs
        for seq, digest in pairs:
            assert on_disk[seq] == digest
        # At most the one record that was being written is there without having been acknowledged.
        assert report.records <= int(pairs[-1][0]) + 1
        if report.records > 100:
            path.unlink()
