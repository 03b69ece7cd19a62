// The OpenTelemetry SDK for JavaScript as programs set it up: exporters of a protocol, and what they say of each export.
'use strict';

const { readFileSync } = require('node:fs');
const { diag, DiagConsoleLogger, DiagLogLevel } = require('@opentelemetry/api');
const { resourceFromAttributes } = require('@opentelemetry/resources');

// What goes wrong inside the SDK reaches nobody but its diagnostics.
diag.setLogger(new DiagConsoleLogger(), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });

const PACKAGES = { 'http/json': 'http', 'http/protobuf': 'proto', grpc: 'grpc' };
const PATHS = { logs: '/v1/logs', metrics: '/v1/metrics', trace: '/v1/traces' };
const CLASSES = { logs: 'OTLPLogExporter', metrics: 'OTLPMetricExporter', trace: 'OTLPTraceExporter' };

// Whether each export was delivered, in the order of their ends.
const results = [];

// An exporter with gzip, as it is but for its results, which are noted. TOKEN is "" for none, CERTIFICATE the one to trust.
function exporter(signal, protocol, endpoint, token, certificate) {
  const Exporter = require(`@opentelemetry/exporter-${signal}-otlp-${PACKAGES[protocol]}`)[CLASSES[signal]];
  const trusted = certificate && readFileSync(certificate);
  const to = protocol === 'grpc' ? overGrpc(endpoint, token, trusted) : overHttp(endpoint + PATHS[signal], token, trusted);
  const made = new Exporter({ ...to, compression: 'gzip', timeoutMillis: 10_000 });
  const original = made.export.bind(made);
  made.export = (items, done) =>
    original(items, (result) => {
      results.push(result.code === 0);
      if (result.error) console.error(`${signal}: ${result.error.code ?? ''} ${result.error.message}`);
      done(result);
    });
  return made;
}

function overHttp(url, token, trusted) {
  return { url, headers: token ? { authorization: `Bearer ${token}` } : {}, httpAgentOptions: trusted ? { ca: trusted } : {} };
}

function overGrpc(url, token, trusted) {
  const { credentials, Metadata } = require('@grpc/grpc-js');
  const metadata = new Metadata();
  if (token) metadata.set('authorization', `Bearer ${token}`);
  return { url, metadata, credentials: trusted ? credentials.createSsl(trusted) : credentials.createInsecure() };
}

const resource = resourceFromAttributes({
  'service.name': 'phone-fleet', 'service.version': '2.0.4', 'device.id': 'sdk-01',
  'device.model.name': 'P14', region: 'DE', gpc: false,
});

// Prints the results; the exit code is 0 if there are some and all were delivered.
function finish() {
  console.log(JSON.stringify(results));
  process.exitCode = results.length > 0 && results.every(Boolean) ? 0 : 1;
}

module.exports = { exporter, finish, resource };
