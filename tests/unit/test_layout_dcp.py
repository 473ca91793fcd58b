from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from resume_daemon.errors import FormatError
from resume_daemon.findings import Verdict
from resume_daemon.formats.dcp_metadata import read_dcp_metadata
from tests.layouts.dcp import state_at, write_bare, write_dcp
from tests.torch_files import Global, Instance, pickled
from tests.verifying import found, manifest_of, told, verified

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_bare(tmp_path, 5)


def test_a_whole_directory_is_sound_and_every_piece_is_looked_at(checkpoint: Path) -> None:
    verification = verified(checkpoint)

    assert (verification.layout, verification.step) == ("dcp", 5)
    assert verification.verdict is Verdict.SOUND
    assert told(verification) == []
    assert verification.manifest is not None
    names = {record.name for record in verification.manifest.tensors["__1_0.distcp"]}
    assert "model.model.embed_tokens.weight@48,0" in names
    assert "optimizer.state.model.embed_tokens.weight.exp_avg@48,0" in names


def test_the_metadata_tells_every_tensor_and_where_its_pieces_lie(checkpoint: Path) -> None:
    metadata = read_dcp_metadata(checkpoint / ".metadata").value

    assert metadata.tensors["model.model.embed_tokens.weight"] == (96, 64)
    assert metadata.objects == {"lr_scheduler", "train_state"}
    first, *_ = metadata.shards["__1_0.distcp"]
    assert (first.begin, first.dtype, first.offsets, first.shape) == (0, "F32", (48, 0), (48, 64))


def test_a_directory_without_metadata_was_never_finished(checkpoint: Path) -> None:
    (checkpoint / ".metadata").unlink()

    assert verified(checkpoint).verdict is Verdict.INCOMPLETE


def test_a_shard_that_the_metadata_names_is_missed(checkpoint: Path) -> None:
    (checkpoint / "__1_0.distcp").unlink()
    verification = verified(checkpoint)

    assert told(verification) == ["RD116 error"]
    assert found(verification, "RD116").file == "__1_0.distcp"


def test_a_shard_of_a_larger_world_that_no_metadata_names_is_let_be(checkpoint: Path) -> None:
    (checkpoint / "__2_0.distcp").write_bytes(b"left behind")

    assert told(verified(checkpoint)) == []


@pytest.mark.parametrize("cut", [1, 4096])
def test_a_shard_that_is_cut_short_is_told_in_bytes(checkpoint: Path, cut: int) -> None:
    shard = checkpoint / "__1_0.distcp"
    shard.write_bytes(shard.read_bytes()[:-cut])
    verification = verified(checkpoint)

    assert told(verification) == ["RD301 error"]
    assert f"{cut} of {shard.stat().st_size + cut} bytes" in verification.findings[0].message


def test_bytes_after_the_last_piece_are_told(checkpoint: Path) -> None:
    with (checkpoint / "__0_0.distcp").open("ab") as shard:
        shard.write(b"x")

    assert told(verified(checkpoint)) == ["RD202 error"]


def test_a_flipped_bit_fails_the_checksum_of_its_piece(checkpoint: Path) -> None:
    shard = checkpoint / "__0_0.distcp"
    metadata = read_dcp_metadata(checkpoint / ".metadata").value
    first = metadata.shards["__0_0.distcp"][0]
    content = bytearray(shard.read_bytes())
    content[first.begin + first.size // 2] ^= 1
    shard.write_bytes(content)
    verification = verified(checkpoint)

    assert told(verification) == ["RD303 error"]
    assert "model.model.embed_tokens.weight" in verification.findings[0].message


def test_a_value_that_is_not_finite_is_told_with_its_tensor(tmp_path: Path) -> None:
    tensors, objects = state_at(5)
    tensors["model.model.norm.weight"][3] = np.nan
    tensors["optimizer.state.model.norm.weight.exp_avg"][0] = np.inf
    write_dcp(tmp_path / "step-5", tensors, objects)

    assert told(verified(tmp_path / "step-5")) == ["RD211 error", "RD311 error"]


def test_a_shard_of_another_step_contradicts_the_metadata(checkpoint: Path) -> None:
    other = write_bare(checkpoint.parent, 6)
    (checkpoint / "__1_0.distcp").write_bytes((other / "__0_0.distcp").read_bytes())

    assert verified(checkpoint).verdict is Verdict.UNSOUND


def test_pieces_that_do_not_make_up_their_tensor_are_told(tmp_path: Path) -> None:
    tensors, objects = state_at(5)
    write_dcp(tmp_path / "step-5", tensors, objects)
    whole = (tmp_path / "step-5" / ".metadata").read_bytes()
    rows = b"K\x60K\x40\x86"  # The tuple (96, 64), first as the shape of the embedding.
    (tmp_path / "step-5" / ".metadata").write_bytes(whole.replace(rows, b"K\x61K\x40\x86", 1))
    verification = verified(tmp_path / "step-5")

    assert told(verification) == ["RD204 error"]
    assert "6144 elements, and the tensor has 6208" in verification.findings[0].message


@pytest.mark.parametrize("name", ["../other/__0_0.distcp", "/etc/passwd", "..", ""])
def test_a_shard_that_lies_outside_is_refused(tmp_path: Path, name: str) -> None:
    module = "torch.distributed.checkpoint"
    metadata = Instance(
        Global(f"{module}.metadata", "Metadata"),
        state_dict_metadata={"it": Instance(Global(f"{module}.metadata", "BytesStorageMetadata"))},
        storage_data={
            Instance(Global(f"{module}.metadata", "MetadataIndex"), fqn="it"): Instance(
                Global(f"{module}.filesystem", "_StorageInfo"),
                relative_path=name,
                offset=0,
                length=1,
            )
        },
    )
    path = tmp_path / ".metadata"
    path.write_bytes(pickled(metadata))

    with pytest.raises(FormatError, match="lies outside"):
        read_dcp_metadata(path)


@pytest.mark.parametrize("value", [1, {"a": 1}, [], "Metadata"])
def test_any_other_pickle_is_no_metadata(tmp_path: Path, value: object) -> None:
    path = tmp_path / ".metadata"
    path.write_bytes(pickled(value))

    with pytest.raises(FormatError, match="not what torch writes"):
        read_dcp_metadata(path)


def test_the_optimizer_s_counters_are_found_in_the_shards(checkpoint: Path) -> None:
    manifest = manifest_of(checkpoint)

    assert manifest.steps["optimizer"] == 5
