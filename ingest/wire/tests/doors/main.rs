//! The protocols beside OTLP: what becomes a row, what its values are, and which id it has.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail the test that calls them, and say what they skipped"
)]

mod cloudevents;
mod expected;
mod fleet;
mod glean;
mod hostile;
mod segment;
