//! OTLP: from the bytes of a request straight to raw Arrow columns.

mod column;
mod group;
pub mod json;
mod log;
mod point;
pub mod protobuf;
mod resolve;
pub(crate) mod rows;
mod span;
pub(crate) mod text;
pub(crate) mod value;

/// Limits that are met before an allocation is.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// Most records in one request.
    pub records: usize,
    /// Most attributes of one record or resource.
    pub attributes: usize,
    /// Deepest nesting of values.
    pub depth: usize,
    /// Most elements of a list that a field is, and most events or links of a span: one that has more is a bad value.
    pub elements: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { records: 65_536, attributes: 1_024, depth: 32, elements: 1_000 }
    }
}

/// Why a body is not a request; never holds a value of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not what the encoding says; `offset` is where.
    #[error("the body is not a valid {what} (at byte {offset})")]
    Malformed {
        /// What was being read: `protobuf ExportLogsServiceRequest`.
        what: &'static str,
        /// Byte offset in the decompressed body.
        offset: usize,
    },
    /// Something else stands where this should.
    #[error("the body is not what was expected: at byte {offset} there should be {what}")]
    Expected {
        /// What should stand there: `an integer of 64 bits`.
        what: &'static str,
        /// Byte offset in the decompressed body.
        offset: usize,
    },
    /// A limit of [`DecodeLimits`].
    #[error("the request has more {what} than the {limit} that are allowed: {}", mend(what))]
    TooMany {
        /// `records`, `attributes of one record`, `levels of nesting`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// Adds one element unless that is one too many.
pub(crate) fn push_within<T>(items: &mut Vec<T>, item: T, limit: usize, what: &'static str) -> Result<(), DecodeError> {
    if items.len() >= limit {
        return Err(DecodeError::TooMany { what, limit });
    }
    items.push(item);
    Ok(())
}

/// Adds one element, and one beyond the limit, so that the field that takes them sees that they are too many.
pub(crate) fn keep_within<T>(items: &mut Vec<T>, item: T, limit: usize) {
    if items.len() <= limit {
        items.push(item);
    }
}

/// What helps against too many of something.
fn mend(what: &str) -> &'static str {
    match what {
        "records" | "elements in the lists of spans" => "send smaller batches",
        "levels of nesting" => "send flatter values",
        _ => "send fewer of them",
    }
}
