from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.damage_matrix import healthy, matrix
from tests.layouts import builders
from tests.verifying import told

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("builder", builders())
def test_a_healthy_checkpoint_is_sound_and_nothing_is_said_of_it(
    tmp_path: Path, builder: str
) -> None:
    _, found = healthy(tmp_path, builder)

    for each in found:
        assert [finding for finding in told(each) if not finding.endswith("info")] == []
        assert each.verdict == "sound"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("builder", builders())
def test_every_damage_is_seen_or_listed_with_the_reason(tmp_path: Path, builder: str) -> None:
    cells = list(matrix(tmp_path, builder))

    assert cells
    unlisted = [cell.name for cell in cells if not cell.seen and cell.reason is None]
    assert unlisted == []
    mistaken = [f"{c.name} ({', '.join(c.codes)})" for c in cells if c.seen and c.reason]
    assert mistaken == [], "listed as invisible, and seen"
