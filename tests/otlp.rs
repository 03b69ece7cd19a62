//! Events as the seeds write them, and their encoding as OTLP requests by the official protobuf messages.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::{Map, Value, json};

/// One event to send.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) time_unix_nano: u64,
    pub(crate) resource: Map<String, Value>,
    pub(crate) attributes: Map<String, Value>,
}

impl Event {
    /// An event of a device in a region.
    #[expect(clippy::needless_pass_by_value, reason = "callers write `json!` in place")]
    pub(crate) fn new(device: &str, region: &str, name: &str, attributes: Value) -> Self {
        let resource = json!({
            "service.name": "test-fleet", "service.version": "2.0.1", "device.id": device,
            "device.model.name": "P14", "region": region, "gpc": false,
        });
        Self {
            name: name.to_owned(),
            time_unix_nano: 1_793_491_200_561_000_192,
            resource: object(&resource),
            attributes: object(&attributes),
        }
    }

    /// The event that carries a number all the way into `analytics."phone.app"`, in `app_package`.
    pub(crate) fn numbered(device: &str, number: u64) -> Self {
        let attributes = json!({"app.package": package(number), "screen": "home", "duration_ms": 1_500});
        Self::new(device, "US-CA", "phone.app.opened", attributes)
    }

    /// A line of `events.jsonl`: `time` is RFC 3339, `time_unix_nano` a string.
    pub(crate) fn parse(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).expect("a line of events is JSON");
        let nano = match (&value["time_unix_nano"], &value["time"]) {
            (Value::String(nano), _) => nano.parse().expect("nanoseconds"),
            (_, Value::String(time)) => {
                let time: jiff::Timestamp = time.parse().expect("RFC 3339");
                time.as_nanosecond() as u64
            }
            _ => panic!("an event without a time"),
        };
        Self {
            name: value["event"].as_str().expect("an event has a name").to_owned(),
            time_unix_nano: nano,
            resource: object(&value["resource"]),
            attributes: object(&value["attributes"]),
        }
    }

    /// All lines of a file.
    pub(crate) fn load(path: &Path) -> Vec<Self> {
        std::fs::read_to_string(path).expect("events can be read").lines().map(Self::parse).collect()
    }

    /// As one log record.
    pub(crate) fn record(&self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.time_unix_nano,
            observed_time_unix_nano: self.time_unix_nano,
            severity_number: 9,
            severity_text: "INFO".to_owned(),
            body: Some(AnyValue { value: None }),
            attributes: key_values(&self.attributes),
            event_name: self.name.clone(),
            ..LogRecord::default()
        }
    }
}

/// What [`Event::numbered`] writes into `app_package`.
pub(crate) fn package(number: u64) -> String {
    format!("org.example.n{number:09}")
}

/// One request: neighbours of one resource share a `ResourceLogs`.
pub(crate) fn request(events: &[Event]) -> ExportLogsServiceRequest {
    let mut resource_logs: Vec<ResourceLogs> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        if index == 0 || events[index - 1].resource != event.resource {
            let resource = Resource { attributes: key_values(&event.resource), ..Resource::default() };
            let scope_logs = vec![ScopeLogs::default()];
            resource_logs.push(ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() });
        }
        let last = resource_logs.last_mut().expect("the first event opens one");
        last.scope_logs[0].log_records.push(event.record());
    }
    ExportLogsServiceRequest { resource_logs }
}

/// The same events as data points of gauges, as one metrics request.
pub(crate) fn metrics(events: &[Event]) -> Vec<u8> {
    let metric = |event: &Event| {
        let point = NumberDataPoint {
            time_unix_nano: event.time_unix_nano,
            attributes: key_values(&event.attributes),
            value: Some(number_data_point::Value::AsInt(1)),
            ..NumberDataPoint::default()
        };
        let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
        Metric { name: event.name.clone(), data, ..Metric::default() }
    };
    let of = |event: &Event| ResourceMetrics {
        resource: Some(Resource { attributes: key_values(&event.resource), ..Resource::default() }),
        scope_metrics: vec![ScopeMetrics { metrics: vec![metric(event)], ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: events.iter().map(of).collect() }.encode_to_vec()
}

/// The same events as spans, as one traces request.
pub(crate) fn spans(events: &[Event]) -> Vec<u8> {
    let span = |event: &Event| Span {
        name: event.name.clone(),
        start_time_unix_nano: event.time_unix_nano,
        end_time_unix_nano: event.time_unix_nano + 1_000,
        attributes: key_values(&event.attributes),
        ..Span::default()
    };
    let of = |event: &Event| ResourceSpans {
        resource: Some(Resource { attributes: key_values(&event.resource), ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans: vec![span(event)], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: events.iter().map(of).collect() }.encode_to_vec()
}

/// The bytes of one request.
pub(crate) fn encode(events: &[Event]) -> Vec<u8> {
    request(events).encode_to_vec()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("a vector takes bytes");
    encoder.finish().expect("a vector takes bytes")
}

/// zlib format, which HTTP calls deflate.
pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("a vector takes bytes");
    encoder.finish().expect("a vector takes bytes")
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("a vector takes bytes")
}

/// (rejected records, message) of an OTLP answer; zero and empty without a partial success.
pub(crate) fn partial_success(body: &[u8]) -> (i64, String) {
    let response = ExportLogsServiceResponse::decode(body).expect("the answer is an ExportLogsServiceResponse");
    response.partial_success.map_or((0, String::new()), |partial| (partial.rejected_log_records, partial.error_message))
}

pub(crate) fn key_value(key: &str, value: &Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn key_values(map: &Map<String, Value>) -> Vec<KeyValue> {
    map.iter().map(|(key, value)| key_value(key, value)).collect()
}

fn any(value: &Value) -> AnyValue {
    let value = match value {
        Value::Null => None,
        Value::Bool(value) => Some(any_value::Value::BoolValue(*value)),
        Value::String(value) => Some(any_value::Value::StringValue(value.clone())),
        Value::Number(value) => Some(value.as_i64().map_or_else(
            || any_value::Value::DoubleValue(value.as_f64().expect("a JSON number is a double")),
            any_value::Value::IntValue,
        )),
        Value::Array(values) => {
            Some(any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(any).collect() }))
        }
        Value::Object(map) => Some(any_value::Value::KvlistValue(KeyValueList { values: key_values(map) })),
    };
    AnyValue { value }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().expect("a JSON object").clone()
}
