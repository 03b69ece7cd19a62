//! Events to OTLP: one `ExportLogsServiceRequest`, records grouped by equal resource.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::{Map, Value};

use crate::event::Event;

/// The protobuf body of `POST /v1/logs` for these events; resources in the order of their first event.
#[must_use]
pub fn request_body(events: &[Event]) -> Vec<u8> {
    request(events).encode_to_vec()
}

/// The same for events that are picked out of more.
pub(crate) fn request_of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<u8> {
    request(events).encode_to_vec()
}

/// A body without events.
pub(crate) fn empty_body() -> Vec<u8> {
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs::default()] }.encode_to_vec()
}

/// The body without the events that may not be sent, and how many it lost; `None` if it is no body.
pub(crate) fn without(body: &[u8], may_send: impl Fn(&str) -> bool) -> Option<(Vec<u8>, u64)> {
    let mut request = ExportLogsServiceRequest::decode(body).ok()?;
    let mut lost = 0;
    for scope in request.resource_logs.iter_mut().flat_map(|resource| &mut resource.scope_logs) {
        let before = scope.log_records.len();
        scope.log_records.retain(|record| may_send(&record.event_name));
        lost += (before - scope.log_records.len()) as u64;
    }
    request.resource_logs.retain(|resource| resource.scope_logs.iter().any(|scope| !scope.log_records.is_empty()));
    Some((request.encode_to_vec(), lost))
}

fn request<'a>(events: impl IntoIterator<Item = &'a Event>) -> ExportLogsServiceRequest {
    let mut place: HashMap<String, usize> = HashMap::new();
    let mut resource_logs: Vec<ResourceLogs> = Vec::new();
    for event in events {
        let key = Value::Object(event.resource.clone()).to_string();
        let at = *place.entry(key).or_insert_with(|| {
            resource_logs.push(resource(&event.resource));
            resource_logs.len() - 1
        });
        if let Some(scope) = resource_logs.get_mut(at).and_then(|r| r.scope_logs.first_mut()) {
            scope.log_records.push(record(event));
        }
    }
    ExportLogsServiceRequest { resource_logs }
}

fn resource(attributes: &Map<String, Value>) -> ResourceLogs {
    ResourceLogs {
        resource: Some(Resource { attributes: key_values(attributes), ..Resource::default() }),
        scope_logs: vec![ScopeLogs::default()],
        schema_url: String::new(),
    }
}

fn record(event: &Event) -> LogRecord {
    LogRecord {
        time_unix_nano: event.time_unix_nano,
        observed_time_unix_nano: event.time_unix_nano,
        severity_number: event.severity_number,
        severity_text: event.severity_text.clone(),
        body: event.body.as_ref().map(any_value),
        attributes: key_values(&event.attributes),
        event_name: event.name.clone(),
        ..LogRecord::default()
    }
}

fn key_values(map: &Map<String, Value>) -> Vec<KeyValue> {
    map.iter()
        .map(|(key, value)| KeyValue { key: key.clone(), value: Some(any_value(value)), ..KeyValue::default() })
        .collect()
}

fn any_value(value: &Value) -> AnyValue {
    let value = match value {
        Value::Null => None,
        Value::Bool(flag) => Some(any_value::Value::BoolValue(*flag)),
        // A whole number beyond i64 has no other carrier in OTLP than a double.
        Value::Number(number) => Some(number.as_i64().map_or_else(
            || any_value::Value::DoubleValue(number.as_f64().unwrap_or(f64::NAN)),
            any_value::Value::IntValue,
        )),
        Value::String(text) => Some(any_value::Value::StringValue(text.clone())),
        Value::Array(items) => {
            Some(any_value::Value::ArrayValue(ArrayValue { values: items.iter().map(any_value).collect() }))
        }
        Value::Object(map) => Some(any_value::Value::KvlistValue(KeyValueList { values: key_values(map) })),
    };
    AnyValue { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventLimits, read_events};

    #[test]
    fn groups_by_equal_resource_and_keeps_types() {
        let text = r#"{"event":"one","resource":{"id":"a"},"attributes":{"n":1,"f":1.5,"b":true,"z":null,"l":[1],"m":{"k":"v"}}}
            {"event":"two","resource":{"id":"b"}}
            {"event":"three","resource":{"id":"a"}}"#;
        let events = read_events(text.as_bytes(), &EventLimits::default()).unwrap();
        let decoded = ExportLogsServiceRequest::decode(request_body(&events).as_slice()).unwrap();
        let names: Vec<Vec<&str>> = decoded
            .resource_logs
            .iter()
            .map(|r| r.scope_logs[0].log_records.iter().map(|l| l.event_name.as_str()).collect())
            .collect();
        assert_eq!(names, [vec!["one", "three"], vec!["two"]]);
        let kinds: Vec<_> = decoded.resource_logs[0].scope_logs[0].log_records[0]
            .attributes
            .iter()
            .map(|a| a.value.as_ref().unwrap().value.clone())
            .collect();
        assert!(matches!(kinds[0], Some(any_value::Value::IntValue(1))));
        assert!(matches!(kinds[1], Some(any_value::Value::DoubleValue(f)) if f.to_bits() == 1.5_f64.to_bits()));
        assert!(matches!(kinds[2], Some(any_value::Value::BoolValue(true))));
        assert!(kinds[3].is_none());
        assert!(matches!(&kinds[4], Some(any_value::Value::ArrayValue(a)) if a.values.len() == 1));
        assert!(matches!(&kinds[5], Some(any_value::Value::KvlistValue(m)) if m.values[0].key == "k"));
    }
}
