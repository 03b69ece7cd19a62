"""Sends metrics and spans through the real OpenTelemetry SDK, the same ones as `../js/send_signals.js`.

    send_signals.py http/json|http/protobuf|grpc ENDPOINT TOKEN SPANS

TOKEN is "" for none. Ends with 0 only if everything was delivered.
"""
import sys

from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from sdk import RESOURCE, exporter, finish

*to, count = sys.argv[1:5]

reader = PeriodicExportingMetricReader(exporter("metrics", *to), 3_600_000)
exponential = View(instrument_type=Histogram, instrument_name="frame.time", aggregation=ExponentialBucketHistogramAggregation())
meters = MeterProvider(resource=RESOURCE, metric_readers=[reader], views=[exponential])
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

tracers = TracerProvider(resource=RESOURCE)
tracers.add_span_processor(BatchSpanProcessor(exporter("traces", *to), max_export_batch_size=50))
tracer = tracers.get_tracer("fleet.calls", "1.2")
with tracer.start_as_current_span("sync") as parent:
    for number in range(int(count)):
        with tracer.start_as_current_span(
            "http.request", kind=SpanKind.CLIENT, links=[Link(parent.get_span_context(), {"why": "retry"})],
            attributes={"http.request.method": "GET", "http.response.status_code": 200 + number % 2, "url.path": f"/orders/{number}"},
        ) as span:
            if number % 2:
                span.add_event("exception", {"exception.type": "Timeout", "exception.message": "late"})
                span.add_event("retry")
                span.set_status(Status(StatusCode.ERROR, "late"))
tracers.shutdown()
finish()
