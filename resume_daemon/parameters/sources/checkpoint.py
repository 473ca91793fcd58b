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

# The later of two counts. The trainer's arguments are what it was given; what a resume restores it
# went on with whatever was given, and that stands in the optimizer and the scheduler alone.
_ORDER: Final = (
    Role.CONFIGURATION,
    Role.ADAPTER_CONFIGURATION,
    Role.TRAINER_STATE,
    Role.ARGUMENTS,
    Role.OPTIMIZER,
    Role.SCHEDULER,
)
_READABLE: Final = {Format.JSON, Format.TORCH, Format.YAML}
_SETS: Final = {"target_modules", "lora_target_modules", "modules_to_save"}
"""Lists whose order means nothing: peft saves what it keeps as a set."""

_SCALAR: Final = (str, int, float, bool, type(None))


def read_checkpoint(path: Path, *, shapes: bool = False) -> tuple[CheckpointFacts, list[Unread]]:
    """Return what a checkpoint says of its training, and which of its files could not be read.

    Args:
        path: The checkpoint; links in it may not leave the directory that it lies in.
        shapes: Whether the shapes of its adapter's tensors, and what its optimizer says, are
            wanted as well.

    Raises:
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be listed.
    """
    listing = list_checkpoint(path, boundary=path.parent)
    layout = layout_of(listing)
    parts: Mapping[str, Part] = layout.parts(listing) if layout is not None else {}
    settings: list[Setting] = []
    unread: list[Unread] = []
    restored: set[str] = set()
    for role in _ORDER:
        if role is Role.OPTIMIZER and not shapes:
            continue  # A large one takes a second.
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
            found = list(_settings(role, value, source))
            settings += found
            if role in {Role.OPTIMIZER, Role.SCHEDULER}:
                restored |= {each.name for each in found}
    facts = CheckpointFacts(
        path.name,
        path,
        layout.step_of(path.name) if layout is not None else step_of(path.name),
        tuple(settings),
        _adapter_shapes(listing, parts, unread) if shapes else {},
        frozenset(restored),
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
    if role is Role.SCHEDULER:
        yield from _agreed("learning_rate", value.get("base_lrs"), source)
        return
    if role is Role.OPTIMIZER:
        yield from _optimizer_settings(value, source)
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


def _optimizer_settings(value: Mapping[Any, Any], source: Source) -> Iterator[Setting]:
    """Yield what the parameter groups of an Adam say, where they agree."""
    groups = value.get("param_groups")
    if not isinstance(groups, (list, tuple)):
        return
    groups = [each for each in groups if isinstance(each, dict)]
    yield from _agreed("learning_rate", [each.get("initial_lr") for each in groups], source)
    yield from _agreed("adam_epsilon", [each.get("eps") for each in groups], source)
    for place, name in enumerate(("adam_beta1", "adam_beta2")):
        betas = [each.get("betas") for each in groups]
        pairs = [each for each in betas if isinstance(each, (list, tuple)) and len(each) > place]
        yield from _agreed(name, [each[place] for each in pairs], source)
    # Biases and norms have a group of their own that does not decay.
    decays = [each.get("weight_decay") for each in groups]
    yield from _agreed("weight_decay", [each for each in decays if each] or decays, source)


def _agreed(name: str, values: Any, source: Source) -> Iterator[Setting]:
    if not isinstance(values, (list, tuple)) or not values:
        return
    first = values[0]
    if isinstance(first, (int, float)) and all(each == first for each in values):
        yield Setting(name, first, source)


def _plain_settings(values: Mapping[Any, Any], source: Source, scope: str) -> Iterator[Setting]:
    for name, raw in values.items():
        # What begins with an underscore was computed; the model's own name is the exception.
        if not isinstance(name, str) or (name.startswith("_") and name != "_name_or_path"):
            continue
        try:
            value = _plain(raw)
            if name in _SETS and isinstance(value, list):
                value = frozenset(map(str, value))
            yield Setting(name, value, source, scope=scope)
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
