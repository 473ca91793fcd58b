"""The demo's own directory: made, configured, and damaged on purpose."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import yaml

from resume_daemon.demo.processes import SECRET_VARIABLE
from resume_daemon.errors import UsageError

_PAGE: Final = 4096


def make_home(directory: Path | None) -> Path:
    """Return an empty directory; None makes a temporary one.

    Raises:
        UsageError: It is not empty, or cannot be made.
    """
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="resume-daemon-demo-"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(
                "play the demo in",
                directory,
                "the directory is not empty",
                hint="Name a new one, or none for a temporary one.",
            )
    except OSError as error:
        raise UsageError("play the demo in", directory, error.strerror or str(error)) from error
    return directory.resolve()


def write_configuration(home: Path, run: Path, url: str) -> Path:
    """Write the daemon's configuration as a user would, but with short times; return its path.

    Args:
        home: Where.
        run: The run to watch.
        url: Of the webhook that takes the alerts.
    """
    sink = {"type": "webhook", "name": "demo", "url": url, "secret_env": SECRET_VARIABLE}
    configuration = {
        "run": str(run),
        "name": "demo",
        "watch": {
            "settle_seconds": 1,
            "abandon_seconds": 6,
            "rescan_seconds": 5,
            "poll_seconds": 1,
        },
        "trackers": {"wandb": {"poll_seconds": 1}},
        "alerts": {"sinks": [sink]},
    }
    path = home / "resume_daemon.yaml"
    path.write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")
    return path


def zero_second_half(path: Path) -> None:
    """Make the second half of a file zeros from a page on, as lost writes leave it."""
    size = path.stat().st_size
    begin = size // 2 // _PAGE * _PAGE
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(bytes(size - begin))
