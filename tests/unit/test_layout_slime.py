"""slime: the rollout in a checkpoint's name and in its files are one number."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from resume_daemon.findings import Verdict
from tests.layouts.slime import write_slime_common
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from pathlib import Path


def test_the_common_state_of_another_rollout_is_told_though_a_rollout_is_no_step(
    tmp_path: Path,
) -> None:
    first, second = write_slime_common(tmp_path, 10), write_slime_common(tmp_path, 20)
    result = verified(second)
    assert (result.layout, result.verdict) == ("slime", Verdict.SOUND)
    shutil.copy2(first / "common.pt", second / "common.pt")
    mixed = verified(second)
    assert told(mixed) == ["RD410 error"]
    assert found(mixed, "RD410").message == "common.pt is of step 10, the name says 20"
