"""The pass over val after an epoch: the scores that choose the best checkpoint."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import Embeddings
from shelfmark.core.heartbeat import working
from shelfmark.core.together import from_main
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.engine.state import TrainState
from shelfmark.models.network import Network
from shelfmark.ops.class_metrics import ClassCounts
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.features import features_of
from shelfmark.runtime.frozen_features import FrozenFeatures, embedded
from shelfmark.runtime.image_pass import evaluation_pass
from shelfmark.runtime.retrieval_scores import retrieval_scores

RETRIEVAL_SCORES = ("recall@", "precision@", "map", "r_precision", "mrr", "minp", "mean_class_recall@1")


@dataclass(frozen=True)
class Validation:
    """Called after an epoch; returns scores by the names of summary.json, and `images_per_s` of a pass over val.

    Classification is scored during the pass over val, if there is one. Retrieval is scored only if `eval.metric` is one
    of its scores: it costs a second pass, and the end of the run reports it anyway. val or retrieval_table may be None.
    counts: (C,) training images a class. frozen: has the features of both tables in epochs whose backbone is frozen, so
    that each is passed once.
    """

    state: TrainState
    recipe: Recipe
    val: Table | None
    retrieval_table: Table | None
    counts: np.ndarray
    bad_images: BadImageLog
    frozen: FrozenFeatures | None = None

    def __call__(self) -> dict[str, float | None]:
        network = self.state.weights_to_evaluate()
        network.eval()
        try:
            scores = {} if self.val is None else self._classification(network, self.val)
            if self.recipe.eval.metric.startswith(RETRIEVAL_SCORES):
                scores |= self._retrieval(network)
            return scores
        finally:
            network.train()

    def _classification(self, network: Network, val: Table) -> dict[str, float | None]:
        counted = ClassCounts(len(self.counts))
        precision, stored = self.state.precision, self._stored(val, "val")
        began = time.perf_counter()
        with self.bad_images.over_ranks():
            for rows, logits in self._passed(network, val) if stored is None else self._scored(network, stored):
                counted.add(logits, torch.from_numpy(val.labels[rows]))
        counted.sum_over_ranks(precision.device)
        # Features that are stored say nothing of the speed of the network.
        speed = {} if stored is not None else {"images_per_s": len(val) / (time.perf_counter() - began)}
        return counted.scores(self.counts, many=self.recipe.eval.many, few=self.recipe.eval.few) | speed

    def _stored(self, table: Table, part: str) -> Embeddings | None:
        """The frozen backbone's features of a table, if the epoch trains on such."""
        return None if self.frozen is None else self.frozen.of(table, part, self.state.progress.epoch)

    def _passed(self, network: Network, val: Table) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Rows and logits of this process's share of val, by a pass over the images."""
        source = assemble.image_source(self.recipe, val)
        images = evaluation_pass(self.recipe, network, self.state.precision, source, "logits")
        return ((batch.rows, batch.values) for batch in images.share(self.bad_images) if len(batch.rows))

    def _scored(self, network: Network, stored: Embeddings) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Rows and logits of this process's share of stored features."""
        mine = slice(*(len(stored) * place // dist.world_size() for place in (dist.rank(), dist.rank() + 1)))
        rows = stored.rows[mine]
        for embedding in self._embedded(network, stored.features[mine]):
            with torch.inference_mode():
                yield rows[: len(embedding)], network.logits(embedding)
            rows = rows[len(embedding) :]

    def _embedded(self, network: Network, features: np.ndarray) -> Iterator[Tensor]:
        return embedded(network, self.state.precision, features, self.recipe.eval.batch_size)

    def _retrieval(self, network: Network) -> dict[str, float | None]:
        table = self.val if self.retrieval_table is None else self.retrieval_table
        assert table is not None
        stored = self._stored(table, "val" if self.retrieval_table is None else "retrieval")
        if stored is not None:
            return from_main(lambda: self._searched(self._embeddings(network, stored)))
        with tempfile.TemporaryDirectory() as own:
            features = features_of(
                network,
                self.recipe,
                table,
                Path(dist.broadcast_object(own)) / "features",
                made_by="in training",
                precision=self.state.precision,
            )
            return from_main(lambda: self._searched(features))

    def _embeddings(self, network: Network, stored: Embeddings) -> Embeddings:
        parts = [part.float().cpu().numpy() for part in self._embedded(network, stored.features)]
        return replace(stored, features=np.concatenate(parts))

    def _searched(self, features: Embeddings) -> dict[str, float | None]:
        with working("evaluation"):
            return retrieval_scores(self.recipe, features, self.retrieval_table, self.state.precision.device)
