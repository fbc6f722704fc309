"""Head first: the features of a frozen backbone, computed once, on which the layers behind it are trained.

Legend: N images, n images of them that are stored, V views, F features, D embedding.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.artefact import flat
from shelfmark.core.contracts import Embeddings
from shelfmark.core.files import sha256_file
from shelfmark.core.log import say
from shelfmark.core.together import from_main
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.feature_loader import FeatureLoader, StoredViews
from shelfmark.data.sources import ImageSource
from shelfmark.data.table import Table
from shelfmark.engine.hook import Hook
from shelfmark.engine.precision import Precision
from shelfmark.engine.state import TrainState
from shelfmark.models.embedding_hash import state_hash
from shelfmark.models.network import Network
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.frozen_epochs import cached_around
from shelfmark.runtime.features import stored_or_passed
from shelfmark.runtime.image_pass import ImagePass, evaluation_pass, training_views_pass
from shelfmark.runtime.pass_bar import pass_bar
from shelfmark.runtime.stored_features import feature_facts

FOLDER = "frozen_features"


class FrozenFeatures(Hook):
    """The features that a run stores for the epochs in which its backbone is frozen (`train.cache_features`).

    They lie in a folder of the run until these epochs are over. A resumed run takes them again if they are of the same
    backbone, images and views, and otherwise computes them anew, with the same digits.
    train: the training images. bad_images: of the training.
    """

    name = "frozen_features"

    def __init__(
        self, recipe: Recipe, train: Table, state: TrainState, run_folder: Path, bad_images: BadImageLog
    ) -> None:
        self.recipe, self.train, self.state = recipe, train, state
        self.folder, self.bad_images = run_folder / FOLDER, bad_images
        self._loader: FeatureLoader | None = None
        self._loaded_for = range(0)
        self._of_evaluation: dict[str, Embeddings] = {}

    def begin(self, epoch: int) -> None:
        """Makes the training features of the epoch ready, if it trains on such; a collective."""
        epochs = cached_around(self.recipe, epoch)
        if epochs is None:
            # After a kill they may be there.
            if self.recipe.train.cache_features.views:
                self._drop()
        elif epochs != self._loaded_for:
            self._drop(but_files=True)
            self._loader, self._loaded_for = self._made_loader(epochs), epochs

    def loader_of(self, epoch: int) -> FeatureLoader | None:
        """The batches of features for an epoch that `begin` made ready; None if the epoch trains on images."""
        return self._loader if epoch in self._loaded_for else None

    def of(self, table: Table, part: str, epoch: int) -> Embeddings | None:
        """The backbone's features (n, F) of images as evaluation sees them; None if the epoch's backbone is not frozen.

        part: `val` or `retrieval`. A collective: the first call passes over the images.
        """
        if epoch not in self._loaded_for:
            return None
        if part not in self._of_evaluation:
            images = evaluation_pass(self.recipe, *self._source(table), "backbone")
            log = BadImageLog(
                self.folder.with_name(f"{part}_bad_images.csv"),
                num_images=len(table),
                limit=self.recipe.data.max_bad_images,
                source=self.recipe.data.source,
            )
            self._of_evaluation[part] = self._stored(images, table, part, {}, log)
        return self._of_evaluation[part]

    def epoch_closed(self) -> None:
        # Only a resume from an earlier epoch would ask for them, and computes them again.
        if self._loaded_for and self.state.progress.epoch == self._loaded_for.stop:
            self._drop()

    def _made_loader(self, epochs: range) -> FeatureLoader:
        recipe, num_views = self.recipe, self.recipe.train.cache_features.views
        drawn = range(epochs.start, epochs.start + num_views)
        say(f"the backbone is frozen until epoch {epochs.stop}: its features of {_views(num_views)} are computed once")
        images = training_views_pass(recipe, *self._source(self.train), drawn)
        stored = self._stored(images, self.train, "train", _facts_of_views(recipe, drawn), self.bad_images)
        features = stored.features.reshape(len(stored), num_views, -1)
        return FeatureLoader(
            StoredViews(features, stored.rows, epochs.start),
            self.train.labels,
            self.train.paths,
            assemble.epoch_order(recipe, self.train),
            recipe.seed,
            dist.rank(),
            dist.world_size(),
        )

    def _source(self, table: Table) -> tuple[Network, Precision, ImageSource]:
        # A stage that begins takes over the weights that the one before it leaves, which may be an average.
        return self.state.weights_to_evaluate(), self.state.precision, assemble.image_source(self.recipe, table)

    def _stored(
        self, images: ImagePass, table: Table, part: str, more_facts: dict[str, Any], log: BadImageLog
    ) -> Embeddings:
        """The features in a subfolder, passed if they are not there or do not fit."""
        network, precision = images.network, images.precision

        def facts() -> dict[str, Any]:
            backbone = state_hash(network.backbone.state_dict())
            known = feature_facts(self.recipe, table, backbone, precision.name, f"backbone, {part}")
            return {**known, **more_facts}

        was_training = network.training
        try:
            with pass_bar(f"features of {part}", -(-len(table) // dist.world_size())) as report:
                return stored_or_passed(images, self.recipe, table, self.folder / part, facts, log, report=report)
        finally:
            network.train(was_training)

    def _drop(self, but_files: bool = False) -> None:
        self._loader, self._loaded_for, self._of_evaluation = None, range(0), {}
        if not but_files:
            from_main(lambda: shutil.rmtree(self.folder, ignore_errors=True))


def embedded(network: Network, precision: Precision, features: np.ndarray, batch_size: int) -> Iterator[Tensor]:
    """The embeddings (up to batch_size, D), on the network's device, of features (N, F), block by block."""
    for start in range(0, len(features), batch_size):
        block = torch.from_numpy(features[start : start + batch_size]).to(precision.device)
        with torch.inference_mode(), precision.autocast():
            yield network.embedding_of(block)


def _views(number: int) -> str:
    return "one view" if number == 1 else f"{number} views"


def _facts_of_views(recipe: Recipe, epochs: range) -> dict[str, Any]:
    """What determines the augmented views of the training images."""
    augment = recipe.augment.model_dump(mode="json")
    file = recipe.augment.albumentations
    # The file is the user's, who may change what stands in it.
    of_file = {} if file is None else {"albumentations_sha256": sha256_file(file)}
    facts = {"seed": recipe.seed, "epochs": [epochs.start, epochs.stop], "augment": {**augment, **of_file}}
    # Views of version 1 noted no version.
    of_version = {} if recipe.data.pipeline == 1 else {"pipeline": recipe.data.pipeline}
    return flat({**facts, **of_version})
