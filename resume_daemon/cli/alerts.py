"""``resume-daemon alerts list|test``: what fires, and whether a sink works."""

from __future__ import annotations

from pathlib import Path

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar, state_of

app = typer.Typer(help="What fires now, and whether sinks work.", no_args_is_help=True)

_CONFIG: Path = typer.Option(..., "--config", "-c", help="The daemon's configuration file.")
_DELIVERED = range(200, 300)


@app.command("list")
def list_(run: Path = RUN, *, as_json: bool = JSON_OPTION, state_dir: Path = STATE_DIR) -> None:
    """List the conditions that fire now, and the alerts that are still to be delivered."""
    from resume_daemon.alerting.outbox import Outbox  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - as above
    from resume_daemon.report.console import condition_lines  # noqa: PLC0415 - as above

    directory = sidecar(run, state_dir)
    outbox = Outbox(run.name, "")
    for record in read_records(directory.ledger):
        outbox.apply(record.kind, record.digest, record.fields)
    pending = [(alert.sink, alert.flip) for alert in outbox.pending()]
    state = state_of(directory)
    if as_json:
        print_json(
            {
                "schema": 1,
                "firing": [
                    {
                        "condition": key,
                        "code": f.condition.code,
                        "severity": f.condition.severity.value,
                        "message": f.condition.message,
                        "since": f.since,
                    }
                    for key, f in state.firing.items()
                ],
                "pending": [
                    {"sink": sink, "condition": flip.condition.key, "state": flip.state.value}
                    for sink, flip in pending
                ],
            }
        )
        return
    out = console()
    for line in condition_lines(state):
        out.print(line)
    if not state.firing:
        out.print("nothing fires")
    for sink, flip in pending:
        out.print(f"to be delivered to {sink}: {flip.condition.key} {flip.state.value}")


@app.command("test")
def try_sinks(
    config: Path = _CONFIG,
    *,
    sink: str | None = typer.Option(None, "--sink", help="Only this one; default: every sink."),
) -> None:
    """Send a test message to each sink. Exit status 1 if one does not take it."""
    from resume_daemon.alerting import testing  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.config.load import load_settings  # noqa: PLC0415 - as above
    from resume_daemon.daemon.setup import make_sinks  # noqa: PLC0415 - as above
    from resume_daemon.errors import UsageError  # noqa: PLC0415 - as above
    from resume_daemon.logs import configure_logs  # noqa: PLC0415 - as above

    settings = load_settings(config)
    configure_logs(settings.log.format, settings.log.level)
    sinks = [each for each in make_sinks(settings) if sink in {None, each.name}]
    if not sinks:
        known = ", ".join(each.name for each in settings.alerts.sinks) or "none"
        raise UsageError("test the alerts of", config, f"no such sink (there are: {known})")
    name = settings.name or (settings.run.name if settings.run else "a run")
    failed = False
    for each in sinks:
        outcome = each.send(each.render(testing.test_alert(name)))
        delivered = outcome.status in _DELIVERED if outcome.status is not None else False
        failed = failed or not delivered
        said = "delivered" if delivered else f"not delivered: {outcome.detail or outcome.status}"
        typer.echo(f"{each.name}: {said}")
    if failed:
        raise typer.Exit(1)
