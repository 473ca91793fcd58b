"""The packages that a training needs: there, which version, and whether they fit. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.doctor.combinations import met
from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from packaging.requirements import Requirement

    from resume_daemon.doctor.distributions import Distribution, Installed
    from resume_daemon.doctor.interpreter import Interpreter
    from resume_daemon.findings import Finding

PACKAGES = ("torch", "transformers", "trl", "datasets", "wandb", "numpy", "peft", "accelerate")
"""What the field guide has checked before a training."""

MISSING = Code(
    "RD836",
    "package-missing",
    Severity.ERROR,
    "The trainer's Python lacks a package that this run was trained with",
    "The training ends at its first import, or goes on without what the package did, such as "
    "logging.",
    "Install it into that environment, or name the right interpreter with --python.",
)
REQUIREMENT = Code(
    "RD837",
    "requirement-unmet",
    Severity.WARNING,
    "A package does not find what it asks for",
    "Its own metadata names a version of another package that is not the one installed. It may "
    "work; it is not what its authors tested.",
    "Install the version that it asks for. `pip check` in that environment says the same.",
    "core metadata specification, Requires-Dist",
)
COMBINATION = Code(
    "RD838",
    "versions-do-not-fit",
    Severity.ERROR,
    "Installed versions are known not to work together",
    "The resume fails, or the setting is refused, although each package by itself is sound.",
    "Install versions that fit.",
    "resume_daemon/doctor/combinations.py, each with its own source",
)
TWICE = Code(
    "RD839",
    "package-twice",
    Severity.WARNING,
    "A package is recorded twice in one place",
    "Two versions have left their metadata beside each other, as an update that was cut off does. "
    "Which files are whose is not known.",
    "Uninstall it until none is left, and install it again.",
)
GUESSED = Code(
    "RD840",
    "interpreter-guessed",
    Severity.INFO,
    "Which Python the trainer uses is not known",
    "None was named, and the one on PATH does not look like it, so nothing is said about packages.",
    "Name it: `--python /path/to/environment/bin/python`.",
)
OLDER = Code(
    "RD841",
    "package-older-than-checkpoint",
    Severity.WARNING,
    "The checkpoint was written by a newer package than the one installed",
    "An older version may not know what a newer one wrote, and pass over it in silence.",
    "Install the version that wrote it, or a newer one.",
    "transformers: config.json, transformers_version",
)


@dataclass(frozen=True, slots=True)
class DependencyFacts:
    """What was found, and what the run needs.

    Attributes:
        interpreter: Whose packages they are, or None where there is no Python.
        installed: Its packages.
        needed: Why a package is needed, by name; one that is not here may be missing.
        settings: Names of settings that the checkpoint was trained with.
        believed: Whether this is the trainer's interpreter, as far as can be told.
        platform: Values of the environment markers that are known of that interpreter.
        written_with: Versions that wrote the newest checkpoint, by package.
    """

    interpreter: Interpreter | None
    installed: Installed
    needed: Mapping[str, str]
    settings: Collection[str] = ()
    believed: bool = True
    platform: Mapping[str, str] | None = None
    written_with: Mapping[str, str] | None = None


def check(facts: DependencyFacts) -> Iterator[Finding]:
    """Yield what is missing or does not fit."""
    found = facts.installed.first
    if not facts.believed:
        where = "There is no python on PATH"
        if facts.interpreter is not None:
            where = f"{facts.interpreter.path} ({facts.interpreter.how}) has no torch"
        yield GUESSED.finding(f"{where}.")
        return
    for name, why in facts.needed.items():
        if name not in found:
            place = facts.interpreter.path if facts.interpreter is not None else ""
            yield MISSING.finding(f"{name} is not installed for {place}: {why}.")
    versions = {name: each.version for name, each in found.items()}
    for each in met(versions, facts.settings):
        held = ", ".join(f"{name} {versions[name]}" for name in each.versions)
        # A setting is known from the past alone, and the script may have been changed since.
        doubt = "; the checkpoint was trained with it" if each.setting else ""
        yield COMBINATION.finding(
            f"{held}: {each.message}{doubt}.",
            severity=Severity.WARNING if each.setting else None,
            hint=each.hint,
        )
    for name in PACKAGES:
        if (package := found.get(name)) is not None:
            yield from _requirements(package, found, facts.platform or {})
    for double in facts.installed.beside:
        if double.name in PACKAGES:
            other = found[double.name].version
            yield TWICE.finding(f"{double.name} {other} and {double.version} in {double.place}.")
    for name, wrote in (facts.written_with or {}).items():
        if (package := found.get(name)) is not None and _is_older(package.version, wrote):
            yield OLDER.finding(
                f"{name} {package.version} is installed; {name} {wrote} wrote the checkpoint."
            )


def _requirements(
    package: Distribution, found: Mapping[str, Distribution], platform: Mapping[str, str]
) -> Iterator[Finding]:
    # The catalog of codes imports this module for every command; only `doctor` needs these.
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - see above
    from packaging.utils import canonicalize_name  # noqa: PLC0415 - see above

    for line in package.requires:
        try:
            wanted = Requirement(line)
            if wanted.marker and not wanted.marker.evaluate({"extra": "", **platform}):
                continue
        except (InvalidRequirement, KeyError, ValueError):
            continue
        there = found.get(canonicalize_name(wanted.name))
        says = f"{package.name} {package.version} asks for {wanted.name}{wanted.specifier}"
        if there is None:
            yield REQUIREMENT.finding(f"{says}, which is not installed.")
        elif there.version and not _contains(wanted, there.version):
            yield REQUIREMENT.finding(f"{says}; {there.version} is installed.")


def _contains(wanted: Requirement, version: str) -> bool:
    from packaging.version import InvalidVersion  # noqa: PLC0415 - as above

    try:
        return wanted.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return True  # A version of its own kind cannot be compared, so nothing is said.


def _is_older(version: str, other: str) -> bool:
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415 - as above

    try:
        # Of one release, a development version and its successor write the same files.
        return Version(version).release[:2] < Version(other).release[:2]
    except InvalidVersion:
        return False
