from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from resume_daemon.errors import FormatError
from resume_daemon.formats.content import Content
from resume_daemon.layouts.base import Around, Format, Role
from resume_daemon.layouts.huggingface import HuggingFace
from resume_daemon.layouts.registry import is_checkpoint_name, layout_of
from resume_daemon.layouts.transformers_weights import shard_total, unpaired_adapters
from resume_daemon.listing import Entry, EntryKind, Listing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resume_daemon.layouts.base import Completeness

LAYOUT = HuggingFace()
STATE = "trainer_state.json"
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def listing(*names: str, root: str = "checkpoint-5", kind: EntryKind = EntryKind.FILE) -> Listing:
    entries = {name: Entry(name, kind, 1, 0, 0, number) for number, name in enumerate(names)}
    return Listing(Path(root), entries, 0)


def judged(*names: str, documents: Mapping[str, Any] | None = None) -> Completeness:
    def read(name: str, _: Format) -> Content:
        if documents is None or name not in documents:
            raise FormatError("read", name, "it is cut short")
        return Content(value=documents[name])

    return LAYOUT.completeness(listing(*names), Around(read))


def lacks(found: Completeness) -> tuple[str, ...]:
    return tuple(each.what for each in found.missing)


def index_of(*shards: str) -> dict[str, Any]:
    return {INDEX: {"weight_map": {f"tensor-{shard}": shard for shard in shards}}}


# Names


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-5", 5),
        ("checkpoint-0", 0),
        ("checkpoint-000100", 100),
        ("checkpoint-", None),
        ("checkpoint-5-merged", None),
        ("checkpoint-5\n", None),
        ("checkpoint--5", None),
        ("Checkpoint-5", None),
        ("my-checkpoint-5", None),
        ("checkpoint-\N{ARABIC-INDIC DIGIT FIVE}", None),
        ("checkpoint-" + "9" * 200, None),
    ],
)
def test_the_step_is_the_number_in_the_name(name: str, step: int | None) -> None:
    assert LAYOUT.step_of(name) == step
    assert is_checkpoint_name(name) is (step is not None)


@pytest.mark.parametrize(
    "name", ["tmp-checkpoint-5", "tmp-checkpoint-x8s7d6f5", ".tmp-checkpoint-5"]
)
def test_staging_directories_are_no_checkpoints(name: str) -> None:
    assert LAYOUT.is_staging(name)
    assert not is_checkpoint_name(name)


def test_a_checkpoint_is_not_taken_for_staging() -> None:
    assert not LAYOUT.is_staging("checkpoint-5")


# Parts


@pytest.mark.parametrize(
    ("name", "role", "file_format"),
    [
        ("model.safetensors", Role.WEIGHTS, Format.SAFETENSORS),
        ("pytorch_model.bin", Role.WEIGHTS, Format.TORCH),
        (SHARDS[0], Role.WEIGHTS, Format.SAFETENSORS),
        ("pytorch_model-00001-of-00002.bin", Role.WEIGHTS, Format.TORCH),
        (INDEX, Role.WEIGHTS_INDEX, Format.JSON),
        ("adapter_model.safetensors", Role.WEIGHTS, Format.SAFETENSORS),
        ("ref/adapter_model.bin", Role.WEIGHTS, Format.TORCH),
        ("ref/adapter_config.json", Role.ADAPTER_CONFIGURATION, Format.JSON),
        ("pytorch_model_fsdp.bin", Role.WEIGHTS, Format.TORCH),
        ("pytorch_model_fsdp_0/__0_0.distcp", Role.WEIGHTS, Format.DCP_SHARD),
        ("pytorch_model_fsdp_rank0.bin", Role.WEIGHTS, Format.TORCH),
        ("global_step5/mp_rank_00_model_states.pt", Role.STATE, Format.TORCH),
        ("optimizer.pt", Role.OPTIMIZER, Format.TORCH),
        ("optimizer_0/.metadata", Role.SHARD_METADATA, Format.DCP_METADATA),
        ("rng_state.pth", Role.RNG, Format.TORCH),
        ("rng_state_12.pth", Role.RNG, Format.TORCH),
        ("tokenizer.json", Role.TOKENIZER, Format.JSON),
        ("sentencepiece.bpe.model", Role.TOKENIZER, Format.OPAQUE),
        ("qwen.tiktoken", Role.TOKENIZER, Format.OPAQUE),
        ("preprocessor_config.json", Role.OTHER, Format.JSON),
        ("notes/summary.json", Role.OTHER, Format.OPAQUE),
        ("notes/model.safetensors", Role.OTHER, Format.OPAQUE),
        (f"notes/{SHARDS[0]}", Role.OTHER, Format.OPAQUE),
        ("zero_to_fp32.py", Role.OTHER, Format.OPAQUE),
        ("model.safetensors.tmp", Role.OTHER, Format.OPAQUE),
    ],
)
def test_each_file_is_known_by_its_name(name: str, role: Role, file_format: Format) -> None:
    part = LAYOUT.parts(listing(name))[name]

    assert (part.role, part.format) == (role, file_format)


def test_the_random_state_of_a_rank_says_whose_it_is() -> None:
    parts = LAYOUT.parts(listing("rng_state.pth", "rng_state_12.pth"))

    assert {name: part.rank for name, part in parts.items()} == {
        "rng_state.pth": None,
        "rng_state_12.pth": 12,
    }


def test_every_file_has_a_part() -> None:
    names = ("model.safetensors", "a", "b/c", STATE)

    assert set(LAYOUT.parts(listing(*names))) == set(names)


@pytest.mark.parametrize(
    ("name", "total"),
    [
        (SHARDS[0], 2),
        ("pytorch_model-00003-of-00012.bin", 12),
        ("model.safetensors", None),
        ("model-1-of-2.safetensors", None),
    ],
)
def test_a_shard_names_how_many_there_are(name: str, total: int | None) -> None:
    assert shard_total(name) == total


# Completeness

WHOLE = [
    ("model.safetensors",),
    ("pytorch_model.bin",),
    ("adapter_model.safetensors", "adapter_config.json"),
    ("adapter_model.bin", "adapter_config.json"),
    ("adapter_model.safetensors",),  # its configuration is another matter
    ("a/adapter_model.safetensors", "a/adapter_config.json", "b/adapter_model.bin"),
    ("pytorch_model_fsdp.bin",),
    ("pytorch_model_fsdp_0/.metadata", "pytorch_model_fsdp_0/__0_0.distcp"),
    ("pytorch_model_fsdp_rank0.bin", "pytorch_model_fsdp_rank1.bin"),
    ("global_step5/mp_rank_00_model_states.pt", "latest"),
    # An engine saves the adapter's values in its own way, and peft its configuration beside.
    ("global_step5/mp_rank_00_model_states.pt", "latest", "adapter_config.json"),
]


@pytest.mark.parametrize("weights", WHOLE, ids=lambda names: names[0])
def test_weights_in_any_form_and_the_state_make_a_checkpoint(weights: tuple[str, ...]) -> None:
    assert judged(*weights, STATE).complete
    unfinished = judged(*weights)
    assert lacks(unfinished) == (STATE,)
    assert not unfinished.saved


def test_shards_are_whole_when_all_that_the_index_names_are_there() -> None:
    assert judged(*SHARDS, INDEX, STATE, documents=index_of(*SHARDS)).complete


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ((), "weights"),
        (("config.json", "optimizer.pt"), "weights"),
        ((SHARDS[0],), INDEX),
        (("pytorch_model-00001-of-00002.bin",), "pytorch_model.bin.index.json"),
        ((INDEX, SHARDS[0]), SHARDS[1]),
        (("adapter_config.json",), "adapter_model.safetensors"),
        (("a/adapter_config.json",), "a/adapter_model.safetensors"),
        # The reference adapter of GRPO is no substitute for the one that is trained.
        (
            ("adapter_config.json", "ref/adapter_model.safetensors", "ref/adapter_config.json"),
            "adapter_model.safetensors",
        ),
    ],
)
def test_what_is_missing_is_named_and_will_not_come_once_the_state_is_there(
    names: tuple[str, ...], missing: str
) -> None:
    found = judged(*names, STATE, documents=index_of(*SHARDS))

    assert not found.complete
    assert found.saved
    (said,) = lacks(found)
    assert said.split(" ")[0] == missing


@pytest.mark.parametrize(
    "document", [None, [], {}, {"weight_map": None}, {"weight_map": []}, "text", 5]
)
def test_an_index_that_says_nothing_makes_no_checkpoint(document: Any) -> None:
    documents = None if document is None else {INDEX: document}
    found = judged(INDEX, *SHARDS, STATE, documents=documents)

    assert lacks(found) == (f"{INDEX} (what is there cannot be read)",)


def test_an_index_outside_of_the_run_is_not_read() -> None:
    def read(name: str, _: Format) -> Content:
        raise AssertionError(name)

    links = listing(INDEX, STATE, kind=EntryKind.OUTSIDE)

    assert lacks(LAYOUT.completeness(links, Around(read))) == (
        f"{INDEX} (what is there is no file of this run)",
    )


def test_a_shard_outside_of_the_checkpoint_is_missing() -> None:
    names = ("../model-00001-of-00001.safetensors", "/etc/passwd")
    found = judged(INDEX, STATE, documents=index_of(*names))

    assert set(lacks(found)) == set(names)


def test_the_marker_of_an_unfinished_save_counts_more_than_the_state() -> None:
    found = judged("model.safetensors", STATE, "checkpoint-is-incomplete.txt")

    assert not found.complete
    assert not found.saved
    assert found.marker == "checkpoint-is-incomplete.txt"


def test_adapters_are_held_against_the_configuration_beside_them() -> None:
    names = ("adapter_config.json", "ref/adapter_model.bin", "a/adapter_config.json")

    assert unpaired_adapters(listing(*names, "a/adapter_model.bin")) == (
        ("adapter_config.json",),
        ("ref/adapter_model.bin",),
    )


# Recognition


@pytest.mark.parametrize(
    "name", [STATE, "model.safetensors", INDEX, "global_step5/mp_rank_00_model_states.pt"]
)
def test_a_directory_of_any_name_is_recognised_by_its_files(name: str) -> None:
    assert layout_of(listing(name, root="best-model")) is not None


def test_a_directory_with_the_name_is_one_before_its_files_tell() -> None:
    # A rank may create the directory with its random state before rank 0 gets there.
    assert layout_of(listing("rng_state_3.pth")) is not None
    assert layout_of(listing()) is not None
    assert layout_of(listing("README.md", root="docs")) is None
