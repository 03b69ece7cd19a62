//! Fuzz target: segments, their recovery and their frames. The law is `law::frames`.
//!
//! The store's modules are taken in by their paths: depending on the store would build the query engine for the fuzzer.
#![no_main]
#![allow(dead_code, reason = "the store uses more of its modules than the law does")]

#[path = "../../../store/src/error.rs"]
mod error;
#[path = "../../../store/src/segment/law.rs"]
mod law;
#[path = "../../../store/src/reply.rs"]
mod reply;
#[path = "../../../store/src/segment/mod.rs"]
mod segment;
#[path = "../../../store/src/storage.rs"]
mod storage;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::frames(input));
