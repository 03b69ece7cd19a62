//! Requests of log records.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{any_value, array, attribute, id, list, resource, scope, time};

/// A whole request.
pub(crate) fn request() -> impl Strategy<Value = ExportLogsServiceRequest> {
    vec(resource_logs(), 0..4).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

fn resource_logs() -> impl Strategy<Value = ResourceLogs> {
    (option::weighted(0.9, resource()), vec(scope_logs(), 0..3), select(vec!["", "https://x/1.9"])).prop_map(
        |(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url: schema_url.to_owned() },
    )
}

fn scope_logs() -> impl Strategy<Value = ScopeLogs> {
    (scope(), vec(log_record(), 0..5), "[a-z]{0,3}").prop_map(|(scope, log_records, schema_url)| ScopeLogs {
        scope,
        log_records,
        schema_url,
    })
}

fn log_record() -> impl Strategy<Value = LogRecord> {
    let name = || {
        select(vec![
            "phone.app.opened",
            "phone.app.opened",
            "phone.app.closed",
            "phone.app.crashed",
            "car.brake",
            "car.stop",
            "fridge.opened",
            "",
        ])
    };
    let key = select(vec![
        "app.package",
        "app.foreground",
        "app",
        "duration_ms",
        "location.lat",
        "location.lon",
        "location",
        "location.place",
        "location.place.name",
        "started",
        "tags",
        "levels",
        "switches",
        "marks",
        "speed",
        "gpc",
        "region",
        "event.name",
        "undeclared",
        "",
    ]);
    (
        (time(), time(), prop_oneof![Just(0), any::<i32>()], "[A-Z]{0,4}", name()),
        (
            option::of(prop_oneof![
                any_value(),
                array("name"),
                list().prop_map(|value| AnyValue { value: Some(value) })
            ]),
            vec(attribute(key), 0..9),
            option::weighted(0.3, name()),
        ),
        (any::<u32>(), any::<u32>(), id()),
    )
        .prop_map(
            |((time, observed, severity, text, event), (body, mut attributes, named), (count, flags, id))| {
                attributes.extend(named.map(|name| KeyValue {
                    key: "event.name".to_owned(),
                    value: Some(AnyValue { value: Some(Value::StringValue(name.to_owned())) }),
                    key_strindex: 0,
                }));
                LogRecord {
                    time_unix_nano: time,
                    observed_time_unix_nano: observed,
                    severity_number: severity,
                    severity_text: text,
                    body,
                    attributes,
                    dropped_attributes_count: count,
                    flags,
                    trace_id: id.clone(),
                    span_id: id,
                    event_name: event.to_owned(),
                }
            },
        )
}
