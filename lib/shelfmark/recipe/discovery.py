"""Options of `shelfmark discover`: new products from unlabelled photographs, round after round."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shelfmark.config.section import Fraction, NotNegative, Positive, Section, option

ClustererName = Literal["auto", "lander", "components", "dbscan", "kmeans", "hdbscan", "infomap", "leiden"]
Neighbours = Annotated[int, Field(ge=2)]


class Lander(Section):
    """The learned hierarchical clusterer (Hi-LANDER): its network, its training, and how its levels are built."""

    ks: tuple[Neighbours, ...] = option(
        (10, 5, 3), "neighbours, the image itself among them, of each training pyramid", min_length=1
    )
    levels: tuple[Positive, ...] = option((2, 3, 4), "most levels of each training pyramid", min_length=1)
    layer: Literal["gat", "gcn"] = option("gat", "graph layer: attention, or the mean of the neighbours")
    num_layers: Annotated[int, Field(ge=1, le=4)] = option(1, "graph layers")
    heads: Positive = option(1, "gat: attention heads")
    hidden: Positive = option(512, "width of the first layers")
    cluster_features: bool = option(False, "the mean features of a cluster are an input beside its peak's own")
    balance: bool = option(True, "as many links that join a class as links that do not count in the loss")
    focal: bool = option(False, "focal loss of the links in place of cross-entropy")
    epochs: Positive = option(50, "passes over the first graph")
    batch_size: Positive = option(4096, "images of each graph in a step")
    optimizer: Literal["sgd", "adamw"] = option("adamw", "adamw needs far fewer epochs than sgd")
    lr: float = option(0.003, "first learning rate; it falls as a cosine", gt=0)
    weight_decay: float = option(1e-5, "of the optimizer", ge=0)
    tau: Fraction = option(0.9, "an image joins a denser one only if they are different with a probability below 1-tau")
    max_levels: Positive = option(10, "most levels of the clustering")
    early_stop: bool = option(True, "stop at the level where links become as rare as they should not")

    @model_validator(mode="after")
    def _pyramids_have_both(self) -> Lander:
        if len(self.ks) != len(self.levels):
            raise ValueError(
                f"ks={list(self.ks)} and levels={list(self.levels)} must have as many entries as each other"
            )
        return self


class Clusterer(Section):
    name: ClustererName = option(
        "auto", "auto: infomap where it is installed, lander with many labelled classes, else components; it says which"
    )
    k: Neighbours = option(10, "neighbours of an image in the graph, itself among them")
    fit_on: Literal["auto", "trained", "val"] = option(
        "auto",
        "what it learns from: the images that the round trained on, or the class-disjoint validation, whose classes the"
        " model has not seen; auto: trained for lander, which needs many, and both, amid the pool, for a threshold",
    )
    whiten: bool = option(
        False,
        "features are first whitened by how images of a labelled class differ, so that pose and light count for less",
    )
    threshold: Fraction | None = option(
        None, "components, dbscan, infomap, leiden: least cosine of a link; null: calibrated on labelled images"
    )
    min_images: Positive = option(4, "dbscan: images within the threshold that make a core; hdbscan: in a cluster")
    num_clusters: Positive | None = option(None, "kmeans: null: as many as labelled classes' size suggests")
    resolution: float = option(0.1, "leiden: greater gives smaller clusters", gt=0)
    lander: Lander = Lander()


class Selection(Section):
    density_threshold: float | None = option(
        None, "images denser than this are selected; null: what gives target_precision on classes held out of training"
    )
    target_precision: Fraction = option(
        0.8, "share of right pairs among those selected, where thresholds are calibrated"
    )
    min_size: Positive = option(3, "selected images that a cluster needs to become a class; 1 is no limit")
    max_size: NotNegative = option(0, "a cluster with more selected images is left out; 0 is no limit")
    min_distance_to_known: Fraction = option(
        0.0, "an image is selected only if (1 - its greatest cosine with a known class's mean) / 2 reaches this"
    )
    join_known: bool = option(True, "clusters near a known class, by a calibrated cosine, become images of that class")
    join_precision: Fraction = option(0.9, "share of right joins that the cosine is calibrated for", gt=0)
    weight_by_density: bool = option(
        True, "a selected image's weight is its density, for sampling.type=weighted; else each weighs as a labelled one"
    )


class Discovery(Section):
    annotations: Path | None = option(
        None, "one file with all images, each with a role: labelled, unlabelled, test, or val (of classes of its own)"
    )
    rounds: Positive = option(2, "rounds of training, clustering and selection")
    val_classes: Fraction = option(
        0.2,
        "where no image has the role val: part of the labelled classes kept apart to choose models and thresholds;"
        " 0: none",
    )
    max_images: NotNegative = option(0, "for a trial: at most so many images of each role, whole classes first; 0: all")
    clusterer: Clusterer = Clusterer()
    selection: Selection = Selection()
    warm_start: bool = option(
        True, "a round's backbone begins with the best of the round before; else as model.weights"
    )
    later_weight_decay: float | None = option(
        None, "optim.weight_decay of the rounds after the first; null: the same", ge=0
    )
    reselect: bool = option(True, "every round selects anew among all unlabelled images; else what was selected stays")
