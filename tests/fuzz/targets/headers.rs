//! Fuzz target: path, headers and the frame of a gRPC message. The law is `law::headers`.
#![no_main]
#![allow(dead_code, reason = "the service uses more of its modules than the law does")]

#[path = "../../../ingest/src/framing.rs"]
mod framing;
#[path = "../../../ingest/src/head.rs"]
mod head;
#[path = "../../../ingest/src/law.rs"]
mod law;
#[path = "../../../ingest/src/path.rs"]
mod path;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::headers(input));
