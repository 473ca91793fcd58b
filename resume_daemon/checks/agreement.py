"""Do the parts belong to one moment: name, trainer state, schedule, optimizer and weights?"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.huggingface import is_deepspeed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.evidence import Evidence

STEP_NAME = Code(
    "RD401",
    "step-name",
    Severity.ERROR,
    "The trainer state is of another step than the directory's name",
    "global_step in trainer_state.json is not N of checkpoint-N: files of two saves are mixed, or "
    "the state was edited. The trainer resumes at the state's step with the other step's weights.",
    "Resume from an earlier checkpoint.",
    "measured on transformers 5.23: a wrong global_step, the trainer resumes",
)
LOG_AHEAD = Code(
    "RD402",
    "log-ahead",
    Severity.ERROR,
    "The trainer's log ends after its own step",
    "The last entry of log_history has a higher step than global_step, which cannot be true of one "
    "moment.",
    "Resume from an earlier checkpoint.",
    "transformers trainer.py: Trainer.log stamps each entry with global_step",
)
SCHEDULER_STEP = Code(
    "RD403",
    "scheduler-step",
    Severity.ERROR,
    "The learning rate schedule is of another step",
    "The trainer steps the schedule once per optimizer step, so last_epoch equals global_step. "
    "Here it does not: scheduler.pt is from another save, and the learning rate would jump.",
    "Resume from an earlier checkpoint.",
    "measured on transformers 5.23: scheduler.pt of another step, the trainer resumes",
)
OPTIMIZER_STEP = Code(
    "RD404",
    "optimizer-step",
    Severity.ERROR,
    "The optimizer state is of another step",
    "The optimizer counts its own steps. The highest counter is not the trainer's step: "
    "optimizer.pt is from another save.",
    "Resume from an earlier checkpoint.",
    "measured on transformers 5.23: optimizer.pt of another step, the trainer resumes",
)
OPTIMIZER_SHAPES = Code(
    "RD405",
    "optimizer-shapes",
    Severity.ERROR,
    "The optimizer state does not fit the weights",
    "Its moments have shapes that no weight here has: it belongs to another model or adapter rank.",
    "Resume from an earlier checkpoint.",
    "torch optim/adamw.py: exp_avg has the shape of its parameter",
)
LOG_ORDER = Code(
    "RD406",
    "log-order",
    Severity.WARNING,
    "The trainer's log is out of order",
    "Steps in log_history go back, or entries are not as the trainer writes them. Curves and "
    "best-checkpoint logic that read it will be wrong.",
    "Look at the entries around the place that is named.",
)
LOSS_NOT_FINITE = Code(
    "RD407",
    "loss-not-finite",
    Severity.WARNING,
    "The loss is not a finite number",
    "The last logged loss is NaN or infinite. The weights may already carry the damage.",
    "Resume from a checkpoint before the loss broke.",
    "wandb issue 8592: users ask for this from outside the trainer",
)
STATE_MALFORMED = Code(
    "RD408",
    "trainer-state-malformed",
    Severity.ERROR,
    "trainer_state.json has a wrong type or lacks a key",
    "The trainer needs global_step as a whole number and log_history as a list; it raises, or "
    "resumes at a wrong step.",
    "Resume from an earlier checkpoint.",
    "transformers trainer_callback.py: TrainerState",
)
OPTIMIZER_RESTARTED = Code(
    "RD409",
    "optimizer-restarted",
    Severity.WARNING,
    "Optimizer and schedule have counted fewer steps than the trainer",
    "The trainer loads optimizer and schedule together or not at all, so both lag by the same "
    "number of steps where an earlier resume started them afresh; a mixed-precision scaler that "
    "skips steps makes them lag, too. Files of another save can look the same. Where the "
    "checkpoint before shows the same gap, or a scaler explains it, it is only told.",
    "If an earlier resume lost the optimizer state, nothing is to be done now. Otherwise resume "
    "from an earlier checkpoint.",
    "transformers 5.23 trainer.py: _load_optimizer_and_scheduler; measured: after such a resume "
    "both count from zero",
)

_MOMENTS = frozenset({"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"})
_LARGEST = 2**53
"""Whole numbers above it are no counters, and may be too long to be printed."""

MOST_SKIPPED = 20
"""Steps that a gradient scaler skips in a row at most: it starts at 2^16 and halves (torch
``amp/grad_scaler.py``)."""


def trainer_step(evidence: Evidence) -> int | None:
    """Return global_step of the trainer state, or None where it is not a whole number."""
    state = evidence.document(Role.TRAINER_STATE)
    return _counter(state.get("global_step")) if isinstance(state, dict) else None


def scheduler_step(evidence: Evidence) -> int | None:
    """Return ``last_epoch`` of scheduler.pt, or None where there is none."""
    for name in evidence.files(Role.SCHEDULER):
        value = evidence.value(name)
        # ReduceLROnPlateau and GreedyLR step at evaluations, not at optimizer steps.
        if isinstance(value, dict) and "num_bad_epochs" not in value:
            return _counter(value.get("last_epoch"))
    return None


def _counter(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _LARGEST else None


def optimizer_step(evidence: Evidence) -> int | None:
    """Return the highest step counter of the optimizer, or None where it keeps none."""
    found = [step for steps in evidence.optimizer_steps.values() for step in steps]
    return int(max(finite)) if (finite := [s for s in found if 0 <= s < _LARGEST]) else None


def step_counters(evidence: Evidence) -> dict[str, int]:
    """Return every step counter that was found, for the manifest."""
    found = {
        "trainer": trainer_step(evidence),
        "scheduler": scheduler_step(evidence),
        "optimizer": optimizer_step(evidence),
    }
    return {name: step for name, step in found.items() if step is not None}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each pair of parts that contradict one another."""
    if not evidence.plain_optimizer:
        return
    state = evidence.document(Role.TRAINER_STATE)
    if isinstance(state, dict):
        yield from _check_state(state, evidence)
    step = trainer_step(evidence)
    step = evidence.step if step is None else step
    if step is not None:
        yield from _check_counters(step, evidence)
    yield from _check_shapes(evidence)


def _check_state(state: Mapping[str, Any], evidence: Evidence) -> Iterator[Finding]:
    file = evidence.files(Role.TRAINER_STATE)[0]
    step = trainer_step(evidence)
    if step is None:
        shown = repr(state.get("global_step"))[:50]
        yield STATE_MALFORMED.finding(f"global_step is {shown}, not a whole number", file=file)
        return
    if evidence.step is not None and step != evidence.step:
        yield STEP_NAME.finding(
            f"global_step is {step}, the directory says {evidence.step}", file=file
        )
    log = state.get("log_history")
    if not isinstance(log, list):
        yield STATE_MALFORMED.finding(f"log_history is {type(log).__name__}, not a list", file=file)
        return
    yield from _check_log(log, step, file)


def _check_log(log: list[Any], step: int, file: str) -> Iterator[Finding]:
    last = highest = 0
    losses: list[tuple[int, float]] = []
    ordered = True
    for number, entry in enumerate(log):
        at = _counter(entry.get("step")) if isinstance(entry, dict) else None
        if at is None:
            yield LOG_ORDER.finding(f"entry {number} of log_history has no step", file=file)
            return
        if at < last and ordered:
            ordered = False
            yield LOG_ORDER.finding(
                f"entry {number} of log_history is of step {at}, after step {last}", file=file
            )
        last, highest = at, max(highest, at)
        if isinstance(loss := entry.get("loss"), float):
            losses.append((at, loss))
    if highest > step:
        yield LOG_AHEAD.finding(
            f"log_history reaches step {highest}, global_step is {step}", file=file
        )
    broken = [at for at, loss in losses if not math.isfinite(loss)]
    if broken:
        current = broken[-1] == losses[-1][0]
        yield LOSS_NOT_FINITE.finding(
            f"the loss is not finite at step {broken[-1]}"
            + ("" if current else f" (finite again at step {losses[-1][0]})"),
            file=file,
            severity=None if current else Severity.INFO,
        )


def _check_counters(step: int, evidence: Evidence) -> Iterator[Finding]:
    """Hold the counters of schedule and optimizer against the trainer's.

    Where both lag by as much, an earlier resume may have started them afresh; a file of another
    save shows in one of them alone. Where only one of them counts, it cannot be told which it is.
    """
    scheduler, optimizer = scheduler_step(evidence), optimizer_step(evidence)
    if is_deepspeed(evidence.listing):
        optimizer = None  # The engine's steps may be ahead (transformers issue 12427).
    # Where the name disagrees with the trainer's step, that step is what is wrong.
    named = evidence.step in {None, step}
    if named and scheduler == optimizer is not None and optimizer < step:
        steady = _is_explained("optimizer", optimizer, step, evidence)
        yield OPTIMIZER_RESTARTED.finding(
            f"optimizer and schedule have counted {optimizer} steps, the trainer {step}",
            file=evidence.files(Role.OPTIMIZER)[0],
            severity=Severity.INFO if steady else None,
        )
        return
    alone = scheduler is None or optimizer is None
    if scheduler not in {None, step} and not _is_explained("scheduler", scheduler, step, evidence):
        yield SCHEDULER_STEP.finding(
            f"last_epoch is {scheduler}, the trainer is at step {step}",
            file=evidence.files(Role.SCHEDULER)[0],
            severity=Severity.WARNING if alone and scheduler < step else None,
        )
    if optimizer not in {None, step} and not _is_explained("optimizer", optimizer, step, evidence):
        yield OPTIMIZER_STEP.finding(
            f"the optimizer has counted {optimizer} steps, the trainer is at step {step}",
            file=evidence.files(Role.OPTIMIZER)[0],
            severity=Severity.WARNING if alone and optimizer < step else None,
        )


def _is_explained(counter: str, value: int, step: int, evidence: Evidence) -> bool:
    """Return whether a counter differs from the trainer's for a reason that is no mix-up.

    Either the checkpoint before shows the same gap, or the training is one in fp16, whose scaler
    drops the steps that overflow: but never a long row of them.
    """
    before = evidence.previous.steps if evidence.previous is not None else {}
    then = before.get(counter)
    if then is not None and before.get("trainer", 0) - then == step - value:
        return True
    if value > step or not (evidence.has(Role.SCALER) or evidence.argument("fp16") is True):
        return False
    return then is None or value > then or step - before.get("trainer", 0) <= MOST_SKIPPED


def _check_shapes(evidence: Evidence) -> Iterator[Finding]:
    moments = _moment_shapes(evidence)
    found = [evidence.shapes(name, Role.WEIGHTS) for name in evidence.files(Role.WEIGHTS)]
    if not moments or not all(found) or evidence.completeness.missing:
        return
    # A rank's optimizer may hold its piece of all parameters together, padded, as one vector.
    if any(evidence.parts[name].rank is not None for name in evidence.files(Role.OPTIMIZER)):
        return
    weights = Counter(shape for shapes in found for shape in shapes.values())
    strange = moments - weights
    if not strange:
        return
    # Low-rank optimizers keep moments smaller than the weight on purpose (GaLore, APOLLO).
    optimizer = evidence.argument("optim")
    named = str(getattr(optimizer, "arguments", optimizer) or "")
    if any(word in named.lower() for word in ("galore", "apollo", "muon", "adafactor", "lomo")):
        return
    adapter = evidence.document(Role.ADAPTER_CONFIGURATION)
    if isinstance(adapter, dict):
        # Others save parameters in another form (AdaLoRA: pruned, prompts: encoded).
        if adapter.get("peft_type") != "LORA":
            return
    elif _elements(strange) <= _elements(weights - moments):
        # transformers 5 fuses and transposes parameters, such as all experts of a layer, and saves
        # them as they were before (core_model_loading.py: revert_weight_conversion).
        return
    shape = next(iter(strange))
    file = evidence.files(Role.OPTIMIZER)[0]
    yield OPTIMIZER_SHAPES.finding(
        f"{moments[shape]} moments of shape {list(shape)}, but {weights[shape]} such weights",
        file=file,
    )


def _elements(shapes: Counter[tuple[int, ...]]) -> int:
    return sum(math.prod(shape) * count for shape, count in shapes.items())


def _moment_shapes(evidence: Evidence) -> Counter[tuple[int, ...]]:
    """Return how many parameters of each shape the optimizer keeps moments for."""
    found: Counter[tuple[int, ...]] = Counter()
    for name in evidence.files(Role.OPTIMIZER):
        by_parameter: dict[str, tuple[int, ...]] = {}
        for path, shape in evidence.shapes(name, Role.OPTIMIZER).items():
            parameter, _, kind = path.rpartition(".")
            if kind in _MOMENTS:
                by_parameter.setdefault(parameter, shape)
        found.update(by_parameter.values())
    return found
