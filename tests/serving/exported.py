"""An exported model in the smallest: model.onnx with the names, types and shapes of a real one, and its model.json."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shelfmark.export.folder import write_model_facts, write_proof

SIZE_PX, DIM, NUM_CLASSES = 16, 8, 5
CLASS_NAMES = ["Mango", "Oat milk", "<script>alert(1)</script>", "Pear", "Rye bread"]


def write_exported(folder: Path, seed: int = 0, **more: object) -> Path:
    """A model whose embedding is a fixed map of the mean colours of four by four fields. more: of model.json."""
    generator = np.random.default_rng(seed)
    fields = 4 * 4 * 3
    constants = {
        "to_embedding": generator.normal(size=(fields, DIM)).astype(np.float32),
        "to_logits": generator.normal(size=(DIM, NUM_CLASSES)).astype(np.float32),
        "scale": np.float32(1 / 255),
        "shape": np.array([0, -1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["fields"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Reshape", ["fields", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "to_embedding"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "to_logits"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIZE_PX, SIZE_PX, 3])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", DIM]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", NUM_CLASSES]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    facts = {
        "format": 1,
        "name": f"tiny{seed}",
        "file": "model.onnx",
        "input": {
            "size_px": [SIZE_PX, SIZE_PX],
            "resize": {"size_px": [18], "largest_aspect": 16},
            "interpolation": "bilinear",
            "max_bytes": 100_000_000,
            "max_pixels": 100_000_000,
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
        },
        "outputs": {"embedding": DIM, "logits": NUM_CLASSES},
        "class_names": CLASS_NAMES,
        "groups": None,
        "precision": "fp32",
        "thresholds": None,
        "checkpoint_sha256": hashlib.sha256(b"checkpoint%d" % seed).hexdigest(),
        "embedding_sha256": hashlib.sha256(b"embedding%d" % seed).hexdigest(),
        **more,
    }
    write_model_facts(folder, facts)
    write_proof(folder, {})
    return folder
