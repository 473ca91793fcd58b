"""The file in which the callback keeps the curriculum's state. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

STATE_FILE = "curriculum_state_callback.json"
"""Beside the checkpoints; the schema of this name is in ``curriculum/schemas.yaml``."""

METHODS = ("state_dict", "get_curriculum_state", "get_state")
"""How managers give their state away: as torch's modules do; as in qhy991/GRPO-Clean-2
(``grpo_project/curriculum/manager.py``); as in Metta-AI/metta."""


def state_reader(curriculum: Any) -> Callable[[], Any]:
    """Return the function that gives the state of a curriculum.

    Raises:
        TypeError: It has none of ``METHODS`` and is no function.
    """
    for name in METHODS:
        if callable(method := getattr(curriculum, name, None)):
            found: Callable[[], Any] = method
            return found
    if callable(curriculum):
        return curriculum  # type: ignore[no-any-return]
    raise TypeError(
        f"the curriculum is a {type(curriculum).__name__}, which has none of the methods "
        f"{', '.join(METHODS)}; give a function that returns its state"
    )


def document(state: Any, step: int) -> bytes:
    """Return the file's content: the state, and the trainer's step that it belongs to.

    Raises:
        TypeError: The state is no mapping, or has something in it that JSON cannot hold.
        ValueError: It holds a NaN or an infinity.
    """
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        state = dataclasses.asdict(state)
    if not isinstance(state, Mapping):
        raise TypeError(f"the curriculum's state is a {type(state).__name__}, not a mapping")
    whole = {"resume_daemon": 1, "global_step": step, "state": dict(state)}
    return json.dumps(whole, default=_plain, allow_nan=False).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a value that is not of its kinds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    # Arrays and tensors of any library.
    if callable(to_list := getattr(value, "tolist", None)):
        return to_list()
    if not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        return list(value)
    raise TypeError(f"the curriculum's state has a {type(value).__name__} in it")
