//! `redact_text` from outside: how well it finds, on labelled and on generated texts, and how long the worst texts take.

mod evaluation;
mod generated;
mod support;
mod worst;
