from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.curriculum.paths import find, parse_path
from resume_daemon.curriculum.schemas import Schema, Unit, known_schemas, recognise
from resume_daemon.curriculum.summary import summarise
from resume_daemon.errors import UsageError

SCHEMAS = known_schemas()
ENTRY = {"step": 300, "performance": 0.5, "loss": 0.1, "stage": 4}
DOCUMENTS: list[tuple[str, str, Any, int | str | None, int | None]] = [
    (
        "grpo-clean-detailed",
        "curriculum_state_detailed.json",
        {"current_stage": 4, "performance_history": [ENTRY], "timestamp": "2025-06-15"},
        4,
        300,
    ),
    (
        "grpo-clean-sync",
        "curriculum_state.json",
        {
            "current_stage": 2,
            "stage_count": 5,
            "last_update_step": 150,
            "performance_history": [],
            "stages": [],
        },
        2,
        150,
    ),
    (
        "marin",
        "curriculum_state.json",
        {"stats": {}, "unlocked": [], "graduated": [], "current_step": 7},
        None,
        7,
    ),
    ("skyrl-position", "curriculum_state.json", {"position": 64}, None, 64),
    (
        "npp-rl",
        "curriculum_state_final.json",
        {
            "current_stage": "simple",
            "current_stage_idx": 0,
            "stage_episode_counts": {"simple": 3},
            "stage_performance": {},
        },
        0,
        None,
    ),
    (
        "elte",
        "curriculum_state.json",
        {"last_completed_iteration": 3, "last_completed_step": "post_processing"},
        3,
        None,
    ),
    ("level-index", "curriculum_state.json", {"level_idx": 1, "levels": [{"steps": 9}]}, 1, 9),
    (
        "phase",
        "curriculum_state.json",
        {"current_phase": "walk", "total_episodes": 12, "phase_history": []},
        "walk",
        12,
    ),
    ("stage-index", "curriculum_state.json", {"stage_index": 1, "history": [{}]}, 1, None),
    ("timesteps", "curriculum_state.json", {"num_timesteps": 5000, "stage": 2}, 2, 5000),
    ("generic", "curriculum_state.json", {"current_stage": 1, "current_step": 40}, 1, 40),
    ("generic", "my.json", {"stage": 1, "history": [{"step": 1}, {"step": 8}]}, 1, 8),
]


@pytest.mark.parametrize(("name", "file", "document", "stage", "step"), DOCUMENTS)
def test_a_shape_seen_in_public_code_is_recognised_and_read(
    name: str, file: str, document: Any, stage: int | str | None, step: int | None
) -> None:
    schema = recognise(document, file, SCHEMAS)
    assert schema is not None
    summary = summarise(document, schema)
    assert (schema.name, summary.stage, summary.step) == (name, stage, step)


def test_a_document_that_only_shares_the_file_name_is_not_recognised() -> None:
    document = {"current_day": 3, "completed_modules": [], "last_updated": "2025-01-01"}
    assert recognise(document, "curriculum_state.json", SCHEMAS) is None


def test_one_common_key_under_a_foreign_name_is_not_enough() -> None:
    assert recognise({"position": 5}, "dataset.json", SCHEMAS) is None


def test_a_binary_schema_goes_by_its_name_and_never_by_a_document() -> None:
    schema = recognise(None, "orchestrator/progress.pt", SCHEMAS)
    assert schema is not None
    assert schema.name == "prime-rl"
    assert recognise({"progress": 1}, "progress.pt", SCHEMAS) is None


def test_a_configured_schema_replaces_the_shipped_one_of_its_name() -> None:
    mine = Schema.from_mapping({"name": "marin", "files": "x.json", "step": "my.step"})
    schemas = known_schemas([mine])
    assert [s for s in schemas if s.name == "marin"] == [mine]
    assert len(schemas) == len(SCHEMAS)


def test_every_mistake_in_a_configured_schema_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        Schema.from_mapping(
            {"files": ["a/b.json"], "step": "a..b", "unit": "weeks", "history_window": 0, "x": 1},
            "curriculum.schemas[2]",
        )
    message = str(caught.value)
    for part in ("curriculum.schemas[2]", "name:", "a/b.json", "a..b", "weeks", "above 0", "x:"):
        assert part in message


def test_the_greatest_of_several_steps_counts_and_minus_one_is_none() -> None:
    schema = Schema("s", ("*",), step=("stats[*].step",), unit=Unit.OPTIMIZER_STEPS)
    document = {"stats": {"a": {"step": -1}, "b": {"step": 20}, "c": {"step": 10.0}}}
    assert summarise(document, schema).step == 20
    assert summarise({"stats": {"a": {"step": True}}}, schema).step is None


@pytest.mark.parametrize(
    ("history", "in_order", "finite"),
    [
        ([1, 2, 2, 3], True, True),
        ([1, 3, 2], False, True),
        ([1, float("nan")], True, False),
    ],
)
def test_a_history_that_goes_back_or_is_not_finite_is_seen(
    history: list[float], in_order: bool, finite: bool
) -> None:
    document = {"current_stage": 1, "history": [{"step": step} for step in history]}
    found = summarise(document, recognise(document, "curriculum_state.json", SCHEMAS)).history
    assert found is not None
    assert (found.count, found.in_order, found.finite) == (len(history), in_order, finite)


def test_a_performance_that_is_not_finite_is_seen() -> None:
    document = json.loads('{"current_stage": 1, "history": [{"step": 2, "performance": NaN}]}')
    found = summarise(document, recognise(document, "curriculum_state.json", SCHEMAS)).history
    assert found is not None
    assert not found.finite


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["current_stage", "history", "step", "levels", "position", "stats", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_document_is_read_without_an_error(document: Any) -> None:
    for schema in SCHEMAS:
        summarise(document, schema)
    recognise(document, "curriculum_state.json", SCHEMAS)


@pytest.mark.parametrize("text", ["", "a.", "a[", "a[x]", "[0]", ".a", "a[0]b"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        parse_path(text)


def test_a_path_goes_through_lists_and_mappings() -> None:
    document = {"a": [{"b": 1}, {"b": 2}]}
    assert find(document, parse_path("a[-1].b")) == [2]
    assert find(document, parse_path("a[*].b")) == [1, 2]
    assert find(document, parse_path("a[5].b")) == []
    assert find(document, parse_path("a.b")) == []
