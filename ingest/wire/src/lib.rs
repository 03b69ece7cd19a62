//! What both ends of the network need, pure: the readers of OTLP and of the protocols beside it, and the encodings of consent statements.

pub mod cloudevents;
mod event;
pub mod glean;
pub mod identified;
mod json;
pub mod otlp;
pub mod record;
pub mod segment;
pub mod statement;
