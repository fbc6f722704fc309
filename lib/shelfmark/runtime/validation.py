"""The pass over val after an epoch: the scores that choose the best checkpoint."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shelfmark.core import dist
from shelfmark.core.heartbeat import working
from shelfmark.core.together import from_main
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.engine.state import TrainState
from shelfmark.models.network import Network
from shelfmark.ops.class_metrics import ClassCounts
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.features import features_of
from shelfmark.runtime.image_pass import evaluation_pass
from shelfmark.runtime.retrieval_scores import retrieval_scores

RETRIEVAL_SCORES = ("recall@", "precision@", "map", "r_precision", "mrr", "minp", "mean_class_recall@1")


@dataclass(frozen=True)
class Validation:
    """Called after an epoch; returns scores by the names of summary.json.

    Classification is scored during the pass over val, if there is one. Retrieval is scored only if `eval.metric` is one
    of its scores: it costs a second pass, and the end of the run reports it anyway. val or retrieval_table may be None.
    counts: (C,) training images a class.
    """

    state: TrainState
    recipe: Recipe
    val: Table | None
    retrieval_table: Table | None
    counts: np.ndarray
    bad_images: BadImageLog

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
        precision, source = self.state.precision, assemble.image_source(self.recipe, val)
        with self.bad_images.over_ranks():
            images = evaluation_pass(self.recipe, network, precision, source, "logits")
            for batch in images.share(self.bad_images):
                if len(batch.rows):
                    counted.add(batch.values, torch.from_numpy(val.labels[batch.rows]))
        counted.sum_over_ranks(precision.device)
        return counted.scores(self.counts, many=self.recipe.eval.many, few=self.recipe.eval.few)

    def _retrieval(self, network: Network) -> dict[str, float | None]:
        table = self.val if self.retrieval_table is None else self.retrieval_table
        assert table is not None
        with tempfile.TemporaryDirectory() as own:
            features = features_of(
                network,
                self.recipe,
                table,
                Path(dist.broadcast_object(own)) / "features",
                checkpoint_hash="in training",
                precision=self.state.precision,
            )

            def search() -> dict[str, float | None]:
                with working("evaluation"):
                    return retrieval_scores(self.recipe, features, self.retrieval_table, self.state.precision.device)

            return from_main(search)
