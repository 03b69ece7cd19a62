//! Fuzz target: every reader of JSON. The law is `law::json`.
#![no_main]
#![allow(dead_code, reason = "parts of the tests that are taken in have more than the law asks for")]

#[path = "../../../ingest/wire/tests/doors/fleet.rs"]
mod fleet;
#[path = "../../../ingest/wire/tests/json/law.rs"]
mod law;
#[path = "../../../ingest/wire/tests/protobuf/oracle/mod.rs"]
mod oracle;
#[path = "../../../ingest/wire/tests/protobuf/spec.rs"]
mod spec;
#[path = "../../../ingest/wire/tests/json/write/mod.rs"]
mod write;

libfuzzer_sys::fuzz_target!(|input: &[u8]| law::json(input));
