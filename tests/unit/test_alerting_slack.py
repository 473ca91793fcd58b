from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.alerting import testing
from resume_daemon.alerting.conditions import Flip, State
from resume_daemon.alerting.outbox import Alert
from resume_daemon.alerting.secrets import Secret
from resume_daemon.alerting.sinks.slack import SlackSink, clip, duration
from resume_daemon.conditions import Condition
from resume_daemon.errors import UsageError
from resume_daemon.findings import Severity

T0 = datetime(2025, 6, 12, 17, 56, 57, tzinfo=UTC)
SINK = SlackSink("ops", Secret("https://hooks.slack.com/services/T0/B0/x"))
DRIFT = Condition(
    "wandb-drift:r1:s1",
    "RD601",
    Severity.ERROR,
    "W&B logs 50 steps behind the trainer: its curve will overlap.",
    checkpoint="checkpoint-560",
    tracker_step=510,
    trainer_step=560,
    offset=-50,
    drift=50,
)


def message(
    condition: Condition = DRIFT, *, lasted: timedelta | None = None, run: str = "grpo-7b"
) -> Alert:
    if lasted is None:
        flip = Flip(condition, State.FIRING, since=T0, at=T0)
    else:
        flip = Flip(condition, State.RESOLVED, since=T0, at=T0 + lasted)
    return Alert("msg_" + "0" * 32, "ops", run=run, host="node-17", flip=flip)


def payload(alert: Alert) -> Any:
    return json.loads(SINK.render(alert).body)


def texts(value: Any) -> list[str]:
    """Return every text that Slack shows."""
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) else []
        return own + [text for inner in value.values() for text in texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return []


def test_a_tired_person_sees_what_where_the_numbers_since_when_and_what_to_do() -> None:
    body = payload(message())
    header, section, fields, todo, context = body["blocks"]
    assert header["text"]["text"] == ":red_circle: Error RD601 in grpo-7b"
    assert section["text"]["text"] == DRIFT.message.replace("&", "&amp;")
    assert [field["text"] for field in fields["fields"]] == [
        "*Run*\ngrpo-7b",
        "*Host*\nnode-17",
        "*Checkpoint*\ncheckpoint-560",
        "*Trainer step*\n560",
        "*Tracker step*\n510",
        "*Offset (raw)*\n-50",
        "*Drift*\n+50",
        "*Since*\n2025-06-12 17:56 UTC",
    ]
    assert todo["text"]["text"] == "What to do: `resume-daemon explain RD601`"
    assert context["elements"][0]["text"] == "msg_" + "0" * 32
    assert body["text"].startswith(":red_circle: Error RD601 in grpo-7b: W&amp;B logs")


def test_a_resolution_says_how_long_it_lasted_and_what_it_was() -> None:
    body = payload(message(lasted=timedelta(hours=2, minutes=5)))
    shown = "\n".join(texts(body))
    assert ":white_check_mark: Resolved RD601" in shown
    assert "This holds no more; it lasted 2 h 5 min. It was:\nW&amp;B logs" in shown
    assert "*Until*\n2025-06-12 20:01 UTC" in shown
    assert "Error" not in shown


@pytest.mark.parametrize(
    ("severity", "word"),
    [(Severity.ERROR, "Error"), (Severity.WARNING, "Warning"), (Severity.INFO, "Note")],
)
def test_severity_is_an_emoji_and_a_word(severity: Severity, word: str) -> None:
    header = payload(message(Condition("k", "RD101", severity, "m")))["blocks"][0]
    assert re.match(rf":\w+: {word} RD101", header["text"]["text"])


def test_a_test_message_cannot_be_mistaken_for_news() -> None:
    alert = testing.test_alert("grpo-7b")
    assert alert.as_json()["type"] == "condition.test"
    shown = "\n".join(texts(payload(alert)))
    assert ":test_tube: Test" in shown
    assert "Nothing is wrong" in shown
    assert "What to do: nothing." in shown
    assert testing.test_alert("grpo-7b").id != alert.id


def test_nobody_can_be_mentioned_by_a_message() -> None:
    hostile = Condition("k", "RD101", Severity.ERROR, "<!channel> & <@U1>", checkpoint="<!here>")
    for text in texts(payload(message(hostile, run="<!everyone>"))):
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text)


hostile_text = st.text(st.sampled_from('&<>"\\\n\x00\ud800a é😀'), max_size=200).map(
    lambda text: text * 40
)


@given(
    condition=st.builds(
        Condition,
        key=hostile_text,
        code=st.just("RD601"),
        severity=st.sampled_from(Severity),
        message=hostile_text,
        checkpoint=hostile_text,
        tracker_step=st.just(2**60),
        trainer_step=st.just(2**60),
        offset=st.just(-(2**60)),
        drift=st.just(2**60),
    ),
    run=hostile_text,
    lasted=st.none() | st.just(timedelta(days=400)),
)
def test_no_alert_exceeds_a_limit_of_slack(
    condition: Condition, run: str, lasted: timedelta | None
) -> None:
    content = SINK.render(message(condition, lasted=lasted, run=run)).body.decode()
    assert len(content) <= 10_000
    body = json.loads(content)
    header, section, fields, *_ = body["blocks"]
    assert 1 <= len(header["text"]["text"]) <= 150
    assert 1 <= len(section["text"]["text"]) <= 3000
    assert len(fields["fields"]) <= 10
    assert all(len(field["text"]) <= 2000 for field in fields["fields"])
    assert body["text"]


@pytest.mark.parametrize("letter", ['"', "\\", "\n", "&", "x", "é"])
def test_the_whole_stays_below_ten_thousand_characters_at_its_very_worst(letter: str) -> None:
    long = letter * 10_000
    worst = Condition(long, long, Severity.WARNING, long, long, 2**60, 2**60, -(2**60), 2**60)
    alert = message(worst, lasted=timedelta(days=400), run=long)
    alert = Alert(alert.id, "ops", run=long, host=long, flip=alert.flip)
    assert len(SINK.render(alert).body.decode()) <= 10_000


def test_a_long_message_keeps_its_beginning() -> None:
    long = Condition("k", "RD101", Severity.ERROR, "x" * 5000)
    text = payload(message(long))["blocks"][1]["text"]["text"]
    assert len(text) == 3000
    assert text.endswith("x…")


@given(st.text(st.sampled_from("&<>ab"), max_size=40), st.integers(2, 40))
def test_clipping_keeps_a_prefix_and_never_half_an_escape(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert len(clipped) <= limit
    plain = clipped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    if text:
        assert text.startswith(plain.removesuffix("…"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (61, "1 min 1 s"),
        (7200, "2 h"),
        (90_000, "1 d 1 h"),
        (86_400 + 59, "1 d"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, words: str) -> None:
    assert duration(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    "url", ["", "hooks.slack.com/services/secret", "ftp://secret/x", "https://", "http://[secret/"]
)
def test_a_url_that_cannot_work_is_refused_at_once_and_not_told(url: str) -> None:
    with pytest.raises(UsageError, match="alert sink 'ops'") as caught:
        SlackSink("ops", Secret(url))
    assert "secret" not in str(caught.value)
