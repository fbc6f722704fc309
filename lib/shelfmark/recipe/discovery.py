"""Options of `shelfmark discover`: new products from unlabelled photographs, round after round."""

from __future__ import annotations

from pathlib import Path

from shelfmark.config.section import Fraction, NotNegative, Positive, Section, option
from shelfmark.discovery.options import ClustererOptions, SelectionOptions


class DiscoveryOptions(Section):
    """New products among unlabelled images, found round after round."""

    annotations: Path | None = option(
        None,
        "one annotation file with all images. Each record has a role: labelled, unlabelled, test, or val."
        " The classes of val images have no labelled image",
    )
    rounds: Positive = option(2, "number of rounds. A round trains, clusters the unlabelled images, and selects some")
    val_classes: Fraction = option(
        0.2,
        "used if no image has the role val: the share of the labelled classes that are not trained on."
        " They choose the best model and the thresholds. 0: none",
    )
    max_images: NotNegative = option(
        0, "for a trial: the greatest number of images for each role. Classes are taken whole. 0: all images"
    )
    clusterer: ClustererOptions = ClustererOptions()
    selection: SelectionOptions = SelectionOptions()
    warm_start: bool = option(
        True,
        "whether the backbone of a round starts from the best model of the round before. false: it starts"
        " from model.weights",
    )
    later_weight_decay: float | None = option(
        None, "weight decay of the rounds after the first. null: optim.weight_decay in every round", ge=0
    )
    reselect: bool = option(
        True,
        "whether every round selects among all unlabelled images. false: an image that was selected stays"
        " selected in all later rounds",
    )
