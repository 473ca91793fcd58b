from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.demo.curriculum import FILE, load_curriculum
from resume_daemon.demo.safetensors_file import safetensors_file
from resume_daemon.demo.trainer import train
from resume_daemon.findings import Verdict
from resume_daemon.formats.known_globals import Judgement, judge
from resume_daemon.formats.safetensors import problems, read_header
from resume_daemon.formats.torch_archive import Enumerated, Instance, NumpyArray, torch_archive
from resume_daemon.formats.torch_file import read_torch_file
from resume_daemon.verification import verify

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 10

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of ten steps that was never interrupted, with a save every five."""
    output = tmp_path_factory.mktemp("run")
    train(output, until=STEPS, steps=STEPS, save_steps=5, log=lambda _: None)
    return output


@given(value=plain)
def test_a_torch_archive_gives_plain_values_back(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.pt"
    path.write_bytes(torch_archive("plain", value))
    assert read_torch_file(path).value == value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(6, dtype=np.int64).reshape(3, 2).T,
        np.array(7, np.float32),
        np.zeros((0, 3), np.uint8),
    ],
    ids=["three dimensions", "transposed", "scalar", "empty"],
)
def test_a_torch_archive_gives_tensors_back(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    path = tmp_path / "tensors.pt"
    path.write_bytes(torch_archive("tensors", {"other": np.zeros(5, np.uint8), "it": array}))
    tensor = read_torch_file(path).tensors["it"]
    assert tensor.shape == array.shape
    assert tensor.span is not None
    content = path.read_bytes()[tensor.span.begin : tensor.span.end]
    assert content == array.tobytes()
    assert tensor.span.begin % 64 == 0 or not content, "torch maps records that are aligned"


def test_records_of_a_torch_archive_are_stored_with_their_checksums(tmp_path: Path) -> None:
    path = tmp_path / "it.pt"
    path.write_bytes(torch_archive("it", [np.arange(9, dtype=np.float32)]))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("it/byteorder") == b"little"


def test_objects_are_named_and_known_to_be_harmless(tmp_path: Path) -> None:
    value = Instance(
        "transformers.training_args",
        "TrainingArguments",
        {"kind": Enumerated("transformers.trainer_utils", "SchedulerType", "linear")},
    )
    path = tmp_path / "training_args.bin"
    path.write_bytes(torch_archive("training_args", [value, NumpyArray(np.arange(3))]))
    found = read_torch_file(path)
    assert found.value[0].state["kind"].arguments == ("linear",)
    assert {judge(reference) for reference in found.references} == {Judgement.KNOWN}


def test_what_a_torch_archive_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        torch_archive("it", {"a": {1, 2}})


def test_the_real_library_reads_the_safetensors_files(tmp_path: Path) -> None:
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a.bias": np.array([1, 2], np.int64),
        "c": np.array(5, np.uint8),
    }
    content = safetensors_file(tensors)
    read = safetensors.numpy.load(content)
    assert {name: value.tolist() for name, value in read.items()} == {
        name: value.tolist() for name, value in tensors.items()
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    header = read_header(path)
    assert not list(problems(header))


@pytest.mark.parametrize("length", range(1, 9))
def test_the_data_of_a_safetensors_file_begins_at_a_multiple_of_eight(length: int) -> None:
    content = safetensors_file({"x" * length: np.zeros(1, np.float32)})
    assert int.from_bytes(content[:8], "little") % 8 == 0
    assert list(safetensors.numpy.load(content)) == ["x" * length]


def test_checkpoints_of_the_demo_are_sound(run: Path) -> None:
    for step in (5, 10):
        found = verify(run / f"checkpoint-{step}", boundary=run)
        assert found.verdict is Verdict.SOUND
        assert not found.findings, "nothing about them is even doubtful"


def test_a_resume_is_exact_to_the_last_bit(run: Path, tmp_path: Path) -> None:
    rows: list[Any] = []
    train(tmp_path, until=5, steps=STEPS, save_steps=5, log=rows.append)
    train(
        tmp_path,
        until=STEPS,
        steps=STEPS,
        save_steps=5,
        resume_from=tmp_path / "checkpoint-5",
        log=rows.append,
    )
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        straight = (run / "checkpoint-10" / name).read_bytes()
        assert (tmp_path / "checkpoint-10" / name).read_bytes() == straight, name
    steps = [row["train/global_step"] for row in rows if "train/global_step" in row]
    assert steps == list(range(1, STEPS + 1))


def test_the_trainer_really_learns(run: Path) -> None:
    state = json.loads((run / "checkpoint-10" / "trainer_state.json").read_text())
    losses = [entry["loss"] for entry in state["log_history"]]
    assert len(losses) == STEPS
    assert losses[-1] < losses[0] - 0.5
    before, after = (
        safetensors.numpy.load_file(run / f"checkpoint-{step}" / "model.safetensors")
        for step in (5, 10)
    )
    assert not np.array_equal(before["model.layers.0.weight"], after["model.layers.0.weight"])


def test_the_curriculum_advances_and_runs_ahead_of_a_resume(run: Path, tmp_path: Path) -> None:
    assert load_curriculum(run).stage > 0, "ten steps are enough for the first stage"
    (tmp_path / FILE).write_bytes((run / FILE).read_bytes())
    train(
        tmp_path,
        until=6,
        steps=STEPS,
        save_steps=5,
        resume_from=run / "checkpoint-5",
        log=lambda _: None,
    )
    assert [entry["step"] for entry in load_curriculum(tmp_path).history][-2:] == [10, 6]
