//! A request in OTLP's JSON, as the Python exporters write it: whole numbers and times in quotes.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

/// Everything that a request of the job has; no text of it needs an escape.
pub(crate) fn encode(request: &ExportLogsServiceRequest) -> Vec<u8> {
    let resources = joined(&request.resource_logs, |of| {
        let resource = attributes(&of.resource.as_ref().unwrap().attributes);
        let scopes = joined(&of.scope_logs, |scope| {
            format!(r#"{{"scope":{{}},"logRecords":[{}]}}"#, joined(&scope.log_records, record))
        });
        format!(r#"{{"resource":{{"attributes":[{resource}]}},"scopeLogs":[{scopes}]}}"#)
    });
    format!(r#"{{"resourceLogs":[{resources}]}}"#).into_bytes()
}

fn record(record: &LogRecord) -> String {
    format!(
        r#"{{"timeUnixNano":"{}","eventName":"{}","attributes":[{}]}}"#,
        record.time_unix_nano,
        record.event_name,
        attributes(&record.attributes)
    )
}

fn attributes(all: &[KeyValue]) -> String {
    joined(all, |attribute| {
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => format!(r#""stringValue":"{text}""#),
            Some(Value::IntValue(number)) => format!(r#""intValue":"{number}""#),
            Some(Value::DoubleValue(number)) => format!(r#""doubleValue":{number:?}"#),
            other => panic!("the job has no {other:?}"),
        };
        format!(r#"{{"key":"{}","value":{{{value}}}}}"#, attribute.key)
    })
}

fn joined<T>(all: &[T], write: impl Fn(&T) -> String) -> String {
    all.iter().map(write).collect::<Vec<_>>().join(",")
}
