//! Fuzz target: catalogues. The law is `catalogue::catalogue`.
#![no_main]

#[path = "../../../policy/tests/laws/catalogue.rs"]
mod catalogue;
#[path = "../../../policy/tests/laws/place.rs"]
mod place;

libfuzzer_sys::fuzz_target!(|input: &[u8]| catalogue::catalogue(input));
