"""Arguments that the trainer that is installed now would refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.findings import Code, Severity
from resume_daemon.parameters.release import written
from resume_daemon.parameters.removals import ADDITIONS, REMOVALS, TRL
from resume_daemon.parameters.values import SourceKind
from resume_daemon.parameters.wording import told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from resume_daemon.findings import Finding
    from resume_daemon.parameters.release import Release
    from resume_daemon.parameters.values import Setting

REFUSED = Code(
    "RD809",
    "argument-refused",
    Severity.ERROR,
    "The installed trainer does not take this argument",
    "Releases of transformers and TRL remove arguments. The start fails with a TypeError, or the "
    "argument parser says that it is not used; a script that takes any argument drops it without a "
    "word, and the run goes on with the default.",
    "Do what is said to do instead, or install the release that the run was started with.",
    "source of TRL and transformers on either side of each removal; "
    "transformers MIGRATION_GUIDE_V5.md",
)
MAY_BE_REFUSED = Code(
    "RD810",
    "argument-may-be-refused",
    Severity.INFO,
    "Newer trainers do not take this argument, and which one is installed is not known",
    "The argument was removed in some release. Whether the next start fails depends on the release "
    "that it runs with.",
    "Say which interpreter trains (`--python PATH`), so that its packages can be looked up.",
    "as for RD809",
)

CLASSES: Final = frozenset({"GRPOConfig", "TrainingArguments"})
"""Classes of the trainer: what a call of them is given reaches the trainer for certain."""

_HANDED_OVER: Final = (SourceKind.COMMAND_LINE, SourceKind.CONFIGURATION)
"""Sources whose names reach the trainer unless the script takes them itself.

What a checkpoint or a tracker remembers is not given to the next start.
"""


def check(
    settings: Iterable[Setting], own: frozenset[str], versions: Mapping[str, Release | None]
) -> Iterator[Finding]:
    """Yield a finding for each argument that the next start is given and its trainer refuses.

    Args:
        settings: Everything that was read.
        own: Names that the script's own configuration classes declare: they are the script's.
        versions: Release of "trl" and "transformers"; None or absent: not known.
    """
    removals = {each.name: each for each in REMOVALS}
    said: set[tuple[str, str]] = set()
    for setting in settings:
        certain = setting.source.kind is SourceKind.CODE and setting.scope in CLASSES
        if not certain and (setting.source.kind not in _HANDED_OVER or setting.name in own):
            continue
        if (key := (setting.name, setting.source.label)) in said:
            continue
        # Where nothing tells that the script hands the name on, a refusal is only likely.
        grave = Severity.ERROR if certain else Severity.WARNING
        unless = "" if certain else ", unless the script takes it itself"
        if (removal := removals.get(setting.name)) is not None:
            said.add(key)
            present = versions.get(removal.package)
            since = f"{removal.package} {written(removal.release)}"
            if present is None:
                yield MAY_BE_REFUSED.finding(
                    f"{told(setting)} is refused from {since} on{unless}",
                    file=_file(setting),
                    hint=f"From that release on, {removal.instead}.",
                )
            elif present >= removal.release:
                yield REFUSED.finding(
                    f"{told(setting)} is refused by {removal.package} {written(present)}{unless}: "
                    f"it is gone since {written(removal.release)}",
                    file=_file(setting),
                    severity=grave,
                    hint=f"{removal.instead[0].upper()}{removal.instead[1:]}.",
                )
        elif (added := ADDITIONS.get(setting.name)) is not None:
            present = versions.get(TRL)
            if present is not None and present < added:
                said.add(key)
                yield REFUSED.finding(
                    f"{told(setting)} is refused by {TRL} {written(present)}{unless}: it came with "
                    f"{written(added)}",
                    file=_file(setting),
                    severity=grave,
                    hint=f"Remove it, or install {TRL} {written(added)} or newer.",
                )
        elif setting.name == "auto_find_batch_size" and setting.value is True:
            present = versions.get(TRL)
            if present is not None and present >= (1, 9, 0):
                said.add(key)
                yield REFUSED.finding(
                    f"{told(setting)} is refused by {TRL} {written(present)} for GRPO",
                    file=_file(setting),
                    severity=grave,
                    hint="Set it to false and lower per_device_train_batch_size.",
                )


def _file(setting: Setting) -> str | None:
    return None if setting.source.path is None else str(setting.source.path)
