"""Small files of sound checkpoints stay, whatever becomes of the checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3

from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.layouts.registry import layout_of, list_checkpoint
from resume_daemon.ledger.queries import fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.manifest import find_manifest
from resume_daemon.small_files import MOST_OF_A_FILE, SmallFiles, worth_keeping
from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def kept_of(checkpoint: Path) -> tuple[str, ...]:
    listing = list_checkpoint(checkpoint, boundary=checkpoint.parent)
    layout = layout_of(listing)
    assert layout is not None
    return worth_keeping(listing, layout.parts(listing))


def test_all_but_weights_and_optimizer_are_worth_keeping(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 5)
    there = {path.name for path in checkpoint.iterdir()}

    assert set(kept_of(checkpoint)) == there - {"model.safetensors", "optimizer.pt"}


def test_a_file_that_is_too_large_is_not_kept_and_hides_no_smaller_one(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 5)
    os.truncate(checkpoint / "tokenizer.json", MOST_OF_A_FILE + 1)

    assert "tokenizer.json" not in kept_of(checkpoint)
    assert "training_args.bin" in kept_of(checkpoint)


def test_a_content_is_kept_once_and_given_back(tmp_path: Path) -> None:
    files = SmallFiles(tmp_path / "small")
    digest = files.add(b"one")

    assert files.add(b"one") == digest == blake3(b"one").hexdigest()
    assert files.get(digest) == b"one"
    assert len(list((tmp_path / "small").iterdir())) == 1


def test_a_damaged_content_is_never_given_back_and_is_written_anew(tmp_path: Path) -> None:
    files = SmallFiles(tmp_path / "small")
    digest = files.add(b"one")
    (tmp_path / "small" / digest).write_bytes(b"")

    with pytest.raises(FormatError):
        files.get(digest)
    files.add(b"one")
    assert files.get(digest) == b"one"


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc/passwd", ""])
def test_what_is_not_kept_is_said_to_be_gone(digest: str, tmp_path: Path) -> None:
    with pytest.raises(VanishedError):
        SmallFiles(tmp_path / "small").get(digest)


def test_beyond_the_bound_what_was_not_met_for_longest_goes(tmp_path: Path) -> None:
    files = SmallFiles(tmp_path / "small", most=10)
    digests = [files.add(content) for content in (b"first", b"second", b"third")]
    for age, digest in enumerate(digests):
        os.utime(tmp_path / "small" / digest, (100 + age, 100 + age))
    files.add(b"first")

    assert files.prune() == 1
    assert files.get(digests[0]) == b"first"
    with pytest.raises(VanishedError):
        files.get(digests[1])


def once(run: Path) -> None:
    config = run.parent / "config.yaml"
    config.write_text(f"run: {run}\nwatch: {{settle_seconds: 0.2}}\n", encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "resume_daemon", "run", "--once", "--config", str(config)],
        capture_output=True,
        timeout=50,
        check=False,
    )


def test_what_a_checkpoint_was_when_it_was_sound_survives_a_worse_verdict(tmp_path: Path) -> None:
    run = tmp_path / "run"
    checkpoint = write_checkpoint(run, 5)
    content = (checkpoint / "tokenizer.json").read_bytes()
    once(run)
    (checkpoint / "tokenizer.json").unlink()
    once(run)

    sidecar = run / ".resume_daemon"
    known = fold(read_records(sidecar / "ledger.jsonl"))
    assert known.checkpoints["checkpoint-5"].verdict == "degraded"
    sound = known.sound["checkpoint-5"]
    manifest = find_manifest(sidecar / "manifests" / "checkpoint-5.json", sound.manifest)
    assert manifest is not None
    (resource,) = manifest.digests_of("tokenizer.json")
    assert SmallFiles(sidecar / "small_files").get(resource.digest) == content
