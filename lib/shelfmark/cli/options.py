"""Options that several commands share."""

from __future__ import annotations

from shelfmark.cli.existing import checkpoint, config_file, existing_file, existing_folder
from shelfmark.cli.parser import Option, option

RESUME = option("--RESUME_MODEL", "checkpoint folder, as log/shop/best_model", type=checkpoint, metavar="CKPT")
CONFIG = option("--config", "YAML recipe (default: configs/shop.yaml)", type=config_file, metavar="FILE")
GPU = option("--gpu_ids", "GPU to use", metavar="ID")
JSON = option("--json", "JSON on standard output instead of tables", action="store_true")

annotation_file = existing_file("an annotation file", "`shelfmark prepare` makes annotation files.")
image_folder = existing_folder("a folder of photographs")
embeddings_folder = existing_folder(
    "a folder of embeddings", "Write one with `shelfmark embed`, or `prepare pss_features`."
)


def device_options(work: str) -> list[Option]:
    """What a command takes that runs in several processes. work: a verb, as `train`."""
    return [
        option("--gpu_ids", f"GPUs to {work} on, as 0,1; starts one process each", metavar="IDS"),
        option("--num-gpus", f"number of processes to {work} with", type=int, metavar="N"),
    ]
