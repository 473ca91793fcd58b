from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from resume_daemon.errors import CancelledError, ChangedError, VanishedError
from resume_daemon.manifest import Manifest, range_of, resource_name
from resume_daemon.reading.scan import ReadOptions
from resume_daemon.scrub import Scrub, scrub
from resume_daemon.verification import Options, verify
from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL_RANGES = ReadOptions(read_bytes=4096, range_bytes=65536)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "run", 5)


@pytest.fixture
def manifest(checkpoint: Path) -> Manifest:
    """Return what a verification records, in ranges so small that weights have several."""
    options = Options(reading=SMALL_RANGES)
    found = verify(checkpoint, boundary=checkpoint.parent, options=options).manifest
    assert found is not None
    return found


def scrubbed(
    checkpoint: Path,
    manifest: Manifest,
    *,
    begin: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
) -> Scrub:
    return scrub(
        checkpoint,
        boundary=checkpoint.parent,
        manifest=manifest,
        begin=begin,
        reading=SMALL_RANGES,
        cancelled=cancelled,
    )


def flip(path: Path, offset: int) -> None:
    """Change one bit and leave size, times and inode as they were, as a failing disk does."""
    status = path.stat()
    with path.open("r+b") as stream:
        stream.seek(offset)
        (byte,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_is_as_it_was_is_read_whole_and_nothing_is_said(
    checkpoint: Path, manifest: Manifest
) -> None:
    result = scrubbed(checkpoint, manifest)
    assert (result.whole, result.decayed, result.stopped) == (True, None, None)
    assert result.done == len(manifest.resources)
    assert result.bytes_read == sum(file.size for file in manifest.files)


def test_one_flipped_bit_is_found_and_its_range_named(checkpoint: Path, manifest: Manifest) -> None:
    flip(checkpoint / "model.safetensors", 70_000)
    result = scrubbed(checkpoint, manifest)
    assert result.decayed is not None
    assert result.decayed.code == "RD221"
    assert result.decayed.message == "model.safetensors: bytes 65536 to 131072 changed in silence"
    assert not result.whole


def test_it_ends_where_it_is_told_to_and_goes_on_from_there(
    checkpoint: Path, manifest: Manifest
) -> None:
    asked = iter(range(1000))
    first = scrubbed(checkpoint, manifest, cancelled=lambda: next(asked) > 30)
    assert isinstance(first.stopped, CancelledError)
    assert 0 < first.done < len(manifest.resources)
    rest = scrubbed(checkpoint, manifest, begin=first.done)
    assert rest.whole
    assert rest.bytes_read < sum(file.size for file in manifest.files)


def test_a_checkpoint_that_was_written_to_is_changed_and_not_decayed(
    checkpoint: Path, manifest: Manifest
) -> None:
    flip(checkpoint / "model.safetensors", 70_000)
    os.utime(checkpoint / "model.safetensors")
    result = scrubbed(checkpoint, manifest)
    assert result.decayed is None
    assert isinstance(result.stopped, ChangedError)


def test_a_file_that_is_written_to_meanwhile_is_changed_and_not_decayed(
    checkpoint: Path, manifest: Manifest
) -> None:
    asked = iter(range(1000))

    def cancelled() -> bool:
        if next(asked) == 2:
            for path in checkpoint.iterdir():
                flip(path, 0)
                os.utime(path)
        return False

    result = scrubbed(checkpoint, manifest, cancelled=cancelled)
    assert result.decayed is None
    assert isinstance(result.stopped, ChangedError)


def test_a_checkpoint_that_is_removed_is_no_decay(checkpoint: Path, manifest: Manifest) -> None:
    checkpoint.rename(checkpoint.with_name("gone"))
    assert isinstance(scrubbed(checkpoint, manifest).stopped, VanishedError)


@pytest.mark.parametrize("name", ["model.safetensors", "odd:0:5", "a:b"])
@pytest.mark.parametrize("place", [(0, 700), (0, 256), (256, 700)])
def test_a_resource_says_which_bytes_it_covers(name: str, place: tuple[int, int]) -> None:
    assert range_of(resource_name(name, *place, 700), 700) == place
