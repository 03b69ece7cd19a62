//! Events of the protocols beside OTLP: a name, a time, an id, and attributes that are any JSON.

use std::fmt::Arguments;

use candor_policy::catalogue::{Place, Signal};
use candor_policy::key_index::KeyIndex;
use candor_policy::times;
use serde::de::MapAccess;

use crate::identified::{EventIds, Identified};
use crate::json::{Json, Member};
use crate::otlp::rows::{Attribute, Record, Rows, Scope};
use crate::otlp::value::Value;
use crate::otlp::{DecodeError, DecodeLimits, push_within};

/// One event.
pub(crate) struct Event<'r, 'b> {
    pub(crate) name: &'b str,
    /// µs UTC.
    pub(crate) time: Option<i64>,
    pub(crate) attributes: &'r [Attribute<'b, Json<'b>>],
    /// Attributes that every event of the protocol has, so that they are not undeclared where no field takes them.
    pub(crate) known: &'static [&'static str],
}

/// The events of a request so far.
pub(crate) struct Events<'k> {
    rows: Rows<'k>,
    ids: EventIds,
    records: usize,
    limits: DecodeLimits,
}

/// The attributes of the event that is being read.
pub(crate) struct Attributes<'b> {
    pub(crate) pairs: Vec<Attribute<'b, Json<'b>>>,
    limit: usize,
}

impl<'k> Events<'k> {
    pub(crate) fn new(keys: &'k KeyIndex, limits: &DecodeLimits) -> Self {
        Self { rows: Rows::new(keys, limits), ids: EventIds::default(), records: 0, limits: *limits }
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: &Event<'_, '_>, id: Option<Arguments<'_>>) -> Result<(), DecodeError> {
        self.records += 1;
        if self.records > self.limits.records {
            return Err(DecodeError::TooMany { what: "records", limit: self.limits.records });
        }
        if let Some(stream) = self.rows.record(&[], &Scope::default(), event)? {
            self.ids.push(stream, id);
        }
        Ok(())
    }

    /// All events.
    pub(crate) fn finish(self) -> Identified {
        self.ids.finish(self.rows.finish())
    }

    pub(crate) const fn limits(&self) -> &DecodeLimits {
        &self.limits
    }
}

impl<'b> Attributes<'b> {
    pub(crate) const fn new(limits: &DecodeLimits) -> Self {
        Self { pairs: Vec::new(), limit: limits.attributes }
    }

    /// Adds a member as an attribute, unless it is null.
    pub(crate) fn member<A: MapAccess<'b>>(
        &mut self,
        name: &'b str,
        value: Member<'_, 'b, A>,
    ) -> Result<Value<'b, Json<'b>>, A::Error> {
        let context = value.context;
        let Some(text) = value.raw()? else { return Ok(Value::Absent) };
        let value = context.value(text).and_then(|value| self.push(name, value).map(|()| value));
        value.map_err(|error| context.fail(error))
    }

    /// Adds an attribute.
    pub(crate) fn push(&mut self, name: &'b str, value: Value<'b, Json<'b>>) -> Result<(), DecodeError> {
        push_within(&mut self.pairs, (name, value), self.limit, "attributes of one record")
    }
}

impl<'b> Record<'b, Json<'b>> for Event<'_, 'b> {
    const SIGNAL: Signal = Signal::Logs;

    fn name(&self) -> &'b str {
        self.name
    }

    fn microseconds(&self) -> Option<i64> {
        self.time.filter(|time| times::holds(*time))
    }

    fn attributes(&self) -> &[Attribute<'b, Json<'b>>] {
        self.attributes
    }

    fn known(&self) -> &'static [&'static str] {
        self.known
    }

    fn value(&self, _place: Place) -> Value<'b, Json<'b>> {
        Value::Absent
    }
}

/// The text that a value is; nothing for a value of another kind.
pub(crate) fn text<'b, N>(value: &Value<'b, N>) -> &'b str {
    if let Value::Text(text) = value { text.as_str() } else { "" }
}
