// Sends log records through the real OpenTelemetry SDK, one export after the other.
//
//     send_batches.js http/json|http/protobuf|grpc ENDPOINT TOKEN EVENTS BATCH [CERTIFICATE]
//
// TOKEN is "" for none; CERTIFICATE is the one to trust, for TLS. Prints whether each export was delivered; ends with 0 only
// if all were.
'use strict';

const { SeverityNumber } = require('@opentelemetry/api-logs');
const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs');
const { exporter, finish, resource } = require('./sdk.js');

async function main([protocol, endpoint, token, events, batch, certificate]) {
  const processor = new BatchLogRecordProcessor({
    exporter: exporter('logs', protocol, endpoint, token, certificate),
    maxExportBatchSize: Number(batch), scheduledDelayMillis: 600_000,
  });
  const provider = new LoggerProvider({ resource, processors: [processor] });
  const logger = provider.getLogger('fleet');
  for (let number = 0; number < Number(events); number++) {
    logger.emit({
      timestamp: Date.now(), severityNumber: SeverityNumber.INFO, eventName: 'phone.app.opened',
      attributes: {
        'app.package': `org.example.n${number}`, screen: 'home', duration_ms: 1500,
        'account.email': 'sdk@example.org', 'user.birth_year': 1984,
      },
    });
    if ((number + 1) % Number(batch) === 0) {
      // A failed export is a rejection here; what counts is in the results.
      await processor.forceFlush().catch(() => {});
    }
  }
  await provider.shutdown().catch(() => {});
  finish();
}

main(process.argv.slice(2));
