"""Rebuild the index of weights in shards from the headers of the shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blake3 import blake3

from resume_daemon.repair.actions.writing import rewrite
from resume_daemon.repair.proposals import Unrepaired
from resume_daemon.repair.rebuilding.outcome import Refused
from resume_daemon.repair.rebuilding.shard_index import INDEXES, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.repair.facts import CheckpointFacts
    from resume_daemon.repair.proposals import Outcome

ACTION: Final = "shard_index"


def propose(
    checkpoint: CheckpointFacts, neighbours: Sequence[CheckpointFacts]
) -> Iterator[Outcome]:
    """Yield the index that shards without a readable one belong to, or why it cannot be told."""
    for index in INDEXES:
        shards = checkpoint.shards.get(index)
        if not shards or index in checkpoint.indexes:
            continue
        like = next((n.indexes[index] for n in neighbours if index in n.indexes), None)
        forms = rebuild(shards, like)
        if isinstance(forms, Refused):
            sentence = (
                f"{index} of {checkpoint.name} cannot be read, and is not rebuilt: {forms.reason}."
            )
            yield Unrepaired(ACTION, checkpoint.name, sentence, file=index)
            continue
        recorded = checkpoint.recorded.get(index)
        proved = (form for form in forms if blake3(form.content).hexdigest() == recorded)
        chosen = next(proved, forms[0])
        yield rewrite(ACTION, checkpoint, index, chosen)
