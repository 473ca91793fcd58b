from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.findings import Severity
from resume_daemon.parameters.adapters import adapter_of
from resume_daemon.parameters.adapters import check as check_adapter
from resume_daemon.parameters.grades import grade
from resume_daemon.parameters.segments import Segment, changes, check
from resume_daemon.report.parameters_page import PAGE, page

if TYPE_CHECKING:
    from pathlib import Path

FIRST = {
    "learning_rate": 6e-6,
    "beta": 0.04,
    "seed": 42,
    "max_completion_length": 2560,
    "lora_r": 16,
    "logging_steps": 2,
    "output_dir": "/a",
}


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("model_name_or_path", Severity.ERROR),
        ("lora_r", Severity.ERROR),
        ("lora_target_modules", Severity.ERROR),
        ("learning_rate", Severity.WARNING),
        ("beta", Severity.WARNING),
        ("max_completion_length", Severity.WARNING),
        ("seed", Severity.WARNING),
        ("dataset_path", Severity.WARNING),
        ("logging_steps", Severity.INFO),
        ("anything_of_the_users", Severity.INFO),
    ],
)
def test_a_change_is_graded_by_what_it_does_to_the_experiment(
    name: str, severity: Severity
) -> None:
    assert grade(name) is severity
    (change,) = changes({name: 1}, {name: 2})
    assert change.severity is severity


def test_each_seam_says_what_changed_by_grade() -> None:
    second = {**FIRST, "learning_rate": 1e-5, "seed": 7, "logging_steps": 1, "output_dir": "/b"}
    segments = [Segment("checkpoint-10", FIRST), Segment("checkpoint-20", second)]
    warning, info = check([*segments, Segment("checkpoint-30", second)])
    assert warning.code == "RD812"
    assert warning.message == (
        "between checkpoint-10 and checkpoint-20: learning_rate 6e-06 -> 1e-05; seed 42 -> 7"
    )
    assert info.code == "RD813"
    assert "output_dir" not in info.message


@pytest.mark.parametrize(
    ("one", "other", "severity"),
    [
        ("Qwen/Qwen3-8B", "/c/hub/models--Qwen--Qwen3-8B/snapshots/a80f5", None),
        ("/models/Qwen3-8B", "/models/Qwen3-8B/", None),
        ("Qwen/Qwen3-8B", "/models/qwen3-8b", Severity.WARNING),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-4B", Severity.ERROR),
        ("Qwen/Qwen3-8B", "/c/hub/models--Qwen--Qwen3-4B/snapshots/a80f5", Severity.ERROR),
    ],
)
def test_a_model_is_the_same_by_its_name_and_in_the_hubs_cache(
    one: str, other: str, severity: Severity | None
) -> None:
    found = list(changes({"model_name_or_path": one}, {"model_name_or_path": other}))
    assert [each.severity for each in found] == ([] if severity is None else [severity])


def test_another_rank_is_an_error() -> None:
    (finding,) = check([Segment("a", FIRST), Segment("b", {**FIRST, "lora_r": 32})])
    assert (finding.code, finding.severity) == ("RD811", Severity.ERROR)


def test_what_only_one_segment_knows_is_no_change() -> None:
    assert list(changes(FIRST, {"use_vllm": True})) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (math.nan, math.nan),
        (["q", "v"], ("q", "v")),
        (["q", "v"], {"v", "q"}),
        ({"a": [1]}, {"a": [1.0]}),
        ("6e-6", 6e-06),
        ("True", True),
        ("none", None),
        ("q_proj, v_proj", ["v_proj", "q_proj"]),
    ],
)
def test_another_way_to_write_the_same_value_is_no_change(one: Any, other: Any) -> None:
    assert list(changes({"x": one}, {"x": other})) == []


@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), (None, 0), ("2", 1), ("x", 1), ("x", {}), ([1], [1, 2])]
)
def test_another_value_is_a_change(one: Any, other: Any) -> None:
    assert len(list(changes({"x": one}, {"x": other}))) == 1


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(st.dictionaries(st.text(max_size=6), TREES, max_size=6))
def test_nothing_differs_from_itself(values: dict[str, Any]) -> None:
    assert list(changes(values, dict(values))) == []


SHAPES: dict[str, tuple[int, ...]] = {
    f"base_model.model.model.layers.{layer}.self_attn.{name}.lora_{kind}.weight": shape
    for layer in range(2)
    for name in ("q_proj", "v_proj")
    for kind, shape in (("A", (16, 64)), ("B", (64, 16)))
}


def test_the_tensors_tell_rank_and_modules() -> None:
    tensors = adapter_of(SHAPES)
    assert tensors is not None
    assert tensors.targets == ("q_proj", "v_proj")
    assert set(tensors.ranks.values()) == {16}
    assert "model.layers.0.self_attn.q_proj" in tensors.ranks


def test_tensors_of_a_whole_model_are_no_adapter() -> None:
    assert adapter_of({"model.norm.weight": (64,)}) is None


def found(**changes: Any) -> list[str]:
    tensors = adapter_of(SHAPES)
    assert tensors is not None
    wanted = {"rank": 16, "targets": ["v_proj", "q_proj"], "where": "adapter_config.json"}
    return [each.code for each in check_adapter(tensors, **{**wanted, **changes})]


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"rank": None, "targets": None}, []),
        ({"rank": 32}, ["RD814"]),
        ({"rank": 32, "patterns": True}, []),
        ({"targets": ["q_proj"]}, ["RD815"]),
        ({"targets": ["q_proj", "v_proj", "o_proj"]}, ["RD815"]),
        ({"targets": "all-linear"}, []),
        ({"targets": ["self_attn.q_proj", "model.layers.0.self_attn.v_proj", "v_proj"]}, []),
        # An end of a name is no name.
        ({"targets": ["proj"]}, ["RD815"]),
    ],
)
def test_a_configuration_that_the_tensors_contradict_is_told(
    changes: dict[str, Any], codes: list[str]
) -> None:
    assert found(**changes) == codes


def test_the_page_of_parameters_is_current(repository: Path) -> None:
    assert (repository / PAGE).read_text(encoding="utf-8") == page(), "run `make docs`"
