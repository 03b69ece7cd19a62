//! Fuzz target: requests in protobuf, against prost. The law is `law::protobuf`.
#![no_main]
#![allow(dead_code, reason = "parts of the tests that are taken in have more than the law asks for")]

#[path = "../../../ingest/wire/tests/protobuf/law.rs"]
mod law;
#[path = "../../../ingest/wire/tests/protobuf/oracle/mod.rs"]
mod oracle;
#[path = "../../../ingest/wire/tests/protobuf/spec.rs"]
mod spec;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::protobuf(input));
