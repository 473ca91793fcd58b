"""verl with Megatron: the manifest that comes last, and what can be told without one."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from resume_daemon.findings import Verdict
from resume_daemon.formats.content import Content
from resume_daemon.layouts.verl_megatron import VerlMegatron
from tests.checkpoints import write_json
from tests.layouts.verl import BUILDERS, TRACKER, write_megatron, write_megatron_flat
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEGATRON = {name: build for name, build in BUILDERS.items() if "megatron" in name}


@pytest.mark.parametrize("build", MEGATRON.values(), ids=MEGATRON)
def test_a_healthy_checkpoint_is_sound_alone_and_after_another(
    tmp_path: Path, build: Callable[[Path, int], Path]
) -> None:
    first, second = build(tmp_path, 10), build(tmp_path, 20)
    for result in (verified(first), verified(second, before=first)):
        assert (result.layout, result.verdict, told(result)) == (
            "verl-megatron",
            Verdict.SOUND,
            [],
        )


@pytest.mark.parametrize(
    ("gone", "codes"),
    [
        ("actor/model/dist_ckpt/.metadata", ["RD116 error"]),
        ("actor/model/dist_ckpt/__1_0.distcp", ["RD116 error"]),
        ("critic/optimizer/dist_ckpt/metadata.json", ["RD116 error"]),
        ("critic/extra/dist_ckpt/__0_0.distcp", ["RD116 error"]),
        ("actor/model/huggingface/model.safetensors", ["RD101 error"]),
        ("actor/transformer_config.json", ["RD118 warning"]),
        ("actor/ckpt_contents.json", ["RD118 warning"]),
        ("data.pt", ["RD117 warning"]),
    ],
)
def test_what_the_manifest_lists_is_missed(tmp_path: Path, gone: str, codes: list[str]) -> None:
    checkpoint = write_megatron(tmp_path, 10)
    (checkpoint / gone).unlink()
    assert told(verified(checkpoint)) == codes


def test_a_whole_directory_that_the_manifest_lists_is_missed(tmp_path: Path) -> None:
    checkpoint = write_megatron(tmp_path, 10)
    shutil.rmtree(checkpoint / "actor/optimizer")
    message = found(verified(checkpoint), "RD116")
    assert verified(checkpoint).verdict is Verdict.UNSOUND
    assert message.file is not None
    assert message.file.startswith("actor/optimizer/dist_ckpt/")


def test_what_save_contents_left_out_is_lost(tmp_path: Path) -> None:
    checkpoint = write_megatron(tmp_path, 10)
    shutil.rmtree(checkpoint / "actor/optimizer")
    shutil.rmtree(checkpoint / "actor/extra")
    edit_manifest(checkpoint / "actor", lambda contents: keep(contents, "model", "hf_model"))
    assert told(verified(checkpoint)) == ["RD104 warning", "RD106 warning"]


def test_a_save_in_the_background_is_incomplete_until_its_manifest_is_there(
    tmp_path: Path,
) -> None:
    write_megatron(tmp_path, 10)
    later = write_megatron(tmp_path, 20)  # data.pt is written before the shards are done.
    (later / "critic/ckpt_contents.json").unlink()
    (tmp_path / TRACKER).write_text("10", encoding="utf-8")
    assert verified(later).verdict is Verdict.INCOMPLETE
    os.utime(tmp_path / TRACKER, (1, 1))
    assert verified(later).verdict is Verdict.INCOMPLETE


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"contents": []}'])
def test_a_manifest_that_lists_nothing_is_a_warning_and_the_directories_are_judged(
    tmp_path: Path, text: str
) -> None:
    checkpoint = write_megatron(tmp_path, 10)
    (checkpoint / "actor/ckpt_contents.json").write_text(text, encoding="utf-8")
    result = verified(checkpoint)
    assert result.verdict is Verdict.DEGRADED
    assert "lists nothing" in found(result, "RD118").message
    (checkpoint / "actor/model/dist_ckpt/__0_0.distcp").unlink()
    assert verified(checkpoint).verdict is Verdict.UNSOUND


@pytest.mark.parametrize("gone", [".metadata", "__1_0.distcp", "metadata.json", "common.pt"])
def test_the_older_flat_directory_lacks_nothing_that_megatron_loads(
    tmp_path: Path, gone: str
) -> None:
    checkpoint = write_megatron_flat(tmp_path, 10)
    (checkpoint / "actor/dist_ckpt" / gone).unlink()
    assert told(verified(checkpoint)) == ["RD116 error"]


def test_metadata_of_the_wrong_type_is_unsound(tmp_path: Path) -> None:
    checkpoint = write_megatron_flat(tmp_path, 10)
    write_json(checkpoint / "actor/dist_ckpt/metadata.json", ["torch_dist"])
    assert told(verified(checkpoint)) == ["RD116 error", "RD120 error"]


def test_what_rotation_leaves_is_no_damage(tmp_path: Path) -> None:
    checkpoint = write_megatron(tmp_path, 10)
    shutil.rmtree(checkpoint / "actor")
    result = verified(checkpoint)
    assert (result.verdict, told(result)) == (Verdict.INCOMPLETE, ["RD131 info"])


def test_every_manifest_says_its_step() -> None:
    content = Content(value={"global_step": 10})
    contents = {"actor/ckpt_contents.json": content, "actor/other.json": content}
    steps = list(VerlMegatron().recorded_steps(contents))
    assert steps == [("actor/ckpt_contents.json", 10)]


def keep(contents: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return some of what a manifest lists."""
    return {name: contents[name] for name in names}


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change what a manifest lists."""
    path = folder / "ckpt_contents.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**manifest, "contents": edit(manifest["contents"])})
