//! Fuzz target: policies and their conditions, compiled and applied. The law is `policy::policy`.
#![no_main]

#[path = "../../../policy/tests/laws/batch.rs"]
mod batch;
#[path = "../../../policy/tests/laws/place.rs"]
mod place;
#[path = "../../../policy/tests/laws/policy.rs"]
mod policy;

libfuzzer_sys::fuzz_target!(|input: &[u8]| policy::policy(input));
