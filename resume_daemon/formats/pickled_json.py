"""JSON in which single values are pickles: what stable-baselines3 keeps of an algorithm.

Each is an object with the pickle in base64 under ``:serialized:``, and its loader runs all of them
(stable-baselines3 2.9 ``common/save_util.py: json_to_data``). They are read inertly here.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.formats.inert_pickle import load
from resume_daemon.formats.known_globals import carries_code

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.formats.inert_values import Reference
    from resume_daemon.formats.pickle_budget import Budget

PICKLED: Final = ":serialized:"
_OPERATION: Final = "read the pickles in"

_OF_A_CLASS: Final = frozenset(
    {("builtins", name) for name in ("type", "property", "classmethod", "staticmethod")}
)
"""What a class that is carried by its code is put together from; it can do no more than the code,
which is told as such."""


def unpickled(
    document: dict[str, Any], path: Path, budget: Budget
) -> tuple[dict[str, Any], set[Reference]]:
    """Return a document with the values that its pickles stand for, and what they would import.

    All pickles together take from one budget.

    Raises:
        BeyondBoundsError: They are larger than is read.
        FormatError: One of them is no base64 or no pickle.
    """
    values = dict(document)
    references: set[Reference] = set()
    for key, entry in document.items():
        if not isinstance(entry, dict) or not isinstance(entry.get(PICKLED), str):
            continue
        try:
            # As its loader does, which passes over characters that are not of the alphabet.
            content = base64.b64decode(entry[PICKLED].encode())
            pickle = load(content, path, budget=budget)
        except (binascii.Error, FormatError) as error:
            reason = error.reason if isinstance(error, FormatError) else str(error)
            kind = BeyondBoundsError if isinstance(error, BeyondBoundsError) else FormatError
            raise kind(_OPERATION, path, f"{key[:200]!r}: {reason}") from None
        values[key] = pickle.value
        carried = any(carries_code(each.module, each.name) for each in pickle.references)
        references |= {
            each
            for each in pickle.references
            if not (carried and (each.module, each.name) in _OF_A_CLASS)
        }
    return values, references
