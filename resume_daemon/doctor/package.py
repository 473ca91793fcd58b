"""Whether a package of Python code is whole: an ``__init__.py``, and all that its modules import.

Pure: modules are values that ``package_files`` read, and nothing of them is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.findings import Finding

NO_INIT = Code(
    "RD865",
    "package-without-init",
    Severity.WARNING,
    "A package has no __init__.py",
    "Python takes the directory for a namespace package: what its __init__.py offered is not "
    "there, and another directory of the same name earlier on the path hides it.",
    "Restore the file, from version control or from another copy of the code.",
    "Python reference, the import system: namespace packages",
)
MODULE_MISSING = Code(
    "RD866",
    "module-missing",
    Severity.ERROR,
    "A module of the code imports one that is not there",
    "The training ends with a ModuleNotFoundError at its start, or where a function imports only "
    "when it is called, in the middle.",
    "Restore the file, from version control or from another copy of the code.",
)
NAME_MISSING = Code(
    "RD867",
    "import-not-found",
    Severity.ERROR,
    "A module of the code imports a name that the other module does not have",
    "The training ends with an ImportError at its start, or where a function imports only when it "
    "is called, in the middle.",
    "Bring both files to the same version of the code.",
)
NOT_READ = Code(
    "RD868",
    "code-not-python",
    Severity.ERROR,
    "A file of the code cannot be read as Python",
    "It is cut short, damaged, or holds a syntax error: the training ends when it is imported.",
    "Restore the file, from version control or from another copy of the code.",
)


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module of the same code.

    Attributes:
        line: Where it stands, from 1.
        module: What it names, in full; an empty string where it leads above the topmost package.
        names: What is taken out of it; empty for ``import module``, ``*`` for everything.
        late: Whether it stands in a function, so that it is made only when that is called.
        optional: Whether its failure is caught.
    """

    line: int
    module: str
    names: tuple[str, ...] = ()
    late: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the code.

    Attributes:
        name: In full, with the packages that it lies in.
        file: As it is named to the user.
        imports: Of modules of the same code.
        defines: Names at its top; None where that cannot be told without running it.
        problem: Why it could not be read, or an empty string.
    """

    name: str
    file: str
    imports: tuple[Import, ...] = ()
    defines: frozenset[str] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """The code that was looked at.

    Attributes:
        modules: By name.
        present: Modules and packages that are there, those of ``modules`` included.
        without_init: Directories of modules that have no ``__init__.py``.
        left_out: Files that were not read, since there are too many.
        newer: Whether the trainer's Python is newer than the one that reads this.
    """

    modules: Mapping[str, Module]
    present: frozenset[str]
    without_init: tuple[str, ...] = ()
    left_out: int = 0
    newer: bool = False


def check(facts: PackageFacts) -> Iterator[Finding]:
    """Yield what is missing."""
    for directory in facts.without_init:
        yield NO_INIT.finding(f"{directory} has no __init__.py.", file=directory)
    for module in facts.modules.values():
        if module.problem:
            doubt = ", as the Python of this program reads it" if facts.newer else ""
            yield NOT_READ.finding(
                f"{module.file}: {module.problem}{doubt}.",
                file=module.file,
                severity=Severity.WARNING if facts.newer else None,
            )
        for each in module.imports:
            if not each.optional:
                yield from _import(facts, module, each)


def _import(facts: PackageFacts, module: Module, found: Import) -> Iterator[Finding]:
    severity = Severity.WARNING if found.late else None
    where = f"{module.file} line {found.line}"
    if not found.module:
        yield MODULE_MISSING.finding(
            f"{where} imports from above the topmost package.", file=module.file, severity=severity
        )
        return
    if found.module not in facts.present:
        yield MODULE_MISSING.finding(
            f"{where} imports {found.module}, which is not there.",
            file=module.file,
            severity=severity,
        )
        return
    for name in found.names:
        if _has(facts, found.module, name) is False:
            yield NAME_MISSING.finding(
                f"{where} imports {name} from {found.module}, which does not have it.",
                file=module.file,
                severity=severity,
            )


def _has(facts: PackageFacts, module: str, name: str) -> bool | None:
    """Return whether a module has a name; None where that cannot be told."""
    if name == "*" or f"{module}.{name}" in facts.present:
        return True
    names = _names(facts, module, set())
    return None if names is None else name in names


def _names(facts: PackageFacts, module: str, seen: set[str]) -> frozenset[str] | None:
    """Return the names of a module with those that it takes wholesale from others of the code."""
    found = facts.modules.get(module)
    if found is None or found.defines is None:
        return None
    seen.add(module)
    names = found.defines
    for each in found.imports:
        if each.names == ("*",) and not each.late and each.module not in seen:
            more = _names(facts, each.module, seen)
            if more is None:
                return None
            names |= more
    return names


def summary(facts: PackageFacts) -> str:
    """Return what was seen, in a sentence."""
    count = len(facts.modules)
    beyond = f"; {facts.left_out} files beyond that were not read" if facts.left_out else ""
    return f"{count} module{'' if count == 1 else 's'} read, none of them run{beyond}"
