"""What a clean-up takes away, decided on listings: no file is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resume_daemon.cleanup.leftovers.debug_logs import NEWEST, is_debug_log
from resume_daemon.cleanup.plan import plan_cleanup
from resume_daemon.cleanup.values import Action, Entry, EntryKind, Identity, Leftover, Tree
from resume_daemon.layouts.registry import is_checkpoint_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resume_daemon.cleanup.values import CleanupPlan

DAY = 24 * 3600 * 10**9
NOW = 1000 * DAY
OLD = NOW - 10 * DAY
RUN = Path("/runs/mine")


def tree(
    files: Iterable[str],
    *,
    root: Path = RUN,
    is_run: bool = True,
    mtimes: Mapping[str, int] | None = None,
    links: Mapping[str, str] | None = None,
) -> Tree:
    """Return a tree with these files, and the directories on their way; all are old."""
    times, targets = mtimes or {}, links or {}
    kinds: dict[str, EntryKind] = {}
    for name in (*files, *targets):
        parts = name.split("/")
        for depth in range(1, len(parts)):
            kinds["/".join(parts[:depth])] = EntryKind.DIRECTORY
        kinds[name] = EntryKind.LINK if name in targets else EntryKind.FILE
    entries = tuple(
        Entry(
            tuple(name.split("/")),
            kind,
            Identity(1, number, 100, times.get(name, OLD)),
            targets.get(name, ""),
        )
        for number, (name, kind) in enumerate(sorted(kinds.items()), 10)
    )
    return Tree(root, Identity(1, 1, 0, 0), entries, is_run=is_run)


def going(plan: CleanupPlan) -> dict[str, Action]:
    return {str(each.path.relative_to(RUN)): each.action for each in plan.removals}


def why_kept(plan: CleanupPlan) -> dict[str, str]:
    return {str(each.path.relative_to(RUN)): each.why for each in plan.kept}


def test_bytecode_with_a_source_is_deleted_and_its_empty_directory_with_it() -> None:
    plan = plan_cleanup([tree(["a.py", "__pycache__/a.cpython-311.pyc", "a.pyc"])], now_ns=NOW)
    assert going(plan) == dict.fromkeys(
        ["a.pyc", "__pycache__/a.cpython-311.pyc", "__pycache__"], Action.DELETE
    )


def test_bytecode_without_a_source_is_never_deleted() -> None:
    plan = plan_cleanup([tree(["__pycache__/a.cpython-311.pyc", "lone.pyc"])], now_ns=NOW)
    assert going(plan)["__pycache__/a.cpython-311.pyc"] is Action.SET_ASIDE
    assert "Python imports it" in why_kept(plan)["lone.pyc"]


def test_a_bytecode_directory_with_something_else_in_it_stays() -> None:
    files = ["a.py", "__pycache__/a.cpython-311.pyc", "__pycache__/notes.txt"]
    assert "__pycache__" not in going(plan_cleanup([tree(files)], now_ns=NOW))


def test_temporary_files_are_set_aside_once_they_were_left_alone_for_an_hour() -> None:
    young = {"young.tmp": NOW - DAY // 48}
    plan = plan_cleanup([tree(["old.tmp", "young.tmp", "x.tmp.12"], mtimes=young)], now_ns=NOW)
    assert going(plan) == {"old.tmp": Action.SET_ASIDE, "x.tmp.12": Action.SET_ASIDE}
    assert why_kept(plan) == {"young.tmp": "it was changed in the last hour"}


def test_what_a_process_has_open_stays() -> None:
    found = tree(["a.py", "__pycache__/a.cpython-311.pyc", "x.tmp", "tmp-checkpoint-3/w.part"])
    in_use = frozenset((e.identity.device, e.identity.inode) for e in found.entries)
    assert not plan_cleanup([found], now_ns=NOW, in_use=in_use).removals


@pytest.mark.parametrize(
    "place",
    ["checkpoint-10", "global_step100", "tmp-checkpoint-7", ".git", ".resume_daemon", "exported"],
)
def test_nothing_inside_a_checkpoint_or_what_looks_like_one_is_touched(place: str) -> None:
    weights = [f"{place}/model.safetensors"] if place == "exported" else []
    files = [f"{place}/x.tmp", f"{place}/m.py", f"{place}/__pycache__/m.cpython-311.pyc"]
    files += [f"{place}/debug_{n}.log" for n in range(20)] + weights
    removals = plan_cleanup([tree(files)], now_ns=NOW).removals
    assert not [each for each in removals if each.entry.parts[0] == place]


def test_an_abandoned_save_goes_only_where_a_checkpoint_was_saved_after_it() -> None:
    files = ["tmp-checkpoint-7/model.part", "checkpoint-8/config.json"]
    assert "no checkpoint" in why_kept(plan_cleanup([tree(files)], now_ns=NOW))["tmp-checkpoint-7"]
    later = {"checkpoint-8": OLD + 1}
    plan = plan_cleanup([tree(files, mtimes=later)], now_ns=NOW)
    assert going(plan) == {"tmp-checkpoint-7": Action.SET_ASIDE}


def test_a_save_that_was_written_to_today_stays() -> None:
    files = ["tmp-checkpoint-7/model.part", "checkpoint-8/config.json"]
    times = {"tmp-checkpoint-7/model.part": NOW - DAY // 2, "checkpoint-8": NOW}
    plan = plan_cleanup([tree(files, mtimes=times)], now_ns=NOW)
    assert not plan.removals
    assert "last 24 hours" in why_kept(plan)["tmp-checkpoint-7"]


def test_what_was_a_checkpoint_until_it_was_replaced_stays() -> None:
    files = ["old_step_5/train.part", "step_5/a", "checkpoint-9/config.json"]
    plan = plan_cleanup([tree(files, mtimes={"checkpoint-9": NOW})], now_ns=NOW)
    assert "better one" in why_kept(plan)["old_step_5"]


def test_a_staging_name_outside_of_the_run_says_nothing() -> None:
    found = tree(
        ["tmp-checkpoint-7/m", "checkpoint-8/c"], is_run=False, mtimes={"checkpoint-8": NOW}
    )
    assert not plan_cleanup([found], now_ns=NOW).removals


def test_the_newest_ten_debug_logs_of_all_roots_stay() -> None:
    other = Path("/code")
    here = {f"logs/debug_{n}.log": OLD + n for n in range(0, 14, 2)}
    there = {f"core-debug-{n}.log": OLD + n for n in range(1, 14, 2)}
    trees = [
        tree(here, mtimes=here),
        tree([*there, "train.log", "debugger.log"], root=other, is_run=False, mtimes=there),
    ]
    gone = {each.path for each in plan_cleanup(trees, now_ns=NOW).removals}
    assert gone == {
        RUN / "logs/debug_0.log",
        other / "core-debug-1.log",
        RUN / "logs/debug_2.log",
        other / "core-debug-3.log",
    }


SEGMENT = "wandb/run-20260101_000000-abc"
OFFLINE = "wandb/offline-run-20260101_000000-abc"


def segment_plan(segment: str, *more: str, **options: dict[str, int | str]) -> CleanupPlan:
    newer = {f"logs/debug_{n}.log": OLD + 10 + n for n in range(NEWEST)}
    files = [f"{segment}/{n}" for n in ("run-abc.wandb", "logs/debug.log", "files/x.tmp", *more)]
    times = newer | options.get("mtimes", {})
    links = options.get("links", {})
    return plan_cleanup(
        [tree([*files, *newer], mtimes=times, links=links)],  # type: ignore[arg-type]
        now_ns=NOW,
    )


def test_of_a_run_of_wandb_nothing_but_old_debug_logs_is_touched() -> None:
    plan = segment_plan(SEGMENT, "files/debug_old.log", "files/code/__pycache__/a.cpython-311.pyc")
    assert going(plan) == {f"{SEGMENT}/logs/debug.log": Action.SET_ASIDE}


def test_a_live_run_of_wandb_is_not_touched() -> None:
    recent = {f"{SEGMENT}/run-abc.wandb": NOW - DAY // 2}
    plan = segment_plan(SEGMENT, mtimes=recent)  # type: ignore[arg-type]
    assert not plan.removals
    latest = {"wandb/latest-run": "run-20260101_000000-abc"}
    plan = segment_plan(SEGMENT, links=latest)  # type: ignore[arg-type]
    assert not plan.removals


def test_an_offline_run_of_wandb_is_not_touched_before_it_was_sent() -> None:
    assert not segment_plan(OFFLINE).removals
    assert segment_plan(OFFLINE, "run-abc.wandb.synced").removals


def test_only_damaged_and_unfinished_files_of_the_cache_of_wandb_are_deleted() -> None:
    good, bad = (f"artifacts/obj/md5/{n * 2}/{n * 30}" for n in "ab")
    found = tree([good, bad, "artifacts/tmp/tmpabc", "artifacts/obj/etag/cc/dd"])
    damaged = frozenset(e.identity for e in found.entries if "/".join(e.parts) == bad)
    plan = plan_cleanup([found], now_ns=NOW, damaged=damaged)
    assert going(plan) == {bad: Action.DELETE, "artifacts/tmp/tmpabc": Action.DELETE}
    assert {each.leftover for each in plan.removals} == {Leftover.WANDB_CACHE}


NAMES = st.sampled_from(
    [
        "a.py",
        "a.pyc",
        "a.cpython-311.pyc",
        "x.tmp",
        "debug_1.log",
        "debug.log",
        "model.safetensors",
        "config.json",
        "run-abc.wandb",
        "b" * 30,
        "tmpq",
    ]
)
FOLDERS = st.sampled_from(
    [
        "checkpoint-10",
        "tmp-checkpoint-3",
        "__pycache__",
        "logs",
        "wandb",
        "run-20260101_000000-abc",
        "offline-run-20260101_000000-abc",
        "artifacts",
        "obj",
        "md5",
        "tmp",
        ".resume_daemon",
        "code",
    ]
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    paths = st.builds(lambda f, n: "/".join([*f, n]), st.lists(FOLDERS, max_size=4), NAMES)
    files = draw(st.lists(paths, max_size=40, unique=True))
    folders = {"/".join(f.split("/")[:d]) for f in files for d in range(1, f.count("/") + 1)}
    files = [each for each in files if each not in folders]
    times = draw(st.lists(st.integers(OLD, NOW + DAY), min_size=len(files), max_size=len(files)))
    return tree(files, is_run=draw(st.booleans()), mtimes=dict(zip(files, times, strict=True)))


@settings(max_examples=300, deadline=None)
@given(found=trees(), used=st.sets(st.integers(10, 60)))
def test_no_plan_names_what_must_stay(found: Tree, used: set[int]) -> None:
    in_use = frozenset((1, inode) for inode in used)
    plan = plan_cleanup([found], now_ns=NOW, in_use=in_use)
    entries = {each.parts: each for each in found.entries}
    assert len({each.path for each in plan.removals}) == len(plan.removals)
    assert not {each.path for each in plan.removals} & {each.path for each in plan.kept}
    for each in plan.removals:
        parts = each.entry.parts
        assert entries[parts] == each.entry
        assert not any(is_checkpoint_name(part) or part == ".resume_daemon" for part in parts)
        assert each.entry.identity.inode not in used or each.entry.kind is EntryKind.DIRECTORY
        assert each.path.is_relative_to(found.root)
        if any(part.startswith(("run-", "offline-run-")) for part in parts[:-1]):
            assert each.leftover is Leftover.DEBUG_LOG
        if each.action is Action.DELETE:
            assert each.leftover in {Leftover.BYTECODE, Leftover.WANDB_CACHE}
    logs = sorted(
        (e for e in found.entries if is_debug_log(e.parts[-1]) and e.kind is EntryKind.FILE),
        key=lambda e: e.identity.mtime_ns,
    )
    gone = [each for each in plan.removals if each.leftover is Leftover.DEBUG_LOG]
    assert len(logs) - len(gone) >= min(len(logs), NEWEST)
