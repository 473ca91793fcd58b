"""A diagnosis of the curriculum, in lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resume_daemon.curriculum.state import StateVersion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.curriculum.diagnosis import Diagnosis


def diagnosis_lines(found: Diagnosis) -> Iterator[str]:
    """Yield what was looked at; the findings follow on their own."""
    for read in found.states:
        if isinstance(read, StateVersion):
            yield f"{read.file}  {_state(read, found.stages(read))}"
        else:
            yield f"{read.file}  cannot be read"
    if not found.states and not found.earlier:
        yield "The run has no curriculum state, which is fine where it has no curriculum."
    elif not found.states:
        files = ", ".join(sorted({each.file for each in found.earlier}))
        yield f"The run has no curriculum state any more; versions of {files} are kept."
    if found.checkpoint is not None and (found.states or found.earlier):
        at = found.checkpoint
        yield f"compared with {at.name}, step {at.step}; {_traces(at.traces)}"
    if found.earlier:
        yield f"{len(found.earlier)} versions are kept"
    for kind, reports in (
        ("manager", found.report.managers),
        ("callback", found.report.callbacks),
    ):
        for each in reports:
            has = ", ".join(each.has) or "none of the methods that were looked for"
            yield f"{kind} {each.name} ({each.file} line {each.line}): {has}"
    if found.states and not found.code.modules:
        yield "The manager's code was not found; --code names it."
    if found.code.left_out:
        yield f"{found.code.left_out} more Python files were not read; name fewer with --code."


def _state(version: StateVersion, count: int | None) -> str:
    of = f" of {count}" if count is not None else ""
    parts = [f"stage {version.stage}{of}" if version.stage is not None else "no stage"]
    parts += [f"step {version.step}"] if version.step is not None else []
    if (history := version.history) is not None:
        entries = "1 entry" if history.count == 1 else f"{history.count} entries"
        steps = (
            f" of steps {history.first_step} to {history.last_step}"
            if history.first_step is not None
            else ""
        )
        parts.append(entries + steps)
    shape = version.schema or ("an unknown shape" if version.valid_json else "not parsed")
    return f"{', '.join(parts)} ({shape})"


def _traces(traces: Any) -> str:
    if not traces.keys:
        return "its log says nothing of the curriculum"
    return f"its log has {', '.join(traces.keys[:5])}"
