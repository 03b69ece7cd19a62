//! OTLP: from the bytes of a request straight to raw Arrow columns.

mod column;
mod group;
pub mod json;
pub mod protobuf;
pub(crate) mod rows;
pub(crate) mod value;
mod wire_reader;

/// Limits that are met before an allocation is.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// Most records in one request.
    pub records: usize,
    /// Most attributes of one record or resource.
    pub attributes: usize,
    /// Deepest nesting of values.
    pub depth: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { records: 65_536, attributes: 1_024, depth: 32 }
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

/// What helps against too many of something.
fn mend(what: &str) -> &'static str {
    match what {
        "records" => "send smaller batches",
        "levels of nesting" => "send flatter values",
        _ => "send fewer of them",
    }
}
