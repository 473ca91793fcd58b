from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from resume_daemon.curriculum.schemas import known_schemas
from resume_daemon.curriculum.state import StateVersion, read_state
from resume_daemon.curriculum.versions import VersionStore
from resume_daemon.errors import FormatError, VanishedError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMAS = known_schemas()


def version_of(tmp_path: Path, stage: int) -> StateVersion:
    document = {"current_stage": stage, "global_step": stage * 10}
    path = tmp_path / "curriculum_state.json"
    path.write_text(json.dumps(document))
    found = read_state(path, run=tmp_path, schemas=SCHEMAS, wait=lambda _attempt: None)
    assert isinstance(found, StateVersion)
    return found


def test_a_version_is_kept_once_and_read_back_verified(tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "kept")
    version = version_of(tmp_path, 1)
    assert store.add(version)
    assert not store.add(version)
    assert store.get(version.digest) == version.content
    assert [(k.step, k.stage, k.file) for k in store.known()] == [(10, 1, "curriculum_state.json")]
    record = store.records()[0]
    assert store.version(record, SCHEMAS).history == version.history
    assert (tmp_path / "kept" / f"{version.digest}.json").is_file()


def test_a_state_that_comes_back_is_recorded_a_second_time(tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "kept")
    first, second = version_of(tmp_path, 1), version_of(tmp_path, 2)
    assert [store.add(v) for v in (first, second, first)] == [True, True, False]
    assert [k.step for k in store.known()] == [10, 20, 10]


def test_damaged_content_is_found_on_reading_and_replaced_on_adding(tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "kept")
    version = version_of(tmp_path, 1)
    store.add(version)
    kept = tmp_path / "kept" / f"{version.digest}.json"
    kept.write_bytes(b"{}")
    with pytest.raises(FormatError):
        store.get(version.digest)
    assert store.add(version)
    assert store.get(version.digest) == version.content


def test_pruning_spares_the_newest_the_referenced_and_backups(tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "kept")
    versions = [version_of(tmp_path, stage) for stage in range(6)]
    store.add(versions[0], backup=True)
    for version in versions[1:]:
        store.add(version)
    removed = store.prune(0, {versions[2].digest})
    assert set(removed) == {versions[n].digest for n in (1, 3, 4)}
    for number in (0, 2, 5):
        assert store.get(versions[number].digest) == versions[number].content
    with pytest.raises(VanishedError):
        store.get(versions[3].digest)
    assert [k.step for k in store.known()] == [20, 50]


def test_a_damaged_index_is_said_and_loses_no_content(tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "kept")
    version = version_of(tmp_path, 1)
    store.add(version)
    (tmp_path / "kept" / "index.json").write_bytes(b"\0\0")
    with pytest.raises(FormatError, match="Rename it"):
        store.known()
    assert store.get(version.digest) == version.content
