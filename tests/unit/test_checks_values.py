from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from resume_daemon.formats.safetensors import read_header
from resume_daemon.reading.zero_runs import PAGE
from tests.checkpoints import (
    HIDDEN,
    LAYERS,
    Weights,
    adapter_at,
    edit_state,
    optimizer_at,
    shard,
    weights_at,
    write_adapter_checkpoint,
    write_checkpoint,
    write_json,
    zero_second_half,
)
from tests.layouts.fsdp import piece_of
from tests.layouts.verl import write_fsdp
from tests.torch_files import write_legacy_torch_file, write_torch_file
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = "model.safetensors"
ADAPTER = "adapter_model.safetensors"
EMBEDDING = "model.embed_tokens.weight"
PROJECTION = "model.layers.1.mlp.down_proj.weight"
NORM = "model.norm.weight"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, 10)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)


def with_weights(checkpoint: Path, **changes: Any) -> Path:
    """Save the weights again with some changed; the names' dots are written as two underscores."""
    changed = {name.replace("__", "."): array for name, array in changes.items()}
    save_file({**load_file(checkpoint / WEIGHTS), **changed}, checkpoint / WEIGHTS)
    return checkpoint


def zero_bytes(path: Path, begin: int, end: int) -> None:
    content = bytearray(path.read_bytes())
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)


def lora(**kinds: np.ndarray[Any, Any]) -> Weights:
    """Return an adapter's tensors of these kinds in every layer."""
    stem = "base_model.model.model.layers"
    return {
        f"{stem}.{layer}.self_attn.q_proj.{kind.replace('__', '.')}": array.astype(np.float32)
        for layer in range(LAYERS)
        for kind, array in kinds.items()
    }


ONES, ZEROS = np.ones((HIDDEN, HIDDEN)), np.zeros((HIDDEN, HIDDEN))


# Not finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 777, -1])
def test_one_value_that_is_not_finite_is_an_error(
    checkpoint: Path, value: float, place: int
) -> None:
    weight = load_file(checkpoint / WEIGHTS)[PROJECTION].copy()
    weight.flat[place] = value
    with_weights(checkpoint, **{PROJECTION: weight})
    verification = verified(checkpoint)

    assert told(verification) == ["RD211 error"]
    assert PROJECTION in found(verification, "RD211").message


@pytest.mark.parametrize("count", [1, 2016, 64 * 64])
def test_infinity_in_a_square_weight_is_no_mask_unless_it_fills_one_side(
    checkpoint: Path, count: int
) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    weight = load_file(checkpoint / WEIGHTS)[name].copy()
    weight.flat[:count] = -np.inf
    with_weights(checkpoint, **{name: weight})

    expected = [] if count == 64 * 63 // 2 else ["RD211 error"]
    assert told(verified(checkpoint)) == expected


def test_tensors_that_are_not_finite_are_counted(checkpoint: Path) -> None:
    broken = {n: np.full_like(a, np.nan) for n, a in load_file(checkpoint / WEIGHTS).items()}
    save_file(broken, checkpoint / WEIGHTS)

    assert "and 7 more tensors" in found(verified(checkpoint), "RD211").message


def test_an_optimizer_that_is_not_finite_is_an_error(checkpoint: Path) -> None:
    state = optimizer_at(10)
    state["state"][3]["exp_avg_sq"][1, 1] = np.inf
    write_torch_file(checkpoint / "optimizer.pt", state)

    assert told(verified(checkpoint)) == ["RD311 error"]


@pytest.mark.parametrize("shape", [(16, 16), (1, 1, 32, 32), (2, 3, 8, 8)])
@pytest.mark.parametrize("upper", [True, False])
def test_a_mask_of_minus_infinity_is_no_damage(
    checkpoint: Path, shape: tuple[int, ...], upper: bool
) -> None:
    full = np.full(shape, -np.inf, np.float32)
    mask = np.triu(full, 1) if upper else np.tril(full, -1)
    with_weights(checkpoint, attn__mask=mask)
    assert told(verified(checkpoint)) == []

    mask[..., 0, 0] = np.nan
    with_weights(checkpoint, attn__mask=mask)
    assert told(verified(checkpoint)) == ["RD211 error"]


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_a_mask_of_the_lowest_number_is_no_damage(checkpoint: Path, dtype: str) -> None:
    mask = np.triu(np.full((64, 64), np.finfo(np.float32).min, np.float32), 1)
    if dtype == "F32":
        with_weights(checkpoint, attn__mask=mask)
    else:
        bits = (np.where(mask < 0, 0xFF7F, 0)).astype("<u2").tobytes()
        append_tensor(checkpoint / WEIGHTS, "attn.mask", "BF16", (64, 64), bits)

    assert told(verified(checkpoint)) == []


def append_tensor(
    path: Path, name: str, dtype: str, shape: tuple[int, ...], content: bytes
) -> None:
    """Append a tensor of a type that numpy has not."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    begin = len(raw) - 8 - length
    offsets = [begin, begin + len(content)]
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    document = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(document)) + document + raw[8 + length :] + content)


@pytest.mark.parametrize(("last", "sound"), [(b"\x00\x7e", True), (b"\x7f\x7e", False)])
def test_the_one_value_of_eight_bits_that_is_not_a_number_is_found(
    checkpoint: Path, last: bytes, sound: bool
) -> None:
    append_tensor(checkpoint / WEIGHTS, "w8", "F8_E4M3", (2,), last)

    assert told(verified(checkpoint)) == ([] if sound else ["RD211 error"])


# Impossibly large


def test_a_flipped_exponent_bit_is_found(checkpoint: Path) -> None:
    content = bytearray((checkpoint / WEIGHTS).read_bytes())
    content[-1] ^= 0x40
    (checkpoint / WEIGHTS).write_bytes(content)

    assert told(verified(checkpoint)) == ["RD215 error"]


def test_large_but_possible_values_are_not_accused(checkpoint: Path) -> None:
    with_weights(checkpoint, masked_bias=np.array([-1e9], np.float32))

    assert told(verified(checkpoint)) == []


# Never written


def test_a_file_whose_second_half_is_zero_is_an_error(checkpoint: Path) -> None:
    size = (checkpoint / WEIGHTS).stat().st_size
    zero_bytes(checkpoint / WEIGHTS, size // 2, size)
    verification = verified(checkpoint)

    assert verification.verdict == "unsound"
    assert "from byte" in found(verification, "RD212").message


def test_a_lost_page_in_the_middle_of_a_tensor_s_end_is_an_error(checkpoint: Path) -> None:
    spans = {span.name: span for span in read_header(checkpoint / WEIGHTS).tensors}
    span = spans[PROJECTION]
    zero_bytes(checkpoint / WEIGHTS, span.end - 2 * PAGE - 100, span.end)
    finding = found(verified(checkpoint), "RD212")

    assert f"the last {2 * PAGE + 100} bytes of {PROJECTION} are zero" in finding.message
    assert f"from byte {span.end - 2 * PAGE - 100} of the file" in finding.message


def test_less_than_a_page_of_zeros_is_no_lost_write(checkpoint: Path) -> None:
    spans = {span.name: span for span in read_header(checkpoint / WEIGHTS).tensors}
    end = spans[PROJECTION].end
    zero_bytes(checkpoint / WEIGHTS, end - PAGE + 100, end)

    assert told(verified(checkpoint)) == []


def test_rows_of_padding_at_the_end_of_an_embedding_are_fine(checkpoint: Path) -> None:
    embedding = load_file(checkpoint / WEIGHTS)[EMBEDDING].copy()
    embedding[-40:] = 0
    with_weights(checkpoint, **{EMBEDDING: embedding})

    assert told(verified(checkpoint)) == []


def test_whole_pages_of_zeros_at_the_end_of_the_file_are_an_error_even_by_rows(
    checkpoint: Path,
) -> None:
    # The one tensor begins where a page begins, and each of its rows is a page.
    matrix = np.ones((16, PAGE // 4), np.float32)
    matrix[-3:] = 0
    entry = {"dtype": "F32", "shape": matrix.shape, "data_offsets": [0, matrix.nbytes]}
    document = json.dumps({"w": entry}).encode().ljust(PAGE - 8)
    header = struct.pack("<Q", len(document)) + document
    (checkpoint / WEIGHTS).write_bytes(header + matrix.tobytes())
    (checkpoint / "optimizer.pt").unlink()
    assert told(verified(checkpoint)) == ["RD104 warning", "RD212 error"]

    # Where something follows, they are rows of padding.
    append_tensor(checkpoint / WEIGHTS, "x", "F32", (1,), struct.pack("<f", 1.0))
    begin = read_header(checkpoint / WEIGHTS).data_begin
    content = (checkpoint / WEIGHTS).read_bytes()
    document = content[8:begin].ljust(PAGE - 8)
    (checkpoint / WEIGHTS).write_bytes(
        struct.pack("<Q", len(document)) + document + content[begin:]
    )
    assert told(verified(checkpoint)) == ["RD104 warning"]


def test_rows_of_padding_in_torch_weights_are_fine(checkpoint: Path) -> None:
    weights = load_file(checkpoint / WEIGHTS)
    weights[EMBEDDING] = weights[EMBEDDING].copy()
    weights[EMBEDDING][-40:] = 0
    (checkpoint / WEIGHTS).unlink()
    write_torch_file(checkpoint / "pytorch_model.bin", weights)

    assert told(verified(checkpoint)) == []


def test_a_mask_of_ones_and_zeros_ends_in_zeros_by_design(checkpoint: Path) -> None:
    mask = np.triu(np.ones((1, 1, 1024, 1024), np.float32), 1)
    with_weights(checkpoint, attn__causal=mask)

    assert told(verified(checkpoint)) == []


def test_whole_numbers_may_be_zero(checkpoint: Path) -> None:
    counts = np.zeros((2, 4096), np.int64)
    counts[0, 0] = 1
    with_weights(checkpoint, counts=counts, counts_2=np.zeros((2, 4096), np.int64))

    assert told(verified(checkpoint)) == []


@pytest.mark.parametrize(
    "tensors",
    [
        {"zz.bias": np.zeros(4096, np.float32)},
        {"zz.scale": np.array(1.0, np.float32)},
        {"zz.scale": np.zeros((), np.float32), "zz.zero": np.zeros((1,), np.float32)},
        {"zz.empty": np.zeros((0, 64), np.float32)},
        {"zz.weight": np.zeros((1, 1), np.float32), "zz.x": np.zeros((1, 2), np.float32)},
        {"zz.layer_scale": np.zeros((4096,), np.float32), "zz.scalar": np.ones(1, np.float32)},
    ],
    ids=["bias", "scalar", "zero-scalars", "empty", "tiny", "scale"],
)
def test_small_and_empty_and_zero_tensors_are_fine(checkpoint: Path, tensors: Weights) -> None:
    with_weights(checkpoint, **tensors)

    assert told(verified(checkpoint)) == []


# Adapters that start at zero


def test_a_fresh_adapter_is_not_accused_of_the_half_that_starts_at_zero(tmp_path: Path) -> None:
    a = np.random.default_rng(1).standard_normal((16, HIDDEN))
    fresh = lora(lora_A__weight=a, lora_B__weight=np.zeros((HIDDEN, 16)))
    before = write_adapter_checkpoint(tmp_path, 1, fresh)
    checkpoint = write_adapter_checkpoint(tmp_path, 2, fresh)
    edit_state(checkpoint, log_history=[{"learning_rate": 0.0, "grad_norm": 0.4, "step": 2}])

    assert told(verified(before)) == []
    assert told(verified(checkpoint, before=before)) == ["RD216 info"]
    assert told(verified(write_adapter_checkpoint(tmp_path, 3), before=checkpoint)) == []


FRESH = {
    "a bias of its own": lora(
        lora_A__weight=ONES, lora_B__weight=ZEROS, lora_B__bias=np.zeros(HIDDEN)
    ),
    "magnitudes": lora(
        lora_A__weight=ONES, lora_B__weight=ZEROS, lora_magnitude_vector=np.ones(HIDDEN)
    ),
    "an expert that no token reached": lora(lora_A__weight=ONES, lora_B__weight=ONES)
    | {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": ZEROS.astype(np.float32)},
    "two products of which one starts at zero": lora(
        hada_w1_a=ONES, hada_w1_b=ONES, hada_w2_a=ONES, hada_w2_b=ZEROS
    ),
}


@pytest.mark.parametrize("weights", FRESH.values(), ids=FRESH.keys())
def test_adapters_of_many_kinds_start_at_zero_in_part(tmp_path: Path, weights: Weights) -> None:
    assert told(verified(write_adapter_checkpoint(tmp_path, 1, weights))) == []


def test_an_adapter_of_zeros_alone_is_fresh_unless_it_is_lora(tmp_path: Path) -> None:
    checkpoint = write_adapter_checkpoint(tmp_path, 1, lora(oft_R__weight=ZEROS))
    write_json(checkpoint / "adapter_config.json", {"peft_type": "OFT"})
    assert told(verified(checkpoint)) == []

    write_json(checkpoint / "adapter_config.json", {"peft_type": "LORA"})
    assert told(verified(checkpoint)) == ["RD212 error"]


def test_the_columns_of_tokens_that_were_not_seen_stay_zero(tmp_path: Path) -> None:
    seen = np.zeros((4, 5000), np.float32)
    seen[:, :300] = 1
    stem = "base_model.model.model.embed_tokens"
    weights = adapter_at(1) | {
        f"{stem}.lora_embedding_A": seen,
        f"{stem}.lora_embedding_B": np.ones((HIDDEN, 4), np.float32),
    }

    assert told(verified(write_adapter_checkpoint(tmp_path, 1, weights))) == []


def test_half_an_adapter_that_was_never_written_is_found(tmp_path: Path) -> None:
    checkpoint = write_adapter_checkpoint(tmp_path, 10)
    size = (checkpoint / ADAPTER).stat().st_size
    zero_bytes(checkpoint / ADAPTER, size // 2, size)

    assert "RD212 error" in told(verified(checkpoint))


def test_the_last_tensors_of_an_adapter_that_were_never_written_are_found(tmp_path: Path) -> None:
    checkpoint = write_adapter_checkpoint(tmp_path, 10)
    *_, first, _ = read_header(checkpoint / ADAPTER).tensors
    zero_bytes(checkpoint / ADAPTER, first.begin, (checkpoint / ADAPTER).stat().st_size)

    assert "its last 2 tensors are all zero" in found(verified(checkpoint), "RD212").message


# All zero


def test_a_matrix_that_turned_zero_is_an_error_of_its_own(pair: tuple[Path, Path]) -> None:
    before, checkpoint = pair
    with_weights(checkpoint, **{EMBEDDING: np.zeros((96, HIDDEN), np.float32)})

    assert told(verified(checkpoint)) == []
    assert told(verified(checkpoint, before=before)) == ["RD213 error"]
    assert found(verified(checkpoint, before=before), "RD213").message == (
        f"{WEIGHTS}: {EMBEDDING} is all zero, and not in checkpoint-5"
    )


def test_a_matrix_in_torch_weights_that_turned_zero_is_an_error(pair: tuple[Path, Path]) -> None:
    for each in pair:
        weights = load_file(each / WEIGHTS)
        if each is pair[1]:
            weights[EMBEDDING] = np.zeros_like(weights[EMBEDDING])
        (each / WEIGHTS).unlink()
        write_torch_file(each / "pytorch_model.bin", weights)

    assert told(verified(pair[1], before=pair[0])) == ["RD213 error"]


def test_what_was_zero_before_may_stay_zero(pair: tuple[Path, Path]) -> None:
    for each in pair:
        with_weights(each, **{EMBEDDING: np.zeros((96, HIDDEN), np.float32)})

    assert told(verified(pair[1], before=pair[0])) == []


def test_a_counter_that_is_reset_to_zero_is_none(pair: tuple[Path, Path]) -> None:
    before, checkpoint = pair
    with_weights(before, tokens_per_expert=np.ones(64, np.float32))
    with_weights(checkpoint, tokens_per_expert=np.zeros(64, np.float32))

    assert told(verified(checkpoint, before=before)) == []


def test_a_matrix_that_is_zero_in_one_layer_alone_is_an_error(checkpoint: Path) -> None:
    zero = np.zeros((HIDDEN, 2 * HIDDEN), np.float32)
    with_weights(checkpoint, **{PROJECTION: zero})
    verification = verified(checkpoint)

    assert told(verification) == ["RD214 error"]
    assert PROJECTION in found(verification, "RD214").message

    with_weights(checkpoint, **{PROJECTION.replace(".1.", ".2."): zero})
    assert "and 1 more tensors are" in found(verified(checkpoint), "RD214").message


@pytest.mark.parametrize("write", [write_torch_file, write_legacy_torch_file])
def test_a_matrix_of_a_torch_file_that_is_zero_in_one_layer_alone_is_an_error(
    checkpoint: Path, write: Callable[[Path, Any], None]
) -> None:
    weights = load_file(checkpoint / WEIGHTS)
    (checkpoint / WEIGHTS).unlink()
    weights[PROJECTION][:] = 0
    write(checkpoint / "pytorch_model.bin", weights)

    verification = verified(checkpoint)

    assert told(verification) == ["RD214 error"]
    assert PROJECTION in found(verification, "RD214").message


def test_padding_that_is_all_of_a_ranks_piece_of_an_embedding_is_no_error(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    name = checkpoint / "actor/model_world_size_2_rank_1.pt"
    weights = {each: piece_of(array, 1) for each, array in weights_at(10).items()}
    weights[EMBEDDING] = np.zeros_like(weights[EMBEDDING])

    write_torch_file(name, weights)
    assert told(verified(checkpoint)) == []

    weights[PROJECTION] = np.zeros_like(weights[PROJECTION])
    write_torch_file(name, weights)
    assert told(verified(checkpoint)) == ["RD214 error"]


def test_padding_at_the_end_of_an_old_torch_file_s_embedding_is_no_error(checkpoint: Path) -> None:
    weights = load_file(checkpoint / WEIGHTS)
    (checkpoint / WEIGHTS).unlink()
    padded = np.vstack([weights[EMBEDDING], np.zeros((64, HIDDEN), np.float32)])

    write_legacy_torch_file(checkpoint / "pytorch_model.bin", {**weights, EMBEDDING: padded})

    assert "RD212 error" not in told(verified(checkpoint))


def test_values_of_an_old_torch_file_are_looked_at(checkpoint: Path) -> None:
    weights = load_file(checkpoint / WEIGHTS)
    (checkpoint / WEIGHTS).unlink()
    weights[PROJECTION][0, 0] = np.nan
    write_legacy_torch_file(checkpoint / "pytorch_model.bin", weights)
    assert told(verified(checkpoint)) == ["RD211 error"]

    weights[PROJECTION][0, 0] = 0.1
    write_legacy_torch_file(checkpoint / "pytorch_model.bin", weights)
    assert told(verified(checkpoint)) == []
    zero_second_half(checkpoint / "pytorch_model.bin")
    assert told(verified(checkpoint)) != []


def test_a_kind_of_matrix_that_is_zero_in_every_layer_was_made_so(checkpoint: Path) -> None:
    zero = np.zeros((HIDDEN, 2 * HIDDEN), np.float32)
    with_weights(
        checkpoint,
        **{PROJECTION.replace(".1.", f".{layer}."): zero for layer in range(LAYERS)},
    )

    assert told(verified(checkpoint)) == []


def test_matrices_whose_names_differ_in_a_number_are_no_siblings(checkpoint: Path) -> None:
    blocks = {
        f"blocks.{layer}.w{number}.weight": np.full((64, 64), number - 1, np.float32)
        for layer in range(2)
        for number in (1, 2)
    }
    with_weights(checkpoint, **blocks, **{"zz.weight": np.ones((2, 2), np.float32)})

    assert told(verified(checkpoint)) == []


def test_zeros_are_found_in_any_shard(pair: tuple[Path, Path]) -> None:
    before, checkpoint = pair
    for each in pair:
        shard(each)
    name = "model-00002-of-00003.safetensors"
    own = load_file(checkpoint / name)
    target = next(key for key in own if own[key].ndim == 2)
    save_file({**own, target: np.zeros_like(own[target])}, checkpoint / name)

    finding = found(verified(checkpoint, before=before), "RD213")
    assert finding.file == name
    assert target in finding.message


# Unchanged


def copy_weights(pair: tuple[Path, Path]) -> None:
    (pair[1] / WEIGHTS).write_bytes((pair[0] / WEIGHTS).read_bytes())


def test_weights_that_did_not_move_are_a_warning(pair: tuple[Path, Path]) -> None:
    copy_weights(pair)
    verification = verified(pair[1], before=pair[0])

    assert told(verification) == ["RD216 warning"]
    assert "those of checkpoint-5, byte for byte" in found(verification, "RD216").message


@pytest.mark.parametrize(
    ("entries", "severity"),
    [
        ([{"grad_norm": 0.0, "learning_rate": 1e-5, "step": 6}], "info"),
        ([{"grad_norm": 0.5, "learning_rate": 0.0, "step": 6}], "info"),
        ([{"grad_norm": 0, "step": 6}, {"learning_rate": 0, "step": 7}], "info"),
        ([{"grad_norm": 0.5, "step": 5}, {"grad_norm": 0.0, "step": 6}], "info"),
        ([{"grad_norm": 0.0, "step": 6}, {"eval_loss": 1.0, "step": 6}], "info"),
        ([{"grad_norm": 0.0, "step": 6}, {"grad_norm": 0.1, "step": 7}], "warning"),
        ([{"grad_norm": 0.0, "step": 5}], "warning"),
        ([{"eval_loss": 1.0, "step": 6}], "warning"),
        ([], "warning"),
    ],
)
def test_the_trainer_s_own_log_may_explain_it(
    pair: tuple[Path, Path], entries: list[Any], severity: str
) -> None:
    copy_weights(pair)
    edit_state(pair[1], log_history=entries)

    verification = verified(pair[1], before=pair[0])
    assert told(verification) == [f"RD216 {severity}"]
    explained = "(gradient or learning rate were zero)" in verification.findings[0].message
    assert explained is (severity == "info")


def test_one_tensor_that_moved_is_enough(pair: tuple[Path, Path]) -> None:
    copy_weights(pair)
    with_weights(pair[1], **{NORM: np.full(HIDDEN, 0.5, np.float32)})

    assert told(verified(pair[1], before=pair[0])) == []


def test_a_step_that_is_saved_again_is_not_compared_with_a_later_one(
    pair: tuple[Path, Path],
) -> None:
    copy_weights(pair)

    assert told(verified(pair[0], before=pair[1])) == []


def test_a_reference_that_stays_does_not_hide_an_adapter_that_moves(tmp_path: Path) -> None:
    before, checkpoint = (write_adapter_checkpoint(tmp_path, step) for step in (5, 10))
    for each in (before, checkpoint):
        (each / "ref").mkdir()
        save_file(adapter_at(0), each / "ref" / ADAPTER)
        write_json(each / "ref" / "adapter_config.json", {"peft_type": "LORA"})

    assert told(verified(checkpoint, before=before)) == []
