//! Decode, alone: 500 records a request, 11 attributes, about 452 bytes a record. Ours builds Arrow columns; prost
//! stands beside it in the same run and only makes structs: the ratio is what counts. JSON is the same request in the
//! dialect that Python's exporter writes; its ratio to protobuf is printed at the end.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use candor_policy::catalogue::{FieldType, Signal};
use candor_policy::key_index::{FieldKey, KeyIndex, KeyTable, Slot, StreamKeys};
use candor_wire::otlp::{DecodeLimits, json, protobuf};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

const RECORDS: usize = 500;

const FIELDS: [(&str, FieldType); 11] = [
    ("app.package", FieldType::String),
    ("screen", FieldType::String),
    ("duration_ms", FieldType::I64),
    ("account.email", FieldType::String),
    ("device.imei", FieldType::String),
    ("client.address", FieldType::String),
    ("location.lat", FieldType::F64),
    ("location.lon", FieldType::F64),
    ("charging", FieldType::Bool),
    ("session.id", FieldType::String),
    ("message", FieldType::String),
];

fn keys() -> KeyIndex {
    let mut attributes = KeyTable::default();
    for (field, (key, _)) in FIELDS.iter().enumerate() {
        attributes.insert(key, Slot::Field(field as u16));
    }
    let mut resource = KeyTable::default();
    resource.insert("device.id", Slot::Subject);
    resource.insert("region", Slot::Jurisdiction);
    let stream = StreamKeys {
        name: "phone.app".into(),
        fields: FIELDS.iter().map(|(_, kind)| FieldKey { kind: *kind, list: false, per_resource: false }).collect(),
        attributes,
        resource,
        subject_per_resource: true,
        jurisdiction_per_resource: true,
        gpc_per_resource: true,
        event_fields: vec![vec![true; FIELDS.len()]],
        ..StreamKeys::default()
    };
    KeyIndex::new([(Signal::Logs, "phone.app.opened", (0, 0))], vec![stream])
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn record(n: usize) -> LogRecord {
    let text = |text: String| Value::StringValue(text);
    let values = [
        text(format!("com.example.application{}", n % 7)),
        text("settings/privacy".to_owned()),
        Value::IntValue(n as i64 * 37),
        text(format!("person.{n}@example.org")),
        text(format!("35{:013}", n * 7_919)),
        text(format!("198.51.{}.{}", n % 100, n % 250)),
        Value::DoubleValue(48.1 + n as f64 / 1e4),
        Value::DoubleValue(11.5 + n as f64 / 1e4),
        Value::BoolValue(n.is_multiple_of(2)),
        text(format!("{:032x}", n * 104_729)),
        text(format!("opened by a tap on the notification about order number {n}")),
    ];
    LogRecord {
        time_unix_nano: 1_790_000_000_000_000_000 + n as u64 * 1_000_003,
        observed_time_unix_nano: 1_790_000_000_000_000_000 + n as u64 * 1_000_003,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        event_name: "phone.app.opened".to_owned(),
        attributes: FIELDS.iter().zip(values).map(|((key, _), value)| pair(key, value)).collect(),
        ..LogRecord::default()
    }
}

/// A request whose records belong to `resources` devices.
fn request(resources: usize) -> ExportLogsServiceRequest {
    let per_resource = RECORDS / resources;
    let resource_logs = (0..resources).map(|device| {
        let attributes = vec![
            pair("device.id", Value::StringValue(format!("phone-{device:04}"))),
            pair("region", Value::StringValue("DE".to_owned())),
            pair("service.name", Value::StringValue("phone-fleet".to_owned())),
        ];
        let log_records = (0..per_resource).map(|n| record(device * per_resource + n)).collect();
        ResourceLogs {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }
    });
    ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
}

/// The same request as Python's exporter writes it.
fn in_json(request: &ExportLogsServiceRequest) -> Vec<u8> {
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

fn decode(criterion: &mut Criterion) {
    let keys = keys();
    let limits = DecodeLimits::default();
    for resources in [1, RECORDS] {
        let request = request(resources);
        let (body, json) = (request.encode_to_vec(), in_json(&request));
        let mut group = criterion.benchmark_group(format!(
            "decode/{RECORDS} records, {resources} resources, {} bytes a record",
            body.len() / RECORDS
        ));
        group.throughput(Throughput::Elements(RECORDS as u64));
        group.bench_function("columns", |bencher| {
            bencher.iter(|| protobuf::decode_logs(black_box(&body), &keys, &limits));
        });
        group.bench_function("prost structs", |bencher| {
            bencher.iter(|| ExportLogsServiceRequest::decode(black_box(body.as_slice())));
        });
        group.bench_function(format!("columns from JSON, {} bytes a record", json.len() / RECORDS), |bencher| {
            bencher.iter(|| json::decode_logs(black_box(&json), &keys, &limits));
        });
        group.finish();
    }
}

/// JSON beside protobuf, one after the other so that both meet the same machine.
fn ratio(_: &mut Criterion) {
    let keys = keys();
    let limits = DecodeLimits::default();
    for resources in [1, RECORDS] {
        let request = request(resources);
        let (body, json) = (request.encode_to_vec(), in_json(&request));
        let mut times: Vec<(Duration, Duration)> = (0..301)
            .map(|_| {
                let start = Instant::now();
                drop(black_box(protobuf::decode_logs(black_box(&body), &keys, &limits)));
                let protobuf = start.elapsed();
                let start = Instant::now();
                drop(black_box(json::decode_logs(black_box(&json), &keys, &limits)));
                (protobuf, start.elapsed())
            })
            .collect();
        let ratio = |(protobuf, json): &(Duration, Duration)| json.as_secs_f64() / protobuf.as_secs_f64();
        times.sort_by(|one, other| ratio(one).total_cmp(&ratio(other)));
        let (protobuf, json) = times[times.len() / 2];
        let nanoseconds = |time: Duration| time.as_nanos() / RECORDS as u128;
        println!(
            "{resources} resources: JSON {} ns a record, protobuf {}, ratio {:.2}",
            nanoseconds(json),
            nanoseconds(protobuf),
            ratio(&(protobuf, json))
        );
    }
}

criterion_group!(benches, decode, ratio);
criterion_main!(benches);
