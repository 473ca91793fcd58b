"""Every finding code there is, gathered from the modules that report them."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from resume_daemon.findings import Code

REPORTERS = (
    "resume_daemon.checks.presence",
    "resume_daemon.checks.huggingface",
    "resume_daemon.checks.deepspeed",
    "resume_daemon.checks.companions",
    "resume_daemon.checks.readable",
    "resume_daemon.checks.weights",
    "resume_daemon.checks.torch_files",
    "resume_daemon.checks.array_store",
    "resume_daemon.checks.agreement",
    "resume_daemon.checks.steps",
    "resume_daemon.checks.lightning",
    "resume_daemon.checks.ranks",
    "resume_daemon.checks.continuity",
    "resume_daemon.checks.old_files",
    "resume_daemon.checks.values",
    "resume_daemon.checks.stated_digests",
    "resume_daemon.checks.zeros",
    "resume_daemon.checks.moments",
    "resume_daemon.checks.movement",
    "resume_daemon.checks.stillness",
    "resume_daemon.checks.integrity",
    "resume_daemon.curriculum.codes",
    "resume_daemon.curriculum.stages",
    "resume_daemon.curriculum.module_checks",
    "resume_daemon.curriculum.traces",
    "resume_daemon.drift",
    "resume_daemon.health",
    "resume_daemon.doctor.environment",
    "resume_daemon.doctor.dependencies",
    "resume_daemon.doctor.package",
    "resume_daemon.doctor.tracking",
    "resume_daemon.doctor.checkpoints",
    "resume_daemon.doctor.curriculum",
    "resume_daemon.doctor.disk",
    "resume_daemon.doctor.permissions",
    "resume_daemon.doctor.clock",
    "resume_daemon.doctor.limits",
    "resume_daemon.doctor.examine",
    "resume_daemon.parameters.lengths",
    "resume_daemon.parameters.agreement",
    "resume_daemon.parameters.batches",
    "resume_daemon.parameters.refusals",
    "resume_daemon.parameters.rejected",
    "resume_daemon.parameters.segments",
    "resume_daemon.parameters.adapters",
    "resume_daemon.parameters.checks",
    "resume_daemon.backup.codes",
)
"""Modules that declare codes as module constants; a test finds those that are not listed here."""

THEMES = {
    "1": "Files of a checkpoint",
    "2": "Weights",
    "3": "Torch files and pickles",
    "4": "Agreement of the parts",
    "5": "Curriculum",
    "6": "Trackers and drift",
    "7": "The run and the daemon",
    "8": "Parameters, the environment, repairs",
}


@cache
def codes() -> dict[str, Code]:
    """Return every code by id, sorted.

    Raises:
        RuntimeError: Two codes share an id or a name; the test of the catalog would have told.
    """
    found: dict[str, Code] = {}
    names: dict[str, Code] = {}
    for reporter in REPORTERS:
        for value in vars(import_module(reporter)).values():
            # A module may import another's codes; what it declares itself is told by the object.
            if isinstance(value, Code) and not (
                found.setdefault(value.id, value) is names.setdefault(value.name, value) is value
            ):
                raise RuntimeError(f"{value.id} {value.name} is declared twice")
    return dict(sorted(found.items()))


def code(id_or_name: str) -> Code | None:
    """Return the code of an id (any case) or a name, or None."""
    wanted = id_or_name.strip()
    by_id = codes().get(wanted.upper())
    return by_id or next((c for c in codes().values() if c.name == wanted.lower()), None)
