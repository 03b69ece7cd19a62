//! What both ends of the network need, pure: OTLP readers, and the encodings of consent statements.

pub mod otlp;
pub mod record;
pub mod statement;
