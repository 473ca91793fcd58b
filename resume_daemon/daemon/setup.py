"""From settings to everything that the daemon is made of, checked before anything starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.alerting.secrets import Secret, load_secret
from resume_daemon.alerting.sinks import TIMEOUT, create
from resume_daemon.backup.address import check_apart, folder_of, parse_address
from resume_daemon.backup.metrics import greater_is_better
from resume_daemon.backup.policy import Rules
from resume_daemon.config.reload import compare
from resume_daemon.config.settings import Webhook
from resume_daemon.curriculum.schemas import Schema, known_schemas
from resume_daemon.daemon import scrubbing
from resume_daemon.daemon.backup_keeper import Policy
from resume_daemon.daemon.backup_task import Place
from resume_daemon.errors import UsageError
from resume_daemon.limits import Limits
from resume_daemon.reading.scan import ReadOptions
from resume_daemon.run_directory import check_run
from resume_daemon.state_directory import StateDirectory, choose_state_directory
from resume_daemon.verification import Depth, Options
from resume_daemon.watching import settle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.alerting.sinks import Sink
    from resume_daemon.config.settings import Settings

__all__ = ["Setup", "check_run", "make_schemas", "make_setup", "make_sinks"]

_MIB = 1024 * 1024


@dataclass(slots=True)
class Setup:
    """What the daemon runs with.

    Attributes:
        settings: The configuration.
        run: The run directory, with its links resolved.
        name: The run's name in alerts.
        state: Where the sidecar is.
        sinks: Where alerts go.
        schemas: Shapes of curriculum states.
    """

    settings: Settings
    run: Path
    name: str
    state: StateDirectory
    sinks: tuple[Sink, ...]
    schemas: tuple[Schema, ...]

    @property
    def verification(self) -> Options:
        """How checkpoints are verified."""
        verify = self.settings.verify
        rate = verify.read_mib_per_second
        return Options(
            depth=Depth(verify.depth),
            reading=ReadOptions(
                workers=verify.workers,
                bytes_per_second=None if rate is None else int(rate * _MIB),
                keep_page_cache=verify.keep_page_cache,
                give_way=verify.priority == "idle",
            ),
            allowed=frozenset(verify.allow_globals),
            limits=Limits(verify.largest_growth, verify.change_growth),
        )

    def scrubbing(self, *, once: bool) -> scrubbing.Settings:
        """Return when known checkpoints are read again; ``--once`` does only what is owed."""
        scrub = self.settings.scrub
        return scrubbing.Settings(
            # A quick verification reads no bytes, so there is nothing to compare with.
            enabled=scrub.enabled and self.settings.verify.depth == "deep" and not once,
            interval=scrub.interval_hours * 3600,
            bytes_per_second=max(int(scrub.mib_per_second * _MIB), 1),
        )

    def backups(self) -> Policy:
        """Return which backups are kept, and where."""
        backup, verify = self.settings.backup, self.settings.verify
        place = None
        if backup.to is not None:
            limits = [each for each in (verify.read_mib_per_second, backup.mib_per_second) if each]
            place = Place(
                address=parse_address(backup.to),
                folder=folder_of(self.run),
                hard_links=backup.hard_links,
                bytes_per_second=max(int(min(limits) * _MIB), 1) if limits else None,
                keep_page_cache=verify.keep_page_cache,
            )
        rules = Rules(
            newest=backup.newest,
            every=backup.every,
            keep_every=backup.keep_every,
            best=backup.best,
            greater_is_better=greater_is_better(backup.metric, backup.greater_is_better),
        )
        return Policy(place, rules, backup.metric)

    def settle(self, *, once: bool) -> settle.Settings:
        """Return how long a checkpoint must be quiet; ``--once`` gives nothing time to go on."""
        watch = self.settings.watch
        abandon = watch.settle_seconds if once else watch.abandon_seconds
        return settle.Settings(settle=watch.settle_seconds, abandon=abandon)

    def adopt(self, new: Setup) -> tuple[str, ...]:
        """Take over what may change while the daemon runs; return what needs a restart."""
        reload = compare(self.settings, new.settings)
        self.settings, self.sinks, self.schemas = reload.settings, new.sinks, new.schemas
        return reload.needs_restart


def make_setup(settings: Settings, environ: Mapping[str, str] = os.environ) -> Setup:
    """Return what the daemon runs with.

    Raises:
        UsageError: The run directory is missing, no directory or unreadable; a secret is not where
            the configuration says; a schema is wrong; or nothing can be written anywhere.
    """
    if settings.run is None:
        raise UsageError(
            "watch", None, "no run directory is given", hint="Name one, or set `run:` in the file."
        )
    run = check_run(settings.run)
    if settings.backup.to is not None:
        check_apart(parse_address(settings.backup.to), run)
    return Setup(
        settings=settings,
        run=run,
        name=settings.name or run.name,
        state=choose_state_directory(run, settings.state_dir, environ),
        sinks=make_sinks(settings, environ),
        schemas=make_schemas(settings),
    )


def make_sinks(settings: Settings, environ: Mapping[str, str] = os.environ) -> tuple[Sink, ...]:
    """Return the configured sinks, with their secrets read.

    Raises:
        UsageError: A secret is not where the configuration says, or is unusable.
    """
    sinks = []
    for sink in settings.alerts.sinks:
        plain = sink.url if isinstance(sink, Webhook) else None
        url = load_secret(
            credential=sink.url_credential,
            file=sink.url_file,
            variable=sink.url_env,
            environment=environ,
        )
        signing = None
        timeout = TIMEOUT
        if isinstance(sink, Webhook):
            timeout = sink.timeout_seconds
            signing = load_secret(
                credential=sink.secret_credential,
                file=sink.secret_file,
                variable=sink.secret_env,
                environment=environ,
            )
        sinks.append(
            create(
                sink.type,
                sink.name,
                url=url if plain is None else Secret(plain),
                signing_secret=signing,
                timeout=timeout,
            )
        )
    return tuple(sinks)


def make_schemas(settings: Settings) -> tuple[Schema, ...]:
    """Return the user's schemas and then the shipped ones.

    Raises:
        UsageError: A schema of the configuration is wrong.
    """
    own = [
        Schema.from_mapping(mapping, f"curriculum.schemas[{number}]")
        for number, mapping in enumerate(settings.curriculum.schemas)
    ]
    return tuple(known_schemas(own))
