"""Does the checkpoint go on from the one before: the same parts, in the same shapes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.formats.content import Format
from resume_daemon.formats.dcp_metadata import one_character_apart
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.transformers_weights import shard_total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from resume_daemon.evidence import Evidence
    from resume_daemon.manifest import Manifest

SHAPES_CHANGED = Code(
    "RD412",
    "shapes-changed",
    Severity.ERROR,
    "The tensors of a file have other shapes than in the checkpoint before",
    "A run trains one model, so a file holds the same tensors in the same shapes at every save. "
    "Here one file does not, and the others do: it belongs to another model. Where every file "
    "changed, the run was started anew with another model, which is only told.",
    "Resume from an earlier checkpoint, or give the other model a run directory of its own.",
)
PART_VANISHED = Code(
    "RD414",
    "part-vanished",
    Severity.WARNING,
    "A part that the checkpoint before had is not there",
    "A scaler, a position in the data or another state is missing that this run saved until now. "
    "The trainer resumes without it, and what it held starts again. Where the trainer asks for the "
    "file by its name and raises, it is an error.",
    "Resume from a checkpoint that has it, unless the run was changed on purpose.",
    "measured on transformers 5.23: a missing part is passed over without a word",
)

_VANISHING = {Role.SCALER, Role.DATA, Role.OPTIMIZER, Role.SCHEDULER}
_COUNTED = {Role.WEIGHTS, Role.STATE, Role.OPTIMIZER}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each break between this checkpoint and the one before."""
    before = evidence.previous
    state = evidence.completeness
    if before is None or state.missing or state.stub is not None:
        return
    if evidence.listing.file is None:  # What lies beside a file is another check's.
        yield from _vanished(evidence, before)
        yield from _vanished_sets(evidence, before)
    if evidence.scans:
        yield from _reshaped(evidence, before)


def _vanished(evidence: Evidence, before: Manifest) -> Iterator[Finding]:
    vanishing = _VANISHING - {each.role for each in evidence.completeness.lost}
    if evidence.plain_optimizer:
        vanishing -= {Role.OPTIMIZER, Role.SCHEDULER}  # They are missed without a comparison.
    sets = {part.of for part in evidence.vanished.values() if part.rank is not None}
    present = list(evidence.parts.values())
    for name, part in evidence.vanished.items():
        shard = part.format in {Format.DCP_SHARD, Format.ARRAY_DATA}
        if shard or shard_total(name) is not None or (part.needed and part.of):
            continue  # What there has to be is said by the metadata, the index or the other ranks.
        others = any(
            (p.role, p.format) == (part.role, part.format) and shard_total(other) is None
            for other, p in evidence.parts.items()
        )
        if part.rank is not None:
            # With fewer devices every set of ranks gets smaller, not one alone.
            alone = len(sets) == 1 and len({p.of for p in present if p.of}) > 1
            lost = alone and part.role in _COUNTED
        elif part.role in _COUNTED and others:
            lost = True
        else:
            gone = part.role in vanishing and not others
            lost = gone or part.role in {Role.DATA, Role.EXTRA}
        if lost or part.needed:
            yield PART_VANISHED.finding(
                f"{name} is missing, {before.checkpoint} has it",
                file=name,
                severity=Severity.ERROR if part.needed else None,
            )


def _vanished_sets(evidence: Evidence, before: Manifest) -> Iterator[Finding]:
    """Find what every rank saved before and none did now, though the trainer raises without it."""
    needed = {part.of: name for name, part in evidence.vanished.items() if part.needed and part.of}
    present = {part.of for part in evidence.parts.values()}
    for of, name in sorted(needed.items()):
        folder = name[: name.rfind("/") + 1]
        # Where the whole directory is gone, the trainer may have rotated it away (verl's critic).
        if of not in present and any(other.startswith(folder) for other in evidence.listing):
            yield PART_VANISHED.finding(
                f"{of} of every rank is missing, {before.checkpoint} has {name}",
                severity=Severity.ERROR,
            )


def _reshaped(evidence: Evidence, before: Manifest) -> Iterator[Finding]:
    def counted(file: str, tensor: str) -> bool:
        """Of a whole state, what callbacks keep comes and goes: a list of the best scores, say."""
        part = evidence.parts.get(file)
        if part is None or part.role is not Role.STATE or not part.inside:
            return True
        return part.role_of(tensor) is not Role.OTHER

    now = {
        name: {t.name: (t.dtype, t.shape) for t in scan.tensors if counted(name, t.name)}
        for name, scan in evidence.scans.items()
        if scan.tensors
    }
    then = {
        name: {t.name: (t.dtype, t.shape) for t in tensors if counted(name, t.name)}
        for name, tensors in before.tensors.items()
    }
    # An optimizer has no moments before its first step, so that tensors may be added.
    now = {
        name: {t: kind for t, kind in tensors.items() if t in then[name]}
        if then.get(name, {}).keys() <= tensors.keys() and name in then
        else tensors
        for name, tensors in now.items()
    }
    # With another number of ranks or shards everything is cut anew.
    if now.keys() != then.keys():
        return
    # A file that was cut short lacks tensors, and that is told.
    whole = [name for name in now if not evidence.contents[name].problems]
    changed = sorted(name for name in whole if now[name] != then[name])
    everything = len(changed) == len(now) and len(now) > 1 and not _is_misspelt(now, then)
    for name in changed:
        tensors = {t: now[name].get(t) for t in now[name] | then[name]}
        first = next(t for t in tensors if now[name].get(t) != then[name].get(t))
        yield SHAPES_CHANGED.finding(
            f"{name}: {first} is {_shown(now[name].get(first))}, and in {before.checkpoint} "
            f"{_shown(then[name].get(first))}",
            file=name,
            severity=Severity.INFO if everything else None,
        )


def _is_misspelt(now: Mapping[str, Iterable[str]], then: Mapping[str, Iterable[str]]) -> bool:
    """Return whether one tensor's name differs in one character, and nothing else does.

    That is no other model: the metadata of shards, which name the tensors, have no checksum.
    """
    # A piece of a tensor has its place behind the name.
    held, known = (
        {name.partition("@")[0] for names in each.values() for name in names}
        for each in (now, then)
    )
    if len(held - known) != 1 or len(known - held) != 1:
        return False
    (new,), (old,) = held - known, known - held
    return one_character_apart(new, old)


def _shown(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "not there" if tensor is None else f"{tensor[0]} {list(tensor[1])}"
