"""What of all damage is seen: every layout, every file, every kind of damage, as a table.

A cell counts how many files of a layout were damaged in one way, and of how many of them somebody
is told. What is not seen is listed below the table with the reason why nothing at first sight could
see it; the tests hold that list against what happens (``tests/unit/test_damage_matrix.py``).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._harness import RESULTS
from tests.damage_matrix import DAMAGES, Cell, matrix
from tests.layouts import builders


def main() -> None:
    """Damage everything, and print the table and the reasons."""
    cells: list[Cell] = []
    for builder in builders():
        with tempfile.TemporaryDirectory() as home:
            cells += matrix(Path(home), builder)
    width = max(map(len, builders()))
    print(f"{'':{width}}  " + "  ".join(f"{damage:>17}" for damage in DAMAGES))
    for builder in builders():
        row = []
        for damage in DAMAGES:
            found = [c for c in cells if (c.builder, c.damage) == (builder, damage)]
            seen = sum(cell.seen for cell in found)
            row.append(f"{seen} of {len(found)}" if found else "-")
        print(f"{builder:{width}}  " + "  ".join(f"{each:>17}" for each in row))
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for cell in cells:
        if not cell.seen:
            reasons[cell.reason or "NOT LISTED"][cell.damage] += 1
    print(f"\n{len(cells)} cells, {sum(c.seen for c in cells)} seen; the others:")
    for reason, damages in sorted(reasons.items()):
        shown = ", ".join(f"{damage} {count}" for damage, count in damages.most_common())
        print(f"  {sum(damages.values()):4}  {reason}\n        ({shown})")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "damage_matrix.json"
    document = {
        "cells": len(cells),
        "seen": sum(cell.seen for cell in cells),
        "unseen": {reason: dict(damages) for reason, damages in reasons.items()},
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
