"""The parameters of a run side by side: a table for people, and the document for ``--json``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from resume_daemon.parameters.compare import same
from resume_daemon.parameters.names import KNOWN
from resume_daemon.parameters.values import SourceKind
from resume_daemon.report.console import narrow_table
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from resume_daemon.findings import Finding
    from resume_daemon.parameters.facts import Facts, Parameter
    from resume_daemon.parameters.values import Setting

_SHOWN: Final = KNOWN | {
    "lora_dropout",
    "lora_target_modules",
    "max_position_embeddings",
    "script_max_completion_length",
    "script_max_prompt_length",
    "length_allocation_strategy",
    "steps_per_generation",
    "generation_batch_size",
    "use_vllm",
}
"""What is worth a line; a trainer's arguments alone have 150 more."""

_LONGEST: Final = 28


def chosen_rows(facts: Facts) -> list[Parameter]:
    """Return the parameters worth showing: those that decide most, and those that differ."""
    return [each for each in facts.parameters.values() if each.differs or each.name in _SHOWN]


def parameter_table(parameters: Sequence[Parameter]) -> Table:
    """Return the table: parameter, next start, trained with, and where both stand."""
    table = narrow_table()
    table.add_column("parameter", no_wrap=True, overflow="fold")
    table.add_column("next start", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("trained with", overflow="fold")
    table.add_column("where", overflow="fold")
    for each in parameters:
        style = "bold red" if each.differs else ""
        table.add_row(
            plain(each.name),
            Text(_value(each.next_start), style=style),
            Text("!=" if each.differs else "", style=style),
            Text(_value(each.trained_with), style=style),
            plain(_where(each)),
        )
    return table


def _value(setting: Setting | None) -> str:
    if setting is None:
        return "-"
    value = sorted(setting.value) if isinstance(setting.value, frozenset) else setting.value
    text = value if isinstance(value, str) else repr(value)
    text = plain(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...")
    return text if setting.certain else f"{text} ?"


def _where(parameter: Parameter) -> str:
    counts = [each for each in (parameter.next_start, parameter.trained_with) if each is not None]
    others = [
        f"not {_value(each)} ({place_of(each)})"
        for each in parameter.settings
        if each.certain and not _is_said(each, counts)
    ]
    said = "; ".join(dict.fromkeys([*map(place_of, counts), *others]))
    if parameter.differs and parameter.restored:
        said += "; the checkpoint's counts when it resumes"
    return said


def _is_said(setting: Setting, counts: Sequence[Setting]) -> bool:
    """Return whether one that counts says the same, so that this one is worth no words."""
    return any(same(setting.value, each.value) for each in counts)


def place_of(setting: Setting) -> str:
    """Return where a setting stands, for a table: ``train.yaml:3``."""
    source = setting.source
    # Which checkpoint it is stands above the table, and where the files are below it.
    named = source.path is not None and source.kind is not SourceKind.TRACKER
    label = source.path.name if named and source.path is not None else source.label
    return label + ("" if setting.line is None else f":{setting.line}")


def files_elsewhere(facts: Facts) -> list[str]:
    """Return the files that say something and do not lie in the run, each once."""
    paths = (each.source.path for each in facts.settings)
    return sorted({str(p) for p in paths if p is not None and not p.is_relative_to(facts.run)})


def as_json(facts: Facts, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the document that ``params --json`` promises; it only grows."""
    checkpoint = facts.checkpoint
    return {
        "schema": 1,
        "run": str(facts.run),
        "checkpoint": None if checkpoint is None else checkpoint.name,
        "step": None if checkpoint is None else checkpoint.step,
        "parameters": [_parameter_json(each) for each in facts.parameters.values()],
        "sources": _sources(facts),
        "processes": facts.processes,
        "versions": dict(sorted(facts.versions.items())),
        "findings": [finding.as_json() for finding in findings],
        "unread": [
            {"path": None if each.path is None else str(each.path), "reason": each.reason}
            for each in facts.unread
        ],
    }


def _parameter_json(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "next_start": _setting_json(parameter.next_start),
        "trained_with": _setting_json(parameter.trained_with),
        "differs": parameter.differs,
        "restored": parameter.restored,
        "values": [_setting_json(each) for each in parameter.settings],
    }


def _setting_json(setting: Setting | None) -> dict[str, Any] | None:
    if setting is None:
        return None
    path = setting.source.path
    return {
        "value": _json_value(setting.value),
        "source": setting.source.label,
        "kind": setting.source.kind.value,
        "path": None if path is None else str(path),
        "line": setting.line,
        "scope": setting.scope,
        "written_as": setting.name,
        "certain": setting.certain,
    }


def _sources(facts: Facts) -> list[dict[str, Any]]:
    kinds = list(SourceKind)
    found = {each.source for each in facts.settings}
    order = sorted(found, key=lambda source: (kinds.index(source.kind), source.label))
    return [
        {
            "kind": source.kind.value,
            "source": source.label,
            "path": None if source.path is None else str(source.path),
        }
        for source in order
    ]


def _json_value(value: Any) -> Any:
    """Return a value that JSON has: what is not finite, or of another kind, becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, frozenset):
        value = sorted(value)
    if isinstance(value, (list, tuple)):
        return [_json_value(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _json_value(each) for name, each in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
