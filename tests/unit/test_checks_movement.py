from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from resume_daemon.checks.moves import change_of
from resume_daemon.checks.values import IMPOSSIBLE_MAGNITUDE
from resume_daemon.formats.safetensors import read_header
from resume_daemon.limits import Limits
from resume_daemon.reading.float_layouts import FLOATS, values_of
from tests.moving import STEPS, TYPES, encoded, trained, write_run
from tests.torch_files import write_torch_file
from tests.verifying import DEFAULT, found, told, verified

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.verification import Verification
    from tests.checkpoints import Weights

WEIGHTS = "model.safetensors"
PROJECTION = "model.layers.1.mlp.down_proj.weight"
NORM = "model.norm.weight"


def newest(checkpoints: list[Path], limits: Limits = DEFAULT) -> Verification:
    """Verify the newest of three checkpoints beside the two before it."""
    now, before, earlier = checkpoints
    return verified(now, before=before, earlier=earlier, limits=limits)


def changed_at(step: int, **changes: float) -> Weights:
    """Return trained weights of which some are replaced, by a factor, at the last step."""
    weights = trained(step)
    if step == STEPS[-1]:
        for name, factor in changes.items():
            weights[name] = weights[name] * np.float32(factor)
    return weights


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rate", [0.0, 1e-6, 1e-3, 0.1])
def test_a_run_that_learns_at_one_pace_is_sound(tmp_path: Path, dtype: str, rate: float) -> None:
    checkpoints = write_run(tmp_path, lambda step: trained(step, rate), dtype)

    moves = any(
        encoded(trained(STEPS[1], rate)[name], dtype) != encoded(array, dtype)
        for name, array in trained(STEPS[2], rate).items()
    )
    assert told(newest(checkpoints)) == ([] if moves else ["RD216 warning"])


# One value


@pytest.mark.parametrize(
    ("dtype", "low", "bit"),
    [("F32", 23, bit) for bit in range(8)]
    + [("BF16", 7, bit) for bit in range(8)]
    + [("F16", 10, bit) for bit in range(5)],
)
@pytest.mark.parametrize("place", [3, 4_000, -1])
def test_a_flipped_exponent_bit_is_told_from_the_limit_on(
    tmp_path: Path, dtype: str, low: int, bit: int, place: int
) -> None:
    checkpoints = write_run(tmp_path, dtype=dtype)
    (span,) = (s for s in read_header(checkpoints[0] / WEIGHTS).tensors if s.name == PROJECTION)
    content = bytearray((checkpoints[0] / WEIGHTS).read_bytes())
    unsigned = FLOATS[dtype].unsigned
    bits = np.frombuffer(content, unsigned, offset=span.begin, count=span.size // unsigned.itemsize)
    largest = np.abs(values_of(bits.view(np.uint8), dtype)).max()
    bits[place] ^= unsigned.type(1 << (low + bit))
    value = abs(values_of(bits[place:][:1].view(np.uint8), dtype)[0])
    (checkpoints[0] / WEIGHTS).write_bytes(content)

    if not math.isfinite(value):
        expected = ["RD211 error"]
    elif value > IMPOSSIBLE_MAGNITUDE:
        expected = ["RD215 error"]
    else:
        growth = value / largest
        expected = ["RD217 error"] if growth > 70 else ["RD217 warning"] if growth > 9 else []
    assert told(newest(checkpoints)) == expected
    if dtype == "F16" and bit == 4:
        assert expected == ["RD217 error"]


def test_the_message_names_the_tensor_and_both_values(tmp_path: Path) -> None:
    checkpoints = write_run(tmp_path, lambda step: flipped_to(step, PROJECTION, 9.0))

    finding = found(newest(checkpoints), "RD217")
    assert f"the largest value of {PROJECTION} is 9, it was 0.0" in finding.message
    assert "in checkpoint-10" in finding.message
    assert finding.file == WEIGHTS


def flipped_to(step: int, name: str, value: float) -> Weights:
    weights = trained(step)
    if step == STEPS[-1]:
        weights[name].flat[100 % weights[name].size] = value
    return weights


@pytest.mark.parametrize(("value", "codes"), [(1.0, []), (2.0, []), (9.0, ["RD217 warning"])])
def test_a_vector_is_given_eight_times_as_much_room(
    tmp_path: Path, value: float, codes: list[str]
) -> None:
    checkpoints = write_run(tmp_path, lambda step: flipped_to(step, NORM, value))

    assert told(newest(checkpoints)) == codes


def test_a_counter_may_jump(tmp_path: Path) -> None:
    counts = {5: 1.0, 10: 1.0, 15: 1e6}
    checkpoints = write_run(
        tmp_path,
        lambda step: (
            trained(step) | {"tokens_per_expert": np.array([counts[step], 1, 1], np.float32)}
        ),
    )

    assert told(newest(checkpoints)) == []


def test_what_grows_as_a_whole_has_not_jumped(tmp_path: Path) -> None:
    checkpoints = write_run(tmp_path, lambda step: changed_at(step, **{PROJECTION: 30.0}))

    assert "RD217" not in {code.split()[0] for code in told(newest(checkpoints))}


def test_what_was_as_large_two_checkpoints_ago_has_not_jumped(tmp_path: Path) -> None:
    def at(step: int) -> Weights:
        weights = trained(step)
        if step != STEPS[1]:
            weights[PROJECTION].flat[50] = 9.0
        return weights

    now, before, earlier = write_run(tmp_path, at)
    assert told(verified(now, before=before)) == ["RD217 error"]
    assert told(verified(now, before=before, earlier=earlier)) == []


def test_the_limit_can_be_set(tmp_path: Path) -> None:
    checkpoints = write_run(tmp_path, lambda step: flipped_to(step, PROJECTION, 1.0))

    assert told(newest(checkpoints)) == ["RD217 warning"]
    assert told(newest(checkpoints, Limits(largest_growth=100.0))) == []


def test_a_step_that_is_saved_again_is_not_held_against_a_later_one(tmp_path: Path) -> None:
    now, before, _ = write_run(tmp_path, lambda step: flipped_to(step, PROJECTION, 9.0))

    assert told(verified(before, before=now)) == []


# A whole matrix


def replaced_at(step: int, *names: str) -> Weights:
    weights = trained(step)
    if step == STEPS[-1]:
        random = np.random.default_rng(99)
        for name in names:
            values = random.standard_normal(weights[name].size) * 0.02
            weights[name] = values.astype(np.float32).reshape(weights[name].shape)
    return weights


@pytest.mark.parametrize("dtype", TYPES)
def test_a_matrix_of_another_seed_has_moved_too_far(tmp_path: Path, dtype: str) -> None:
    checkpoints = write_run(tmp_path, lambda step: replaced_at(step, PROJECTION), dtype)
    verification = newest(checkpoints)

    codes = told(verification)
    # The siblings of a coarse type may not have moved at all.
    assert codes == ["RD218 warning"]
    assert PROJECTION in found(verification, "RD218").message


def test_matrices_in_torch_files_are_judged_as_matrices(tmp_path: Path) -> None:
    checkpoints = write_run(tmp_path, lambda step: replaced_at(step, PROJECTION))
    for each in checkpoints:
        weights = replaced_at(int(each.name.split("-")[1]), PROJECTION)
        (each / WEIGHTS).unlink()
        write_torch_file(each / "pytorch_model.bin", weights)

    assert told(newest(checkpoints)) == ["RD218 warning"]


def test_a_model_of_another_seed_has_moved_too_far(tmp_path: Path) -> None:
    names = [name for name in trained(0) if name != NORM]
    verification = newest(write_run(tmp_path, lambda step: replaced_at(step, *names)))

    assert told(verification) == ["RD218 warning"]
    assert f"and {len(names) - 1} more tensors have changed" in verification.findings[0].message


def test_two_checkpoints_do_not_say_how_far_is_too_far(tmp_path: Path) -> None:
    now, before, _ = write_run(tmp_path, lambda step: replaced_at(step, PROJECTION))

    assert told(verified(now, before=before)) == []


def test_checkpoints_that_lie_further_apart_may_move_further(tmp_path: Path) -> None:
    steps = (5, 10, 5_000)
    now, before, earlier = write_run(tmp_path, lambda s: trained(s, 4e-5), steps=steps)

    assert told(verified(now, before=before, earlier=earlier)) == []


def test_what_was_frozen_may_move_at_the_pace_of_the_others(tmp_path: Path) -> None:
    def at(step: int) -> Weights:
        weights = trained(step, 4e-3)
        if step < STEPS[-1]:
            weights[PROJECTION] = trained(0)[PROJECTION]
        return weights

    assert told(newest(write_run(tmp_path, at))) == []


def test_a_matrix_that_starts_at_zero_may_move_at_once(tmp_path: Path) -> None:
    def at(step: int) -> Weights:
        factor = 0.0 if step < STEPS[-1] else 1.0
        return trained(step) | {"x.lora_B.weight": np.full((64, 16), factor, np.float32)}

    assert told(newest(write_run(tmp_path, at))) == []


def test_how_far_values_moved_is_a_part_of_their_size() -> None:
    assert change_of((3.0, 4.0), (3.0, 4.0)) == 0
    assert change_of((1.0, 0.0), (0.0, 1.0)) == pytest.approx(math.sqrt(2))
    assert change_of((0.0, 0.0), (3.0, 4.0)) == 1
    assert change_of((0.0,), (0.0,)) == 0
    assert change_of((), ()) is None
    assert change_of((1.0,), (1.0, 2.0)) is None
