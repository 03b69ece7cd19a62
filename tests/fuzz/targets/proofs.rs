//! Fuzz target: proofs of a file. The law is `proofs::proofs`.
#![no_main]
#![allow(dead_code, reason = "seeds are made with more than the law asks for")]

#[path = "../../../ingest/wire/tests/laws/proofs.rs"]
mod proofs;

libfuzzer_sys::fuzz_target!(|input: &[u8]| proofs::proofs(input));
