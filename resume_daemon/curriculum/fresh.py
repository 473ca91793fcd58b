"""A fresh curriculum state at a checkpoint's step, with the stages that can be found. Pure."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from typing import TYPE_CHECKING, Any

import yaml

from resume_daemon.curriculum.stages import stage_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from resume_daemon.curriculum.schemas import Schema

_FEWEST = 2


@dataclass(frozen=True, slots=True)
class FoundStages:
    """Definitions of stages, and where they were found, for a person."""

    definitions: tuple[Any, ...]
    label: str


@cache
def shipped_stages() -> FoundStages:
    """Return the four stages that are taken where nothing else defines any."""
    text = (package_files("resume_daemon.curriculum") / "stages.yaml").read_text("utf-8")
    return FoundStages(tuple(yaml.safe_load(text)), "the four that resume-daemon ships")


def stages_in_code(tree: ast.Module, label: str) -> Iterator[FoundStages]:
    """Yield lists of stages that stand in code as literals; what is computed is left out.

    A list of mappings, or of calls of one class with ``Stage`` in its name. Nothing is run.
    """
    for node in ast.walk(tree):
        if not isinstance(node, (ast.List, ast.Tuple)) or len(node.elts) < _FEWEST:
            continue
        stages = [_literal(each) for each in node.elts]
        found = [stage for stage in stages if stage is not None and "name" in stage]
        if len(found) == len(stages) and not any(stage_fault(s, (), found) for s in found):
            yield FoundStages(tuple(found), f"{label} line {node.lineno}")


def fresh_state(
    schema: Schema, *, stage: int, step: int, stages: Sequence[Any], time: str, checkpoint: str
) -> bytes:
    """Return the content of a fresh state.

    Args:
        schema: Its shape, which says what a fresh one is.
        stage: The stage to begin with.
        step: The checkpoint's step.
        stages: Definitions of the stages, for shapes that hold them.
        time: Now, as ISO 8601 has it.
        checkpoint: Path of the checkpoint.

    Raises:
        ValueError: The schema does not say what a fresh state is.
    """
    if schema.fresh is None:
        raise ValueError(f"no fresh state of the shape {schema.name} is known")
    values = {
        "$stage": stage,
        "$step": step,
        "$stages": list(stages),
        "$stage_count": len(stages),
        "$time": time,
        "$checkpoint": checkpoint,
    }
    return encoded(_filled(schema.fresh, values))


def encoded(document: Any) -> bytes:
    """Return a state as trainers write it: JSON, indented by two."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode()


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    return values.get(value, value) if isinstance(value, str) else value


def _literal(node: ast.expr) -> dict[str, Any] | None:
    """Return a stage that stands in code as a literal, or None."""
    try:
        if isinstance(node, ast.Call) and not node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            called = name.id if isinstance(name, ast.Name) else name
            if not isinstance(called, str) or "stage" not in called.lower():
                return None
            if any(keyword.arg is None for keyword in node.keywords):
                return None
            pairs = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
            return _plain(pairs)
        if isinstance(node, ast.Dict):
            return _plain(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return None


def _plain(value: Any) -> dict[str, Any] | None:
    """Return a mapping as JSON has it, tuples as lists; None where JSON has no such thing."""
    try:
        plain = json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return None
    return plain if isinstance(plain, dict) else None
