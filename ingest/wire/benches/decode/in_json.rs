//! Requests in JSON.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

/// The same request as Python's exporter writes it.
pub(crate) fn logs(request: &ExportLogsServiceRequest) -> Vec<u8> {
    let resources = request.resource_logs.iter().map(|logs| {
        let scopes = logs.scope_logs.iter().map(|logs| {
            let records: Vec<_> = logs.log_records.iter().map(record_in_json).collect();
            serde_json::json!({ "scope": { "name": "bench" }, "logRecords": records })
        });
        let attributes = attributes_in_json(logs.resource.as_ref().map_or(&[], |resource| &resource.attributes));
        serde_json::json!({ "resource": { "attributes": attributes }, "scopeLogs": scopes.collect::<Vec<_>>() })
    });
    serde_json::json!({ "resourceLogs": resources.collect::<Vec<_>>() }).to_string().into_bytes()
}

fn record_in_json(record: &LogRecord) -> serde_json::Value {
    serde_json::json!({
        "timeUnixNano": record.time_unix_nano.to_string(),
        "observedTimeUnixNano": record.observed_time_unix_nano.to_string(),
        "severityNumber": record.severity_number,
        "severityText": record.severity_text,
        "attributes": attributes_in_json(&record.attributes),
        "eventName": record.event_name,
    })
}

fn attributes_in_json(attributes: &[KeyValue]) -> Vec<serde_json::Value> {
    let value = |value: &Value| match value {
        Value::StringValue(text) => serde_json::json!({ "stringValue": text }),
        Value::IntValue(integer) => serde_json::json!({ "intValue": integer.to_string() }),
        Value::DoubleValue(double) => serde_json::json!({ "doubleValue": double }),
        Value::BoolValue(boolean) => serde_json::json!({ "boolValue": boolean }),
        _ => serde_json::json!({}),
    };
    let pair = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|any| any.value.as_ref()).map(value);
        serde_json::json!({ "key": pair.key, "value": value })
    };
    attributes.iter().map(pair).collect()
}
