"""Where a Python interpreter finds its packages, by reading files alone: it is never started.

Starting it would run what the user has put in its path (``sitecustomize``, ``.pth`` files). The
rules are those of CPython's ``getpath`` and ``Lib/site.py`` (3.9 to 3.14) and of PEP 405; Debian's
``dist-packages`` as its ``python3`` package patches them in.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SMALL = 64 * 1024
_MAX_LINES = 1000
"""Lines of one ``.pth`` file that are followed."""
_VERSION = re.compile(r"(\d+)\.(\d+)")
_FOLDER = re.compile(r"python(\d+)\.(\d+)t?")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter and where it looks for packages.

    Attributes:
        path: As it was named or found.
        how: How it was found ("--python", "python3 on PATH").
        version: Such as ``3.11``, or None where nothing tells.
        directories: Where packages are looked for, in order; all exist.
        code_lines: Lines of ``.pth`` files that are code: what they add is not known.
        chosen: Whether somebody said that it is the trainer's; else it is a guess.
    """

    path: Path
    how: str
    version: str | None
    directories: tuple[Path, ...]
    code_lines: int = 0
    chosen: bool = False


def named_interpreter(path: Path, environ: Mapping[str, str]) -> Interpreter:
    """Return the interpreter at a path: an executable, a virtual environment or a conda one.

    Raises:
        UsageError: There is none.
    """
    found = path
    if path.is_dir():
        found = next((p for name in _NAMES if (p := path / "bin" / name).exists()), path)
    if not found.is_file():
        raise UsageError(
            "find the trainer's Python",
            path,
            "there is no interpreter",
            hint="Give its path, such as /opt/train/bin/python, or its environment's directory.",
        )
    return interpreter_at(found, "--python", environ, chosen=True)


def default_interpreter(environ: Mapping[str, str]) -> Interpreter | None:
    """Return what ``python`` means in this environment, or None where there is none."""
    for folder in environ.get("PATH", "").split(os.pathsep):
        for name in _NAMES:
            path = Path(folder or ".") / name
            if path.is_file() and os.access(path, os.X_OK):
                return interpreter_at(path, f"{name} on PATH", environ)
    return None


_NAMES = ("python", "python3")


def interpreter_at(
    path: Path, how: str, environ: Mapping[str, str], *, chosen: bool = False
) -> Interpreter:
    """Return what there is to say of an executable.

    Args:
        path: It, or a link to it: a virtual environment is known by where the link lies.
        how: How it was found.
        environ: The environment that it would be started in.
        chosen: Whether somebody said that it is the trainer's.
    """
    path = _behind_shim(Path(os.path.abspath(path)), environ)  # noqa: PTH100  Links are kept.
    home = _virtual_environment(path)
    real = Path(os.path.realpath(path))
    settings = _settings(home) if home is not None else {}
    base = Path(settings["home"]).parent if settings.get("home") else real.parent.parent
    named = _VERSION.search(settings.get("version") or settings.get("version_info") or "")
    version = named and f"{named[1]}.{named[2]}"
    version = version or _version_of(home or base, real.name)
    system = home is None or settings.get("include-system-site-packages", "").lower() == "true"
    places = [*_python_path(environ)]
    if home is not None:
        places += _below(home, version)
    if system:
        if not environ.get("PYTHONNOUSERSITE") and (user := _user_site(environ, version)):
            places.append(user)
        places += _below(base, version)
    directories, code = _with_path_files(places)
    return Interpreter(path, how, version, tuple(directories), code, chosen)


def _behind_shim(path: Path, environ: Mapping[str, str]) -> Path:
    """Return what a shim of pyenv would start: it is a script, and tells nothing by itself."""
    if path.parent.name != "shims":
        return path
    root = path.parent.parent
    names = [environ.get("PYENV_VERSION", "")]
    for file in (Path.cwd() / ".python-version", root / "version"):
        with suppress(ResumeDaemonError, UnicodeDecodeError):
            names.append(read_bounded(file, _SMALL).decode())
    for text in names:
        for name in re.split(r"[:\s]+", text):
            if name and (found := root / "versions" / name / "bin" / path.name).is_file():
                return found
    return path


def _virtual_environment(path: Path) -> Path | None:
    """Return the virtual environment of an executable, by PEP 405: links are not followed."""
    for folder in (path.parent, path.parent.parent):
        if (folder / "pyvenv.cfg").is_file():
            return folder
    return None


def _settings(home: Path) -> dict[str, str]:
    try:
        text = read_bounded(home / "pyvenv.cfg", _SMALL).decode()
    except (ResumeDaemonError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip().lower(): value.strip() for key, equals, value in pairs if equals}


def _version_of(prefix: Path, name: str) -> str | None:
    """Return the version: from the executable's name, else from the one there is in ``lib``."""
    if found := _FOLDER.fullmatch(name):
        return f"{found[1]}.{found[2]}"
    versions = set()
    with suppress(OSError):
        versions = {m.groups() for p in (prefix / "lib").iterdir() if (m := _FOLDER.match(p.name))}
    return ".".join(versions.pop()) if len(versions) == 1 else None


def _below(prefix: Path, version: str | None) -> list[Path]:
    """Return the package directories of an installation, Debian's local ones first."""
    if version is None:
        return []
    major = version.partition(".")[0]
    # Debian has /usr/local/lib/python3.11/dist-packages and /usr/lib/python3/dist-packages.
    return [
        prefix / "local" / "lib" / f"python{version}" / "dist-packages",
        prefix / "lib" / f"python{version}" / "site-packages",
        prefix / "lib64" / f"python{version}" / "site-packages",
        prefix / "lib" / f"python{version}" / "dist-packages",
        prefix / "lib" / f"python{major}" / "dist-packages",
    ]


def _user_site(environ: Mapping[str, str], version: str | None) -> Path | None:
    base = environ.get("PYTHONUSERBASE") or (
        f"{home}/.local" if (home := environ.get("HOME")) else None
    )
    if base is None or version is None:
        return None
    return Path(base) / "lib" / f"python{version}" / "site-packages"


def _python_path(environ: Mapping[str, str]) -> Iterator[Path]:
    for part in environ.get("PYTHONPATH", "").split(os.pathsep):
        if part:
            yield Path(part)


def _with_path_files(places: list[Path]) -> tuple[list[Path], int]:
    """Return the directories that exist with those that their ``.pth`` files add, once each."""
    found: dict[str, Path] = {}
    code = 0
    for place in places:
        if not place.is_dir() or os.path.realpath(place) in found:
            continue
        found[os.path.realpath(place)] = place
        if "-packages" not in place.name:
            continue  # Of PYTHONPATH no path files are read.
        for line in _path_lines(place):
            if line.startswith(("import ", "import\t")):
                code += 1
            elif (added := place / line).is_dir():
                found.setdefault(os.path.realpath(added), added)
    return list(found.values()), code


def _path_lines(place: Path) -> Iterator[str]:
    try:
        names = sorted(name for name in os.listdir(place) if name.endswith(".pth"))  # noqa: PTH208
    except OSError:
        return
    for name in names:
        if name.startswith("."):
            continue
        with suppress(ResumeDaemonError, UnicodeDecodeError):
            lines = read_bounded(Path(os.path.realpath(place / name)), _SMALL).decode().splitlines()
            yield from (x for raw in lines[:_MAX_LINES] if (x := raw.strip()) and x[0] != "#")
