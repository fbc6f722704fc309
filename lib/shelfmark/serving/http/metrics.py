"""What the service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shelfmark.serving.service import Service
from shelfmark.serving.versions import Version

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PICTURES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counts of one service, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, service: Service) -> None:
        disable_created_metrics()
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("shelfmark_requests", "Requests.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "shelfmark_request_seconds",
            "From a request's head to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._answers = Counter("shelfmark_answers", "Answers about pictures.", ["kind"], registry=registry)
        self._batch = Histogram(
            "shelfmark_batch_pictures", "Pictures that pass the model at once.", buckets=_PICTURES, registry=registry
        )
        self._batch_seconds = Histogram(
            "shelfmark_batch_seconds", "One pass of the model.", buckets=_SECONDS, registry=registry
        )
        self._replaced = Counter(
            "shelfmark_decoders_replaced", "Decoding processes that were ended, or ended.", registry=registry
        )
        self._reloads = Counter("shelfmark_reloads", "New versions that were published.", ["result"], registry=registry)
        gauges = {
            "shelfmark_ready": ("1 if the service answers.", lambda: float(service.is_ready)),
            "shelfmark_pictures_under_way": ("Pictures under way.", lambda: float(service.admission.under_way)),
            "shelfmark_pictures_limit": ("Pictures that may be under way now.", lambda: float(service.admission.limit)),
            "shelfmark_body_bytes": ("Bytes of bodies that are held.", lambda: float(service.room.held_bytes)),
        }
        for name, (words, value) in gauges.items():
            Gauge(name, words, registry=registry).set_function(value)
        service.reloaded = self.reloaded
        service.current.opened = self.opened

    def page(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)

    def told(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(self, kind: str) -> None:
        """A picture was answered, or `unreadable`."""
        self._answers.labels(kind).inc()

    def reloaded(self, succeeded: bool) -> None:
        self._reloads.labels("succeeded" if succeeded else "failed").inc()

    def opened(self, version: Version) -> None:
        """Counts what happens in a version."""
        version.batcher.told = self._passed
        version.decoders.replaced = self._replaced.inc

    def _passed(self, pictures: int, seconds: float) -> None:
        self._batch.observe(pictures)
        self._batch_seconds.observe(seconds)
