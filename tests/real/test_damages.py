"""What is said of real checkpoints: twenty-three that are damaged, and whole ones of each kind."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch", reason="checkpoints are read back by torch (make test-real)")
pytest.importorskip("trl", reason="the trainer is TRL's GRPOTrainer (make test-real)")

from resume_daemon.findings import Severity, Verdict
from resume_daemon.verification import References, verify
from tests.real.damages import DAMAGES, WEIGHTS, flip_top_exponent_bit
from tests.real.running import RunningTrainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resume_daemon.verification import Verification
    from tests.real.conftest import WatchedRun
    from tests.real.damages import Damage

# The fixtures train, and pytest counts them.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def verified(checkpoint: Path, before: Path | None = None) -> Verification:
    """Verify a checkpoint, alone or beside the one before it."""
    boundary = checkpoint.parent
    previous = verify(before, boundary=boundary).manifest if before is not None else None
    return verify(checkpoint, boundary=boundary, references=References(previous=previous))


def codes_of(verification: Verification) -> tuple[str, ...]:
    return tuple(finding.code for finding in verification.findings)


@pytest.fixture
def pair(healthy_full: WatchedRun, tmp_path: Path) -> tuple[Path, Path]:
    """Return a fresh copy of checkpoint-10 of a real run, and of checkpoint-5."""
    copies = tmp_path / "checkpoint-10", tmp_path / "checkpoint-5"
    for copy in copies:
        shutil.copytree(healthy_full.run / copy.name, copy)
    return copies


@pytest.fixture
def checkpoint(pair: tuple[Path, Path]) -> Path:
    """Return a fresh copy of checkpoint-10."""
    return pair[0]


# Damaged


def test_the_list_is_the_one_that_was_tried_on_the_trainer() -> None:
    assert len(DAMAGES) == 23
    assert sum(damage.silent for damage in DAMAGES) == 12


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_damaged_checkpoint_is_never_sound(damage: Damage, pair: tuple[Path, Path]) -> None:
    checkpoint, before = pair
    damage.apply(checkpoint, before)

    alone = verified(checkpoint)
    assert alone.verdict is damage.verdict
    assert codes_of(alone)[0] in {*damage.codes[:1], *damage.either[:1]}

    beside = verified(checkpoint, before)
    assert beside.verdict is damage.verdict
    assert codes_of(beside) in {damage.codes, damage.either or damage.codes}


@pytest.mark.parametrize(
    ("dtype", "below_one"),
    [("float32", b"\xff\xff\x7f\x3f"), ("bfloat16", b"\x7f\x3f")],
    ids=["float32", "bfloat16"],
)
def test_a_flip_that_makes_the_largest_number_of_a_type_is_no_mask(
    dtype: str, below_one: bytes, checkpoint: Path, only_model: Callable[[str], Path]
) -> None:
    if dtype != "float32":
        checkpoint = only_model(dtype)
    content = (checkpoint / WEIGHTS).read_bytes()
    # The last tensor is the last norm, whose values stay near 1.
    (checkpoint / WEIGHTS).write_bytes(content[: -len(below_one)] + below_one)
    assert verified(checkpoint).verdict is Verdict.SOUND

    flip_top_exponent_bit(checkpoint, checkpoint)
    assert "RD215" in codes_of(verified(checkpoint))


# Whole


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that trains ten steps and saves nothing but the model; once per type."""
    runs: dict[str, Path] = {}

    def train(dtype: str) -> Path:
        if dtype not in runs:
            output = tmp_path_factory.mktemp(f"only-model-{dtype}") / "run"
            trainer = RunningTrainer(output)
            try:
                arguments = ("--dtype", dtype, "--save-only-model", "--report-to", "none")
                trainer.start("--max-steps", "10", *arguments)
                trainer.finish()
            finally:
                trainer.kill()
            runs[dtype] = output
        return runs[dtype]

    return train


@pytest.fixture
def only_model(trained: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that gives a fresh copy of such a checkpoint-10."""

    def copy(dtype: str) -> Path:
        target = tmp_path / f"only-model-{dtype}" / "checkpoint-10"
        shutil.copytree(trained(dtype) / "checkpoint-10", target)
        return target

    return copy


def assert_whole(checkpoint: Path, before: Path | None = None) -> None:
    """Require that nothing above info is said, alone and beside the checkpoint before."""
    for found in (verified(checkpoint), verified(checkpoint, before)):
        assert [f for f in found.findings if f.severity is not Severity.INFO] == []
        assert found.verdict is Verdict.SOUND


def test_a_whole_checkpoint_is_sound(pair: tuple[Path, Path]) -> None:
    assert_whole(*pair)
    assert codes_of(verified(*pair)) == ()


def test_an_adapter_is_sound(healthy_lora: WatchedRun) -> None:
    assert_whole(healthy_lora.run / "checkpoint-10", healthy_lora.run / "checkpoint-5")
    assert codes_of(verified(healthy_lora.run / "checkpoint-10")) == ()


def test_weights_in_shards_are_sound(pair: tuple[Path, Path]) -> None:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - 5 s, for this test alone

    checkpoint, before = pair
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    (checkpoint / WEIGHTS).unlink()
    model.save_pretrained(checkpoint, max_shard_size="100KB")

    assert (checkpoint / "model.safetensors.index.json").exists()
    assert len(list(checkpoint.glob("model-*-of-*.safetensors"))) > 1
    assert_whole(checkpoint, before)


def test_weights_in_shards_of_which_one_is_missing_are_unsound(pair: tuple[Path, Path]) -> None:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - as above

    checkpoint, before = pair
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    (checkpoint / WEIGHTS).unlink()
    model.save_pretrained(checkpoint, max_shard_size="100KB")
    next(checkpoint.glob("model-00002-of-*.safetensors")).unlink()

    assert verified(checkpoint, before).verdict is Verdict.UNSOUND


def test_weights_in_the_older_torch_form_are_sound(pair: tuple[Path, Path]) -> None:
    import torch  # noqa: PLC0415 - skipped above where it is not there
    from safetensors.torch import load_file  # noqa: PLC0415 - as above

    checkpoint, before = pair
    torch.save(load_file(checkpoint / WEIGHTS), checkpoint / "pytorch_model.bin")
    (checkpoint / WEIGHTS).unlink()

    assert_whole(checkpoint, before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_saved_alone_on_purpose_is_sound(
    dtype: str, only_model: Callable[[str], Path], trained: Callable[[str], Path]
) -> None:
    checkpoint = only_model(dtype)

    assert codes_of(verified(checkpoint)) == ("RD115",)
    assert_whole(checkpoint, trained(dtype) / "checkpoint-5")


def test_random_states_of_several_ranks_are_sound(pair: tuple[Path, Path]) -> None:
    checkpoint, before = pair
    for directory in pair:
        shutil.copy(directory / "rng_state.pth", directory / "rng_state_1.pth")
        (directory / "rng_state.pth").rename(directory / "rng_state_0.pth")

    assert_whole(checkpoint, before)


def test_what_the_libraries_pickle_is_known_to_be_harmless(
    pair: tuple[Path, Path], healthy_lora: WatchedRun
) -> None:
    for checkpoint in (pair[0], healthy_lora.run / "checkpoint-10"):
        found = verified(checkpoint)
        pickled = {"training_args.bin", "optimizer.pt", "rng_state.pth", "scheduler.pt"}
        assert found.manifest is not None
        assert pickled <= {file.name for file in found.manifest.files}
        assert not {"RD305", "RD306", "RD307"} & set(codes_of(found))
