"""A classifier begins as the class means of a pretrained backbone's features. Legend: C classes, D embedding."""

from __future__ import annotations

import torch

from shelfmark.core import dist
from shelfmark.core.log import say
from shelfmark.core.together import together
from shelfmark.core.wording import counted
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.models.heads.unit_rows import unit_rows
from shelfmark.models.network import Network
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.image_pass import evaluation_pass


def begin_with_class_means(network: Network, recipe: Recipe, table: Table, precision: Precision) -> None:
    """Gives each class of the cosine classifier the mean direction of its images, without augmentation.

    A class without images keeps its first direction. Without a text tower this is how LIFT begins: Shi et al.,
    "Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts", ICML 2024, section 4.3.
    """
    weight = network.classifier.weight
    sums = torch.zeros(weight.shape, dtype=torch.float64, device=weight.device)
    say(f"the classifier begins with the class means of {counted(len(table), 'training image')}")
    network.eval()
    images = evaluation_pass(recipe, network, precision, assemble.image_source(recipe, table))
    with together():
        for batch in images.share():
            if not len(batch.rows):
                continue
            labels = torch.from_numpy(table.labels[batch.rows]).to(weight.device)
            with precision.autocast():
                directions = unit_rows(batch.values)
            sums.index_add_(0, labels[labels >= 0], directions[labels >= 0].double())
    network.train()
    sums = dist.sum_over_ranks(sums)
    is_known = sums.any(dim=1)
    with torch.no_grad():
        weight[is_known] = unit_rows(sums[is_known]).to(weight)
