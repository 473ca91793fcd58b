"""Read a long W&B log: the first read against wandb's own protobuf, then what a poll costs.

The log has rows like those of TRL's GRPO trainer: 13 keys besides W&B's own, a history record of
about 571 bytes and a summary record of about the same size for each. Timed is the processor's time,
which other work on the machine changes little: on a warm file, both sides do nothing but compute.

Run: ``python benchmarks/wandb_log.py [--rows 1000000] [--rounds 1]``. The exit status does not
depend on the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._harness import (
    RESULTS,
    Side,
    Target,
    compare,
    report,
    warm_page_cache,
)
from resume_daemon.trackers import testing
from resume_daemon.trackers.wandb_local import poll
from resume_daemon.trackers.wandb_log import BLOCK, HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resume_daemon.trackers.wandb_local import SegmentState

KEY = "train/global_step"
METRICS = (
    *("loss", "grad_norm", "learning_rate", "num_tokens", "reward", "reward_std", "entropy"),
    *("kl", "frac_reward_zero_std", "clip_ratio", "step_time", "epoch"),
)
FIRST = 1_000_000
"""The first step: with seven digits, every row has the same length and comes from one template."""

MEGABYTES_PER_SECOND = 15.0
POLLS = 2000


def main() -> None:
    """Write the log, read it with each side, and print what was measured."""
    parser = argparse.ArgumentParser(description="Benchmark of reading W&B's log.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        segment = Path(temporary) / "run-20260101_000000-benchmark"
        segment.mkdir()
        log = segment / "run-benchmark.wandb"
        with log.open("wb") as stream:
            stream.write(HEADER)
            position = len(HEADER)
            for record in _records(0, arguments.rows):
                position += stream.write(testing.frame(record, position))
        size = log.stat().st_size
        print(f"{arguments.rows} rows, {size / 1e6:.0f} MB")

        ours = "resume_daemon, to trusted rows"
        peer = "wandb's protobuf, a plain loop"
        sides = [
            Side(ours, _processor_time(lambda: _check(_read(segment), arguments.rows))),
            Side(peer, _processor_time(lambda: _check(_peer(log), arguments.rows))),
        ]
        found = compare(sides, rounds=arguments.rounds, before_each=lambda: warm_page_cache(log))
        report("wandb_log", sides, found, [Target(ours, peer, 1.0)], size=size)
        speed = size / statistics.median(found[ours]) / 1e6
        polls = _polls(segment, log, arguments.rows)
    verdict = "met" if speed >= MEGABYTES_PER_SECOND else "NOT MET"
    print(f"first read: {speed:.1f} MB/s, target {MEGABYTES_PER_SECOND:.0f}: {verdict}")
    for name, microseconds in polls.items():
        print(f"{name}: {microseconds:.1f} us")
    path = RESULTS / "wandb_log.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document |= {"first_read_mb_per_second": speed, "microseconds": polls}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _processor_time(work: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        begin = time.process_time()
        work()
        return time.process_time() - begin

    return seconds


def _records(first: int, count: int) -> Iterator[bytes]:
    step, trainer_step = str(FIRST).encode(), str(FIRST + 1).encode()
    values = {f"train/{name}": 0.1234567890123 + len(name) for name in METRICS}
    logged = {**values, KEY: FIRST + 1, "_runtime": 12345.678, "_timestamp": 1.7000000001e9}
    history, summary = testing.history(FIRST, logged), testing.summary({**logged, "_step": FIRST})
    for number in range(FIRST + first, FIRST + first + count):
        new_step, new_trainer_step = b"%d" % number, b"%d" % (number + 1)
        for template in (summary, history):
            # By way of a text that is in no template, as one step's text is another row's.
            row = template.replace(trainer_step, b"TRAINER").replace(step, new_step)
            yield row.replace(b"TRAINER", new_trainer_step)


def _read(segment: Path) -> int:
    """Count trusted rows as the daemon does, in pieces."""
    state: SegmentState | None = None
    count = 0
    more = True
    while more:
        polled = poll(segment, state)
        if polled is None:
            break
        state, more = polled.state, polled.more
        count += len(polled.pairs)
    return count


def _peer(log: Path) -> int:
    """Count trusted rows with a plain loop over wandb's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415 - only this side needs it.

    count = known = 0
    for payload in _plain_records(log):
        record = Record.FromString(payload)
        if record.WhichOneof("record_type") != "history":
            continue
        for item in record.history.item:
            if (item.key or "/".join(item.nested_key)) == KEY:
                value = json.loads(item.value_json)
                count += value not in (0, known)
                known = value
    return count


def _plain_records(log: Path) -> Iterator[bytes]:
    chunk = struct.Struct("<IHB")
    parts: list[bytes] = []
    with log.open("rb") as stream:
        position = len(stream.read(len(HEADER)))
        while True:
            left = BLOCK - position % BLOCK
            if left < chunk.size:
                position += len(stream.read(left))
                continue
            header = stream.read(chunk.size)
            if len(header) < chunk.size:
                return
            checksum, length, kind = chunk.unpack(header)
            data = stream.read(length)
            if zlib.crc32(bytes([kind]) + data) != checksum:
                raise ValueError("the log that this benchmark wrote is damaged")
            position += chunk.size + length
            parts.append(data)
            if kind in {1, 4}:
                yield b"".join(parts)
                parts = []


def _check(count: int, rows: int) -> None:
    if count != rows:
        raise ValueError(f"{count} trusted rows were found, of {rows}")


def _polls(segment: Path, log: Path, rows: int) -> dict[str, float]:
    """Return the microseconds of a poll that finds nothing, and of one that finds 100 rows."""
    polled = poll(segment)
    while polled is not None and polled.more:
        polled = poll(segment, polled.state)
    state = polled.state if polled is not None else None
    begin = time.process_time()
    for _ in range(POLLS):
        poll(segment, state)
    idle = (time.process_time() - begin) / POLLS
    with log.open("ab") as stream:
        position = stream.tell()
        for record in _records(rows, 100):
            position += stream.write(testing.frame(record, position))
    timings = []
    for _ in range(50):
        begin = time.process_time()
        found = poll(segment, state)
        timings.append(time.process_time() - begin)
        _check(len(found.pairs) if found is not None else 0, 100)
    return {"idle poll": idle * 1e6, "poll with 100 new rows": statistics.median(timings) * 1e6}


if __name__ == "__main__":
    main()
