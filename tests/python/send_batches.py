"""Sends events through the real OpenTelemetry SDK, by HTTP or gRPC.

    send_batches.py http|grpc ENDPOINT TOKEN EVENTS BATCH [CERTIFICATE]

TOKEN is "" for none; CERTIFICATE is the one to trust, for TLS. Ends with 0 only if the exporter says that every batch
was delivered.
"""
import logging
import pathlib
import sys
import time

import grpc
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

protocol, endpoint, token = sys.argv[1:4]
events, batch = int(sys.argv[4]), int(sys.argv[5])
certificate = sys.argv[6] if len(sys.argv) > 6 else None
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
results = []


def noted(exporter):
    """The exporter as it is, with its results noted."""
    export = exporter.export

    def noting(batch):
        results.append(export(batch))
        return results[-1]

    exporter.export = noting
    return exporter


if protocol == "grpc":
    credentials = None
    if certificate:
        credentials = grpc.ssl_channel_credentials(root_certificates=pathlib.Path(certificate).read_bytes())
    exporter = GrpcExporter(
        endpoint=endpoint, insecure=credentials is None, credentials=credentials, timeout=20, compression=grpc.Compression.Gzip,
        headers=(("authorization", f"Bearer {token}"),) if token else (),
    )
else:
    exporter = HttpExporter(
        endpoint=f"{endpoint}/v1/logs", headers={"authorization": f"Bearer {token}"} if token else {},
        compression=Compression.Gzip, timeout=20, certificate_file=certificate,
    )
provider = LoggerProvider(resource=Resource.create({
    "service.name": "phone-fleet", "service.version": "2.0.4", "device.id": "sdk-01",
    "device.model.name": "P14", "region": "DE", "gpc": False,
}))
provider.add_log_record_processor(BatchLogRecordProcessor(noted(exporter), max_export_batch_size=batch))
logger = provider.get_logger("fleet")
for number in range(events):
    logger.emit(LogRecord(
        timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, event_name="phone.app.opened",
        attributes={"app.package": f"org.example.n{number}", "screen": "home", "duration_ms": 1500,
                    "account.email": "sdk@example.org", "user.birth_year": 1984},
    ))
provider.force_flush(120_000)
provider.shutdown()
sys.exit(0 if results and all(r == LogRecordExportResult.SUCCESS for r in results) else 1)
