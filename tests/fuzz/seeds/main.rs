//! Writes the inputs that fuzzing starts from, made by the generators of the tests and from the sample fleet: `seeds FOLDER`.
#![allow(dead_code, reason = "parts of the tests that are taken in have more than seeds need")]

#[path = "../../../ingest/wire/tests/laws/certificates.rs"]
mod certificates;
#[path = "../../../store/src/error.rs"]
mod error;
#[path = "../../../ingest/wire/tests/protobuf/generate/mod.rs"]
mod generate;
mod headers;
mod log;
#[path = "../../../ingest/wire/tests/protobuf/oracle/mod.rs"]
mod oracle;
#[path = "../../../ingest/wire/tests/laws/proofs.rs"]
mod proofs;
#[path = "../../../store/src/reply.rs"]
mod reply;
#[path = "../../../store/src/segment/mod.rs"]
mod segment;
#[path = "../../../ingest/wire/tests/laws/signed.rs"]
mod signed;
#[path = "../../../ingest/wire/tests/protobuf/spec.rs"]
mod spec;
#[path = "../../../store/src/storage.rs"]
mod storage;
#[path = "../../../store/src/segment/testing.rs"]
mod testing;
#[path = "../../../ingest/wire/tests/json/write/mod.rs"]
mod write;

use std::path::PathBuf;

use libfuzzer_sys as _;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::generate::{config, logs, metrics, traces};
use crate::oracle::item::Request;
use crate::segment::codec::{encode_batch, encode_statement, receipt_json};
use crate::segment::layout::{FrameHeader, segment_header};
use crate::write::{ANY, JAVASCRIPT, Json, PYTHON, Writer};

const EACH: u8 = 40;
const CATALOGUE: &str = include_str!("../../../seeds/fleet/catalogue.toml");
const POLICY: &str = include_str!("../../../seeds/fleet/policy.toml");

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("the folder to write to"));
    let put = |target: &str, inputs: Vec<Vec<u8>>| {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (at, input) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{at}")), input).expect("a file");
        }
        println!("{target}: {} seeds", inputs.len());
    };
    let mut runner = TestRunner::new(config(0));
    put("protobuf", protobuf(&mut runner));
    put("json", json(&mut runner));
    put("headers", headers::SEEDS.iter().map(|text| text.as_bytes().to_vec()).collect());
    put("catalogue", pieces(CATALOGUE, "[stream."));
    put("policy", policies());
    put("frames", frames(&mut runner));
    put("entries", log::entries());
    put("notes", log::notes());
    put("proofs", log::proofs());
    put("certificates", log::certificates());
    put("signed", log::signed());
}

fn protobuf(runner: &mut TestRunner) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for choice in 0..EACH {
        inputs.push(chosen(3 * choice, &body(&logs::request(), runner)));
        inputs.push(chosen(3 * choice + 1, &body(&metrics::request(), runner)));
        inputs.push(chosen(3 * choice + 2, &body(&traces::request(), runner)));
    }
    inputs
}

fn json(runner: &mut TestRunner) -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = DOORS.iter().map(|(choice, text)| chosen(*choice, text.as_bytes())).collect();
    for round in 0..EACH {
        inputs.push(chosen(0, text(&logs::request(), round, runner).as_bytes()));
        inputs.push(chosen(1, text(&metrics::request(), round, runner).as_bytes()));
        inputs.push(chosen(2, text(&traces::request(), round, runner).as_bytes()));
        inputs.push(chosen(7, &body(&logs::request(), runner)));
        inputs.push(chosen(8, &body(&metrics::request(), runner)));
        inputs.push(chosen(9, &body(&traces::request(), runner)));
    }
    inputs
}

/// Events of the protocols beside OTLP.
const DOORS: [(u8, &str); 6] = [
    (
        3,
        r#"{"specversion":"1.0","id":"1","source":"s","type":"com.example.order","time":"2026-11-22T00:00:00Z","subject":"u","sampledrate":3,"data":{"order":{"total":1.5},"items":["a",null],"place":{"lat":1,"lon":-2}}}"#,
    ),
    (
        3,
        r#"{"specversion":"1.0","id":"1","source":"s","type":"com.example.order","data_base64":"AAEC","datacontenttype":"image/png"}"#,
    ),
    (
        4,
        r#"[{"specversion":"1.0","id":"1","source":"s","type":"com.example.order","data":"text"},{"specversion":"1.0","id":"2","source":"s","type":"other"}]"#,
    ),
    (
        5,
        r#"{"client_info":{"client_id":"c","os":"Linux"},"ping_info":{"seq":1,"end_time":"2026-11-22T17:21+01:00"},"metrics":{"string":{"activation.identifier":"i"}},"events":[{"name":"n"}]}"#,
    ),
    (
        6,
        r#"{"batch":[{"type":"track","event":"Device Paired","messageId":"m","timestamp":"2026-11-22T00:00:00Z","userId":"u","properties":{"device_type":"watch","rssi":-50},"context":{"ip":"192.0.2.1"}}],"writeKey":"k"}"#,
    ),
    (
        6,
        r#"{"batch":[{"type":"identify","userId":"u","traits":{"email":"a@b.example"}},{"type":"page"}],"sentAt":"x"}"#,
    ),
];

/// A fleet's policy whole and in pieces, what a policy of the law's own catalogue can say, and conditions.
fn policies() -> Vec<Vec<u8>> {
    const OWN: &str = include_str!("policy.toml");
    const CONDITIONS: [&str; 8] = [
        "not gpc and jurisdiction in ['EU', 'US-CA']",
        "10 <= level < 20 or warmth >= 1e3",
        "screen == 'home' and not (on or screen in ['chat', 'home'])",
        "event == 'opened' or event not in ['closed']",
        "level != 3 and level > -2.5",
        "jurisdiction == 'unknown'",
        "((((not not gpc))))",
        "screen == 'it''s' or",
    ];
    let mut inputs = pieces(POLICY, "[[rule]]");
    inputs.extend(pieces(OWN, "[[rule]]"));
    inputs.extend(CONDITIONS.iter().map(|when| chosen(0, when.as_bytes())));
    inputs
}

/// A document, and each of its parts behind its beginning.
fn pieces(document: &str, mark: &str) -> Vec<Vec<u8>> {
    let parts: Vec<&str> = document.split(mark).collect();
    let one = |part: &&str| format!("{}{mark}{part}", parts[0]).into_bytes();
    std::iter::once(document.as_bytes().to_vec()).chain(parts[1..].iter().map(one)).collect()
}

/// Segments as they are, and what the law makes some of.
fn frames(runner: &mut TestRunner) -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for round in 0..EACH {
        let rows = testing::rows().new_tree(runner).expect("rows").current();
        let rows = rows.slice(0, rows.num_rows().min(usize::from(round % 5)));
        let header = testing::header("s", round.into());
        let tables = [("p", "a.b", &rows), ("q", "a.b", &rows)];
        let batch = encode_batch(header, tables.into_iter().take(usize::from(round % 3))).expect("a frame");
        let mut numbered = encode_batch(testing::numbered_header(round.into()), []).expect("a frame");
        let receipt = receipt_json(&testing::receipt(round, round.into())).expect("a receipt");
        numbered.add_receipt(&receipt).expect("a frame");
        let statement = encode_statement(&testing::statement(round, 1, true)).expect("a frame");
        let mut file = segment_header(7).to_vec();
        let mut parts = 7_u64.to_le_bytes().to_vec();
        for (lsn, encoded) in [(7, &batch), (8, &numbered), (9, &statement)] {
            let payload_len = encoded.payload.len() as u32;
            let header = FrameHeader { kind: encoded.kind, lsn, payload_len, payload_crc: encoded.payload_crc };
            file.extend([&header.to_bytes()[..], &encoded.payload].concat());
            parts.push(encoded.kind as u8);
            parts.extend([&(payload_len as u16).to_le_bytes()[..], &encoded.payload].concat());
        }
        file.extend([0; 40]);
        inputs.push(if round % 2 == 0 { chosen(0, &file) } else { chosen(1, &parts) });
    }
    inputs.push(chosen(1, &[&u64::MAX.to_le_bytes()[..], &[2, 0, 0, 2, 0, 0]].concat()));
    inputs
}

fn chosen(choice: u8, rest: &[u8]) -> Vec<u8> {
    [&[choice], rest].concat()
}

fn body<R: Request>(requests: &impl Strategy<Value = R>, runner: &mut TestRunner) -> Vec<u8> {
    requests.new_tree(runner).expect("a request").current().encode_to_vec()
}

fn text<R: Request + Json>(requests: &impl Strategy<Value = R>, round: u8, runner: &mut TestRunner) -> String {
    let request = requests.new_tree(runner).expect("a request").current();
    let dialect = [PYTHON, JAVASCRIPT, ANY][usize::from(round % 3)];
    request.write(&mut Writer { dialect, rng: runner.rng() })
}
