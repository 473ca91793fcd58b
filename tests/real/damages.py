"""Twenty-three ways in which a checkpoint breaks, each applied to one on disk.

They are those that were tried on transformers 5.23 with TRL 1.16, one at a time, before
``trainer.train(resume_from_checkpoint=...)``: eleven raise, twelve train on in silence.
"""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.findings import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = "model.safetensors"
STATE = "trainer_state.json"


@dataclass(frozen=True)
class Damage:
    """One damage and what has to be said of it.

    Attributes:
        name: What it is called.
        apply: Damages the first directory; the second is the checkpoint before, which is whole.
        verdict: What the checkpoint is worth then.
        codes: Every code that is reported beside a whole checkpoint before it, in their order.
        either: What is reported instead, where that depends on the value that is hit.
        silent: The trainer resumes from it without a word.
    """

    name: str
    apply: Callable[[Path, Path], None]
    verdict: Verdict
    codes: tuple[str, ...]
    either: tuple[str, ...] = ()
    silent: bool = False


def _cut_in_half(file: str) -> Callable[[Path, Path], None]:
    def apply(checkpoint: Path, _: Path) -> None:
        content = (checkpoint / file).read_bytes()
        (checkpoint / file).write_bytes(content[: len(content) // 2])

    return apply


def _cut_by_one_byte(checkpoint: Path, _: Path) -> None:
    content = (checkpoint / WEIGHTS).read_bytes()
    (checkpoint / WEIGHTS).write_bytes(content[:-1])


def _missing(file: str) -> Callable[[Path, Path], None]:
    def apply(checkpoint: Path, _: Path) -> None:
        (checkpoint / file).unlink()

    return apply


def _empty(file: str) -> Callable[[Path, Path], None]:
    def apply(checkpoint: Path, _: Path) -> None:
        (checkpoint / file).write_bytes(b"")

    return apply


def _from_another_step(file: str) -> Callable[[Path, Path], None]:
    def apply(checkpoint: Path, before: Path) -> None:
        shutil.copy(before / file, checkpoint / file)

    return apply


def _with_a_nan(checkpoint: Path, _: Path) -> None:
    content = bytearray((checkpoint / WEIGHTS).read_bytes())
    (header,) = struct.unpack_from("<Q", content)
    middle = 8 + header + (len(content) - 8 - header) // 8 * 4
    content[middle : middle + 4] = struct.pack("<f", float("nan"))
    (checkpoint / WEIGHTS).write_bytes(content)


def flip_top_exponent_bit(checkpoint: Path, _: Path) -> None:
    """Flip it in the last value of the weights."""
    content = bytearray((checkpoint / WEIGHTS).read_bytes())
    content[-1] ^= 0x40
    (checkpoint / WEIGHTS).write_bytes(content)


def _second_half_zero(checkpoint: Path, _: Path) -> None:
    content = bytearray((checkpoint / WEIGHTS).read_bytes())
    half = len(content) // 2
    content[half:] = bytes(len(content) - half)
    (checkpoint / WEIGHTS).write_bytes(content)


def _optimizer_bit_flipped(checkpoint: Path, _: Path) -> None:
    import torch  # noqa: PLC0415 - only here, to find a byte that is a value and not a name

    path = checkpoint / "optimizer.pt"
    content = bytearray(path.read_bytes())
    moments = torch.load(path)["state"][0]["exp_avg"].numpy().tobytes()
    content[content.index(moments) + len(moments) // 2] ^= 0x04
    path.write_bytes(content)


def _wrong_global_step(checkpoint: Path, _: Path) -> None:
    path = checkpoint / STATE
    state = json.loads(path.read_text())
    state["global_step"] += 7
    path.write_text(json.dumps(state, indent=2, sort_keys=True) + "\n")


UNSOUND, DEGRADED, INCOMPLETE = Verdict.UNSOUND, Verdict.DEGRADED, Verdict.INCOMPLETE

DAMAGES = (
    Damage("weights cut in half", _cut_in_half(WEIGHTS), UNSOUND, ("RD202",)),
    Damage("weights cut by one byte", _cut_by_one_byte, UNSOUND, ("RD202",)),
    Damage("weights missing", _missing(WEIGHTS), UNSOUND, ("RD101",)),
    Damage("weights with a NaN", _with_a_nan, UNSOUND, ("RD211",)),
    # A value of 1 or more becomes infinite or NaN, one below becomes huge.
    Damage(
        "weights with the top exponent bit of the last value flipped",
        flip_top_exponent_bit,
        UNSOUND,
        ("RD215",),
        either=("RD211",),
    ),
    Damage(
        "weights whose second half is zero bytes",
        _second_half_zero,
        UNSOUND,
        ("RD212", "RD213"),
        silent=True,
    ),
    Damage("optimizer.pt cut", _cut_in_half("optimizer.pt"), UNSOUND, ("RD301",)),
    Damage("optimizer.pt empty", _empty("optimizer.pt"), UNSOUND, ("RD301",)),
    Damage("optimizer.pt bit flipped", _optimizer_bit_flipped, UNSOUND, ("RD303",), silent=True),
    Damage("optimizer.pt missing", _missing("optimizer.pt"), DEGRADED, ("RD104",), silent=True),
    Damage(
        "optimizer.pt from another step",
        _from_another_step("optimizer.pt"),
        UNSOUND,
        ("RD404",),
        silent=True,
    ),
    Damage("scheduler.pt missing", _missing("scheduler.pt"), DEGRADED, ("RD105",), silent=True),
    Damage(
        "scheduler.pt from another step",
        _from_another_step("scheduler.pt"),
        UNSOUND,
        ("RD403",),
        silent=True,
    ),
    Damage("rng_state.pth cut", _cut_in_half("rng_state.pth"), UNSOUND, ("RD301",)),
    Damage("rng_state.pth missing", _missing("rng_state.pth"), DEGRADED, ("RD106",), silent=True),
    Damage("trainer_state.json missing", _missing(STATE), INCOMPLETE, ("RD102",)),
    Damage("trainer_state.json cut", _cut_in_half(STATE), UNSOUND, ("RD120",)),
    Damage(
        "wrong global_step", _wrong_global_step, UNSOUND, ("RD401", "RD403", "RD404"), silent=True
    ),
    Damage("config.json cut", _cut_in_half("config.json"), UNSOUND, ("RD120",)),
    Damage("config.json missing", _missing("config.json"), DEGRADED, ("RD108",), silent=True),
    Damage(
        "training_args.bin missing",
        _missing("training_args.bin"),
        DEGRADED,
        ("RD107",),
        silent=True,
    ),
    Damage(
        "training_args.bin cut short",
        _cut_in_half("training_args.bin"),
        DEGRADED,
        ("RD302",),
        silent=True,
    ),
    Damage("tokenizer.json missing", _missing("tokenizer.json"), DEGRADED, ("RD110",), silent=True),
)
