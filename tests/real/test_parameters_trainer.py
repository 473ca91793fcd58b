"""What is said of parameters, held against what the real trainer takes and refuses."""

from __future__ import annotations

import dataclasses
import warnings
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch", reason="the trainer is asked what it takes (make test-real)")
pytest.importorskip("peft", reason="an adapter is saved by peft (make test-real)")
pytest.importorskip("trl", reason="the trainer is TRL's GRPOTrainer (make test-real)")

import peft
import torch
import trl

from resume_daemon.findings import Severity
from resume_daemon.formats.safetensors import read_header
from resume_daemon.parameters import adapters, batches
from resume_daemon.parameters.checks import check
from resume_daemon.parameters.release import release_of
from resume_daemon.parameters.removals import ADDITIONS, REMOVALS
from resume_daemon.parameters.survey import Request, survey
from resume_daemon.state_directory import find_state_directory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.conftest import WatchedRun

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

INSTALLED = {name: release_of(version(name)) for name in ("trl", "transformers")}
FIELDS = {field.name for field in dataclasses.fields(trl.GRPOConfig)}


def refusal(output: Path, arguments: dict[str, Any]) -> str | None:
    """Return why the real trainer does not take arguments; None where it does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trl.GRPOConfig(
                output_dir=str(output), use_cpu=True, bf16=False, report_to=[], **arguments
            )
        except (TypeError, ValueError) as error:
            return str(error)
    return None


def test_counts_are_refused_here_when_the_trainer_refuses_them(tmp_path: Path) -> None:
    wrong = []
    refused = 0
    for groups, each, steps, whole, passes in product(
        (1, 2, 3, 8), (1, 4, 6), (1, 2), (None, 4, 12), (None, 2)
    ):
        values: dict[str, Any] = {
            "num_generations": groups,
            "per_device_train_batch_size": each,
            "gradient_accumulation_steps": steps,
            "generation_batch_size": whole,
            "steps_per_generation": passes,
        }
        judged = batches.Batches(**values, world_size=1, trl=INSTALLED["trl"])
        found = [each for each in batches.check(judged) if each.severity is Severity.ERROR]
        reason = refusal(tmp_path, values)
        refused += reason is not None
        if bool(found) is not (reason is not None):
            wrong.append((values, reason, found))
    assert wrong == []
    assert refused > 20


@pytest.mark.parametrize(("each", "groups"), [(8, None), (4, None), (4, 2), (6, 4)])
def test_counts_of_an_evaluation_are_refused_here_when_the_trainer_refuses_them(
    tmp_path: Path, each: int, groups: int | None
) -> None:
    values: dict[str, Any] = {
        "num_generations": 8,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": each,
        "num_generations_eval": groups,
    }
    judged = batches.Batches(**values, evaluates=True, world_size=1, trl=INSTALLED["trl"])
    reason = refusal(tmp_path, {**values, "eval_strategy": "steps", "eval_steps": 5})
    assert bool(list(batches.check(judged))) is (reason is not None), reason


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.name)
def test_the_installed_trainer_refuses_what_it_is_said_to_refuse(
    tmp_path: Path, removal: Any
) -> None:
    present = INSTALLED[removal.package]
    assert present is not None
    gone = present >= removal.release
    assert (removal.name in FIELDS) is not gone
    if gone:
        reason = refusal(tmp_path, {removal.name: 1})
        assert reason is not None
        assert "unexpected keyword argument" in reason


def test_the_installed_trainer_takes_what_is_said_to_have_come() -> None:
    assert INSTALLED["trl"] is not None
    came = {name for name, release in ADDITIONS.items() if release <= INSTALLED["trl"]}
    assert came - FIELDS == set()


def test_a_batch_size_that_finds_itself_is_refused(tmp_path: Path) -> None:
    assert "auto_find_batch_size" in str(refusal(tmp_path, {"auto_find_batch_size": True}))


@pytest.mark.parametrize(
    ("options", "rank", "targets"),
    [
        ({"target_modules": ["q_proj", "v_proj"]}, 4, ("q_proj", "v_proj")),
        ({"target_modules": ["q_proj", "embed"], "use_dora": False}, 8, ("embed", "q_proj")),
        ({"target_modules": ["q_proj"], "rank_pattern": {"q_proj": 2}}, 4, ("q_proj",)),
        ({"target_modules": ["q_proj"], "use_dora": True}, 4, ("q_proj",)),
        ({"target_modules": ["conv"]}, 4, ("conv",)),
    ],
)
def test_the_tensors_of_a_real_adapter_tell_its_rank_and_modules(
    tmp_path: Path, options: dict[str, Any], rank: int, targets: tuple[str, ...]
) -> None:
    class Model(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(10, 16)
            self.q_proj = torch.nn.Linear(16, 16)
            self.v_proj = torch.nn.Linear(16, 16)
            self.conv = torch.nn.Conv2d(3, 8, 3)

    config = peft.LoraConfig(r=rank, **options)
    peft.get_peft_model(Model(), config).save_pretrained(tmp_path)
    header = read_header(tmp_path / "adapter_model.safetensors")
    tensors = adapters.adapter_of({each.name: each.shape for each in header.tensors})
    assert tensors is not None
    assert tensors.targets == targets
    pattern = options.get("rank_pattern")
    assert set(tensors.ranks.values()) == ({2} if pattern else {rank})
    right = adapters.check(
        tensors,
        rank=rank,
        targets=list(options["target_modules"]),
        where="here",
        patterns=bool(pattern),
    )
    assert list(right) == []


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_nothing_is_wrong_with_the_parameters_of_a_real_run(
    request: pytest.FixtureRequest, kind: str
) -> None:
    healthy: WatchedRun = request.getfixturevalue(f"healthy_{kind}")
    facts = survey(healthy.run, find_state_directory(healthy.run, None), Request(), {})
    assert facts.checkpoint is not None
    assert "num_generations" in facts.parameters
    assert [each for each in check(facts) if each.severity is not Severity.INFO] == []
    if kind == "lora":
        tensors = adapters.adapter_of(facts.checkpoint.shapes)
        rank = facts.trained_with("lora_r")
        assert tensors is not None
        assert rank is not None
        assert set(tensors.ranks.values()) == {rank.value}
