//! What a span says, whatever it was encoded in.

use std::ops::Range;

use candor_policy::catalogue::{Place, Signal};

use super::column::NewList;
use super::rows::{Attribute, Part, Record, microseconds};
use super::value::Value;

/// How many times the limit on a record's attributes all of its events may have, and all of its links.
pub(super) const PART_TIMES: usize = 16;

/// A span; `'v` is where its values live.
pub(super) struct Span<'r, 'v, N> {
    pub(super) plain: Plain<'v>,
    pub(super) attributes: &'r [Attribute<'v, N>],
    pub(super) events: &'r [SpanEvent<'v>],
    /// Attributes of all events, in order.
    pub(super) event_attributes: &'r [Attribute<'v, N>],
    pub(super) links: &'r [Link<'v>],
    /// Attributes of all links, in order.
    pub(super) link_attributes: &'r [Attribute<'v, N>],
}

/// What a span has once.
#[derive(Clone, Copy, Default)]
pub(super) struct Plain<'v> {
    pub(super) name: &'v str,
    pub(super) trace_id: &'v [u8],
    pub(super) span_id: &'v [u8],
    pub(super) parent_span_id: &'v [u8],
    pub(super) trace_state: &'v str,
    /// `SpanKind`.
    pub(super) kind: i32,
    /// Nanoseconds; 0 where the client sent none.
    pub(super) start_time: u64,
    /// As `start_time`.
    pub(super) end_time: u64,
    /// `StatusCode`.
    pub(super) status_code: i32,
    pub(super) status_message: &'v str,
}

/// An event of a span.
#[derive(Clone)]
pub(super) struct SpanEvent<'v> {
    pub(super) name: &'v str,
    /// Nanoseconds; 0 where the client sent none.
    pub(super) time: u64,
    /// Which of the span's `event_attributes` are its own.
    pub(super) attributes: Range<usize>,
}

/// A link of a span.
#[derive(Clone)]
pub(super) struct Link<'v> {
    pub(super) trace_id: &'v [u8],
    pub(super) span_id: &'v [u8],
    /// Which of the span's `link_attributes` are its own.
    pub(super) attributes: Range<usize>,
}

impl<'v, N: Copy> Record<'v, N> for Span<'_, 'v, N> {
    const SIGNAL: Signal = Signal::Traces;

    fn name(&self) -> &'v str {
        self.plain.name
    }

    fn microseconds(&self) -> Option<i64> {
        microseconds(self.plain.start_time)
    }

    fn attributes(&self) -> &[Attribute<'v, N>] {
        self.attributes
    }

    fn value(&self, place: Place) -> Value<'v, N> {
        match place {
            Place::TraceId => Value::id(self.plain.trace_id),
            Place::SpanId => Value::id(self.plain.span_id),
            Place::ParentSpanId => Value::id(self.plain.parent_span_id),
            Place::TraceState => Value::text(self.plain.trace_state),
            Place::Kind => match self.plain.kind {
                1 => Value::text("internal"),
                2 => Value::text("server"),
                3 => Value::text("client"),
                4 => Value::text("producer"),
                5 => Value::text("consumer"),
                _ => Value::Absent,
            },
            Place::StatusCode => match self.plain.status_code {
                1 => Value::text("ok"),
                2 => Value::text("error"),
                _ => Value::Absent,
            },
            Place::StatusMessage => Value::text(self.plain.status_message),
            Place::EndTime => Value::time(self.plain.end_time),
            Place::DurationNs => self.plain.duration().map_or(Value::Absent, Value::Int),
            _ => Value::Absent,
        }
    }

    fn elements(&self, place: Place, list: &mut NewList<'_>) {
        let mut push = |value: Value<'v, N>| _ = list.push(&value);
        match place {
            Place::SpanEventsName => self.events.iter().for_each(|event| push(Value::text(event.name))),
            Place::SpanEventsTime => self.events.iter().for_each(|event| push(Value::time(event.time))),
            Place::LinksTraceId => self.links.iter().for_each(|link| push(Value::id(link.trace_id))),
            Place::LinksSpanId => self.links.iter().for_each(|link| push(Value::id(link.span_id))),
            _ => {}
        }
    }

    fn parts(&self, part: Part) -> usize {
        match part {
            Part::Event => self.events.len(),
            Part::Link => self.links.len(),
        }
    }

    fn part_attributes(&self, part: Part, number: usize) -> &[Attribute<'v, N>] {
        let (attributes, own) = match part {
            Part::Event => (self.event_attributes, self.events.get(number).map(|event| event.attributes.clone())),
            Part::Link => (self.link_attributes, self.links.get(number).map(|link| link.attributes.clone())),
        };
        own.and_then(|own| attributes.get(own)).unwrap_or_default()
    }
}

impl Plain<'_> {
    /// From start to end, below zero if the clock was set back in between; none where the client did not say both.
    fn duration(&self) -> Option<i64> {
        if self.start_time == 0 || self.end_time == 0 {
            return None;
        }
        i64::try_from(i128::from(self.end_time) - i128::from(self.start_time)).ok()
    }
}
