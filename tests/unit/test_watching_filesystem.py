from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.watching.filesystem import (
    CHANGES_COME_FROM,
    Filesystem,
    choose_backend,
    filesystem_of,
)


def line(number: int, parent: int, point: str, kind: str, optional: str = "") -> str:
    """One line as the kernel writes it."""
    extra = f" {optional}" if optional else ""
    return f"{number} {parent} 0:{number} / {point} rw,relatime{extra} - {kind} source rw"


def of(path: str, *lines: str) -> Filesystem:
    return filesystem_of(Path(path), "\n".join(lines) + "\n")


ROOT = line(20, 1, "/", "ext4", "shared:1")


def test_a_path_belongs_to_the_mount_with_the_longest_mount_point_above_it() -> None:
    table = (ROOT, line(21, 20, "/data", "xfs"), line(22, 21, "/data/runs", "nfs4"))
    assert of("/data/runs/a/b", *table) == Filesystem("nfs4", "/data/runs", network=True)
    assert of("/data/other", *table) == Filesystem("xfs", "/data", network=False)
    assert of("/data", *table).mount_point == "/data"
    assert of("/home", *table) == Filesystem("ext4", "/", network=False)


def test_a_mount_point_is_a_whole_path_part_and_not_any_prefix() -> None:
    assert of("/database", ROOT, line(21, 20, "/data", "nfs")).type == "ext4"


def test_a_later_mount_covers_an_earlier_one_on_the_same_place() -> None:
    assert of("/a/b", ROOT, line(21, 20, "/a", "nfs"), line(22, 21, "/a", "xfs")).type == "xfs"
    # Stacked on the root itself, as in a container; the lowest mount is its own parent.
    for table in ((ROOTFS, OVERLAY), (OVERLAY, ROOTFS)):
        assert of("/a", *table).type == "overlay"


ROOTFS, OVERLAY = line(1, 1, "/", "rootfs"), line(20, 1, "/", "overlay")


def test_a_mount_hidden_by_a_later_mount_on_its_parent_directory_does_not_count() -> None:
    table = (ROOT, line(21, 20, "/a/b", "nfs"), line(22, 20, "/a", "xfs"))
    assert of("/a/b/run", *table) == Filesystem("xfs", "/a", network=False)


def test_the_order_of_lines_tells_nothing_since_a_switch_of_root_puts_the_root_last() -> None:
    table = (line(22, 66, "/proc", "proc"), line(30, 66, "/scratch", "lustre"), ROOT_LAST)
    assert of("/scratch/run", *table).type == "lustre"
    assert of("/home", *table).type == "xfs"


ROOT_LAST = line(66, 1, "/", "xfs")


def test_a_bind_mount_has_the_type_of_what_is_bound() -> None:
    bind = "40 20 8:1 /export/runs /runs rw,relatime shared:9 master:3 - nfs4 server:/export rw"
    assert of("/runs/x", ROOT, bind) == Filesystem("nfs4", "/runs", network=True)


def test_octal_escapes_in_a_mount_point_are_undone() -> None:
    table = (ROOT, line(21, 20, r"/my\040runs\011a\134b", "cifs"))
    assert of("/my runs\ta\\b/x", *table) == Filesystem("cifs", "/my runs\ta\\b", network=True)


@pytest.mark.parametrize("table", ["", "garbage\n", "1 2 3\n", "x y 0:1 / / rw - ext4 s rw\n"])
def test_a_table_that_says_nothing_gives_an_unknown_local_filesystem(table: str) -> None:
    assert filesystem_of(Path("/a"), table) == Filesystem("unknown", "/", network=False)


def test_a_loop_of_parents_ends() -> None:
    assert of("/a", ROOT, line(21, 20, "/a", "xfs"), line(20, 21, "/a", "nfs")).type in {
        "xfs",
        "nfs",
    }


@given(st.text(alphabet=" -/\\0147ab\n", max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    filesystem_of(Path("/a/b"), text)


PARTS = st.lists(st.sampled_from(["a", "b", "c d", "tab\t", "back\\040"]), max_size=4)


@given(st.lists(PARTS, max_size=6), PARTS)
def test_mounts_that_hide_nothing_follow_the_longest_prefix(
    points: list[list[str]], path: list[str]
) -> None:
    """Against a reference: each mount's parent is what its mount point lay on before."""
    escape = {ord(" "): r"\040", ord("\t"): r"\011", ord("\\"): r"\134"}
    mounts: dict[PurePosixPath, int] = {PurePosixPath("/"): 20}
    lines = [ROOT]
    for number, parts in enumerate(sorted(points, key=len), start=21):
        point = PurePosixPath("/", *parts)
        parent = max((m for m in mounts if point.is_relative_to(m)), key=lambda m: len(m.parts))
        lines.append(line(number, mounts[parent], str(point).translate(escape), f"type{number}"))
        mounts[point] = number
    target = PurePosixPath("/", *path)
    best = max((m for m in mounts if target.is_relative_to(m)), key=lambda m: len(m.parts))
    expected = "ext4" if mounts[best] == 20 else f"type{mounts[best]}"
    assert of(str(target), *lines).type == expected


def test_this_machine_knows_its_proc_filesystem() -> None:
    table = Path("/proc/self/mountinfo").read_text()
    assert filesystem_of(Path("/proc/self"), table) == Filesystem("proc", "/proc", network=False)


@pytest.mark.parametrize("kind", [*sorted(CHANGES_COME_FROM), "fuse.sshfs", "fuse.glusterfs"])
def test_auto_polls_where_others_change_files_behind_the_kernels_back(kind: str) -> None:
    filesystem = of("/a", ROOT, line(21, 20, "/a", kind))
    choice = choose_backend("auto", filesystem, "linux")
    assert filesystem.network
    assert choice.backend == "polling"
    assert kind in choice.reason


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk"])
def test_auto_takes_inotify_on_local_disks(kind: str) -> None:
    assert choose_backend("auto", of("/", line(20, 1, "/", kind)), "linux").backend == "inotify"


def test_an_explicit_setting_is_obeyed_and_doubt_is_spoken() -> None:
    lustre = Filesystem("lustre", "/scratch", network=True)
    forced = choose_backend("inotify", lustre, "linux")
    assert forced.backend == "inotify"
    assert "cluster" in forced.reason
    local = Filesystem("xfs", "/", network=False)
    assert choose_backend("polling", local, "linux").backend == "polling"


@pytest.mark.parametrize("setting", ["auto", "inotify"])
def test_other_platforms_poll(setting: str) -> None:
    local = Filesystem("apfs", "/", network=False)
    assert setting in {"auto", "inotify"}
    choice = choose_backend("auto" if setting == "auto" else "inotify", local, "darwin")
    assert choice.backend == "polling"
    assert "darwin" in choice.reason
