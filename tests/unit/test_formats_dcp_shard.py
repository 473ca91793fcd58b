from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from resume_daemon.errors import BeyondBoundsError
from resume_daemon.formats import dcp_shard
from resume_daemon.formats.dcp_metadata import Chunk
from resume_daemon.formats.dcp_shard import read_dcp_shard
from tests.torch_files import torch_file, zip_archive

if TYPE_CHECKING:
    from pathlib import Path


def tensor(name: str, begin: int, size: int) -> Chunk:
    return Chunk(name, begin, size, "F32", (0,), (3,), transformed=False)


def test_pieces_in_the_same_bytes_are_told_and_read_once(tmp_path: Path) -> None:
    content = torch_file(np.ones(3, np.float32), folder="archive")
    (tmp_path / "shard").write_bytes(content)
    chunks = [tensor(name, 0, len(content)) for name in "abc"]

    found = read_dcp_shard(tmp_path / "shard", len(content), chunks)
    assert [span.name for span in found.spans] == ["a"]
    assert [problem.message for problem in found.problems] == [
        "b begins before the end of another piece",
        "c begins before the end of another piece",
    ]


def test_all_objects_of_a_shard_have_one_bound_together(tmp_path: Path) -> None:
    # By the estimate, each takes three quarters of what one may.
    pickle = b"\x80\x02](" + b"}" * 1_300_000 + b"e."
    content = zip_archive([("archive/data.pkl", pickle), ("archive/version", b"3")])
    (tmp_path / "shard").write_bytes(content * 2)
    chunks = [
        Chunk(name, place * len(content), len(content), None, (), (), transformed=False)
        for place, name in enumerate("ab")
    ]
    read_dcp_shard(tmp_path / "shard", 2 * len(content), [chunks[1]])
    with pytest.raises(BeyondBoundsError, match=r"shard: b: its values take more"):
        read_dcp_shard(tmp_path / "shard", 2 * len(content), chunks)


def test_more_records_than_are_looked_at_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = torch_file(np.ones(3, np.float32), folder="archive")
    (tmp_path / "shard").write_bytes(content)
    monkeypatch.setattr(dcp_shard, "MAX_RECORDS", 3)
    with pytest.raises(BeyondBoundsError, match="more than 3 records"):
        read_dcp_shard(tmp_path / "shard", len(content), [tensor("a", 0, len(content))])
