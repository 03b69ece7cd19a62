//! Damaged requests: prost and the reader give the same verdict, and the same contents where it is yes.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::generate::{config, logs, metrics, traces};
use crate::law::agree;
use crate::oracle::item::Request;
use crate::spec::{key_index, spec};

#[test]
fn damaged_logs_get_the_verdict_of_prost() {
    damaged_requests_get_the_verdict_of_prost(&logs::request(), 250);
}

#[test]
fn damaged_metrics_get_the_verdict_of_prost() {
    damaged_requests_get_the_verdict_of_prost(&metrics::request(), 150);
}

#[test]
fn damaged_traces_get_the_verdict_of_prost() {
    damaged_requests_get_the_verdict_of_prost(&traces::request(), 150);
}

fn damaged_requests_get_the_verdict_of_prost<R: Request>(requests: &impl Strategy<Value = R>, count: u32) {
    let spec = spec();
    let keys = key_index(&spec);
    let mut runner = TestRunner::new(config(count));
    let mut previous = Vec::new();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..count {
        let body = requests.new_tree(&mut runner).unwrap().current().encode_to_vec();
        for _ in 0..90 {
            let mut damaged = body.clone();
            for _ in 0..=runner.rng().random_range(0..2) {
                mutate(&mut damaged, &previous, &mut runner);
            }
            if agree::<R>(&damaged, &spec, &keys) { accepted += 1 } else { refused += 1 }
        }
        previous = body;
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > 1_000 && refused > 1_000, "both kinds must be there");
}

fn mutate(body: &mut Vec<u8>, other: &[u8], runner: &mut TestRunner) {
    let rng = runner.rng();
    let at = |length: usize, rng: &mut proptest::test_runner::TestRng| rng.random_range(0..length.max(1));
    let place = at(body.len(), rng);
    match rng.random_range(0..7) {
        0 if !body.is_empty() => body[place] ^= 1 << rng.random_range(0..8),
        1 if !body.is_empty() => body[place] = rng.random(),
        2 => body.truncate(place),
        3 => body.insert(place.min(body.len()), rng.random()),
        4 => {
            // Another request's bytes in the middle of this one.
            let from = at(other.len(), rng);
            let piece = &other[from..(from + at(12, rng)).min(other.len())];
            body.splice(place..place, piece.iter().copied());
        }
        5 => {
            let end = (place + at(9, rng)).min(body.len());
            body.drain(place..end);
        }
        _ => {
            // Whole messages appended are merged or added.
            body.extend_from_slice(other);
        }
    }
}
