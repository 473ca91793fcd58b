"""Versions that are known not to work together in a resume, each with its source. Pure.

Only what was seen in the sources of both sides stands here; what a package itself asks for
(``Requires-Dist``) is checked apart from this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Combination:
    """Versions that are trouble together.

    Attributes:
        versions: A specifier by package; all have to hold.
        setting: A setting of the trainer that has to be in use as well, or an empty string.
        message: What happens.
        hint: What to do.
        source: Where that is known from.
    """

    versions: Mapping[str, str]
    setting: str
    message: str
    hint: str
    source: str


KNOWN = (
    Combination(
        {"trl": ">=0.28"},
        "max_prompt_length",
        "GRPOConfig has no max_prompt_length from TRL 0.28 on, and refuses to be made with it",
        "Remove max_prompt_length and filter prompts that are too long out of the data set, or "
        "install trl<0.28.",
        "trl/trainer/grpo_config.py of 0.27.2 (deprecated, to be removed in 0.28.0) and of 0.28.0",
    ),
    Combination(
        {"torch": "<2.3", "numpy": ">=2"},
        "",
        "torch before 2.3 was built for NumPy 1: 'Numpy is not available'",
        "Install torch>=2.3, or numpy<2.",
        "pytorch issues 107302 and 132179",
    ),
    Combination(
        {"torch": "<2.6", "transformers": ">=4.52"},
        "",
        "transformers from 4.52 on refuses to load optimizer.pt and scheduler.pt with torch "
        "before 2.6, so a checkpoint cannot be resumed from",
        "Install torch>=2.6, or transformers<4.52.",
        "transformers pull request 37785; trainer.py of 4.51.3 and 4.52.4, "
        "check_torch_load_is_safe",
    ),
    Combination(
        {"torch": ">=2.6", "transformers": "<4.47"},
        "",
        "transformers before 4.47 cannot load rng_state.pth with torch 2.6 or newer, so a "
        "checkpoint cannot be resumed from",
        "Install transformers>=4.47, or torch<2.6.",
        "transformers issue 34631 and pull request 34632; trainer.py of 4.46.3 and 4.47.1, "
        "_load_rng_state",
    ),
)


def met(versions: Mapping[str, str], settings: Collection[str]) -> Iterator[Combination]:
    """Yield the known combinations that are there.

    Args:
        versions: Installed versions by canonical name; one that cannot be parsed fits nothing.
        settings: Names of the trainer's settings that the next start would be given.
    """
    for each in KNOWN:
        if each.setting and each.setting not in settings:
            continue
        if all(_fits(versions.get(name), wanted) for name, wanted in each.versions.items()):
            yield each


def _fits(version: str | None, specifier: str) -> bool:
    if version is None:
        return False
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - only `doctor` needs it
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415 - as above

    try:
        # A nightly build of 2.6 counts as one: what was changed in 2.6 is in it.
        release = Version(Version(version).base_version)
    except InvalidVersion:
        return False
    return SpecifierSet(specifier).contains(release)
