from __future__ import annotations

import json
import os
import re
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from resume_daemon.errors import CancelledError, ChangedError, UsageError, VanishedError
from resume_daemon.formats.torch_file import read_torch_file
from resume_daemon.reading.scan import ReadOptions
from resume_daemon.verification import Depth, Options, verify
from tests.checkpoints import (
    adapter_at,
    shard,
    weights_at,
    write_adapter,
    write_adapter_checkpoint,
    write_arguments,
    write_checkpoint,
    write_rank_states,
    zero_second_half,
)
from tests.real.damages import DAMAGES, Damage
from tests.torch_files import write_torch_file
from tests.verifying import manifest_of, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resume_daemon.verification import Verification

WEIGHTS = "model.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, 10)


# Whole


def full(run: Path) -> Path:
    return write_checkpoint(run, 10)


def adapter(run: Path) -> Path:
    return write_adapter_checkpoint(run, 10)


def two_adapters(run: Path) -> Path:
    checkpoint = write_adapter_checkpoint(run, 10)
    write_adapter(checkpoint / "ref", adapter_at(0))
    return checkpoint


def sharded(run: Path) -> Path:
    checkpoint = write_checkpoint(run, 10)
    shard(checkpoint)
    return checkpoint


def torch_weights(run: Path) -> Path:
    checkpoint = write_checkpoint(run, 10)
    (checkpoint / WEIGHTS).unlink()
    write_torch_file(checkpoint / "pytorch_model.bin", weights_at(10))
    return checkpoint


def torch_adapter(run: Path) -> Path:
    checkpoint = write_adapter_checkpoint(run, 10)
    (checkpoint / "adapter_model.safetensors").unlink()
    write_torch_file(checkpoint / "adapter_model.bin", adapter_at(10))
    return checkpoint


def only_the_model(run: Path) -> Path:
    checkpoint = write_checkpoint(run, 10)
    write_arguments(checkpoint, save_only_model=True)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (checkpoint / name).unlink()
    return checkpoint


def four_ranks(run: Path) -> Path:
    checkpoint = write_checkpoint(run, 10)
    write_arguments(checkpoint, processes=4)
    write_rank_states(checkpoint, 4)
    return checkpoint


def half_precision(run: Path) -> Path:
    checkpoint = write_checkpoint(run, 10)
    write_torch_file(checkpoint / "scaler.pt", {"scale": 65536.0, "_growth_tracker": 10})
    return checkpoint


def tied_and_frozen(run: Path) -> Path:
    checkpoint = write_checkpoint(run, 10)
    weights = load_file(checkpoint / WEIGHTS)
    weights["model.layers.0.mlp.down_proj.bias"] = np.zeros(4096, np.float32)
    embedding = weights["model.embed_tokens.weight"].copy()
    embedding[0] = embedding[-20:] = 0
    save_file({**weights, "model.embed_tokens.weight": embedding}, checkpoint / WEIGHTS)
    return checkpoint


def with_files_of_others(run: Path) -> Path:
    checkpoint = write_checkpoint(run, 10)
    (checkpoint / "README.md").write_text("a model card")
    (checkpoint / "entropy_ctrl_state.json").write_text('{"entropy_coef": 0.1}')
    rng = OrderedDict(python=(3, (1,), None))
    write_torch_file(checkpoint / "user_content.pt", rng)
    return checkpoint


KINDS = [
    full,
    adapter,
    two_adapters,
    sharded,
    torch_weights,
    torch_adapter,
    only_the_model,
    four_ranks,
    half_precision,
    tied_and_frozen,
    with_files_of_others,
]


@pytest.mark.parametrize("write", KINDS)
def test_a_whole_checkpoint_of_any_kind_is_sound(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    checkpoint = write(tmp_path)
    alone = verified(checkpoint)

    assert alone.verdict == "sound"
    assert {finding.severity for finding in alone.findings} <= {"info"}
    assert (alone.layout, alone.step) == ("huggingface", 10)
    again = verified(checkpoint, recorded=manifest_of(checkpoint))
    assert told(again) == told(alone)
    assert verified(checkpoint, depth=Depth.QUICK).verdict == "sound"


def test_a_run_of_checkpoints_is_sound_from_one_to_the_next(tmp_path: Path) -> None:
    before = write_checkpoint(tmp_path, 5)
    for step in (10, 15):
        checkpoint = write_checkpoint(tmp_path, step)
        assert told(verified(checkpoint, before=before)) == []
        before = checkpoint


# Damaged


def flip_a_bit(checkpoint: Path, _: Path) -> None:
    path = checkpoint / "optimizer.pt"
    span = read_torch_file(path).tensors["state.0.exp_avg"].span
    assert span is not None
    content = bytearray(path.read_bytes())
    content[span.begin + span.size // 2] ^= 0x04
    path.write_bytes(content)


WITHOUT_TORCH = {"optimizer.pt bit flipped": flip_a_bit}
TWENTY_THREE = [
    replace(damage, apply=WITHOUT_TORCH.get(damage.name, damage.apply)) for damage in DAMAGES
]


@pytest.mark.parametrize("damage", TWENTY_THREE, ids=lambda damage: damage.name)
def test_a_damaged_checkpoint_is_never_sound(damage: Damage, tmp_path: Path) -> None:
    before, checkpoint = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    damage.apply(checkpoint, before)

    assert verified(checkpoint).verdict is damage.verdict
    beside = verified(checkpoint, before=before)
    assert beside.verdict is damage.verdict
    codes = tuple(finding.code for finding in beside.findings)
    assert codes in {damage.codes, damage.either or damage.codes}


def test_a_quick_look_sees_what_headers_tell_and_reads_no_content(checkpoint: Path) -> None:
    zero_second_half(checkpoint / WEIGHTS)
    quick = verified(checkpoint, depth=Depth.QUICK)
    assert (quick.verdict, quick.bytes_read, quick.manifest) == ("sound", 0, None)
    assert verified(checkpoint).verdict == "unsound"

    content = (checkpoint / WEIGHTS).read_bytes()
    (checkpoint / WEIGHTS).write_bytes(content[:-1])
    assert verified(checkpoint, depth=Depth.QUICK).verdict == "unsound"


def test_a_save_that_never_ended_is_incomplete_and_its_content_is_not_read(
    checkpoint: Path,
) -> None:
    (checkpoint / "trainer_state.json").unlink()
    verification = verified(checkpoint)

    assert verification.verdict == "incomplete"
    assert (verification.bytes_read, verification.manifest) == (0, None)


# The two real runs

ABOUT = {
    "RD101 error": "adapter_model",
    "RD104 warning": "optimizer",
    "RD105 warning": "scheduler",
    "RD106 warning": "rng_state",
    "RD107 warning": "training_args",
    "RD110 warning": "tokenizer",
}


def test_of_each_real_checkpoint_exactly_what_it_lacks_is_said(shared_runs: Path) -> None:
    checkpoints = sorted(shared_runs.glob("*/checkpoint-*"))
    assert len(checkpoints) == 10
    for checkpoint in checkpoints:
        verification = verified(checkpoint)
        assert verification.verdict == "unsound"
        assert told(verification) == list(ABOUT)
        for finding, word in zip(verification.findings, ABOUT.values(), strict=True):
            assert word in finding.message
            for text in (finding.message, finding.file or ""):
                assert not re.search(r"(?<!adapter_)config\.json", text)
                assert not re.search(r"(?<!adapter_)model\.safetensors", text)


# Reading


def test_every_byte_is_counted_once(checkpoint: Path) -> None:
    progress: list[int] = []
    verification = verify(checkpoint, boundary=checkpoint.parent, progress=progress.append)

    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    assert verification.bytes_read == size == sum(progress)
    assert len(progress) == len(list(checkpoint.iterdir()))


def test_nothing_is_written_into_the_checkpoint(checkpoint: Path) -> None:
    before = checkpoint.stat().st_mtime_ns, sorted(checkpoint.iterdir())
    verified(checkpoint)

    assert (checkpoint.stat().st_mtime_ns, sorted(checkpoint.iterdir())) == before


class Meanwhile:
    """Something that happens once, at the first, second, ... time that the reader asks."""

    def __init__(self, happens: Callable[[], object], *, at: int = 1) -> None:
        self._happens = happens
        self._left = at
        self._lock = threading.Lock()

    def __call__(self) -> bool:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._happens()
        return False


def verify_while(checkpoint: Path, happens: Callable[[], object], *, at: int = 1) -> Verification:
    reading = ReadOptions(workers=1, read_bytes=65536)
    return verify(
        checkpoint,
        boundary=checkpoint.parent,
        options=Options(reading=reading),
        cancelled=Meanwhile(happens, at=at),
    )


@pytest.mark.parametrize("at", range(1, 12, 2))
@pytest.mark.parametrize("name", [WEIGHTS, "optimizer.pt", "config.json"])
def test_a_file_that_goes_away_meanwhile_is_no_damage(checkpoint: Path, name: str, at: int) -> None:
    with pytest.raises((VanishedError, ChangedError)):
        verify_while(checkpoint, (checkpoint / name).unlink, at=at)


def test_a_checkpoint_that_is_removed_meanwhile_has_vanished(checkpoint: Path) -> None:
    def rotate() -> None:
        for path in checkpoint.iterdir():
            path.unlink()
        checkpoint.rmdir()

    with pytest.raises(VanishedError):
        verify_while(checkpoint, rotate)


@pytest.mark.parametrize("at", range(1, 12, 2))
@pytest.mark.parametrize("name", [WEIGHTS, "trainer_state.json"])
def test_a_file_that_is_written_meanwhile_belongs_to_no_moment(
    checkpoint: Path, name: str, at: int
) -> None:
    path = checkpoint / name
    content = path.read_bytes()

    def write() -> None:
        path.write_bytes(content)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))

    with pytest.raises(ChangedError):
        verify_while(checkpoint, write, at=at)


def test_a_file_that_is_added_meanwhile_is_waited_for(checkpoint: Path) -> None:
    with pytest.raises(ChangedError, match="when it is quiet"):
        verify_while(checkpoint, (checkpoint / "rng_state_1.pth").touch)


@pytest.mark.timeout(10)
def test_the_work_can_be_called_off(checkpoint: Path) -> None:
    with pytest.raises(CancelledError):
        verify(checkpoint, boundary=checkpoint.parent, cancelled=lambda: True)
    assert not [t for t in threading.enumerate() if t.name.startswith("scan")]


@pytest.mark.timeout(10)
def test_fifos_and_links_out_of_the_run_are_never_opened(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run", 10)
    for name in ("optimizer.pt", "tokenizer.json"):
        (checkpoint / name).unlink()
    os.mkfifo(checkpoint / "optimizer.pt")
    os.mkfifo(tmp_path / "outside")
    (checkpoint / "tokenizer.json").symlink_to("../../outside")

    verification = verified(checkpoint)
    assert sorted(told(verification)) == ["RD112 warning", "RD113 error"]


def test_names_that_are_no_text_are_verified_and_kept(checkpoint: Path) -> None:
    name = os.fsdecode(b"caf\xe9.bin")
    (checkpoint / name).write_bytes(b"1")
    manifest = manifest_of(checkpoint)

    assert name in {file.name for file in manifest.files}
    assert json.loads(manifest.encode())
    assert told(verified(checkpoint, recorded=manifest)) == []


# What it is


def test_what_is_no_checkpoint_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README.md").touch()

    with pytest.raises(UsageError, match=r"I know: it holds README\.md"):
        verified(tmp_path / "docs")


def test_what_is_not_there_has_vanished(tmp_path: Path) -> None:
    with pytest.raises(VanishedError):
        verified(tmp_path / "checkpoint-5")


def test_an_empty_directory_of_the_name_is_a_save_that_never_began(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()

    assert verified(tmp_path / "checkpoint-5").verdict == "incomplete"


def test_the_json_of_a_verification_has_the_promised_shape(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").unlink()
    document = json.loads(json.dumps(verified(checkpoint).as_json()))

    assert list(document) == [
        "path",
        "layout",
        "step",
        "verdict",
        "findings",
        "bytes_read",
        "seconds",
        "judged_at",
    ]
    assert document["path"] == str(checkpoint)
    assert document["verdict"] == "degraded"
    assert list(document["findings"][0]) == ["code", "severity", "file", "message", "hint"]
