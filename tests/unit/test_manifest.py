from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.manifest import (
    Manifest,
    ManifestFile,
    Resource,
    TensorRecord,
    digest_of,
    file_of,
    read_manifest,
    resource_name,
    write_manifest,
)
from tests.checkpoints import write_checkpoint
from tests.verifying import manifest_of

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
MANIFESTS = st.builds(
    Manifest,
    checkpoint=TEXT,
    layout=TEXT,
    step=st.none() | st.integers(0, 2**53),
    fingerprint=TEXT,
    files=st.lists(
        st.builds(ManifestFile, TEXT, st.integers(0), st.integers(0), st.integers(0)), max_size=3
    ).map(tuple),
    resources=st.lists(st.builds(Resource, TEXT, TEXT, TEXT), max_size=3).map(tuple),
    tensors=st.dictionaries(
        TEXT,
        st.lists(
            st.builds(
                TensorRecord,
                TEXT,
                TEXT,
                st.lists(st.integers(0, 99), max_size=4).map(tuple),
                st.none() | NUMBER,
                st.integers(0),
                st.none() | NUMBER,
            ),
            max_size=3,
        ).map(tuple),
        max_size=2,
    ),
    steps=st.dictionaries(TEXT, st.integers(0, 2**53), max_size=3),
)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests") / "manifests" / "checkpoint-5.json"


@settings(max_examples=30)
@given(MANIFESTS)
def test_a_manifest_is_read_as_it_was_written(place: Path, manifest: Manifest) -> None:
    digest = write_manifest(place, manifest)

    assert read_manifest(place) == (manifest, digest)
    assert len(digest) == 64
    assert digest == digest_of(place.read_bytes()) == digest_of(manifest.encode())


def test_the_manifest_of_a_checkpoint_says_what_it_consisted_of(tmp_path: Path) -> None:
    manifest = manifest_of(write_checkpoint(tmp_path, 20))

    assert (manifest.checkpoint, manifest.layout, manifest.step) == (
        "checkpoint-20",
        "huggingface",
        20,
    )
    assert manifest.steps == {"trainer": 20, "scheduler": 20, "optimizer": 20}
    assert {f.name for f in manifest.files} == {
        p.name for p in (tmp_path / "checkpoint-20").iterdir()
    }
    (resource,) = manifest.digests_of("model.safetensors")
    assert resource.algorithm == "blake3"
    tensors = {record.name: record for record in manifest.tensors["model.safetensors"]}
    norm = tensors["model.norm.weight"]
    assert norm.shape == (64,)
    assert norm.largest
    assert norm.nonfinite == 0


def test_values_that_are_not_finite_are_counted_in_the_manifest(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 20)
    weights = load_file(checkpoint / "model.safetensors")
    weights["model.norm.weight"] = np.array([np.nan, np.inf, -np.inf, 2.0], np.float32)
    save_file(weights, checkpoint / "model.safetensors")
    records = manifest_of(checkpoint).tensors["model.safetensors"]

    (norm,) = (record for record in records if record.name == "model.norm.weight")
    assert (norm.nonfinite, norm.largest, norm.rms) == (3, 2.0, 2.0)


NAMES = st.text(st.sampled_from("ab:/.059²"), min_size=1, max_size=10)


@given(NAMES, st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40))
def test_the_file_of_a_resource_is_found_again(name: str, begin: int, end: int, size: int) -> None:
    assert file_of(resource_name(name, begin, end, size)) == name


@given(NAMES, st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_two_ranges_of_a_file_have_two_names(name: str, a: int, b: int, c: int, d: int) -> None:
    same = (a, b) == (c, d)

    assert (resource_name(name, a, b, 50) == resource_name(name, c, d, 50)) is same


def test_a_whole_file_is_named_as_it_is_and_a_range_as_in_model_signing() -> None:
    assert resource_name("model.safetensors", 0, 10, 10) == "model.safetensors"
    assert resource_name("model.safetensors", 0, 10, 20) == "model.safetensors:0:10"


def test_ranges_of_a_file_are_found_in_order() -> None:
    ranges = tuple(Resource(f"w:{n}:{n + 1}", "blake3", str(n)) for n in range(3))
    manifest = Manifest("c", "l", 1, "f", (), (Resource("v", "blake3", "x"), *ranges), {}, {})

    assert manifest.digests_of("w") == ranges
    assert manifest.digests_of("w:0") == ()


def damaged(**changes: Any) -> bytes:
    whole = json.loads(Manifest("c", "l", 1, "f", (), (), {}, {}).encode())
    return json.dumps({**whole, **changes}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (bytes(500), "never written to the end"),
        (damaged()[:-5], "cut short"),
        (b"[]", "it is damaged"),
        (b"{}", "it is damaged"),
        (damaged(schema=2), "its schema is 2"),
        (damaged(files=[{"name": "a"}]), "it is damaged"),
        (damaged(files=[5]), "it is damaged"),
        (damaged(files=[{"name": 5, "size": 1, "mtime_ns": 1, "inode": 1}]), "a name is no text"),
        (damaged(files=None), "it is damaged"),
        (damaged(resources=[{"name": [], "algorithm": "", "digest": ""}]), "a name is no text"),
        (damaged(tensors=[]), "it is damaged"),
        (damaged(tensors={"a": [{"shape": 5}]}), "it is damaged"),
        (damaged(step="5"), "step is '5'"),
        (damaged(step=True), "step is True"),
        (damaged(steps=[]), "it is damaged"),
        (damaged(steps={"trainer": "many"}), "it is damaged"),
        (damaged(steps={"trainer": None}), "it is damaged"),
        (damaged(steps={"trainer": math.inf}), "it is damaged"),
    ],
)
def test_a_damaged_manifest_is_an_error_that_says_so(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "checkpoint-5.json"
    path.write_bytes(content)

    with pytest.raises(FormatError) as caught:
        read_manifest(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_manifest_that_is_not_there_has_vanished(tmp_path: Path) -> None:
    with pytest.raises(VanishedError):
        read_manifest(tmp_path / "nothing.json")
