"""The report as a page: what it shows, what it says where nothing is, and that it is inert."""

from __future__ import annotations

import json
import math
import re
import resource
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from resume_daemon.cli import app
from resume_daemon.curriculum.entries import Performance, performances
from resume_daemon.curriculum.schemas import Schema
from resume_daemon.errors import UsageError
from resume_daemon.findings import Finding, Severity
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.report.html.facts import (
    Curriculum,
    Drift,
    Facts,
    Firing,
    Pair,
    StageMark,
    Theme,
)
from resume_daemon.report.html.gather import gather
from resume_daemon.report.html.page import page
from resume_daemon.report.html.scale import scale, ticks
from resume_daemon.report.html.thinning import STRETCHES, thin
from resume_daemon.report.html.writing import write_report
from resume_daemon.report.rows import Row
from resume_daemon.state_directory import StateDirectory

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section"),
    *("h1", "h2", "p", "div", "ul", "li", "b", "strong", "small", "span", "code"),
    *("figure", "figcaption", "details", "summary"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("svg", "desc", "line", "text", "circle", "polyline", "g", "path", "rect"),
}


class Parsed(HTMLParser):
    """The elements and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def row(name: str = "checkpoint-5", **changes: Any) -> Row:
    known: dict[str, Any] = {
        "checkpoint": name,
        "step": 5,
        "verdict": "sound",
        "why": "",
        "codes": (),
        "stage": "0",
        "curriculum_step": 5,
        "tracker_step": 9,
        "trainer_step": 5,
        "drift": 0,
    }
    return Row(**(known | changes))


def facts(**changes: Any) -> Facts:
    known: dict[str, Any] = {"run": "/runs/mine", "made_at": NOW, "records": 3}
    return Facts(**(known | changes))


def drawings(text: str) -> list[ET.Element]:
    found = re.findall(r"<svg .*?</svg>", text, re.DOTALL)
    return [ET.fromstring(each) for each in found]  # noqa: S314 - we have written it


def test_the_page_shows_every_checkpoint_with_its_verdict(
    watched_run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    ended = report(watched_run, "--html", file)
    assert ended.exit_code == 0, ended.output
    text = file.read_text("utf-8")
    for words in ("checkpoint-5: sound", "checkpoint-15: unsound", "Resume from checkpoint-10"):
        assert words in text
    assert [each.get("role") for each in drawings(text)].count("img") >= 2
    assert list(tmp_path.iterdir()) == [file]


def test_the_page_loads_and_runs_nothing(watched_run: Path) -> None:
    text = page(gather(watched_run, StateDirectory(watched_run / ".resume_daemon", "")))
    parsed = Parsed(text)
    assert parsed.tags <= TAGS
    assert not {name for name in parsed.attributes if name.startswith("on")}
    assert not parsed.attributes & {"href", "src", "xlink:href", "action"}
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_every_picture_is_told_in_words_and_as_a_table(watched_run: Path) -> None:
    text = page(gather(watched_run, StateDirectory(watched_run / ".resume_daemon", "")))
    pictures = [each for each in drawings(text) if each.get("role") == "img"]
    space = "{http://www.w3.org/2000/svg}"
    for each in pictures:
        ids = {inner.get("id") for inner in each}
        assert set((each.get("aria-labelledby") or "").split()) <= ids
        assert each.findtext(f"{space}title")
        assert each.findtext(f"{space}desc")
    assert text.count("<details>") >= len(pictures)


HOSTILE = "<script>alert(1)</script>\"' onload=x & \x1b[31m \u202egnp.exe `code`"


def hostile() -> Facts:
    return facts(
        run=f"/runs/{HOSTILE}",
        checkpoints=(row(HOSTILE, why=HOSTILE, stage=HOSTILE, verdict=HOSTILE), row(HOSTILE)),
        newest_sound=HOSTILE,
        pairs=(Pair(HOSTILE, 5, 5, HOSTILE), Pair(HOSTILE, 9, 8)),
        drifts=(
            Drift("RD601", HOSTILE, HOSTILE, 5, 20, NOW),
            Drift("RD504", f"ahead:{HOSTILE}", HOSTILE, 5, 10, NOW),
        ),
        curricula=(
            Curriculum(HOSTILE, (StageMark(3, HOSTILE), StageMark(4, "b")), (Performance(1, 0.5),)),
        ),
        firing=(Firing(HOSTILE, HOSTILE, HOSTILE, NOW),),
        doubts=(HOSTILE,),
    )


def test_what_stands_in_files_is_text_and_nothing_else() -> None:
    finding = Finding(HOSTILE, Severity.ERROR, HOSTILE, HOSTILE, HOSTILE)
    text = page(hostile(), [Theme(HOSTILE, HOSTILE, (finding,))])
    parsed = Parsed(text)
    assert parsed.tags <= TAGS
    assert not {name for name in parsed.attributes if name.startswith("on")}
    assert "alert(1)" in "".join(parsed.words)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert drawings(text)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_no_text_breaks_a_picture_or_makes_an_element(words: str) -> None:
    found = facts(
        run=f"/r/{words}",
        checkpoints=(row(words, why=words, verdict=words), row("b", stage=words)),
        pairs=(Pair(words, 5, 5, words), Pair("other", 9, 8, "b")),
        drifts=(Drift("RD601", words, words, 5, 20, NOW, NOW),),
        curricula=(Curriculum(words, (StageMark(3, words), StageMark(4, "b"))),),
        firing=(Firing("RD701", "error", words, NOW),),
    )
    text = page(found)
    assert Parsed(text).tags <= TAGS
    assert drawings(text)


def test_without_anything_on_record_the_page_says_what_lacks(tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    (tmp_path / "run").mkdir()
    write_report(file, tmp_path / "run", None)
    words = " ".join(Parsed(file.read_text("utf-8")).words)
    assert "No daemon has watched this run" in words
    assert "No checkpoint was recorded" in words
    assert "No step pair was recorded" in words
    assert "Nothing can be said of drift" in words
    assert "There is no curriculum" in words


def test_a_run_without_a_curriculum_and_without_wandb_is_no_failure() -> None:
    words = " ".join(Parsed(page(facts(checkpoints=(row(),)))).words)
    assert "lacks nothing by that" in words
    assert "Nothing is wrong now" in words


def test_a_hundred_thousand_pairs_are_thinned_and_it_is_said() -> None:
    pairs = tuple(Pair("a", 2 * n, n) for n in range(1, 100_001))
    text = page(facts(pairs=pairs))
    assert len(text) < 200_000
    assert re.search(r"[\d,]+ of 100,000 pairs are drawn", text)
    assert "ledger export" in text
    few = page(facts(pairs=pairs[:100]))
    assert "pairs are drawn" not in few


POINTS = st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e6, 1e6)), min_size=1, max_size=300)


@given(POINTS, st.integers(1, 20))
def test_thinning_keeps_both_ends_and_every_extreme(
    points: list[tuple[float, float]], stretches: int
) -> None:
    kept = thin(points, stretches)
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    heights = [height for _, height in points]
    assert {min(heights), max(heights)} <= {height for _, height in kept}
    assert len(kept) <= max(4 * stretches, 1)
    places = iter(points)
    assert all(each in places for each in kept)
    assert STRETCHES > 100


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 10))
def test_the_numbers_at_an_axis_are_few_and_lie_on_it(low: float, width: float, most: int) -> None:
    high = low + width
    if high <= low or width < abs(low) * 1e-6:
        return
    found = ticks(low, high, most=most)
    room = width * 1e-6
    assert all(low - room <= each <= high + room for each in found)
    assert len(found) <= most + 1
    axis = scale([low, high], 0, 100)
    assert (axis.at(low), axis.at(high)) == (0, 100)


def test_a_line_begins_anew_where_a_training_was_resumed_from_an_earlier_step() -> None:
    marks = tuple(StageMark(n, s) for n, s in ((1, "a"), (2, "a"), (3, "a"), (2, "a"), (3, "b")))
    text = page(facts(curricula=(Curriculum("c.json", marks),)))
    assert len(re.findall(r'<polyline [^>]*class="series stairs earlier"', text)) == 1
    assert len(re.findall(r'<polyline [^>]*class="series stairs"', text)) == 1


def test_drift_that_is_over_looks_and_reads_other_than_drift_that_fires() -> None:
    over = Drift("RD601", "k", "m", 5, 20, NOW, NOW)
    now = Drift("RD601", "l", "m", 9, 30, NOW)
    text = page(facts(pairs=(Pair("a", 9, 9),), drifts=(over, now)))
    # Once in the picture, once where it is said what that looks like.
    assert text.count('class="resolved"') == text.count('class="firing"') == 2
    assert "Drift began 2 times; 1 of them fires now" in text
    assert "20 at step 5" in text
    assert "30 at step 9" in text


def test_themes_of_an_examination_come_with_code_hint_and_file() -> None:
    finding = Finding("RD212", Severity.WARNING, "a.bin", "half of it is `zero`", "Go back.")
    again = Finding("RD213", Severity.INFO, "a.bin", "a.bin: it is old", "")
    themes = [Theme("disk", "There is room.", (finding, again)), Theme("clock", "It is right.")]
    text = page(facts(), themes)
    assert "warning RD212" in text
    assert "a.bin: half of it is <code>zero</code>" in text
    assert "Go back." in text
    assert "a.bin: a.bin" not in text
    assert "no findings" in text.partition("It is right.")[0]


def test_a_report_replaces_a_report_and_nothing_else(watched_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    assert report(watched_run, "--html", file).exit_code == 0
    assert report(watched_run, "--html", file).exit_code == 0
    other = tmp_path / "thesis.html"
    other.write_text("<html>mine</html>", encoding="utf-8")
    ended = report(watched_run, "--html", other)
    assert ended.exit_code == 2
    assert "no report" in ended.stderr
    assert other.read_text(encoding="utf-8") == "<html>mine</html>"
    assert report(watched_run, "--html", tmp_path / "none" / "r.html").exit_code == 2
    (tmp_path / "link.html").symlink_to(file)
    assert report(watched_run, "--html", tmp_path / "link.html").exit_code == 2


def test_where_there_is_no_room_the_report_before_stays(watched_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    assert report(watched_run, "--html", file).exit_code == 0
    before = file.read_bytes()

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    ended = subprocess.run(
        [sys.executable, "-m", "resume_daemon", "report", watched_run, "--html", file],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        preexec_fn=no_room,
    )
    assert ended.returncode == 1
    assert "Cannot write the report" in ended.stderr
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_run_that_nobody_has_watched_is_wrong_usage(tmp_path: Path) -> None:
    assert report(tmp_path).exit_code == 2
    with pytest.raises(UsageError):
        write_report(tmp_path, tmp_path, None)


def test_without_html_the_same_is_said_on_the_terminal(watched_run: Path) -> None:
    shown = report(watched_run)
    assert shown.exit_code == 0
    for words in ("checkpoint-15", "unsound", "checkpoints:", "steps:", "drift:", "curriculum:"):
        assert words in shown.stdout
    document = json.loads(report(watched_run, "--json").stdout)
    assert [each["checkpoint"] for each in document["checkpoints"]][-1] == "checkpoint-15"
    assert document["curricula"][0]["performances"][0]["step"] == 1


def test_a_damaged_line_of_the_ledger_does_not_prevent_a_report(tmp_path: Path) -> None:
    ledger = tmp_path / ".resume_daemon" / "ledger.jsonl"
    ledger.parent.mkdir()
    with Ledger.open(ledger, "run") as opened:
        for step in (1, 2, 3):
            opened.append(
                "pair",
                tracker="wandb",
                run_id="a",
                segment="s",
                tracker_step=step,
                trainer_step=step,
                checkpoint=None,
            )
    lines = ledger.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b'"trainer_step":2', b'"trainer_step":7')
    ledger.write_bytes(b"\n".join(lines))
    found = gather(tmp_path, StateDirectory(ledger.parent, ""))
    assert [pair.trainer_step for pair in found.pairs] == [1, 3]
    assert "1 lines of the ledger are damaged" in " ".join(Parsed(page(found)).words)


def test_drift_is_told_from_when_it_began_until_it_was_over(tmp_path: Path) -> None:
    ledger = tmp_path / ".resume_daemon" / "ledger.jsonl"
    ledger.parent.mkdir()
    common = {"condition": "wandb-drift:a:s", "code": "RD601", "severity": "warning"}
    with Ledger.open(ledger, "run") as opened:
        for state, drift in (("firing", 10), ("firing", 20), ("resolved", None), ("firing", 5)):
            opened.append("drift", **common, state=state, drift=drift, trainer_step=7, message="m")
    drifts = gather(tmp_path, StateDirectory(ledger.parent, "")).drifts
    assert [(each.amount, each.until is None) for each in drifts] == [(20, False), (5, True)]
    assert drifts[0].since < (drifts[0].until or NOW)


def test_steps_of_an_offline_process_count_over_the_whole_run(tmp_path: Path) -> None:
    ledger = tmp_path / ".resume_daemon" / "ledger.jsonl"
    ledger.parent.mkdir()
    with Ledger.open(ledger, "run") as opened:
        for segment, base in (("a", 0), ("b", 40)):
            steps = {"tracker_step": 2, "trainer_step": 1}
            opened.append("pair", tracker="wandb", run_id="r", segment=segment, base=base, **steps)
    pairs = gather(tmp_path, StateDirectory(ledger.parent, "")).pairs
    assert [pair.tracker_step for pair in pairs] == [2, 42]


def test_the_newest_start_stands_out_from_the_earlier_ones() -> None:
    pairs = tuple(Pair(f"process {n}", 10 * n + m, m) for n in range(3) for m in (1, 2))
    styles = re.findall(r'<polyline [^>]*class="([^"]*)"', page(facts(pairs=pairs)))
    assert styles == ["series earlier", "series earlier", "series"]


def test_the_checkpoint_to_resume_from_has_a_ring() -> None:
    rows = (row("checkpoint-5"), row("checkpoint-10", step=10))
    text = page(facts(checkpoints=rows, newest_sound="checkpoint-10"))
    [mark] = [each for each in re.findall(r"<g .*?</g>", text) if 'class="ring"' in each]
    assert "checkpoint-10: sound" in mark


def test_the_gravest_of_what_is_wrong_stands_first() -> None:
    firing = tuple(Firing(c, s, f"about {c}", NOW) for c, s in (("B", "warning"), ("A", "error")))
    text = page(facts(firing=firing))
    assert text.index("about A") < text.index("about B")


def test_only_finite_performances_with_a_step_are_drawn() -> None:
    schema = Schema(
        name="s", files=("s.json",), history=("h",), entry_step="step", entry_performance="p"
    )
    entries = [
        {"step": 1, "p": 0.5},
        {"p": 1},
        {"step": 2, "p": math.nan},
        {"step": 3, "p": True},
        4,
    ]
    assert performances({"h": entries}, schema) == ((Performance(1, 0.5),), 4)
    assert performances({"h": 5}, schema) == ((), 0)
