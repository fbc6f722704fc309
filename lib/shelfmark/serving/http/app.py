"""The routes of the service. `docs/serving.md` describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from shelfmark import __version__
from shelfmark.serving.access import Access
from shelfmark.serving.answers import MOST_NEIGHBOURS
from shelfmark.serving.batcher import Outputs
from shelfmark.serving.bodies import pictures_of
from shelfmark.serving.explanations import can_explain, require_explaining
from shelfmark.serving.guard import PAGE_POLICY, Guard
from shelfmark.serving.http.metrics import Metrics
from shelfmark.serving.http.tensor_routes import add_tensor_routes
from shelfmark.serving.models import EMBEDDING
from shelfmark.serving.page_files import page_files
from shelfmark.serving.refusals import INTERNAL, Refused, not_ready
from shelfmark.serving.service import Service
from shelfmark.serving.versions import Version

_NEIGHBOURS_OF_AN_ANSWER, _NEIGHBOURS_OF_A_SEARCH = 5, 10
_FOR_EVER, _AGAIN = "private, max-age=31536000, immutable", "private, no-cache"


def build_app(service: Service, access: Access, has_openapi: bool = False) -> Guard:
    """The service as an ASGI application. has_openapi: with its description at /openapi.json."""
    openapi_url = "/openapi.json" if has_openapi else None
    app = FastAPI(title="Shelfmark", version=__version__, openapi_url=openapi_url, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    metrics = Metrics(service)
    _add_refusals(app)
    _add_health(app, service, metrics)
    _add_pictures(app, _Pictures(service, metrics))
    add_tensor_routes(app, service)
    _add_page(app)
    return Guard(app, access, metrics.told, service.limits.head_bytes)


class _Pictures:
    """The routes that take photographs."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self.service, self.metrics = service, metrics

    async def recognise(self, request: Request, k: int = _NEIGHBOURS_OF_AN_ANSWER, explain: int = 0) -> Response:
        """Which products are in the photographs: `file` fields of a form, or one photograph as the body.

        k: neighbours to show, where an index is open. explain: 1 also says which regions speak for each answer; of a
        checkpoint alone.
        """
        k = _few(k, least=0)
        if explain and self.service.current.version is not None:
            require_explaining(self.service.current.version.model)

        def answers(version: Version, outputs: Outputs) -> Sequence[dict[str, Any]]:
            return version.answerer.recognised(outputs, k)

        return await self._answered(request, answers, bool(explain))

    async def search(self, request: Request, k: int = _NEIGHBOURS_OF_A_SEARCH) -> Response:
        """The k pictures of the index that look most like each photograph."""
        k = _few(k, least=1)
        version = self.service.current.version
        if version is not None and version.gallery is None:
            raise Refused(404, "no_index", "The service was started without --index, so there is nothing to search in.")

        def answers(version: Version, outputs: Outputs) -> Sequence[dict[str, Any]]:
            return [{"id": "", "neighbours": one} for one in version.answerer.nearest(outputs, k)]

        return await self._answered(request, answers)

    async def embed(self, request: Request) -> Response:
        """The embedding of each photograph, not normalised."""

        def answers(version: Version, outputs: Outputs) -> Sequence[dict[str, Any]]:
            return [{"id": "", "embedding": one} for one in outputs[EMBEDDING]]

        return await self._answered(request, answers)

    async def product(self, identity: str, number: int, request: Request) -> Response:
        """Picture `number` of a class of the index, or of the image with that id: a JPEG of at most 512 pixels."""
        picture, version = await self.service.thumbnail(identity, number)
        # A name with another version of the index may mean another picture tomorrow.
        lasting = _FOR_EVER if request.query_params.get("v") == version else _AGAIN
        return Response(picture, media_type="image/jpeg", headers={"cache-control": lasting})

    async def info(self) -> Response:
        """What is served, and within which limits."""
        version, limits = _version(self.service), self.service.limits
        model, gallery, promise = version.model, version.gallery, version.answerer.promise
        index = None if gallery is None else {"images": len(gallery.index), "classes": gallery.num_classes}
        return _json(
            {
                "model": {
                    **_named(version),
                    "classes": model.outputs["logits"],
                    "input_px": model.preparation.input["size_px"],
                    "dim": model.outputs[EMBEDDING],
                },
                "index": index,
                "explains": can_explain(model),
                "promise": None if promise is None else promise.as_json(),
                "limits": {
                    "bytes": limits.body_bytes,
                    "megapixels": limits.pixels / 1e6,
                    "pictures": limits.pictures,
                },
            }
        )

    async def _answered(
        self,
        request: Request,
        answers: Callable[[Version, Outputs], Sequence[dict[str, Any]]],
        explains: bool = False,
    ) -> Response:
        service = self.service
        service.require_open()
        with service.room.body() as body:
            data = await body.read(request.receive, request.headers, service.limits)
            pictures = pictures_of(request.headers.get("content-type", ""), data, service.limits)
            found = await service.answered(pictures, answers, explains)
        for one in found.answers:
            self.metrics.answered(one.get("answer", {}).get("kind") or ("unreadable" if "error" in one else "found"))
        value = {"answers": found.answers, "model": _named(found.version)}
        if found.refusal is not None:
            return _json({**found.refusal.as_json(), **value}, found.refusal.status)
        return _json(value)


def _add_pictures(app: FastAPI, routes: _Pictures) -> None:
    app.post("/recognise")(routes.recognise)
    app.post("/search")(routes.search)
    app.post("/embed")(routes.embed)
    app.get("/info")(routes.info)
    app.get("/product/{identity:path}/picture/{number}")(routes.product)


def _add_health(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/health/live")
    @app.get("/v2/health/live")
    async def live() -> Response:
        """200 as long as the process answers."""
        return _json({"live": True})

    @app.get("/health/ready")
    @app.get("/v2/health/ready")
    async def ready() -> Response:
        """200 if pictures are answered; 503 while a model is loaded, and from SIGTERM on."""
        if not service.is_ready:
            raise not_ready(service.state)
        return _json({"ready": True})

    @app.get("/metrics")
    async def counted() -> Response:
        """For Prometheus."""
        return Response(metrics.page(), media_type=metrics.content_type)


def _add_page(app: FastAPI) -> None:
    def add(path: str, content: bytes, kind: str) -> None:
        @app.get(path, include_in_schema=False)
        async def page_file() -> Response:
            headers = {"content-security-policy": PAGE_POLICY, "cache-control": "no-cache"}
            return Response(content, media_type=kind, headers=headers)

    for path, (content, kind) in page_files().items():
        add(path, content, kind)


def _add_refusals(app: FastAPI) -> None:
    """Every error has the form of a `Refused`."""

    @app.exception_handler(Refused)
    async def of_service(request: Request, refused: Refused) -> Response:
        return _refusal(refused, request)

    @app.exception_handler(Exception)
    async def of_mistakes(request: Request, error: Exception) -> Response:
        # The framework raises it again, and the guard writes it to the log.
        return _refusal(INTERNAL, request)

    @app.exception_handler(HTTPException)
    async def of_framework(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "wrong_method"}
        refused = Refused(error.status_code, codes.get(error.status_code, "wrong_request"), f"{error.detail}.")
        return _refusal(refused, request)

    @app.exception_handler(RequestValidationError)
    async def of_parameters(request: Request, error: RequestValidationError) -> Response:
        names = sorted({str(one["loc"][-1]) for one in error.errors()})
        return _refusal(Refused(422, "wrong_parameter", f"{', '.join(names)}: a whole number."), request)


def _few(k: int, least: int) -> int:
    if not least <= k <= MOST_NEIGHBOURS:
        raise Refused(422, "wrong_parameter", f"k: a whole number from {least} to {MOST_NEIGHBOURS}.")
    return k


def _version(service: Service) -> Version:
    if service.current.version is None:
        raise not_ready(service.state)
    return service.current.version


def _named(version: Version) -> dict[str, Any]:
    facts = version.model.facts
    return {"name": version.model.name, "checkpoint_sha256": facts.get("checkpoint_sha256")}


def _refusal(refused: Refused, request: Request) -> Response:
    return _json(refused.as_json(request.url.path), refused.status, refused.headers)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, headers, media_type="application/json")
