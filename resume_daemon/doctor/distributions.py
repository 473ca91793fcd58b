"""Installed packages, by their metadata files: nothing of them is imported.

Source: "Recording installed projects" of the packaging specifications (``*.dist-info/METADATA``)
and setuptools' older ``*.egg-info``.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_METADATA = 4 * 1024 * 1024
_MAX_NAMES = 20_000
"""Entries of one package directory that are looked at."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed package.

    Attributes:
        name: In its canonical form.
        version: As it says itself, or an empty string.
        place: The directory that it is installed in.
        requires: Its ``Requires-Dist`` lines; empty where they were not read.
    """

    name: str
    version: str
    place: Path
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Installed:
    """What an interpreter finds.

    Attributes:
        first: By canonical name, the one that is imported.
        beside: Others of the same name in the same directory: left over from an update.
    """

    first: Mapping[str, Distribution] = field(default_factory=dict)
    beside: tuple[Distribution, ...] = ()


def installed_in(directories: Iterable[Path], detailed: frozenset[str]) -> Installed:
    """Return the packages in ``directories``, of which the first of a name counts.

    Args:
        directories: In the order of the interpreter's path.
        detailed: Canonical names of those whose metadata is read; of the others the directory's
            name tells the version.
    """
    first: dict[str, Distribution] = {}
    beside: list[Distribution] = []
    for place in directories:
        try:
            names = sorted(os.listdir(place))[:_MAX_NAMES]  # noqa: PTH208 - names alone are wanted
        except OSError:
            continue
        here: set[str] = set()
        for entry in names:
            stem, _, kind = entry.rpartition(".")
            if kind not in {"dist-info", "egg-info"}:
                continue
            name, _, version = stem.partition("-")
            found = Distribution(canonicalize_name(name), version.partition("-")[0], place)
            if found.name in detailed:
                found = _read(place / entry, kind, found)
            if found.name in here:
                beside.append(found)
            here.add(found.name)
            first.setdefault(found.name, found)
    return Installed(first, tuple(beside))


def _read(path: Path, kind: str, known: Distribution) -> Distribution:
    """Return what its metadata says; what its name says where that cannot be read."""
    file = path / ("METADATA" if kind == "dist-info" else "PKG-INFO") if path.is_dir() else path
    with suppress(ResumeDaemonError):
        content = read_bounded(Path(os.path.realpath(file)), _METADATA)
        headers = BytesHeaderParser().parsebytes(content)
        version = str(headers.get("Version") or known.version).strip()
        requires = tuple(str(each) for each in headers.get_all("Requires-Dist") or ())
        return Distribution(known.name, version, known.place, requires)
    return known
