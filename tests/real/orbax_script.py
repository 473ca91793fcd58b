"""A trainer on JAX: saves with Orbax, is killed while it saves, or restores what it is shown.

``orbax_script.py save RUN KIND`` saves three steps; ``killed RUN KIND COUNT`` saves one and is
killed in the second when COUNT directories of it were finished; ``restore`` reads lines of a
directory and a step, and prints for each ``same``, ``other`` or ``raises``, once with and once
without a target.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
from orbax import checkpoint
from orbax.checkpoint._src.path import atomicity

PREFIX = "run"
KINDS: dict[str, dict[str, Any]] = {
    "zarr2": {},
    "zarr3": {"use_zarr3": True},
    "plain": {"use_ocdbt": False},
    "plain-zarr3": {"use_ocdbt": False, "use_zarr3": True},
}
"""How the tree of arrays is saved, of checkpoints of one item."""


def state_at(step: int) -> dict[str, Any]:
    """Return a training state: arrays, a number and a text."""
    random = np.random.default_rng(step)

    def values(*shape: int) -> jax.Array:
        return jax.numpy.asarray(random.normal(size=shape).astype(np.float32))

    def layers() -> dict[str, Any]:
        return {"dense": {"kernel": values(64, 256), "bias": values(64)}, "norm": values(64)}

    return {
        "params": layers(),
        "opt_state": [{"mu": layers(), "nu": layers(), "count": jax.numpy.asarray(step)}],
        "step": step,
        "name": "adam",
    }


def manager(run: str, kind: str, **more: Any) -> checkpoint.CheckpointManager:
    """Return the manager of a kind."""
    if kind == "items":
        more |= {"step_prefix": PREFIX, "step_format_fixed_length": 8}
    if kind == "commit":
        more |= {"temporary_path_class": atomicity.CommitFileTemporaryPath}
    handler = checkpoint.PyTreeCheckpointHandler(**KINDS[kind]) if kind in KINDS else None
    options = checkpoint.CheckpointManagerOptions(max_to_keep=2, **more)
    return checkpoint.CheckpointManager(run, item_handlers=handler, options=options)


def arguments(kind: str, step: int) -> Any:
    """Return what is saved."""
    state = state_at(step)
    if kind in KINDS:
        return checkpoint.args.PyTreeSave(state)
    del state["name"]  # A standard item has no texts.
    return checkpoint.args.Composite(
        state=checkpoint.args.StandardSave(state),
        data=checkpoint.args.JsonSave({"position": step}),
    )


def save(run: str, kind: str) -> None:
    """Save three steps, of which two are kept."""
    with manager(run, kind) as saving:
        for step in (1, 2, 3):
            metrics = {"loss": 1 / step} if kind == "items" else None
            saving.save(step, args=arguments(kind, step), metrics=metrics)
        saving.wait_until_finished()


def killed(run: str, kind: str, count: int) -> None:
    """Be killed in the second save, once so many of its directories were finished."""
    with manager(run, kind) as saving:
        saving.save(1, args=arguments(kind, 1))
        saving.wait_until_finished()
        finished = 0
        for each in (atomicity.AtomicRenameTemporaryPath, atomicity.CommitFileTemporaryPath):

            async def finalize(self: Any, *given: Any, _original: Any = each.finalize) -> None:
                nonlocal finished
                if finished == count:
                    os.kill(os.getpid(), signal.SIGKILL)
                finished += 1
                await _original(self, *given)

            each.finalize = finalize
        saving.save(2, args=arguments(kind, 2))
        saving.wait_until_finished()


def restored(run: str, step: int, *, target: bool) -> str:
    """Return what a restore gives."""
    options = checkpoint.CheckpointManagerOptions(read_only=True)
    args = None
    if target:
        shapes = jax.tree.map(_shape, state_at(step))
        args = checkpoint.args.PyTreeRestore(
            item=shapes,
            restore_args=checkpoint.checkpoint_utils.construct_restore_args(shapes),
        )
    try:
        with checkpoint.CheckpointManager(run, options=options) as reading:
            found = reading.restore(step, args=args)
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return f"raises {type(error).__name__}"
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(state_at(step)), strict=True)
    return (
        "same" if all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs) else "other"
    )


def _shape(value: Any) -> Any:
    if not isinstance(value, jax.Array):
        return value
    return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=value.sharding)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    command, *rest = sys.argv[1:]
    if command == "save":
        save(rest[0], rest[1])
    elif command == "killed":
        killed(rest[0], rest[1], int(rest[2]))
    else:
        for line in sys.stdin:
            place, step = Path(line.strip()).parent, int(Path(line.strip()).name)
            for target in (True, False):
                print(restored(str(place), step, target=target), flush=True)  # noqa: T201
