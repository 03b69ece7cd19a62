//! The protobuf reader against prost: same verdict on every body, same contents, and nothing that a body can blow up.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail the test that calls them, and say which seed it had"
)]

mod captures;
mod crafted;
mod generate;
mod law;
mod mutate;
mod oracle;
#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;
mod rules;
mod rules_of_signals;
mod spec;
mod valid;
