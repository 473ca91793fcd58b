"""Whether the history in a curriculum state lost its beginning. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.curriculum.codes import HISTORY_LOST
from resume_daemon.curriculum.notes import Noted, noted_state
from resume_daemon.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.curriculum.state import StateVersion
    from resume_daemon.curriculum.summary import History


def history_lost(
    version: StateVersion,
    *,
    earlier: Sequence[StateVersion] = (),
    first_logged: int | None = None,
    cadence: int = 1,
    window: int | None = None,
) -> Noted | None:
    """Return whether a state lost the beginning of its history.

    It did if an earlier version ended before this one's history begins and had more entries, or if
    the trainer logged steps from well before it. A rolling window is no loss: as many entries as
    the schema's window holds, or as many as an earlier version that began at an earlier step. Where
    a single version with a likely window size is all there is, it is said to be undecided.

    Args:
        version: The newest version.
        earlier: Versions of the same file from before, in any order.
        first_logged: The first step in the trainer's own log, or None.
        cadence: Trainer's steps between two of its log entries.
        window: ``history_window`` of the schema.
    """
    history = version.history
    before = [v.history for v in earlier if v.history and v.digest != version.digest]
    if history is None:
        return None
    if cut := next((h for h in before if _was_cut(h, history)), None):
        began = f"until step {cut.last_step}" if history.count == 0 else None
        began = began or f"before step {history.first_step}"
        message = (
            f"{version.file}: the history {began} is lost. An earlier version held {cut.count} "
            f"entries, of steps {cut.first_step} to {cut.last_step}; now there {_holds(history)}."
        )
        return noted_state(HISTORY_LOST, message, version.file)
    spacing = history.spacing
    if version.trainer_step is None or first_logged is None or history.first_step is None:
        return None
    # One entry alone does not tell how often one is added, so its absence before means nothing.
    if spacing is None or history.first_step - first_logged <= max(cadence, spacing):
        return None
    if (window and history.count >= window) or any(_rolled(h, history, window) for h in before):
        return None
    message = (
        f"{version.file}: the history before step {history.first_step} is lost. There "
        f"{_holds(history)}, while the trainer logged from step {first_logged} on (it is no loss "
        "if the curriculum was switched on there)."
    )
    if not before and _may_be_a_window(history.count):
        message = (
            f"{version.file}: the history begins at step {history.first_step} and the trainer's "
            f"log at step {first_logged}. {history.count} entries may be all that is ever kept, or "
            "the others are lost; the next version will tell."
        )
        return Noted(HISTORY_LOST.finding(message, file=version.file, severity=Severity.INFO))
    return noted_state(HISTORY_LOST, message, version.file)


def _was_cut(earlier: History, now: History) -> bool:
    """Return whether nothing of ``earlier`` is left in ``now`` although there would be room.

    A window that became smaller keeps the newest entries, so it overlaps with the version before.
    """
    if earlier.last_step is None or now.count >= earlier.count:
        return False
    return now.count == 0 or (now.first_step is not None and now.first_step > earlier.last_step)


def _rolled(earlier: History, now: History, window: int | None) -> bool:
    """Return whether as many entries as before begin later, as in a window that rolls.

    Where the schema says how many are kept and these are fewer, the two must overlap as well: else
    a second history that has grown as long as the lost one would pass for its window.
    """
    if earlier.count != now.count or earlier.first_step is None or now.first_step is None:
        return False
    overlaps = earlier.last_step is not None and now.first_step <= earlier.last_step
    return earlier.first_step < now.first_step and (window is None or overlaps)


def _may_be_a_window(count: int) -> bool:
    """Return whether programmers like the number: a power of two from 16 on, or 50, 100, 150."""
    return count > 0 and (count % 50 == 0 or (count >= 16 and count & (count - 1) == 0))  # noqa: PLR2004 - said above


def _holds(history: History) -> str:
    if history.count == 0:
        return "are none"
    entries = "is 1 entry" if history.count == 1 else f"are {history.count} entries"
    return f"{entries}, of steps {history.first_step} to {history.last_step}"
