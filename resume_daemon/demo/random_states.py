"""``rng_state.pth``: the states of three generators, in the forms that transformers saves."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from resume_daemon.demo.learning import SEED
from resume_daemon.formats.torch_archive import NumpyArray

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
    positions = training.positions.get_state(legacy=False)
    dropout = training.dropout.get_state(legacy=False)["state"]
    next_word = int(dropout["pos"])
    torch_state = _TORCH_STATE.pack(
        SEED, _WORDS + 1 - next_word, 1, next_word, *map(int, dropout["key"]), 0, 0, 0, 0, 0, False
    )
    return {
        "python": training.passages.getstate(),
        "numpy": (
            "MT19937",
            NumpyArray(positions["state"]["key"]),
            int(positions["state"]["pos"]),
            int(positions["has_gauss"]),
            float(positions["gauss"]),
        ),
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
    kind, array, position, has_gauss, gauss = value["numpy"]
    # The array is an inert node, whose state ends in its bytes (numpy ndarray.__setstate__).
    words = np.frombuffer(array.state[4], np.uint32)
    training.positions.set_state((kind, words, position, has_gauss, gauss))
    _, _, _, next_word, *rest = _TORCH_STATE.unpack(cpu)
    own = np.array(rest[:_WORDS], np.uint32)
    training.dropout.set_state(("MT19937", own, next_word, 0, 0.0))
