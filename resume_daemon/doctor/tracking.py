"""The tracker's side of a resume: can it log, and which run goes on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.findings import Finding

NO_KEY = Code(
    "RD843",
    "wandb-not-authenticated",
    Severity.WARNING,
    "No key for the W&B server was found",
    "The run was logged online. Without a key W&B asks for one at the start, which a job without a "
    "terminal cannot answer: it ends there.",
    "`wandb login`, or set WANDB_API_KEY, as the user that trains and where its home directory is.",
    "wandb/sdk/lib/wbauth: WANDB_API_KEY, then netrc",
)
SEVERAL_RUNS = Code(
    "RD844",
    "wandb-run-undecided",
    Severity.WARNING,
    "More than one W&B run may be this training's",
    "No daemon has recorded which, and the logs on this machine leave it open. A resume that names "
    "the wrong one spoils its curve.",
    "Name the right one with --run-id, or let a daemon watch the run from its start.",
)
KEY_UNREACHABLE = Code(
    "RD845",
    "wandb-address-unusable",
    Severity.WARNING,
    "The W&B server's address cannot be used",
    "It is no http or https address, so nothing can be logged online.",
    "Correct WANDB_BASE_URL, or base_url in ~/.config/wandb/settings.",
)


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A W&B run as its logs on this machine show it."""

    run_id: str
    segments: int
    online: bool


@dataclass(frozen=True, slots=True)
class TrackerFacts:
    """What is known of the tracker.

    Attributes:
        directories: Where logs of W&B lie.
        local: Runs in them that may be this training's.
        recorded: Ids that a daemon recorded for this training.
        named: The id that the environment or the user names, or None.
        key: Whether a key for the server is there; None where the address is unusable.
        server: The server's host, or None.
        offline: Whether the environment asks for no server.
    """

    directories: tuple[str, ...] = ()
    local: tuple[LocalRun, ...] = ()
    recorded: tuple[str, ...] = ()
    named: str | None = None
    key: bool | None = False
    server: str | None = None
    offline: bool = False

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Ids that may be this training's: those recorded, else those of local logs."""
        return self.recorded or tuple(each.run_id for each in self.local)

    @property
    def logged_online(self) -> bool:
        """Whether this training was logged to a server."""
        return any(each.online for each in self.local)


def check(facts: TrackerFacts) -> Iterator[Finding]:
    """Yield what stands in the way of the curve's going on."""
    if facts.logged_online and not facts.offline:
        if facts.key is None:
            yield KEY_UNREACHABLE.finding("The address of the W&B server cannot be used.")
        elif not facts.key:
            yield NO_KEY.finding(
                f"No key for {facts.server or 'the W&B server'} in WANDB_API_KEY or netrc."
            )
    ids = facts.run_ids
    if len(ids) > 1 and not facts.recorded and facts.named not in ids:
        yield SEVERAL_RUNS.finding(f"These W&B runs may be this training's: {', '.join(ids)}.")


def summary(facts: TrackerFacts) -> str:
    """Return what was seen, in a sentence."""
    if not facts.run_ids:
        return "no run of W&B is known for this training"
    ids = ", ".join(facts.run_ids)
    source = "as recorded by a daemon" if facts.recorded else "by its logs on this machine"
    key = "a key is there" if facts.key else "no key is there"
    return f"W&B run {ids}, {source}; {key if facts.logged_online else 'logged offline'}"
