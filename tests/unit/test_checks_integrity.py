from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from resume_daemon.manifest import ManifestFile, Resource
from resume_daemon.reading.scan import ReadOptions
from resume_daemon.verification import Depth, Options, References, verify
from tests.checkpoints import (
    trainer_state_at,
    write_arguments,
    write_checkpoint,
    write_json,
    write_rank_states,
)
from tests.verifying import found, manifest_of, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resume_daemon.manifest import Manifest

WEIGHTS = "model.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, 10)


@pytest.fixture
def recorded(checkpoint: Path) -> Manifest:
    return manifest_of(checkpoint)


def flip_low_bit(path: Path, *, in_silence: bool) -> None:
    """Flip a bit that changes a weight by next to nothing; in silence: times stay as they were."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(status.st_size // 2 // 4 * 4)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    mtime = status.st_mtime_ns + (0 if in_silence else 1_000_000_000)
    os.utime(path, ns=(status.st_atime_ns, mtime))


def save_again(checkpoint: Path, *, later: int = 60, other: bool = True) -> None:
    """Save the same step a second time, in place, as a resumed trainer does."""
    names = {path.name for path in checkpoint.iterdir() if path.is_file()}
    again = write_checkpoint(checkpoint.parent / "again", 10, seed=99 if other else None)
    for path in again.iterdir():
        (checkpoint / path.name).write_bytes(path.read_bytes())
        names.discard(path.name)
        status = (checkpoint / path.name).stat()
        os.utime(checkpoint / path.name, ns=(0, status.st_mtime_ns + later * 10**9))
    shutil.rmtree(checkpoint.parent / "again")


def test_an_untouched_checkpoint_is_what_it_was(checkpoint: Path, recorded: Manifest) -> None:
    assert told(verified(checkpoint, recorded=recorded)) == []


def test_content_that_changed_under_an_untouched_name_is_an_error(
    checkpoint: Path, recorded: Manifest
) -> None:
    flip_low_bit(checkpoint / WEIGHTS, in_silence=True)
    verification = verified(checkpoint, recorded=recorded)

    assert told(verified(checkpoint)) == [], "no other check can see it"
    assert told(verification) == ["RD221 error"]
    assert found(verification, "RD221").file == WEIGHTS
    assert found(verification, "RD221").message == f"{WEIGHTS}: it changed in silence"


def test_one_part_that_was_changed_later_is_an_error(checkpoint: Path, recorded: Manifest) -> None:
    flip_low_bit(checkpoint / WEIGHTS, in_silence=False)

    assert told(verified(checkpoint, recorded=recorded)) == ["RD222 error"]


def test_a_part_of_another_size_was_changed(checkpoint: Path, recorded: Manifest) -> None:
    write_json(checkpoint / "trainer_state.json", trainer_state_at(10, max_steps=2000))

    finding = found(verified(checkpoint, recorded=recorded), "RD222")
    assert finding.file == "trainer_state.json"


def test_a_step_that_is_saved_again_is_no_damage(checkpoint: Path, recorded: Manifest) -> None:
    save_again(checkpoint)
    verification = verified(checkpoint, recorded=recorded)

    assert told(verification) == ["RD223 info"]
    assert verification.verdict == "sound"


def test_the_same_bytes_saved_again_are_not_worth_a_word(
    checkpoint: Path, recorded: Manifest
) -> None:
    save_again(checkpoint, other=False)

    assert told(verified(checkpoint, recorded=recorded)) == []


def test_a_second_save_by_fewer_ranks_leaves_states_behind(checkpoint: Path) -> None:
    write_rank_states(checkpoint, 4)
    write_arguments(checkpoint, processes=4)
    recorded = manifest_of(checkpoint)
    save_again(checkpoint)
    (checkpoint / "rng_state.pth").unlink()
    write_arguments(checkpoint, processes=2)
    for rank in (0, 1):
        os.utime(checkpoint / f"rng_state_{rank}.pth", ns=(0, 5 * 10**18))

    assert told(verified(checkpoint, recorded=recorded)) == ["RD223 info"]


def test_a_copy_with_other_inodes_and_times_is_the_same_checkpoint(
    checkpoint: Path, recorded: Manifest
) -> None:
    moved = checkpoint.rename(checkpoint.with_name("moved"))
    shutil.copytree(moved, checkpoint, copy_function=shutil.copyfile)

    assert told(verified(checkpoint, recorded=recorded)) == []


@pytest.mark.parametrize("copy", [shutil.copy2, shutil.copyfile])
def test_a_copy_in_which_one_part_was_damaged_is_no_second_save(
    checkpoint: Path, recorded: Manifest, copy: Callable[[str, str], object]
) -> None:
    moved = checkpoint.rename(checkpoint.with_name("moved"))
    shutil.copytree(moved, checkpoint, copy_function=copy)
    flip_low_bit(checkpoint / WEIGHTS, in_silence=True)

    code = "RD221 error" if copy is shutil.copy2 else "RD222 error"
    assert told(verified(checkpoint, recorded=recorded)) == [code]


def test_files_that_are_no_part_of_the_state_may_be_edited(
    checkpoint: Path, recorded: Manifest
) -> None:
    write_json(checkpoint / "config.json", {"model_type": "qwen2", "edited": True})
    (checkpoint / "README.md").write_text("new")

    assert told(verified(checkpoint, recorded=recorded)) == []


def test_a_part_that_is_gone_is_told_as_missing_alone(checkpoint: Path, recorded: Manifest) -> None:
    (checkpoint / "optimizer.pt").unlink()

    assert told(verified(checkpoint, recorded=recorded)) == ["RD104 warning"]


def test_a_quick_look_compares_nothing(checkpoint: Path, recorded: Manifest) -> None:
    flip_low_bit(checkpoint / WEIGHTS, in_silence=True)

    assert told(verified(checkpoint, recorded=recorded, depth=Depth.QUICK)) == []


def test_the_range_that_changed_is_named(checkpoint: Path) -> None:
    def look(recorded: Manifest | None) -> tuple[Manifest | None, list[str]]:
        verification = verify(
            checkpoint,
            boundary=checkpoint.parent,
            references=References(recorded=recorded),
            options=Options(reading=ReadOptions(range_bytes=65536)),
        )
        return verification.manifest, [finding.message for finding in verification.findings]

    recorded, _ = look(None)
    assert recorded is not None
    assert len(recorded.digests_of(WEIGHTS)) == 3
    flip_low_bit(checkpoint / WEIGHTS, in_silence=True)

    assert look(recorded)[1] == [f"{WEIGHTS}: bytes 65536 to 131072 changed in silence"]

    with (checkpoint / WEIGHTS).open("ab") as file:
        file.write(b"\1")
    assert f"{WEIGHTS}: bytes 65536 to 131072 changed after it was verified" in look(recorded)[1]


def test_a_file_of_another_length_has_other_ranges(checkpoint: Path) -> None:
    options = Options(reading=ReadOptions(range_bytes=65536))
    boundary = checkpoint.parent
    recorded = verify(checkpoint, boundary=boundary, options=options).manifest
    with (checkpoint / WEIGHTS).open("ab") as file:
        file.write(b"\1")
    again = verify(
        checkpoint, boundary=boundary, options=options, references=References(recorded=recorded)
    )

    message = found(again, "RD222").message
    assert message == f"{WEIGHTS}: its size changed after it was verified"


def test_a_name_that_looks_like_a_range_is_compared_too(
    checkpoint: Path, recorded: Manifest
) -> None:
    (checkpoint / "model:0:5").write_bytes(b"12345")
    recorded = manifest_of(checkpoint)
    status = (checkpoint / "model:0:5").stat()
    (checkpoint / "model:0:5").write_bytes(b"12346")
    os.utime(checkpoint / "model:0:5", ns=(0, status.st_mtime_ns))

    assert told(verified(checkpoint, recorded=recorded)) == ["RD221 error"]


def test_a_manifest_of_files_that_are_not_there_is_no_trouble(
    checkpoint: Path, recorded: Manifest
) -> None:
    other = replace(
        recorded,
        files=(ManifestFile("gone", 1, 1, 1),),
        resources=(Resource("gone", "blake3", "0"),),
    )

    assert told(verified(checkpoint, recorded=other)) == []
