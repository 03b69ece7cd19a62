//! Bodies that were made to hurt: refused by a limit, or read without a panic.

use candor_wire::cloudevents;
use candor_wire::glean::{Submission, decode_ping};
use candor_wire::identified::Identified;
use candor_wire::otlp::{DecodeError, DecodeLimits};
use candor_wire::segment;
use proptest::prelude::RngExt;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::fleet::keys;

const LEVELS: usize = 10_000;

type Decode = fn(&[u8], &DecodeLimits) -> Result<Identified, DecodeError>;

/// Each decoder, and an event of its protocol around an attribute that goes where `@` stands.
const DOORS: [(Decode, &str); 4] = [
    (
        |body, limits| cloudevents::decode_structured(body, &keys("attributes.subject"), limits),
        r#"{"specversion":"1.0","id":"i","source":"s","type":"com.example.order",@}"#,
    ),
    (
        |body, limits| cloudevents::decode_batch(body, &keys("attributes.subject"), limits),
        r#"[{"specversion":"1.0","id":"i","source":"s","type":"com.example.order",@}]"#,
    ),
    (
        |body, limits| {
            let submission = Submission { app: "org-example-hub", ping: "baseline", document_id: "d" };
            decode_ping(submission, body, &keys("attributes.client_info.client_id"), limits)
        },
        r#"{"client_info":{"os":"x"},@}"#,
    ),
    (
        |body, limits| segment::decode_batch(body, &keys("attributes.userId"), limits),
        r#"{"batch":[{"type":"track","event":"Device Paired","messageId":"m",@}]}"#,
    ),
];

#[test]
fn ten_thousand_levels_are_an_error() {
    for (decode, frame) in DOORS {
        for (open, close) in [("[", "]"), ("{\"order\":", "}")] {
            for key in ["data", "metrics", "properties", "x"] {
                let nested = |levels| {
                    let value = format!("{}1{}", open.repeat(levels), close.repeat(levels));
                    frame.replace('@', &format!("\"{key}\":{value}"))
                };
                let error = decode(nested(LEVELS).as_bytes(), &DecodeLimits::default()).unwrap_err();
                assert_eq!(error, DecodeError::TooMany { what: "levels of nesting", limit: 127 }, "{key} in {frame}");
                assert!(decode(nested(100).as_bytes(), &DecodeLimits::default()).is_ok(), "{key} in {frame}");
            }
        }
        assert!(decode("[".repeat(LEVELS).as_bytes(), &DecodeLimits::default()).is_err());
    }
}

#[test]
fn attributes_and_records_stop_at_their_limits() {
    for (decode, frame) in DOORS {
        let many = (0..1_100).map(|at| format!("\"k{at}\":1")).collect::<Vec<_>>().join(",");
        let error = decode(frame.replace('@', &many).as_bytes(), &DecodeLimits::default()).unwrap_err();
        assert_eq!(error, DecodeError::TooMany { what: "attributes of one record", limit: 1_024 }, "{frame}");
    }
    let limits = DecodeLimits { records: 2, ..DecodeLimits::default() };
    let batch = |count| format!(r#"{{"batch":[{}]}}"#, vec!["{}"; count].join(","));
    assert!(segment::decode_batch(batch(2).as_bytes(), &keys("attributes.userId"), &limits).is_ok());
    let error = segment::decode_batch(batch(3).as_bytes(), &keys("attributes.userId"), &limits).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { what: "records", limit: 2 });
}

#[test]
fn damaged_bodies_never_panic() {
    let attribute = r#""data":{"order":{"total":1e2},"items":["a",null,1]},"properties":{"rssi":-4},"context":{"ip":"x"},"time":"2026-11-22T00:00:00Z""#;
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(20_261_122), ..Config::default() });
    let (mut accepted, mut refused) = (0, 0);
    for (decode, frame) in DOORS {
        let body = frame.replace('@', attribute).into_bytes();
        for _ in 0..1_500 {
            let mut damaged = body.clone();
            let rng = runner.rng();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..damaged.len());
                match rng.random_range(0..4) {
                    0 => damaged[at] = rng.random_range(0x20..0x7f),
                    1 => damaged[at] = rng.random(),
                    2 => drop(damaged.remove(at)),
                    _ => damaged.insert(at, b"{}[],:\"\\0u-"[rng.random_range(0..11)]),
                }
            }
            match decode(&damaged, &DecodeLimits::default()) {
                Ok(_) => accepted += 1,
                Err(DecodeError::Expected { offset, .. }) if offset <= damaged.len() => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > 500 && refused > 500, "{accepted} and {refused}");
}
