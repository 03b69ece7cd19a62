"""Sends events through the real OpenTelemetry SDK: endpoint, token ("" for none), number of events.

Ends with 0 only if the exporter says that every batch was delivered.
"""
import logging
import sys
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

endpoint, token, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
results = []


class Exporter(OTLPLogExporter):
    """The exporter as it is, with its results noted."""

    def export(self, batch):
        results.append(super().export(batch))
        return results[-1]


headers = {"authorization": f"Bearer {token}"} if token else {}
exporter = Exporter(endpoint=endpoint, headers=headers, compression=Compression.Gzip, timeout=10)
provider = LoggerProvider(resource=Resource.create({
    "service.name": "phone-fleet", "service.version": "2.0.4", "device.id": "sdk-01",
    "device.model.name": "P14", "region": "DE", "gpc": False,
}))
provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_export_batch_size=50))
logger = provider.get_logger("fleet")
for number in range(count):
    logger.emit(LogRecord(
        timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, event_name="phone.app.opened",
        attributes={"app.package": f"org.example.n{number}", "screen": "home", "duration_ms": 1500,
                    "account.email": "sdk@example.org", "user.birth_year": 1984},
    ))
provider.shutdown()
sys.exit(0 if results and all(r == LogRecordExportResult.SUCCESS for r in results) else 1)
