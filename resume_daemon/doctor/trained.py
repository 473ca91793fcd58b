"""How a checkpoint says that it was trained: its arguments, its schedule, what wrote it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.content import Format
from resume_daemon.formats.inert_values import Call
from resume_daemon.formats.registry import read
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.registry import layout_of, list_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.listing import Listing

_LARGEST = 2**53
_MOST_STATE_BYTES = 8 * 1024 * 1024
"""Of a random state: it has a few KB for each device."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What one checkpoint says.

    Attributes:
        layout: Name of its layout, or None.
        arguments: Its training arguments.
        arguments_class: Module and name of their class, or an empty string.
        state: Its trainer state, without the log.
        adapter: Whether it holds an adapter.
        gpu: Whether a GPU's random state is in it; None where nothing tells.
        written_with: Versions of the packages that wrote it.
    """

    layout: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    arguments_class: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)
    adapter: bool = False
    gpu: bool | None = None
    written_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def save_total_limit(self) -> int | None:
        """How many checkpoints the trainer keeps, or None for all of them."""
        return _positive(self.arguments.get("save_total_limit"))

    @property
    def save_steps(self) -> int | None:
        """Steps between two saves, or None where they are not counted in steps."""
        if self.arguments.get("save_strategy") not in {None, "steps"}:
            return None
        return _positive(self.arguments.get("save_steps")) or _positive(
            self.state.get("save_steps")
        )

    @property
    def last_step(self) -> int | None:
        """The step at which the training ends, or None."""
        return _positive(self.state.get("max_steps")) or _positive(self.arguments.get("max_steps"))

    @property
    def reports_to_wandb(self) -> bool:
        """Whether its trainer was told to log to W&B."""
        asked = self.arguments.get("report_to")
        names = asked if isinstance(asked, (list, tuple)) else [asked]
        return any(name in {"wandb", "all"} for name in names)


def trained(checkpoint: Path) -> Trained:
    """Return what a checkpoint says of its training; what cannot be read is left out.

    Args:
        checkpoint: Its path, with links resolved.
    """
    try:
        listing = list_checkpoint(checkpoint, boundary=checkpoint.parent)
        layout = layout_of(listing)
    except ResumeDaemonError:
        return Trained()
    parts = layout.parts(listing) if layout is not None else {}
    by_role: dict[Role, str] = {}
    for name, part in parts.items():
        by_role.setdefault(part.role, name)
    arguments, arguments_class = _arguments(listing, by_role.get(Role.ARGUMENTS))
    state = _json(listing, by_role.get(Role.TRAINER_STATE))
    state.pop("log_history", None)
    configuration = _json(listing, by_role.get(Role.CONFIGURATION))
    written = configuration.get("transformers_version")
    return Trained(
        layout=layout.name if layout is not None else None,
        arguments=arguments,
        arguments_class=arguments_class,
        state=state,
        adapter=Role.ADAPTER_CONFIGURATION in by_role,
        gpu=_gpu(listing, by_role.get(Role.RNG)),
        written_with={"transformers": written} if isinstance(written, str) else {},
    )


def _arguments(listing: Listing, name: str | None) -> tuple[dict[str, Any], str]:
    if name is None:
        return {}, ""
    try:
        value = read(listing.path(name), Format.TORCH).value
    except ResumeDaemonError:
        return {}, ""  # Its own finding says so.
    state = getattr(value, "state", None)
    kind = str(value.function) if isinstance(value, Call) else ""
    return (
        {key: _plain(each) for key, each in state.items()} if isinstance(state, dict) else {},
        kind,
    )


def _plain(value: Any) -> Any:
    """Return what an enumeration of the arguments stands for: ``IntervalStrategy("steps")``."""
    if isinstance(value, Call) and len(value.arguments) == 1:
        return value.arguments[0]
    return value


def _json(listing: Listing, name: str | None) -> dict[str, Any]:
    with suppress(ResumeDaemonError):
        value = read(listing.path(name), Format.JSON).value if name is not None else None
        if isinstance(value, dict):
            return dict(value)
    return {}


def _gpu(listing: Listing, name: str | None) -> bool | None:
    if name is None or listing.entries[name].size > _MOST_STATE_BYTES:
        return None
    try:
        value = read(listing.path(name), Format.TORCH).value
    except ResumeDaemonError:
        return None
    pairs = getattr(value, "entries", None)
    keys = value if isinstance(value, dict) else [key for key, _ in pairs or ()]
    return any(key in {"cuda", "xpu", "npu", "mlu", "musa"} for key in keys) if keys else None


def _positive(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < _LARGEST else None
