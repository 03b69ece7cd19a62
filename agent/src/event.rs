//! Events as people write them, one JSON object a line: `{"time", "event", "resource", "attributes"}`.

use std::io::BufRead;

use serde_json::{Map, Value};

use crate::error::Error;

/// Members that an event may have, as the messages name them.
const MEMBERS: &str = "time, event, resource, attributes, body, severity_number, severity_text";

/// One event, raw. Its `Debug` says the name and how much there is, never a value.
#[derive(Clone, PartialEq)]
pub struct Event {
    /// Nanoseconds since 1970-01-01 UTC; 0 if the line has no time.
    pub time_unix_nano: u64,
    /// Full name: `phone.app.opened`.
    pub name: String,
    /// What is the same for all events of a device.
    pub resource: Map<String, Value>,
    /// What belongs to this event.
    pub attributes: Map<String, Value>,
    /// The record's body, if any.
    pub body: Option<Value>,
    /// OTLP severity number, 0 if none.
    pub severity_number: i32,
    /// Severity as text, empty if none.
    pub severity_text: String,
}

/// Limits that a line meets before it becomes an event.
#[derive(Clone, Copy, Debug)]
pub struct EventLimits {
    /// Most bytes of one line.
    pub line_bytes: usize,
    /// Most attributes of the event or of its resource.
    pub attributes: usize,
    /// Deepest nesting of a value.
    pub depth: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { line_bytes: 1 << 20, attributes: 1_024, depth: 32 }
    }
}

impl Event {
    /// Parses one JSON object.
    ///
    /// # Errors
    /// What is wrong with it, without any value of it.
    pub fn parse(text: &str, limits: &EventLimits) -> Result<Self, String> {
        if text.len() > limits.line_bytes {
            return Err(format!("it is longer than {} bytes", limits.line_bytes));
        }
        // A message of serde_json may quote what it found, so only the place is taken from it.
        let value: Value = serde_json::from_str(text)
            .map_err(|e| format!("it is not valid JSON (line {}, column {})", e.line(), e.column()))?;
        let Value::Object(mut members) = value else {
            return Err("it is not a JSON object".to_owned());
        };
        let event = Self {
            time_unix_nano: time(members.remove("time"))?,
            name: text_member(members.remove("event"), "event")?.ok_or("`event`, its name, is missing")?,
            resource: object(members.remove("resource"), "resource", limits)?,
            attributes: object(members.remove("attributes"), "attributes", limits)?,
            body: members.remove("body").filter(|v| !v.is_null()),
            severity_number: severity(members.remove("severity_number"))?,
            severity_text: text_member(members.remove("severity_text"), "severity_text")?.unwrap_or_default(),
        };
        if event.body.as_ref().is_some_and(|body| depth(body) > limits.depth) {
            return Err(format!("`body` is nested deeper than {} levels", limits.depth));
        }
        if members.is_empty() { Ok(event) } else { Err(format!("it has a member that is none of {MEMBERS}")) }
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (resource, attributes) = (self.resource.len(), self.attributes.len());
        write!(f, "Event({}: {resource} resource attributes, {attributes} attributes)", self.name)
    }
}

/// Reads events, one a line; empty lines are passed over.
///
/// # Errors
/// The first line that is no event or cannot be read.
pub fn read_events(lines: impl BufRead, limits: &EventLimits) -> Result<Vec<Event>, Error> {
    Events::of(lines, *limits).collect()
}

/// Events as their lines come, such as from a pipe. A line that is none is told in its place, and those after it are read.
#[derive(Debug)]
pub struct Events<R> {
    lines: R,
    limits: EventLimits,
    line: u64,
    /// The rest of a line that is too long comes next.
    is_within: bool,
    is_over: bool,
}

impl<R: BufRead> Events<R> {
    /// The events of a reader; empty lines are passed over.
    pub const fn of(lines: R, limits: EventLimits) -> Self {
        Self { lines, limits, line: 0, is_within: false, is_over: false }
    }

    fn read(&mut self) -> Result<Option<Event>, Error> {
        let mut bytes = Vec::new();
        self.pass_over()?;
        loop {
            self.line += 1;
            bytes.clear();
            let (line, limit) = (self.line, self.limits.line_bytes as u64 + 1);
            let read = std::io::Read::take(&mut self.lines, limit)
                .read_until(b'\n', &mut bytes)
                .map_err(|e| Error::Read { line, why: e.kind().to_string() })?;
            if read == 0 {
                return Ok(None);
            }
            let refused = |why: String| Error::Event { line, why };
            if bytes.len() > self.limits.line_bytes && !bytes.ends_with(b"\n") {
                self.is_within = true;
                return Err(refused(format!("it is longer than {} bytes", self.limits.line_bytes)));
            }
            let text = std::str::from_utf8(&bytes).map_err(|_| refused("it is not UTF-8 text".to_owned()))?.trim();
            if !text.is_empty() {
                return Event::parse(text, &self.limits).map(Some).map_err(refused);
            }
        }
    }

    /// Passes over the rest of a line that is too long, which is held nowhere.
    fn pass_over(&mut self) -> Result<(), Error> {
        while self.is_within {
            let failed = |e: std::io::Error| Error::Read { line: self.line, why: e.kind().to_string() };
            let bytes = match self.lines.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                bytes => bytes.map_err(failed)?,
            };
            let end = bytes.iter().position(|byte| *byte == b'\n');
            self.is_within = end.is_none() && !bytes.is_empty();
            let passed = end.map_or(bytes.len(), |end| end + 1);
            self.lines.consume(passed);
        }
        Ok(())
    }
}

impl<R: BufRead> Iterator for Events<R> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let event = self.read().transpose();
        self.is_over = !matches!(event, Some(Ok(_) | Err(Error::Event { .. })));
        event
    }
}

fn time(value: Option<Value>) -> Result<u64, String> {
    let Some(text) = text_member(value, "time")? else { return Ok(0) };
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "`time` is not an RFC 3339 time such as 2026-11-01T08:30:00Z")?;
    u64::try_from(time.as_nanosecond()).map_err(|_| "`time` is before 1970: OTLP cannot carry it".to_owned())
}

fn text_member(value: Option<Value>, name: &str) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` is not text")),
    }
}

fn object(value: Option<Value>, name: &str, limits: &EventLimits) -> Result<Map<String, Value>, String> {
    let map = match value {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(format!("`{name}` is not an object")),
    };
    if map.len() > limits.attributes {
        return Err(format!("`{name}` has more than {} members", limits.attributes));
    }
    if map.values().any(|value| depth(value) > limits.depth) {
        return Err(format!("`{name}` is nested deeper than {} levels", limits.depth));
    }
    Ok(map)
}

fn severity(value: Option<Value>) -> Result<i32, String> {
    match value {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value
            .as_i64()
            .filter(|number| (0..=24).contains(number))
            .map(|number| number as i32)
            .ok_or_else(|| "`severity_number` is not a number from 1 to 24".to_owned()),
    }
}

/// Levels of nesting; bounded by the 128 that the JSON parser allows.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Event, String> {
        Event::parse(text, &EventLimits::default())
    }

    #[test]
    fn reads_the_shape_that_the_seeds_have() {
        let text = "\n{\"time\":\"1970-01-01T00:00:01.5Z\",\"event\":\"a.b\",\"resource\":{\"device.id\":\"d\"},\
                    \"attributes\":{\"n\":1,\"none\":null}}\n\n{\"event\":\"c\"}";
        let events = read_events(text.as_bytes(), &EventLimits::default()).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].time_unix_nano, 1_500_000_000);
        assert_eq!(events[0].attributes.len(), 2);
        assert_eq!((events[1].name.as_str(), events[1].time_unix_nano), ("c", 0));
    }

    #[test]
    fn says_what_is_wrong_without_the_value() {
        for (text, why) in [
            ("{\"event\":\"e\",\"attributes\":\"secret\"}", "`attributes` is not an object"),
            ("{\"event\":\"e\",\"time\":\"secret\"}", "`time` is not an RFC 3339 time"),
            ("{\"event\":\"e\",\"time\":\"1969-12-31T00:00:00Z\"}", "before 1970"),
            ("{\"attributes\":{}}", "`event`, its name, is missing"),
            ("{\"event\":\"e\",\"secret\":1}", "a member that is none of"),
            ("[\"secret\"]", "not a JSON object"),
            ("{\"secret", "not valid JSON"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(why), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn what_follows_a_line_that_is_no_event_is_read() {
        let limits = EventLimits { line_bytes: 40, ..EventLimits::default() };
        let long = "x".repeat(200);
        let text = format!("{{\"event\":\"a\"}}\nnone\n{long}\n\n{{\"event\":\"b\"}}\n{long}");
        // A buffer that is smaller than the line.
        let lines = std::io::BufReader::with_capacity(16, text.as_bytes());
        let read: Vec<_> = Events::of(lines, limits).map(|event| event.map(|event| event.name)).collect();
        let bad: Vec<_> = read.iter().filter_map(|event| event.as_ref().err().map(ToString::to_string)).collect();
        assert_eq!(read.iter().flatten().collect::<Vec<_>>(), ["a", "b"]);
        assert!(bad.len() == 3 && bad[1].contains("line 3") && bad[1].contains("longer than 40 bytes"), "{bad:?}");
        assert!(bad[0].contains("line 2") && bad[2].contains("line 6"), "{bad:?}");
    }

    #[test]
    fn limits_are_met_before_an_event_is_made() {
        let limits = EventLimits { line_bytes: 40, attributes: 1, depth: 1 };
        let read = |text: &str| read_events(text.as_bytes(), &limits).unwrap_err().to_string();
        assert!(read(&" ".repeat(60)).contains("longer than 40 bytes"));
        assert!(read(&format!("{{\"event\":\"{}\"}}", "x".repeat(60))).contains("longer than 40 bytes"));
        let loose = EventLimits { line_bytes: 400, ..limits };
        let parse = |text: &str| Event::parse(text, &loose).unwrap_err();
        assert!(parse("{\"event\":\"e\",\"attributes\":{\"a\":1,\"b\":2}}").contains("more than 1 members"));
        assert!(parse("{\"event\":\"e\",\"attributes\":{\"a\":[[1]]}}").contains("deeper than 1"));
    }
}
