//! Fuzz target: signed notes, checkpoints, cosignatures, keys of verifiers, requests to witnesses. The law is `notes::notes`.
#![no_main]
#![allow(dead_code, reason = "seeds are made with more than the law asks for")]

#[path = "../../../ingest/wire/tests/laws/notes.rs"]
mod notes;

libfuzzer_sys::fuzz_target!(|input: &[u8]| notes::notes(input));
