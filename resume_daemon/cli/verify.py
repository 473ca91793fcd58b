"""``resume-daemon verify PATH...``: judge checkpoints, or every checkpoint of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json
from resume_daemon.errors import ResumeDaemonError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resume_daemon.findings import Finding
    from resume_daemon.verification import Verification

_PATHS: list[Path] = typer.Argument(..., help="A checkpoint, or a run with checkpoints in it.")


def command(
    paths: list[Path] = _PATHS,
    *,
    quick: bool = typer.Option(
        False, "--quick/--deep", help="Read headers and small files only, or every byte (default)."
    ),
    strict: bool = typer.Option(False, "--strict", help="Let degraded checkpoints fail as well."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Verify checkpoints. Exit status 1 if one must not be resumed from."""
    from resume_daemon.findings import Verdict  # noqa: PLC0415 - heavy imports wait for the work

    targets = [target for path in paths for target in _checkpoints(path)]
    results = list(_verify_all(targets, quick=quick, show=not as_json))
    runs = [path for path in paths if path not in set(targets)]
    states = {path: _curriculum(path, targets) for path in runs}
    if as_json:
        print_json(
            {
                "schema": 1,
                "checkpoints": [result.as_json() for result in results],
                "curriculum": [
                    {"path": str(path), "findings": [f.as_json() for f in findings]}
                    for path, findings in states.items()
                ],
            }
        )
    else:
        _print_curriculum(states)
    bad = {Verdict.UNSOUND, Verdict.INCOMPLETE} | ({Verdict.DEGRADED} if strict else set())
    if any(result.verdict in bad for result in results):
        raise typer.Exit(1)


def _checkpoints(path: Path) -> list[Path]:
    """Return the checkpoint itself, or those of a run by step.

    Raises:
        UsageError: The path is missing, a file, unreadable, or has no checkpoints in it.
    """
    from resume_daemon.daemon.roster import step_of  # noqa: PLC0415 - as above
    from resume_daemon.layouts.registry import is_checkpoint_name, layout_of  # noqa: PLC0415
    from resume_daemon.listing import list_directory  # noqa: PLC0415

    if not path.exists():
        raise UsageError("verify", path, "there is no such file or directory")
    if not path.is_dir():
        raise UsageError(
            "verify",
            path,
            "it is a file",
            hint="A checkpoint is a directory, such as checkpoint-100.",
        )
    try:
        names = [entry.name for entry in path.iterdir() if is_checkpoint_name(entry.name)]
    except OSError as error:
        raise UsageError("list", path, error.strerror or str(error)) from error
    found = [path / name for name in names if (path / name).is_dir()]
    if found:
        return sorted(found, key=lambda p: (step_of(p.name) or 0, p.name))
    if is_checkpoint_name(path.resolve().name) or layout_of(
        list_directory(path, boundary=path.resolve().parent)
    ):
        return [path]
    raise UsageError(
        "verify",
        path,
        "it is no checkpoint, and has none in it",
        hint="Give the directory that holds checkpoint-<step> directories, or one of them.",
    )


def _verify_all(targets: list[Path], *, quick: bool, show: bool) -> Iterator[Verification]:
    from resume_daemon.findings import Verdict  # noqa: PLC0415 - as above
    from resume_daemon.manifest import read_manifest  # noqa: PLC0415
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415
    from resume_daemon.verification import Depth, Options, References, verify  # noqa: PLC0415

    options = Options(depth=Depth.QUICK if quick else Depth.DEEP)
    previous = None
    before: Path | None = None
    with _progress(targets, show=show and not quick) as advance:
        for target in targets:
            boundary = target.resolve().parent
            if before is not None and before.parent != target.parent:
                previous = None
            before = target
            state = find_state_directory(boundary, None)
            recorded = None
            if state is not None:
                try:
                    recorded, _ = read_manifest(state.manifests / f"{target.resolve().name}.json")
                except ResumeDaemonError:
                    recorded = None
            result = verify(
                target.resolve(),
                boundary=boundary,
                references=References(previous=previous, recorded=recorded),
                options=options,
                progress=advance,
            )
            if result.manifest is not None and result.verdict in {Verdict.SOUND, Verdict.DEGRADED}:
                previous = result.manifest
            if show:
                _print(result)
            yield result


class _progress:  # noqa: N801 - used as a function
    """A bar on stderr, shown only on a terminal and only once two seconds have passed."""

    def __init__(self, targets: list[Path], *, show: bool) -> None:
        self._show = show and sys.stderr.isatty()
        self._targets = targets

    def __enter__(self) -> Callable[[int], None]:
        if not self._show:
            return lambda _: None
        import time  # noqa: PLC0415 - only on a terminal

        from rich.progress import (  # noqa: PLC0415 - only on a terminal
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        total = sum(
            file.stat().st_size for t in self._targets for file in t.rglob("*") if file.is_file()
        )
        self._bar = Progress(
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console(stderr=True),
            transient=True,
        )
        task = self._bar.add_task("", total=total)
        begin = time.monotonic()
        started = False

        def advance(read: int) -> None:
            nonlocal started
            if not started and time.monotonic() - begin > 2:  # noqa: PLR2004 - seconds
                self._bar.start()
                started = True
            self._bar.advance(task, read)

        return advance

    def __exit__(self, *_: object) -> None:
        if self._show:
            self._bar.stop()


def _print(result: Verification) -> None:
    from rich.text import Text  # noqa: PLC0415 - only for people

    from resume_daemon.report.console import finding_lines, verdict_text  # noqa: PLC0415

    out = console()
    line = Text(f"{result.path.name}  ")
    line.append_text(verdict_text(result.verdict.value))
    out.print(line)
    for each in finding_lines(result.findings):
        out.print(each)


def _curriculum(run: Path, targets: list[Path]) -> tuple[Finding, ...]:
    from resume_daemon.curriculum.inspect import inspect_run  # noqa: PLC0415 - as above
    from resume_daemon.daemon.roster import step_of  # noqa: PLC0415 - as above
    from resume_daemon.formats.json_document import read_json  # noqa: PLC0415 - as above
    from resume_daemon.layouts.huggingface import TRAINER_STATE  # noqa: PLC0415 - as above
    from resume_daemon.trainer_log import trainer_log_of  # noqa: PLC0415 - as above

    inside = [(step, t) for t in targets if t.parent == run and (step := step_of(t.name))]
    newest = max(inside, default=None)
    trainer = None
    if newest is not None:
        try:
            trainer = trainer_log_of(read_json(newest[1] / TRAINER_STATE))
        except ResumeDaemonError:
            trainer = None  # Its own finding says so.
    name = (newest[1].name, newest[0]) if newest is not None else None
    return inspect_run(run.resolve(), newest=name, trainer=trainer)


def _print_curriculum(states: dict[Path, tuple[Finding, ...]]) -> None:
    from resume_daemon.report.console import finding_lines  # noqa: PLC0415 - only for people

    for findings in states.values():
        if findings:
            out = console()
            out.print("curriculum")
            for each in finding_lines(findings):
                out.print(each)
