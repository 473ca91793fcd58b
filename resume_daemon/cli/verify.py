"""``resume-daemon verify PATH...``: judge checkpoints, or every checkpoint of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json, say, say_error
from resume_daemon.cli.progress import progress
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.report.changes import change_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.cached import CachedVerdicts
    from resume_daemon.comparison import TensorChange
    from resume_daemon.findings import Finding
    from resume_daemon.manifest import Manifest
    from resume_daemon.verification import Options, Verification

_PATHS: list[Path] = typer.Argument(
    ..., metavar="PATH", readable=False, help="A checkpoint, or a run with checkpoints in it."
)
_AGAINST: Path | None = typer.Option(
    None, metavar="OTHER", readable=False, help="Say what changed since another checkpoint."
)


def command(
    paths: list[Path] = _PATHS,
    *,
    quick: bool = typer.Option(
        False, "--quick/--deep", help="Read headers and small files only, or every byte (default)."
    ),
    cached: bool = typer.Option(
        False,
        "--cached",
        help="Take a daemon's verdict where no file was touched since. Silent damage is not seen.",
    ),
    strict: bool = typer.Option(False, "--strict", help="Let degraded checkpoints fail as well."),
    against: Path | None = _AGAINST,
    every: bool = typer.Option(False, "--all", help="With --against: show every tensor."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Verify checkpoints; status 1 if one must not be resumed from.

    Everything is judged as it is now, unless --cached is given. One that cannot be read fails, and
    the others are still judged.
    """
    from resume_daemon.cached import CachedVerdicts  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.findings import Verdict  # noqa: PLC0415 - as above
    from resume_daemon.verification import Depth, Options  # noqa: PLC0415 - as above

    targets = {path: _checkpoints(path) for path in paths}
    if against is not None and list(targets.values()) != [paths[:1]]:
        raise UsageError("verify", paths[0], "--against compares one checkpoint with one other")
    results: list[Verification] = []
    errors: dict[Path, ResumeDaemonError] = {}
    known = CachedVerdicts() if cached else None
    options = Options(depth=Depth.QUICK if quick else Depth.DEEP)
    for found in targets.values():
        for target, result in _verify_all(found, options, known, show=not as_json):
            if isinstance(result, ResumeDaemonError):
                errors[target] = result
                say_error(result)
                continue
            results.append(result)
            if not as_json:
                _print(target, result)
    changes = None if against is None else _changes(paths[0], against, errors, show=not as_json)
    runs = [path for path, found in targets.items() if found != [path]]
    curriculum = {path: _curriculum(path, targets[path]) for path in runs}
    if as_json:
        print_json(
            {
                "schema": 1,
                "checkpoints": [result.as_json() for result in results],
                "curriculum": [
                    {"path": os.path.realpath(path), "findings": [f.as_json() for f in findings]}
                    for path, findings in curriculum.items()
                ],
                "errors": [
                    {"path": os.path.realpath(path), "message": str(error)}
                    for path, error in errors.items()
                ],
                "against": None
                if against is None
                else {
                    "path": os.path.realpath(against),
                    "tensors": [each.as_json() for each in changes or ()],
                },
            }
        )
    else:
        _print_curriculum(curriculum)
        if against is not None and changes is not None:
            for line in change_lines(against, changes, every=every):
                say(line)
    bad = {Verdict.UNSOUND, Verdict.INCOMPLETE} | ({Verdict.DEGRADED} if strict else set())
    if errors or any(result.verdict in bad for result in results):
        raise typer.Exit(1)


def _checkpoints(path: Path) -> list[Path]:
    """Return the checkpoint itself, or those of a run by step.

    Raises:
        UsageError: The path is missing, unreadable, no checkpoint, and has none in it.
    """
    from resume_daemon.layouts.around import around  # noqa: PLC0415 - as above
    from resume_daemon.layouts.registry import (  # noqa: PLC0415 - as above
        checkpoints_in,
        is_checkpoint_file,
        is_checkpoint_name,
        layout_of,
        unknown_reason,
    )
    from resume_daemon.listing import list_directory  # noqa: PLC0415 - as above
    from resume_daemon.run_directory import check_run  # noqa: PLC0415 - heavy imports wait

    hint = "Give a checkpoint, or the run directory that holds them."
    if path.is_file() and (is_checkpoint_file(path.name) or _is_known_file(path)):
        return [path]
    real = check_run(path, "verify", missing=hint)
    listing = list_directory(real, boundary=real.parent)
    known = layout_of(listing) is not None
    if known and is_checkpoint_name(real.name):
        return [path]
    if names := checkpoints_in(real):
        return [path / name for name in names]
    if known:
        return [path]
    # Some trainers put them one level below: checkpoints/, _actor/, run-<trial>/.
    found = [
        path / each.name / name
        for each in sorted(real.iterdir())
        if each.is_dir()
        for name in checkpoints_in(each)
    ]
    if found:
        return found
    raise UsageError("verify", path, unknown_reason(listing, around(listing, real)), hint=hint)


def _is_known_file(path: Path) -> bool:
    """Return whether a file whose name tells nothing is a checkpoint by what it is."""
    from resume_daemon.layouts.registry import layout_of, list_checkpoint  # noqa: PLC0415 - as above

    try:
        return layout_of(list_checkpoint(path, boundary=path.parent)) is not None
    except ResumeDaemonError:
        return False


def _verify_all(
    targets: list[Path], options: Options, known: CachedVerdicts | None, *, show: bool
) -> Iterator[tuple[Path, Verification | ResumeDaemonError]]:
    """Yield each checkpoint with its verification, or with why there is none."""
    from resume_daemon.findings import Verdict  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.layouts.registry import list_checkpoint  # noqa: PLC0415 - as above
    from resume_daemon.verification import References, verify  # noqa: PLC0415 - as above

    kept = {Verdict.SOUND, Verdict.DEGRADED}
    before: list[Manifest] = []
    for target in targets:
        real = Path(os.path.realpath(target))
        try:
            earlier = known.find(real, options.depth) if known is not None else None
            if earlier is not None:
                if earlier.verdict in kept and (recorded := _recorded(real)) is not None:
                    before.insert(0, recorded)
                yield target, earlier
                continue
            size = list_checkpoint(real, boundary=real.parent).total_bytes() if show else 0
            with progress(target.name, size, show=show) as advance:
                result = verify(
                    real,
                    boundary=real.parent,
                    references=References.after(before, _recorded(real)),
                    options=options,
                    progress=advance,
                )
        except ResumeDaemonError as error:
            if os.path.exists(real):  # noqa: PTH110  That of Path may raise.
                yield target, error
            elif show:
                say(f"{target}  rotated: the trainer removed it while it was read")
            continue
        if result.manifest is not None and result.verdict in kept:
            before.insert(0, result.manifest)
        yield target, result


def _changes(
    checkpoint: Path, other: Path, errors: dict[Path, ResumeDaemonError], *, show: bool
) -> tuple[TensorChange, ...] | None:
    """Return how every tensor differs from the other checkpoint's, or None where it has failed."""
    from resume_daemon.comparison import compare, places_in  # noqa: PLC0415 - heavy imports wait

    here, there = (Path(os.path.realpath(path)) for path in (checkpoint, other))
    if not there.exists():
        raise UsageError("compare", other, "it is not there", hint="Give another checkpoint.")
    try:
        size = sum(place.span.size for place in places_in(here).values()) if show else 0
        with progress(f"against {other.name}", size, show=show) as advance:
            return compare(here, there, progress=advance)
    except UsageError:
        raise
    except ResumeDaemonError as error:
        errors[other] = error
        say_error(error)
        return None


def _recorded(checkpoint: Path) -> Manifest | None:
    """Return what a daemon recorded of a checkpoint, where one has."""
    from resume_daemon.manifest import recorded_manifest  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415 - as above

    state = find_state_directory(checkpoint.parent, None)
    # It is a help, and the daemon warns of one that is damaged.
    return None if state is None else recorded_manifest(state.manifests / f"{checkpoint.name}.json")


def _print(target: Path, result: Verification) -> None:
    from rich.text import Text  # noqa: PLC0415 - only for people

    from resume_daemon.report.console import finding_lines, verdict_text  # noqa: PLC0415
    from resume_daemon.report.plain import plain  # noqa: PLC0415 - as above

    out = console()
    line = Text(f"{plain(str(target))}  ")
    line.append_text(verdict_text(result.verdict.value))
    if result.judged_at is not None:
        line.append(f" (judged {result.judged_at:%Y-%m-%d %H:%M:%S} UTC, not read again)")
    out.print(line)
    for each in finding_lines(result.findings):
        out.print(each)


def _curriculum(run: Path, targets: list[Path]) -> tuple[Finding, ...]:
    from resume_daemon.curriculum.inspect import inspect_checkpoints  # noqa: PLC0415 - as above

    return inspect_checkpoints(run, targets)


def _print_curriculum(curriculum: Mapping[Path, tuple[Finding, ...]]) -> None:
    from resume_daemon.report.console import finding_lines  # noqa: PLC0415 - only for people

    out = console()
    for findings in curriculum.values():
        if findings:
            out.print("curriculum")
            for each in finding_lines(findings):
                out.print(each)
