"""Which release of a package a trainer runs with, as a value that can be compared."""

from __future__ import annotations

import re
from typing import Final

Release = tuple[int, int, int]

_RELEASE: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?")


def release_of(version: str | None) -> Release | None:
    """Return the release of a version ("1.16.0", "0.28.0.dev0", "5.24.0+cpu"); None if unknown.

    A pre-release counts as the release that it leads to: what that removes is mostly gone in it.
    """
    found = None if version is None else _RELEASE.match(version.strip())
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


def written(release: Release) -> str:
    """Return a release as people write it, without a last zero: ``0.28``, ``4.57.6``."""
    major, minor, patch = release
    return f"{major}.{minor}.{patch}" if patch else f"{major}.{minor}"
