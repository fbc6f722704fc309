"""The routes of the Open Inference Protocol (KServe v2), which Triton has too."""

from __future__ import annotations

import orjson
from fastapi import FastAPI, Request, Response

from shelfmark import __version__
from shelfmark.serving.refusals import Refused, not_ready
from shelfmark.serving.service import Service
from shelfmark.serving.tensors import HEAD_LENGTH, NAME, Inference, metadata

_VERSION = "1"


def add_tensor_routes(app: FastAPI, service: Service) -> None:
    """For the model `shelfmark`, with and without its version, 1."""

    @app.get("/v2")
    async def server() -> Response:
        """The server and what it can do beside the protocol."""
        return _json({"name": "shelfmark", "version": __version__, "extensions": ["binary_tensor_data"]})

    @app.get("/v2/models/{model}")
    @app.get("/v2/models/{model}/versions/{version}")
    async def described(model: str, version: str = _VERSION) -> Response:
        """Names, types and shapes of the model's tensors."""
        _require_known(model, version)
        if service.current.version is None:
            raise not_ready(service.state)
        return _json(metadata(service.current.version.model))

    @app.get("/v2/models/{model}/ready")
    @app.get("/v2/models/{model}/versions/{version}/ready")
    async def ready(model: str, version: str = _VERSION) -> Response:
        """200 if the model answers."""
        _require_known(model, version)
        if not service.is_ready:
            raise not_ready(service.state)
        return _json({"name": NAME, "ready": True})

    @app.post("/v2/models/{model}/infer")
    @app.post("/v2/models/{model}/versions/{version}/infer")
    async def infer(request: Request, model: str, version: str = _VERSION) -> Response:
        """The model's outputs for pixels."""
        _require_known(model, version)
        service.require_open()
        limits = service.limits
        with service.room.body() as body:
            data = await body.read(request.receive, request.headers, limits)
            head_length = request.headers.get(HEAD_LENGTH)
            asked, outputs = await service.outputs(
                lambda version: Inference.of(data, head_length, version.model, limits.queue)
            )
        answer, head_bytes = asked.answer(outputs)
        if head_bytes is None:
            return Response(answer, media_type="application/json")
        return Response(answer, media_type="application/octet-stream", headers={HEAD_LENGTH: str(head_bytes)})


def _require_known(model: str, version: str) -> None:
    if (model, version) != (NAME, _VERSION):
        raise Refused(404, "not_found", f"There is one model, {NAME}, in version {_VERSION}.")


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
