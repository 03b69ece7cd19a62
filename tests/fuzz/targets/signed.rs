//! Fuzz target: heads of signed requests. The law is `signed::signed`.
#![no_main]
#![allow(dead_code, reason = "seeds are made with more than the law asks for")]

#[path = "../../../ingest/wire/tests/laws/signed.rs"]
mod signed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| signed::signed(input));
