"""Addresses, records and metrics: what comes from people, from elsewhere and from the trainer."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.backup.address import folder_of, parse_address
from resume_daemon.backup.destinations.s3 import MOST_PARTS, part_bytes
from resume_daemon.backup.metrics import BEST, greater_is_better, metric_for, metrics_of
from resume_daemon.backup.reading_back import digests_of
from resume_daemon.backup.record import Backup, BackupFile, decode
from resume_daemon.errors import FormatError, UsageError
from tests.checkpoints import trainer_state_at

SECRET = "hunter2"  # noqa: S105 - what must not be seen again

BACKUP = Backup(
    id="checkpoint-5.0123456789ab",
    checkpoint="checkpoint-5",
    run="/data/run",
    step=5,
    layout="huggingface",
    verdict="sound",
    content="0123456789ab" + "0" * 52,
    fingerprint="f" * 64,
    number=1,
    metrics={"loss": 0.5},
    policy=True,
    at="2026-01-01T00:00:00.000000Z",
    manifest="e" * 64,
    is_file=False,
    folders={".": 1, "global_step5": 2},
    files=(BackupFile("global_step5/a.pt", 3, 4, 0o644, "a" * 64),),
    left_out=(),
)


@pytest.mark.parametrize(
    "url",
    [
        f"s3://user:{SECRET}@bucket/prefix",
        f"sftp://user:{SECRET}@host/path",
        f"s3://AKIA{SECRET}@bucket/prefix",
        f"az://container/x?sig=1&AccountKey={SECRET}",
        f"https://host/x?X-Amz-Signature={SECRET}",
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(url)
    assert SECRET not in str(caught.value)


def test_paths_and_urls_are_told_apart(tmp_path: Path) -> None:
    assert parse_address("there", tmp_path).path == tmp_path / "there"
    assert parse_address(f"file://{tmp_path}/a%20b").path == tmp_path / "a b"
    assert parse_address("s3://bucket/prefix/").url == "s3://bucket/prefix"
    assert parse_address("sftp://user@host/path").url == "sftp://user@host/path"


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "a\nb", "a\0b", "~nobody-of-that-name/x"),
        *("s3://", "s3:///x", "sftp:///", "file://", "memory://x"),
    ],
)
def test_what_is_neither_path_nor_url_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


def test_two_runs_of_one_name_have_directories_of_their_own(tmp_path: Path) -> None:
    names = {folder_of(tmp_path / each / "output") for each in ("a", "b")}
    assert len(names) == 2
    assert all(name.startswith("output-") for name in names)


def test_a_record_is_read_back_as_it_was_written() -> None:
    assert decode(BACKUP.encode(), Path("x")) == BACKUP


def test_the_list_of_digests_is_that_of_b3sum() -> None:
    assert BACKUP.sums() == b"a" * 64 + b"  global_step5/a.pt\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint": "../../etc", "id": "../../etc.0123456789ab"},
        {"checkpoint": ".ssh", "id": ".ssh.0123456789ab"},
        {"checkpoint": "other"},
        {"step": "5"},
        {"step": True},
        {"policy": 1},
        {"folders": {"../x": 1}},
        {"folders": {".": 1 << 70}},
        {"metrics": {"loss": "much"}},
        {"metrics": []},
        {"files": [{"name": "../a", "size": 1, "mtime_ns": 1, "mode": 1, "digest": "a" * 64}]},
        {"files": [{"name": "/a", "size": 1, "mtime_ns": 1, "mode": 1, "digest": "a" * 64}]},
        {"files": [{"name": "a", "size": -1, "mtime_ns": 1, "mode": 1, "digest": "a" * 64}]},
        {"files": [{"name": "a", "size": 1, "mtime_ns": 1, "mode": 1, "digest": "short"}]},
        {"files": [{"name": "a"}]},
        {"files": 5},
        {"schema": 2},
    ],
)
def test_a_record_that_would_lead_astray_is_refused(changes: dict[str, Any]) -> None:
    document = {**json.loads(BACKUP.encode()), **changes}
    with pytest.raises(FormatError):
        decode(json.dumps(document).encode(), Path("x"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(Backup.__dataclass_fields__)), JSON)
def test_no_value_of_any_key_is_anything_but_taken_or_refused(key: str, value: Any) -> None:
    document = {**json.loads(BACKUP.encode()), key: value}
    with suppress(FormatError):
        taken = decode(json.dumps(document).encode(), Path("x"))
        assert decode(taken.encode(), Path("x")) == taken


@given(st.integers(1, 5 * 1024**4))
def test_no_file_that_s3_takes_has_more_parts_than_it_takes(size: int) -> None:
    piece = part_bytes(size)
    assert -(-size // piece) <= MOST_PARTS
    assert piece == part_bytes(size)


@given(st.binary(max_size=200), st.integers(1, 50), st.integers(1, 60))
def test_digests_of_ranges_do_not_depend_on_how_the_bytes_come(
    content: bytes, piece: int, length: int
) -> None:
    size = len(content)
    ranges = [(b, min(b + length, size)) for b in range(0, size, length)] or [(0, 0)]
    pieces = [content[at : at + piece] for at in range(0, size, piece)]
    assert digests_of(pieces, ranges) == digests_of([content], ranges)
    shares = [content[begin:end] for begin, end in ranges]
    assert digests_of([content], ranges).ranges == tuple(
        digests_of([share], [(0, len(share))]).whole for share in shares
    )


def test_metrics_are_the_last_of_the_checkpoints_own_past() -> None:
    state = trainer_state_at(3)
    state["log_history"] += [
        {"eval_loss": 0.25, "step": 3},
        {"loss": float("nan"), "step": 3},
        {"loss": 9.0, "step": 4},
    ]
    found = metrics_of(state, "checkpoint-3")
    assert found["loss"] == pytest.approx(1 / 3)
    assert found["eval_loss"] == 0.25
    assert BEST not in found


def test_only_the_best_of_its_time_has_the_trainers_own_metric() -> None:
    state = trainer_state_at(3)
    state |= {"best_metric": 0.7, "best_model_checkpoint": "out/checkpoint-3"}
    assert metrics_of(state, "checkpoint-3")[BEST] == 0.7
    assert BEST not in metrics_of(state, "checkpoint-4")
    assert metric_for({BEST: 0.7}, None, saved_ns=2_000_000_000) == 2.0
    assert metric_for({"reward": 0.7}, None, saved_ns=1) is None
    assert metric_for({"reward": 0.7}, "reward", saved_ns=1) == 0.7


@given(JSON)
def test_no_trainer_state_is_too_strange(state: Any) -> None:
    for odd in (
        state,
        {"log_history": state, "global_step": state},
        {"log_history": [state, {"step": state, "x": state}]},
    ):
        found = metrics_of(odd, "checkpoint-3")
        assert all(isinstance(value, int | float) for value in found.values()), found


def test_of_a_loss_the_lower_is_better_unless_the_user_says_otherwise() -> None:
    assert not greater_is_better("eval_loss", None)
    assert greater_is_better("reward", None)
    assert greater_is_better("eval_loss", configured=True)
    assert not greater_is_better("reward", configured=False)


def test_a_backup_knows_its_size_and_when_it_was_saved() -> None:
    files = (*BACKUP.files, BackupFile("b", 10, 40, 0o644, "b" * 64))
    assert replace(BACKUP, files=files).size == 13
    assert replace(BACKUP, files=files).saved_ns == 40
