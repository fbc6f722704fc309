"""LitServe answering with an exported model, as its documentation shows it: the peer of bench_serve.py.

    python peer_litserve.py EXPORTED PORT

It decodes, resizes and runs with the folder's own predict.py, in batches as large as those of `shelfmark serve`.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np

BATCH, WAIT_S = 8, 0.005


class Recogniser(litserve.LitAPI):
    """A photograph, base64 in JSON, is answered with its products."""

    def setup(self, device: str) -> None:
        sys.path.insert(0, sys.argv[1])
        import predict

        self.predictor = predict.load(sys.argv[1], threads=1)

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        return self.predictor.pixels(base64.b64decode(request["image"]))

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, pixels: np.ndarray) -> list[dict[str, Any]]:
        found = self.predictor.run(pixels)
        return self.predictor.answer(found["embedding"], found["logits"])

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    assert Path(sys.argv[1], "model.onnx").is_file(), sys.argv[1]
    api = Recogniser(max_batch_size=BATCH, batch_timeout=WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, num_api_servers=1, log_level="error"
    )
