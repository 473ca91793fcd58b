from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from resume_daemon.curriculum.discovery import discover
from resume_daemon.curriculum.schemas import known_schemas
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMAS = known_schemas()


def test_state_lies_in_the_run_or_its_curriculum_folder(tmp_path: Path) -> None:
    for name in (
        "curriculum_state.json",
        "curriculum/curriculum_state_detailed.json",
        "checkpoint-10/curriculum_state.json",
        "samples/curriculum_state.json",
        ".resume_daemon/curriculum_state.json",
        "curriculum_state.json.bak",
        "config.json",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert discover(tmp_path, SCHEMAS).files == (
        "curriculum_state.json",
        "curriculum/curriculum_state_detailed.json",
    )


def test_configured_patterns_come_first_and_do_not_enter_checkpoints(tmp_path: Path) -> None:
    for name in ("state/a/my.json", "checkpoint-10/a/my.json", "curriculum_state.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = discover(tmp_path, SCHEMAS, ["*/a/*.json"])
    assert found.files == ("state/a/my.json", "curriculum_state.json")


@pytest.mark.parametrize("pattern", ["/etc/*", "../x.json", "**/x.json", ""])
def test_a_pattern_that_leaves_the_run_or_walks_it_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="curriculum file pattern"):
        discover(tmp_path, SCHEMAS, [pattern])


def test_files_beyond_the_bound_are_counted(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"curriculum_state_{number:02}.json").write_text("{}")
    found = discover(tmp_path, SCHEMAS)
    assert (len(found.files), found.left_out) == (16, 4)
