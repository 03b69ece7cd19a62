//! Spans of a client; every tenth failed and has an event and a link.

use candor_policy::catalogue::{FieldType, Place, Signal};
use candor_policy::key_index::{KeyIndex, Slot};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use crate::RECORDS;
use crate::stream::{From, pair, resource, scope, stream, text};

const TIME: u64 = 1_790_000_000_000_000_000;

pub(crate) fn keys() -> KeyIndex {
    use FieldType::{I64, String, Timestamp};
    let fields = [
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
    let mut stream = stream(&fields, 1);
    stream.resource.insert("device.id", Slot::Subject);
    KeyIndex::new([(Signal::Traces, "http.request", (0, 0))], vec![stream])
}

pub(crate) fn request() -> ExportTraceServiceRequest {
    let spans = (0..RECORDS).map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource(1)), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
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
