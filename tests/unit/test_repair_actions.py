"""What is proposed for each damage, and what the checkpoint is worth once it is done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resume_daemon.findings import Verdict
from resume_daemon.formats.torch_file import read_torch_file
from resume_daemon.ledger.queries import fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.repair.aftermath import verify_after
from resume_daemon.repair.proposals import Proposal, Unrepaired
from resume_daemon.state_directory import find_state_directory
from tests.checkpoints import edit_state, shard, write_checkpoint, write_json
from tests.layouts.verl import TRACKER, write_fsdp
from tests.real.damages import DAMAGES, Damage
from tests.repairing import carry_out, proposed, told
from tests.verifying import verified

if TYPE_CHECKING:
    from collections.abc import Callable

NEWEST = "checkpoint-15"
CURRICULUM = "curriculum_state_detailed.json"

QUARANTINED = ["quarantine"]
RESTORED = ["small_file"]
SAID = ["not small_file", "not quarantine"]

OUTCOMES = {
    "weights cut in half": QUARANTINED,
    "weights cut by one byte": QUARANTINED,
    "weights missing": QUARANTINED,
    "weights with a NaN": QUARANTINED,
    "weights with the top exponent bit of the last value flipped": QUARANTINED,
    "weights whose second half is zero bytes": QUARANTINED,
    "optimizer.pt cut": QUARANTINED,
    "optimizer.pt empty": QUARANTINED,
    "optimizer.pt bit flipped": QUARANTINED,
    "optimizer.pt missing": SAID,
    "optimizer.pt from another step": QUARANTINED,
    "scheduler.pt missing": RESTORED,
    "scheduler.pt from another step": RESTORED,
    "rng_state.pth cut": RESTORED,
    "rng_state.pth missing": RESTORED,
    "trainer_state.json missing": RESTORED,
    "trainer_state.json cut": RESTORED,
    "wrong global_step": RESTORED,
    "config.json cut": RESTORED,
    "config.json missing": RESTORED,
    "training_args.bin missing": RESTORED,
    "training_args.bin cut short": RESTORED,
    "tokenizer.json missing": RESTORED,
}

REBUILT = ["scheduler"]
NOT_REBUILT = ["not trainer_state", "quarantine"]
LEFT = ["not quarantine"]

NEVER_WATCHED = {
    **{name: QUARANTINED for name, outcome in OUTCOMES.items() if outcome is QUARANTINED},
    **{name: LEFT for name, outcome in OUTCOMES.items() if outcome is not QUARANTINED},
    "scheduler.pt missing": REBUILT,
    "scheduler.pt from another step": REBUILT,
    "rng_state.pth cut": QUARANTINED,
    "trainer_state.json missing": NOT_REBUILT,
    "trainer_state.json cut": NOT_REBUILT,
    "wrong global_step": ["trainer_state"],
    "config.json cut": QUARANTINED,
}
"""The same where nothing was kept, and the damaged checkpoint is the newest (tests/real)."""

WORDS = {
    ("quarantine",): "quarantined",
    ("small_file",): "restored byte for byte",
    ("trainer_state",): "put right from its own history",
    ("scheduler",): "rebuilt, equal in every value",
    ("not trainer_state", "quarantine"): "quarantined: nothing later tells the state",
    ("not quarantine",): "said: nothing proves what it was",
    ("not small_file", "not quarantine"): "said: no copy is kept",
}
"""What docs/repairs.md says of an outcome."""


@pytest.fixture(scope="session")
def watched_whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of three sound checkpoints that a daemon has seen, each with its curriculum."""
    root = tmp_path_factory.mktemp("whole")
    run = root / "run"
    for last in (5, 10, 15):
        run.mkdir(exist_ok=True)
        history = [{"step": n, "performance": 0.5, "stage": 0} for n in range(1, last + 1)]
        state = {"current_stage": last // 6, "performance_history": history, "timestamp": "t"}
        write_json(run / CURRICULUM, state)
        write_checkpoint(run, last)
        once(run)
    return run


def once(run: Path) -> None:
    """Let a daemon process what is there."""
    config = run.parent / "config.yaml"
    config.write_text(f"run: {run}\nwatch: {{settle_seconds: 0.2}}\n", encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "resume_daemon", "run", "--once", "--config", str(config)],
        capture_output=True,
        timeout=50,
        check=False,
    )


def verdict_of(run: Path) -> str:
    known = fold(read_records(run / ".resume_daemon" / "ledger.jsonl"))
    return known.checkpoints[NEWEST].verdict


@pytest.fixture
def run(watched_whole: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "run"
    # Times are kept, inodes are not: as after a move to another disk.
    shutil.copytree(watched_whole, copy)
    return copy


@pytest.fixture
def unwatched(tmp_path: Path) -> Path:
    for step in (5, 10, 15):
        write_checkpoint(tmp_path / "run", step)
    return tmp_path / "run"


def damage_of(damage: Damage) -> Callable[[Path, Path], None]:
    if damage.name != "optimizer.pt bit flipped":
        return damage.apply

    def flip(checkpoint: Path, _: Path) -> None:
        path = checkpoint / "optimizer.pt"
        span = read_torch_file(path).tensors["state.0.exp_avg"].span
        assert span is not None
        content = bytearray(path.read_bytes())
        content[(span.begin + span.end) // 2] ^= 4
        path.write_bytes(content)

    return flip


def test_the_table_has_every_damage() -> None:
    assert set(OUTCOMES) == {damage.name for damage in DAMAGES}


def test_the_page_of_repairs_has_the_same_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "repairs.md").read_text(encoding="utf-8")
    for damage in DAMAGES:
        trainer = "trains on in silence" if damage.silent else "raises"
        outcomes = (OUTCOMES[damage.name], NEVER_WATCHED[damage.name])
        kept, never = (WORDS[tuple(outcome)] for outcome in outcomes)
        assert f"\n| {damage.name} | {trainer} | {kept} | {never} |\n" in page


def test_a_daemon_that_judged_the_damage_calls_what_was_repaired_sound(run: Path) -> None:
    scheduler = run / NEWEST / "scheduler.pt"
    scheduler.write_bytes(scheduler.read_bytes()[:-1])
    once(run)
    assert verdict_of(run) == "unsound"
    carry_out(proposed(run).outcomes)
    once(run)

    assert verdict_of(run) == "sound"


def test_what_was_rebuilt_is_not_held_against_what_it_replaced(run: Path) -> None:
    checkpoint = run / "checkpoint-10"
    state = checkpoint / "trainer_state.json"
    state.write_bytes(state.read_bytes() + b" \n")
    known = find_state_directory(run, None)

    assert verify_after(run, known, checkpoint.name, ()).verdict is Verdict.UNSOUND
    assert verify_after(run, known, checkpoint.name, [state.name]).verdict is Verdict.SOUND


def test_nothing_is_proposed_about_the_files_of_a_whole_run(run: Path) -> None:
    assert {each.action for each in proposed(run).outcomes} <= {"resume_env"}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_each_damage_ends_in_a_sound_checkpoint_or_is_said(damage: Damage, run: Path) -> None:
    checkpoint = run / NEWEST
    whole = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    damage_of(damage)(checkpoint, run / "checkpoint-10")

    found = proposed(run)
    assert told(found.outcomes, NEWEST)[-len(OUTCOMES[damage.name]) :] == OUTCOMES[damage.name]
    carry_out(found.outcomes)

    chosen = found.resume.chosen
    assert chosen is not None
    if OUTCOMES[damage.name] is RESTORED:
        assert (chosen.name, found.mended) == (NEWEST, frozenset({NEWEST}))
        assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == whole
        assert verified(checkpoint, before=run / "checkpoint-10").verdict is Verdict.SOUND
    else:
        assert (chosen.name, found.mended) == ("checkpoint-10", frozenset())
        assert checkpoint.exists() is (OUTCOMES[damage.name] is SAID)
    assert chosen.name in (run / ".resume_daemon" / "resume.env").read_text(encoding="utf-8")


def test_nothing_is_left_to_propose_once_it_is_done(run: Path) -> None:
    (run / NEWEST / "config.json").write_bytes(b"{")
    carry_out(proposed(run).outcomes)

    assert proposed(run).outcomes == ()


def test_the_curriculum_goes_back_with_the_checkpoint(run: Path, watched_whole: Path) -> None:
    (run / NEWEST / "model.safetensors").unlink()
    snapshots = watched_whole / ".resume_daemon" / "snapshots"
    carry_out(proposed(run).outcomes)

    kept = snapshots / "checkpoint-10" / "curriculum" / CURRICULUM
    assert (run / CURRICULUM).read_bytes() == kept.read_bytes()


def test_what_a_second_save_wrote_is_not_mixed_with_the_first(run: Path) -> None:
    checkpoint = run / NEWEST
    shutil.rmtree(checkpoint)
    write_checkpoint(run, 15, seed=99)
    (checkpoint / "rng_state.pth").unlink()
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}

    (refused,) = (
        each
        for each in proposed(run).outcomes
        if each.checkpoint == NEWEST and each.file is None and each.action == "small_file"
    )
    assert isinstance(refused, Unrepaired)
    assert "model.safetensors" in refused.sentence
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before


def test_large_files_of_a_second_save_are_read_again_before_anything_is_put_back(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resume_daemon.repair.gathering.MOST_OF_A_FILE", 50_000)
    weights = run / NEWEST / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    (run / NEWEST / "rng_state.pth").unlink()
    assert told(proposed(run).outcomes, NEWEST) == RESTORED

    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    assert "not small_file" in told(proposed(run).outcomes, NEWEST)


def test_a_kept_content_that_is_damaged_is_not_put_back(run: Path) -> None:
    content = (run / NEWEST / "rng_state.pth").read_bytes()
    (run / NEWEST / "rng_state.pth").unlink()
    for kept in (run / ".resume_daemon" / "small_files").iterdir():
        if kept.read_bytes() == content:
            kept.write_bytes(b"other")
    for other in ("checkpoint-5", "checkpoint-10"):
        (run / other / "rng_state.pth").write_bytes(b"other")

    assert told(proposed(run).outcomes, NEWEST) == SAID


def test_a_file_that_is_the_same_in_another_checkpoint_is_taken_from_there(run: Path) -> None:
    (run / NEWEST / "tokenizer.json").unlink()
    shutil.rmtree(run / ".resume_daemon" / "small_files")
    carry_out(proposed(run).outcomes)

    assert verified(run / NEWEST, before=run / "checkpoint-10").verdict is Verdict.SOUND


# Where no daemon has watched


def test_without_a_record_a_side_file_of_another_checkpoint_is_not_taken(unwatched: Path) -> None:
    (unwatched / NEWEST / "config.json").unlink()
    assert told(proposed(unwatched).outcomes, NEWEST) == ["not quarantine"]


def test_a_wrong_step_is_put_right_where_all_else_says_which_it_is(unwatched: Path) -> None:
    state = unwatched / NEWEST / "trainer_state.json"
    whole = json.loads(state.read_bytes())
    edit_state(unwatched / NEWEST, global_step=17)
    carry_out(proposed(unwatched).outcomes)

    assert json.loads(state.read_bytes()) == whole
    assert verified(unwatched / NEWEST, before=unwatched / "checkpoint-10").verdict is Verdict.SOUND


def test_the_state_of_another_step_is_not_taken_for_a_wrong_step(unwatched: Path) -> None:
    shutil.copy(unwatched / "checkpoint-10" / "trainer_state.json", unwatched / NEWEST)

    assert told(proposed(unwatched).outcomes, NEWEST) == ["not trainer_state", "quarantine"]


def test_a_trainer_state_is_rebuilt_from_the_later_one(unwatched: Path) -> None:
    checkpoint = unwatched / "checkpoint-10"
    (unwatched / NEWEST / "model.safetensors").unlink()
    (checkpoint / "trainer_state.json").write_bytes(b"{")

    found = proposed(unwatched)
    assert told(found.outcomes, "checkpoint-10") == ["trainer_state"]
    assert found.mended == {"checkpoint-10"}
    assert found.resume.chosen is not None
    assert found.resume.chosen.name == "checkpoint-10"
    carry_out(found.outcomes)
    assert verified(checkpoint, before=unwatched / "checkpoint-5").verdict is Verdict.SOUND


def test_the_newest_trainer_state_is_not_made_up(unwatched: Path) -> None:
    (unwatched / NEWEST / "trainer_state.json").write_bytes(b"{")
    assert told(proposed(unwatched).outcomes, NEWEST) == ["not trainer_state", "quarantine"]


def test_a_save_that_was_cut_off_is_not_made_to_look_whole(unwatched: Path) -> None:
    cut_off = unwatched / "checkpoint-10"
    (unwatched / NEWEST / "model.safetensors").unlink()
    for name in ("trainer_state.json", "scheduler.pt", "rng_state.pth"):
        (cut_off / name).unlink()
    (cut_off / "optimizer.pt").write_bytes((cut_off / "optimizer.pt").read_bytes()[:100])

    assert "trainer_state" not in told(proposed(unwatched).outcomes, "checkpoint-10")
    assert "not trainer_state" in told(proposed(unwatched).outcomes, "checkpoint-10")


def test_an_index_is_rebuilt_and_the_checkpoint_is_sound(unwatched: Path) -> None:
    for step in (5, 10, 15):
        shard(unwatched / f"checkpoint-{step}")
    index = unwatched / NEWEST / "model.safetensors.index.json"
    whole = index.read_text(encoding="utf-8")
    index.write_text(whole[:50], encoding="utf-8")

    found = proposed(unwatched)
    assert told(found.outcomes, NEWEST) == ["shard_index"]
    carry_out(found.outcomes)
    assert verified(unwatched / NEWEST, before=unwatched / "checkpoint-10").verdict is Verdict.SOUND


def test_an_index_without_all_of_its_shards_is_not_rebuilt(unwatched: Path) -> None:
    shard(unwatched / NEWEST)
    (unwatched / NEWEST / "model.safetensors.index.json").unlink()
    (unwatched / NEWEST / "model-00002-of-00003.safetensors").unlink()

    found = proposed(unwatched)
    assert told(found.outcomes, NEWEST) == ["not shard_index", "quarantine"]


# Moving aside


def test_a_checkpoint_is_moved_aside_when_it_is_asked_for(run: Path) -> None:
    found = proposed(run, "checkpoint-10")

    assert told(found.outcomes, "checkpoint-10") == ["quarantine"]
    carry_out(found.outcomes)
    assert (run / ".resume_daemon" / "quarantine" / "checkpoint-10" / "config.json").exists()


@pytest.fixture
def verl(tmp_path: Path) -> Path:
    for step in (5, 10):
        write_fsdp(tmp_path / "run", step)
    return tmp_path / "run"


def test_the_file_that_names_the_newest_checkpoint_names_the_one_that_is_left(verl: Path) -> None:
    shard_file = next((verl / "global_step_10" / "actor").glob("model_world_size_*"))
    shard_file.write_bytes(b"")
    assert (verl / TRACKER).read_text(encoding="utf-8") == "10"
    found = proposed(verl)

    assert told(found.outcomes, "global_step_10") == ["quarantine"]
    carry_out(found.outcomes)
    assert (verl / TRACKER).read_text(encoding="utf-8") == "5"
    assert not (verl / "global_step_10").exists()


def test_what_a_tracker_file_names_is_not_moved_where_nothing_is_left_to_name(verl: Path) -> None:
    for step in (5, 10):
        for file in (verl / f"global_step_{step}" / "actor").glob("model_world_size_*"):
            file.write_bytes(b"")

    found = proposed(verl)
    assert told(found.outcomes, "global_step_10") == ["not quarantine"]


def test_a_save_that_may_be_going_on_is_not_moved_aside(unwatched: Path) -> None:
    import time  # noqa: PLC0415 - only here is it now

    from resume_daemon.repair.proposing import propose  # noqa: PLC0415 - as above

    (unwatched / NEWEST / "trainer_state.json").unlink()
    found = propose(unwatched, None, now_ns=time.time_ns())

    assert told(found.outcomes, NEWEST)[-1] == "not quarantine"


def test_a_link_is_not_moved_aside(unwatched: Path) -> None:
    elsewhere = unwatched.parent / "elsewhere"
    (unwatched / NEWEST).rename(elsewhere)
    (unwatched / NEWEST).symlink_to(elsewhere)
    (elsewhere / "model.safetensors").write_bytes(b"")

    assert told(proposed(unwatched).outcomes, NEWEST)[-1] == "not quarantine"


@pytest.mark.parametrize("content", [b"", bytes(9), b"garbage", b"[1]"])
def test_garbage_in_every_file_is_told_and_never_raises(content: bytes, unwatched: Path) -> None:
    for path in (unwatched / NEWEST).iterdir():
        path.write_bytes(content)
    found = proposed(unwatched)

    assert any(isinstance(each, Proposal) for each in found.outcomes)
    assert found.resume.chosen is not None
    assert found.resume.chosen.name == "checkpoint-10"


def test_a_run_with_nothing_in_it_has_nothing_to_repair(tmp_path: Path) -> None:
    assert proposed(Path(tmp_path)).outcomes == ()


def test_parameters_that_do_not_fit_are_put_right_before_the_environment(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(
        "max_prompt_length: 1536  # ours\nmax_completion_length: 2561\nmax_seq_length: 4096\n",
        encoding="utf-8",
    )
    found = proposed(run)

    actions = [each.action for each in found.outcomes]
    assert actions.index("parameters") < actions.index("resume_env")
    carry_out(found.outcomes)
    lines = config.read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("  # ours")
    assert sum(int(line.split()[1]) for line in lines[:2]) <= 4096
