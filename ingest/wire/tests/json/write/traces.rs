//! Traces.

use candor_policy::batch::Received;
use candor_policy::key_index::KeyIndex;
use candor_wire::otlp::json::decode_traces;
use candor_wire::otlp::{DecodeError, DecodeLimits};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::{Json, Writer, hex};

const KINDS: [(i32, &str); 3] = [(0, "SPAN_KIND_UNSPECIFIED"), (1, "SPAN_KIND_INTERNAL"), (5, "SPAN_KIND_CONSUMER")];
const CODES: [(i32, &str); 3] = [(0, "STATUS_CODE_UNSET"), (1, "STATUS_CODE_OK"), (2, "STATUS_CODE_ERROR")];

impl Json for ExportTraceServiceRequest {
    fn write(&self, writer: &mut Writer<'_>) -> String {
        writer.request("resource_spans", &self.resource_spans, Writer::resource_spans)
    }

    fn read(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
        decode_traces(body, keys, limits)
    }
}

impl Writer<'_> {
    fn resource_spans(&mut self, spans: &ResourceSpans) -> String {
        let scopes = self.array(&spans.scope_spans, Self::scope_spans);
        self.of_resource(spans.resource.as_ref(), ("scope_spans", scopes), &spans.schema_url)
    }

    fn scope_spans(&mut self, spans: &ScopeSpans) -> String {
        let items = self.array(&spans.spans, Self::span);
        self.of_scope(spans.scope.as_ref(), ("spans", items), &spans.schema_url)
    }

    fn span(&mut self, span: &Span) -> String {
        let mut members = vec![
            ("trace_id", hex(&span.trace_id)),
            ("span_id", hex(&span.span_id)),
            ("trace_state", self.text(&span.trace_state)),
            ("parent_span_id", hex(&span.parent_span_id)),
            ("flags", span.flags.to_string()),
            ("name", self.text(&span.name)),
            ("kind", self.enumeration(span.kind, &KINDS)),
            ("start_time_unix_nano", self.integer(span.start_time_unix_nano)),
            ("end_time_unix_nano", self.integer(span.end_time_unix_nano)),
            ("attributes", self.array(&span.attributes, Self::key_value)),
            ("events", self.array(&span.events, Self::event)),
            ("links", self.array(&span.links, Self::link)),
            ("dropped_links_count", span.dropped_links_count.to_string()),
        ];
        members.extend(span.status.as_ref().map(|status| ("status", self.status(status))));
        self.object(members)
    }

    fn event(&mut self, event: &Event) -> String {
        let members = vec![
            ("time_unix_nano", self.integer(event.time_unix_nano)),
            ("name", self.text(&event.name)),
            ("attributes", self.array(&event.attributes, Self::key_value)),
        ];
        self.object(members)
    }

    fn link(&mut self, link: &Link) -> String {
        let members = vec![
            ("trace_id", hex(&link.trace_id)),
            ("span_id", hex(&link.span_id)),
            ("trace_state", self.text(&link.trace_state)),
            ("attributes", self.array(&link.attributes, Self::key_value)),
            ("flags", link.flags.to_string()),
        ];
        self.object(members)
    }

    fn status(&mut self, status: &Status) -> String {
        let members = vec![("message", self.text(&status.message)), ("code", self.enumeration(status.code, &CODES))];
        self.object(members)
    }
}
