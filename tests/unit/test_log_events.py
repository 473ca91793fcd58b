"""What the trainer's log tells: which lines count, how often, and how files are followed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.ledger.reader import read_records
from resume_daemon.log_events.events import LONGEST_LINE, TOLD, Listener
from resume_daemon.log_events.follow import Position, read_on
from resume_daemon.log_events.patterns import SHIPPED, compiled

if TYPE_CHECKING:
    from pathlib import Path

# Lines as trainers, torch, W&B and the kernel print them.
TELLING = [
    ("configuration-sync", "2025-06-12 [INFO] 🔧 同步长度配置: max_prompt_length=1536"),
    ("configuration-sync", "Synchronised length configuration from ScriptConfig"),
    ("wandb-resume", "✅ WandB恢复配置完成!"),
    ("wandb-resume", "wandb: Resuming run lively-snow-12"),
    ("curriculum-stage", "[12:00:01] CURRICULUM: 🔄 阶段变更检测 (步数: 300)"),
    ("curriculum-stage", "[12:00:01] CURRICULUM: ✅ 成功进阶: 阶段0 -> 阶段1"),
    ("curriculum-stage", "Curriculum: advanced to stage 2"),
    ("checkpoint-loading", "🔄 检测到checkpoint恢复: /path/to/checkpoint-24"),
    ("checkpoint-loading", "Loading model from /data/run/checkpoint-20."),
    ("checkpoint-loading", "  Continuing training from global step 20"),
    ("out-of-memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    ("out-of-memory", "[1234.5] Out of memory: Killed process 77 (python)"),
    (
        "nccl-timeout",
        "[rank3]:[E ProcessGroupNCCL.cpp:616] Watchdog caught collective operation timeout: Work",
    ),
]
SILENT = [
    "{'loss': 0.5, 'grad_norm': 1.0, 'epoch': 0.1}",
    "Saving model checkpoint to /data/run/checkpoint-20",
    " 45%|████▌     | 450/1000 [10:00<12:13, 1.3s/it]",
    "课程学习 enabled",
    "memory: 12 GiB allocated",
]


def heard(lines: list[str], **more: str) -> list[tuple[str, str]]:
    listener = Listener(compiled(more))
    events = (listener.hear(line, float(at)) for at, line in enumerate(lines))
    return [(event.event, event.line) for event in events if event is not None]


@pytest.mark.parametrize(("event", "line"), TELLING)
def test_the_lines_of_the_guide_and_their_english_counterparts_are_events(
    event: str, line: str
) -> None:
    assert heard([line]) == [(event, line.rstrip())]


@pytest.mark.parametrize("line", SILENT)
def test_what_a_healthy_trainer_prints_all_the_time_is_none(line: str) -> None:
    assert heard([line]) == []


def test_a_traceback_is_told_by_the_line_that_names_the_exception() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "train.py", line 3, in <module>',
        "    main()",
        "ValueError: prompt and completion do not fit",
        "ValueError: said later, outside of a traceback",
    ]
    assert heard(lines) == [("traceback", lines[3])]
    ranked = [f"[rank1]: {line}" for line in lines[:4]]
    assert heard(ranked) == [("traceback", ranked[3])]


def test_out_of_memory_at_the_end_of_a_traceback_is_out_of_memory() -> None:
    lines = ["Traceback (most recent call last):", "torch.OutOfMemoryError: CUDA out of memory."]
    assert heard(lines) == [("out-of-memory", lines[1])]


def test_what_64_ranks_say_alike_is_told_once_and_counted() -> None:
    listener = Listener(compiled({}))
    told = [listener.hear(f"[rank{n}] CUDA out of memory", 0.0) for n in range(64)]
    assert [event is not None for event in told] == [True, *[False] * 63]
    later = listener.hear("[rank0] CUDA out of memory", 700.0)
    assert later is not None
    assert later.repeated == 63


def test_the_configuration_adds_replaces_and_turns_off_patterns() -> None:
    assert heard(["reward server down"], **{"reward-down": "reward .* down"}) == [
        ("reward-down", "reward server down")
    ]
    assert heard(["CUDA out of memory"], **{"out-of-memory": ""}) == []
    assert heard(["broken"], **{"out-of-memory": "broken"}) == [("out-of-memory", "broken")]
    assert set(compiled({})) == set(SHIPPED)


@given(st.text(max_size=5000))
def test_any_line_is_borne_and_what_is_kept_is_short(line: str) -> None:
    for told in heard([line, "CUDA out of memory" + line]):
        assert len(told[1]) <= TOLD < LONGEST_LINE


def follow(path: Path, known: Position | None) -> tuple[list[str], Position | None]:
    lines: list[str] = []
    while (piece := read_on(path, known)) is not None:
        lines += piece.lines
        known = piece.position
        if not piece.more:
            break
    return lines, known


@given(st.data())
def test_a_log_is_read_whole_however_it_is_appended_to(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = data.draw(st.lists(st.text("aé 行\t", min_size=1, max_size=9), max_size=8))
    content = "".join(f"{line}\n" for line in lines).encode()
    path = tmp_path_factory.mktemp("log") / "train.log"
    found: list[str] = []
    known: Position | None = None
    begin = 0
    for cut in [*sorted(data.draw(st.lists(st.integers(0, len(content))))), len(content)]:
        with path.open("ab") as stream:
            stream.write(content[begin:cut])
        begin = cut
        more, known = follow(path, known)
        found += more
    assert found == lines


def test_a_rotated_log_is_read_to_its_end_and_then_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(b"one\ntwo")
    lines, known = follow(path, None)
    with path.open("ab") as stream:
        stream.write(b" and a half\nthree\n")
    path.rename(tmp_path / "train.log.1")
    path.write_bytes(b"four\n")
    more, known = follow(path, known)
    assert lines + more == ["one", "two and a half", "three", "four"]

    # Cut to nothing and written anew (logrotate's copytruncate).
    path.write_bytes(b"5\n")
    os.truncate(path, 2)
    assert follow(path, known)[0] == ["5"]


def test_a_log_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    assert read_on(tmp_path / "none.log", None) is None


def test_the_daemon_records_each_event_once_across_its_starts(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    log = tmp_path / "logs" / "train.log"
    log.parent.mkdir()
    log.write_bytes(b"\xff\xfe broken bytes\nstep 1\nCUDA out of memory\n")
    config = tmp_path / "config.yaml"
    config.write_text(f"run: {run}\ntrainer_log: {{files: ['{tmp_path}/logs/*.log']}}\n")

    def look() -> list[tuple[str, str]]:
        done = subprocess.run(
            [sys.executable, "-m", "resume_daemon", "run", "--once", "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        ledger = run / ".resume_daemon" / "ledger.jsonl"
        records = [record for record in read_records(ledger) if record.kind == "trainer"]
        return [(record.fields["event"], record.fields["line"]) for record in records]

    first = [("out-of-memory", "CUDA out of memory")]
    assert look() == first
    assert look() == first
    with log.open("ab") as stream:
        stream.write(b"wandb: Resuming run r1\n")
    assert look() == [*first, ("wandb-resume", "wandb: Resuming run r1")]
