"""Variables of an environment as a report may show them. Pure.

A value is shown only where its name is one that a training is known to be steered by, and nothing
about it looks like a secret. Of all others the name is told, so that a secret under a name that
nobody foresaw is not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MASK = "***"
_SHOWN = re.compile(
    r"(WANDB|CUDA|NVIDIA|HF|HUGGINGFACE|TRANSFORMERS|TORCH|PYTORCH|NCCL|GLOO|OMP|MKL|VLLM|ACCELERATE"
    r"|FSDP|DEEPSPEED|DS|RESUME|TRL|RAY|SLURM|TOKENIZERS|XLA|JAX|ROCR|HIP)_.*"
    r"|PATH|PYTHON\w*|VIRTUAL_ENV|CONDA_(PREFIX|DEFAULT_ENV)|LD_LIBRARY_PATH|TMPDIR|HOME|USER|LANG"
    r"|LC_ALL|TZ|RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|MASTER_(ADDR|PORT)"
)
_SECRET_NAME = re.compile(
    r"KEY|TOKEN(?!IZERS)|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE|PRIVATE|SIGNATURE|WEBHOOK|NETRC",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"://[^/\s]*@|\b(hf_|sk-|ghp_|github_pat_|glpat-|xox[a-z]-|wandb_v\d|AKIA|eyJ)\w{6,}"
    r"|\b[0-9a-f]{40}\b"
)


def shown(variables: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """Return names with values, masked where they may be secret; None where only the name is told.

    Sorted by name.
    """
    return [(name, _shown(name, value)) for name, value in sorted(variables.items())]


def _shown(name: str, value: str) -> str | None:
    if _SECRET_NAME.search(name):
        return MASK if value else ""
    if not _SHOWN.fullmatch(name):
        return None
    return MASK if _SECRET_VALUE.search(value) else value
