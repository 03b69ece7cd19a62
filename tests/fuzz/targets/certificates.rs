//! Fuzz target: certificates of erasure. The law is `certificates::certificates`.
#![no_main]
#![allow(dead_code, reason = "seeds are made with more than the law asks for")]

#[path = "../../../ingest/wire/tests/laws/certificates.rs"]
mod certificates;

libfuzzer_sys::fuzz_target!(|input: &[u8]| certificates::certificates(input));
