//! What a log record says, whatever it was encoded in.

use candor_policy::catalogue::{Place, Signal};

use super::rows::{Attribute, Record, microseconds};
use super::value::Value;

/// Names the event of a record whose `event_name` is empty.
const EVENT_NAME: &str = "event.name";

/// A log record; `'v` is where its values live.
pub(super) struct LogRecord<'r, 'v, N> {
    pub(super) event_name: &'v str,
    /// Nanoseconds; 0 where the client sent none.
    pub(super) time: u64,
    /// When a collector saw it, in nanoseconds; 0 where none did.
    pub(super) observed_time: u64,
    /// 0 where there is none.
    pub(super) severity_number: i32,
    pub(super) severity_text: &'v str,
    pub(super) trace_id: &'v [u8],
    pub(super) span_id: &'v [u8],
    pub(super) body: Value<'v, N>,
    pub(super) attributes: &'r [Attribute<'v, N>],
}

impl<'v, N: Copy> Record<'v, N> for LogRecord<'_, 'v, N> {
    const SIGNAL: Signal = Signal::Logs;

    fn name(&self) -> &'v str {
        if !self.event_name.is_empty() {
            return self.event_name;
        }
        match self.attributes.iter().find(|(key, _)| *key == EVENT_NAME) {
            Some((_, Value::Text(name))) => name.as_str(),
            _ => "",
        }
    }

    fn microseconds(&self) -> Option<i64> {
        microseconds(self.time).or_else(|| microseconds(self.observed_time))
    }

    fn attributes(&self) -> &[Attribute<'v, N>] {
        self.attributes
    }

    fn known(&self) -> &'static [&'static str] {
        &[EVENT_NAME]
    }

    fn value(&self, place: Place) -> Value<'v, N> {
        match place {
            Place::Body => self.body,
            Place::SeverityNumber if self.severity_number != 0 => Value::Int(i64::from(self.severity_number)),
            Place::SeverityText => Value::text(self.severity_text),
            Place::ObservedTime => Value::time(self.observed_time),
            Place::TraceId => Value::id(self.trace_id),
            Place::SpanId => Value::id(self.span_id),
            _ => Value::Absent,
        }
    }
}
