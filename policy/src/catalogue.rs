//! The catalogue, resolved: streams, events and fields as engineers declared them.

use serde::{Deserialize, Serialize};

use crate::category::Category;
use crate::digest::Digest;

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

/// Where a field's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FieldPath {
    /// `attributes.<dotted key>`
    Attribute(String),
    /// `resource.<dotted key>`
    Resource(String),
    /// `body`
    Body,
    /// `severity_number`
    SeverityNumber,
    /// `severity_text`
    SeverityText,
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
    /// Type of its values.
    pub kind: FieldType,
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

impl FieldPath {
    /// Parses `attributes.x.y`, `resource.x`, `body`, `severity_number`, `severity_text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let key = |key: &str| (!key.is_empty() && !key.chars().any(char::is_control)).then(|| key.to_owned());
        match text {
            "body" => Some(Self::Body),
            "severity_number" => Some(Self::SeverityNumber),
            "severity_text" => Some(Self::SeverityText),
            _ => match text.split_once('.') {
                Some(("attributes", rest)) => key(rest).map(Self::Attribute),
                Some(("resource", rest)) => key(rest).map(Self::Resource),
                _ => None,
            },
        }
    }

    /// Whether its value comes once a resource.
    #[must_use]
    pub const fn is_per_resource(&self) -> bool {
        matches!(self, Self::Resource(_))
    }
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Attribute(key) => write!(f, "attributes.{key}"),
            Self::Resource(key) => write!(f, "resource.{key}"),
            Self::Body => f.write_str("body"),
            Self::SeverityNumber => f.write_str("severity_number"),
            Self::SeverityText => f.write_str("severity_text"),
        }
    }
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
        }
    }
}

impl Catalogue {
    /// Number of the stream of that name.
    #[must_use]
    pub fn stream_number(&self, name: &str) -> Option<u16> {
        self.streams.binary_search_by(|stream| stream.name.as_str().cmp(name)).ok().map(|number| number as u16)
    }

    /// (stream, event within it) of an event name.
    #[must_use]
    pub fn event_number(&self, name: &str) -> Option<(u16, u16)> {
        self.streams
            .iter()
            .enumerate()
            .find_map(|(stream, declared)| declared.event_number(name).map(|event| (stream as u16, event)))
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
