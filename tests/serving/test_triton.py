"""The config for Triton beside the ONNX file that it describes, as far as a machine without Triton can tell."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from exported import write_exported

from shelfmark.serving.limits import Limits
from shelfmark.serving.tensors import NAME

TYPES = {"TYPE_UINT8": onnx.TensorProto.UINT8, "TYPE_FP32": onnx.TensorProto.FLOAT}


@pytest.fixture(scope="module")
def triton(checkout: Path) -> Any:
    spec = importlib.util.spec_from_file_location("repository", checkout / "deploy" / "triton" / "repository.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def repository(triton: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("triton")
    triton.main(write_exported(place / "exported"), place / "models")
    return place / "models"


def parsed(text: str) -> dict[str, list[Any]]:
    """Protobuf's text format, as far as a config uses it: name -> values, messages as mappings."""
    tokens = re.findall(r'"[^"]*"|[\w.-]+|[{}\[\]:,]', text)

    def message(end: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        while tokens and tokens[0] != end:
            name = tokens.pop(0)
            if tokens[0] == ":":
                tokens.pop(0)
            found.setdefault(name, []).extend(values())
        if end:
            assert tokens.pop(0) == end
        return found

    def values() -> list[Any]:
        if tokens[0] != "[":
            return [value()]
        tokens.pop(0)
        several = [value()]
        while tokens[0] == ",":
            tokens.pop(0)
            several.append(value())
        assert tokens.pop(0) == "]"
        return several

    def value() -> Any:
        token = tokens.pop(0)
        if token == "{":
            return message("}")
        return json.loads(token) if token[0] in '"-0123456789' else token

    return message("")


def test_names_types_and_sizes_are_those_of_the_file(repository):
    config = parsed((repository / "shelfmark" / "config.pbtxt").read_text())
    graph = onnx.load(repository / "shelfmark" / "1" / "model.onnx").graph
    for described, tensors in ((config["input"], graph.input), (config["output"], graph.output)):
        assert [one["name"] for one in described] == [[tensor.name] for tensor in tensors]
        for one, tensor in zip(described, tensors):
            kind = tensor.type.tensor_type
            assert TYPES[one["data_type"][0]] == kind.elem_type
            # Triton adds the number of pictures itself, where max_batch_size is not 0.
            assert one["dims"] == [dim.dim_value for dim in kind.shape.dim][1:]
    assert (config["name"], config["platform"]) == ([NAME], ["onnxruntime_onnx"])


def test_batches_and_queue_are_those_of_the_service(repository):
    config, limits = parsed((repository / "shelfmark" / "config.pbtxt").read_text()), Limits()
    assert config["max_batch_size"] == [limits.batch]
    [batching] = config["dynamic_batching"]
    assert batching["max_queue_delay_microseconds"] == [1e6 * limits.wait_s]
    assert batching["default_queue_policy"] == [{"max_queue_size": [limits.queue]}]


def test_an_export_of_another_kind_is_refused(triton, tmp_path):
    exported = write_exported(tmp_path / "exported", file="model.pt2")
    with pytest.raises(SystemExit, match="--to onnx"):
        triton.main(exported, tmp_path / "models")
