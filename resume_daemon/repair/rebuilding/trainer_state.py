"""``trainer_state.json`` of a checkpoint, from the one of a later checkpoint of the same run.

Source: transformers 5.24 ``trainer_callback.py: TrainerState`` and ``trainer.py``:
``_maybe_log_save_evaluate`` (a step is logged and evaluated before it is saved), ``_inner_training_
loop`` (the epoch), ``_determine_best_metric``. ``load_from_json`` refuses keys that it does not
know, so that the file itself cannot say that it was rebuilt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.repair.rebuilding.outcome import Rebuilt, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE: Final = "trainer_state.json"

_CONTROL: Final = "TrainerControl"
_TOKENS: Final = "num_tokens"
"""TRL logs the state's ``num_input_tokens_seen`` under this name (trl 1.16 ``grpo_trainer.py``)."""
_MOST_STEPS_OF_AN_EPOCH: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """The trainer state of another checkpoint of the run."""

    name: str
    state: Any


def rebuild(
    step: int, later: Source, earlier: Source | None = None, rate: float | None = None
) -> Rebuilt | Refused:
    """Return the trainer state of a checkpoint.

    Args:
        step: The checkpoint's step.
        later: A later checkpoint's state, whose history holds this one's.
        earlier: An earlier checkpoint's, which has to be the beginning of that history.
        rate: The learning rate that the optimizer of the checkpoint has, where it is known.
    """
    state = later.state
    if reason := _unusable(step, later):
        return Refused(reason)
    history: list[dict[str, Any]] = state["log_history"]
    rows = [row for row in history if row["step"] <= step]
    reason = _other_beginning(rows, later, earlier) or _other_rate(step, later, rate)
    if reason is not None:
        return Refused(reason)
    doubts: list[str] = []
    value = dict(state)
    value["log_history"] = rows
    value["global_step"] = step
    value["epoch"] = _epoch(step, rows, state, doubts)
    value |= _counted(step, rows, state, doubts)
    value |= _best(step, state, doubts)
    value["stateful_callbacks"] = _callbacks(state, earlier, doubts)
    return Rebuilt(
        _encoded(value),
        f"the history that {later.name} goes on with",
        tuple(doubts),
    )


def correct(step: int, own: Source, counted: Sequence[float]) -> Rebuilt | Refused:
    """Return a checkpoint's own state with the step that everything else in it says.

    Args:
        step: The step of the checkpoint's name.
        own: Its own state, whose ``global_step`` is another.
        counted: The optimizer's own step counter of each parameter.
    """
    state = own.state
    history = state.get("log_history") if isinstance(state, dict) else None
    last = history[-1] if isinstance(history, list) and history else None
    if not isinstance(last, dict) or last.get("step") != step:
        return Refused(f"its own history does not end at step {step}")
    if last.get("epoch") != state.get("epoch"):
        return Refused("its epoch is not that of the last row of its history")
    if not counted or set(counted) != {step}:
        return Refused(f"the optimizer's own counters do not all say {step}")
    return Rebuilt(
        _encoded({**state, "global_step": step}),
        "itself, with the step that its history, its optimizer and its name say",
    )


def _encoded(state: Any) -> bytes:
    return (json.dumps(state, indent=2, sort_keys=True) + "\n").encode()


def _unusable(step: int, later: Source) -> str | None:
    state = later.state
    history = state.get("log_history") if isinstance(state, dict) else None
    reached = state.get("global_step") if isinstance(state, dict) else None
    if not isinstance(history, list) or not all(
        isinstance(row, dict) and type(row.get("step")) is int for row in history
    ):
        return f"{later.name} has no history in which each row says its step"
    if type(reached) is not int or reached <= step:
        return f"{later.name} is not of a later step"
    steps = [row["step"] for row in history]
    if steps != sorted(steps):
        return f"the history of {later.name} is not in order"
    if any(row["step"] == step and "train_runtime" in row for row in history):
        return f"a training ended at step {step}, and what it logged after the save is not told"
    return None


def _other_beginning(
    rows: Sequence[Mapping[str, Any]], later: Source, earlier: Source | None
) -> str | None:
    """Return why a history is not that of the run up to the step, or None."""
    if earlier is None:
        return None
    before = earlier.state.get("log_history") if isinstance(earlier.state, dict) else None
    if isinstance(before, list) and list(rows[: len(before)]) == before:
        return None
    return (
        f"the history of {later.name} does not begin with that of {earlier.name}: the steps "
        "between were trained more than once"
    )


def _other_rate(step: int, later: Source, rate: float | None) -> str | None:
    """Return why the steps after are not those that the checkpoint's optimizer made, or None."""
    # The rate of a step is logged before the scheduler goes on; before 4.46, after that.
    rates = {
        row["step"]: row["learning_rate"]
        for row in later.state["log_history"]
        if row["step"] in {step, step + 1} and isinstance(row.get("learning_rate"), float)
    }
    if rate is None or step + 1 not in rates or rate in rates.values():
        return None
    logged = ", ".join(map(repr, rates.values()))
    return (
        f"the optimizer has the learning rate {rate!r}, and {later.name} logged {logged}: its "
        "steps are those of another pass"
    )


def _epoch(
    step: int, rows: Sequence[Mapping[str, Any]], state: Mapping[str, Any], doubts: list[str]
) -> Any:
    reached, last = state["global_step"], state.get("epoch")
    known = [(row["step"], row["epoch"]) for row in rows if isinstance(row.get("epoch"), float)]
    per_epoch = _steps_of_an_epoch([*known, (reached, last)])
    if per_epoch is not None:
        return _epoch_at(step, per_epoch)
    at = next((epoch for row, epoch in reversed(known) if row == step), None)
    if at is not None and at != round(at, 2):
        return at
    doubts.append("Its epoch is rounded or estimated; the trainer counts it anew.")
    if at is not None:
        return at
    return last * step / reached if isinstance(last, int | float) else 0.0


def _steps_of_an_epoch(known: Sequence[tuple[int, Any]]) -> int | None:
    """Return the one number of steps in an epoch that gives every known epoch bit for bit."""
    for step, epoch in known:
        if isinstance(epoch, float) and epoch > 0 and step > 0:
            found = round(step / epoch)
            fits = 0 < found < _MOST_STEPS_OF_AN_EPOCH and all(
                _epoch_at(each, found) == there for each, there in known if each > 0
            )
            return found if fits else None
    return None


def _epoch_at(step: int, per_epoch: int) -> float:
    """Return the epoch as the training loop computes it."""
    whole, rest = divmod(step - 1, per_epoch)
    return whole + (rest + 1) / per_epoch


def _counted(
    step: int, rows: Sequence[Mapping[str, Any]], state: Mapping[str, Any], doubts: list[str]
) -> dict[str, Any]:
    """Return what grows from step to step and is not in the history, as far as that is certain."""
    found: dict[str, Any] = {}
    for key in ("num_input_tokens_seen", "total_flos"):
        total = state.get(key)
        if not total:
            continue  # What never falls and is 0 later was 0 before.
        logged = _tokens(step, rows, state) if key == "num_input_tokens_seen" else None
        found[key] = logged
        if logged is None:
            found[key] = type(total)(total * step / state["global_step"])
            doubts.append(f"Its {key} is estimated; the trainer only reports it.")
    return found


def _tokens(step: int, rows: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> int | None:
    """Return the tokens seen, where the trainer logs them as they are."""
    history = state["log_history"]
    here, there = (
        next((row[_TOKENS] for row in reversed(part) if row["step"] == at and _TOKENS in row), None)
        for part, at in ((rows, step), (history, state["global_step"]))
    )
    if there != state["num_input_tokens_seen"] or not isinstance(here, float):
        return None
    return int(here) if here.is_integer() else None


def _best(step: int, state: Mapping[str, Any], doubts: list[str]) -> dict[str, Any]:
    """Return the best metric at the step: that of later, where it was reached by then."""
    keys = [key for key in state if key.startswith("best_")]
    at = state.get("best_global_step")
    if all(state[key] is None for key in keys) or (type(at) is int and at <= step):
        return {}
    doubts.append(
        "Its best metric and the checkpoint that has it are left open: what was best by then is "
        "not known, and the trainer begins to look for the best anew."
    )
    return dict.fromkeys(keys)


def _callbacks(
    state: Mapping[str, Any], earlier: Source | None, doubts: list[str]
) -> dict[str, Any]:
    """Return the states of callbacks that are the same in every save that went on."""
    later = state.get("stateful_callbacks")
    if not isinstance(later, dict):
        return {}
    before = earlier.state.get("stateful_callbacks") if earlier is not None else None
    found: dict[str, Any] = {}
    for name, kept in later.items():
        if name == _CONTROL:
            found[name] = _control(kept)
        elif isinstance(before, dict) and before.get(name) == kept:
            found[name] = kept
            doubts.append(f"The state of {name} is that of before and after.")
        else:
            doubts.append(f"The state of {name} is left out: what it was at the step is not known.")
    return found


def _control(kept: Any) -> Any:
    """Return the trainer's flags at a save after which the training went on."""
    flags = kept.get("args") if isinstance(kept, dict) else None
    if not isinstance(flags, dict):
        return kept
    went_on = {"should_training_stop": False, "should_save": True}
    return {**kept, "args": {key: went_on.get(key, flag) for key, flag in flags.items()}}
