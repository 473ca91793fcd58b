from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from resume_daemon import logs
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.logs import (
    REDACTED,
    RateLimited,
    Redactor,
    Streak,
    after_error,
    configure_logs,
    register_secret,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Built at run time, so that no scanner takes it for a real one.
SLACK = "https://hooks.slack.com/" + "/".join(["services", "T0AAAAAAA", "B0BBBBBBB", "x" * 24])


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave logging, structlog and the registered secrets as they were."""
    monkeypatch.setattr(logs, "_redactor", Redactor())
    names = ["", "httpx", "httpcore", "resume_daemon"]
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, logs._Handler):
            logging.getLogger().removeHandler(handler)
    structlog.reset_defaults()


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    configure_logs("json", "info", stream, {})
    return stream


def fail_with(secret: str) -> None:
    local = secret
    raise ResumeDaemonError("post to", local, "404")


def test_a_record_is_one_line_of_json_with_time_and_level(stream: io.StringIO) -> None:
    structlog.get_logger().warning("look\nhere", path="/a\nb", loss=float("nan"), all=(1, None))
    (record,) = records(stream)
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "event": "look\nhere",
        "level": "warning",
        "path": "/a\nb",
        "loss": "nan",
        "all": [1, None],
    }


def test_values_that_json_does_not_know_are_written_as_text(
    stream: io.StringIO, tmp_path: Path
) -> None:
    structlog.get_logger().info("x", path=tmp_path, name="\udcff", nested={1: {"a": float("inf")}})
    (record,) = records(stream)
    assert record["path"] == str(tmp_path)
    assert record["nested"] == {"1": {"a": "inf"}}


@pytest.mark.parametrize(
    ("level", "expected"), [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")]
)
def test_records_below_the_level_are_left_out(level: str, expected: str) -> None:
    stream = io.StringIO()
    configure_logs("json", level, stream, {})
    log = structlog.get_logger()
    own = logging.getLogger("resume_daemon.somewhere")
    for say in (log, own):
        say.debug("d")
        say.info("i")
        say.warning("w")
        say.error("e")
    assert "".join(r["event"] for r in records(stream)) == expected * 2


def test_libraries_are_heard_in_the_same_form_from_warning_up(stream: io.StringIO) -> None:
    configure_logs("json", "debug", stream, {})
    for name in ("httpx", "httpcore", "some.library"):
        logging.getLogger(name).info("HTTP Request: POST %s", SLACK)
        logging.getLogger(name).warning("slow %d", 1)
    said = [(r["event"], r["level"], r["logger"]) for r in records(stream)]
    assert said == [("slow 1", "warning", n) for n in ("httpx", "httpcore", "some.library")]


def test_configuring_again_replaces_the_stream(stream: io.StringIO) -> None:
    later = io.StringIO()
    configure_logs("json", "info", later, {})
    structlog.get_logger().info("x")
    assert stream.getvalue() == ""
    assert len(records(later)) == 1


def test_an_unknown_level_is_an_error() -> None:
    with pytest.raises(KeyError):
        configure_logs("json", "loud", io.StringIO(), {})


def test_an_exception_is_told_without_the_local_variables_of_its_frames(
    stream: io.StringIO,
) -> None:
    try:
        fail_with("never-registered")
    except ResumeDaemonError:
        structlog.get_logger().exception("x")
        logging.getLogger("library").exception("y")
    ours, library = records(stream)
    for record in (ours, library):
        (exception,) = record["exception"]
        assert exception["exc_type"] == "ResumeDaemonError"
        assert not any(frame.get("locals") for frame in exception["frames"])


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_registered_secret_is_in_no_line(form: str) -> None:
    stream = io.StringIO()
    configure_logs("console" if form == "console" else "json", "info", stream, {})
    register_secret(SLACK)
    log = structlog.get_logger().bind(url=SLACK)
    log.warning("posting", nested={"url": [SLACK]}, error=ValueError(SLACK))
    logging.getLogger("httpx").warning("HTTP Request: POST %s", SLACK)
    logging.getLogger("httpcore").warning(
        "target=%r", SLACK.removeprefix("https://hooks.slack.com")
    )
    try:
        fail_with(SLACK)
    except ResumeDaemonError:
        message = f"cannot post to {SLACK}"
        log.exception(message)
        logging.getLogger("httpx").exception("cannot post to %s", SLACK)
    said = stream.getvalue()
    assert "x" * 24 not in said
    assert "T0AAAAAAA" not in said
    assert REDACTED in said
    assert "404" in said


def test_a_secret_is_not_printed_by_a_record_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own handler raises.
    configure_logs("json", "info", stream, {})
    register_secret(SLACK)
    logging.getLogger("httpx").warning("%d", SLACK)
    assert SLACK not in stream.getvalue() + capsys.readouterr().err
    assert "A log record of httpx" in stream.getvalue()


def test_a_stream_on_a_full_disk_does_not_stop_the_work() -> None:
    full = Path("/dev/full").open("w", buffering=1, encoding="utf-8")  # noqa: SIM115  See below.
    configure_logs("json", "info", full, {})
    structlog.get_logger().warning("x")
    with pytest.raises(OSError, match="No space"):
        full.close()  # It tries once more to write, so the line before had failed as well.


@given(
    st.text(min_size=4, max_size=12).filter(lambda s: len(s.strip()) >= 4 and s not in REDACTED),
    st.text(max_size=5),
)
def test_no_spelling_of_a_secret_survives(secret: str, around: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    for text in (secret, repr(secret), json.dumps(secret), json.dumps(repr(secret))):
        redacted = redactor.redact(around + text + around)
        assert REDACTED in redacted


def test_of_a_secret_that_begins_another_one_nothing_is_left_over() -> None:
    redactor = Redactor()
    redactor.register("abcdef")
    redactor.register("abcdef-and-more")
    assert redactor.redact("x abcdef-and-more y abcdef") == f"x {REDACTED} y {REDACTED}"


def test_the_telling_parts_of_a_url_are_secrets_of_their_own() -> None:
    redactor = Redactor()
    redactor.register("https://user:hunter22@example.org/hook?token=s3cr3t%21&a=b")
    for text in ("hunter22", "token=s3cr3t%21&a=b", "s3cr3t!"):
        assert redactor.redact(f"<{text}>") == f"<{REDACTED}>"
    assert redactor.redact("https://example.org/hook user a=b") == (
        "https://example.org/hook user a=b"
    )


@pytest.mark.parametrize("value", ["", " ", "abc", " ab "])
def test_a_value_too_short_for_a_secret_does_not_blank_out_the_log(value: str) -> None:
    redactor = Redactor()
    redactor.register(value)
    assert redactor.redact("a b abc ab") == "a b abc ab"


def test_a_damaged_url_is_still_a_secret() -> None:
    redactor = Redactor()
    redactor.register("https://[broken")
    assert redactor.redact("at https://[broken") == f"at {REDACTED}"


PROGRAM = """
import sys
import structlog
from resume_daemon.logs import configure_logs
configure_logs(sys.argv[1], "debug")
log = structlog.get_logger()
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(log, level)(level)
"""


def lines_of(form: str, stderr: int, **environ: str) -> None:
    subprocess.run(
        [sys.executable, "-c", PROGRAM, form],
        check=True,
        stderr=stderr,
        env={**os.environ, **environ},
        timeout=30,
    )


@pytest.mark.parametrize("form", ["auto", "json"])
def test_in_the_journal_every_line_begins_with_its_priority(tmp_path: Path, form: str) -> None:
    with (tmp_path / "stderr").open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        lines_of(form, stderr.fileno(), JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}")
    lines = (tmp_path / "stderr").read_text().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert [json.loads(line[3:])["event"] for line in lines] == [
        "debug",
        "info",
        "warning",
        "error",
        "critical",
    ]


def test_a_stream_that_was_redirected_away_from_the_journal_has_no_priorities(
    tmp_path: Path,
) -> None:
    with (tmp_path / "stderr").open("wb") as stderr:
        lines_of("auto", stderr.fileno(), JOURNAL_STREAM="1:1")
    for line in (tmp_path / "stderr").read_text().splitlines():
        json.loads(line)


def test_a_terminal_gets_lines_for_people_in_colour() -> None:
    ours, theirs = pty.openpty()
    try:
        lines_of("auto", theirs)
        said = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "\x1b[" in said
    assert "warning" in said
    assert "{" not in said


def test_a_file_name_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    configure_logs("console", "info", stream, {})
    structlog.get_logger().info("bad\x1b[2J", path="a\x1b[31m\nb")
    said = stream.getvalue()
    assert "\x1b" not in said
    assert said.count("\n") == 1


def test_the_console_shows_a_traceback_without_local_variables() -> None:
    stream = io.StringIO()
    configure_logs("console", "info", stream, {})
    try:
        fail_with("never" + "-registered")
    except ResumeDaemonError:
        structlog.get_logger().exception("x")
    said = stream.getvalue()
    assert "Traceback" in said
    assert said.count("never-registered") == 1  # In the message alone.


def test_an_error_that_repeats_is_said_first_then_now_and_then_then_that_it_is_over() -> None:
    now = 0.0
    limited = RateLimited(every=60, clock=lambda: now)
    with capture_logs() as captured:
        for now in range(0, 150, 10):  # noqa: B007  The clock reads it.
            with limited.quiet("read the log", run="a"):
                raise OSError("gone")
        for _ in range(2):
            with limited.quiet("read the log", run="a"):
                pass
    errors = [c for c in captured if c["log_level"] == "error"]
    assert [(e["errors"], e["held_back"]) for e in errors] == [(1, 0), (7, 5), (13, 5)]
    assert all(e["event"] == "Failed: read the log" and e["run"] == "a" for e in errors)
    (over,) = [c for c in captured if c["log_level"] == "info"]
    assert over["event"] == "Recovered: read the log"
    assert over["errors_before"] == 15


def test_keys_do_not_hold_each_other_back() -> None:
    limited = RateLimited(every=60, clock=lambda: 0.0)
    with capture_logs() as captured:
        for key in ("a", "b"):
            with limited.quiet(key):
                raise ResumeDaemonError("read", "x", "gone")
    assert [c["event"] for c in captured] == ["Failed: a", "Failed: b"]


def test_what_always_worked_is_not_said_to_have_recovered() -> None:
    with capture_logs() as captured, RateLimited().quiet("a"):
        pass
    assert captured == []


def test_errors_that_nobody_expected_are_raised() -> None:
    limited = RateLimited()
    with pytest.raises(ZeroDivisionError), limited.quiet("a"):
        raise ZeroDivisionError
    with pytest.raises(OSError, match="x"), limited.quiet("a", KeyError):
        raise OSError("x")


def test_many_keys_do_not_fill_the_memory() -> None:
    limited = RateLimited()
    with capture_logs():
        for number in range(1100):
            limited.failed(str(number), OSError("x"))
    assert len(limited._streaks) == 1000
    assert "1099" in limited._streaks


@given(
    st.lists(st.floats(min_value=0, max_value=100, allow_nan=False), min_size=1, max_size=40),
    st.floats(min_value=0.1, max_value=50),
)
def test_every_error_is_either_said_or_counted_as_held_back(
    pauses: list[float], every: float
) -> None:
    streak: Streak | None = None
    now, said, counted = 0.0, [], 0
    for pause in pauses:
        now += pause
        streak, held_back = after_error(streak, now, every)
        if held_back is not None:
            said.append(now)
            counted += 1 + held_back
    assert streak is not None
    assert streak.errors == len(pauses)
    assert counted + streak.held_back == len(pauses)
    assert all(b - a >= every for a, b in pairwise(said))
