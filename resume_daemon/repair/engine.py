"""Repairs carried out, finished after an interruption, and taken back: all of one, or none.

What is recorded before anything changes is enough for either way. Nothing is written over that is
neither what a step found nor what it leaves.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import ChangedError, ResumeDaemonError
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.ledger.record import rfc3339
from resume_daemon.repair.execution import Found, Hands
from resume_daemon.repair.store import RepairStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from resume_daemon.backup.destinations import Destination
    from resume_daemon.repair.proposals import Proposal
    from resume_daemon.repair.record import Kept, Repair
    from resume_daemon.state_directory import StateDirectory


@dataclass(frozen=True, slots=True)
class Engine:
    """Repairs of one run; the lock of the run is held while it works.

    Attributes:
        store: Where repairs are kept.
        ledger: Where they are recorded.
        sidecar: Our own directory.
        after: Told of each change of the file system when it was made.
        elsewhere: Where what is replaced is kept a second time, or None.
    """

    store: RepairStore
    ledger: Ledger
    sidecar: Path
    after: Callable[[str], None] = lambda _: None
    elsewhere: Destination | None = None

    def apply(self, proposals: Sequence[Proposal], now: datetime) -> Repair:
        """Carry out proposals, all of them or none, and return what can be taken back.

        Raises:
            ChangedError: Something is not what it was when the plan was made; nothing was changed.
            ResumeDaemonError: It could not be done; everything is as it was, or the error says
                that the next repair brings it back.
        """
        identity = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        at = rfc3339(now)
        repair = self.store.prepare(proposals, identity, at, self.sidecar, self.elsewhere)
        self.after("prepared")
        try:
            self._record(repair, "begin")
        except (OSError, ResumeDaemonError) as error:
            # Nothing was begun, so there is nothing to record: on a full disk it could not be.
            self.store.discard(repair)
            raise _as_before(repair, error) from error
        try:
            self._forward(repair)
        except (OSError, ResumeDaemonError) as error:
            self._take_back(repair, error)
        return repair

    def undo(self, identity: str) -> Repair:
        """Take a repair back: every byte, owner and modification time is as it was before.

        Raises:
            VanishedError: There is no such repair.
            ChangedError: Something was changed since; nothing was taken back.
            ResumeDaemonError: It cannot be done, or was done already.
        """
        repair = self.store.read(identity)
        if self.store.status(repair) == "undone":
            raise ResumeDaemonError("take back the repair", identity, "that was done already")
        hands = self._hands(repair)
        changed = [step for step in repair.steps if hands.find(step) is not Found.AFTER]
        if changed:
            what = changed[0].target if changed[0].source is None else changed[0].source
            raise ChangedError(
                "take back the repair",
                identity,
                f"{what} is not what the repair left",
                hint="Nothing was taken back. What was there before lies in "
                f"{self.sidecar / 'repairs' / identity / 'contents'}.",
            )
        try:
            self._back(repair)
        except OSError as error:
            raise _failed(repair, error) from error
        return repair

    def recover(self) -> list[str]:
        """Finish, or take back, what was interrupted; return a sentence for each.

        To be called before anything else is changed.

        Raises:
            ResumeDaemonError: It cannot be finished now.
        """
        self.store.clear_unprepared()
        return [s for each in self.store.identities() if (s := self._recovered(each)) is not None]

    def _recovered(self, identity: str) -> str | None:
        repair = self.store.read(identity)
        status = self.store.status(repair)
        if status in {"applied", "undone"}:
            return None
        hands = self._hands(repair)
        untouched = all(hands.find(step) is not Found.OTHER for step in repair.steps)
        why = ""
        if status == "applying" and untouched:
            try:
                self._forward(repair)
            except (OSError, ResumeDaemonError) as error:
                why = f" It could not be finished: {_reason(error)}."
            else:
                return f"Finished the repair {identity}, which was interrupted."
        try:
            self._back(repair)
        except (OSError, ResumeDaemonError) as error:
            raise _failed(repair, error) from error
        left = [step.target for step in repair.steps if hands.find(step) is Found.OTHER]
        but = f" {', '.join(left)} was changed by somebody else, and is left alone." if left else ""
        return f"Took back the repair {identity}, which was interrupted.{why}{but}"

    def _forward(self, repair: Repair) -> None:
        hands = self._hands(repair)
        pending = [step for step in repair.steps if hands.find(step) is not Found.AFTER]
        for step in pending:
            hands.stage(step)
        for step in pending:
            # Looked at once more: a trainer may have written meanwhile.
            if hands.find(step) is not Found.BEFORE:
                raise ChangedError("change", step.target, "it changed since it was looked at")
            hands.do(step)
        hands.tidy()
        self._record(repair, "done")
        self.store.set_status(repair, "applied")
        self.after("applied")

    def _back(self, repair: Repair) -> None:
        """Undo what was done; what somebody else changed is left as it is."""
        hands = self._hands(repair)
        # On a full disk, what was staged takes the room in which the status is written.
        hands.remove_staged()
        self.store.set_status(repair, "undoing")
        self.after("undoing")
        for step in reversed(repair.steps):
            if hands.find(step) is Found.AFTER:
                hands.undo(step)
        hands.tidy()
        self._record(repair, "undone")
        self.store.set_status(repair, "undone")
        self.after("undone")

    def _take_back(self, repair: Repair, error: OSError | ResumeDaemonError) -> None:
        """Take back what was done so far, and raise why.

        Raises:
            ResumeDaemonError: Always.
        """
        try:
            self._back(repair)
        except (OSError, ResumeDaemonError) as second:
            raise _failed(repair, second) from error
        raise _as_before(repair, error) from error

    def _hands(self, repair: Repair) -> Hands:
        return Hands(repair, self.store, self.after)

    def _record(self, repair: Repair, phase: str) -> None:
        self.ledger.append_many(("repair", _fields(repair, step, phase)) for step in repair.steps)
        self.after("recorded")


@contextmanager
def engine_of(
    state: StateDirectory, run: str, elsewhere: Destination | None = None
) -> Iterator[Engine]:
    """Yield the engine of a run whose lock is held.

    Args:
        state: Where our files are.
        run: What the ledger calls the run.
        elsewhere: Where what is replaced is kept a second time, or None.

    Raises:
        LedgerError: The ledger cannot be opened.
    """
    with Ledger.open(state.ledger, run) as ledger:
        store = RepairStore(state.repairs)
        yield Engine(store, ledger, state.path, elsewhere=elsewhere)


def recover_repairs(state: StateDirectory, run: str) -> list[str]:
    """Finish or take back what was interrupted, for a daemon that starts; return sentences.

    What cannot be settled now is said, and does not keep the daemon from watching.
    """
    try:
        store = RepairStore(state.repairs)
        store.clear_unprepared()
        if not store.interrupted():
            return []
        with engine_of(state, run) as engine:
            return engine.recover()
    except (OSError, ResumeDaemonError) as error:
        return [str(error)]


def _fields(repair: Repair, step: Kept, phase: str) -> dict[str, Any]:
    return {
        "id": repair.id,
        "action": step.action,
        "phase": phase,
        "checkpoint": step.checkpoint,
        "target": step.target,
        "source": step.source,
        "before": step.before,
        "after": step.after,
    }


def _as_before(repair: Repair, error: OSError | ResumeDaemonError) -> ResumeDaemonError:
    return ResumeDaemonError(
        "carry out the repair",
        repair.id,
        _reason(error),
        hint="Everything is as it was before.",
    )


def _failed(repair: Repair, error: OSError | ResumeDaemonError) -> ResumeDaemonError:
    return ResumeDaemonError(
        "finish or take back the repair",
        repair.id,
        _reason(error),
        hint="What it has done is recorded: the next `resume-daemon repair --apply` settles it "
        "once there is room and permission.",
    )


def _reason(error: OSError | ResumeDaemonError) -> str:
    if isinstance(error, ResumeDaemonError):
        return error.reason
    return error.strerror or str(error)
