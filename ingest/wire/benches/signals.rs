//! Decode of metrics and traces, alone: ours builds Arrow columns; prost stands beside it in the same run and only makes
//! structs. The last lines print the ratio of the two, measured in turns: it is what counts.

use std::hint::black_box;
use std::time::{Duration, Instant};

use candor_policy::catalogue::{FieldType, Place, Signal};
use candor_policy::key_index::{FieldKey, KeyIndex, Slot, StreamKeys};
use candor_wire::otlp::DecodeLimits;
use candor_wire::otlp::protobuf::{decode_metrics, decode_traces};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

const RECORDS: usize = 500;
const TIME: u64 = 1_790_000_000_000_000_000;
const ROUNDS: usize = 41;

/// From where a field comes.
enum From {
    Attribute(&'static str),
    Place(Place),
    SpanEvent(&'static str),
}

fn stream(fields: &[(FieldType, bool, From)], events: usize) -> StreamKeys {
    let mut keys = StreamKeys {
        name: "bench".into(),
        subject_per_resource: true,
        jurisdiction_per_resource: true,
        gpc_per_resource: true,
        event_fields: vec![vec![true; fields.len()]; events],
        ..StreamKeys::default()
    };
    for (number, (kind, list, from)) in fields.iter().enumerate() {
        keys.fields.push(FieldKey { kind: *kind, list: *list, per_resource: false });
        let slot = Slot::Field(number as u16);
        match from {
            From::Attribute(key) => keys.attributes.insert(key, slot),
            From::Place(place) => keys.places.insert(*place, slot),
            From::SpanEvent(key) => keys.span_event_attributes.insert(key, slot),
        }
    }
    keys.resource.insert("device.id", Slot::Subject);
    keys.resource.insert("region", Slot::Jurisdiction);
    keys
}

fn keys() -> KeyIndex {
    use FieldType::{F64, I64, String, Timestamp};
    let metrics = [
        (F64, false, From::Place(Place::Value)),
        (I64, false, From::Place(Place::Count)),
        (F64, false, From::Place(Place::Sum)),
        (I64, true, From::Place(Place::BucketCounts)),
        (F64, true, From::Place(Place::ExplicitBounds)),
        (Timestamp, false, From::Place(Place::StartTime)),
        (String, false, From::Place(Place::Unit)),
        (String, false, From::Attribute("network.type")),
        (String, false, From::Attribute("app.package")),
        (I64, false, From::Attribute("attempt")),
    ];
    let traces = [
        (String, false, From::Place(Place::TraceId)),
        (String, false, From::Place(Place::SpanId)),
        (String, false, From::Place(Place::ParentSpanId)),
        (String, false, From::Place(Place::Kind)),
        (String, false, From::Place(Place::StatusCode)),
        (I64, false, From::Place(Place::DurationNs)),
        (String, true, From::Place(Place::SpanEventsName)),
        (Timestamp, true, From::Place(Place::SpanEventsTime)),
        (String, true, From::SpanEvent("exception.type")),
        (String, true, From::Place(Place::LinksTraceId)),
        (String, false, From::Attribute("http.request.method")),
        (I64, false, From::Attribute("http.response.status_code")),
        (String, false, From::Attribute("url.path")),
        (String, false, From::Attribute("server.address")),
        (String, false, From::Attribute("app.package")),
    ];
    let events = [
        (Signal::Metrics, "network.bytes", (0, 0)),
        (Signal::Metrics, "battery.level", (0, 1)),
        (Signal::Metrics, "request.duration", (0, 2)),
        (Signal::Traces, "http.request", (1, 0)),
    ];
    KeyIndex::new(events, vec![stream(&metrics, 3), stream(&traces, 1)])
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

fn resource() -> Resource {
    let attributes = vec![text("device.id", "phone-0001"), text("region", "DE"), text("service.name", "phone-fleet")];
    Resource { attributes, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "fleet".to_owned(), version: "2".to_owned(), ..InstrumentationScope::default() }
}

fn number(n: usize, value: number_data_point::Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![text("network.type", "wifi"), text("app.package", format!("com.example.app{}", n % 9))],
        start_time_unix_nano: TIME,
        time_unix_nano: TIME + n as u64 * 1_000_003,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn histogram(n: usize) -> HistogramDataPoint {
    let attributes = vec![text("network.type", "wifi"), pair("attempt", Value::IntValue(n as i64 % 3))];
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: TIME,
        time_unix_nano: TIME + n as u64 * 1_000_003,
        count: 120,
        sum: Some(n as f64 * 1.5),
        bucket_counts: (0..16).collect(),
        explicit_bounds: (0..15).map(|bound| f64::from(bound) * 2.5).collect(),
        ..HistogramDataPoint::default()
    }
}

/// As many points of a sum, a gauge and a histogram.
fn metrics() -> Vec<u8> {
    let third = |first: usize| (first..RECORDS).step_by(3);
    let int = |n: usize| number(n, number_data_point::Value::AsInt(n as i64 * 977));
    let double = |n: usize| number(n, number_data_point::Value::AsDouble(n as f64 / 7.0));
    let sum = Sum { data_points: third(0).map(int).collect(), aggregation_temporality: 2, is_monotonic: true };
    let gauge = Gauge { data_points: third(1).map(double).collect() };
    let durations = Histogram { data_points: third(2).map(histogram).collect(), aggregation_temporality: 2 };
    let metric = |name: &str, unit: &str, data| Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    let metrics = vec![
        metric("network.bytes", "By", Data::Sum(sum)),
        metric("battery.level", "1", Data::Gauge(gauge)),
        metric("request.duration", "s", Data::Histogram(durations)),
    ];
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource()), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn span(n: usize) -> Span {
    let id = |length: usize| (0..length).map(|at| (n * 31 + at * 17) as u8).collect::<Vec<u8>>();
    let failed = n.is_multiple_of(10);
    let attributes = vec![text("exception.type", "java.net.SocketTimeoutException"), text("exception.message", "late")];
    let event = Event { time_unix_nano: TIME, name: "exception".to_owned(), attributes, ..Event::default() };
    Span {
        trace_id: id(16),
        span_id: id(8),
        parent_span_id: id(8),
        name: "http.request".to_owned(),
        kind: 3,
        start_time_unix_nano: TIME + n as u64 * 1_000_003,
        end_time_unix_nano: TIME + n as u64 * 1_000_003 + 48_000_000,
        attributes: vec![
            text("http.request.method", "GET"),
            pair("http.response.status_code", Value::IntValue(200)),
            text("url.path", format!("/v2/orders/{n}")),
            text("server.address", "api.example.org"),
            text("app.package", format!("com.example.app{}", n % 9)),
        ],
        events: if failed { vec![event] } else { Vec::new() },
        links: if failed { vec![Link { trace_id: id(16), span_id: id(8), ..Link::default() }] } else { Vec::new() },
        status: Some(Status { code: if failed { 2 } else { 0 }, ..Status::default() }),
        ..Span::default()
    }
}

/// Spans of a client; every tenth failed and has an event and a link.
fn traces() -> Vec<u8> {
    let spans = (0..RECORDS).map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource()), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn decode(criterion: &mut Criterion) {
    let (keys, limits) = (keys(), DecodeLimits::default());
    let (points, spans) = (metrics(), traces());
    let received = [decode_metrics(&points, &keys, &limits), decode_traces(&spans, &keys, &limits)];
    for received in received.into_iter().flatten() {
        assert_eq!(received.groups().iter().map(|group| group.event.len()).sum::<usize>(), RECORDS);
    }
    beside(
        criterion,
        "metrics",
        &points,
        || drop(black_box(decode_metrics(black_box(&points), &keys, &limits))),
        || {
            drop(black_box(ExportMetricsServiceRequest::decode(black_box(points.as_slice()))));
        },
    );
    beside(
        criterion,
        "traces",
        &spans,
        || drop(black_box(decode_traces(black_box(&spans), &keys, &limits))),
        || {
            drop(black_box(ExportTraceServiceRequest::decode(black_box(spans.as_slice()))));
        },
    );
}

#[expect(clippy::print_stdout, reason = "the ratio is what the bench is for")]
fn beside(criterion: &mut Criterion, signal: &str, body: &[u8], ours: impl Fn(), prost: impl Fn()) {
    let name = format!("decode/{RECORDS} records of {signal}, {} bytes a record", body.len() / RECORDS);
    let mut group = criterion.benchmark_group(&name);
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("columns", |bencher| bencher.iter(&ours));
    group.bench_function("prost structs", |bencher| bencher.iter(&prost));
    group.finish();
    let time = |work: &dyn Fn()| {
        let start = Instant::now();
        (0..20).for_each(|_| work());
        start.elapsed()
    };
    let mut rounds: Vec<(Duration, Duration)> = (0..ROUNDS).map(|_| (time(&ours), time(&prost))).collect();
    rounds.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    println!("{name}: columns take {:.2} of prost's time (median of {ROUNDS} rounds)", ratio(&rounds[ROUNDS / 2]));
}

fn ratio((ours, prost): &(Duration, Duration)) -> f64 {
    ours.as_secs_f64() / prost.as_secs_f64()
}

criterion_group!(benches, decode);
criterion_main!(benches);
