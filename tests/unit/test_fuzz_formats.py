"""Each format against mutations of good files, and against any bytes; ``make fuzz`` goes deeper."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, ResumeDaemonError
from resume_daemon.formats.content import Format
from resume_daemon.formats.registry import READERS
from tests.fuzz.guard import Harm, guarded
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

Edit = tuple[str, int, int, bytes]

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "splice", "number", "repeat"]),
        st.integers(0, 4095),
        st.integers(0, 63),
        st.binary(max_size=8),
    ),
    min_size=1,
    max_size=4,
)
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
"""What lengths and offsets are set to."""

QUICK = settings(
    max_examples=500,
    deadline=None,
    # What is found is told as it is; to make it smaller would take longer than all else.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
ALL = pytest.mark.parametrize("encoding", list(TARGETS))


def mutated(content: bytes, edits: list[Edit]) -> bytes:
    for kind, at, amount, piece in edits:
        place = at % (len(content) + 1)
        match kind:
            case "flip" if place < len(content):
                flipped = content[place] ^ (1 << amount % 8)
                content = content[:place] + bytes([flipped]) + content[place + 1 :]
            case "cut":
                content = content[:place] + content[place + amount :]
            case "splice":
                content = content[:place] + piece + content[place:]
            case "number":
                size = (1, 2, 4, 8)[amount % 4]
                value = NUMBERS[amount % len(NUMBERS)] % 2 ** (8 * size)
                order = "big" if amount & 32 else "little"
                content = content[:place] + value.to_bytes(size, order) + content[place + size :]
            case "repeat":
                content = content[:place] + content[place : place + amount] * 3 + content[place:]
    return content


@ALL
def test_every_format_has_good_files_to_begin_with(encoding: Format, tmp_path: Path) -> None:
    good = seeds(encoding)
    assert good
    for seed in good:
        TARGETS[encoding].attempt(tmp_path, seed)()


def test_every_format_that_has_a_reader_is_attacked() -> None:
    assert set(TARGETS) == set(Format) - {Format.OPAQUE}
    assert set(READERS) <= set(TARGETS)


@ALL
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    encoding: Format, tmp_path: Path
) -> None:
    good, target = seeds(encoding), TARGETS[encoding]
    for seed in good:
        target.attempt(tmp_path, seed)()

    @QUICK
    @given(st.sampled_from(good), EDITS)
    def attack(seed: bytes, edits: list[Edit]) -> None:
        guarded(target.attempt(tmp_path, mutated(seed, edits)))

    attack()


@ALL
def test_any_bytes_are_read_or_refused_and_nothing_else(encoding: Format, tmp_path: Path) -> None:
    target = TARGETS[encoding]
    for seed in seeds(encoding):
        target.attempt(tmp_path, seed)()

    @QUICK
    @given(st.binary(max_size=200))
    def attack(content: bytes) -> None:
        guarded(target.attempt(tmp_path, content))

    attack()


def test_the_guard_sees_what_must_not_happen(tmp_path: Path) -> None:
    with pytest.raises(Harm, match="exec"):
        guarded(lambda: exec("1"))  # noqa: S102
    with pytest.raises(Harm, match="open"):
        guarded((tmp_path / "written").touch)
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 / 0)


def test_the_guard_lets_pass_what_may_happen(tmp_path: Path) -> None:
    def refuse() -> None:
        with zipfile.ZipFile(tmp_path / "file.zip"):
            raise FormatError("read", None, "it is damaged")

    zipfile.ZipFile(tmp_path / "file.zip", "w").close()
    assert isinstance(guarded(refuse), ResumeDaemonError)
    assert guarded(lambda: None) is None
