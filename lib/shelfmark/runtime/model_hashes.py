"""Which network vectors come from: two checkpoints that differ behind the embedding make the same vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHECKPOINT, EMBEDDING, EARLIER = "checkpoint_sha256", "embedding_sha256", "recalibrated_from"
HASHES = (CHECKPOINT, EMBEDDING, EARLIER)


@dataclass(frozen=True)
class ModelHashes:
    """checkpoint: of the whole weights file. embedding: of its tensors that make the embedding. recalibrated_from: of
    the weights files that it was made from by recalibration, which leaves the embedding as it is."""

    checkpoint: str
    embedding: str
    recalibrated_from: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What features and an index note of the network."""
        earlier = {EARLIER: list(self.recalibrated_from)} if self.recalibrated_from else {}
        return {CHECKPOINT: self.checkpoint, EMBEDDING: self.embedding, **earlier}


def same_embedding(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two networks make the same embeddings, by what was noted of each.

    Earlier versions noted the checkpoint alone. Such vectors fit that checkpoint, and those that are recalibrated from
    it.
    """
    if before.get(EMBEDDING) and now.get(EMBEDDING):
        return bool(before[EMBEDDING] == now[EMBEDDING])
    return before.get(CHECKPOINT) in (now.get(CHECKPOINT), *now.get(EARLIER, ()))
