from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.checkpoints import (
    adapter_at,
    shard,
    write_adapter,
    write_adapter_checkpoint,
    write_arguments,
    write_checkpoint,
    write_json,
    write_rank_states,
)
from tests.layouts.deepspeed import write_inside_huggingface, write_zero1
from tests.layouts.huggingface import write_fsdp_full, write_fsdp_local, write_fsdp_sharded
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, 10)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter_checkpoint(tmp_path, 10)


# Missing parts


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("optimizer.pt", "RD104 warning"),
        ("scheduler.pt", "RD105 warning"),
        ("rng_state.pth", "RD106 warning"),
        ("training_args.bin", "RD107 warning"),
        ("config.json", "RD108 warning"),
        ("model.safetensors", "RD101 error"),
        ("trainer_state.json", "RD102 error"),
    ],
)
def test_a_part_that_is_missing_is_named(checkpoint: Path, name: str, code: str) -> None:
    (checkpoint / name).unlink()
    verification = verified(checkpoint)

    assert told(verification) == [code]
    assert "missing" in verification.findings[0].message
    assert verification.findings[0].file in {name, None}


def test_where_no_form_of_weights_is_there_no_file_is_accused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()

    assert found(verified(checkpoint), "RD101").file is None


def test_each_missing_shard_is_named(checkpoint: Path) -> None:
    shard(checkpoint)
    for number in (1, 3):
        (checkpoint / f"model-{number:05d}-of-00003.safetensors").unlink()

    assert [f.file for f in verified(checkpoint).findings if f.code == "RD101"] == [
        "model-00001-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    ]


def test_many_missing_files_are_told_in_few_words(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    weight_map = {str(number): f"model-{number}.safetensors" for number in range(1000)}
    write_json(checkpoint / "model.safetensors.index.json", {"weight_map": weight_map})
    messages = [f.message for f in verified(checkpoint).findings if f.code == "RD101"]

    assert len(messages) == 9
    assert messages[-1] == "missing: 992 more files"


def test_the_marker_of_a_cut_off_save_is_an_error(checkpoint: Path) -> None:
    (checkpoint / "checkpoint-is-incomplete.txt").touch()

    assert found(verified(checkpoint), "RD103").file == "checkpoint-is-incomplete.txt"


# Adapters


def test_an_adapter_needs_no_model_configuration(adapter: Path) -> None:
    assert told(verified(adapter)) == []


def test_an_adapter_without_its_configuration_is_useless(adapter: Path) -> None:
    (adapter / "adapter_config.json").unlink()

    assert told(verified(adapter)) == ["RD109 error"]
    assert found(verified(adapter), "RD109").file == "adapter_model.safetensors"


def test_each_of_several_adapters_needs_both_of_its_files(adapter: Path) -> None:
    write_adapter(adapter / "ref", adapter_at(3))
    assert told(verified(adapter)) == []

    (adapter / "ref" / "adapter_config.json").unlink()
    assert found(verified(adapter), "RD109").file == "ref/adapter_model.safetensors"

    write_json(adapter / "ref" / "adapter_config.json", {"peft_type": "LORA"})
    (adapter / "adapter_model.safetensors").unlink()
    assert told(verified(adapter)) == ["RD101 error"]
    assert found(verified(adapter), "RD101").file == "adapter_model.safetensors"


# Model only


def test_a_checkpoint_without_state_is_fine_where_that_was_asked_for(checkpoint: Path) -> None:
    write_arguments(checkpoint, save_only_model=True)
    for name in STATES:
        (checkpoint / name).unlink()
    verification = verified(checkpoint)

    assert told(verification) == ["RD115 info"]
    assert verification.verdict == "sound"


def test_one_missing_state_is_a_loss_even_where_none_was_asked_for(checkpoint: Path) -> None:
    write_arguments(checkpoint, save_only_model=True)
    (checkpoint / "optimizer.pt").unlink()

    assert told(verified(checkpoint)) == ["RD104 warning"]


def test_without_the_arguments_nobody_asked_for_it(checkpoint: Path) -> None:
    for name in (*STATES, "training_args.bin"):
        (checkpoint / name).unlink()

    assert told(verified(checkpoint)) == [
        "RD104 warning",
        "RD105 warning",
        "RD106 warning",
        "RD107 warning",
    ]


# Engines


@pytest.mark.parametrize(
    "write", [write_inside_huggingface, write_fsdp_sharded, write_fsdp_local, write_fsdp_full]
)
def test_what_an_engine_keeps_elsewhere_is_not_missed(
    tmp_path: Path, write: Callable[[Path, int], Path]
) -> None:
    verification = verified(write(tmp_path / "engine", 10))

    assert verification.layout == "huggingface"
    assert told(verification) == []


@pytest.mark.parametrize("name", ["config.json", "training_args.bin"])
def test_deepspeed_saves_the_small_files_too(tmp_path: Path, name: str) -> None:
    checkpoint = write_inside_huggingface(tmp_path / "engine", 10)
    (checkpoint / name).unlink()

    assert len([code for code in told(verified(checkpoint)) if code.endswith("warning")]) == 1


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("global_step10/zero_pp_rank_1_mp_rank_00_model_states.pt", "rank 1 (1 of 2"),
        ("global_step10/zero_pp_rank_1_mp_rank_00_optim_states.pt", "rank 1 (1 of 2"),
        ("latest", "latest"),
    ],
)
def test_what_an_engine_needs_is_missed(tmp_path: Path, name: str, what: str) -> None:
    checkpoint = write_inside_huggingface(tmp_path / "engine", 10)
    (checkpoint / name).unlink()
    verification = verified(checkpoint)

    assert told(verification) in (["RD101 error"], ["RD116 error"])
    assert what in verification.findings[0].message


def test_a_tag_that_is_not_there_is_told(tmp_path: Path) -> None:
    checkpoint = write_inside_huggingface(tmp_path / "engine", 10)
    (checkpoint / "latest").write_text("global_step9")

    assert "global_step9/ (which latest names)" in found(verified(checkpoint), "RD116").message


def test_the_adapter_of_a_sub_directory_is_no_engine_s(adapter: Path) -> None:
    write_adapter(adapter / "ref", adapter_at(3))
    (adapter / "training_args.bin").unlink()

    assert told(verified(adapter)) == ["RD107 warning"]


def test_files_that_no_reader_knows_are_told_to_be_unjudged(tmp_path: Path) -> None:
    checkpoint = write_zero1(tmp_path / "engine", 10)
    offloaded = checkpoint / "offloaded_tensors" / "rank0"
    offloaded.mkdir(parents=True)
    (offloaded / "0.tensor.swp").write_bytes(b"of an engine")

    assert told(verified(checkpoint)) == ["RD114 info"]


# Tokenizer


def test_a_lost_tokenizer_is_told_by_what_it_left_behind(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()

    assert told(verified(checkpoint)) == ["RD110 warning"]
    assert "tokenizer_config.json is" in found(verified(checkpoint), "RD110").message


def test_a_run_without_a_tokenizer_lacks_none(tmp_path: Path) -> None:
    before, checkpoint = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    for each in (before, checkpoint):
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (each / name).unlink()

    assert told(verified(checkpoint, before=before)) == []


def test_a_tokenizer_that_the_checkpoint_before_had_is_lost(tmp_path: Path) -> None:
    before, checkpoint = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()

    assert told(verified(checkpoint, before=before)) == ["RD110 warning"]


@pytest.mark.parametrize(
    "name", ["tokenizer.model", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"]
)
def test_a_tokenizer_may_have_another_form(checkpoint: Path, name: str) -> None:
    (checkpoint / "tokenizer.json").rename(checkpoint / name)

    assert told(verified(checkpoint)) == []


def test_a_tokenizer_that_is_only_slower_is_told_where_there_was_a_fast_one(
    tmp_path: Path,
) -> None:
    before, checkpoint = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    for each in (before, checkpoint):
        write_json(each / "vocab.json", {"a": 0})
    (checkpoint / "tokenizer.json").unlink()

    assert told(verified(checkpoint)) == []
    assert told(verified(checkpoint, before=before)) == ["RD110 warning"]


def test_files_that_a_newer_version_does_not_write_are_not_missed(tmp_path: Path) -> None:
    before, checkpoint = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    write_json(before / "vocab.json", {"a": 0})
    (before / "merges.txt").write_text("")

    assert told(verified(checkpoint, before=before)) == []


# Ranks


def test_the_random_states_of_all_ranks_are_enough(checkpoint: Path) -> None:
    write_arguments(checkpoint, processes=4)
    write_rank_states(checkpoint, 4)

    assert told(verified(checkpoint)) == []


@pytest.mark.parametrize("known", [True, False])
def test_a_rank_in_the_middle_is_missed(checkpoint: Path, known: bool) -> None:
    write_arguments(checkpoint, **({"processes": 4} if known else {"distributed_state": None}))
    write_rank_states(checkpoint, 4)
    (checkpoint / "rng_state_1.pth").unlink()

    assert found(verified(checkpoint), "RD111").message == (
        "1 of 4 ranks' random states are missing: rng_state_1.pth"
    )


def test_the_last_ranks_are_missed_where_the_arguments_tell_how_many_there_were(
    checkpoint: Path,
) -> None:
    write_rank_states(checkpoint, 2)
    write_arguments(checkpoint, distributed_state=None)
    assert told(verified(checkpoint)) == []

    write_arguments(checkpoint, processes=64)
    assert found(verified(checkpoint), "RD111").message.startswith("62 of 64 ranks'")


def test_one_state_for_several_processes_is_not_theirs(checkpoint: Path) -> None:
    write_arguments(checkpoint, processes=2)

    assert told(verified(checkpoint)) == ["RD111 warning"]


def test_where_no_random_state_is_left_that_is_told_once(checkpoint: Path) -> None:
    write_arguments(checkpoint, processes=2)
    (checkpoint / "rng_state.pth").unlink()

    assert told(verified(checkpoint)) == ["RD106 warning"]


def test_the_last_ranks_are_missed_where_the_checkpoint_before_had_them(tmp_path: Path) -> None:
    before, checkpoint = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    for each in (before, checkpoint):
        write_arguments(each, distributed_state=None)
        write_rank_states(each, 4)
    (checkpoint / "rng_state_3.pth").unlink()

    assert told(verified(checkpoint)) == []
    assert told(verified(checkpoint, before=before)) == ["RD111 warning"]


@pytest.mark.parametrize(("then", "now"), [(8, 4), (4, 8), (4, 1), (1, 4)])
def test_a_run_that_is_resumed_on_another_number_of_devices_lost_no_rank(
    tmp_path: Path, then: int, now: int
) -> None:
    before, checkpoint = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    for each, processes in ((before, then), (checkpoint, now)):
        write_arguments(each, processes=processes)
        if processes > 1:
            write_rank_states(each, processes)

    assert told(verified(checkpoint, before=before)) == []


def test_states_that_a_larger_save_of_the_same_step_left_behind_are_no_matter(
    checkpoint: Path,
) -> None:
    write_rank_states(checkpoint, 8)
    write_arguments(checkpoint, processes=4)

    assert told(verified(checkpoint)) == []


def test_a_rank_of_an_absurd_number_costs_neither_time_nor_memory(checkpoint: Path) -> None:
    write_arguments(checkpoint, distributed_state=None)
    write_rank_states(checkpoint, 1)
    (checkpoint / "rng_state_0.pth").rename(checkpoint / "rng_state_999999999.pth")

    assert "999999999 of 1000000000" in found(verified(checkpoint), "RD111").message


# Links and special files


def test_a_link_out_of_the_run_is_told_and_not_followed(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run", 10)
    (checkpoint / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (checkpoint / "model.safetensors").symlink_to("../../elsewhere.safetensors")
    verification = verified(checkpoint)

    assert told(verification) == ["RD112 warning"]
    assert verification.bytes_read < (tmp_path / "elsewhere.safetensors").stat().st_size * 3
    assert verification.manifest is not None
    assert "model.safetensors" not in {file.name for file in verification.manifest.files}


def test_a_link_inside_the_run_is_followed(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 10)
    (checkpoint / "model.safetensors").rename(tmp_path / "shared.safetensors")
    (checkpoint / "model.safetensors").symlink_to("../shared.safetensors")

    assert told(verified(checkpoint)) == []
    content = (tmp_path / "shared.safetensors").read_bytes()
    (tmp_path / "shared.safetensors").write_bytes(content[:-1])
    assert "RD202 error" in told(verified(checkpoint))


@pytest.mark.parametrize(
    ("name", "code"), [("optimizer.pt", "RD113 error"), ("notes", "RD113 info")]
)
def test_a_fifo_is_never_opened_and_matters_where_a_part_should_be(
    checkpoint: Path, name: str, code: str
) -> None:
    (checkpoint / name).unlink(missing_ok=True)
    os.mkfifo(checkpoint / name)

    assert told(verified(checkpoint)) == [code]


def test_an_index_outside_of_the_run_is_not_read(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run", 10)
    shard(checkpoint)
    index = checkpoint / "model.safetensors.index.json"
    assert json.loads(index.read_text())
    index.rename(tmp_path / "index.json")
    index.symlink_to("../../index.json")
    verification = verified(checkpoint)

    assert "no file of this run" in found(verification, "RD101").message
    assert found(verification, "RD112").file == index.name


@pytest.mark.parametrize(
    ("write", "name"), [(write_fsdp_sharded, "optimizer_0"), (write_fsdp_full, "optimizer.bin")]
)
def test_a_missing_optimizer_is_called_as_fsdp_calls_it(
    tmp_path: Path, write: Callable[[Path, int], Path], name: str
) -> None:
    checkpoint = write(tmp_path, 10)
    shutil.rmtree(checkpoint / name, ignore_errors=True)
    (checkpoint / name).unlink(missing_ok=True)
    assert found(verified(checkpoint), "RD104").message == f"{name} is missing"


def test_beside_a_missing_model_of_fsdp_only_that_is_told(tmp_path: Path) -> None:
    checkpoint = write_fsdp_sharded(tmp_path, 10)
    shutil.rmtree(checkpoint / "pytorch_model_fsdp_0")
    assert told(verified(checkpoint)) == ["RD101 error"]
