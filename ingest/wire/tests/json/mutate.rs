//! Damaged JSON: never a panic, an error that lies inside the body, and contents that a value tree would have given.

use candor_wire::otlp::{DecodeError, DecodeLimits};
use proptest::prelude::RngExt;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::generate::{config, logs, metrics, traces};
use crate::oracle::actual;
use crate::oracle::item::Request;
use crate::spec::{key_index, spec};
use crate::valid::text;
use crate::write::{ANY, Json, PYTHON};

#[test]
fn damaged_logs_are_refused_or_read_as_the_same_json_laid_out_anew() {
    damaged(&logs::request());
}

#[test]
fn damaged_metrics_are_refused_or_read_as_the_same_json_laid_out_anew() {
    damaged(&metrics::request());
}

#[test]
fn damaged_traces_are_refused_or_read_as_the_same_json_laid_out_anew() {
    damaged(&traces::request());
}

fn damaged<R: Request + Json>(requests: &impl Strategy<Value = R>) {
    let keys = key_index(&spec());
    let limits = DecodeLimits::default();
    let mut runner = TestRunner::new(config(0));
    let (mut accepted, mut compared, mut refused) = (0, 0, 0);
    let mut previous = Vec::new();
    for round in 0..100 {
        let request = requests.new_tree(&mut runner).unwrap().current();
        let body = text(&request, if round % 2 == 0 { ANY } else { PYTHON }, &mut runner).into_bytes();
        for _ in 0..60 {
            let mut damaged = body.clone();
            for _ in 0..=runner.rng().random_range(0..2) {
                mutate(&mut damaged, &previous, &mut runner);
            }
            match R::read(&damaged, &keys, &limits) {
                Ok(received) => {
                    // What was accepted is JSON, and layout means nothing.
                    accepted += 1;
                    // Only what was skipped may be no value: a number beyond all doubles, half of a surrogate pair.
                    let Ok(tree) = serde_json::from_slice::<serde_json::Value>(&damaged) else { continue };
                    let pretty = serde_json::to_vec_pretty(&tree).unwrap();
                    let again = R::read(&pretty, &keys, &limits).unwrap();
                    assert_eq!(actual(&again), actual(&received), "{}", String::from_utf8_lossy(&damaged));
                    compared += 1;
                }
                Err(DecodeError::Expected { what, offset }) => {
                    assert!(offset <= damaged.len() && !what.is_empty(), "{what} at {offset} of {}", damaged.len());
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        previous = body;
    }
    println!("{accepted} accepted, {compared} of them compared, {refused} refused");
    assert!(compared > accepted - accepted / 50, "{compared} of {accepted}");
    assert!(accepted > 1_000 && refused > 1_000, "both kinds must be there: {accepted} and {refused}");
}

#[test]
fn a_body_cut_anywhere_is_refused() {
    let keys = key_index(&spec());
    let mut runner = TestRunner::new(config(0));
    let request = std::iter::repeat_with(|| logs::request().new_tree(&mut runner).unwrap().current())
        .find(|request| request.resource_logs.len() > 1)
        .unwrap();
    let body = text(&request, ANY, &mut runner);
    let read = |body: &[u8]| candor_wire::otlp::json::decode_logs(body, &keys, &DecodeLimits::default());
    for cut in 0..body.len() {
        let error = read(&body.as_bytes()[..cut]).unwrap_err();
        assert!(matches!(error, DecodeError::Expected { offset, .. } if offset <= cut), "{error}");
    }
}

fn mutate(body: &mut Vec<u8>, other: &[u8], runner: &mut TestRunner) {
    const PIECES: [&[u8]; 14] = [
        b"null", b"{}", b"[]", b"\"", b"\\u", b"\\", b",", b"1e999", b"-", b"\"1\"", b"true", b"{\"a\":", b"\xff", b"}",
    ];
    let rng = runner.rng();
    let place = rng.random_range(0..body.len().max(1));
    match rng.random_range(0..7) {
        0 if !body.is_empty() => body[place] ^= 1 << rng.random_range(0..8),
        1 => {
            let piece = PIECES[rng.random_range(0..PIECES.len())];
            body.splice(place..place, piece.iter().copied());
        }
        2 => {
            let piece = PIECES[rng.random_range(0..PIECES.len())];
            let end = (place + piece.len()).min(body.len());
            body.splice(place..end, piece.iter().copied());
        }
        3 if !other.is_empty() => {
            let from = rng.random_range(0..other.len());
            let piece = &other[from..(from + rng.random_range(0..24)).min(other.len())];
            body.splice(place..place, piece.iter().copied());
        }
        4 => {
            let end = (place + rng.random_range(0..9)).min(body.len());
            body.drain(place..end);
        }
        5 => {
            // A digit or a letter of a value: most bodies stay valid.
            if let Some(byte) = body.iter_mut().skip(place).find(|byte| byte.is_ascii_digit()) {
                *byte = b'0' + rng.random_range(0..10);
            }
        }
        _ => {
            if let Some(byte) = body.iter_mut().skip(place).find(|byte| byte.is_ascii_lowercase()) {
                *byte = b'a' + rng.random_range(0..26);
            }
        }
    }
}
