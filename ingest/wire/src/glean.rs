//! Pings of Mozilla's Glean SDK (`POST /submit/APP/PING/1/UUID`): one record a ping.
//!
//! The event is named `APP.PING` as the path has them: `org-example-hub.baseline`. Its attributes are the ping's JSON
//! under its own nesting: `attributes.client_info.os`, `attributes.metrics.string.search.default_engine`. The entries of
//! `events` are no records of their own. Its time is `ping_info.end_time`, down to the precision that the ping was
//! declared with; its id is the UUID of the path, which the SDK makes for each ping and repeats when it sends it again.

use bumpalo::Bump;
use candor_policy::key_index::KeyIndex;
use serde::de::MapAccess;

use crate::event::{Attributes, Event, Events, text};
use crate::identified::Identified;
use crate::json::{Context, Json, Member, Object};
use crate::otlp::value::{KeyValues, Value, rfc3339_microseconds, subject_text};
use crate::otlp::{DecodeError, DecodeLimits};

/// What the path of a submission says.
#[derive(Clone, Copy)]
pub struct Submission<'p> {
    /// Id of the application: `org-example-hub`.
    pub app: &'p str,
    /// Name of the ping: `baseline`.
    pub ping: &'p str,
    /// UUID of the ping.
    pub document_id: &'p str,
}

/// Decodes a ping.
///
/// # Errors
/// [`DecodeError`] for what is not a JSON object, and for the limits.
pub fn decode_ping(
    submission: Submission<'_>,
    body: &[u8],
    keys: &KeyIndex,
    limits: &DecodeLimits,
) -> Result<Identified, DecodeError> {
    let arena = Bump::new();
    let context = Context::new(body, &arena)?;
    let mut ping = Ping { attributes: Attributes::new(limits), ping_info: Value::Absent };
    context.object(context.text(), &mut ping)?;
    let name: &str = arena.alloc_str(&format!("{}.{}", submission.app, submission.ping));
    let event = Event { name, time: end_time(&ping.ping_info)?, attributes: &ping.attributes.pairs, known: &[] };
    let mut events = Events::new(keys, limits);
    events.push(&event, Some(format_args!("{}", submission.document_id)))?;
    Ok(events.finish())
}

/// The value at a key of a ping's attributes, if it can name a subject: for pings that are about a subject whether their
/// event is declared or not.
///
/// # Errors
/// As [`decode_ping`].
pub fn subject(body: &[u8], key: &str, limits: &DecodeLimits) -> Result<Option<String>, DecodeError> {
    let arena = Bump::new();
    let context = Context::new(body, &arena)?;
    let mut ping = Ping { attributes: Attributes::new(limits), ping_info: Value::Absent };
    context.object(context.text(), &mut ping)?;
    let pairs = &ping.attributes.pairs;
    if let Some((_, value)) = pairs.iter().find(|(name, _)| *name == key) {
        return Ok(subject_text(value));
    }
    let mut found = None;
    for (name, value) in pairs {
        found = found.or(inside(name, value, key)?);
    }
    Ok(found)
}

impl std::fmt::Debug for Submission<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Submission")
    }
}

/// A ping that is being read.
struct Ping<'b> {
    attributes: Attributes<'b>,
    ping_info: Value<'b, Json<'b>>,
}

impl<'b> Object<'b> for Ping<'b> {
    const WHAT: &'static str = "a ping";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let value = self.attributes.member(name, value)?;
        if name != "ping_info" {
            return Ok(0);
        }
        self.ping_info = value;
        Ok(1)
    }
}

/// What stands at a key inside the object that has this name, the first if there are several.
fn inside(name: &str, value: &Value<'_, Json<'_>>, key: &str) -> Result<Option<String>, DecodeError> {
    let Some(rest) = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else { return Ok(None) };
    let Value::List(members) = value else { return Ok(None) };
    let mut found = None;
    members.each(&mut |name, value| {
        if found.is_none() {
            found = if name == rest { subject_text(&value) } else { inside(name, &value, rest)? };
        }
        Ok(())
    })?;
    Ok(found)
}

fn end_time(ping_info: &Value<'_, Json<'_>>) -> Result<Option<i64>, DecodeError> {
    let mut time = None;
    if let Value::List(members) = ping_info {
        members.each(&mut |name, value| {
            if name == "end_time" {
                time = time.or_else(|| microseconds(text(&value)));
            }
            Ok(())
        })?;
    }
    Ok(time)
}

/// A time of Glean's: RFC 3339, or that cut off after its minutes, hours or days, with the zone behind; some of its
/// implementations have a space for the `T`.
fn microseconds(time: &str) -> Option<i64> {
    let zone = time.len().checked_sub(6).filter(|at| time.as_bytes()[*at + 3] == b':');
    let (local, zone) = match zone {
        Some(at) => time.split_at_checked(at)?,
        None => time.split_at_checked(time.len().checked_sub(1)?)?,
    };
    let rest = match local.len() {
        10 => "T00:00:00",
        13 => ":00:00",
        16 => ":00",
        _ => "",
    };
    let (date, clock) = local.split_at_checked(10)?;
    let clock = clock.replacen(' ', "T", 1);
    rfc3339_microseconds(&format!("{date}{clock}{rest}{zone}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_precision_of_glean_are_read() {
        const DAY: i64 = 1_795_305_600_000_000;
        const HOUR: i64 = 3_600_000_000;
        for (time, expected) in [
            ("2026-11-22T17:21:31.150+00:00", Some(DAY + 17 * HOUR + 1_291_150_000)),
            ("2026-11-22T17:21:31+00:00", Some(DAY + 17 * HOUR + 1_291_000_000)),
            ("2026-11-22T17:21+00:00", Some(DAY + 17 * HOUR + 1_260_000_000)),
            ("2026-11-22T17:00+01:00", Some(DAY + 16 * HOUR)),
            ("2026-11-22T17+00:00", Some(DAY + 17 * HOUR)),
            ("2026-11-22+00:00", Some(DAY)),
            ("2026-11-22-01:00", Some(DAY + HOUR)),
            ("2026-11-22 17:21:31-04:25", Some(DAY + 17 * HOUR + 1_291_000_000 + 15_900_000_000)),
            ("2026-11-22T17:21Z", Some(DAY + 17 * HOUR + 1_260_000_000)),
            ("2026-11-22", None),
            ("2026-11-22T17:21", None),
            ("yesterday", None),
            ("", None),
            ("\u{e4}\u{e4}\u{e4}:\u{e4}", None),
        ] {
            assert_eq!(microseconds(time), expected, "{time}");
        }
    }
}
