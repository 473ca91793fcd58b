"""Python environments as installers leave them, without their code: directories and metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FITTING = {
    "torch": "2.13.0+cpu",
    "transformers": "5.24.0",
    "trl": "1.16.0",
    "datasets": "5.2.0",
    "wandb": "0.31.0",
    "numpy": "2.4.6",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
}
"""Versions that go together, as installed beside the real trainers here."""


def write_package(site: Path, name: str, version: str, requires: Iterable[str] = ()) -> Path:
    """Write what pip leaves of a package in a ``site-packages``; return its metadata directory."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    (folder / "METADATA").write_text("\n".join(lines) + "\n\nA package.\n", encoding="utf-8")
    return folder


def write_interpreter(prefix: Path, version: str = "3.11") -> Path:
    """Write an installation of Python; return its executable, which is none that could run."""
    (prefix / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    (prefix / "bin").mkdir()
    real = prefix / "bin" / f"python{version}"
    real.write_bytes(b"\x7fELF")
    real.chmod(0o755)
    for name in ("python3", "python"):
        (prefix / "bin" / name).symlink_to(real.name)
    return prefix / "bin" / "python"


def write_environment(
    prefix: Path, base: Path, packages: Mapping[str, str] | None = None, *, system: bool = False
) -> Path:
    """Write a virtual environment as ``venv`` makes it; return its executable.

    Args:
        prefix: Where.
        base: The executable of the installation that it is made of.
        packages: Versions by name.
        system: Whether it sees that installation's packages as well.
    """
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(base)
    settings = [
        f"home = {base.parent}",
        f"include-system-site-packages = {str(system).lower()}",
        "version = 3.11.7",
    ]
    (prefix / "pyvenv.cfg").write_text("\n".join(settings) + "\n", encoding="utf-8")
    site = site_of(prefix)
    site.mkdir(parents=True)
    for name, number in (packages or {}).items():
        write_package(site, name, number)
    return prefix / "bin" / "python"


def site_of(prefix: Path, version: str = "3.11") -> Path:
    """Return the ``site-packages`` of an installation or environment."""
    return prefix / "lib" / f"python{version}" / "site-packages"
