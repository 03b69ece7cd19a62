//! OTLP in JSON (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"), read as a stream into Arrow builders.
//!
//! Every dialect that clients speak is taken: integers and times as numbers or as strings, enumerations as numbers or by
//! name, members in lowerCamelCase or by their original name, a null value as `{}` or `null`; ids are hex, bytes base64.
//! Members may come in any order: what must wait for one behind it is kept as text and read when that has come.
//! A member that comes twice, or two kinds of one value, is an error; so is `null` inside an array.

mod logs;
mod value;

pub use logs::decode_logs;
