"""Which version of the curriculum state belongs to which checkpoint. Pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Known:
    """A version of a state file that is kept.

    Attributes:
        digest: BLAKE3 of its content.
        step: Its step in optimizer steps, or None where it has none that compares.
        seen_at: When it came to be, as well as that is known (nanoseconds since the epoch): the
            file's modification time, or when it was read if that is earlier.
        file: Path of the file in the run.
        stage: The stage that it declares, if any.
    """

    digest: str
    step: int | None
    seen_at: int
    file: str
    stage: int | str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """The version of one state file that belongs to a checkpoint.

    Attributes:
        file: Path of the state file in the run.
        digest: Which version.
        step: Its step, or None.
        stage: Its stage, or None.
        offset: Its step minus the checkpoint's; negative is behind. None where it has no step.
        certain: Chosen by its step. One chosen by time may belong to a neighbour.
        sentence: Which one it is and how far off, to be shown as it is.
    """

    file: str
    digest: str
    step: int | None
    stage: int | str | None
    offset: int | None
    certain: bool
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Return it as a snapshot's index states it."""
        return {
            "digest": self.digest,
            "step": self.step,
            "stage": self.stage,
            "offset": self.offset,
            "certain": self.certain,
            "sentence": self.sentence,
        }

    @classmethod
    def from_json(cls, file: str, value: Mapping[str, Any]) -> Assignment:
        """Return what ``as_json`` wrote; KeyError where something is missing."""
        return cls(
            file=file,
            digest=str(value["digest"]),
            step=value["step"],
            stage=value["stage"],
            offset=value["offset"],
            certain=bool(value["certain"]),
            sentence=str(value["sentence"]),
        )


def assign_all(
    step: int, versions: Iterable[Known], *, changed_at: int | None = None, checkpoint: str = ""
) -> dict[str, Assignment]:
    """Return the assignment of each state file; see ``assign``."""
    files: dict[str, list[Known]] = {}
    for version in versions:
        files.setdefault(version.file, []).append(version)
    return {
        file: found
        for file, group in sorted(files.items())
        if (found := assign(step, group, changed_at=changed_at, checkpoint=checkpoint))
    }


def assign(
    step: int, versions: Sequence[Known], *, changed_at: int | None = None, checkpoint: str = ""
) -> Assignment | None:
    """Return the version of one state file that belongs to a checkpoint.

    That is the newest whose step does not exceed the checkpoint's, and of several at that step the
    one seen last; if all exceed it, the nearest. Where none has a step, it is the one that was
    there when the checkpoint was written.

    After a resume from an earlier step there are two histories. With ``changed_at`` only the one
    that led to this checkpoint counts, so that steps of the abandoned one are not mixed in.

    Args:
        step: The checkpoint's step.
        versions: All that are known of one file, in any order.
        changed_at: When the checkpoint was written, nanoseconds since the epoch, if known.
        checkpoint: Its directory name, for the sentence.
    """
    name = checkpoint or f"checkpoint-{step}"
    stepped = [version for version in versions if version.step is not None]
    if stepped:
        return _by_step(step, _history_of(stepped, changed_at), name)
    return _by_time(versions, changed_at, name) if versions else None


def _history_of(versions: Sequence[Known], changed_at: int | None) -> list[Known]:
    """Return the versions that led to the moment ``changed_at``, without abandoned ones."""
    ordered = sorted(versions, key=lambda v: (v.seen_at, v.digest))
    if changed_at is None:
        return ordered
    branches: list[list[Known]] = [ordered[:1]]
    for earlier, later in itertools.pairwise(ordered):
        if _step(later) < _step(earlier):
            branches.append([])
        branches[-1].append(later)
    current = [b for b in branches if b[0].seen_at <= changed_at] or branches[:1]
    kept: list[Known] = []
    for branch in current:
        # The run went back to before this step: whatever came later was given up.
        kept = [version for version in kept if _step(version) < _step(branch[0])] + branch
    return kept


def _step(version: Known) -> int:
    return version.step if version.step is not None else -1


def _by_step(step: int, versions: Sequence[Known], name: str) -> Assignment:
    until = [version for version in versions if _step(version) <= step]
    best = (
        max(until, key=lambda v: (_step(v), v.seen_at))
        if until
        else max(versions, key=lambda v: (-_step(v), v.seen_at))
    )
    offset = _step(best) - step
    if offset < 0:
        how = f"{_steps(-offset)} behind {name}"
    elif offset > 0:
        how = f"{_steps(offset)} ahead of {name}: no earlier one was seen"
    else:
        how = f"the same as {name}"
    sentence = f"the state of step {best.step}, {how}"
    return Assignment(best.file, best.digest, best.step, best.stage, offset, True, sentence)


def _by_time(versions: Sequence[Known], changed_at: int | None, name: str) -> Assignment:
    before = [v for v in versions if changed_at is None or v.seen_at <= changed_at]
    if before:
        best = max(before, key=lambda v: (v.seen_at, v.digest))
    else:
        best = min(versions, key=lambda v: (v.seen_at, v.digest))
    if changed_at is None:
        when = "the last one seen"
    else:
        seconds = abs(best.seen_at - changed_at) / 1e9
        when = f"written {seconds:.0f} s {'before' if before else 'after'} {name} was"
    sentence = f"a state that declares no step, chosen by time ({when}): uncertain"
    return Assignment(best.file, best.digest, None, best.stage, None, False, sentence)


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
