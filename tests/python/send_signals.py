"""Sends three log records, three data points and three spans through the real OpenTelemetry SDK.

    send_signals.py http|grpc ENDPOINT TOKEN

Ends with 0 only if every exporter says that it delivered.
"""
import logging
import sys
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

protocol, endpoint, token = sys.argv[1:4]
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    def make(exporter, path):
        return exporter(endpoint=endpoint, insecure=True, headers=(("authorization", f"Bearer {token}"),), timeout=20)
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    def make(exporter, path):
        return exporter(endpoint=endpoint + path, headers={"authorization": f"Bearer {token}"}, timeout=20)

results = []


def noted(exporter):
    """The exporter as it is, with its results noted."""
    export = exporter.export

    def noting(*arguments, **named):
        results.append(export(*arguments, **named))
        return results[-1]

    exporter.export = noting
    return exporter


resource = Resource.create({"service.name": "phone-fleet", "device.id": "sdk-01", "region": "US-CA", "gpc": False})

logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(SimpleLogRecordProcessor(noted(make(OTLPLogExporter, "/v1/logs"))))
for number in range(3):
    logs.get_logger("fleet").emit(LogRecord(
        timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, event_name="phone.app.opened",
        attributes={"app.package": f"org.example.n{number}", "screen": "home"},
    ))
logs.shutdown()

reader = PeriodicExportingMetricReader(noted(make(OTLPMetricExporter, "/v1/metrics")), export_interval_millis=600_000)
meters = MeterProvider(resource=resource, metric_readers=[reader])
counter = meters.get_meter("fleet").create_counter("phone.launches")
for app in ("mail", "maps", "music"):
    counter.add(7, {"app": app})
# Exports what there is, once.
meters.shutdown()

traces = TracerProvider(resource=resource)
traces.add_span_processor(SimpleSpanProcessor(noted(make(OTLPSpanExporter, "/v1/traces"))))
for number in range(3):
    with traces.get_tracer("fleet").start_as_current_span("phone.call"):
        pass
traces.shutdown()

print(results)
sys.exit(0 if len(results) == 7 and all(result.name == "SUCCESS" for result in results) else 1)
