//! The rules of metrics, traces and scopes that a reader of the architecture page would look for, one by one.

use candor_policy::batch::Received;
use candor_wire::otlp::DecodeLimits;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::oracle::item::Request;
use crate::oracle::{Cell, actual};
use crate::spec::{key_index, spec};

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

#[expect(clippy::unnecessary_wraps, reason = "as a row has it")]
fn text(value: &str) -> Option<Cell> {
    Some(Cell::Text(value.to_owned()))
}

fn decode(request: &impl Request) -> Received {
    decode_by(request, &DecodeLimits::default())
}

fn decode_by<R: Request>(request: &R, limits: &DecodeLimits) -> Received {
    R::decode_by_us(&request.encode_to_vec(), &key_index(&spec()), limits).unwrap()
}

fn metrics(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn spans(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

/// A histogram, "memory.used".
fn histogram(point: HistogramDataPoint) -> ExportMetricsServiceRequest {
    let data = Some(Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 1 }));
    metrics(vec![Metric { name: "memory.used".to_owned(), data, ..Metric::default() }])
}

#[test]
fn a_point_without_a_recorded_value_is_a_row_without_one() {
    let point = HistogramDataPoint {
        count: 3,
        sum: Some(1.5),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
        start_time_unix_nano: 1_000,
        ..HistogramDataPoint::default()
    };
    let of = |flags| actual(&decode(&histogram(HistogramDataPoint { flags, ..point.clone() }))).rows.remove(0).fields;
    let (with, without) = (of(2), of(3));
    assert_eq!(with[2], Some(Cell::I64(3)));
    assert_eq!(with[6], Some(Cell::List(vec![Some(Cell::I64(1)), Some(Cell::I64(2))])));
    assert!(without[..17].iter().all(Option::is_none));
    assert_eq!(without[17], Some(Cell::Time(1)));
    assert_eq!((without[19].clone(), without[21].clone()), (text("delta"), Some(Cell::I64(3))));
}

#[test]
fn exemplars_and_metadata_count_as_undeclared() {
    let exemplar = Exemplar { filtered_attributes: vec![pair("a", Value::IntValue(1)); 5], ..Exemplar::default() };
    let point = NumberDataPoint { exemplars: vec![exemplar; 3], ..NumberDataPoint::default() };
    let data = Some(Data::Sum(Sum { data_points: vec![point; 2], aggregation_temporality: 2, is_monotonic: true }));
    let metadata = vec![pair("m", Value::BoolValue(true)); 4];
    let received =
        decode(&metrics(vec![Metric { name: "memory.used".to_owned(), metadata, data, ..Metric::default() }]));
    assert_eq!(received.tally().undeclared_attributes, 2 * 3 + 4);
    let rows = actual(&received).rows;
    assert_eq!((rows[1].fields[19].clone(), rows[1].fields[20].clone()), (text("cumulative"), Some(Cell::Bool(true))));
}

#[test]
fn names_of_events_belong_to_their_signal() {
    let opened = "phone.app.opened".to_owned();
    let value = Some(number_data_point::Value::AsInt(1));
    let data_points = vec![NumberDataPoint { value, ..NumberDataPoint::default() }];
    let data = Some(Data::Sum(Sum { data_points, ..Sum::default() }));
    let of_metrics = decode(&metrics(vec![Metric { name: opened.clone(), data, ..Metric::default() }]));
    let of_traces = decode(&spans(vec![Span { name: opened, ..Span::default() }]));
    assert_eq!((of_metrics.groups()[0].stream, of_traces.groups()[0].stream), (2, 3));
    let unknown = decode(&spans(vec![Span { name: "memory.used".to_owned(), ..Span::default() }]));
    assert_eq!(unknown.tally().undeclared_events, 1);
}

#[test]
fn lists_of_a_span_have_one_element_for_each_event_and_link() {
    let event = |name: &str, attributes| Event { name: name.to_owned(), attributes, ..Event::default() };
    let place = |name: &str| Value::StringValue(name.to_owned());
    let way = Value::KvlistValue(KeyValueList { values: vec![pair("name", place("nested"))] });
    let span = Span {
        name: "call.answered".to_owned(),
        events: vec![
            event("a", vec![pair("place.name", place("x")), pair("place.name", place("second"))]),
            event("", vec![pair("undeclared", place("y"))]),
            event("c", vec![pair("place", way.clone())]),
            event("d", vec![pair("place", way), pair("place.name", place("direct"))]),
        ],
        links: vec![Link { span_id: vec![0xAB, 0x01], ..Link::default() }, Link::default()],
        ..Span::default()
    };
    let received = decode(&spans(vec![span, Span { name: "call.answered".to_owned(), ..Span::default() }]));
    assert_eq!(received.tally().undeclared_attributes, 1);
    let rows = actual(&received).rows;
    let list = |elements: Vec<Option<Cell>>| Some(Cell::List(elements));
    assert_eq!(rows[0].fields[9], list(vec![text("a"), None, text("c"), text("d")]));
    assert_eq!(rows[0].fields[11], list(vec![text("x"), None, text("nested"), text("direct")]));
    assert_eq!(rows[0].fields[12], list(vec![None; 4]));
    assert_eq!(rows[0].fields[13], list(vec![None; 2]));
    assert_eq!(rows[0].fields[15], list(vec![text("ab01"), None]));
    assert!(rows[1].fields.iter().all(Option::is_none), "no events: no lists");
}

#[test]
fn an_element_of_the_wrong_type_takes_the_whole_span() {
    let event = Event { attributes: vec![pair("location.lat", Value::BoolValue(true))], ..Event::default() };
    let span = Span { name: "call.answered".to_owned(), events: vec![Event::default(), event], ..Span::default() };
    assert_eq!(decode(&spans(vec![span])).tally().bad_fields, [(3, 12, 1)]);
}

#[test]
fn more_elements_than_allowed_are_a_bad_value_of_the_list_and_of_nothing_else() {
    let limits = DecodeLimits { elements: 2, ..DecodeLimits::default() };
    let buckets = |counts: usize| {
        histogram(HistogramDataPoint { bucket_counts: vec![1; counts], ..HistogramDataPoint::default() })
    };
    assert!(decode_by(&buckets(2), &limits).tally().bad_values.is_empty());
    assert_eq!(decode_by(&buckets(3), &limits).tally().bad_fields, [(2, 6, 1)]);
    let span = |name: &str, events: usize| {
        spans(vec![Span { name: name.to_owned(), events: vec![Event::default(); events], ..Span::default() }])
    };
    assert!(decode_by(&span("call.answered", 2), &limits).tally().bad_values.is_empty());
    assert_eq!(decode_by(&span("call.answered", 3), &limits).tally().bad_fields, [(3, 11, 1)]);
}

#[test]
fn a_scope_belongs_to_the_records_under_it() {
    let scope = |name: &str, library: Value| {
        let attributes = vec![pair("library", library), pair("undeclared", Value::IntValue(1))];
        Some(InstrumentationScope { name: name.to_owned(), attributes, ..InstrumentationScope::default() })
    };
    let record = |name: &str| LogRecord { event_name: name.to_owned(), ..LogRecord::default() };
    let (opened, closed) = ("phone.app.opened", "phone.app.closed");
    let under = |scope, records: &[&str]| ScopeLogs {
        scope,
        log_records: records.iter().map(|name| record(name)).collect(),
        ..ScopeLogs::default()
    };
    let library = |name: &str| Value::StringValue(name.to_owned());
    let scope_logs = vec![
        under(scope("first", library("a")), &[opened, opened, closed]),
        under(None, &[opened]),
        under(scope("", Value::IntValue(7)), &[opened, closed]),
        under(scope("last", library("b")), &[opened]),
    ];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let received = decode(&ExportLogsServiceRequest { resource_logs });
    // Under the third one only events that may carry the library are bad.
    assert_eq!(received.tally().bad_fields, [(0, 19, 1)]);
    // Once a scope and set of fields: "closed" has no use for the library.
    assert_eq!(received.tally().undeclared_attributes, 1 + 2 + 1 + 2 + 1);
    let rows = actual(&received).rows;
    let names: Vec<_> = rows.iter().map(|row| (row.fields[18].clone(), row.fields[19].clone())).collect();
    let expected = [
        (text("first"), text("a")),
        (text("first"), text("a")),
        (text("first"), None),
        (None, None),
        (None, None),
        (text("last"), text("b")),
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_body_that_is_a_list_is_read_like_attributes_where_the_stream_looks_into_it() {
    let value = |value| Some(AnyValue { value: Some(value) });
    let nested = Value::KvlistValue(KeyValueList { values: vec![pair("name", Value::StringValue("here".to_owned()))] });
    let body = Value::KvlistValue(KeyValueList {
        values: vec![pair("lat", Value::IntValue(4)), pair("place", nested), pair("other", Value::IntValue(1))],
    });
    let record =
        |name: &str| LogRecord { event_name: name.to_owned(), body: value(body.clone()), ..LogRecord::default() };
    let logs = |records| {
        let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
        ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
    };
    let received = decode(&logs(vec![record("car.brake"), record("car.stop")]));
    assert!(received.tally().bad_values.is_empty());
    assert_eq!(received.tally().undeclared_attributes, 1 + 2);
    let rows = actual(&received).rows;
    assert_eq!((rows[0].fields[7].clone(), rows[0].fields[8].clone()), (text("here"), Some(Cell::F64(4f64.to_bits()))));
    assert_eq!((rows[1].fields[7].clone(), rows[1].fields[8].clone()), (None, Some(Cell::F64(4f64.to_bits()))));
    let elsewhere = decode(&logs(vec![record("phone.app.opened")]));
    assert_eq!(elsewhere.tally().bad_fields, [(0, 7, 1)]);
}
