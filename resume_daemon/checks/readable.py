"""Is each file what its format promises? What a trainer does with one that is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.checks.presence import NOT_LOOKED_INTO
from resume_daemon.errors import BeyondBoundsError
from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.formats.content import ARRAY_FORMATS, Format
from resume_daemon.layouts.base import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

JSON_DAMAGED = Code(
    "RD120",
    "json-damaged",
    Severity.ERROR,
    "A JSON file cannot be read",
    "It is cut off, empty, not JSON or beyond any sensible size. The trainer raises on resume "
    "where it is the trainer state, the model's configuration or another state.",
    "Resume from an earlier checkpoint, or restore the file from this checkpoint's snapshot.",
    "measured on transformers 5.23: trainer_state.json or config.json cut off raises",
)
SMALL_JSON_DAMAGED = Code(
    "RD121",
    "side-file-damaged",
    Severity.WARNING,
    "A side file cannot be read",
    "A JSON file that the trainer does not need to resume is damaged: the tokenizer, the "
    "generation settings, or a file that a script added.",
    "Copy it from an earlier checkpoint of the same run.",
)
WEIGHTS_UNREADABLE = Code(
    "RD201",
    "weights-unreadable",
    Severity.ERROR,
    "A weight file is not what its format promises",
    "Its header, its directory or its pickle cannot be read: it was cut off, overwritten, or never "
    "reached the disk. The trainer raises, or reads garbage.",
    "Resume from an earlier checkpoint.",
    "safetensors tensor.rs: read_metadata; measured: weights cut in half raise",
)
TORCH_UNREADABLE = Code(
    "RD301",
    "torch-file-unreadable",
    Severity.ERROR,
    "A torch file is not what its format promises",
    "The optimizer, schedule, scaler or random state, or a shard or the metadata of a sharded "
    "state, is cut off, empty or damaged; the trainer raises on resume.",
    "Resume from an earlier checkpoint.",
    "measured on transformers 5.23: optimizer.pt cut off or empty, rng_state.pth cut off raise",
)
ARGUMENTS_UNREADABLE = Code(
    "RD302",
    "arguments-unreadable",
    Severity.WARNING,
    "training_args.bin is damaged",
    "The trainer never reads it on resume, so it trains on; the record of what the run was trained "
    "with is lost.",
    "Restore it from this checkpoint's snapshot or from an earlier checkpoint.",
    "measured on transformers 5.23: training_args.bin cut short, the trainer resumes",
)

_CODES = {
    Role.WEIGHTS: WEIGHTS_UNREADABLE,
    Role.WEIGHTS_INDEX: JSON_DAMAGED,
    Role.OPTIMIZER: TORCH_UNREADABLE,
    Role.SCHEDULER: TORCH_UNREADABLE,
    Role.SCALER: TORCH_UNREADABLE,
    Role.RNG: TORCH_UNREADABLE,
    Role.STATE: TORCH_UNREADABLE,
    Role.SHARD_METADATA: TORCH_UNREADABLE,
    Role.DATA: TORCH_UNREADABLE,
    Role.TRAINER_STATE: JSON_DAMAGED,
    Role.DIGESTS: JSON_DAMAGED,
    Role.CONFIGURATION: JSON_DAMAGED,
    Role.ADAPTER_CONFIGURATION: JSON_DAMAGED,
    Role.ARGUMENTS: ARGUMENTS_UNREADABLE,
}

_OBJECTS = {
    Role.TRAINER_STATE: JSON_DAMAGED,
    Role.CONFIGURATION: JSON_DAMAGED,
    Role.ADAPTER_CONFIGURATION: JSON_DAMAGED,
    Role.EXTRA: JSON_DAMAGED,
    Role.TOKENIZER: SMALL_JSON_DAMAGED,
}

_MAY_BE_LARGE = {Role.DATA, Role.OTHER}
"""What may honestly be larger than is read, such as a buffer of samples."""

_RUN_NOTHING = {
    Format.ARRAY_DATA,
    Format.ARRAY_STORE,
    Format.JSON,
    Format.PARQUET,
    Format.SAFETENSORS,
    Format.TEXT,
    Format.YAML,
}
"""Formats in which nothing can hide: one that is too large to be judged is not accused for it."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each file whose format's reader gave up, graver the more it is needed."""
    for name, error in sorted(evidence.unreadable.items()):
        part = evidence.parts[name]
        if isinstance(error, BeyondBoundsError) and (
            part.role in _MAY_BE_LARGE or part.format in _RUN_NOTHING
        ):
            yield NOT_LOOKED_INTO.finding(
                f"{name} was digested only: {error.reason}", file=name, severity=Severity.WARNING
            )
            continue
        if evidence.parts[name].format in ARRAY_FORMATS:
            continue  # Told by its own check.
        code = _CODES.get(evidence.parts[name].role, SMALL_JSON_DAMAGED)
        if evidence.parts[name].role is Role.EXTRA:
            code = TORCH_UNREADABLE
        if code is TORCH_UNREADABLE and evidence.parts[name].format is Format.JSON:
            code = JSON_DAMAGED
        yield code.finding(f"{name}: {error.reason}", file=name)
    for role, code in _OBJECTS.items():
        for name in evidence.files(role):
            value = evidence.value(name)
            if evidence.parts[name].format is not Format.JSON or name not in evidence.contents:
                continue
            if not isinstance(value, dict):
                kind = type(value).__name__
                yield code.finding(f"{name}: it holds a {kind}, not an object", file=name)
