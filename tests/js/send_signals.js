// Sends metrics and spans through the real OpenTelemetry SDK, the same ones as `../python/send_signals_by_sdk.py`.
//
//     send_signals.js http/json|http/protobuf|grpc ENDPOINT TOKEN SPANS
//
// TOKEN is "" for none. Ends with 0 only if everything was delivered.
'use strict';

const { context, SpanKind, SpanStatusCode, trace } = require('@opentelemetry/api');
const { AggregationType, MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { BasicTracerProvider, BatchSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { exporter, finish, resource } = require('./sdk.js');

async function metrics(to) {
  const reader = new PeriodicExportingMetricReader({ exporter: exporter('metrics', ...to), exportIntervalMillis: 3_600_000 });
  const views = [{ instrumentName: 'frame.time', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }];
  const meters = new MeterProvider({ resource, readers: [reader], views });
  const meter = meters.getMeter('fleet.load', '3.1');
  const sent = meter.createCounter('network.sent', { unit: 'By' });
  sent.add(700, { 'network.type': 'wifi' });
  sent.add(300, { 'network.type': 'wifi' });
  sent.add(50, { 'network.type': 'cell' });
  meter.createGauge('battery.level').record(0.25);
  const durations = meter.createHistogram('request.duration', { unit: 'ms', advice: { explicitBucketBoundaries: [10, 100] } });
  for (const value of [5, 7, 50, 5000]) durations.record(value);
  const frames = meter.createHistogram('frame.time', { unit: 'ms' });
  for (const value of [0, 1, 2, 4, 8]) frames.record(value);
  meter.createCounter('nobody.declared.this').add(1);
  await meters.shutdown().catch(() => {});
}

async function spans(to, count) {
  const processor = new BatchSpanProcessor(exporter('trace', ...to), { maxExportBatchSize: 50 });
  const tracers = new BasicTracerProvider({ resource, spanProcessors: [processor] });
  const tracer = tracers.getTracer('fleet.calls', '1.2');
  const parent = tracer.startSpan('sync');
  const inside = trace.setSpan(context.active(), parent);
  for (let number = 0; number < count; number++) {
    const span = tracer.startSpan('http.request', {
      kind: SpanKind.CLIENT, links: [{ context: parent.spanContext(), attributes: { why: 'retry' } }],
      attributes: { 'http.request.method': 'GET', 'http.response.status_code': 200 + (number % 2), 'url.path': `/orders/${number}` },
    }, inside);
    if (number % 2) {
      span.addEvent('exception', { 'exception.type': 'Timeout', 'exception.message': 'late' });
      span.addEvent('retry');
      span.setStatus({ code: SpanStatusCode.ERROR, message: 'late' });
    }
    span.end();
  }
  parent.end();
  await tracers.shutdown().catch(() => {});
}

async function main([protocol, endpoint, token, count]) {
  await metrics([protocol, endpoint, token]);
  await spans([protocol, endpoint, token], Number(count));
  finish();
}

main(process.argv.slice(2));
