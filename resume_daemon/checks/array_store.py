"""Stores of arrays: is the tree whole, does each chunk decode, and are its values sensible?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.checks.readable import JSON_DAMAGED
from resume_daemon.checks.values import (
    IMPOSSIBLE_MAGNITUDE,
    IMPOSSIBLE_VALUE,
    OPTIMIZER_NOT_FINITE,
    WEIGHTS_NOT_FINITE,
)
from resume_daemon.errors import BeyondBoundsError
from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.formats.content import ARRAY_FORMATS, Format, ProblemKind
from resume_daemon.layouts.base import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

STORE_DAMAGED = Code(
    "RD134",
    "array-store-damaged",
    Severity.ERROR,
    "A store of arrays is damaged",
    "The manifest, a node of the tree (both have a checksum), a data file that is too short, a "
    "chunk that does not decode to what its array says, or a document that lacks a part or names "
    "what the tree of parameters does not. Restoring raises, or gives other values.",
    "Resume from an earlier checkpoint.",
    "orbax-checkpoint 0.12: measured, each file cut, emptied, zeroed and with a bit flipped",
)

_SHOWN = 8
_NOT_FINITE = {Role.WEIGHTS: WEIGHTS_NOT_FINITE, Role.OPTIMIZER: OPTIMIZER_NOT_FINITE}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each part of a store that is not what another part says."""
    for name, error in sorted(evidence.unreadable.items()):
        # One that is too large to be judged is told by another check.
        told = isinstance(error, BeyondBoundsError)
        if evidence.parts[name].format in ARRAY_FORMATS and not told:
            yield STORE_DAMAGED.finding(f"{name}: {error.reason}", file=name)
    for name, content in sorted(evidence.contents.items()):
        part = evidence.parts[name]
        if part.role is Role.SHARD_METADATA and part.format is Format.JSON:
            if not isinstance(content.value, dict):
                kind = type(content.value).__name__
                yield JSON_DAMAGED.finding(f"{name}: it holds a {kind}, not an object", file=name)
            continue
        for problem in content.problems:
            if problem.kind is ProblemKind.STORE:
                yield STORE_DAMAGED.finding(f"{name}: {problem.message}", file=name)
        yield from _frames(name, evidence)


def _frames(name: str, evidence: Evidence) -> Iterator[Finding]:
    frames, part = evidence.frames.get(name, ()), evidence.parts[name]
    for frame in [frame for frame in frames if frame.reason][:_SHOWN]:
        yield STORE_DAMAGED.finding(f"{name}: {frame.name}: {frame.reason}", file=name)
    for role, code in _NOT_FINITE.items():
        # A scalar may begin at infinity, as the best score of a schedule does.
        found = [
            frame.statistics
            for frame in frames
            if frame.statistics is not None
            and frame.statistics.shape
            and part.role_of(frame.name) is role
        ]
        damaged = [each for each in found if each.nan or each.infinite]
        if damaged:
            first = damaged[0]
            yield code.finding(
                f"{name}: {first.name} has {first.nan} NaN and {first.infinite} infinite values, "
                f"as have {len(damaged) - 1} more",
                file=name,
            )
        if role is Role.WEIGHTS:
            for each in found:
                if each.largest is not None and each.largest > IMPOSSIBLE_MAGNITUDE:
                    yield IMPOSSIBLE_VALUE.finding(
                        f"{name}: {each.name} has a value of magnitude {each.largest:.3g}",
                        file=name,
                    )
                    break
