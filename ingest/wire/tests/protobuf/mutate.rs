//! Damaged requests: prost and the reader give the same verdict, and the same contents where it is yes.

use std::slice::from_ref;

use candor_policy::key_index::KeyIndex;
use candor_wire::otlp::protobuf::decode_logs;
use candor_wire::otlp::{DecodeError, DecodeLimits};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;

use crate::generate::{config, request};
use crate::oracle::{actual, expected};
use crate::spec::{Spec, key_index, spec};

/// No limit of ours, so that only the encoding decides.
pub(crate) const UNLIMITED: DecodeLimits =
    DecodeLimits { records: usize::MAX, attributes: usize::MAX, depth: usize::MAX, elements: usize::MAX };

#[test]
fn damaged_requests_get_the_verdict_of_prost() {
    let spec = spec();
    let keys = key_index(&spec);
    let mut runner = TestRunner::new(config(250));
    let mut previous = Vec::new();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..250 {
        let body = request().new_tree(&mut runner).unwrap().current().encode_to_vec();
        for _ in 0..90 {
            let mut damaged = body.clone();
            for _ in 0..=runner.rng().random_range(0..2) {
                mutate(&mut damaged, &previous, &mut runner);
            }
            if agree(&damaged, &spec, &keys) { accepted += 1 } else { refused += 1 }
        }
        previous = body;
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted + refused >= 20_000 && accepted > 2_000 && refused > 2_000, "both kinds must be there");
}

/// Hand-written bodies for the rules that random damage seldom reaches.
#[test]
fn crafted_bodies_get_the_verdict_of_prost() {
    let spec = spec();
    let keys = key_index(&spec);
    let mut accepted = 0;
    let bodies = [crafted(), crafted_arrays()].concat();
    for body in &bodies {
        accepted += usize::from(agree(body, &spec, &keys));
    }
    assert!(accepted >= 8 && bodies.len() - accepted >= 8, "{accepted} of {}", bodies.len());
}

/// Whether both accept; fails the test if they differ in verdict or contents.
pub(crate) fn agree(body: &[u8], spec: &Spec, keys: &KeyIndex) -> bool {
    let prost = ExportLogsServiceRequest::decode(body);
    let ours = decode_logs(body, keys, &UNLIMITED);
    match (prost, ours) {
        (Ok(request), Ok(received)) => {
            assert_eq!(actual(&received), expected(spec, &request), "{body:02x?}");
            true
        }
        (Err(_), Err(error)) => {
            let inside = match error {
                DecodeError::Malformed { offset, .. } => offset <= body.len(),
                DecodeError::TooMany { what, limit } => (what, limit) == ("levels of nesting", 100),
            };
            assert!(inside, "{error}");
            false
        }
        (prost, ours) => panic!("prost: {:?}, ours: {:?}: {body:02x?}", prost.err(), ours.err()),
    }
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

fn field(tag: u32, wire: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(tag << 3 | wire), &mut bytes);
    if wire == 2 {
        prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    }
    [bytes, value.to_vec()].concat()
}

fn message(tag: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    field(tag, 2, &fields.concat())
}

/// A request of one record, "phone.app.opened", with these fields besides.
fn request_of_record(fields: &[Vec<u8>]) -> Vec<u8> {
    let name = field(12, 2, b"phone.app.opened");
    message(1, &[message(2, &[message(2, &[vec![name], fields.to_vec()].concat())])])
}

/// `attribute(key, pieces)`: a `KeyValue` whose value comes in pieces.
fn attribute(key: &str, pieces: &[Vec<u8>]) -> Vec<u8> {
    let values = pieces.iter().map(|piece| field(2, 2, piece));
    message(6, &[vec![field(1, 2, key.as_bytes())], values.collect()].concat())
}

fn kvlist(key: &str, double: f64) -> Vec<u8> {
    let value = field(2, 2, &field(4, 1, &double.to_le_bytes()));
    message(6, &[message(1, &[field(1, 2, key.as_bytes()), value])])
}

fn array(text: &[u8]) -> Vec<u8> {
    message(5, &[message(1, &[field(1, 2, text)])])
}

fn group(tag: u32, depth: usize) -> Vec<u8> {
    [field(tag, 3, &[]).repeat(depth), field(tag, 4, &[]).repeat(depth)].concat()
}

/// Pieces of an array add up as those of a list do.
fn crafted_arrays() -> Vec<Vec<u8>> {
    let text = field(1, 2, b"text");
    let (lat, lon) = (kvlist("lat", 1.5), kvlist("lon", 2.5));
    vec![
        request_of_record(&[attribute("tags", &[array(b"a"), array(b"b")])]),
        request_of_record(&[attribute("tags", &[[array(b"a"), array(b"b")].concat()])]),
        request_of_record(&[attribute("tags", &[array(b"a"), text.clone(), array(b"b")])]),
        request_of_record(&[attribute("tags", &[array(b"a"), lat.clone(), array(b"b"), array(b"c")])]),
        request_of_record(&[attribute("location", &[array(b"a"), lat, lon])]),
        request_of_record(&[attribute("tags", &[message(5, &[message(1, &[]), field(9, 0, &[1])])])]),
    ]
}

fn crafted() -> Vec<Vec<u8>> {
    let text = field(1, 2, b"text");
    let (lat, lon) = (kvlist("lat", 1.5), kvlist("lon", 2.5));
    let mut bodies = vec![
        Vec::new(),
        // Pieces of one value: lists add up, another kind between them starts anew, the last kind wins.
        request_of_record(&[attribute("location", &[lat.clone(), lon.clone()])]),
        request_of_record(&[attribute("location", &[[lat.clone(), lon.clone()].concat()])]),
        request_of_record(&[attribute("location", &[lat.clone(), text.clone(), lon.clone()])]),
        request_of_record(&[attribute("location", &[lat.clone(), field(8, 0, &[1]), lon.clone()])]),
        request_of_record(&[attribute("location", &[text.clone(), lat.clone()])]),
        request_of_record(&[attribute("location", &[lat.clone(), field(7, 2, b"bytes")])]),
        request_of_record(&[attribute("location", &[lat, Vec::new(), lon])]),
        // Pieces of the body.
        request_of_record(&[message(5, from_ref(&text)), message(5, &[]), message(5, &[field(1, 2, b"last")])]),
        // The last key of an attribute wins.
        request_of_record(&[message(
            6,
            &[field(1, 2, b"undeclared"), field(2, 2, &text), field(1, 2, b"app.package")],
        )]),
        // The resource behind its records, in two pieces.
        message(
            1,
            &[
                message(2, &[message(2, &[field(12, 2, b"car.brake")])]),
                message(1, &[attribute("device.id", from_ref(&text))]),
                message(1, &[message(1, &[field(1, 2, b"device.id"), field(2, 2, &text)])]),
                message(1, &[message(1, &[field(1, 2, b"region"), field(2, 2, &text)])]),
            ],
        ),
        // Over-long numbers: a varint of ten bytes, an enumeration beyond 32 bits, a bool of two.
        request_of_record(&[field(2, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])]),
        request_of_record(&[field(2, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02])]),
        request_of_record(&[attribute("app.foreground", &[field(2, 0, &[0x80, 0x02])])]),
        // Wrong wire types, tag 0, wire types 6 and 7, a stray end of a group, a length of 2^64 - 1.
        request_of_record(&[field(1, 0, &[1])]),
        request_of_record(&[field(12, 0, &[1])]),
        vec![0x00, 0x00],
        vec![0x0e],
        vec![0x0f],
        field(9, 4, &[]),
        [vec![0x0a], vec![0xff; 9], vec![0x01]].concat(),
        // Not UTF-8 in places that no column reads.
        message(1, &[field(3, 2, &[0xff])]),
        message(1, &[message(2, &[message(1, &[field(1, 2, &[0xc0, 0x80])])])]),
        message(1, &[message(1, &[message(3, &[field(3, 2, &[0xed, 0xa0, 0x80])])])]),
        // Unknown fields of every wire type.
        request_of_record(&[field(99, 0, &[1]), field(99, 1, &[0; 8]), field(99, 2, b"x"), field(99, 5, &[0; 4])]),
        request_of_record(&[field(99, 1, &[0; 7])]),
        // Groups: nested, with another's end, unfinished.
        request_of_record(&[group(77, 3)]),
        [field(7, 3, &[]), field(8, 4, &[])].concat(),
        field(7, 3, &[]),
        [field(7, 3, &[]), field(1, 0, &[1]), field(7, 4, &[])].concat(),
    ];
    // Around prost's limit of nesting: groups, arrays and lists.
    for depth in 90..110 {
        bodies.push(group(7, depth));
        bodies.push(request_of_record(&[group(7, depth)]));
    }
    for depth in 25..55 {
        let mut array = text.clone();
        let mut list = text.clone();
        for _ in 0..depth {
            array = message(5, &[message(1, &[array])]);
            list = message(6, &[message(1, &[message(2, &[list])])]);
        }
        bodies.push(request_of_record(&[message(5, &[array.clone()])]));
        bodies.push(request_of_record(&[attribute("location", &[list])]));
        bodies.push(request_of_record(&[attribute("location", &[array])]));
    }
    // An unknown field in the deepest message that there can be: prost refuses to skip it there.
    for depth in 44..50 {
        let mut array = field(99, 0, &[1]);
        for _ in 0..depth {
            array = message(5, &[message(1, &[array])]);
        }
        bodies.push(request_of_record(&[message(5, &[array])]));
    }
    bodies
}
