"""What a checkpoint says of its training: arguments, trainer state, model and adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.content import Format
from resume_daemon.formats.inert_values import Call
from resume_daemon.formats.registry import read
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.registry import layout_of, list_checkpoint, step_of
from resume_daemon.parameters.facts import CheckpointFacts, Unread
from resume_daemon.parameters.values import Setting, Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from resume_daemon.layouts.base import Part
    from resume_daemon.listing import Listing

STATED: Final = (
    "max_steps",
    "num_train_epochs",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "train_batch_size",
)
"""What of ``trainer_state.json`` was given, and not counted (transformers ``TrainerState``)."""

# The later of two counts, so the trainer's own arguments come last: they are what it was given.
_ORDER: Final = (
    Role.CONFIGURATION,
    Role.ADAPTER_CONFIGURATION,
    Role.TRAINER_STATE,
    Role.ARGUMENTS,
)
_READABLE: Final = {Format.JSON, Format.TORCH, Format.YAML}
_SCALAR: Final = (str, int, float, bool, type(None))


def read_checkpoint(path: Path, *, shapes: bool = False) -> tuple[CheckpointFacts, list[Unread]]:
    """Return what a checkpoint says of its training, and which of its files could not be read.

    Args:
        path: The checkpoint; links in it may not leave the directory that it lies in.
        shapes: Whether the shapes of its adapter's tensors are wanted as well.

    Raises:
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be listed.
    """
    listing = list_checkpoint(path, boundary=path.parent)
    layout = layout_of(listing)
    parts: Mapping[str, Part] = layout.parts(listing) if layout is not None else {}
    settings: list[Setting] = []
    unread: list[Unread] = []
    for role in _ORDER:
        for name in sorted(n for n, part in parts.items() if part.role is role):
            if parts[name].format not in _READABLE:
                continue
            try:
                value = read(listing.path(name), parts[name].format).value
            except ResumeDaemonError as error:
                unread.append(Unread(path / name, error.reason))
                continue
            label = f"{path.name}/{name}"
            source = Source(SourceKind.CHECKPOINT, listing.path(name), label)
            settings += _settings(role, value, source)
    facts = CheckpointFacts(
        path.name,
        path,
        layout.step_of(path.name) if layout is not None else step_of(path.name),
        tuple(settings),
        _adapter_shapes(listing, parts, unread) if shapes else {},
    )
    return facts, unread


def read_model_configuration(path: Path) -> list[Setting]:
    """Return what the ``config.json`` of a model directory says: the model that an adapter is for.

    Raises:
        ResumeDaemonError: It cannot be read.
    """
    source = Source(SourceKind.CHECKPOINT, path, f"{path.parent.name}/{path.name}")
    return list(_settings(Role.CONFIGURATION, read(path, Format.JSON).value, source))


def _settings(role: Role, value: Any, source: Source) -> Iterator[Setting]:
    if role is Role.ARGUMENTS:
        value = getattr(value, "state", None) or value
    if not isinstance(value, dict):
        return
    if role is Role.TRAINER_STATE:
        value = {name: value[name] for name in STATED if name in value}
    if role is Role.CONFIGURATION and isinstance(inner := value.get("text_config"), dict):
        # A model of text and pictures has the limits of its text in a table of their own.
        yield from _plain_settings(inner, source, "text_config")
    yield from _plain_settings(value, source, "")
    state = getattr(value.get("distributed_state"), "state", None)
    if isinstance(state, dict) and isinstance(count := state.get("num_processes"), int):
        yield Setting("num_processes", count, source, scope="distributed_state")


def _plain_settings(values: Mapping[Any, Any], source: Source, scope: str) -> Iterator[Setting]:
    for name, raw in values.items():
        # What begins with an underscore was computed; the model's own name is the exception.
        if not isinstance(name, str) or (name.startswith("_") and name != "_name_or_path"):
            continue
        try:
            yield Setting(name, _plain(raw), source, scope=scope)
        except ValueError:
            continue


def _plain(value: Any) -> Any:
    """Return a value of plain parts; an enumeration's member is the value that it stands for.

    Raises:
        ValueError: It has parts that are none.
    """
    if isinstance(value, _SCALAR):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, Call):
        if value.items:
            return sorted((_plain(each) for each in value.items), key=str)
        if len(value.arguments) == 1 and value.state is None:
            return _plain(value.arguments[0])
    raise ValueError("it holds what is no plain value")


def _adapter_shapes(
    listing: Listing, parts: Mapping[str, Part], unread: list[Unread]
) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, part in sorted(parts.items()):
        if part.role is Role.WEIGHTS and "adapter_model" in name:
            try:
                found.update(read(listing.path(name), part.format).shapes)
            except ResumeDaemonError as error:
                unread.append(Unread(listing.root / name, error.reason))
    return found
