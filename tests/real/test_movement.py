"""Real checkpoints beside the two before them: sound as they are, and not with one bit flipped."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="weights are converted by torch (make test-real)")
pytest.importorskip("trl", reason="the trainer is TRL's GRPOTrainer (make test-real)")

import torch
from safetensors.torch import load_file, save_file

from resume_daemon.checks.values import IMPOSSIBLE_MAGNITUDE
from resume_daemon.findings import Severity, Verdict
from resume_daemon.formats.safetensors import read_header
from resume_daemon.limits import Limits
from resume_daemon.reading.float_layouts import FLOATS, values_of
from resume_daemon.verification import References, verify
from tests.real.damages import WEIGHTS

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.manifest import Manifest
    from resume_daemon.verification import Verification
    from tests.real.conftest import WatchedRun

# The fixtures train, and pytest counts them.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

TYPES = {
    "F32": (torch.float32, 23, 8),
    "BF16": (torch.bfloat16, 7, 8),
    "F16": (torch.float16, 10, 5),
}


def beside(checkpoint: Path, before: tuple[Manifest, ...]) -> Verification:
    references = References.after(before, None)
    return verify(checkpoint, boundary=checkpoint.parent, references=references)


def test_every_checkpoint_of_a_real_run_is_sound_beside_those_before_it(
    healthy: WatchedRun,
) -> None:
    before: tuple[Manifest, ...] = ()
    for step in (5, 10, 15):
        found = beside(healthy.run / f"checkpoint-{step}", before)
        assert [f for f in found.findings if f.severity is not Severity.INFO] == []
        assert found.verdict is Verdict.SOUND
        assert found.manifest is not None
        before = (found.manifest, *before)


@pytest.fixture(scope="module", params=TYPES)
def run(
    request: pytest.FixtureRequest,
    healthy_full: WatchedRun,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path, tuple[Manifest, ...]]:
    """Return a type, a copy of the run whose weights are of it, and two manifests, newest first."""
    copy = tmp_path_factory.mktemp(request.param) / "run"
    shutil.copytree(healthy_full.run, copy, ignore=shutil.ignore_patterns(".resume_daemon"))
    manifests: tuple[Manifest, ...] = ()
    for step in (5, 10, 15):
        path = copy / f"checkpoint-{step}" / WEIGHTS
        weights = {n: t.to(TYPES[request.param][0]) for n, t in load_file(path).items()}
        save_file(weights, path, metadata={"format": "pt"})
        found = beside(path.parent, manifests)
        assert [f for f in found.findings if f.severity is not Severity.INFO] == []
        assert found.manifest is not None
        manifests = (found.manifest, *manifests)
    return request.param, copy, manifests[1:]


def test_a_flipped_exponent_bit_is_seen_from_the_documented_limit_on(
    run: tuple[str, Path, tuple[Manifest, ...]],
) -> None:
    dtype, copy, before = run
    _, low, count = TYPES[dtype]
    path = copy / "checkpoint-15" / WEIGHTS
    whole = path.read_bytes()
    matrices = [span for span in read_header(path).tensors if len(span.shape) > 1]
    random = np.random.default_rng(0)
    unsigned = FLOATS[dtype].unsigned
    seen = 0
    for bit in [bit for bit in range(count) for _ in range(4)]:
        span = matrices[random.integers(len(matrices))]
        content = bytearray(whole)
        bits = np.frombuffer(
            content, unsigned, offset=span.begin, count=span.size // unsigned.itemsize
        )
        largest = max(
            record.largest or 0.0
            for manifest in before
            for record in manifest.tensors[WEIGHTS]
            if record.name == span.name
        )
        at = random.integers(len(bits))
        bits[at] ^= unsigned.type(1 << (low + bit))
        value = float(abs(values_of(bits[at : at + 1].view(np.uint8), dtype)[0]))
        path.write_bytes(content)
        codes = {finding.code for finding in beside(path.parent, before).findings}
        if not math.isfinite(value):
            assert codes == {"RD211"}
        elif value > IMPOSSIBLE_MAGNITUDE:
            assert codes == {"RD215"}
        else:
            assert codes == ({"RD217"} if value > Limits().largest_growth * largest else set())
        seen += bool(codes)
        if bit == count - 1:
            assert codes
    path.write_bytes(whole)
    assert seen >= 4
