"""Variables that the next start would inherit. Pure: the environment is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity
from resume_daemon.resume.environment import CHECKPOINT_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.findings import Finding

WANDB_FOREIGN = Code(
    "RD830",
    "wandb-variable-foreign",
    Severity.ERROR,
    "A W&B variable names another run than the one that this training was logged under",
    "It is left over from another start. The rows of the resumed training would go into that other "
    "run: its curve is spoilt, and this one ends at the checkpoint.",
    'Set it anew in the shell that starts the trainer: `eval "$(resume-daemon env RUN)"`.',
    "docs.wandb.ai, environment variables: WANDB_RUN_ID decides which run is written to",
)
WANDB_CONTRADICTION = Code(
    "RD831",
    "wandb-variables-contradict",
    Severity.WARNING,
    "W&B variables do not go together",
    "A WANDB_RUN_ID without WANDB_RESUME does not continue the run: offline the new log replaces "
    "the old one when both are synchronised. WANDB_RESUME=must without an id, or several ways to "
    "resume at once, end the trainer when it starts W&B. WANDB_RUN_NAME from an earlier start "
    "gives a script that reads it the wrong name.",
    'Set them anew in the shell that starts the trainer: `eval "$(resume-daemon env RUN)"`.',
    "wandb/sdk/wandb_settings.py: fork_from, resume and resume_from exclude each other; measured "
    "with wandb 0.22 to 0.31",
)
WANDB_OFF = Code(
    "RD832",
    "wandb-switched-off",
    Severity.WARNING,
    "W&B is switched off for a run that was logged until now",
    "WANDB_MODE or WANDB_DISABLED tells W&B to write nothing, so the curve ends at the checkpoint.",
    "Unset the variable, unless that is what you want.",
    "wandb/sdk/wandb_settings.py: mode; transformers integration_utils.py: WANDB_DISABLED",
)
CHECKPOINT_ELSEWHERE = Code(
    "RD833",
    "checkpoint-variable-elsewhere",
    Severity.ERROR,
    "RESUME_FROM_CHECKPOINT_DIR names something that must not be resumed from",
    "The launch script would resume from a checkpoint that is not there, belongs to another run, "
    "is unsound, or is not the newest one that will do.",
    'Set it anew in the shell that starts the trainer: `eval "$(resume-daemon env RUN)"`.',
)
NO_GPU_VISIBLE = Code(
    "RD834",
    "no-gpu-visible",
    Severity.WARNING,
    "CUDA_VISIBLE_DEVICES hides every GPU",
    "It is set and names no device, so the trainer falls back to the processor or ends with an "
    "error about a missing device. Left behind by tests and by job schedulers.",
    "Unset it, or name the devices.",
    "CUDA C++ programming guide, environment variables: only the devices before the first invalid "
    "index are visible",
)
WANDB_NOT_NAMED = Code(
    "RD835",
    "wandb-run-not-named",
    Severity.INFO,
    "The environment does not yet say which W&B run goes on",
    "Started like this, the trainer begins a second run, and the curve goes on there.",
    'Before the start: `eval "$(resume-daemon env RUN)"`, or start with `resume-daemon exec`.',
)

_OFF_MODES = frozenset({"disabled"})
_TRUE = frozenset({"1", "true", "yes", "on"})
_HIDDEN = frozenset({"", "-1", "none", "nodevfiles", "void"})
_RESUME_VARIABLES = ("WANDB_RESUME", "WANDB_RESUME_FROM", "WANDB_FORK_FROM")


@dataclass(frozen=True, slots=True)
class EnvironmentFacts:
    """What the variables are held against.

    Attributes:
        variables: The environment that the trainer would inherit.
        run_ids: W&B ids that this training was logged under, as far as is known.
        certain: Whether no other id can be this training's.
        resume_id: The id of the checkpoint that a resume would start from, or None.
        named: Where ``RESUME_FROM_CHECKPOINT_DIR`` leads, or None where it is not set.
        trained_on_gpu: Whether the newest checkpoint holds a GPU's random state; None: not known.
    """

    variables: Mapping[str, str]
    run_ids: tuple[str, ...] = ()
    certain: bool = True
    resume_id: str | None = None
    named: NamedCheckpoint | None = None
    trained_on_gpu: bool | None = None


@dataclass(frozen=True, slots=True)
class NamedCheckpoint:
    """What ``RESUME_FROM_CHECKPOINT_DIR`` names.

    Attributes:
        path: Its value.
        exists: Whether a directory or file is there.
        in_run: Whether it is one of the run's checkpoints; None where no run was given.
        verdict: Its verdict, where it was judged.
        wanted: Name of the checkpoint that a plan chooses, or None.
    """

    path: str
    exists: bool
    in_run: bool | None = None
    verdict: str | None = None
    wanted: str | None = None


def check(facts: EnvironmentFacts) -> Iterator[Finding]:
    """Yield what the next start should not inherit."""
    yield from _wandb_foreign(facts)
    yield from _wandb_contradiction(facts.variables, _ids_named(facts.variables))
    yield from _wandb_off(facts)
    if facts.resume_id is not None and not _ids_named(facts.variables):
        yield WANDB_NOT_NAMED.finding(
            f"No variable names the W&B run {facts.resume_id}, in which the curve should go on."
        )
    if facts.named is not None:
        yield from _checkpoint(facts.named)
    devices = facts.variables.get("CUDA_VISIBLE_DEVICES")
    if devices is not None and devices.strip().lower() in _HIDDEN:
        on_processor = facts.trained_on_gpu is False
        yield NO_GPU_VISIBLE.finding(
            f"CUDA_VISIBLE_DEVICES={devices!r} hides every GPU"
            + ("; the run was trained without one until now." if on_processor else "."),
            severity=Severity.INFO if on_processor else None,
        )


def _wandb_foreign(facts: EnvironmentFacts) -> Iterator[Finding]:
    known = ", ".join(facts.run_ids)
    ids = _ids_named(facts.variables)
    if ids.get("WANDB_FORK_FROM") in facts.run_ids:
        # A fork is a new run on purpose, and may be given its id.
        ids.pop("WANDB_RUN_ID", None)
    for name, named in ids.items():
        if not facts.run_ids:
            continue
        if named in facts.run_ids:
            if facts.resume_id is not None and named != facts.resume_id:
                yield WANDB_FOREIGN.finding(
                    f"{name} names the W&B run {named}; the checkpoint to resume from was logged "
                    f"under {facts.resume_id}.",
                    severity=Severity.WARNING,
                )
            continue
        doubt = "" if facts.certain else ", as far as can be told"
        yield WANDB_FOREIGN.finding(
            f"{name} names the W&B run {named}; this training was logged under {known}{doubt}.",
            severity=None if facts.certain else Severity.WARNING,
        )


def _wandb_contradiction(variables: Mapping[str, str], ids: Mapping[str, str]) -> Iterator[Finding]:
    ways = [name for name in _RESUME_VARIABLES if variables.get(name)]
    if len(ways) > 1:
        yield WANDB_CONTRADICTION.finding(
            f"{' and '.join(ways)} are set, and exclude each other: W&B refuses to start.",
        )
    if len(set(ids.values())) > 1 and "WANDB_FORK_FROM" not in ids:
        named = " and ".join(f"{name} names {each}" for name, each in ids.items())
        yield WANDB_CONTRADICTION.finding(f"{named}: W&B refuses to start.")
    resume = variables.get("WANDB_RESUME", "")
    if variables.get("WANDB_RUN_ID") and not ways:
        yield WANDB_CONTRADICTION.finding(
            "WANDB_RUN_ID is set without WANDB_RESUME: W&B is not told to go on with the run."
        )
    elif resume == "never" and variables.get("WANDB_RUN_ID"):
        yield WANDB_CONTRADICTION.finding(
            "WANDB_RESUME=never with a WANDB_RUN_ID: W&B refuses a run that exists."
        )
    elif resume == "must" and not variables.get("WANDB_RUN_ID"):
        yield WANDB_CONTRADICTION.finding(
            "WANDB_RESUME=must without a WANDB_RUN_ID: there is no run to go on with."
        )
    if name := variables.get("WANDB_RUN_NAME"):
        yield WANDB_CONTRADICTION.finding(
            f"WANDB_RUN_NAME={name} is left over from an earlier start; W&B itself reads "
            "WANDB_NAME, a launch script may read this one.",
            severity=Severity.INFO,
        )


def _wandb_off(facts: EnvironmentFacts) -> Iterator[Finding]:
    mode = facts.variables.get("WANDB_MODE", "")
    disabled = facts.variables.get("WANDB_DISABLED", "")
    off = [f"WANDB_MODE={mode}"] if mode in _OFF_MODES else []
    off += [f"WANDB_DISABLED={disabled}"] if disabled.lower() in _TRUE else []
    if off and facts.run_ids:
        yield WANDB_OFF.finding(f"{' and '.join(off)} is set; nothing more would be logged.")


def _checkpoint(named: NamedCheckpoint) -> Iterator[Finding]:
    lead = f"{CHECKPOINT_VARIABLE}={named.path}"
    if not named.exists:
        yield CHECKPOINT_ELSEWHERE.finding(f"{lead}: there is nothing.")
    elif named.in_run is False:
        yield CHECKPOINT_ELSEWHERE.finding(
            f"{lead} is no checkpoint of this run.", severity=Severity.WARNING
        )
    elif named.verdict in {"unsound", "incomplete"}:
        yield CHECKPOINT_ELSEWHERE.finding(f"{lead} is {named.verdict}.")
    elif named.wanted is not None and not _is(named.path, named.wanted):
        yield CHECKPOINT_ELSEWHERE.finding(
            f"{lead} is not {named.wanted}, the newest that can be resumed from.",
            severity=Severity.WARNING,
        )


def _is(path: str, name: str) -> bool:
    return path.rstrip("/").rpartition("/")[2] == name


def _ids_named(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the W&B run ids that variables name, by variable."""
    found = {}
    if run_id := variables.get("WANDB_RUN_ID"):
        found["WANDB_RUN_ID"] = run_id
    for name in ("WANDB_RESUME_FROM", "WANDB_FORK_FROM"):
        # "<id>?_step=<n>", as wandb's RunMoment spells it.
        if place := variables.get(name):
            found[name] = place.partition("?")[0]
    return found
