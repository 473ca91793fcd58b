"""Reading a package of Python code into the values that ``package`` judges."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.doctor.package import Import, Module, PackageFacts
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.formats.python_source import read_source
from resume_daemon.source_tree import python_files

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILES = 500
"""Files that are read."""

_MAX_DEPTH = 8
_MAX_STATEMENTS = 200_000
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_CAUGHT = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


def package_facts(place: Path, *, newer: bool = False) -> PackageFacts:
    """Return what there is of a package, a directory of modules, or one module.

    Args:
        place: What the user names.
        newer: Whether the trainer's Python is newer than this one.

    Raises:
        UsageError: It is not there, or holds no Python.
    """
    if not os.path.lexists(place):
        raise UsageError("read the code in", place, "it is not there", hint="Name a directory.")
    root = Path(os.path.abspath(place))  # noqa: PTH100 - links are kept as they were named
    files = list(python_files(root, most_depth=_MAX_DEPTH)) if root.is_dir() else [root]
    if not files:
        raise UsageError("read the code in", place, "there is no Python file in it")
    top = _top(root if root.is_dir() else root.parent)
    reader = _Reader(root, top)
    modules = {each.name: each for each in map(reader.module, files[:MAX_FILES])}
    wanted = {each.module for module in modules.values() for each in module.imports}
    wanted |= {
        f"{each.module}.{name}"
        for module in modules.values()
        for each in module.imports
        for name in each.names
    }
    present = frozenset(modules) | {name for name in wanted if reader.is_there(name)}
    return PackageFacts(
        modules=modules,
        present=present,
        without_init=tuple(_without_init(root, files)),
        left_out=max(0, len(files) - MAX_FILES),
        newer=newer,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads modules of ``root``; names begin at ``top``, the directory above the first package."""

    root: Path
    top: Path

    def module(self, path: Path) -> Module:
        name = self._name(path)
        file = str(path.relative_to(self.root.parent))
        try:
            tree = read_source(path)
        except ResumeDaemonError as error:
            return Module(name, file, problem=error.reason)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        imports = tuple(
            found
            for node, late, optional in _imports(tree)
            for found in self._found(node, package, late=late, optional=optional)
        )
        return Module(name, file, imports, _defines(tree))

    def is_there(self, name: str) -> bool:
        """Return whether a module or package of this name lies below the top."""
        place = self.top.joinpath(*name.split("."))
        if os.path.isdir(place):  # noqa: PTH112 - that of Path may raise
            return True
        folder, _, stem = str(place).rpartition("/")
        endings = (".py", ".so", ".pyd", ".pyc", ".pyi")
        try:
            return any(
                entry.partition(".")[0] == stem and entry.endswith(endings)
                for entry in os.listdir(folder)  # noqa: PTH208 - names alone are wanted
            )
        except OSError:
            return False

    def _name(self, path: Path) -> str:
        parts = list(path.relative_to(self.top).with_suffix("").parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _found(
        self, node: ast.Import | ast.ImportFrom, package: str, *, late: bool, optional: bool
    ) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for each in node.names:
                if self._is_own(each.name):
                    yield Import(node.lineno, each.name, (), late, optional)
            return
        names = tuple(each.name for each in node.names)
        if not node.level:
            module = node.module or ""
            if self._is_own(module):
                yield Import(node.lineno, module, names, late, optional)
            return
        parts = package.split(".") if package else []
        if node.level > len(parts):
            yield Import(node.lineno, "", names, late, optional)
            return
        kept = parts[: len(parts) - node.level + 1]
        module = ".".join([*kept, *(node.module.split(".") if node.module else [])])
        yield Import(node.lineno, module, names, late, optional)

    def _is_own(self, module: str) -> bool:
        """Return whether an absolute import means this code: it begins with its first package."""
        first = module.partition(".")[0]
        own = self.root.relative_to(self.top).parts
        if own and (self.top / own[0]).is_dir():
            return first == own[0]
        # Modules without a package import each other by their own names alone.
        return bool(first) and (
            (self.top / f"{first}.py").is_file() or (self.top / first / "__init__.py").is_file()
        )


def _top(directory: Path) -> Path:
    """Return the directory that the topmost package around (or at) a directory lies in."""
    found = directory
    while (found / "__init__.py").is_file() and found.parent != found:
        found = found.parent
    if found == directory and _is_package_in_use(directory):
        return directory.parent
    return found


def _is_package_in_use(directory: Path) -> bool:
    """Return whether a directory without ``__init__.py`` is used as a package all the same."""
    for path in islice(sorted(directory.glob("*.py")), MAX_FILES):
        try:
            tree = read_source(path)
        except ResumeDaemonError:
            continue
        for node, _, _ in _imports(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                return True
    return False


def _without_init(root: Path, files: list[Path]) -> Iterator[str]:
    """Yield the directories that are meant as packages and have no ``__init__.py``."""
    if not root.is_dir():
        return
    packages = {path.parent for path in files if path.name == "__init__.py"}
    for directory in sorted({path.parent for path in files}):
        if directory in packages:
            continue
        meant = directory.parent in packages or (directory == root and _is_package_in_use(root))
        if meant:
            yield str(directory.relative_to(root.parent))


def _imports(tree: ast.Module) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    """Yield imports with whether each is late, and whether its failure is caught."""
    pending: list[tuple[ast.AST, bool, bool]] = [(tree, False, False)]
    for _ in range(_MAX_STATEMENTS):
        if not pending:
            return
        node, late, optional = pending.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, late, optional
            continue
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            pending += [(child, late, optional) for child in node.orelse]
            continue
        if isinstance(node, (ast.Try, ast.TryStar)):
            caught = optional or any(_catches(each) for each in node.handlers)
            pending += [(child, late, caught) for child in node.body]
            # What stands in for a failed import is only tried then.
            rest = [*node.orelse, *node.finalbody]
            pending += [(child, late, optional) for child in rest]
            pending += [(c, late, True) for handler in node.handlers for c in handler.body]
            continue
        if isinstance(node, ast.With) and any(_suppresses(item) for item in node.items):
            optional = True
        inside = late or isinstance(node, _FUNCTIONS)
        pending += [(child, inside, optional) for child in ast.iter_child_nodes(node)]


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _catches(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return handler.type is None or any(getattr(each, "id", "") in _CAUGHT for each in kinds)


def _suppresses(item: ast.withitem) -> bool:
    function = getattr(item.context_expr, "func", None)
    return "suppress" in {getattr(function, "attr", ""), getattr(function, "id", "")}


def _defines(tree: ast.Module) -> frozenset[str] | None:
    """Return the names at the top of a module, or None where only running it would tell."""
    found = {"__name__", "__file__", "__doc__", "__path__", "__all__", "__version__"}
    pending: list[ast.AST] = list(tree.body)
    for _ in range(_MAX_STATEMENTS):
        if not pending:
            return frozenset(found)
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name == "__getattr__":
                return None
            found.add(node.name)
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" and not node.level:
                return None  # Whatever the other one has; it need not be of this code.
            found |= {each.asname or each.name.partition(".")[0] for each in node.names}
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Call) and _name_of(node.func) in {"globals", "exec", "vars"}:
            return None
        elif isinstance(node, ast.Attribute) and node.attr == "modules":
            return None  # sys.modules: a module that replaces itself.
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        if not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp)):
            pending += ast.iter_child_nodes(node)
    return None


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""
