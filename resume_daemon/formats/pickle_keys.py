"""Keys of dicts and members of sets, which Python hashes: the one thing that reading runs.

Hashing a tuple walks it recursively in C without a guard, so depth can crash the interpreter,
sharing can take exponential time, and chosen numbers can all fall on one hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resume_daemon.formats.inert_values import Call, GlobalReference, PersistentReference
from resume_daemon.formats.pickle_budget import RARE

if TYPE_CHECKING:
    from resume_daemon.formats.pickle_budget import Budget

MAX_KEY_PARTS: Final = 1000
MAX_SAME_HASH: Final = 1000
_SAFE_INTEGER: Final = 2**60
"""Below this every integer is its own hash (CPython reduces them modulo 2**61 - 1)."""

_CHOSEN_BY_NOBODY: Final = frozenset({str, bytes, Call, GlobalReference, PersistentReference})
"""Their hash is random from process to process, or an address."""


class Keys:
    """Checks every key of one pickle before it is hashed."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._seen: dict[tuple[int, int], int] = {}

    def check(self, container: object, key: Any) -> None:
        """Return if ``key`` may be put into ``container``.

        Raises:
            ValueError: It has no hash, is too large, or falls on the hash of too many others.
        """
        kind = type(key)
        if kind in _CHOSEN_BY_NOBODY or (kind is int and -_SAFE_INTEGER < key < _SAFE_INTEGER):
            return
        seen = 0
        parts = [key]
        while parts:
            part = parts.pop()
            if isinstance(part, (list, dict, set, bytearray)):
                raise ValueError(f"a {type(part).__name__} is used as a key")  # noqa: TRY004 - the one error of bad content.
            if isinstance(part, (tuple, frozenset)):
                seen += len(part)
                if seen > MAX_KEY_PARTS:
                    raise ValueError(f"a key has more than {MAX_KEY_PARTS} parts")
                parts.extend(part)
        place = (id(container), hash(key))
        count = self._seen[place] = self._seen.get(place, 0) + 1
        # Every part is looked at here, hashed, and compared with the keys of the same hash.
        self.budget.charge(RARE, 1 + seen + (1 + seen) * count // 16)
        if count > MAX_SAME_HASH:
            raise ValueError("too many keys were chosen to have the same hash")
