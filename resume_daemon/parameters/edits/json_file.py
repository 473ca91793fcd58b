"""A value in a JSON file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from resume_daemon.parameters.edits.kind import RefusedError, plain_text, quote_of
from resume_daemon.parameters.edits.tree import leaves

if TYPE_CHECKING:
    from collections.abc import Mapping


class JsonFile:
    """JSON, UTF-8."""

    def write(self, old: str, value: Any) -> str:
        """Return JSON of the value; what was text stays text."""
        if quote_of(old):
            return json.dumps(plain_text(value), ensure_ascii=False)
        return json.dumps(value, ensure_ascii=False)

    def meaning(self, data: bytes) -> Mapping[tuple[Any, ...], Any]:
        """Return every single value; of a key that stands twice, the last one."""
        try:
            return leaves(json.loads(data.decode("utf-8-sig")))
        except (ValueError, RecursionError) as error:
            raise RefusedError(f"it is not JSON ({error})") from None
