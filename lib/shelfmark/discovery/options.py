"""Options of the parts of discovery: how a network learns to cluster, how images are grouped, and what is selected."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shelfmark.config.section import Fraction, NotNegative, OneOf, Positive, Section, option
from shelfmark.discovery.clusterers.clusters import NUM_NEIGHBOURS
from shelfmark.discovery.clusterers.dbscan import Dbscan
from shelfmark.discovery.clusterers.lander import LanderClusterer
from shelfmark.discovery.clusterers.leiden import Leiden
from shelfmark.discovery.clusterers.table import CLUSTERERS
from shelfmark.discovery.lander import LAYERS, MOST_LAYERS

OPTIMIZERS = ("sgd", "adamw")
AUTO = "auto"
Neighbours = Annotated[int, Field(ge=2)]


class LanderOptions(Section):
    """Hi-LANDER, the network that learns to cluster: its layers, its training, and how it builds clusters."""

    ks: tuple[Neighbours, ...] = option(
        (10, 5, 3),
        "the network trains on pyramids of graphs, and ks has one number for each pyramid: how many"
        " nearest images each image is linked to, itself included. Larger numbers show the network more"
        " links and cost more time",
        min_length=1,
    )
    levels: tuple[Positive, ...] = option(
        (2, 3, 4),
        "the greatest number of levels of each training pyramid, in the order of ks. Level 0 links"
        " images; each further level links the groups of the level below",
        min_length=1,
    )
    layer: Annotated[str, OneOf(LAYERS)] = option(
        "gat",
        "type of graph layer. gat: attention decides how much each neighbour counts. gcn: each neighbour"
        " counts by its cosine similarity",
    )
    num_layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)] = option(1, "number of graph layers, one after another")
    heads: Positive = option(1, "number of attention heads in each layer. Only layer=gat can have more than one")
    hidden: Positive = option(512, "width of the first two graph layers; later layers have half of it. It must be even")
    cluster_features: bool = option(
        False,
        "whether the network also sees the mean embedding of each group, beside the embedding of the group's densest"
        " image",
    )
    balance: bool = option(
        True,
        "whether a training batch counts as many links between images of one class as links between"
        " images of two classes. The surplus of the larger kind is left out at random",
    )
    focal: bool = option(
        False, "true: links are trained with focal loss, which gives hard links more weight. false: with cross-entropy"
    )
    epochs: Positive = option(50, "number of training epochs. One epoch sees every labelled image once")
    batch_size: Positive = option(4096, "number of images of one graph in a training step")
    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = option(
        "adamw", "optimizer of the training. adamw needs far fewer epochs than sgd, which the original used"
    )
    lr: float = option(
        0.003, "first learning rate of the training. It falls to 1e-5 along a cosine. With sgd, try 0.01", gt=0
    )
    weight_decay: float = option(1e-5, "weight decay of the optimizer", ge=0)
    tau: Fraction = option(
        LanderClusterer.tau,
        "how sure the network must be to link two images: the probability that the two are of different"
        " classes must be below 1 - tau. A higher tau gives purer and smaller clusters",
    )
    max_levels: Positive = option(
        LanderClusterer.levels,
        "the greatest number of levels of the clustering. Each level joins clusters of the level before",
    )
    early_stop: bool = option(
        LanderClusterer.early_stop,
        "whether the clustering stops at the first level that adds more than 1 / (k - 1) times as many"
        " links as the level before it. If each cluster is one product, the number of links falls faster"
        " than that from level to level. If it falls more slowly, the level joins different products",
    )

    @model_validator(mode="after")
    def _pyramids_have_both(self) -> LanderOptions:
        if len(self.ks) != len(self.levels):
            raise ValueError(
                f"ks={list(self.ks)} and levels={list(self.levels)} must have as many entries as each other"
            )
        return self


class ClustererOptions(Section):
    """How images are grouped into clusters. A clusterer reads only the options that name it, and k."""

    name: Annotated[str, OneOf((AUTO, *CLUSTERERS))] = option(
        AUTO,
        "name of the clusterer. auto: infomap if it is installed; otherwise lander if at least 300"
        " classes are labelled; otherwise components. The log says which one was taken and why",
    )
    k: Neighbours = option(
        NUM_NEIGHBOURS,
        "number of nearest images that each image is compared with, itself included. Only these images"
        " can be linked to it",
    )
    fit_on: Literal["auto", "trained", "val"] = option(
        AUTO,
        "the images that the clusterer learns from. trained: the images that the round's model was"
        " trained on. val: the images of the validation classes, which the model was not trained on. auto:"
        " trained for lander, val for kmeans and hdbscan. A threshold is learned from both, clustered"
        " together with the unlabelled images",
    )
    whiten: bool = option(
        False,
        "whether embeddings are whitened before clustering, with the covariance of images within labelled"
        " classes. Differences of pose and light then count for less",
    )
    threshold: Fraction | None = option(
        None,
        "for components, dbscan, infomap and leiden: two images are linked if their cosine similarity is"
        " at least this. null: learned from labelled images",
    )
    min_images: Positive = option(
        Dbscan.min_images,
        "for dbscan: an image with at least this many images within the threshold, itself included, can"
        " extend a cluster. For hdbscan: the smallest number of images in a cluster",
    )
    num_clusters: Positive | None = option(
        None,
        "for kmeans: the number of clusters. null: the number of images divided by the mean number of"
        " images in a labelled class",
    )
    resolution: float = option(
        Leiden.resolution,
        "for leiden: least mean similarity within a cluster, where two images without a link have the"
        " similarity 0. A greater number gives smaller clusters",
        gt=0,
    )
    lander: LanderOptions = LanderOptions()


class SelectionOptions(Section):
    """Which clustered images become training images of the next round."""

    density_threshold: float | None = option(
        None,
        "an image is selected if its density is greater than this. The density of an image says how alike"
        " it and the nearest images of its cluster are, from -1 to 1. null: the lowest threshold that"
        " reaches target_precision on the validation classes",
    )
    target_precision: Fraction = option(
        0.8,
        "used if density_threshold is null. Among the selected images of the validation classes, this"
        " share of the pairs of images in one cluster must be of one class",
    )
    min_size: Positive = option(
        3, "a cluster becomes a new class only if at least this many of its images are selected. 1: no limit"
    )
    max_size: NotNegative = option(0, "a cluster with more selected images than this becomes no new class. 0: no limit")
    min_distance_to_known: Fraction = option(
        0.0,
        "an image goes into a new class only if it is at least this far from every known class. The"
        " distance is (1 - cosine similarity with the mean of the class) / 2. 0: no limit",
    )
    join_known: bool = option(
        True,
        "whether a cluster near a known class becomes part of that class. How near it must be is learned"
        " on the validation classes. false: every selected cluster becomes a new class",
    )
    join_precision: Fraction = option(
        0.9,
        "used if join_known is true. On the validation classes, this share of the joined images must come"
        " to their own class",
        gt=0,
    )
    weight_by_density: bool = option(
        True,
        "whether a selected image gets its density as its weight in the training, which"
        " sampling.type=weighted reads. false: a selected image weighs as much as a labelled image",
    )
