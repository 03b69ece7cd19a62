//! Fuzz target: entries of a log, and the rules for their sequence. The law is `entries::entries`.
#![no_main]
#![allow(dead_code, reason = "seeds are made with more than the law asks for")]

#[path = "../../../ingest/wire/tests/laws/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::entries(input));
