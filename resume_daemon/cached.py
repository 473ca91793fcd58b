"""The verdict that a daemon gave, taken from its ledger where nothing was touched since."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from resume_daemon.catalog import code
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.findings import Finding, Severity, Verdict
from resume_daemon.layouts.registry import list_checkpoint
from resume_daemon.ledger.queries import RunState, fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.state_directory import find_state_directory
from resume_daemon.verification import Depth, Verification

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_USABLE = {Verdict.SOUND, Verdict.DEGRADED, Verdict.UNSOUND}


class CachedVerdicts:
    """What the ledgers of the runs say, each read once.

    Names, sizes, modification times and inodes of all files are those that were judged; no file of
    a checkpoint is opened. Only the gravest finding has its own message, since that is all that the
    ledger keeps.
    """

    def __init__(self, known: Mapping[Path, RunState] | None = None) -> None:
        """Begin with what is known already.

        Args:
            known: What the ledger of a run says, by run; the ledgers of other runs are looked for.
        """
        self._states: dict[Path, RunState] = dict(known or {})

    def find(self, checkpoint: Path, depth: Depth) -> Verification | None:
        """Return what was found then; None where that must be found out anew.

        Args:
            checkpoint: Its path, with links resolved.
            depth: Where this is deep, a verdict for which not every byte was read does not count.

        Raises:
            ResumeDaemonError: The checkpoint cannot be listed.
        """
        known = self._state_of(checkpoint.parent).checkpoints.get(checkpoint.name)
        if known is None or known.verdict not in _USABLE:
            return None
        if depth is Depth.DEEP and known.manifest is None:
            return None
        listing = list_checkpoint(checkpoint, boundary=checkpoint.parent)
        findings = _findings(known.codes, known.why)
        if known.fingerprint != listing.fingerprint() or findings is None:
            return None
        return Verification(
            path=checkpoint,
            layout=known.layout,
            step=known.step,
            verdict=Verdict(known.verdict),
            findings=findings,
            fingerprint=known.fingerprint,
            manifest=None,
            bytes_read=0,
            seconds=0.0,
            judged_at=known.at,
        )

    def _state_of(self, run: Path) -> RunState:
        """Return what the ledger of a run says: nothing where there is none that can be read."""
        if run not in self._states:
            self._states[run] = RunState()
            state = find_state_directory(run, None)
            # One that cannot be read answers no question: then everything is read anew.
            with suppress(ResumeDaemonError):
                if state is not None:
                    self._states[run] = fold(read_records(state.ledger))
        return self._states[run]


def _findings(codes: tuple[str, ...], why: str) -> tuple[Finding, ...] | None:
    """Return the findings, as far as they are known; None where a newer version reported one."""
    found = []
    for each in codes:
        if (entry := code(each)) is None:
            return None
        message = entry.title
        if entry.severity is not Severity.INFO and why:
            message, why = why, ""
        found.append(entry.finding(message))
    return tuple(found)
