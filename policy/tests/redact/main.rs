//! `redact_text` from outside: how well it finds, on labelled and on generated texts, and how long the worst texts take.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail the test that calls them, and print their tables"
)]

mod evaluation;
mod generated;
mod support;
mod worst;
