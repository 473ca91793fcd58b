from __future__ import annotations

import json
import os
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from resume_daemon.curriculum.documents import NotWholeError, parse_state
from resume_daemon.curriculum.schemas import known_schemas
from resume_daemon.curriculum.state import Missing, Refused, StateVersion, Torn, read_state
from resume_daemon.files import read_bounded

if TYPE_CHECKING:
    from pathlib import Path

SCHEMAS = known_schemas()
OLD_NS = 1_600_000_000_000_000_000
STATE = {
    "current_stage": 4,
    "performance_history": [{"step": step, "performance": 0.5} for step in range(102, 302, 2)],
    "timestamp": "2025-06-15T10:56:33",
}


def no_wait(_attempt: int) -> None:
    """Return at once: the file of a test is not written by anybody else."""


def read(path: Path, **options: Any) -> Any:
    return read_state(path, run=path.parent, schemas=SCHEMAS, wait=no_wait, **options)


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_a_whole_state_is_read_with_what_it_says(tmp_path: Path) -> None:
    path = write(tmp_path / "curriculum_state_detailed.json", STATE)
    found = read(path)
    assert isinstance(found, StateVersion)
    assert found.content == path.read_bytes()
    assert found.digest == blake3(found.content).hexdigest()
    assert (found.schema, found.stage, found.step) == ("grpo-clean-detailed", 4, 300)
    assert found.trainer_step == 300
    assert found.history is not None
    assert (found.history.count, found.history.first_step) == (100, 102)
    assert found.valid_json


def test_a_step_that_counts_samples_is_no_trainer_step(tmp_path: Path) -> None:
    found = read(write(tmp_path / "curriculum_state.json", {"position": 640}))
    assert (found.step, found.trainer_step) == (640, None)


def test_a_quiet_file_is_read_once_and_a_young_one_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "curriculum_state.json", STATE)
    waits: list[int] = []
    options: dict[str, Any] = {"run": tmp_path, "schemas": SCHEMAS, "wait": waits.append}
    assert isinstance(read_state(path, **options), StateVersion)
    assert waits == [1]
    os.utime(path, ns=(OLD_NS, OLD_NS))
    assert isinstance(read_state(path, **options), StateVersion)
    assert waits == [1]


@pytest.mark.parametrize(
    ("name", "content", "how"),
    [
        ("s.json", b"", "empty"),
        ("s.json", b"\0" * 64, "zero"),
        ("s.json", b'{"current_stage": 1, "perf', "not whole JSON"),
        ("s.json", b'{"a": 1}"b": 2}', "not whole JSON"),
        ("s.json", b"[" * 100_000, "too deeply"),
        ("s.json", b"12", "bare value"),
        ("state", b'{"current_stage": 1, "perf', "not whole JSON"),
        ("s.yaml", b"a: [1, 2", "not whole YAML"),
        ("s.yaml", b"[" * 3_000, "too deeply"),
        ("s.yaml", b"a: !!timestamp x", "not whole YAML"),
        ("s.pt", b"PK\x03\x04" + b"x" * 100, "lacks the end"),
        ("s.pkl", pickle.dumps([1, 2, 3])[:-1], "lacks the end"),
    ],
)
def test_a_file_that_stays_torn_is_never_kept_and_the_reason_is_said(
    tmp_path: Path, name: str, content: bytes, how: str
) -> None:
    (tmp_path / name).write_bytes(content)
    found = read(tmp_path / name, attempts=2)
    assert isinstance(found, Torn)
    assert how in found.how
    assert "2 attempts" in found.how


@pytest.mark.parametrize("name", ["state.bin", "s.pkl"])
def test_a_whole_file_of_an_unknown_kind_is_kept_byte_for_byte(tmp_path: Path, name: str) -> None:
    content = pickle.dumps({"cursor": 3})
    (tmp_path / name).write_bytes(content)
    found = read(tmp_path / name)
    assert isinstance(found, StateVersion)
    assert (found.content, found.schema, found.valid_json) == (content, None, False)


def test_yaml_is_read_like_json(tmp_path: Path) -> None:
    (tmp_path / "curriculum_state.yaml").write_text("current_stage: 2\nglobal_step: 30\n")
    found = read(tmp_path / "curriculum_state.yaml")
    assert (found.stage, found.step) == (2, 30)


def test_a_writer_that_is_done_by_the_next_attempt_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "curriculum_state.json"
    path.write_bytes(b'{"current_stage": 1')

    def finish(_attempt: int) -> None:
        write(path, STATE)

    found = read_state(path, run=tmp_path, schemas=SCHEMAS, wait=finish)
    assert isinstance(found, Torn)  # It was rewritten between any two readings.
    path.write_bytes(b'{"current_stage": 1')
    left = iter([finish])

    def wait(attempt: int) -> None:
        next(left, no_wait)(attempt)

    found = read_state(path, run=tmp_path, schemas=SCHEMAS, wait=wait)
    assert isinstance(found, StateVersion)
    assert found.stage == 4


def test_a_file_that_changes_during_the_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "curriculum_state.json", {"current_stage": 1})
    os.utime(path, ns=(OLD_NS, OLD_NS))

    def read_and_rewrite(target: Path, limit: int) -> bytes:
        monkeypatch.undo()
        content = read_bounded(target, limit)
        write(target, {"current_stage": 2})
        os.utime(target, ns=(OLD_NS + 1, OLD_NS + 1))
        return content

    monkeypatch.setattr("resume_daemon.curriculum.state.read_bounded", read_and_rewrite)
    assert read(path).stage == 2


def test_what_is_no_file_of_the_run_is_not_opened(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    os.mkfifo(run / "fifo.json")
    write(tmp_path / "outside.json", STATE)
    (run / "link.json").symlink_to(tmp_path / "outside.json")
    write(run / "inside.json", STATE)
    (run / "good.json").symlink_to("inside.json")
    (run / "loop.json").symlink_to("loop.json")
    assert isinstance(read(run / "fifo.json"), Refused)
    assert isinstance(read(run / "link.json"), Refused)
    assert isinstance(read(run / "loop.json"), Refused)
    assert isinstance(read(run / "good.json"), StateVersion)
    assert isinstance(read(run / "absent.json"), Missing)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "curriculum_state.json"
    with path.open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    assert isinstance(read(path), Refused)


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), min_size=1))
def test_no_beginning_of_a_json_object_passes_for_the_whole(value: dict[str, Any]) -> None:
    content = json.dumps(value).encode()
    assert parse_state("s.json", content) == value
    for length in range(len(content)):
        with pytest.raises(NotWholeError):
            parse_state("s.json", content[:length])


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(min_value=1, max_value=400), min_size=2, max_size=6))
def test_a_reader_beside_a_writer_in_place_keeps_whole_versions_only(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    path = tmp_path_factory.mktemp("run") / "curriculum_state_detailed.json"
    documents = [
        json.dumps({"current_stage": n, "performance_history": [{"step": s} for s in range(n)]})
        for n in lengths
    ]
    whole = {document.encode() for document in documents}
    path.write_text(documents[0])
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            for document in documents:
                with path.open("w") as file:
                    for start in range(0, len(document), 97):
                        file.write(document[start : start + 97])
                        file.flush()

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        readings = [read(path, attempts=20) for _ in range(40)]
    finally:
        stop.set()
        writer.join(timeout=30)
    assert all(isinstance(r, (StateVersion, Torn)) for r in readings)
    assert {r.content for r in readings if isinstance(r, StateVersion)} <= whole
    last = read(path)
    assert isinstance(last, StateVersion)
    assert last.content in whole
