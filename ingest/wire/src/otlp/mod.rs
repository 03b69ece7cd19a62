//! OTLP: from the bytes of a request straight to raw Arrow columns.

mod column;
mod group;
mod log;
mod point;
pub mod protobuf;
mod resolve;
mod rows;
mod span;
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
    /// A limit of [`DecodeLimits`].
    #[error("the request has more {what} than the {limit} that are allowed: {}", mend(what))]
    TooMany {
        /// `records`, `attributes of one record`, `levels of nesting`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// What helps against too many of something.
fn mend(what: &str) -> &'static str {
    match what {
        "records" | "elements in the lists of spans" => "send smaller batches",
        "levels of nesting" => "send flatter values",
        _ => "send fewer of them",
    }
}
