//! CloudEvents 1.0 (cloudevents.io): the JSON format, single and in batches, and the binary mode of its HTTP binding.
//!
//! An event's name is its `type`, its time its `time`; a time that is not RFC 3339 is no time. Its attributes are the context
//! attributes, extensions included (`attributes.source`, `attributes.subject`), and the members of its data
//! (`attributes.data.order.id`). Data of a `text/*` type in UTF-8 is text; data that is neither is there, but no field
//! takes it. What every event must have does not count as undeclared where no field takes it. In binary mode an extension is a header, which has no type: a field
//! takes the integer, boolean or time that it is in canonical form ("Type System").
//!
//! Producers must give distinct events distinct pairs of `source` and `id`, so both make the event's id here:
//! the length of the source in bytes, a colon, the source, the id.

mod media_type;

use bumpalo::Bump;
use candor_policy::key_index::KeyIndex;
use serde::de::MapAccess;

use crate::event::{Attributes, Event, Events};
use crate::identified::Identified;
use crate::json::{Context, Member, Object, is_base64, missing};
use crate::otlp::value::{Value, rfc3339_microseconds};
use crate::otlp::{DecodeError, DecodeLimits};
use media_type::is_json;

/// What begins the names of headers that are context attributes.
const PREFIX: &str = "ce-";

/// Attributes that do not count as undeclared.
const KNOWN: [&str; 6] = ["specversion", "id", "source", "type", "time", "datacontenttype"];

/// Attributes of the specification, which are text whatever they spell.
const TEXTS: [&str; 8] = ["specversion", "id", "source", "type", "time", "subject", "dataschema", "datacontenttype"];

/// Decodes one event in the JSON format (`application/cloudevents+json`).
///
/// # Errors
/// [`DecodeError`] for what is not such an event, and for the limits.
pub fn decode_structured(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Identified, DecodeError> {
    let arena = Bump::new();
    let context = Context::new(body, &arena)?;
    let mut events = Events::new(keys, limits);
    context.object(context.text(), &mut Reading::new(&mut events))?;
    Ok(events.finish())
}

/// Decodes an array of events in the JSON format (`application/cloudevents-batch+json`).
///
/// # Errors
/// As [`decode_structured`].
pub fn decode_batch(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Identified, DecodeError> {
    let arena = Bump::new();
    let context = Context::new(body, &arena)?;
    let mut events = Events::new(keys, limits);
    context.objects(context.text(), &mut Reading::new(&mut events))?;
    Ok(events.finish())
}

/// Decodes one event in binary mode: context attributes in `headers` (those that begin with `ce-`, whatever their case,
/// and `content-type`; others are passed over), data in `body`.
///
/// The data of an event without a content type is JSON if it can be read as such: some producers send none.
///
/// # Errors
/// As [`decode_structured`]; an error in a header is placed at byte 0.
pub fn decode_binary(
    headers: &[(&str, &str)],
    body: &[u8],
    keys: &KeyIndex,
    limits: &DecodeLimits,
) -> Result<Identified, DecodeError> {
    let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.map(|(_, value)| *value);
    let arena = Bump::new();
    let is_json = content_type.is_none_or(is_json) && !body.is_empty();
    let checked = Context::new(if is_json { body } else { b"" }, &arena);
    let (context, is_json) = match checked {
        Ok(context) => (context, is_json),
        Err(error) if content_type.is_some() => return Err(error),
        Err(_) => (Context::new(b"", &arena)?, false),
    };
    let mut events = Events::new(keys, limits);
    let mut reading = Reading::new(&mut events);
    for (name, value) in headers {
        let attribute = name.get(..PREFIX.len()).filter(|prefix| prefix.eq_ignore_ascii_case(PREFIX));
        if attribute.is_some() {
            let name = arena.alloc_str(&name[PREFIX.len()..]);
            name.make_ascii_lowercase();
            let text = header_text(value, &arena).ok_or(unplaced("a header in percent-encoded UTF-8"))?;
            if TEXTS.contains(&&*name) {
                reading.context_attribute(name, text)?;
            } else {
                reading.attributes.push(name, Value::Spelled(text.into()))?;
            }
        }
    }
    if let Some(content_type) = content_type {
        reading.context_attribute("datacontenttype", content_type)?;
    }
    let data = match is_json.then(|| context.checked(context.text())) {
        Some(Ok(text)) => context.value(text)?,
        Some(Err(error)) if content_type.is_some() => return Err(error),
        _ if body.is_empty() => Value::Absent,
        _ => {
            let text = content_type.and_then(|kind| media_type::text(kind, body));
            text.map_or(Value::Other, |text| Value::Text(text.into()))
        }
    };
    if !matches!(data, Value::Absent) {
        reading.attributes.push("data", data)?;
    }
    reading.finish().map_err(|error| match error {
        DecodeError::Expected { what, .. } => unplaced(what),
        other => other,
    })?;
    Ok(events.finish())
}

/// An event that is being read.
struct Reading<'w, 'b, 'k> {
    events: &'w mut Events<'k>,
    attributes: Attributes<'b>,
    required: Required<'b>,
    time: &'b str,
}

/// What every event must have.
#[derive(Default)]
struct Required<'b> {
    specversion: &'b str,
    id: &'b str,
    source: &'b str,
    name: &'b str,
}

impl<'w, 'b, 'k> Reading<'w, 'b, 'k> {
    fn new(events: &'w mut Events<'k>) -> Self {
        let attributes = Attributes::new(events.limits());
        Self { events, attributes, required: Required::default(), time: "" }
    }

    /// Takes a context attribute that is text, and says which one it is.
    fn context_attribute(&mut self, name: &'b str, text: &'b str) -> Result<u32, DecodeError> {
        let (place, field) = match name {
            "specversion" => (&mut self.required.specversion, 1),
            "id" => (&mut self.required.id, 2),
            "source" => (&mut self.required.source, 3),
            "type" => (&mut self.required.name, 4),
            "time" => (&mut self.time, 5),
            _ => return self.attributes.push(name, Value::Text(text.into())).map(|()| 0),
        };
        *place = text;
        self.attributes.push(name, Value::Text(text.into())).map(|()| field)
    }

    fn finish(&mut self) -> Result<(), DecodeError> {
        let Required { specversion, id, source, name } = self.required;
        for (found, what) in [
            (specversion == "1.0", "an event whose specversion is 1.0"),
            (!id.is_empty(), "an event with an id"),
            (!source.is_empty(), "an event with a source"),
            (!name.is_empty(), "an event with a type"),
        ] {
            if !found {
                return Err(missing(what));
            }
        }
        let time = rfc3339_microseconds(self.time);
        let event = Event { name, time, attributes: &self.attributes.pairs, known: &KNOWN };
        self.events.push(&event, Some(format_args!("{}:{source}{id}", source.len())))
    }
}

impl<'b> Object<'b> for Reading<'_, 'b, '_> {
    const WHAT: &'static str = "a CloudEvent";

    fn begin(&mut self) {
        self.attributes.pairs.clear();
        (self.required, self.time) = (Required::default(), "");
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let context = value.context;
        match name {
            "specversion" | "id" | "source" | "type" | "time" => {
                let Some(text) = value.text()? else { return Ok(0) };
                self.context_attribute(name, text).map_err(|error| context.fail(error))
            }
            "data" => self.attributes.member(name, value).map(|_| 6),
            "data_base64" => {
                if value.checked_text("base64", is_base64)?.is_some() {
                    self.attributes.push("data", Value::Other).map_err(|error| context.fail(error))?;
                }
                Ok(6)
            }
            _ => self.attributes.member(name, value).map(|_| 0),
        }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        self.finish()
    }
}

fn unplaced(what: &'static str) -> DecodeError {
    DecodeError::Expected { what, offset: 0 }
}

/// The text of a header (CloudEvents HTTP binding, 3.1.3.2): quotes come off, then percent-encoding.
fn header_text<'b>(value: &'b str, arena: &'b Bump) -> Option<&'b str> {
    if !value.contains(['%', '"']) {
        return Some(value);
    }
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut bytes = quoted.unwrap_or(value).bytes();
    let mut plain = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' if quoted.is_some() => bytes.next()?,
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            byte => byte,
        });
    }
    Some(arena.alloc_str(simdutf8::basic::from_utf8(&plain).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_unquoted_and_percent_decoded() {
        let arena = Bump::new();
        for (value, expected) in [
            ("plain", Some("plain")),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro \u{20ac} \u{1f600}")),
            ("\"a\\\"b %41\"", Some("a\"b A")),
            ("50%", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
            ("a\"b", Some("a\"b")),
            ("\"", Some("\"")),
            ("\"a\\\"", None),
        ] {
            assert_eq!(header_text(value, &arena), expected, "{value}");
        }
    }
}
