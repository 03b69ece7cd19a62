//! Requests at random become the same rows whichever way they are encoded.

use candor_wire::otlp::DecodeLimits;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::generate::{config, logs, metrics, traces};
use crate::oracle::item::Request;
use crate::oracle::{actual, expected};
use crate::spec::{key_index, spec, spec_by_record, spec_by_scope};
use crate::write::{ANY, Dialect, JAVASCRIPT, Json, PYTHON, Writer};

#[test]
fn logs_of_every_dialect_become_what_protobuf_becomes() {
    every_dialect_becomes_what_protobuf_becomes(&logs::request());
}

#[test]
fn metrics_of_every_dialect_become_what_protobuf_becomes() {
    every_dialect_becomes_what_protobuf_becomes(&metrics::request());
}

#[test]
fn traces_of_every_dialect_become_what_protobuf_becomes() {
    every_dialect_becomes_what_protobuf_becomes(&traces::request());
}

fn every_dialect_becomes_what_protobuf_becomes<R: Request + Json>(requests: &impl Strategy<Value = R>) {
    let mut runner = TestRunner::new(config(0));
    for spec in [spec(), spec_by_record(), spec_by_scope()] {
        let keys = key_index(&spec);
        let (mut rows, mut bad) = (0, 0);
        for _ in 0..150 {
            let body = requests.new_tree(&mut runner).unwrap().current().encode_to_vec();
            // Protobuf leaves a field of -0 out, as if it were 0.
            let request = R::decode(body.as_slice()).unwrap();
            let expected = expected(&spec, &request);
            let protobuf = R::decode_by_us(&body, &keys, &DecodeLimits::default()).unwrap();
            assert_eq!(actual(&protobuf), expected);
            for dialect in [PYTHON, JAVASCRIPT, ANY] {
                let text = text(&request, dialect, &mut runner);
                let received = R::read(text.as_bytes(), &keys, &DecodeLimits::default());
                let received = received.unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!(actual(&received), expected, "{text}");
                rows += received.groups().iter().map(|group| group.event.len()).sum::<usize>();
                bad += received.tally().bad_values.len();
            }
        }
        println!("{rows} rows, {bad} bad");
        assert!(rows > 200 && bad > 20, "the generator must make both: {rows} rows, {bad} bad");
    }
}

/// A request in a dialect.
pub(crate) fn text(request: &impl Json, dialect: Dialect, runner: &mut TestRunner) -> String {
    request.write(&mut Writer { dialect, rng: runner.rng() })
}
