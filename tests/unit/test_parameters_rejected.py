from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resume_daemon.findings import Severity
from resume_daemon.parameters.rejected import check
from resume_daemon.parameters.removals import ADDITIONS, REMOVALS
from resume_daemon.parameters.values import Setting, Source, SourceKind

if TYPE_CHECKING:
    from resume_daemon.parameters.release import Release

CODE = Source(SourceKind.CODE, Path("/run/train.py"), "train.py")
LINE = Source(SourceKind.COMMAND_LINE, Path("/run/train.sh"), "train.sh")
CALL = Setting("max_prompt_length", 1536, CODE, line=4, scope="GRPOConfig")
FLAG = Setting("max_prompt_length", 1536, LINE, line=4)
NONE: frozenset[str] = frozenset()


def versions(trl: Release | None = None, transformers: Release | None = None) -> dict[str, Release]:
    known = {"trl": trl, "transformers": transformers}
    return {name: release for name, release in known.items() if release is not None}


def test_a_prompt_length_is_taken_before_trl_0_28_and_refused_from_there_on() -> None:
    assert list(check([CALL], NONE, versions(trl=(0, 27, 2)))) == []
    (finding,) = check([CALL], NONE, versions(trl=(0, 28, 0)))
    assert (finding.code, finding.severity) == ("RD809", Severity.ERROR)
    assert "gone since 0.28" in finding.message
    assert finding.hint == "Cut or filter long prompts in the dataset."


def test_where_the_release_is_not_known_it_is_only_said() -> None:
    (finding,) = check([CALL], NONE, {})
    assert (finding.code, finding.severity) == ("RD810", Severity.INFO)


def test_a_flag_that_the_script_may_take_itself_is_doubtful() -> None:
    (finding,) = check([FLAG], NONE, versions(trl=(1, 16, 0)))
    assert finding.severity is Severity.WARNING
    assert "unless the script takes it itself" in finding.message


def test_a_flag_that_the_scripts_own_class_declares_is_its_own() -> None:
    own = frozenset({"max_prompt_length"})
    assert list(check([FLAG], own, versions(trl=(1, 16, 0)))) == []
    assert len(list(check([CALL], own, versions(trl=(1, 16, 0))))) == 1


@pytest.mark.parametrize("kind", [SourceKind.CHECKPOINT, SourceKind.TRACKER])
def test_what_a_checkpoint_remembers_is_not_given_to_the_next_start(kind: SourceKind) -> None:
    remembered = Setting("max_prompt_length", 1536, Source(kind, None, "there"))
    assert list(check([remembered], NONE, versions(trl=(1, 16, 0)))) == []


def test_the_same_argument_in_the_same_place_is_said_once() -> None:
    assert len(list(check([FLAG, FLAG], NONE, versions(trl=(1, 16, 0))))) == 1


@pytest.mark.parametrize(
    ("name", "kept", "gone"),
    [
        ("evaluation_strategy", (4, 50, 3), (4, 51, 0)),
        ("no_cuda", (4, 57, 6), (5, 0, 0)),
        ("overwrite_output_dir", (4, 57, 6), (5, 0, 0)),
        ("group_by_length", (5, 1, 0), (5, 2, 0)),
        ("warmup_ratio", (5, 14, 0), (5, 15, 0)),
    ],
)
def test_arguments_of_transformers_are_refused_from_the_release_that_removed_them(
    name: str, kept: Release, gone: Release
) -> None:
    setting = Setting(name, 1, CODE, scope="TrainingArguments")
    assert list(check([setting], NONE, versions(transformers=kept))) == []
    (finding,) = check([setting], NONE, versions(transformers=gone))
    assert finding.code == "RD809"


def test_an_argument_that_is_too_new_for_an_old_trainer_is_refused() -> None:
    setting = Setting("vllm_max_model_length", 4096, CODE, scope="GRPOConfig")
    (finding,) = check([setting], NONE, versions(trl=(0, 25, 1)))
    assert "it came with 0.26" in finding.message
    assert list(check([setting], NONE, versions(trl=(0, 26, 0)))) == []


def test_a_batch_size_that_finds_itself_is_refused_for_grpo() -> None:
    setting = Setting("auto_find_batch_size", True, CODE, scope="GRPOConfig")
    off = Setting("auto_find_batch_size", False, CODE, scope="GRPOConfig")
    assert len(list(check([setting], NONE, versions(trl=(1, 9, 0))))) == 1
    assert list(check([setting], NONE, versions(trl=(1, 8, 0)))) == []
    assert list(check([off], NONE, versions(trl=(1, 9, 0)))) == []


def test_no_argument_is_both_gone_and_new() -> None:
    names = [each.name for each in REMOVALS]
    assert len(set(names)) == len(names)
    assert not set(names) & set(ADDITIONS)
