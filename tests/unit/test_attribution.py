from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resume_daemon.trackers.attribution import FIRST_BYTES, belonging
from resume_daemon.trackers.testing import header, history, run, summary, write_segment
from resume_daemon.trackers.wandb_local import list_segments

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN = Path("/data/out/grpo-1")


def environment(text: str) -> bytes:
    """Return a record of another kind that holds a text, as that of the environment does."""
    content = text.encode()
    return b"\x08\x03\xd2\x01" + _length(content) + content


def configuration(output_directory: str) -> bytes:
    """Return the record that ``run.config.update({"output_dir": ...})`` writes."""
    value = json.dumps(output_directory).encode()
    item = b"\n\noutput_dir\x82\x01" + _length(value) + value
    other = b"\n\x05optim\x82\x01\x04adam"
    content = b"".join(b"\n" + _length(each) + each for each in (other, item))
    return b"\x08\x07\xc2\x02" + _length(content) + content


def _length(content: bytes) -> bytes:
    length = len(content)
    return bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])


def segment(place: Path, run_id: str, *records: bytes, number: int = 0) -> Path:
    name = f"run-20260101_00000{number}-{run_id}"
    return write_segment(place, [header(), run(run_id), *records], name=name, run_id=run_id)


def ids(segments: Iterable[Path]) -> list[str]:
    return [path.name.rpartition("-")[2] for path in segments]


def test_one_w_and_b_run_is_the_run_s_whatever_it_says(tmp_path: Path) -> None:
    segments = [segment(tmp_path, "a", configuration("elsewhere"), number=n) for n in range(2)]

    assert belonging(segments, RUN) == (segments, "")
    assert belonging([], RUN) == ([], "")


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (configuration("/data/out/grpo-1"), configuration("/data/out/grpo-10")),
        (configuration("out/grpo-1"), configuration("out/grpo-2")),
        (configuration("./grpo-1/"), configuration("./grpo-2/")),
        (configuration("../out/grpo-1"), configuration("../out/grpo-2")),
        (configuration("/workspace/out/grpo-1"), configuration("/workspace/out/grpo-2")),
        (configuration("out/grpo-1"), configuration("old/grpo-1")),
        (environment("train.py --output_dir=out/grpo-1"), environment("--output_dir out/grpo-10")),
        (environment("/data/out/grpo-1"), environment("/data/out/grpo-1.bak")),
        # It started from a checkpoint of this run, and is another.
        (
            configuration("out/grpo-1"),
            configuration("out/grpo-2") + environment("--model out/grpo-1/checkpoint-5"),
        ),
        (environment("out/grpo-1"), environment("nothing")),
        (environment("out/grpo-1"), configuration("out/grpo-2")),
        (configuration("."), configuration("out/grpo-2")),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_of_two_w_and_b_runs_the_one_that_names_the_directory_is_followed(
    tmp_path: Path, mine: bytes, other: bytes, first: bool
) -> None:
    a = segment(tmp_path, "mine", mine, number=0 if first else 1)
    b = segment(tmp_path, "other", other, number=1 if first else 0)
    segments = [a, b] if first else [b, a]

    found, why = belonging(segments, RUN)
    assert found == [a]
    assert why == "" or mine == configuration(".")


def test_the_segments_of_one_w_and_b_run_stay_together(tmp_path: Path) -> None:
    segments = [
        segment(tmp_path, "a", configuration("out/grpo-1"), number=0),
        segment(tmp_path, "b", configuration("out/grpo-2"), number=1),
        segment(tmp_path, "a", number=2),
    ]

    assert belonging(segments, RUN) == ([segments[0], segments[2]], "")


def test_a_run_that_lost_its_id_goes_on_in_a_second_w_and_b_run(tmp_path: Path) -> None:
    segments = [
        segment(tmp_path, name, configuration(place), number=number)
        for number, (name, place) in enumerate(
            [("a", "out/grpo-1"), ("b", "/data/out/grpo-1"), ("c", "out/grpo-2")]
        )
    ]

    assert ids(belonging(segments, RUN)[0]) == ["a", "b"]


def test_where_none_is_named_the_newest_is_followed_and_doubted(tmp_path: Path) -> None:
    segments = [segment(tmp_path, name, number=n) for n, name in enumerate("abc")]

    found, why = belonging(segments, RUN)
    assert ids(found) == ["c"]
    assert "3 W&B runs" in why
    assert "following the newest, c" in why
    assert "trackers.wandb.run_id" in why


def test_one_that_states_another_directory_is_not_followed_in_doubt(tmp_path: Path) -> None:
    silent = segment(tmp_path, "a", number=0)
    other = segment(tmp_path, "b", configuration("out/grpo-2"), number=1)
    found, why = belonging([silent, other], RUN)
    assert ids(found) == ["a"]
    assert why

    third = segment(tmp_path, "c", configuration("out/grpo-3"), number=2)
    found, why = belonging([other, third], RUN)
    assert found == []
    assert "each states another output_dir" in why


@pytest.mark.parametrize("kind", [history, summary])
def test_what_a_row_of_history_holds_names_nobody(tmp_path: Path, kind: object) -> None:
    row = {"note": "out/grpo-1"}
    record = history(3, row) if kind is history else summary(row)
    segments = [
        segment(tmp_path, "a", record, number=0),
        segment(tmp_path, "b", record[2:], number=1),  # without a number before
        segment(tmp_path, "d", b"\x08\x80\x80\x01" + record[2:], number=2),  # with a large one
        segment(tmp_path, "c", number=3),
    ]

    assert ids(belonging(segments, RUN)[0]) == ["c"]


def test_only_the_beginning_of_a_log_is_searched(tmp_path: Path) -> None:
    much = [history(n, {"text": "x" * 1000}) for n in range(FIRST_BYTES // 1000 + 100)]
    late = segment(tmp_path, "a", *much, configuration("out/grpo-1"), number=0)
    early = segment(tmp_path, "b", configuration("out/grpo-1"), *much, number=1)

    assert belonging([early, late], RUN)[0] == [early]


def test_segments_without_a_log_or_with_a_broken_one_are_no_trouble(tmp_path: Path) -> None:
    empty = tmp_path / "run-20260101_000000-x"
    empty.mkdir()
    broken = tmp_path / "run-20260101_000001-y"
    broken.mkdir()
    (broken / "run-y.wandb").write_bytes(b"this is no log")
    cut = [environment("output_dir") + b"\x82", b"\x08", b"\x08\x80", b"\x08\x01", b""]
    odd = segment(tmp_path, "z", *cut, number=2)
    good = segment(tmp_path, "a", configuration("out/grpo-1"), number=3)

    assert belonging([empty, broken, odd, good], RUN) == ([good], "")
    assert ids(belonging([broken, odd, empty], RUN)[0]) == ["z"]


# Real logs

TRAINING = """
import sys, wandb
for name in sys.argv[1:]:
    settings = wandb.Settings(console="off", x_disable_stats=True)
    run = wandb.init(project="p", id=name.replace("/", "_"), settings=settings, reinit=True)
    run.config.update({"output_dir": name, "optim": "adamw"}, allow_val_change=True)
    run.log({"train/global_step": 1, "note": "out/grpo-1"})
    run.finish()
"""


def test_real_runs_are_told_apart_by_their_configuration(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    places = {f"WANDB_{name}": str(tmp_path) for name in ("DIR", "CACHE_DIR", "CONFIG_DIR")}
    env |= {"HOME": str(tmp_path), "WANDB_MODE": "offline", "WANDB_SILENT": "true", **places}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAINING, "out/grpo-1", "out/grpo-10", "grpo-2"],
        env=env,
        check=True,
        timeout=50,
    )
    segments = list_segments(tmp_path / "wandb")
    assert len(segments) == 3

    for run_directory, expected in (
        (RUN, "out_grpo-1"),
        (RUN.with_name("grpo-10"), "out_grpo-10"),
        (RUN.with_name("grpo-2"), "grpo-2"),
    ):
        (found,), why = belonging(segments, run_directory)
        assert found.name.endswith(f"-{expected}")
        assert why == ""
