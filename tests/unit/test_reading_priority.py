from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resume_daemon.reading import priority
from resume_daemon.reading.priority import lower_priority

_NICE = 19 - 3  # Counted from what follows the name in /proc/<pid>/stat (proc(5)).
_POLICY = 41 - 3


def seen() -> tuple[int, int]:
    """Return the nice value and the scheduling policy of the calling thread."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/stat")
    fields = path.read_text().rpartition(")")[2].split()
    return int(fields[_NICE]), int(fields[_POLICY])


def test_a_thread_and_those_that_it_starts_let_everybody_else_go_first() -> None:
    found: list[object] = []

    def lowered() -> None:
        found.append(lower_priority())
        with ThreadPoolExecutor(1) as inner:
            found.append(inner.submit(seen).result())

    before = seen()
    thread = threading.Thread(target=lowered)
    thread.start()
    thread.join()
    if found[0]:
        pytest.skip(f"refused here: {found[0]}")
    assert found[1] == (19, os.SCHED_IDLE)
    assert seen() == before, "the loop and the alerts are not slowed down"


def test_what_the_kernel_refuses_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(priority, "_set_io_idle", refuse)
    expected = ("nice", "scheduler", "disk")
    assert lower_priority() == ", ".join(f"{n}: Operation not permitted" for n in expected)


def test_a_machine_whose_call_is_not_known_keeps_its_disk_priority(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: None)
    monkeypatch.setattr("platform.machine", lambda: "vax")
    assert lower_priority() == "disk: not known how on vax"
