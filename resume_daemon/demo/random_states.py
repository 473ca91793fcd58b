"""``rng_state.pth``: the states of three generators, in the forms that transformers saves."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from resume_daemon.demo.learning import SEED
from resume_daemon.demo.torch_archive import NumpyArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resume_daemon.demo.learning import Training

_WORDS: Final = 624

# Of torch's CPU generator (ATen CPUGeneratorImpl.cpp: CPUGeneratorImplState): seed, words left,
# seeded, next word, the words, three cached normals and whether they are valid. It is the same
# generator as numpy's; torch 2.13 was seen to draw the same words from it.
_TORCH_STATE: Final = struct.Struct(f"<QiiQ{_WORDS}Q3di4xf?3x")


def random_states(training: Training) -> dict[str, Any]:
    """Return what ``rng_state.pth`` holds."""
    kind, words, position, *normals = training.positions.get_state(legacy=True)
    _, own, next_word, *_ = training.dropout.get_state(legacy=True)
    left = _WORDS + 1 - next_word
    torch_state = _TORCH_STATE.pack(SEED, left, 1, next_word, *map(int, own), 0, 0, 0, 0, 0, False)
    return {
        "python": training.passages.getstate(),
        "numpy": (kind, NumpyArray(np.asarray(words)), int(position), *normals),
        "cpu": np.frombuffer(torch_state, np.uint8),
    }


def restore_random_states(training: Training, value: Mapping[str, Any], cpu: bytes) -> None:
    """Put the three generators back, in place.

    Args:
        training: Whose generators.
        value: ``rng_state.pth`` as ``formats.torch_file`` reads it.
        cpu: The bytes of its tensor.
    """
    training.passages.setstate(value["python"])
    kind, array, *rest = value["numpy"]
    # The array is an inert node, whose state ends in its bytes (numpy ndarray.__setstate__).
    training.positions.set_state((kind, np.frombuffer(array.state[4], np.uint32), *rest))
    _, _, _, next_word, *words = _TORCH_STATE.unpack(cpu)
    own = np.array(words[:_WORDS], np.uint32)
    training.dropout.set_state(("MT19937", own, next_word))
