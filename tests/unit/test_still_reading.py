from __future__ import annotations

from structlog.testing import capture_logs

from resume_daemon.daemon.still_reading import StillReading

MIB = 1024 * 1024


def test_a_long_reading_is_told_of_once_a_minute_and_a_short_one_never() -> None:
    now = 100.0
    told = StillReading("checkpoint-5", clock=lambda: now)
    with capture_logs() as captured:
        for _ in range(200):
            now += 1.0
            told(3 * MIB)

    assert [(each["seconds"], each["mib"]) for each in captured] == [
        (60, 180),
        (120, 360),
        (180, 540),
    ]
    assert {each["checkpoint"] for each in captured} == {"checkpoint-5"}
