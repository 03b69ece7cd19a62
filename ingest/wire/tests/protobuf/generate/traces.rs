//! Requests of spans, with events and links.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{attribute, id, resource, scope, time};

/// A whole request.
pub(crate) fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = (scope(), vec(span(), 0..5), "[a-z]{0,3}").prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope,
        spans,
        schema_url,
    });
    let resource_spans = (option::weighted(0.9, resource()), vec(scope_spans, 0..3), "[a-z]{0,3}")
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(resource_spans, 0..4).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn span() -> impl Strategy<Value = Span> {
    let name = select(vec!["call.answered", "call.answered", "call.missed", "phone.app.opened", "memory.used", ""]);
    let key = select(vec!["app.package", "gpc", "region", "event.name", "location", "undeclared"]);
    let number = || prop_oneof![4 => 0..6_i32, 1 => any::<i32>()];
    let status = option::of((number(), "[a-z]{0,3}").prop_map(|(code, message)| Status { message, code }));
    (
        (id(), id(), id(), "[a-z=]{0,4}", name, number()),
        (time(), time(), vec(attribute(key), 0..5), status),
        (vec(event(), 0..4), vec(link(), 0..4), any::<u32>()),
    )
        .prop_map(
            |((trace_id, span_id, parent_span_id, state, name, kind), (start, end, attributes, status), rest)| {
                let (events, links, count) = rest;
                Span {
                    trace_id,
                    span_id,
                    trace_state: state,
                    parent_span_id,
                    flags: count,
                    name: name.to_owned(),
                    kind,
                    start_time_unix_nano: start,
                    end_time_unix_nano: end,
                    attributes,
                    dropped_attributes_count: count,
                    events,
                    dropped_events_count: count,
                    links,
                    dropped_links_count: count,
                    status,
                }
            },
        )
}

fn event() -> impl Strategy<Value = Event> {
    let key = select(vec!["place.name", "place", "location.lat", "location", "location.lon", "undeclared"]);
    (time(), select(vec!["exception", "retry", ""]), vec(attribute(key), 0..4), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name: name.to_owned(),
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link() -> impl Strategy<Value = Link> {
    let key = select(vec!["duration_ms", "library", "app.package"]);
    (id(), id(), "[a-z=]{0,4}", vec(attribute(key), 0..4), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, count)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count: count,
            flags: count,
        },
    )
}
