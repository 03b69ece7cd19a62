//! Segment's HTTP API (`POST /v1/batch`): one record a message.
//!
//! The event is named by the message's `event` for `track`, and by its `type` for every other message: `identify`, `page`,
//! `screen`, `group`, `alias`. Its attributes are the message's members under their own nesting: `attributes.userId`,
//! `attributes.properties.plan`, `attributes.context.ip`. Its time is `timestamp`; one that is not RFC 3339 is no time.
//! Its id is `messageId`, which libraries make for each message and repeat when they send it again. What every message
//! has does not count as undeclared where no field takes it. The rest of the batch, `writeKey` included, is passed over.

use bumpalo::Bump;
use candor_policy::key_index::KeyIndex;
use serde::de::MapAccess;

use crate::event::{Attributes, Event, Events, text};
use crate::identified::Identified;
use crate::json::{Context, Member, Object, missing};
use crate::otlp::value::rfc3339_microseconds;
use crate::otlp::{DecodeError, DecodeLimits};

/// Attributes that do not count as undeclared.
const KNOWN: [&str; 4] = ["type", "event", "messageId", "timestamp"];

/// Decodes a batch.
///
/// # Errors
/// [`DecodeError`] for what is not an object with a `batch` of messages, and for the limits.
pub fn decode_batch(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Identified, DecodeError> {
    let arena = Bump::new();
    let context = Context::new(body, &arena)?;
    let mut events = Events::new(keys, limits);
    context.object(context.text(), &mut Batch { events: &mut events, is_there: false })?;
    Ok(events.finish())
}

struct Batch<'w, 'k> {
    events: &'w mut Events<'k>,
    is_there: bool,
}

impl<'b> Object<'b> for Batch<'_, '_> {
    const WHAT: &'static str = "an object with a batch";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        if name != "batch" {
            return value.skip();
        }
        self.is_there = true;
        let attributes = Attributes::new(self.events.limits());
        value.objects(&mut Message { events: self.events, attributes, plain: Plain::default() }).map(|()| 1)
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        if self.is_there { Ok(()) } else { Err(missing(Self::WHAT)) }
    }
}

/// A message that is being read.
struct Message<'w, 'b, 'k> {
    events: &'w mut Events<'k>,
    attributes: Attributes<'b>,
    plain: Plain<'b>,
}

#[derive(Clone, Copy, Default)]
struct Plain<'b> {
    kind: &'b str,
    event: &'b str,
    message_id: &'b str,
    timestamp: &'b str,
}

impl<'b> Object<'b> for Message<'_, 'b, '_> {
    const WHAT: &'static str = "a message";

    fn begin(&mut self) {
        self.attributes.pairs.clear();
        self.plain = Plain::default();
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let value = self.attributes.member(name, value)?;
        let (place, field) = match name {
            "type" => (&mut self.plain.kind, 1),
            "event" => (&mut self.plain.event, 2),
            "messageId" => (&mut self.plain.message_id, 3),
            "timestamp" => (&mut self.plain.timestamp, 4),
            _ => return Ok(0),
        };
        *place = text(&value);
        Ok(field)
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let Plain { kind, event, message_id, timestamp } = self.plain;
        let name = if kind == "track" { event } else { kind };
        let time = rfc3339_microseconds(timestamp);
        let event = Event { name, time, attributes: &self.attributes.pairs, known: &KNOWN };
        self.events.push(&event, (!message_id.is_empty()).then_some(format_args!("{message_id}")))
    }
}
