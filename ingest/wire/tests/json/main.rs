//! The JSON reader against the protobuf reader: the same request in either encoding becomes the same rows.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail the test that calls them, and say which seed it had"
)]

#[path = "../doors/fleet.rs"]
mod fleet;
#[path = "../protobuf/generate/mod.rs"]
mod generate;
#[path = "../protobuf/oracle/mod.rs"]
mod oracle;
#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;
#[path = "../protobuf/spec.rs"]
mod spec;

mod examples;
mod law;
mod mutate;
mod rules;
mod valid;
mod write;
