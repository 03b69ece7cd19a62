//! Example files: our own, one for each dialect, and the official ones where they are at hand.

use std::path::Path;

use candor_policy::batch::Received;
use candor_policy::key_index::KeyIndex;
use candor_wire::otlp::json::{decode_logs, decode_metrics, decode_traces};
use candor_wire::otlp::{DecodeError, DecodeLimits};

use crate::oracle::{Cell, actual};
use crate::spec::{key_index, spec};

fn decode(body: &[u8]) -> Received {
    decode_logs(body, &key_index(&spec()), &DecodeLimits::default()).unwrap()
}

#[test]
fn our_examples_of_either_dialect_mean_the_same() {
    let python = decode(include_bytes!("examples/logs_python.json"));
    let javascript = decode(include_bytes!("examples/logs_javascript.json"));
    let outcome = actual(&python);
    assert_eq!(outcome, actual(&javascript));
    assert_eq!(outcome.rows.len(), 2);
    assert_eq!(outcome.rows[0].fields[0], Some(Cell::Text("com.example.\u{201e}karte\u{201c}".to_owned())));
    assert_eq!(outcome.rows[0].fields[1], Some(Cell::I64(-3)));
    assert_eq!(outcome.rows[0].time, Some(1_795_377_600_123_456));
    assert_eq!(outcome.rows[0].subject, Some(Cell::Text("phone-0001".to_owned())));
    assert_eq!(outcome.rows[1].fields[0], Some(Cell::F64(48.5_f64.to_bits())));
    // The name of the service counts once for each of the two streams.
    assert_eq!(outcome.tally.undeclared_attributes, 5);
}

type Decode = fn(&[u8], &KeyIndex, &DecodeLimits) -> Result<Received, DecodeError>;

#[test]
fn official_examples_decode() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/otlp_examples");
    if !folder.is_dir() {
        println!("SKIPPED: no official examples beside the workspace");
        return;
    }
    let examples: [(&str, Decode, u64); 4] = [
        ("logs.json", decode_logs, 1),
        ("events.json", decode_logs, 1),
        ("metrics.json", decode_metrics, 4),
        ("trace.json", decode_traces, 1),
    ];
    for (name, decode, records) in examples {
        let body = std::fs::read(folder.join(name)).unwrap();
        let received = decode(&body, &key_index(&spec()), &DecodeLimits::default()).unwrap();
        assert_eq!((received.records(), received.tally().undeclared_events), (records, records), "{name}");
    }
}
