"""How far healthy training moves the numbers that the movement checks judge, and damage too.

Trains small models in many ways on the CPU, keeps what a manifest keeps of every tensor at every
save, and prints the extremes of what ``checks/movement.py`` and ``checks/moments.py`` compare: how
the largest magnitude grows beside the ordinary ones, how far the probes move beside how far they
moved before, and the first moment by the root of the second. Then every exponent bit is flipped in
random values of a trained model, to see how many of the flips show. ``docs/thresholds.md`` draws on
it.

Run: ``python benchmarks/thresholds.py [--only NAME]`` in an environment with torch and
transformers; peft for the adapters. About five minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from safetensors.torch import save_file

from benchmarks._harness import RESULTS, machine
from resume_daemon.checks.moves import move_of
from resume_daemon.formats.safetensors import read_header
from resume_daemon.limits import Limits
from resume_daemon.manifest import TensorRecord
from resume_daemon.reading.float_layouts import FLOATS, values_of
from resume_daemon.reading.scan import scan_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORDS = 1000
BATCH, LENGTH = 4, 32
State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Attributes:
        model: Makes the model.
        optimizer: Makes the optimizer of the parameters that require a gradient.
        saves: Steps after which the state is kept.
        warmup: Steps over which the learning rate rises.
        spike: Steps after which the learning rate is multiplied by so much, as after a bad resume.
        dtype: Of the weights.
        clip: The norm to which gradients are clipped.
        healthy: Whether nothing may be said of it.
    """

    model: Callable[[], torch.nn.Module]
    optimizer: Callable[[Iterator[torch.nn.Parameter]], torch.optim.Optimizer]
    saves: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 30, 50, 75, 100)
    warmup: int = 0
    spike: dict[int, float] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    clip: float | None = 1.0
    healthy: bool = True


def gpt2(**changes: Any) -> torch.nn.Module:
    """Return a GPT-2 of less than a million parameters, from its own initial values."""
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415 - slow to import

    configuration = {"vocab_size": WORDS, "n_positions": 128, "n_embd": 128, "n_layer": 3}
    return GPT2LMHeadModel(GPT2Config(**{**configuration, "n_head": 4, **changes}))


def mixture() -> torch.nn.Module:
    """Return a mixture of 32 experts of which a batch reaches a part."""
    from transformers import MixtralConfig, MixtralForCausalLM  # noqa: PLC0415 - as above

    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=WORDS,
            hidden_size=96,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_local_experts=32,
            num_experts_per_tok=1,
        )
    )


def adapter() -> torch.nn.Module:
    """Return a LoRA adapter on that GPT-2."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - as above

    return get_peft_model(gpt2(), LoraConfig(r=8, target_modules=["c_attn", "c_proj", "wte"]))


def convolutions() -> torch.nn.Module:
    """Return a network with batch normalisation, whose statistics are a part of its state."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3),
        torch.nn.BatchNorm2d(32),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 64, 3),
        torch.nn.BatchNorm2d(64),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 10),
    )


def adam(rate: float, **changes: Any) -> Callable[..., torch.optim.Optimizer]:
    """Return a maker of AdamW."""
    return lambda parameters: torch.optim.AdamW(parameters, lr=rate, **changes)


def sgd(rate: float) -> Callable[..., torch.optim.Optimizer]:
    """Return a maker of SGD with momentum."""
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=0.9)


LATE = (1, 100, 200, 300, 400)
BF16 = torch.bfloat16
RECIPES = {
    "gpt2, 1e-3, fp32": Recipe(gpt2, adam(1e-3)),
    "gpt2, 1e-3, fp32, saves far apart": Recipe(gpt2, adam(1e-3), LATE),
    "gpt2, 3e-3, warm-up": Recipe(gpt2, adam(3e-3, betas=(0.9, 0.95)), warmup=50),
    "gpt2, 1e-2, not clipped": Recipe(gpt2, adam(1e-2), clip=None),
    "gpt2, 1e-4, fp32": Recipe(gpt2, adam(1e-4)),
    "gpt2, 1e-6, fp32": Recipe(gpt2, adam(1e-6)),
    "gpt2, 1e-3, bf16": Recipe(gpt2, adam(1e-3), dtype=BF16),
    "gpt2, 1e-5, bf16": Recipe(gpt2, adam(1e-5), dtype=BF16),
    "gpt2, 1e-6, bf16": Recipe(gpt2, adam(1e-6), dtype=BF16),
    "gpt2, warm-up from 0 to 1e-3 over 100": Recipe(gpt2, adam(1e-3), warmup=100),
    "gpt2, sgd 0.1": Recipe(gpt2, sgd(0.1)),
    "lora, 1e-3": Recipe(adapter, adam(1e-3)),
    "lora, 1e-4, warm-up": Recipe(adapter, adam(1e-4), warmup=50),
    "mixture, 1e-3": Recipe(mixture, adam(1e-3)),
    "mixture, 1e-3, bf16": Recipe(mixture, adam(1e-3), dtype=BF16),
    "convolutions, 1e-2": Recipe(convolutions, adam(1e-2)),
    "convolutions, sgd 0.1": Recipe(convolutions, sgd(0.1), clip=None),
    "gpt2, learning rate times 100 at 50": Recipe(
        gpt2, adam(1e-5), spike={50: 100.0}, healthy=False
    ),
    "gpt2, sgd 1, not clipped": Recipe(gpt2, sgd(1.0), clip=None, healthy=False),
    "gpt2, diverging": Recipe(gpt2, adam(0.3), clip=None, healthy=False),
}


def batches(kind: torch.nn.Module) -> Iterator[dict[str, Any]]:
    """Yield batches; a tenth of the words are in none."""
    random = np.random.default_rng(1)
    while True:
        if isinstance(kind, torch.nn.Sequential):
            # As images are: bytes that nobody scaled.
            images = random.integers(0, 256, (BATCH, 3, 16, 16)).astype(np.float32)
            yield {
                "images": torch.tensor(images),
                "labels": torch.tensor(random.integers(0, 10, BATCH)),
            }
            continue
        # Words are frequent as in a language, and follow one another by a rule.
        first = (random.pareto(1.0, (BATCH, 1)) * 3).astype(np.int64)
        steps = np.arange(LENGTH) * (1 + random.integers(0, 3, (BATCH, 1)))
        words = torch.tensor((first + steps) % (WORDS * 9 // 10))
        yield {"input_ids": words, "labels": words}


def train(recipe: Recipe) -> Iterator[tuple[int, State]]:
    """Yield the state after each of the steps at which it is saved."""
    torch.manual_seed(0)
    model = recipe.model().to(recipe.dtype)
    optimizer = recipe.optimizer(p for p in model.parameters() if p.requires_grad)
    rate = optimizer.param_groups[0]["lr"]
    for step, batch in enumerate(batches(model), 1):
        factor = min(step / recipe.warmup, 1.0) if recipe.warmup else 1.0
        for after, times in recipe.spike.items():
            factor *= times if step > after else 1.0
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        if "images" in batch:
            loss = torch.nn.functional.cross_entropy(model(batch["images"]), batch["labels"])
        else:
            loss = model(**batch).loss
        loss.backward()
        if recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        if step in recipe.saves:
            state = {n: t.detach().clone().contiguous() for n, t in model.state_dict().items()}
            if recipe.model is adapter:
                state = {n: t for n, t in state.items() if "lora_" in n}
            state.pop("lm_head.weight", None) if recipe.model is gpt2 else None
            yield step, state | _moments(model, optimizer)
        if step == recipe.saves[-1]:
            return


def _moments(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> State:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"optimizer:{names[id(parameter)]}.{kind}": value.detach().clone().contiguous()
        for parameter, entry in optimizer.state.items()
        for kind, value in entry.items()
        if isinstance(value, torch.Tensor) and value.ndim
    }


def records_of(state: State, folder: Path) -> dict[str, TensorRecord]:
    """Return what a manifest keeps of a state."""
    path = folder / "state.safetensors"
    save_file(state, path)
    scan = scan_file(path, spans=read_header(path).tensors, cancelled=lambda: False)
    return {each.name: TensorRecord.of(each) for each in scan.tensors}


@dataclass
class Extremes:
    """The largest values that a run gave, each with the tensor and the steps that gave it."""

    found: dict[str, tuple[float, str]] = field(default_factory=dict)

    def put(self, kind: str, value: float | None, where: str) -> None:
        """Keep a value if it is the largest of its kind."""
        if value is not None and value > self.found.get(kind, (0.0, ""))[0]:
            self.found[kind] = value, where


def extremes_of(saves: list[tuple[int, dict[str, TensorRecord]]]) -> Extremes:
    """Return the extremes of a run."""
    extremes = Extremes()
    for place in range(1, len(saves)):
        (then, previous), (step, now) = saves[place - 1 : place + 1]
        first, earlier = saves[place - 2] if place > 1 else (0, {})
        for name, record in now.items():
            where = f"{name}, steps {then} to {step}"
            if name.startswith("optimizer:"):
                second = now.get(f"{name}_sq")
                if second is not None and record.largest and second.largest:
                    extremes.put("moments", record.largest / math.sqrt(second.largest), where)
                continue
            if name not in previous or record.nonfinite or previous[name].nonfinite:
                continue
            move = move_of(record, previous[name], earlier.get(name))
            kind = "matrix" if len(record.shape) > 1 else "vector"
            extremes.put(f"{kind} jump", move.jump, where)
            if kind == "matrix" and move.change and move.before:
                pace = max((step - then) / (then - first), 1.0)
                extremes.put("change", move.change, where)
                extremes.put("change growth", move.change / move.before / pace, where)
    return extremes


DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
EXPONENT = {"F32": (23, 8), "BF16": (7, 8), "F16": (10, 5)}
TRIES = 2000


def flips(state: State) -> dict[str, dict[int, float]]:
    """Return which part of the flips of each exponent bit shows, by type.

    Seen is what is not finite, or beyond the limit for a matrix.
    """
    random = np.random.default_rng(2)
    matrices = [tensor for name, tensor in state.items() if tensor.ndim > 1 and ":" not in name]
    limit = Limits().largest_growth
    found: dict[str, dict[int, float]] = {}
    for dtype, kind in DTYPES.items():
        low, count = EXPONENT[dtype]
        unsigned = FLOATS[dtype].unsigned
        seen = dict.fromkeys(range(count), 0)
        for _ in range(TRIES):
            tensor = matrices[random.integers(len(matrices))].to(kind).flatten()
            largest = float(tensor.abs().max())
            one = tensor[random.integers(len(tensor)) :][:1]
            raw = one.view(torch.uint8).numpy().copy()
            for bit in range(count):
                flipped = (raw.view(unsigned) ^ unsigned.type(1 << (low + bit))).view(np.uint8)
                value = abs(float(values_of(flipped, dtype)[0]))
                seen[bit] += not math.isfinite(value) or value > limit * largest
        found[dtype] = {bit: times / TRIES for bit, times in seen.items()}
    return found


def main() -> None:
    """Train, measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description="Measurements behind the thresholds.")
    parser.add_argument("--only", help="the one way to train")
    only = parser.parse_args().only
    results: dict[str, Any] = {}
    last: State = {}
    for name, recipe in RECIPES.items():
        if only not in {None, name}:
            continue
        saves = []
        with tempfile.TemporaryDirectory() as folder:
            for step, state in train(recipe):
                saves.append((step, records_of(state, Path(folder))))
                last = state if recipe.model is gpt2 and recipe.healthy else last
        found = extremes_of(saves).found
        results[name] = {"healthy": recipe.healthy, "extremes": found}
        told = "  ".join(f"{kind} {value:.3g}" for kind, (value, _) in sorted(found.items()))
        print(f"{name:40} {told}", flush=True)
    shown = flips(last) if last else {}
    for dtype, bits in shown.items():
        told = "  ".join(f"{bit}: {part:.1%}" for bit, part in sorted(bits.items(), reverse=True))
        print(f"{dtype:5} flips of exponent bits that show  {told}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "thresholds.json"
    document = {
        "benchmark": "thresholds",
        "machine": machine(),
        "torch": torch.__version__,
        "runs": results,
        "flips": shown,
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
