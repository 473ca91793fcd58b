from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from resume_daemon import listing as listing_module
from resume_daemon.errors import ResumeDaemonError, VanishedError
from resume_daemon.listing import MAX_DEPTH, EntryKind, list_directory, list_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from resume_daemon.listing import Listing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "checkpoint-5"
    path.mkdir(parents=True)
    return path


def listed(root: Path) -> Listing:
    return list_directory(root, boundary=root.parent)


def test_files_are_listed_with_their_paths_below_the_directory(root: Path) -> None:
    (root / "a.json").write_bytes(b"12")
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / "sub" / "deeper" / "b.bin").write_bytes(b"345")

    listing = listed(root)

    assert sorted(listing) == ["a.json", "sub/deeper/b.bin"]
    assert listing.entries["sub/deeper/b.bin"].size == 3
    assert listing.total_bytes() == 5
    assert listing.path("sub/deeper/b.bin").read_bytes() == b"345"
    assert "a.json" in listing
    assert "b.bin" not in listing


def test_directories_are_entered_to_a_bounded_depth(root: Path) -> None:
    deep = root
    for level in range(MAX_DEPTH + 1):
        (deep / f"file-{level}").touch()
        deep = deep / "d"
        deep.mkdir()
    (deep / "too-deep").touch()

    assert len(listed(root).entries) == MAX_DEPTH + 1


@pytest.mark.parametrize("make", [lambda p: p.touch(), lambda p: p.mkdir()], ids=["files", "dirs"])
def test_a_directory_that_is_no_checkpoint_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(listing_module, "MAX_ENTRIES", 10)
    for number in range(10):
        make(root / str(number))
    listed(root)
    make(root / "one-more")

    with pytest.raises(ResumeDaemonError, match=r"more than 10 files. Is it a run\?"):
        listed(root)


def test_a_directory_that_is_gone_has_vanished(root: Path) -> None:
    with pytest.raises(VanishedError):
        listed(root / "gone")
    (root / "file").touch()
    with pytest.raises(VanishedError):
        listed(root / "file")


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), PermissionError(13, "closed")])
def test_a_directory_inside_may_vanish_but_not_be_closed_to_us(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    (root / "sub").mkdir()
    (root / "file").touch()
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "sub":
            raise error
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    if isinstance(error, FileNotFoundError):
        assert list(listed(root)) == ["file"]
    else:
        with pytest.raises(ResumeDaemonError, match=r"sub: closed\. Give the daemon's user"):
            listed(root)


def test_links_are_followed_inside_the_run_and_nowhere_else(root: Path) -> None:
    (root.parent / "shared.bin").write_bytes(b"12345")
    (root.parent.parent / "secret").write_bytes(b"outside")
    (root / "inside").symlink_to("../shared.bin")
    (root / "outside").symlink_to("../../secret")
    (root / "outside-dangling").symlink_to("/no/such/file")
    (root / "dangling").symlink_to("nothing")
    (root / "loop").symlink_to("loop")
    (root / "directory").symlink_to("..")

    listing = listed(root)

    assert {name: entry.kind for name, entry in listing.entries.items()} == {
        "inside": EntryKind.FILE,
        "outside": EntryKind.OUTSIDE,
        "outside-dangling": EntryKind.OUTSIDE,
        "dangling": EntryKind.SPECIAL,
        "loop": EntryKind.SPECIAL,
        "directory": EntryKind.SPECIAL,
    }
    assert listing.entries["inside"].size == 5
    assert listing.path("inside") == root.parent / "shared.bin"
    assert listing.total_bytes() == 5


def test_what_is_no_file_is_told_apart(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        kinds = {entry.kind for entry in listed(root).entries.values()}

    assert kinds == {EntryKind.SPECIAL}


def test_a_name_that_is_no_text_is_listed_and_fingerprinted(root: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (root / name).write_bytes(b"1")

    listing = listed(root)

    assert list(listing) == [name]
    assert listing.path(name).read_bytes() == b"1"
    assert listing.fingerprint() != listed_without(root, name)


def listed_without(root: Path, name: str) -> str:
    (root / name).unlink()
    return listed(root).fingerprint()


# Fingerprint


def rewrite(path: Path, content: bytes) -> None:
    """Write in place, and leave the modification time as it was."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path) -> None:
    status = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.replace(path)


@pytest.mark.parametrize(
    "touch",
    [
        lambda path: rewrite(path, b"longer than before"),
        lambda path: os.utime(path, ns=(0, 12_345)),
        replace,
        lambda path: path.rename(path.with_name("other")),
        lambda path: path.unlink(),
        lambda path: path.with_name("new").touch(),
    ],
    ids=["size", "mtime", "inode", "name", "removed", "added"],
)
def test_whatever_touches_content_changes_the_fingerprint(
    root: Path, touch: Callable[[Path], None]
) -> None:
    (root / "file").write_bytes(b"content")
    before = listed(root).fingerprint()
    touch(root / "file")

    assert listed(root).fingerprint() != before


def test_a_backup_by_hard_link_and_a_chmod_touch_nothing(root: Path) -> None:
    (root / "file").write_bytes(b"content")
    before = listed(root).fingerprint()
    (root / "file").chmod(0o600)
    os.link(root / "file", root.parent / "backup")

    assert listed(root).fingerprint() == before


def test_the_newest_change_of_anything_is_known(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "file").write_bytes(b"content")
    future = 2**62
    for path in (root / "sub" / "file", root / "sub", root):
        os.utime(path, ns=(0, future))
        assert listed(root).changed_ns == future
        os.utime(path, ns=(0, 0))

    newest = max(p.stat().st_ctime_ns for p in (root, root / "sub", root / "sub" / "file"))
    assert listed(root).changed_ns == newest


def test_a_file_is_listed_with_those_that_belong_to_it_across_short_gaps(root: Path) -> None:
    for name in ("model.zip", "rank0", "rank3", "rank12", "other"):
        (root / name).touch()
    asked: list[int] = []

    def ranks() -> Iterator[str]:
        for rank in range(1000):
            asked.append(rank)
            yield f"rank{rank}"

    listing = list_files(root, "model.zip", ranks(), boundary=root)
    assert (listing.name, listing.root) == ("model.zip", root)
    # Eight in a row are not there after rank 3.
    assert set(listing) == {"model.zip", "rank0", "rank3"}
    assert max(asked) == 11
    (root / "model.zip").unlink()
    with pytest.raises(VanishedError):
        list_files(root, "model.zip", (), boundary=root)
