"""A small model that really learns: the next character of Python's language reference.

Linear: the scores of the next character are the sum of one matrix row per character before it.
The curriculum decides how many characters back the model may look. Adam is that of torch
(``optim/adam.py``), in numpy.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np

CHARACTERS: Final = "\n" + "".join(map(chr, range(32, 127)))
"""The vocabulary; everything else becomes a newline."""

CONTEXT: Final = 3
"""Characters that the model can look back at most: one layer each."""

BETAS: Final = (0.9, 0.999)
EPSILON: Final = 1e-8
LEARNING_RATE: Final = 0.1
DROPOUT: Final = 0.1
SEED: Final = 42

_BATCH: Final = 512
_PASSAGE: Final = 8192

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Moments:
    """What Adam keeps per parameter: ``step``, and the two moving averages of its gradient."""

    step: Array
    exp_avg: Array
    exp_avg_sq: Array


@dataclass(slots=True)
class Training:
    """Everything that a checkpoint must hold for training to go on as if nothing had happened.

    Attributes:
        weights: Parameters by name, float32, sorted.
        optimizer: Adam's state by parameter name.
        step: Optimizer steps so far.
        last_epoch: Steps of the learning rate's schedule so far, by torch's name for it.
        passages: Python's generator: which passage of the text a step learns from.
        positions: numpy's generator: which places of it.
        dropout: The generator whose state stands where torch keeps its own.
    """

    weights: dict[str, Array]
    optimizer: dict[str, Moments]
    step: int = 0
    last_epoch: int = 0
    passages: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 - data
    positions: np.random.RandomState = field(default_factory=lambda: np.random.RandomState(SEED))
    dropout: np.random.RandomState = field(default_factory=lambda: np.random.RandomState(SEED + 1))


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step tells: mean cross entropy (nats), share of right guesses, 2-norm, rate."""

    loss: float
    performance: float
    gradient_norm: float
    learning_rate: float


def fresh_training() -> Training:
    """Return training before its first step."""
    size = len(CHARACTERS)
    generator = np.random.RandomState(SEED)
    shapes: dict[str, tuple[int, ...]] = {"lm_head.bias": (size,)}
    shapes |= {f"model.layers.{back}.weight": (size, size) for back in range(CONTEXT)}
    weights = {
        name: generator.normal(0.0, 0.02, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    optimizer = {
        name: Moments(np.zeros((), np.float32), np.zeros_like(value), np.zeros_like(value))
        for name, value in weights.items()
    }
    return Training(weights, optimizer)


def learning_rate(step: int, steps: int) -> float:
    """Return the rate after ``step`` of ``steps`` steps: linear, to zero."""
    return LEARNING_RATE * max(0.0, (steps - step) / steps)


def train_step(training: Training, *, stage: int, steps: int) -> StepResult:
    """Take one optimizer step, in place.

    Args:
        training: What learns.
        stage: The curriculum's: the model may look ``stage + 1`` characters back.
        steps: Length of the schedule, in steps.
    """
    rate = learning_rate(training.last_epoch, steps)
    contexts, targets = _batch(training)
    layers = [f"model.layers.{back}.weight" for back in range(min(stage + 1, CONTEXT))]
    kept = training.dropout.random_sample((len(layers), _BATCH)) >= DROPOUT
    inputs = [_one_hot(contexts[:, back]) * kept[back, :, None] for back in range(len(layers))]
    scores = training.weights["lm_head.bias"] + sum(
        each @ training.weights[name] for each, name in zip(inputs, layers, strict=True)
    )
    scores -= scores.max(axis=1, keepdims=True)
    exponents = np.exp(scores)
    probabilities = exponents / exponents.sum(axis=1, keepdims=True)
    loss = -np.log(probabilities[np.arange(_BATCH), targets]).mean()
    error = (probabilities - _one_hot(targets)) / np.float32(_BATCH)
    gradients = {name: each.T @ error for each, name in zip(inputs, layers, strict=True)}
    gradients["lm_head.bias"] = error.sum(axis=0)
    for name, gradient in gradients.items():
        _adam(training.weights[name], training.optimizer[name], gradient, rate)
    # Layers that the curriculum does not use yet count steps too, as with a gradient of zero.
    for name in training.weights.keys() - gradients.keys():
        training.optimizer[name].step += np.float32(1)
    training.step += 1
    training.last_epoch += 1
    return StepResult(
        loss=float(loss),
        performance=float((probabilities.argmax(axis=1) == targets).mean()),
        gradient_norm=float(np.sqrt(sum(float((g * g).sum()) for g in gradients.values()))),
        learning_rate=learning_rate(training.last_epoch, steps),
    )


def _batch(training: Training) -> tuple[Array, Array]:
    """Return contexts, the nearest character first, and the characters that follow them."""
    text = _text()
    begin = training.passages.randrange(len(text) - _PASSAGE)
    places = begin + training.positions.randint(CONTEXT, _PASSAGE, _BATCH)
    contexts = np.stack([text[places - back] for back in range(1, CONTEXT + 1)], axis=1)
    return contexts, text[places]


def _adam(weight: Array, moments: Moments, gradient: Array, rate: float) -> None:
    first, second = (np.float32(beta) for beta in BETAS)
    moments.step += np.float32(1)
    moments.exp_avg *= first
    moments.exp_avg += (1 - first) * gradient
    moments.exp_avg_sq *= second
    moments.exp_avg_sq += (1 - second) * gradient * gradient
    taken = float(moments.step)
    size = np.float32(rate / (1 - BETAS[0] ** taken))
    root = np.sqrt(moments.exp_avg_sq) / np.float32(np.sqrt(1 - BETAS[1] ** taken))
    weight -= size * moments.exp_avg / (root + np.float32(EPSILON))


def _one_hot(characters: Array) -> Array:
    rows = np.zeros((len(characters), len(CHARACTERS)), np.float32)
    rows[np.arange(len(characters)), characters] = 1
    return rows


@lru_cache(maxsize=1)
def _text() -> Array:
    """Return the text as indices of the vocabulary."""
    from pydoc_data.topics import topics  # noqa: PLC0415 - 700 kB that only training needs

    table = np.zeros(0x110000, np.uint8)
    table[[ord(character) for character in CHARACTERS]] = range(len(CHARACTERS))
    text = "".join(topics[name] for name in sorted(topics))
    return table[np.frombuffer(text.encode("utf-32-le"), np.uint32)]
