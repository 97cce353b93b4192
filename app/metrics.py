"""The Prometheus metrics of one server."""

import platform
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

from . import __version__, logs

MEDIA_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32)


class DroppedLines(Collector):
    """Collects `pastiche_log_lines_dropped_total`, for the whole process."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counter."""
        yield CounterMetricFamily(
            "pastiche_log_lines_dropped",
            "Log lines dropped because stderr was not read.",
            value=logs.dropped(),
        )


class Metrics:
    """The server's counters, gauges and histograms, in their own registry."""

    def __init__(self) -> None:
        # The creation times would add a third more series.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.register(DroppedLines())
        self.build_info = Gauge(
            "pastiche_build_info",
            "The version of the server, and that of Python; always 1.",
            ["version", "python"],
            registry=registry,
        )
        self.build_info.labels(__version__, platform.python_version()).set(1)
        self.requests = Counter(
            "pastiche_requests",
            "Requests by route, status and style.",
            ["route", "status", "style"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "pastiche_request_seconds",
            "Time from a request's header to the end of its response.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.styles = Counter(
            "pastiche_styles",
            "Pictures painted or generated, by style; all blends count as _blend.",
            ["operation", "style"],
            registry=registry,
        )
        self.refusals = Counter(
            "pastiche_refusals",
            "Requests to /stylize and /generate refused with a 503, by reason.",
            ["reason"],
            registry=registry,
        )
        self.bad_outputs = Counter(
            "pastiche_bad_outputs", "Outputs rejected as invalid images.", registry=registry
        )
        self.reloads = Counter(
            "pastiche_reloads",
            "Reloads of changed model folders, by result.",
            ["result"],
            registry=registry,
        )
        self.answer_bytes = Gauge(
            "pastiche_answer_bytes",
            "Bytes of responses that clients have not read yet.",
            registry=registry,
        )
        self.admitted_pixels = Gauge(
            "pastiche_admitted_pixels", "Pixels of all admitted requests.", registry=registry
        )
        self.queue_depth = Gauge(
            "pastiche_queue_depth", "Pictures waiting for the device.", registry=registry
        )
        self.batch_size = Histogram(
            "pastiche_batch_size", "Pictures in a batch.", buckets=_SIZES, registry=registry
        )
        self.queue_seconds = Histogram(
            "pastiche_queue_seconds",
            "Time a picture waits for the device.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.decode_seconds = Histogram(
            "pastiche_decode_seconds",
            "Time to decode a picture.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.inference_seconds = Histogram(
            "pastiche_inference_seconds",
            "Time to paint or generate a batch.",
            ["operation"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.encode_seconds = Histogram(
            "pastiche_encode_seconds",
            "Time to encode a picture.",
            buckets=_SECONDS,
            registry=registry,
        )

    def register(self, collector: Collector) -> None:
        """Add a collector, which is asked for its metrics at each scrape."""
        self._registry.register(collector)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
