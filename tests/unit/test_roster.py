from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from resume_daemon.daemon.roster import Clock, Roster
from resume_daemon.layouts.registry import checkpoints_in
from resume_daemon.watching.settle import Settings
from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

EXPORT = ("config.json", "model.safetensors", "tokenizer.json")


def members(run: Path) -> set[str]:
    """Return what a daemon takes for checkpoints, which has to be what ``verify`` takes, too."""
    roster = Roster(run, Settings(), Clock(lambda: 0.0, lambda: 0.0), lambda _: None)
    roster.rescan()
    assert set(checkpoints_in(run)) == set(roster.members)
    return set(roster.members)


def holding(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("name", ["model_5", "export_100", "2024", "my_model_3", "run_7"])
def test_an_exported_model_is_no_checkpoint_by_a_name_that_anything_may_have(
    tmp_path: Path, name: str
) -> None:
    holding(tmp_path / name, *EXPORT)
    write_checkpoint(tmp_path, 10)

    assert members(tmp_path) == {"checkpoint-10"}


def test_a_directory_of_anything_else_is_none_either(tmp_path: Path) -> None:
    holding(tmp_path / "data_2", "part-0.parquet", "README.md")
    (tmp_path / "empty_3").mkdir()

    assert members(tmp_path) == set()


@pytest.mark.parametrize(
    "name",
    [
        "_CHECKPOINT_METADATA",
        "default/_METADATA",
        "manifest.ocdbt",
        "state/ocdbt.process_3/d/0123456789abcdef0123456789abcdef",
        "state.orbax-checkpoint-tmp/_METADATA",
        "state/array_metadatas/process_0",
    ],
)
def test_one_of_orbax_is_seen_by_whatever_it_has_written_yet(tmp_path: Path, name: str) -> None:
    holding(tmp_path / "model_5", name)
    holding(tmp_path / "6", name)

    assert members(tmp_path) == {"model_5", "6"}


def test_the_directory_of_a_manager_is_none_although_its_name_would_do(tmp_path: Path) -> None:
    holding(tmp_path / "experiment_5", "1/_CHECKPOINT_METADATA", "1/_METADATA", "1/manifest.ocdbt")
    holding(
        tmp_path / "experiment_6",
        "1.orbax-checkpoint-tmp/_CHECKPOINT_METADATA",
        "1.orbax-checkpoint-tmp/_METADATA",
    )

    assert members(tmp_path) == set()
    assert members(tmp_path / "experiment_5") == {"1"}


def test_a_name_that_is_one_trainer_s_alone_needs_no_file(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-10").mkdir()

    assert members(tmp_path) == {"checkpoint-10"}


def test_a_member_that_becomes_something_else_is_let_go(tmp_path: Path) -> None:
    holding(tmp_path / "model_5", "_CHECKPOINT_METADATA")
    roster = Roster(tmp_path, Settings(), Clock(lambda: 0.0, lambda: 0.0), lambda _: None)
    roster.rescan()
    assert set(roster.members) == {"model_5"}

    (tmp_path / "model_5" / "_CHECKPOINT_METADATA").unlink()
    holding(tmp_path / "model_5", *EXPORT)
    roster.rescan()

    assert set(roster.members) == set()
