"""ms-swift with Megatron: what stands for the shards where the weights were exported alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from resume_daemon.findings import Verdict
from tests.layouts.ms_swift import write_adapter, write_exported, write_weights
from tests.verifying import told, verified

if TYPE_CHECKING:
    from pathlib import Path


def test_exported_weights_cannot_be_loaded_without_the_models_configuration(
    tmp_path: Path,
) -> None:
    checkpoint = write_weights(tmp_path, 10)
    (checkpoint / "config.json").unlink()
    result = verified(checkpoint)
    # It is written after the weights, so that it may still come.
    assert result.verdict is Verdict.INCOMPLETE
    assert "RD116 error" in told(result)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_needs_its_own_configuration_and_none_of_the_model(
    tmp_path: Path, name: str
) -> None:
    checkpoint = write_adapter(tmp_path, 10)
    assert verified(checkpoint).verdict is Verdict.SOUND
    (checkpoint / name).unlink()
    assert verified(checkpoint).verdict is Verdict.INCOMPLETE


def test_beside_shards_the_configuration_of_an_export_is_not_needed(tmp_path: Path) -> None:
    checkpoint = write_exported(tmp_path, 10)
    (checkpoint / "config.json").unlink()
    assert verified(checkpoint).verdict is Verdict.SOUND
