"""Tensors of the Open Inference Protocol (KServe v2): what a client sends becomes pixels, outputs become its answer.

A tensor is JSON, or, after a JSON head whose length `Inference-Header-Content-Length` says, bytes in little-endian
order. Legend: N pictures, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from shelfmark.serving.batcher import Outputs
from shelfmark.serving.models import Model
from shelfmark.serving.refusals import Refused

NAME, INPUT = "shelfmark", "pixels"
HEAD_LENGTH = "inference-header-content-length"
_BINARY = "binary_data"


def metadata(model: Model) -> dict[str, Any]:
    """What the protocol tells of a model."""
    height, width = model.preparation.input["size_px"]
    outputs = [{"name": name, "datatype": "FP32", "shape": [-1, size]} for name, size in model.outputs.items()]
    inputs = [{"name": INPUT, "datatype": "UINT8", "shape": [-1, height, width, 3]}]
    return {"name": NAME, "versions": ["1"], "platform": model.platform, "inputs": inputs, "outputs": outputs}


class Inference:
    """One request: asked, the outputs that it names, and whether each is wanted as bytes; id: of the client."""

    def __init__(self, head: Mapping[str, Any], binary: bytes) -> None:
        self._head, self._binary = head, binary
        self.id = head.get("id")
        if self.id is not None and not isinstance(self.id, str):
            raise _wrong("`id` is a text.")

    @classmethod
    def of(cls, body: bytes, head_length: str | None) -> Inference:
        """Raises `Refused` for what the protocol does not allow."""
        length = len(body)
        if head_length is not None:
            if not (head_length.isascii() and head_length.isdecimal() and int(head_length) <= len(body)):
                raise _wrong("Inference-Header-Content-Length is not the length of a part of the body.")
            length = int(head_length)
        try:
            head = orjson.loads(memoryview(body)[:length])
        except orjson.JSONDecodeError:
            raise _wrong("The body does not begin with the JSON of an inference request.") from None
        if not isinstance(head, dict):
            raise _wrong("An inference request is a JSON object.")
        return cls(head, body[length:])

    def pixels(self, model: Model, most: int) -> np.ndarray:
        """(N, H, W, 3) uint8, the one input. most: pictures."""
        inputs = self._head.get("inputs")
        if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
            raise _wrong(f"An inference request has one input, `{INPUT}`.")
        [told] = inputs
        height, width = model.preparation.input["size_px"]
        shape = told.get("shape")
        fits = isinstance(shape, list) and len(shape) == 4 and shape[1:] == [height, width, 3]
        if told.get("name") != INPUT or told.get("datatype") != "UINT8" or not fits or not _is_count(shape[0], most):
            raise _wrong(
                f"The input is `{INPUT}`, datatype UINT8, shape [N, {height}, {width}, 3] with N from 1 to {most}:"
                " resized and cropped RGB pixels."
            )
        values = self._values(told)
        if values.size != np.prod(shape):
            raise _wrong(f"The input has {values.size} values; its shape says {np.prod(shape)}.")
        return values.reshape(shape)

    def answer(self, model: Model, outputs: Outputs) -> tuple[bytes, int | None]:
        """The body, and the length of its JSON where bytes follow."""
        told, parts = [], []
        for name, is_binary in self._asked(model).items():
            values = np.ascontiguousarray(outputs[name], "<f4")
            one: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
            if is_binary:
                parts.append(values.tobytes())
                one["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                one["data"] = values.ravel()
            told.append(one)
        named = {} if self.id is None else {"id": self.id}
        answer = {"model_name": NAME, "model_version": "1", **named, "outputs": told}
        head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        return b"".join([head, *parts]), len(head) if parts else None

    def _values(self, told: Mapping[str, Any]) -> np.ndarray:
        size = _parameters(told).get("binary_data_size")
        if size is not None:
            if size != len(self._binary):
                raise _wrong(f"binary_data_size is {size!r:.20}, and {len(self._binary)} bytes follow the JSON.")
            return np.frombuffer(self._binary, np.uint8)
        try:
            # Through a wider type: a number that is no byte must be refused, and never wrap around.
            values = np.asarray(told.get("data"))
        except ValueError:
            values = np.empty(0, object)
        if values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0 or values.max() > 255:
            raise _wrong("`data` holds whole numbers from 0 to 255, in lists of equal length.")
        return values.ravel().astype(np.uint8)

    def _asked(self, model: Model) -> dict[str, bool]:
        """name -> whether as bytes, in the order of the answer."""
        by_default = _parameters(self._head).get("binary_data_output", False) is True
        asked = self._head.get("outputs")
        if asked is None:
            return dict.fromkeys(model.outputs, by_default)
        names = (
            [one.get("name") if isinstance(one, dict) else None for one in asked] if isinstance(asked, list) else [None]
        )
        if not names or not all(isinstance(name, str) and name in model.outputs for name in names):
            raise _wrong(f"`outputs` names some of: {', '.join(model.outputs)}.")
        return {one["name"]: _parameters(one).get(_BINARY, by_default) is True for one in asked}


def _parameters(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found = told.get("parameters", {})
    if not isinstance(found, dict):
        raise _wrong("`parameters` is a JSON object.")
    return found


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _wrong(message: str) -> Refused:
    return Refused(400, "wrong_tensor", message)
