"""Do the parts belong to one moment: name, trainer state, schedule, optimizer and weights?"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role

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
    Severity.INFO,
    "The optimizer has counted fewer steps than the trainer, steadily",
    "The gap is the same as in the checkpoint before: the optimizer was started afresh at some "
    "earlier resume, or a mixed-precision scaler skipped steps.",
    "Nothing to do now; the earlier resume lost the optimizer state.",
)

_MOMENTS = frozenset({"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"})


def trainer_step(evidence: Evidence) -> int | None:
    """Return global_step of the trainer state, or None where it is not a whole number."""
    state = evidence.document(Role.TRAINER_STATE)
    value = state.get("global_step") if isinstance(state, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def scheduler_step(evidence: Evidence) -> int | None:
    """Return ``last_epoch`` of scheduler.pt, or None where there is none."""
    for name in evidence.files(Role.SCHEDULER):
        value = getattr(evidence.torch_files.get(name), "value", None)
        last = value.get("last_epoch") if isinstance(value, dict) else None
        if isinstance(last, int) and not isinstance(last, bool):
            return last
    return None


def optimizer_step(evidence: Evidence) -> int | None:
    """Return the highest step counter of the optimizer, or None where it keeps none."""
    finite = [step for step in evidence.optimizer_steps if math.isfinite(step)]
    return int(max(finite)) if finite else None


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
    state = evidence.document(Role.TRAINER_STATE)
    if isinstance(state, dict):
        yield from _check_state(state, evidence)
    step = trainer_step(evidence)
    step = evidence.step if step is None else step
    if step is not None:
        yield from _check_scheduler(step, evidence)
        yield from _check_optimizer(step, evidence)
    yield from _check_shapes(evidence)


def _check_state(state: Mapping[str, Any], evidence: Evidence) -> Iterator[Finding]:
    file = evidence.files(Role.TRAINER_STATE)[0]
    step = trainer_step(evidence)
    if step is None or step < 0:
        yield STATE_MALFORMED.finding(
            f"global_step is {state.get('global_step')!r}, not a whole number", file=file
        )
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
    last = -1
    for number, entry in enumerate(log):
        at = entry.get("step") if isinstance(entry, dict) else None
        if not isinstance(at, int) or isinstance(at, bool):
            yield LOG_ORDER.finding(f"entry {number} of log_history has no step", file=file)
            return
        if at < last:
            yield LOG_ORDER.finding(
                f"entry {number} of log_history is of step {at}, after step {last}", file=file
            )
            break
        last = at
    highest = max((e["step"] for e in log if isinstance(e.get("step"), int)), default=0)
    if highest > step:
        yield LOG_AHEAD.finding(
            f"log_history reaches step {highest}, global_step is {step}", file=file
        )
    losses = [(e["step"], e["loss"]) for e in log if isinstance(e.get("loss"), float)]
    broken = [at for at, loss in losses if not math.isfinite(loss)]
    if broken:
        current = broken[-1] == losses[-1][0]
        yield LOSS_NOT_FINITE.finding(
            f"the loss is not finite at step {broken[-1]}"
            + ("" if current else f" (finite again at step {losses[-1][0]})"),
            file=file,
            severity=None if current else Severity.INFO,
        )


def _skips_steps(evidence: Evidence) -> bool:
    """Return whether optimizer steps may be skipped: fp16 scaling drops those that overflow."""
    return evidence.has(Role.SCALER) or evidence.argument("fp16") is True


def _check_scheduler(step: int, evidence: Evidence) -> Iterator[Finding]:
    last = scheduler_step(evidence)
    if last is None or last == step:
        return
    file = evidence.files(Role.SCHEDULER)[0]
    value = evidence.torch_files[file].value
    # ReduceLROnPlateau steps at evaluations, not at optimizer steps.
    if "num_bad_epochs" in value or (last < step and _skips_steps(evidence)):
        return
    if _same_gap("scheduler", step - last, evidence):
        return
    yield SCHEDULER_STEP.finding(f"last_epoch is {last}, the trainer is at step {step}", file=file)


def _check_optimizer(step: int, evidence: Evidence) -> Iterator[Finding]:
    highest = optimizer_step(evidence)
    if highest is None or highest == step:
        return
    file = evidence.files(Role.OPTIMIZER)[0]
    if highest < step and (
        _skips_steps(evidence) or _same_gap("optimizer", step - highest, evidence)
    ):
        yield OPTIMIZER_RESTARTED.finding(
            f"the optimizer has counted {highest} steps, the trainer {step}", file=file
        )
        return
    yield OPTIMIZER_STEP.finding(
        f"the optimizer has counted {highest} steps, the trainer is at step {step}", file=file
    )


def _same_gap(counter: str, gap: int, evidence: Evidence) -> bool:
    """Return whether the checkpoint before shows the same gap: then it is history, not a mix-up."""
    before = evidence.previous.steps if evidence.previous is not None else {}
    return counter in before and before.get("trainer", 0) - before[counter] == gap


def _check_shapes(evidence: Evidence) -> Iterator[Finding]:
    moments = _moment_shapes(evidence)
    weights = Counter(
        shape for name in evidence.files(Role.WEIGHTS) for shape in _shapes_in(name, evidence)
    )
    if not moments or not weights:
        return
    adapter = evidence.document(Role.ADAPTER_CONFIGURATION)
    if isinstance(adapter, dict) and adapter.get("peft_type") not in {"LORA", "ADALORA", "LOHA"}:
        return  # Prompt-like adapters train parameters that they do not save under their shape.
    strange = {shape: n for shape, n in moments.items() if n > weights[shape]}
    if not strange:
        return
    # Low-rank optimizers keep moments smaller than the weight on purpose (GaLore, APOLLO).
    optimizer = evidence.argument("optim")
    named = str(getattr(optimizer, "arguments", optimizer) or "")
    if any(word in named.lower() for word in ("galore", "apollo", "muon", "adafactor", "lomo")):
        return
    shape, count = next(iter(strange.items()))
    file = evidence.files(Role.OPTIMIZER)[0]
    yield OPTIMIZER_SHAPES.finding(
        f"{count} moments of shape {list(shape)}, but {weights[shape]} such weights", file=file
    )


def _moment_shapes(evidence: Evidence) -> Counter[tuple[int, ...]]:
    """Return how many parameters of each shape the optimizer keeps moments for."""
    found: Counter[tuple[int, ...]] = Counter()
    for name in evidence.files(Role.OPTIMIZER):
        torch_file = evidence.torch_files.get(name)
        by_parameter: dict[str, tuple[int, ...]] = {}
        for path, reference in (torch_file.tensors if torch_file else {}).items():
            parameter, _, kind = path.rpartition(".")
            if kind in _MOMENTS:
                by_parameter.setdefault(parameter, reference.shape)
        found.update(by_parameter.values())
    return found


def _shapes_in(name: str, evidence: Evidence) -> list[tuple[int, ...]]:
    if name in evidence.headers:
        return [span.shape for span in evidence.headers[name].tensors]
    if name in evidence.torch_files:
        return [reference.shape for reference in evidence.torch_files[name].tensors.values()]
    return []
