"""``resume-daemon alerts list|test``: what fires, and whether a sink works."""

from __future__ import annotations

from pathlib import Path

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json, say
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar

app = typer.Typer(help="What fires now, and whether sinks work.", no_args_is_help=True)

_CONFIG: Path = typer.Option(
    ..., "--config", "-c", metavar="FILE", help="The daemon's configuration file."
)
_SINK: str | None = typer.Option(
    None, "--sink", metavar="NAME", help="Only this one; default: every sink."
)
_DELIVERED = range(200, 300)


@app.command("list")
def list_(run: Path = RUN, *, as_json: bool = JSON_OPTION, state_dir: Path = STATE_DIR) -> None:
    """List what fires now, and alerts not yet delivered."""
    from resume_daemon.alerting.outbox import Outbox  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.ledger.queries import RunState  # noqa: PLC0415 - as above
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - as above
    from resume_daemon.report.console import condition_lines  # noqa: PLC0415 - as above
    from resume_daemon.report.rows import firing_as_json  # noqa: PLC0415 - as above

    state = RunState()
    outbox = Outbox(run.name, "")
    for record in read_records(sidecar(run, state_dir).ledger):
        state.apply(record)
        outbox.apply(record.kind, record.digest, record.fields)
    pending = outbox.pending()
    if as_json:
        print_json(
            {
                "schema": 1,
                "firing": firing_as_json(state),
                "pending": [
                    {
                        "sink": alert.sink,
                        "condition": alert.flip.condition.key,
                        "state": alert.flip.state.value,
                    }
                    for alert in pending
                ],
            }
        )
        return
    out = console()
    for line in condition_lines(state):
        out.print(line)
    if not state.firing:
        say("nothing fires")
    for alert in pending:
        say(f"to be delivered to {alert.sink}: {alert.flip.condition.key} {alert.flip.state.value}")


@app.command("test")
def try_sinks(config: Path = _CONFIG, *, sink: str | None = _SINK) -> None:
    """Send a test message to each sink; status 1 if one fails."""
    from resume_daemon.alerting import testing  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.config.load import load_settings  # noqa: PLC0415 - as above
    from resume_daemon.daemon.setup import make_sinks  # noqa: PLC0415 - as above
    from resume_daemon.errors import UsageError  # noqa: PLC0415 - as above
    from resume_daemon.logs import configure_logs  # noqa: PLC0415 - as above

    settings = load_settings(config)
    configure_logs(settings.log.format, settings.log.level)
    sinks = [each for each in make_sinks(settings) if sink in {None, each.name}]
    if not sinks:
        known = ", ".join(each.name for each in settings.alerts.sinks)
        reason = f"there is no sink named {sink}" if sink and known else "it names no sink"
        hint = f"There are: {known}." if known else "Add one under alerts.sinks (docs/alerts.md)."
        raise UsageError("test the alerts of", config, reason, hint=hint)
    name = settings.name or (settings.run.name if settings.run else "a run")
    failed = False
    for each in sinks:
        outcome = each.send(each.render(testing.test_alert(name)))
        delivered = outcome.status in _DELIVERED
        failed = failed or not delivered
        say(
            f"{each.name}: delivered"
            if delivered
            else f"{each.name}: not delivered: {outcome.detail or f'status {outcome.status}'}"
        )
    if failed:
        raise typer.Exit(1)
