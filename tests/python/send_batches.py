"""Sends log records through the real OpenTelemetry SDK, one export after the other.

    send_batches.py http/json|http/protobuf|grpc ENDPOINT TOKEN EVENTS BATCH [CERTIFICATE]

TOKEN is "" for none; CERTIFICATE is the one to trust, for TLS. Prints whether each export was delivered; ends with 0 only
if all were.
"""
import sys
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from sdk import RESOURCE, exporter, finish

protocol, endpoint, token, events, batch = sys.argv[1:6]
made = exporter("logs", protocol, endpoint, token, *sys.argv[6:])
provider = LoggerProvider(resource=RESOURCE)
provider.add_log_record_processor(BatchLogRecordProcessor(made, max_export_batch_size=int(batch)))
logger = provider.get_logger("fleet")
for number in range(int(events)):
    logger.emit(LogRecord(
        timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, event_name="phone.app.opened",
        attributes={"app.package": f"org.example.n{number}", "screen": "home", "duration_ms": 1500,
                    "account.email": "sdk@example.org", "user.birth_year": 1984},
    ))
provider.force_flush(120_000)
provider.shutdown()
finish()
