"""Values that are nobody's business: tokens and passwords among the settings of a training."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resume_daemon.parameters.values import Setting

HIDDEN: Final = "(not shown)"

_SECRET: Final = re.compile(r"(?:.*_)?(?:token|password|passwd|secret|api_?key|access_?key)")


def without_secrets(settings: Iterable[Setting]) -> Iterator[Setting]:
    """Yield settings, of which those that hold a secret by their name hold it no more."""
    for setting in settings:
        secret = _SECRET.fullmatch(setting.name.lower()) is not None
        if secret and isinstance(setting.value, str) and setting.value:
            yield dataclasses.replace(setting, value=HIDDEN, span=None)
        else:
            yield setting
