"""Whether the curriculum's manager and callbacks have what resuming needs. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.curriculum.modules import all_methods, base_names
from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from resume_daemon.curriculum.modules import CodeClass, CodeModule, Method
    from resume_daemon.findings import Finding

METHOD_MISSING = Code(
    "RD513",
    "curriculum-method-missing",
    Severity.WARNING,
    "The curriculum manager lacks a method",
    "Resuming needs a manager that gives the data of its stage, decides when a stage is passed, "
    "goes on to the next, and saves and loads what it knows. What is missing fails at the first "
    "call, or is passed over by code that looks whether it is there.",
    "Add it, or say under curriculum.manager_methods what it is called.",
    "the guide's curriculum repair: the methods that resuming needs",
)
METHOD_EMPTY = Code(
    "RD514",
    "curriculum-method-empty",
    Severity.WARNING,
    "A method of the curriculum does nothing",
    "It is there and only passes, or raises NotImplementedError: a load that does nothing starts "
    "the curriculum afresh on every resume, without a word.",
    "Write it.",
    "the guide's curriculum repair: it looked only whether a method is there",
)
SAVED_NOT_LOADED = Code(
    "RD515",
    "curriculum-saved-not-loaded",
    Severity.WARNING,
    "The curriculum state is saved and never loaded",
    "The code writes its state and nothing in what was read takes it up again, so that every "
    "resume starts the curriculum at its first stage with an empty history.",
    "Load the state when training begins (on_train_begin, or where the manager is made).",
    "qhy991/GRPO-Clean-2, grpo_project/curriculum/callbacks.py: curriculum_state_detailed.json is "
    "written every 50 steps and read nowhere",
)
NOT_PYTHON = Code(
    "RD516",
    "curriculum-code-unreadable",
    Severity.WARNING,
    "A file of the curriculum's code cannot be read",
    "It is not Python as this version reads it, so the trainer may not be able to import it.",
    "Correct it, or give other files with --code.",
)
NO_MANAGER = Code(
    "RD517",
    "curriculum-no-manager",
    Severity.INFO,
    "No curriculum manager was found in the code",
    "None of the classes that were read looks like one, so nothing is said of it.",
    "Give the files that define it with --code, or its methods under curriculum.manager_methods.",
)

MANAGER_METHODS = (
    "get_current_stage_dataset|get_stage_dataset|get_current_dataset|get_dataset",
    "should_advance_stage|should_advance_to_next_stage|should_advance",
    "advance_to_next_stage|advance_stage|next_stage|advance",
    "save_state|save_curriculum_state|get_curriculum_state|get_state|state_dict|save_checkpoint",
    "load_state|load_curriculum_state|set_curriculum_state|set_state|load_state_dict|restore_state",
)
"""What a manager has to have; with other names that public code gives the same, parted by ``|``."""

SAVING, LOADING = 3, 4
"""Places of the two in ``MANAGER_METHODS``."""

HOOKS = (
    "on_init_end",
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_step_begin",
    "on_substep_end",
    "on_step_end",
    "on_evaluate",
    "on_predict",
    "on_save",
    "on_log",
    "on_prediction_step",
    "on_optimizer_step",
    "on_pre_optimizer_step",
)
"""Of transformers' ``TrainerCallback``."""

_LIKE_A_MANAGER = re.compile(r"curriculum.*(manager|scheduler|sampler|controller)", re.IGNORECASE)
_SAVES = re.compile(r"_?(save|write|dump|persist|store)_?\w*(state|curriculum|progress|history)")
_LOADS = re.compile(
    r"_?(load|restore|resume|recover|read)_?(state|\w*(curriculum|progress|history)\w*)"
)
_ENOUGH = 0.5
"""A class is a manager, whatever its name, where it has more of the methods than this part."""


@dataclass(frozen=True, slots=True)
class CodeReport:
    """What the code of the curriculum is, for a person or a program.

    Attributes:
        managers: The classes that manage stages, each with where it stands and what it has.
        callbacks: Those that the trainer calls, each with its hooks.
        findings: What is wrong.
    """

    managers: tuple[ClassReport, ...] = ()
    callbacks: tuple[ClassReport, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class: ``has`` holds what was looked for and is there, ``lacks`` what is not."""

    name: str
    file: str
    line: int
    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``--json`` promises."""
        return {
            "class": self.name,
            "file": self.file,
            "line": self.line,
            "has": list(self.has),
            "lacks": list(self.lacks),
        }


def judge_code(
    modules: Sequence[CodeModule], wanted: Sequence[str] = (), *, asked_for: bool = False
) -> CodeReport:
    """Return what the curriculum's code is and what it lacks.

    Only classes that no other one is made from are judged: a base leaves to them what they do.
    Where one manager is whole, what others lack is told as info, since it is most likely the one.

    Args:
        modules: What was read.
        wanted: Methods that a manager has to have, other names for the same parted by ``|``;
            ``MANAGER_METHODS`` where there are none.
        asked_for: The user named the files, so that it is told where they hold no manager.
    """
    needs = [tuple(each.split("|")) for each in wanted or MANAGER_METHODS]
    known = {each.name: each for module in modules for each in module.classes}
    parents = {name for each in known.values() for name in base_names(each, known)}
    leaves = [each for each in known.values() if each.name not in parents and not each.abstract]
    callbacks = [each for each in leaves if _is_callback(each, known)]
    managers = [e for e in leaves if e not in callbacks and _is_manager(e, known, needs)]
    reports = [_manager_report(each, known, needs) for each in managers]
    whole = any(not each.lacks for each in reports)
    calls = frozenset(name for module in modules for name in module.calls)
    findings: list[Finding] = []
    for each, report in zip(managers, reports, strict=True):
        severity = Severity.INFO if whole and report.lacks else None
        findings += _manager_findings(each, report, all_methods(each, known), needs, severity)
    if not wanted:
        loaders = {name for name in needs[LOADING] if name in calls}
        loaders |= {name for name in calls if _LOADS.fullmatch(name)}
        findings += _unloaded(callbacks, known, needs, loaders)
    if not reports and asked_for:
        files = ", ".join(module.file for module in modules[:3]) or "none"
        findings.append(NO_MANAGER.finding(f"No class in {files} looks like a manager."))
    return CodeReport(
        tuple(reports), tuple(_callback_report(each, known) for each in callbacks), tuple(findings)
    )


def _is_manager(
    each: CodeClass, known: Mapping[str, CodeClass], needs: Sequence[Sequence[str]]
) -> bool:
    methods = all_methods(each, known)
    found = sum(any(name in methods for name in names) for names in needs)
    return found > _ENOUGH * len(needs) or (
        bool(methods) and _LIKE_A_MANAGER.search(each.name) is not None
    )


def _is_callback(each: CodeClass, known: Mapping[str, CodeClass]) -> bool:
    methods = all_methods(each, known)
    bases = base_names(each, known)
    hooks = any(name in methods for name in HOOKS)
    told = "curriculum" in each.name.lower() or any(
        "curriculum" in name.lower() for m in methods.values() for name in (m.name, *m.calls)
    )
    return told and hooks and (bool(bases) or "callback" in each.name.lower())


def _manager_report(
    each: CodeClass, known: Mapping[str, CodeClass], needs: Sequence[Sequence[str]]
) -> ClassReport:
    methods = all_methods(each, known)
    has = [next((n for n in names if n in methods), None) for names in needs]
    return ClassReport(
        each.name,
        each.file,
        each.line,
        tuple(name for name in has if name is not None),
        tuple(names[0] for names, name in zip(needs, has, strict=True) if name is None),
    )


def _callback_report(each: CodeClass, known: Mapping[str, CodeClass]) -> ClassReport:
    methods = all_methods(each, known)
    return ClassReport(each.name, each.file, each.line, tuple(n for n in HOOKS if n in methods))


def _manager_findings(
    each: CodeClass,
    report: ClassReport,
    methods: Mapping[str, Method],
    needs: Sequence[Sequence[str]],
    severity: Severity | None,
) -> Iterable[Finding]:
    where = f"{each.file} line {each.line}: {each.name}"
    others = {names[0]: names[1:] for names in needs}
    for name in report.lacks:
        also = f", nor one of the names {', '.join(others[name])}" if others[name] else ""
        yield METHOD_MISSING.finding(
            f"{where} has no {name}{also}.", file=each.file, severity=severity
        )
    for name in report.has:
        if methods[name].empty:
            line = f"{each.file} line {methods[name].line}"
            yield METHOD_EMPTY.finding(
                f"{line}: {each.name}.{name} {methods[name].empty}.", file=each.file
            )


def _unloaded(
    callbacks: Sequence[CodeClass],
    known: Mapping[str, CodeClass],
    needs: Sequence[Sequence[str]],
    loaders: Iterable[str],
) -> Iterable[Finding]:
    """Yield the callbacks that write a state which nothing loads."""
    if any(True for _ in loaders):
        return
    for each in callbacks:
        methods = all_methods(each, known)
        saves = next((name for name in methods if _SAVES.fullmatch(name)), None)
        called = {name for method in methods.values() for name in method.calls}
        saves = saves or next((name for name in needs[SAVING] if name in called), None)
        if saves is not None:
            yield SAVED_NOT_LOADED.finding(
                f"{each.file} line {each.line}: {each.name} saves the state ({saves}), and nothing "
                "in the code that was read loads one.",
                file=each.file,
            )
