"""A model repository for Triton Inference Server, from a folder that `shelfmark export` wrote.

    python deploy/triton/repository.py EXPORTED REPOSITORY

Needs Python's standard library alone.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "shelfmark"
BATCH, WAIT_US, QUEUE = 8, 5000, 128
"""As `shelfmark serve` has them."""

_CONFIG = """\
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {batch}
input [
  {{
    name: "pixels"
    data_type: TYPE_UINT8
    dims: [ {height}, {width}, 3 ]
  }}
]
output [
{outputs}
]
dynamic_batching {{
  max_queue_delay_microseconds: {wait_us}
  default_queue_policy {{
    max_queue_size: {queue}
  }}
}}
"""
_OUTPUT = """\
  {{
    name: "{name}"
    data_type: TYPE_FP32
    dims: [ {size} ]
  }}"""


def main(exported: Path, repository: Path) -> None:
    """Writes REPOSITORY/shelfmark/config.pbtxt, and the model beside it as version 1."""
    facts = json.loads((exported / "model.json").read_text(encoding="utf-8"))
    if not facts["file"].endswith(".onnx"):
        sys.exit(f"error: {exported} holds {facts['file']}; Triton's ONNX backend needs an export with --to onnx.")
    version = repository / NAME / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version.parent / "config.pbtxt").write_text(config_of(facts), encoding="utf-8")
    shutil.copyfile(exported / facts["file"], version / "model.onnx")


def config_of(facts: Mapping[str, Any]) -> str:
    """Triton's config of a model. facts: model.json."""
    height, width = facts["input"]["size_px"]
    outputs = ",\n".join(_OUTPUT.format(name=name, size=size) for name, size in facts["outputs"].items())
    return _CONFIG.format(
        name=NAME, batch=BATCH, height=height, width=width, outputs=outputs, wait_us=WAIT_US, queue=QUEUE
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
