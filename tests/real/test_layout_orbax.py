"""What Orbax really writes is sound; what it cannot restore is not, whatever was damaged."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("orbax.checkpoint", reason="Orbax saves and restores here (make test-real)")

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts.registry import checkpoints_in, is_checkpoint_name
from tests.verifying import told, verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The fixture trains, and pytest counts it.
pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

SCRIPT = Path(__file__).with_name("orbax_script.py")
TREES = ("zarr2", "zarr3", "plain", "plain-zarr3")
KINDS = (*TREES, "items", "commit")


def orbax(*arguments: object, lines: str = "", status: int = 0) -> list[str]:
    """Run the script, and return what it prints."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        input=lines,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == status
    return done.stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where each kind of run was saved."""
    home = tmp_path_factory.mktemp("orbax")
    for kind in KINDS:
        orbax("save", home / kind, kind)
    return home


@pytest.mark.parametrize("kind", KINDS)
def test_every_checkpoint_is_sound_and_nothing_is_said_of_it(runs: Path, kind: str) -> None:
    names = checkpoints_in(runs / kind)

    assert names == (["run_00000002", "run_00000003"] if kind == "items" else ["2", "3"])
    before = None
    for name in names:
        result = verified(runs / kind / name, before=before)
        assert (result.layout, result.verdict, told(result)) == ("orbax", "sound", [])
        assert result.step == int(name[-1])
        before = runs / kind / name


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_save_that_was_killed_is_staged_and_no_checkpoint(tmp_path: Path, count: int) -> None:
    orbax("killed", tmp_path, "items", count, status=-9)

    staged = [each.name for each in tmp_path.iterdir() if "orbax-checkpoint-tmp" in each.name]
    assert len(staged) == 1
    assert not is_checkpoint_name(staged[0])
    assert checkpoints_in(tmp_path) == ["run_00000001"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_one_under_its_final_name_is_incomplete(tmp_path: Path, count: int) -> None:
    """As on object stores, which cannot rename: a file says that it was committed."""
    orbax("killed", tmp_path, "commit", count, status=-9)

    assert checkpoints_in(tmp_path) == ["1", "2"]
    assert verified(tmp_path / "1").verdict == "sound"
    assert verified(tmp_path / "2", before=tmp_path / "1").verdict == "incomplete"


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _zero_tail(content: bytes) -> bytes:
    return _cut(content) + bytes(len(content) - len(content) // 2)


def _flipped(part: float) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        place = int(len(content) * part)
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return flip


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut by one byte": lambda content: content[:-1],
    "cut in half": _cut,
    "zero tail": _zero_tail,
    "flipped at the begin": _flipped(0.02),
    "flipped": _flipped(0.3),
    "flipped at the end": _flipped(0.98),
}


def _damaged(run: Path, home: Path) -> Iterator[tuple[str, Path]]:
    """Yield each damage of the last checkpoint, with the copy that has it."""
    source, before = run / "3", run / "2"
    files = sorted(each for each in source.rglob("*") if each.is_file())
    for number, file in enumerate(files):
        name = file.relative_to(source)
        contents: dict[str, bytes | None] = {"missing": None}
        contents |= {damage: do(file.read_bytes()) for damage, do in DAMAGES.items()}
        # Data files have random names: the largest of the other step is the same part.
        others = [each for each in (before / name).parent.glob("*") if each.is_file()]
        other = before / name if (before / name).exists() else max(others, key=_size, default=None)
        if other is not None:
            contents["other step's"] = other.read_bytes()
        for damage, content in contents.items():
            if content == file.read_bytes():
                continue
            place = home / f"{number}-{damage}".replace(" ", "-") / "3"
            shutil.copytree(source, place)
            (place / name).unlink()
            if content is not None:
                (place / name).write_bytes(content)
            yield f"{name}: {damage}", place


def _size(path: Path) -> int:
    return path.stat().st_size


@pytest.mark.parametrize("kind", TREES)
def test_nothing_that_orbax_cannot_restore_is_called_sound_or_merely_degraded(
    runs: Path, tmp_path: Path, kind: str
) -> None:
    damaged = dict(_damaged(runs / kind, tmp_path))
    lines = "".join(f"{place}\n" for place in damaged.values())
    answers = orbax("restore", lines=lines)
    outcomes = list(zip(answers[::2], answers[1::2], strict=True))
    assert len(outcomes) == len(damaged)

    missed, raised, harmless = [], 0, 0
    for (what, place), restored in zip(damaged.items(), outcomes, strict=True):
        try:
            verdict = str(verified(place, before=runs / kind / "2").verdict)
        except ResumeDaemonError:
            verdict = "no checkpoint"
        raises = any(answer.startswith("raises") for answer in restored)
        raised += raises
        harmless += not raises and verdict == "sound"
        if raises and verdict in {"sound", "degraded"}:
            missed.append(f"{what}: {restored}, and we say {verdict}")
    assert "\n".join(missed) == ""
    # Both happen: the restores are real, and not everything is called damage.
    assert raised > 30
    assert harmless > 10
