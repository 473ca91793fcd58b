"""Which checkpoint a person's backup is of, and the manifest that it is held against."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.backup.copying import Subject
from resume_daemon.backup.metrics import read_metrics
from resume_daemon.backup.policy import numbers_of
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.findings import Severity, Verdict
from resume_daemon.layouts.registry import checkpoints_in, list_checkpoint
from resume_daemon.manifest import find_manifest
from resume_daemon.references import known_step, references_of
from resume_daemon.resume.plan import newest_first
from resume_daemon.verification import Options, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from resume_daemon.ledger.queries import RunState
    from resume_daemon.manifest import Manifest
    from resume_daemon.state_directory import StateDirectory

_WORTH_KEEPING = {Verdict.SOUND, Verdict.DEGRADED}


class Chooser:
    """Finds checkpoints of a run that are worth a backup, and proves that they are.

    Args:
        run: The run directory, with its links resolved.
        state: Where the daemon's files are, or None where none has watched.
        known: What its ledger says.
        options: How a checkpoint is verified that no daemon has read as it is.
        progress: Told the bytes of each read.
    """

    def __init__(
        self,
        run: Path,
        state: StateDirectory | None,
        known: RunState,
        *,
        options: Options,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._state = state
        self._known = known
        self._options = options
        self._progress = progress
        self._numbers = numbers_of({name: each.step for name, each in known.sound.items()})

    def named(self, names: Sequence[str]) -> Iterator[Subject | ResumeDaemonError]:
        """Yield each named checkpoint, or why it is not backed up.

        Raises:
            UsageError: One is not there.
        """
        there = checkpoints_in(self._run)
        for name in names:
            if name.rstrip("/") not in there:
                raise UsageError(
                    "back up",
                    self._run / name,
                    "the run has no such checkpoint",
                    hint="Give a name as `resume-daemon status` shows it, such as checkpoint-100.",
                )
        for name in names:
            try:
                yield self._subject(name.rstrip("/"))
            except ResumeDaemonError as error:
                yield error

    def newest(self) -> Subject:
        """Return the newest sound checkpoint, which is the one that a resume takes.

        Raises:
            ResumeDaemonError: There is none.
        """
        names = checkpoints_in(self._run)
        refused = 0
        for name in newest_first({name: known_step(name, self._known) for name in names}):
            with suppress(ResumeDaemonError):
                subject = self._subject(name)
                if subject.verdict == Verdict.SOUND:
                    return subject
            refused += 1
        why = f"none of its {refused} checkpoints is sound" if refused else "it has no checkpoint"
        raise ResumeDaemonError(
            "back up",
            self._run,
            why,
            hint="A degraded one is backed up when --checkpoint names it.",
        )

    def _subject(self, name: str) -> Subject:
        path = Path(os.path.realpath(self._run / name))
        verdict, manifest, step = self._judged(path)
        return Subject(
            path=path,
            manifest=manifest,
            step=step if step is not None else known_step(name, self._known),
            verdict=verdict.value,
            number=self._numbers.get(name),
            metrics=read_metrics(path),
            policy=False,
        )

    def _judged(self, path: Path) -> tuple[Verdict, Manifest, int | None]:
        """Return what a checkpoint is worth, as a daemon found it or as it is found now.

        Raises:
            ResumeDaemonError: It is not worth a backup, or cannot be read.
        """
        known = self._known.checkpoints.get(path.name)
        recorded = self._manifest(path.name)
        if known is not None and recorded is not None and known.verdict in _WORTH_KEEPING:
            listing = list_checkpoint(path, boundary=path.parent)
            if listing.fingerprint() == known.fingerprint == recorded.fingerprint:
                return Verdict(known.verdict), recorded, known.step
        manifests = self._state.manifests if self._state is not None else None
        found = verify(
            path,
            boundary=path.parent,
            references=references_of(path.name, self._known, manifests),
            options=self._options,
            progress=self._progress,
        )
        if found.verdict not in _WORTH_KEEPING or found.manifest is None:
            grave = [f.message for f in found.findings if f.severity is Severity.ERROR]
            why = f" ({grave[0]})" if grave else ""
            raise ResumeDaemonError(
                "back up",
                path,
                f"it is {found.verdict.value}{why}",
                hint="A backup holds what can be resumed from; `resume-daemon verify` says more.",
            )
        return found.verdict, found.manifest, found.step

    def _manifest(self, name: str) -> Manifest | None:
        known = self._known.checkpoints.get(name)
        if self._state is None or known is None:
            return None
        if known.manifest is None:
            return None
        return find_manifest(self._state.manifests / f"{name}.json", known.manifest)
