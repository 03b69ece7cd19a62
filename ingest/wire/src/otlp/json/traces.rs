//! Spans.

use serde::de::MapAccess;

use super::value::{Nesting, Pair, Pairs};
use super::{Items, Walk};
use crate::json::{Member, Object};
use crate::otlp::span::{Link, PART_TIMES, Plain, Span, SpanEvent};
use crate::otlp::{DecodeError, DecodeLimits, keep_within, push_within};

/// Names of `SpanKind`, from 0.
const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

/// Names of `StatusCode`, from 0.
const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// Reads the spans of `ScopeSpans`.
#[derive(Default)]
pub(super) struct Spans<'b> {
    events: Vec<SpanEvent<'b>>,
    event_attributes: Vec<Pair<'b>>,
    links: Vec<Link<'b>>,
    link_attributes: Vec<Pair<'b>>,
}

impl<'b> Items<'b> for Spans<'b> {
    const REQUEST: &'static str = "an ExportTraceServiceRequest";
    const NAMES: [[&'static str; 2]; 3] =
        [["resourceSpans", "resource_spans"], ["scopeSpans", "scope_spans"], ["spans", "spans"]];

    type Item<'w, 'k>
        = Reading<'w, 'b, 'k>
    where
        'b: 'w,
        'k: 'w;

    fn item<'w, 'k>(&'w mut self, walk: &'w mut Walk<'b, 'k>) -> Reading<'w, 'b, 'k>
    where
        'b: 'w,
        'k: 'w,
    {
        Reading { walk, spans: self, span: Plain::default() }
    }
}

/// A span that is being read; its attributes are the walk's.
pub(super) struct Reading<'w, 'b, 'k> {
    walk: &'w mut Walk<'b, 'k>,
    spans: &'w mut Spans<'b>,
    span: Plain<'b>,
}

impl<'b> Object<'b> for Reading<'_, 'b, '_> {
    const WHAT: &'static str = "a Span";

    fn begin(&mut self) {
        self.walk.attributes.clear();
        self.spans.events.clear();
        self.spans.event_attributes.clear();
        self.spans.links.clear();
        self.spans.link_attributes.clear();
        self.span = Plain::default();
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let Self { walk, spans, span } = self;
        Ok(match name {
            "traceId" | "trace_id" => {
                span.trace_id = value.hex()?;
                1
            }
            "spanId" | "span_id" => {
                span.span_id = value.hex()?;
                2
            }
            "traceState" | "trace_state" => {
                span.trace_state = value.text()?.unwrap_or_default();
                3
            }
            "parentSpanId" | "parent_span_id" => {
                span.parent_span_id = value.hex()?;
                4
            }
            "name" => {
                span.name = value.text()?.unwrap_or_default();
                5
            }
            "kind" => {
                span.kind = value.enumeration(&KINDS)?;
                6
            }
            "startTimeUnixNano" | "start_time_unix_nano" => {
                span.start_time = value.unsigned()?.unwrap_or_default();
                7
            }
            "endTimeUnixNano" | "end_time_unix_nano" => {
                span.end_time = value.unsigned()?.unwrap_or_default();
                8
            }
            "attributes" => {
                walk.attributes(value)?;
                9
            }
            "droppedAttributesCount" | "dropped_attributes_count" => value.small_unsigned().map(|_| 10)?,
            "events" => {
                value.objects(&mut Event { limits: &walk.limits, spans, name: "", time: 0, first: 0 })?;
                11
            }
            "droppedEventsCount" | "dropped_events_count" => value.small_unsigned().map(|_| 12)?,
            "links" => {
                value.objects(&mut LinkReading {
                    limits: &walk.limits,
                    spans,
                    trace_id: &[],
                    span_id: &[],
                    first: 0,
                })?;
                13
            }
            "droppedLinksCount" | "dropped_links_count" => value.small_unsigned().map(|_| 14)?,
            "status" => value.object(&mut Status { span }).map(|_| 15)?,
            "flags" => value.small_unsigned().map(|_| 16)?,
            _ => value.skip()?,
        })
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let walk = &mut *self.walk;
        walk.count()?;
        let span = Span {
            plain: self.span,
            attributes: &walk.attributes,
            events: &self.spans.events,
            event_attributes: &self.spans.event_attributes,
            links: &self.spans.links,
            link_attributes: &self.spans.link_attributes,
        };
        walk.rows.record(&walk.resource, &walk.scope, &span).map(drop)
    }
}

/// An event that is being read.
struct Event<'w, 'b> {
    limits: &'w DecodeLimits,
    spans: &'w mut Spans<'b>,
    name: &'b str,
    time: u64,
    /// Number of its first attribute.
    first: usize,
}

impl<'b> Object<'b> for Event<'_, 'b> {
    const WHAT: &'static str = "a Span.Event";

    fn begin(&mut self) {
        (self.name, self.time, self.first) = ("", 0, self.spans.event_attributes.len());
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        Ok(match name {
            "timeUnixNano" | "time_unix_nano" => {
                self.time = value.unsigned()?.unwrap_or_default();
                1
            }
            "name" => {
                self.name = value.text()?.unwrap_or_default();
                2
            }
            "attributes" => {
                shared_attributes(
                    value,
                    &mut self.spans.event_attributes,
                    self.limits,
                    "attributes of one span's events",
                )?;
                3
            }
            "droppedAttributesCount" | "dropped_attributes_count" => value.small_unsigned().map(|_| 4)?,
            _ => value.skip()?,
        })
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let attributes = self.first..self.spans.event_attributes.len();
        let event = SpanEvent { name: self.name, time: self.time, attributes };
        keep_within(&mut self.spans.events, event, self.limits.elements);
        Ok(())
    }
}

/// A link that is being read.
struct LinkReading<'w, 'b> {
    limits: &'w DecodeLimits,
    spans: &'w mut Spans<'b>,
    trace_id: &'b [u8],
    span_id: &'b [u8],
    /// Number of its first attribute.
    first: usize,
}

impl<'b> Object<'b> for LinkReading<'_, 'b> {
    const WHAT: &'static str = "a Span.Link";

    fn begin(&mut self) {
        (self.trace_id, self.span_id, self.first) = (&[], &[], self.spans.link_attributes.len());
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        Ok(match name {
            "traceId" | "trace_id" => {
                self.trace_id = value.hex()?;
                1
            }
            "spanId" | "span_id" => {
                self.span_id = value.hex()?;
                2
            }
            "traceState" | "trace_state" => value.text().map(|_| 3)?,
            "attributes" => {
                shared_attributes(
                    value,
                    &mut self.spans.link_attributes,
                    self.limits,
                    "attributes of one span's links",
                )?;
                4
            }
            "droppedAttributesCount" | "dropped_attributes_count" => value.small_unsigned().map(|_| 5)?,
            "flags" => value.small_unsigned().map(|_| 6)?,
            _ => value.skip()?,
        })
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let attributes = self.first..self.spans.link_attributes.len();
        let link = Link { trace_id: self.trace_id, span_id: self.span_id, attributes };
        keep_within(&mut self.spans.links, link, self.limits.elements);
        Ok(())
    }
}

struct Status<'w, 'b> {
    span: &'w mut Plain<'b>,
}

impl<'b> Object<'b> for Status<'_, 'b> {
    const WHAT: &'static str = "a Status";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        Ok(match name {
            "message" => {
                self.span.status_message = value.text()?.unwrap_or_default();
                2
            }
            "code" => {
                self.span.status_code = value.enumeration(&STATUS_CODES)?;
                3
            }
            _ => value.skip()?,
        })
    }
}

/// Reads attributes of one of a span's events or links, all of which share a limit.
fn shared_attributes<'b, A: MapAccess<'b>>(
    value: Member<'_, 'b, A>,
    into: &mut Vec<Pair<'b>>,
    limits: &DecodeLimits,
    what: &'static str,
) -> Result<(), A::Error> {
    let most = limits.attributes.saturating_mul(PART_TIMES);
    value.objects(&mut Pairs::new(Nesting::new(limits), |key, value| push_within(into, (key, value), most, what)))
}
