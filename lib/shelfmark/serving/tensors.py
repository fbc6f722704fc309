"""Tensors of the Open Inference Protocol (KServe v2): what a client sends becomes pixels, outputs become its answer.

A tensor is JSON, or, after a JSON head whose length `Inference-Header-Content-Length` says, bytes in little-endian
order. Legend: N pictures, H, W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain
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
    """One request. pixels: (N, H, W, 3) uint8, its one input. wanted: output -> whether as bytes, in the order of the
    answer. id: of the client."""

    def __init__(self, head: Mapping[str, Any], binary: bytes, model: Model, most: int) -> None:
        self.id = head.get("id")
        if self.id is not None and not isinstance(self.id, str):
            raise _wrong("`id` is a text.")
        self.wanted = _wanted(head, model)
        self.pixels = _pixels(head, binary, model, most)

    @classmethod
    def of(cls, body: bytes, head_length: str | None, model: Model, most: int) -> Inference:
        """Raises `Refused` for what the protocol does not allow, and for more than `most` pictures."""
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
        return cls(head, body[length:], model, most)

    def answer(self, outputs: Outputs) -> tuple[bytes, int | None]:
        """The body, and the length of its JSON where bytes follow."""
        told, parts = [], []
        for name, is_binary in self.wanted.items():
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


def _pixels(head: Mapping[str, Any], binary: bytes, model: Model, most: int) -> np.ndarray:
    inputs = head.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _wrong(f"An inference request has one input, `{INPUT}`.")
    [told] = inputs
    height, width = model.preparation.input["size_px"]
    shape = told.get("shape")
    # 1.0 and true are equal to 1.
    is_whole = isinstance(shape, list) and len(shape) == 4 and all(type(one) is int for one in shape)
    fits = is_whole and shape[1:] == [height, width, 3] and 1 <= shape[0] <= most
    if told.get("name") != INPUT or told.get("datatype") != "UINT8" or not fits:
        raise _wrong(
            f"The input is `{INPUT}`, datatype UINT8, shape [N, {height}, {width}, 3] with N from 1 to {most}:"
            " resized and cropped RGB pixels."
        )
    values = _values(told, binary)
    if len(values) != math.prod(shape):
        raise _wrong(f"The input has {len(values)} values; its shape says {math.prod(shape)}.")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _values(told: Mapping[str, Any], binary: bytes) -> bytes:
    size = _parameters(told).get("binary_data_size")
    if size is not None:
        if size != len(binary):
            raise _wrong(f"binary_data_size is {size!r:.20}, and {len(binary)} bytes follow the JSON.")
        return binary
    values = _flat(told.get("data"))
    try:
        # A number that is no byte is refused, and never wraps around.
        return bytes(values)
    except ValueError:
        raise _no_bytes() from None


def _flat(values: Any) -> list[int]:
    """The whole numbers of a list, or of lists of equal length in any depth.

    numpy would do it, but where one value is a text it makes texts of all, each as long as the longest.
    """
    while isinstance(values, list) and values and isinstance(values[0], list):
        if set(map(type, values)) != {list} or len(set(map(len, values))) > 1:
            raise _no_bytes()
        values = list(chain.from_iterable(values))
    if not isinstance(values, list) or set(map(type, values)) != {int}:
        raise _no_bytes()
    return values


def _wanted(head: Mapping[str, Any], model: Model) -> dict[str, bool]:
    by_default = _parameters(head).get("binary_data_output", False) is True
    asked = head.get("outputs")
    if asked is None:
        return dict.fromkeys(model.outputs, by_default)
    names = [one.get("name") if isinstance(one, dict) else None for one in asked] if isinstance(asked, list) else [None]
    if not names or not all(isinstance(name, str) and name in model.outputs for name in names):
        raise _wrong(f"`outputs` names some of: {', '.join(model.outputs)}.")
    return {one["name"]: _parameters(one).get(_BINARY, by_default) is True for one in asked}


def _parameters(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found = told.get("parameters", {})
    if not isinstance(found, dict):
        raise _wrong("`parameters` is a JSON object.")
    return found


def _wrong(message: str) -> Refused:
    return Refused(400, "wrong_tensor", message)


def _no_bytes() -> Refused:
    return _wrong("`data` holds whole numbers from 0 to 255, in lists of equal length.")
