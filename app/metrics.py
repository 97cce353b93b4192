"""The Prometheus metrics of one server."""

from collections.abc import Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from . import logs
from .engine.memory import DeviceMemory

MEDIA_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32)


class DroppedLines(Collector):
    """`pastiche_log_lines_dropped_total`, of the whole process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """One counter."""
        yield CounterMetricFamily(
            "pastiche_log_lines_dropped",
            "Log lines dropped because stderr was not read.",
            value=logs.dropped(),
        )


class Metrics:
    """Counters, gauges and histograms in a registry of their own."""

    def __init__(self) -> None:
        # A third more series, of times that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        DeviceMemory(registry)
        DroppedLines(registry)
        self.requests = Counter(
            "pastiche_requests",
            "Requests by route, status and style.",
            ["route", "status", "style"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "pastiche_request_seconds",
            "Time to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.styles = Counter(
            "pastiche_styles",
            "Pictures painted, by style; a blend is _blend.",
            ["style"],
            registry=registry,
        )
        self.refusals = Counter(
            "pastiche_refusals",
            "Requests to stylize that got a 503, by reason.",
            ["reason"],
            registry=registry,
        )
        self.bad_outputs = Counter(
            "pastiche_bad_outputs", "Pictures refused because they are none.", registry=registry
        )
        self.reloads = Counter(
            "pastiche_reloads",
            "Changes of the model folders, by result.",
            ["result"],
            registry=registry,
        )
        self.answer_bytes = Gauge(
            "pastiche_answer_bytes",
            "Bytes of large answers that clients have not taken yet.",
            registry=registry,
        )
        self.admitted_pixels = Gauge(
            "pastiche_admitted_pixels", "Pixels admitted and not yet answered.", registry=registry
        )
        self.queue_depth = Gauge(
            "pastiche_queue_depth", "Jobs that wait for the device.", registry=registry
        )
        self.batch_size = Histogram(
            "pastiche_batch_size", "Images in a batch.", buckets=_SIZES, registry=registry
        )
        self.queue_seconds = Histogram(
            "pastiche_queue_seconds", "Wait for the device.", buckets=_SECONDS, registry=registry
        )
        self.decode_seconds = Histogram(
            "pastiche_decode_seconds", "Decoding.", buckets=_SECONDS, registry=registry
        )
        self.inference_seconds = Histogram(
            "pastiche_inference_seconds",
            "A batch on the device.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.encode_seconds = Histogram(
            "pastiche_encode_seconds", "Encoding.", buckets=_SECONDS, registry=registry
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)
