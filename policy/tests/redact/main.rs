//! `redact_text` from outside: how well it finds, on labelled and on generated texts, and how long the worst texts take.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by panicking, in its helpers too; the tables are what it prints"
)]

mod evaluation;
mod generated;
mod support;
mod worst;
