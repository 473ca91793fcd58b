"""Fixtures that every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is; what hangs is ended by pytest's time-out.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_runs() -> Path:
    """Return the directory of two real GRPO runs that lies beside a developer's checkout."""
    runs = REPOSITORY.parent / "shared" / "data" / "grpo-runs"
    if not runs.is_dir():
        pytest.skip(f"the two real GRPO runs are not beside this checkout ({runs})")
    return runs
