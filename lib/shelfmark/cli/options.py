"""Options that several commands share."""

from __future__ import annotations

from shelfmark.cli.existing import checkpoint, config_file, existing_file, existing_folder
from shelfmark.cli.parser import option

RESUME = option(
    "--RESUME_MODEL", "folder of the checkpoint, such as log/shop/best_model", type=checkpoint, metavar="CKPT"
)
CONFIG = option(
    "--config",
    "YAML recipe: a file, or the name of a shipped one, such as grocery (default: shop). `shelfmark config --list`"
    " describes them",
    type=config_file,
    metavar="FILE",
)
MODEL = option(
    "--model",
    "backbone with published weights, a timm name such as tf_efficientnet_lite0: short for model.backbone=NAME"
    " model.weights=pretrained (docs/models.md lists names)",
    metavar="NAME",
)

annotation_file = existing_file("an annotation file", "`shelfmark prepare` makes annotation files.")
image_folder = existing_folder("a folder of photographs")
embeddings_folder = existing_folder(
    "a folder of embeddings", "Write one with `shelfmark embed`, or `prepare pss_features`."
)


NUM_GPUS = "--num-gpus"
DEVICES = [
    option("--gpu_ids", "GPUs to use, such as 0,1. One process is started for each", metavar="IDS"),
    option(NUM_GPUS, "number of processes to start, one for each GPU", type=int, metavar="N"),
]
"""The options of every command that shares its work among processes: those with a `Command.recipe`, train, discover."""
