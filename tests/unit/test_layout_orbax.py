from __future__ import annotations

import json
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError
from resume_daemon.formats.array_data import read_array, read_array_data, read_arrays
from resume_daemon.formats.ocdbt import Value
from resume_daemon.formats.zarr_arrays import DESCRIPTIONS, Piece, described
from resume_daemon.layouts.orbax import Orbax
from resume_daemon.layouts.orbax_names import checkpoint_problems, device_problems
from resume_daemon.layouts.orbax_tree import (
    shapes_problems,
    sharding_problems,
    texts_problems,
    tree_of,
)
from resume_daemon.layouts.registry import checkpoints_in
from tests.layouts.orbax import state_at, write_arrays, write_checkpoint, write_item
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VARIANTS = [{}, {"zarr3": True}, {"ocdbt": False}, {"ocdbt": False, "zarr3": True}]


def changed(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON document."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def replaced(path: Path, old: str, new: str) -> None:
    """Change the first of some letters in a text."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_value_of_a_checkpoint_is_decoded_and_looked_at(
    tmp_path: Path, variant: dict[str, bool]
) -> None:
    state = state_at(5)
    state["params.bad"] = np.array([1.0, np.nan, 2.0], np.float32)
    state["opt_state.mu.bad"] = np.array([np.inf] * 70, np.float32)
    shutil.rmtree(write_checkpoint(tmp_path, 5, **variant) / "default")
    write_item(tmp_path / "5" / "default", state, **{"zarr3": False, "ocdbt": True, **variant})

    result = verified(tmp_path / "5")

    assert sorted(told(result)) == ["RD211 error", "RD311 error"]
    assert "params.bad has 1 NaN" in found(result, "RD211").message


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_shapes_of_the_arrays_are_those_that_were_written(
    tmp_path: Path, variant: dict[str, bool]
) -> None:
    item = write_checkpoint(tmp_path, 5, **variant) / "default"
    if variant.get("ocdbt", True):
        shapes = read_arrays(item / "manifest.ocdbt").shapes
    else:
        files = [each for kind in DESCRIPTIONS for each in item.glob(f"*/{kind}")]
        shapes = {name: shape for each in files for name, shape in read_array(each).shapes.items()}

    assert shapes == {k: np.shape(v) for k, v in state_at(5).items() if not isinstance(v, str)}


def test_an_array_of_many_chunks_is_whole_only_with_all_of_them(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 5, ocdbt=False)
    array = checkpoint / "default" / "params.model.norm.weight"
    chunk = (array / "0").read_bytes()
    half = state_at(5)["params.model.norm.weight"].shape[0] // 2
    replaced(array / ".zarray", f'"chunks":[{2 * half}]', f'"chunks":[{half}]')
    assert (
        "1 chunks of the array default/params.model.norm.weight"
        in found(verified(checkpoint), "RD116").message
    )

    (array / "1").write_bytes(chunk)

    # Both are there now, and hold more than they should.
    assert set(told(verified(checkpoint))) == {"RD134 error"}


@pytest.mark.parametrize("name", ["0", ".zarray"])
def test_an_array_in_a_directory_of_its_own_is_missed(tmp_path: Path, name: str) -> None:
    checkpoint = write_checkpoint(tmp_path, 5, ocdbt=False)
    (checkpoint / "default" / "opt_state.count" / name).unlink()

    assert told(verified(checkpoint)) == ["RD116 error"]


def test_values_and_nodes_may_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    """As with ``store_ocdbt_metadata_and_values_separately``."""
    layout = Orbax()
    for folder in ("d", "ocdbt_data", "ocdbt_meta"):
        assert layout.part_of(f"state/{folder}/{'0a' * 16}").format == "array data"


SHARDING, STRINGS, TREE = "default/_sharding", "default/_strings.json", "default/_METADATA"
SHAPES, CHECKPOINT = "default/array_metadatas/process_0", "_CHECKPOINT_METADATA"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (TREE, "key_metadata", "kez_metadata", "lacks a part"),
        (TREE, '"key_type": 2', '"key_type": 7', "lacks a part"),
        (TREE, "tree_metadata", "tsee_metadata", "no tree of parameters"),
        (STRINGS, "name", "nbme", "it lacks the text name"),
        (SHARDING, "sharding_type", "shasding_type", "lacks a kind that can be read"),
        (SHARDING, "SingleDevice", "SimgleDevice", "lacks a kind that can be read"),
        (SHARDING, "device_str", "devide_str", "lacks device_str"),
        (SHARDING, "cpu:0", "bpu:0", "one of them is misspelt"),
        (SHARDING, '"cGFyYW1z', '"cGFyYW1y', "is of no array that"),
        (SHARDING, '"cGFyYW1z', '"!GFyYW1z', "no name in base64"),
        (SHAPES, "param_name", "pbram_name", "lacks a part"),
        (SHAPES, "opt_state.mu", "opt_state.mv", "is of no array that"),
        (CHECKPOINT, "item_handlers", "item_hamdlers", "should be 'item_handlers'"),
        (CHECKPOINT, "PyTreeCheckpoint", "PyTreeChexkpoint", "should be 'orbax.checkpoint"),
    ],
)
def test_a_letter_without_which_a_restore_raises_is_seen(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    checkpoint = write_checkpoint(tmp_path, 5)
    replaced(checkpoint / file, old, new)

    result = verified(checkpoint)

    assert result.verdict == "unsound"
    assert any(message in each.message and each.file == file for each in result.findings)


def test_arrays_on_different_devices_are_no_damage() -> None:
    assert list(device_problems(["cpu:0", "cuda:0", "cuda:1", "gpu:0", "tpu:0", "cpu:0"])) == []
    assert list(device_problems(["TFRT_CPU_0", "TFRT_CPU_1", "TPU_0(process=0,(0,0,0,0))"])) == []
    assert list(device_problems(["cuda:0", "cuea:0"])) != []


def test_a_handler_of_somebody_s_own_is_no_damage() -> None:
    handlers = {"state": "mine.MyCheckpointHandler", "other": "orbax.new.NewCheckpointHandler"}

    assert list(checkpoint_problems({"item_handlers": handlers, "extra": 1})) == []


@pytest.mark.parametrize("file", [SHARDING, CHECKPOINT])
def test_what_the_run_saves_and_a_restore_asks_for_is_missed(tmp_path: Path, file: str) -> None:
    before, checkpoint = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 6)
    (checkpoint / file).unlink()

    assert told(verified(checkpoint, before=before)) == ["RD414 error"]


def test_a_run_that_saves_no_shardings_is_sound(tmp_path: Path) -> None:
    """As with ``ArrayHandler(enable_write_sharding_file=False)``."""
    before, checkpoint = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 6)
    for each in (before, checkpoint):
        (each / SHARDING).unlink()

    assert told(verified(checkpoint, before=before)) == []


def test_texts_that_the_tree_names_are_missed(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 5)
    (checkpoint / STRINGS).unlink()

    assert told(verified(checkpoint)) == ["RD116 error"]


def test_a_save_without_its_end_is_incomplete(tmp_path: Path) -> None:
    """Under its final name, as on object stores, until ``commit_success.txt`` is there."""
    checkpoint = write_checkpoint(tmp_path, 5)
    (checkpoint / "commit_success.txt").unlink()
    assert verified(checkpoint).verdict == "sound"

    changed(checkpoint / CHECKPOINT, lambda document: document.update(commit_timestamp_nsecs=None))

    assert verified(checkpoint).verdict == "incomplete"


def test_each_item_that_was_saved_has_to_be_there(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 5)
    base = "orbax.checkpoint._src.handlers"
    more = {
        "data": f"{base}.json_checkpoint_handler.JsonCheckpointHandler",
        "mine": "mine.MyCheckpointHandler",
    }
    changed(checkpoint / CHECKPOINT, lambda document: document["item_handlers"].update(more))
    assert told(verified(checkpoint)) == ["RD116 error"] * 2

    for name in ("data/metadata", "mine/anything"):
        (checkpoint / name).parent.mkdir()
        (checkpoint / name).write_text("{}", encoding="utf-8")

    assert told(verified(checkpoint)) == []


@pytest.mark.parametrize("name", ["7", "run_7", "run_00000007", "my_run_7"])
def test_names_of_every_format_of_steps_are_checkpoints(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path, 7).rename(tmp_path / name)
    (tmp_path / "8.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "8.orbax-checkpoint-tmp-1700000000").mkdir()

    assert checkpoints_in(tmp_path) == [name]
    assert verified(tmp_path / name).step == 7


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("tree_metadata", "key_metadata", "value_metadata", "key", "key_type"),
                    *("value_type", "skip_deserialize", "array_metadatas", "array_metadata"),
                    *("param_name", "write_shape", "chunk_shape", "item_handlers", "bmFtZQ=="),
                    *("name", "configuration", "codecs", "shape", "chunks", "dtype"),
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, JSON)
def test_any_documents_are_understood_or_told_of(one: Any, other: Any) -> None:
    tree = tree_of(one)
    assert all(isinstance(name, str) for name in tree.names)
    if isinstance(other, dict):
        for problems in (
            texts_problems(other, tree),
            sharding_problems(other, tree, Orbax),  # type: ignore[arg-type]
            shapes_problems(other, tree),
            checkpoint_problems(other),
        ):
            assert all(isinstance(problem, str) for problem in problems)


@given(st.sampled_from(DESCRIPTIONS), st.data())
def test_any_description_of_an_array_is_understood_or_refused(
    kind: str, data: st.DataObject
) -> None:
    whole: dict[str, Any] = {
        ".zarray": {
            "zarr_format": 2,
            "shape": [4, 6],
            "chunks": [2, 6],
            "dtype": "<f4",
            "compressor": {"id": "zstd", "level": 1},
            "fill_value": None,
            "order": "C",
            "filters": None,
        },
        "zarr.json": {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [4, 6],
            "data_type": "float32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 6]}},
            "chunk_key_encoding": {"name": "default"},
            "fill_value": 0.0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        },
    }[kind]
    array = described("a", kind, whole)
    assert (array.shape, array.chunk, array.grid, array.size) == ((4, 6), (2, 6), 2, 48)

    strange = {**whole, data.draw(st.sampled_from(sorted(whole))): data.draw(JSON)}
    with suppress(ValueError):
        assert described("a", kind, strange).grid >= 0
    with pytest.raises(ValueError, match="has surprise"):
        described("a", kind, {**whole, "surprise": 1})
    strange.pop(next(iter(whole)))
    with pytest.raises(ValueError, match="lacks"):
        described("a", kind, strange)


@given(st.binary(max_size=300), st.sampled_from(["plain", "compressed", "shard"]))
def test_any_chunk_is_looked_at_or_told_of(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-chunk"
    path.write_bytes(content)
    plain = {"name": "bytes"}
    zstd = {"name": "zstd", "configuration": {"level": 3}}
    sharding = {
        "chunk_shape": [8],
        "codecs": [plain, zstd],
        "index_codecs": [plain, {"name": "crc32c"}],
    }
    codecs: dict[str, list[dict[str, Any]]] = {
        "plain": [plain],
        "compressed": [plain, zstd],
        "shard": [{"name": "sharding_indexed", "configuration": sharding}],
    }
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [8],
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8]}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0.0,
        "codecs": codecs[kind],
    }
    piece = Piece(described("a", "zarr.json", document), "c/0", Value("a", end=len(content)))

    found_in = read_array_data(path, len(content), 0, [piece])

    assert found_in.problems or found_in.spans or found_in.frames


def test_a_data_file_shorter_than_its_tree_says_is_cut(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10))

    with pytest.raises(FormatError, match="5 of 15 bytes are missing"):
        read_array_data(tmp_path / "file", 10, 15, [])


def test_arrays_of_every_type_that_models_use_are_read(tmp_path: Path) -> None:
    types = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "uint32", "bool")
    arrays = {name: np.ones((3, 4), name) for name in types}
    for zarr3 in (False, True):
        folder = tmp_path / str(zarr3)
        write_arrays(folder, arrays, zarr3=zarr3)
        content = read_arrays(folder / "manifest.ocdbt")

        assert content.problems == ()
        assert all(array.dtype is not None for array in content.value.arrays.values())
        assert len(content.value.arrays) == len(types)
