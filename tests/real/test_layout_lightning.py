from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is in the environment of trainers (real)")
lightning = pytest.importorskip("lightning", reason="lightning is there, too")
callbacks = pytest.importorskip("lightning.pytorch.callbacks", reason="as above")

from resume_daemon.layouts.registry import checkpoints_in  # noqa: E402
from tests.verifying import told, verified  # noqa: E402

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("ignore"),  # Lightning warns of everything that a test does.
]


class Model(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """Two layers; what it logs decides what its checkpoints are called."""

    def __init__(self, *, logs_step: bool = False) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.Linear(128, 1))
        self.logs_step = logs_step
        self.save_hyperparameters()

    def training_step(self, batch: list[Any], _: int) -> Any:
        loss = self.net(batch[0]).square().mean()
        self.log("train_loss", loss)
        if self.logs_step:
            self.log("step", float(self.current_epoch))
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), 1e-3)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


def fit(*saving: Any, epochs: int = 3, resume: Path | None = None, logs_step: bool = False) -> Any:
    """Train on the CPU, four steps an epoch."""
    torch.set_num_threads(1)
    data = torch.utils.data.TensorDataset(torch.randn(40, 64))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(saving),
        callbacks=list(saving),
    )
    loader = torch.utils.data.DataLoader(data, batch_size=10)
    trainer.fit(Model(logs_step=logs_step), loader, ckpt_path=resume, weights_only=False)
    return trainer


def all_sound(run: Path) -> dict[str, int | None]:
    """Return the step of every checkpoint; each is sound after the one before, without a word."""
    steps: dict[str, int | None] = {}
    before = None
    for name in checkpoints_in(run):
        verification = verified(run / name, before=before)
        assert (verification.layout, verification.verdict) == ("lightning", "sound"), name
        assert [each for each in told(verification) if not each.endswith("info")] == []
        steps[name] = verification.step
        before = run / name
    return steps


def test_every_checkpoint_is_sound_and_tells_its_step(tmp_path: Path) -> None:
    scores = callbacks.EarlyStopping("train_loss", patience=9)  # Its best score begins at infinity.
    fit(callbacks.ModelCheckpoint(tmp_path, save_last=True, save_top_k=-1), scores)

    assert all_sound(tmp_path) == {
        "last.ckpt": 12,
        "epoch=0-step=4.ckpt": 4,
        "epoch=1-step=8.ckpt": 8,
        "epoch=2-step=12.ckpt": 12,
    }


def test_templates_without_a_step_versions_and_links(tmp_path: Path) -> None:
    saving = callbacks.ModelCheckpoint(
        tmp_path,
        filename="{epoch}-{train_loss:.0f}",
        monitor="train_loss",
        save_top_k=2,
        save_last="link",
    )
    fit(saving)
    fit(callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1), epochs=1)
    fit(callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1), epochs=1)
    steps = all_sound(tmp_path)

    assert (tmp_path / "last.ckpt").is_symlink()
    assert steps.pop("epoch=0.ckpt") == steps.pop("epoch=0-v1.ckpt") == 4
    assert len(steps) == 2
    assert set(steps.values()) <= {4, 8, 12}


def test_a_metric_logged_as_step_is_no_alarm(tmp_path: Path) -> None:
    fit(callbacks.ModelCheckpoint(tmp_path, save_top_k=-1), logs_step=True)

    assert all_sound(tmp_path) == {
        "epoch=0-step=0.ckpt": 4,
        "epoch=1-step=1.ckpt": 8,
        "epoch=2-step=2.ckpt": 12,
    }


def test_the_model_alone_is_unsound_because_the_trainer_raises(tmp_path: Path) -> None:
    fit(callbacks.ModelCheckpoint(tmp_path, save_weights_only=True), epochs=1)
    path = tmp_path / "epoch=0-step=4.ckpt"
    with pytest.raises(KeyError, match="save_weights_only"):
        fit(epochs=2, resume=path)

    assert verified(path).verdict == "unsound"


@pytest.mark.parametrize(
    "key",
    [
        "pytorch-lightning_version",
        "state_dict",
        "optimizer_states",
        "lr_schedulers",
        "loops",
        "callbacks",
        "global_step",
        "epoch",
        "hyper_parameters",
    ],
)
def test_what_is_called_required_is_what_the_trainer_raises_without(
    key: str, tmp_path: Path
) -> None:
    fit(callbacks.ModelCheckpoint(tmp_path), epochs=1)
    path = tmp_path / "epoch=0-step=4.ckpt"
    value = torch.load(path, weights_only=False)
    del value[key]
    torch.save(value, path)
    verdict = verified(path).verdict
    if verdict == "unsound":
        with pytest.raises(KeyError):
            fit(epochs=2, resume=path)
    else:
        assert fit(epochs=2, resume=path).global_step == 8


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_never_sound(kept: float, tmp_path: Path) -> None:
    fit(callbacks.ModelCheckpoint(tmp_path), epochs=1)
    path = tmp_path / "epoch=0-step=4.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises((EOFError, RuntimeError, OSError)):
        fit(epochs=2, resume=path)

    assert verified(path).verdict == "incomplete"


@pytest.mark.timeout(180)
def test_directories_of_two_ranks_are_sound(tmp_path: Path) -> None:
    script = Path(__file__).with_name("lightning_ranks_script.py")
    subprocess.run([sys.executable, script, tmp_path], check=True, timeout=150)

    assert all_sound(tmp_path) == {"epoch=0-step=2.ckpt": 2, "epoch=1-step=4.ckpt": 4}
    assert (tmp_path / "last.ckpt").is_symlink()
    shard = tmp_path / "epoch=1-step=4.ckpt" / "__1_0.distcp"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert verified(shard.parent).verdict == "unsound"
