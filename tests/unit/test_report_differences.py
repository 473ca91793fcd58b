from __future__ import annotations

from resume_daemon.report.differences import difference


def test_a_difference_shows_what_changes_and_a_line_around_it() -> None:
    before = b"a: 1\r\nb: 2561 # x\x1b[0m\r\nc: 3\nd: 4\ne: \xff"
    lines = list(difference("t.yaml", before, before.replace(b"2561", b"2560")))
    assert lines[:2] == ["--- t.yaml", "+++ t.yaml (changed)"]
    assert "-b: 2561 # x\\x1b[0m" in lines
    assert "+b: 2560 # x\\x1b[0m" in lines
    assert not any("\x1b" in line for line in lines)
    assert " a: 1" in lines
    assert " d: 4" not in lines


def test_a_last_line_without_an_end_is_told() -> None:
    assert list(difference("t", b"a", b"b"))[-4:] == [
        "-a",
        "\\ No newline at end of file",
        "+b",
        "\\ No newline at end of file",
    ]
