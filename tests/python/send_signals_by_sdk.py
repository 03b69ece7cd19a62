"""Sends metrics and spans through the real OpenTelemetry SDK: endpoint, token ("" for none), number of spans.

Ends with 0 only if the exporters say that everything was delivered.
"""
import logging
import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

endpoint, token, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
results = []


class MetricExporter(OTLPMetricExporter):
    """The exporter as it is, with its results noted."""

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        results.append(super().export(metrics_data, timeout_millis, **kwargs) == MetricExportResult.SUCCESS)
        return MetricExportResult.SUCCESS if results[-1] else MetricExportResult.FAILURE


class SpanExporter(OTLPSpanExporter):
    """Likewise."""

    def export(self, spans):
        results.append(super().export(spans) == SpanExportResult.SUCCESS)
        return SpanExportResult.SUCCESS if results[-1] else SpanExportResult.FAILURE


options = {"headers": {"authorization": f"Bearer {token}"} if token else {}, "compression": Compression.Gzip, "timeout": 10}
resource = Resource.create({"service.name": "phone-fleet", "device.id": "sdk-01", "region": "DE", "gpc": False})

reader = PeriodicExportingMetricReader(MetricExporter(endpoint=endpoint + "/v1/metrics", **options), 3_600_000)
exponential = View(instrument_type=Histogram, instrument_name="frame.time", aggregation=ExponentialBucketHistogramAggregation())
meters = MeterProvider(resource=resource, metric_readers=[reader], views=[exponential])
meter = meters.get_meter("fleet.load", "3.1")
bytes_sent = meter.create_counter("network.sent", unit="By")
bytes_sent.add(700, {"network.type": "wifi"})
bytes_sent.add(300, {"network.type": "wifi"})
bytes_sent.add(50, {"network.type": "cell"})
meter.create_gauge("battery.level").set(0.25)
durations = meter.create_histogram("request.duration", unit="ms", explicit_bucket_boundaries_advisory=[10.0, 100.0])
for value in (5, 7, 50, 5000):
    durations.record(value)
frames = meter.create_histogram("frame.time", unit="ms")
for value in (0, 1, 2, 4, 8):
    frames.record(value)
meter.create_counter("nobody.declared.this").add(1)
meters.shutdown()

tracers = TracerProvider(resource=resource)
tracers.add_span_processor(BatchSpanProcessor(SpanExporter(endpoint=endpoint + "/v1/traces", **options), max_export_batch_size=50))
tracer = tracers.get_tracer("fleet.calls", "1.2")
with tracer.start_as_current_span("sync") as parent:
    for number in range(count):
        with tracer.start_as_current_span(
            "http.request", kind=SpanKind.CLIENT, links=[Link(parent.get_span_context(), {"why": "retry"})],
            attributes={"http.request.method": "GET", "http.response.status_code": 200 + number % 2, "url.path": f"/orders/{number}"},
        ) as span:
            if number % 2:
                span.add_event("exception", {"exception.type": "Timeout", "exception.message": "late"})
                span.add_event("retry")
                span.set_status(Status(StatusCode.ERROR, "late"))
tracers.shutdown()
sys.exit(0 if results and all(results) else 1)
