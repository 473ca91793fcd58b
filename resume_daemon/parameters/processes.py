"""How many processes a training is started with, by what its launcher is given. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resume_daemon.parameters.values import Setting


def processes_of(launcher_name: str, launcher: Mapping[str, Setting]) -> int | None:
    """Return the number of processes on all nodes together; None where it is not known.

    Sources: torch 2.13 ``distributed/run.py`` (``nnodes`` and ``nproc_per_node``, both 1 by
    default), accelerate 1.15 ``commands/launch.py`` (``num_processes`` of all machines), DeepSpeed
    0.19 ``launcher/runner.py`` (``num_gpus`` of each node; all that there are by default).

    Args:
        launcher_name: "torchrun", "accelerate", "deepspeed", or "" for a plain process.
        launcher: What it is given, by name.
    """

    def count(name: str, default: int | None) -> int | None:
        if (setting := launcher.get(name)) is None:
            return default
        value = setting.value
        known = setting.certain and isinstance(value, int) and not isinstance(value, bool)
        return value if known and value > 0 else None

    match launcher_name:
        case "":
            return 1
        case "torchrun":
            nodes, each = count("nnodes", 1), count("nproc_per_node", 1)
        case "accelerate":
            nodes, each = 1, count("num_processes", None)
        case "deepspeed":
            nodes, each = count("num_nodes", None), count("num_gpus", None)
        case _:
            return None
    return None if nodes is None or each is None else nodes * each
