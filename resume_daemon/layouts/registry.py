"""Which layouts there are, which one a checkpoint has, and which names are checkpoints.

Where several layouts recognise the same files, this rule decides: those whose names fit come before
those whose names do not; of these, one that another states it ``beats`` is left out; of the rest
the first in the order of ``OWN``, and of third parties' by name, is taken.
"""

from __future__ import annotations

import os
import re
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import read_error
from resume_daemon.layouts.base import Around, Layout, Role
from resume_daemon.listing import list_directory, list_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from resume_daemon.layouts.base import Missing
    from resume_daemon.listing import Listing

T = TypeVar("T")

ENTRY_POINT_GROUP = "resume_daemon.layouts"

OWN: Final = (
    "huggingface:HuggingFace",
    "llamafactory:LlamaFactory",
    "deepspeed:DeepSpeed",
    "openrlhf:OpenRlhf",
    "verl:Verl",
    "verl_megatron:VerlMegatron",
    "skyrl:SkyRl",
    "nemo_rl:NemoRl",
    "prime_rl:PrimeRl",
    "open_instruct:OpenInstruct",
    "open_instruct:OpenInstructEpochs",
    "slime:Slime",
    "megatron:Megatron",
    "megatron:MegatronRelease",
    "ms_swift_megatron:MsSwiftMegatron",
    "torchtitan:TorchTitan",
    "torchtune:TorchTune",
    "torchtune:TorchTuneEpochs",
    "composer:Composer",
    # After those whose names and files it shares.
    "accelerate:Accelerate",
    "lightning:Lightning",
    "orbax:Orbax",
    "dcp:TorchDcp",
    "stable_baselines3:StableBaselines3",
)
"""This project's layouts: module in ``resume_daemon.layouts`` and class."""

_SHOWN = 5


@cache
def layouts() -> tuple[Layout, ...]:
    """Return every installed layout, this project's own first, then by name.

    A third party's layout that cannot be imported is said once and left out: it must not stop the
    daemon from watching the others.
    """
    found = {layout.name: layout for layout in own_layouts()}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
        if point.name in found:
            continue
        try:
            found[point.name] = point.load()()
        except Exception:  # noqa: BLE001 - foreign code may raise anything
            import structlog  # noqa: PLC0415 - 0.1 s, and every installed layout can be loaded

            structlog.get_logger().exception("layout cannot be loaded", layout=point.name)
    return tuple(found.values())


def own_layouts() -> tuple[Layout, ...]:
    """Return this project's layouts."""
    classes = (each.split(":") for each in OWN)
    return tuple(getattr(import_module(f"resume_daemon.layouts.{m}"), c)() for m, c in classes)


def layout_of(listing: Listing) -> Layout | None:
    """Return the layout of a checkpoint: by name and files, else by files alone, else by name."""
    named = [each for each in layouts() if each.step_of(listing.name) is not None]
    for candidates in (named, layouts()):
        fitting = [
            each for each in candidates if _lies_beside(each, listing) and each.recognises(listing)
        ]
        beaten = {name for each in fitting for name in each.beats}
        for each in fitting:
            if each.name not in beaten:
                return each
    return next((each for each in named if each.distinctive), None)


def _lies_beside(layout: Layout, listing: Listing) -> bool:
    """Return whether the run directory has what tells the layout from one that is the same."""
    run = listing.root if listing.file is not None else listing.root.parent
    return not layout.lies_beside or any(
        next(run.glob(pattern), None) for pattern in layout.lies_beside
    )


def list_checkpoint(path: Path, *, boundary: Path) -> Listing:
    """List a checkpoint: everything below a directory, or a file and those that belong to it.

    Raises:
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be listed.
    """
    if os.path.isdir(path):  # noqa: PTH112  That of Path may raise.
        return list_directory(path, boundary=boundary)
    owner = next((each for each in layouts() if each.step_of(path.name) is not None), None)
    others = owner.companions(path.name) if owner is not None else ()
    return list_files(path.parent, path.name, others, boundary=boundary)


def step_of(name: str) -> int | None:
    """Return the number that a checkpoint's name declares, in whichever layout knows it."""
    return next((s for each in layouts() if (s := each.step_of(name)) is not None), None)


def is_checkpoint_name(name: str) -> bool:
    """Return whether some layout gives its checkpoints such a name (and it is not staging).

    A run may hold a hundred thousand files that are none, so all patterns are tried as one.
    """
    return any(_checkpoint_names((name,), str))


def _checkpoint_names(entries: Iterable[T], name_of: Callable[[T], str]) -> Iterator[T]:
    """Yield those whose names some layout gives its checkpoints, and that are not staging."""
    every = layouts()
    pattern, others = _names(every)
    for entry in entries:
        name = name_of(entry)
        if pattern.fullmatch(name) is None and all(each.step_of(name) is None for each in others):
            continue
        if not any(each.is_staging(name) for each in every):
            yield entry


@cache
def _names(every: tuple[Layout, ...]) -> tuple[re.Pattern[str], tuple[Layout, ...]]:
    """Return one pattern of all names, and the layouts that tell theirs in another way."""
    plain = [each for each in every if type(each).step_of is Layout.step_of]
    others = tuple(each for each in every if type(each).step_of is not Layout.step_of)
    patterns = [pattern.pattern for each in plain for pattern in (*each.names, *each.files)]
    joined = "|".join(f"(?:{each})" for each in dict.fromkeys(patterns)).replace("(?P<step>", "(?:")
    return re.compile(joined, re.ASCII), others


def checkpoints_in(run: Path) -> list[str]:
    """Return the names of the checkpoints that lie in a directory, by step.

    Raises:
        ResumeDaemonError: The directory cannot be listed.
    """
    found = []
    try:
        with os.scandir(run) as entries:
            named = list(_checkpoint_names(entries, attrgetter("name")))
    except OSError as error:
        raise read_error(error, run) from error
    for entry in named:
        if not is_checkpoint_entry(entry, run):
            continue
        if not is_distinctive(entry.name):
            try:
                listing = list_checkpoint(run / entry.name, boundary=run)
            except ResumeDaemonError:
                continue
            if not is_what_its_name_says(listing):
                continue
        found.append(entry.name)
    return sorted(found, key=lambda name: (step_of(name) or 0, name))


def is_checkpoint_file(name: str) -> bool:
    """Return whether a file of such a name is a checkpoint; most are directories."""
    return any(pattern.fullmatch(name) for each in layouts() for pattern in each.files)


def is_checkpoint_entry(entry: os.DirEntry[str], run: Path) -> bool:
    """Return whether an entry with a checkpoint's name is of the kind that such a checkpoint is.

    A link to another checkpoint of the run, as ``last.ckpt`` may be, is none of its own; one to a
    file or directory elsewhere in the run is.
    """
    if entry.is_symlink():
        folder, name = os.path.split(os.path.realpath(entry.path))
        if folder == os.path.realpath(run) and is_checkpoint_name(name):
            return False
    if os.path.isdir(entry):  # noqa: PTH112  That of Path may raise.
        return True
    return is_checkpoint_file(entry.name) and os.path.exists(entry)  # noqa: PTH110  As above.


def is_distinctive(name: str) -> bool:
    """Return whether such a name alone means a checkpoint, whatever is in it."""
    return any(each.distinctive and each.step_of(name) is not None for each in layouts())


def is_what_its_name_says(listing: Listing) -> bool:
    """Return whether something in a run directory is a checkpoint, by its name and its files.

    ``<prefix>_N`` is a name that any export may have. One like it means a checkpoint only with the
    files of a layout that gives such names; what would be another's under its own name is set
    aside.
    """
    if is_distinctive(listing.name):
        return True
    layout = layout_of(listing)
    return layout is not None and layout.step_of(listing.name) is not None


def nearest(listing: Listing, around: Around) -> tuple[Layout, tuple[Missing, ...]] | None:
    """Return the layout that most files fit, and what it lacks; None where no file fits any."""
    found: list[tuple[int, int, Layout, tuple[Missing, ...]]] = []
    for each in layouts():
        fitting = sum(part.role is not Role.OTHER for part in each.parts(listing).values())
        if not fitting:
            continue
        try:
            missing = each.completeness(listing, around).missing
        except ResumeDaemonError:
            continue
        found.append((fitting, -len(missing), each, missing))
    if not found:
        return None
    _, _, layout, missing = max(found, key=lambda each: each[:2])
    return layout, missing


def unknown_reason(listing: Listing, around: Around) -> str:
    """Return why a directory is no checkpoint: what it holds, the nearest layout, what it lacks."""
    names = sorted(listing)
    seen = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    reason = f"not a checkpoint that I know: it holds {seen or 'nothing'}"
    found = nearest(listing, around)
    if found is None:
        return f"{reason}; no file in it fits any layout"
    layout, missing = found
    lacks = "; ".join(each.what for each in missing[:_SHOWN])
    return f"{reason}; the nearest layout is {layout.name}, of which it lacks {lacks or 'nothing'}"
