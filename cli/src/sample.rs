//! One event to explain: a request as a device would send it, and what the decoder makes of it.

use std::collections::BTreeMap;

use candor_agent::encode::request_body;
use candor_agent::event::{Event, EventLimits};
use candor_policy::batch::{RawColumn, RawGroup, Received};
use candor_policy::catalogue::{FieldType, Signal, Stream};
use candor_policy::key_index::KeyIndex;
use candor_policy::plan::Plan;
use candor_wire::otlp::{DecodeError, DecodeLimits, json, protobuf};
use serde_json::{Value, json};

use crate::cells;

/// Requests of OTLP by signal: names of the members that hold the resources, their scopes, and the items of those.
const REQUESTS: [(Signal, [&str; 3]); 3] = [
    (Signal::Logs, ["resourceLogs", "scopeLogs", "logRecords"]),
    (Signal::Metrics, ["resourceMetrics", "scopeMetrics", "metrics"]),
    (Signal::Traces, ["resourceSpans", "scopeSpans", "spans"]),
];

/// A request with one record. It holds raw values: its `Debug` says how much there is.
pub(crate) struct Request {
    signal: Signal,
    name: String,
    body: Vec<u8>,
    json: bool,
}

/// What a request holds for the one event in it.
#[derive(Default)]
pub(crate) struct Came {
    /// Catalogue column, or `time` → value; what is absent is null.
    pub(crate) values: BTreeMap<String, Value>,
    /// Columns with a value of another type than the declared one.
    pub(crate) bad: Vec<String>,
    /// Whether the catalogue has the event: only then is the rest looked at.
    pub(crate) declared: bool,
    /// Value of the attribute that gives the jurisdiction.
    pub(crate) jurisdiction: Option<String>,
    pub(crate) gpc: bool,
}

impl Request {
    /// The request that an agent sends for an event.
    pub(crate) fn of_event(event: &Event) -> Self {
        let body = request_body(std::slice::from_ref(event));
        Self { signal: Signal::Logs, name: event.name.clone(), body, json: false }
    }

    /// An event as people write it, or a request of OTLP in JSON.
    ///
    /// # Errors
    /// What is wrong with it, without any value of it.
    pub(crate) fn parse(text: &str, limits: &EventLimits) -> Result<Self, String> {
        if text.len() > limits.line_bytes {
            return Err(format!("it is longer than {} bytes", limits.line_bytes));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|e| format!("it is not valid JSON (line {}, column {})", e.line(), e.column()))?;
        match REQUESTS.iter().find(|(_, names)| member(&value, names[0]).is_some()) {
            None => Event::parse(text, limits).map(|event| Self::of_event(&event)),
            Some((signal, names)) => {
                let name = name(&value, names).unwrap_or_default();
                Ok(Self { signal: *signal, name, body: text.as_bytes().to_vec(), json: true })
            }
        }
    }

    pub(crate) const fn signal(&self) -> Signal {
        self.signal
    }

    /// Full name of the event.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a service would make of it.
    ///
    /// # Errors
    /// The decoder's.
    pub(crate) fn decode(&self, keys: &KeyIndex) -> Result<Received, DecodeError> {
        let decode = match (self.signal, self.json) {
            (Signal::Logs, false) => protobuf::decode_logs,
            (Signal::Metrics, false) => protobuf::decode_metrics,
            (Signal::Traces, false) => protobuf::decode_traces,
            (Signal::Logs, true) => json::decode_logs,
            (Signal::Metrics, true) => json::decode_metrics,
            (Signal::Traces, true) => json::decode_traces,
        };
        decode(&self.body, keys, &DecodeLimits::default())
    }

    /// What it holds, read by the decoder itself. A record with a bad value is left out by it, so fields with bad values are
    /// taken out of the index until the record stays.
    ///
    /// # Errors
    /// The decoder's.
    pub(crate) fn came(&self, plan: &Plan, mut keys: KeyIndex) -> Result<Came, DecodeError> {
        let mut came = Came::default();
        loop {
            let received = self.decode(&keys)?;
            if let Some(group) = received.groups().first() {
                came.declared = true;
                let stream = plan.catalogue().streams.get(usize::from(group.stream));
                came.take(group, stream.map(|stream| (stream, event_fields(stream, group))));
                return Ok(came);
            }
            let Some((stream, field, _)) = received.tally().bad_fields.first().copied() else { return Ok(came) };
            let declared = plan.catalogue().streams.get(usize::from(stream));
            let Some(declared) = declared.and_then(|stream| stream.fields.get(usize::from(field))) else {
                return Ok(came);
            };
            if came.bad.contains(&declared.column) {
                return Ok(came);
            }
            came.bad.push(declared.column.clone());
            keys = keys.without(stream, field);
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({}, {} bytes)", self.signal.name(), self.body.len())
    }
}

impl Came {
    /// The first row of a group, as far as its event may carry it.
    fn take(&mut self, group: &RawGroup, stream: Option<(&Stream, &[u16])>) {
        self.jurisdiction = cell(&group.jurisdiction, group).as_str().map(str::to_owned);
        self.gpc = cell(&group.gpc, group) == json!(true);
        let time = group.time.iter().next().flatten().and_then(|time| jiff::Timestamp::from_microsecond(time).ok());
        self.values.insert("time".to_owned(), json!(time.map(|time| time.to_string())));
        let Some((stream, fields)) = stream else { return };
        for number in fields {
            let at = usize::from(*number);
            let (Some(field), Some(column)) = (stream.fields.get(at), group.columns.get(at)) else { continue };
            let value = match (cell(column, group), field.kind) {
                (Value::Array(halves), FieldType::Position) => {
                    json!({ "lat": halves.first(), "lon": halves.get(1) })
                }
                (value, _) => value,
            };
            self.values.insert(field.column.clone(), value);
        }
    }
}

/// The fields that the event of a group's first row may carry.
fn event_fields<'a>(stream: &'a Stream, group: &RawGroup) -> &'a [u16] {
    let event = group.event.iter().next().flatten().and_then(|event| stream.events.get(usize::from(event)));
    event.map(|event| event.fields.as_slice()).unwrap_or_default()
}

/// What a column has for the first row.
fn cell(column: &RawColumn, group: &RawGroup) -> Value {
    let row = match column {
        RawColumn::PerRow(_) => 0,
        RawColumn::PerResource(_) => group.resource.first().map_or(0, |resource| *resource as usize),
    };
    cells::value(column.array().as_ref(), row).unwrap_or_default()
}

/// Name of the first item of a request.
fn name(request: &Value, names: &[&str; 3]) -> Option<String> {
    let first = |value: &Value, name| Some(member(value, name)?.as_array()?.first()?.clone());
    let item = names.iter().try_fold(request.clone(), |value, name| first(&value, name))?;
    let text = |value: Option<&Value>| Some(value?.as_str()?.to_owned()).filter(|text| !text.is_empty());
    let attribute = || {
        let mut attributes = member(&item, "attributes")?.as_array()?.iter();
        let found = attributes.find(|attribute| attribute.get("key") == Some(&json!("event.name")))?;
        text(member(found.get("value")?, "stringValue"))
    };
    text(member(&item, "name")).or_else(|| text(member(&item, "eventName"))).or_else(attribute)
}

/// A member of an object by its name in lowerCamelCase, or the original one.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let original = || {
        let lower =
            |c: char| if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.to_string() };
        value.get(name.chars().map(lower).collect::<String>())
    };
    value.get(name).or_else(original)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, String> {
        Request::parse(text, &EventLimits::default())
    }

    #[test]
    fn a_request_is_told_from_an_event_and_named() {
        for (text, signal, name) in [
            (r#"{"event":"a.b"}"#, Signal::Logs, "a.b"),
            (r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"a.b"}]}]}]}"#, Signal::Logs, "a.b"),
            (
                r#"{"resource_logs":[{"scope_logs":[{"log_records":[{"attributes":[{"key":"event.name","value":{"stringValue":"c"}}]}]}]}]}"#,
                Signal::Logs,
                "c",
            ),
            (r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m"}]}]}]}"#, Signal::Metrics, "m"),
            (r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"s"}]}]}]}"#, Signal::Traces, "s"),
            (r#"{"resourceSpans":[]}"#, Signal::Traces, ""),
        ] {
            let request = parse(text).unwrap();
            assert_eq!((request.signal(), request.name()), (signal, name), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        for (text, why) in [("{\"secret", "not valid JSON"), ("{\"secret\":1}", "`event`, its name, is missing")] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(why) && !message.contains("secret"), "{message}");
        }
        assert!(!format!("{:?}", parse(r#"{"event":"secret"}"#).unwrap()).contains("secret"));
    }
}
