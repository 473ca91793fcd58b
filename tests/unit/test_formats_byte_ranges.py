from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from resume_daemon.errors import ChangedError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import blank_reason, read_range

if TYPE_CHECKING:
    from pathlib import Path


def test_a_range_is_read_exactly_or_the_file_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    with open_regular(path) as fd:
        assert read_range(fd, 3, 4, path) == b"3456"
        assert read_range(fd, 10, 0, path) == b""
        with pytest.raises(ChangedError, match="became shorter"):
            read_range(fd, 8, 3, path)


def test_a_file_is_blank_only_when_nothing_was_written() -> None:
    assert blank_reason(b"") == "it is empty"
    assert "all zero" in str(blank_reason(bytes(10)))
    assert blank_reason(bytes(10) + b"x") is None
