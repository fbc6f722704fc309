"""The Open Inference Protocol, written out by hand as its specification says it."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from exported import DIM, NUM_CLASSES, SIZE_PX, write_exported
from served import PATIENCE_S, Reply, Served, served

from shelfmark.serving.refusals import Refused
from shelfmark.serving.tensors import Inference
from shelfmark.serving.versions import Source

INFER = "/v2/models/shelfmark/infer"
SHAPE = [2, SIZE_PX, SIZE_PX, 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_exported(tmp_path_factory.mktemp("tensors") / "exported")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Served]:
    with served(Source(model=folder, decoders=1)) as running:
        yield running


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, SHAPE, dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(folder: Path, pixels: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return dict(zip(("embedding", "logits"), session.run(["embedding", "logits"], {"pixels": pixels})))


def asked(data: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "pixels", "shape": SHAPE, "datatype": "UINT8", "data": data}], **more}


def infer(service: Served, head: dict[str, Any], binary: bytes | None = None, **headers: str) -> Reply:
    told = json.dumps(head).encode()
    if binary is None:
        return service.post(INFER, told, **headers)
    return service.post(INFER, told + binary, **{"Inference-Header-Content-Length": str(len(told)), **headers})


def outputs_of(reply: Reply) -> dict[str, np.ndarray]:
    """The tensors of an answer, of JSON or of bytes behind it."""
    length = int(reply.headers.get("inference-header-content-length", len(reply.body)))
    told, rest = json.loads(reply.body[:length]), reply.body[length:]
    found = {}
    for one in told["outputs"]:
        assert one["datatype"] == "FP32"
        size = one.get("parameters", {}).get("binary_data_size")
        values = one["data"] if size is None else np.frombuffer(rest[:size], "<f4")
        rest = rest if size is None else rest[size:]
        found[one["name"]] = np.array(values, np.float32).reshape(one["shape"])
    assert not rest
    return found


def test_the_model_is_described_as_its_file_is(service, folder):
    told = service.get("/v2/models/shelfmark").json
    graph = onnx.load(folder / "model.onnx").graph
    for described, values in ((told["inputs"], graph.input), (told["outputs"], graph.output)):
        assert [one["name"] for one in described] == [one.name for one in values]
        for one, value in zip(described, values):
            dims = value.type.tensor_type.shape.dim
            assert one["shape"] == [-1, *(dim.dim_value for dim in dims[1:])]
    assert [one["datatype"] for one in told["inputs"] + told["outputs"]] == ["UINT8", "FP32", "FP32"]
    assert told["name"] == "shelfmark"


@pytest.mark.parametrize("path", ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/shelfmark/ready"])
def test_the_protocol_has_its_paths(service, path):
    assert service.get(path).status == 200


def test_numbers_flat_or_in_lists_give_the_outputs_of_the_file(service, pixels, expected):
    for data in (pixels.ravel().tolist(), pixels.tolist()):
        reply = infer(service, asked(data, id="mine"))
        assert (reply.json["id"], reply.json["model_name"], reply.json["model_version"]) == ("mine", "shelfmark", "1")
        found = outputs_of(reply)
        assert {name: one.shape for name, one in found.items()} == {"embedding": (2, DIM), "logits": (2, NUM_CLASSES)}
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_bytes_in_and_out_as_tritons_client_sends_them(service, pixels, expected):
    head = asked(None, outputs=[{"name": "logits", "parameters": {"binary_data": True}}, {"name": "embedding"}])
    head["inputs"][0] = {**head["inputs"][0], "parameters": {"binary_data_size": pixels.nbytes}}
    del head["inputs"][0]["data"]
    reply = infer(service, head, pixels.tobytes())
    assert reply.headers["content-type"] == "application/octet-stream"
    found = outputs_of(reply)
    assert list(found) == ["logits", "embedding"]
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    head = {**head, "parameters": {"binary_data_output": True}, "outputs": [{"name": "embedding"}]}
    assert list(outputs_of(infer(service, head, pixels.tobytes()))) == ["embedding"]


def wrong_requests() -> Iterator[tuple[str, bytes, str | None]]:
    good = asked([0] * int(np.prod(SHAPE)))

    def changed(**change: Any) -> bytes:
        return json.dumps({**good, "inputs": [{**good["inputs"][0], **change}]}).encode()

    yield "no json", b"\xff", None
    yield "a list", b"[]", None
    yield "nothing", b"{}", None
    yield "two inputs", json.dumps({"inputs": good["inputs"] * 2}).encode(), None
    yield "another name", changed(name="image"), None
    yield "floats", changed(datatype="FP32"), None
    yield "another size", changed(shape=[2, 8, 8, 3]), None
    yield "no picture", changed(shape=[0, SIZE_PX, SIZE_PX, 3], data=[]), None
    yield "a negative shape", changed(shape=[-2, SIZE_PX, SIZE_PX, 3]), None
    yield "true as a number", changed(shape=[True, SIZE_PX, SIZE_PX, 3]), None
    yield "1.0 as a number", changed(shape=[2, SIZE_PX, SIZE_PX, 3.0]), None
    yield "a huge shape", changed(shape=[10**9, SIZE_PX, SIZE_PX, 3]), None
    yield "too few numbers", changed(data=[0, 1]), None
    yield "256", changed(data=[256] * int(np.prod(SHAPE))), None
    yield "-1", changed(data=[-1] * int(np.prod(SHAPE))), None
    yield "half numbers", changed(data=[0.5] * int(np.prod(SHAPE))), None
    yield "texts", changed(data=["0"] * int(np.prod(SHAPE))), None
    yield "true among the values", changed(data=[True] + [1] * (int(np.prod(SHAPE)) - 1)), None
    yield "uneven lists", changed(data=[[0], [0, 1]]), None
    yield "no data", changed(data=None), None
    yield "an unknown output", json.dumps({**good, "outputs": [{"name": "secret"}]}).encode(), None
    yield "outputs that are none", json.dumps({**good, "outputs": "logits"}).encode(), None
    yield "parameters that are none", json.dumps({**good, "parameters": 7}).encode(), None
    yield "a number as id", json.dumps({**good, "id": 7}).encode(), None
    yield "deep", b"[" * 100_000, None
    yield "a length too long", json.dumps(good).encode(), "99999999"
    yield "a negative length", json.dumps(good).encode(), "-1"
    yield "a length of letters", json.dumps(good).encode(), "ten"
    yield "bytes of another number", changed(data=None, parameters={"binary_data_size": 5}), None
    yield "a size of letters", changed(data=None, parameters={"binary_data_size": "5"}), None


@pytest.mark.parametrize(
    ("body", "length"), [pytest.param(body, length, id=name) for name, body, length in wrong_requests()]
)
def test_what_the_protocol_does_not_allow_is_refused(service, body, length):
    headers = {} if length is None else {"Inference-Header-Content-Length": length}
    reply = service.post(INFER, body, **headers)
    assert reply.status == 400
    # In the protocol's own form, which its clients read.
    assert isinstance(reply.json["error"], str)


def test_a_text_among_numbers_makes_no_texts_of_all(service, folder):
    model = service.service.current.version.model
    body = json.dumps(asked(["x" * 100_000] + [1] * int(np.prod(SHAPE)))).encode()
    tracemalloc.start()
    with pytest.raises(Refused, match="whole numbers"):
        Inference.of(body, None, model, 8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000  # of texts each as long as the longest: 600 MB


def test_a_tensor_that_takes_long_to_read_holds_up_no_other_request(service, pixels, monkeypatch):
    begun, go_on, read = threading.Event(), threading.Event(), Inference.of

    def slow(*given: Any) -> Inference:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return read(*given)

    monkeypatch.setattr(Inference, "of", slow)
    with ThreadPoolExecutor(1) as other:
        reply = other.submit(infer, service, asked(pixels.tolist()))
        assert begun.wait(PATIENCE_S)
        try:
            with service.raw() as connection:
                connection.settimeout(10)
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        finally:
            go_on.set()
        assert reply.result().status == 200


@pytest.mark.parametrize(
    "path", ["/v2/models/other", "/v2/models/shelfmark/versions/2", "/v2/models/shelfmark/versions/1"]
)
def test_there_is_one_model_in_one_version(service, path):
    assert service.get(path).status == (200 if path.endswith("/1") else 404)
