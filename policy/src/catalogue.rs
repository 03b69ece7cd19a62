//! The catalogue, resolved: streams, events and fields as engineers declared them.

use serde::{Deserialize, Serialize};

use crate::category::Category;
use crate::digest::Digest;

pub use crate::field_path::{FieldPath, Place, Signal};

/// Type of a field's values; numbers that arrive as another kind are coerced when nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// true or false.
    Bool,
    /// 64-bit signed integer.
    I64,
    /// 64-bit float.
    F64,
    /// UTF-8 text.
    String,
    /// Microseconds since 1970-01-01 UTC; arrives as RFC 3339 text or as integer nanoseconds.
    Timestamp,
    /// Latitude and longitude in degrees, from two attributes.
    Position,
}

/// What a field does to anonymity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Names one subject: a serial number, an account, an e-mail address.
    Identifier,
    /// Names a subject together with others: a birth year, a position.
    Quasi,
    /// What the subject would not want known.
    Sensitive,
    /// Neither.
    Plain,
}

/// A parsed and checked catalogue: whoever holds one holds a valid one.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Its name.
    pub name: String,
    /// SHA-256 over the RFC 8785 JSON of the document.
    pub digest: Digest,
    /// RFC 8785 JSON of the document, as published at `/v1/catalogue`.
    pub canonical: String,
    /// Streams, by name.
    pub streams: Vec<Stream>,
}

/// A family of events that share a schema and a table.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Dotted name: `phone.app`.
    pub name: String,
    /// What its events are.
    pub signal: Signal,
    /// What it is, for people.
    pub description: String,
    /// Who answers for it.
    pub owner: String,
    /// Day from which all of it is refused (days since 1970-01-01).
    pub expires_day: Option<i32>,
    /// Events in document order.
    pub events: Vec<Event>,
    /// Fields in document order: the order of columns.
    pub fields: Vec<Field>,
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub struct Event {
    /// Full name as sent: `phone.app.opened`.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Day from which it counts as undeclared.
    pub expires_day: Option<i32>,
    /// Field numbers that it may carry; all fields of the stream where the document names none.
    pub fields: Vec<u16>,
}

/// One field of a stream.
#[derive(Clone, Debug)]
pub struct Field {
    /// `snake_case` column.
    pub column: String,
    /// Type of its values; of the elements where it is a list.
    pub kind: FieldType,
    /// Whether it is a list.
    pub list: bool,
    /// Where the value comes from.
    pub from: FieldPath,
    /// fideslang data category.
    pub category: Category,
    /// What it does to anonymity.
    pub role: Role,
    /// What it is, for people.
    pub description: String,
    /// Who answers for it (the stream's owner where the document names none).
    pub owner: String,
    /// Day from which its values are nulled.
    pub expires_day: Option<i32>,
    /// The values that conditions may name; any other value is `unknown` there.
    pub values: Vec<String>,
}

impl FieldType {
    /// As catalogues write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I64 => "i64",
            Self::F64 => "f64",
            Self::String => "string",
            Self::Timestamp => "timestamp",
            Self::Position => "position",
        }
    }
}

impl Catalogue {
    /// Number of the stream of that name.
    #[must_use]
    pub fn stream_number(&self, name: &str) -> Option<u16> {
        self.streams.binary_search_by(|stream| stream.name.as_str().cmp(name)).ok().map(|number| number as u16)
    }

    /// (stream, event within it) of an event name of a signal.
    #[must_use]
    pub fn event_number(&self, signal: Signal, name: &str) -> Option<(u16, u16)> {
        self.streams
            .iter()
            .enumerate()
            .filter(|(_, declared)| declared.signal == signal)
            .find_map(|(stream, declared)| declared.event_number(name).map(|event| (stream as u16, event)))
    }
}

impl Field {
    /// Its type as catalogues write it: `i64`, `list<string>`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        type_name(self.kind, self.list)
    }
}

impl Stream {
    /// Number of the event of that name.
    #[must_use]
    pub fn event_number(&self, name: &str) -> Option<u16> {
        self.events.iter().position(|event| event.name == name).map(|number| number as u16)
    }

    /// Number of the field of that column.
    #[must_use]
    pub fn field_number(&self, column: &str) -> Option<u16> {
        self.fields.iter().position(|field| field.column == column).map(|number| number as u16)
    }
}

/// A type as catalogues write it.
pub(crate) fn type_name(kind: FieldType, list: bool) -> &'static str {
    TYPES.iter().find(|(_, known)| *known == (kind, list)).map_or(kind.name(), |(name, _)| name)
}

/// Every type that a field can have, with whether it is a list.
pub(crate) const TYPES: [(&str, (FieldType, bool)); 11] = [
    ("bool", (FieldType::Bool, false)),
    ("i64", (FieldType::I64, false)),
    ("f64", (FieldType::F64, false)),
    ("string", (FieldType::String, false)),
    ("timestamp", (FieldType::Timestamp, false)),
    ("position", (FieldType::Position, false)),
    ("list<bool>", (FieldType::Bool, true)),
    ("list<i64>", (FieldType::I64, true)),
    ("list<f64>", (FieldType::F64, true)),
    ("list<string>", (FieldType::String, true)),
    ("list<timestamp>", (FieldType::Timestamp, true)),
];
