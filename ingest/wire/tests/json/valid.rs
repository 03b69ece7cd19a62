//! Requests at random become the same rows whichever way they are encoded.

use candor_wire::otlp::{DecodeLimits, json, protobuf};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use prost::Message;

use crate::generate::{config, request};
use crate::oracle::actual;
use crate::spec::{key_index, spec, spec_by_record};
use crate::write::{ANY, Dialect, JAVASCRIPT, PYTHON, Writer};

#[test]
fn every_dialect_becomes_what_protobuf_becomes() {
    for spec in [spec(), spec_by_record()] {
        let keys = key_index(&spec);
        let mut runner = TestRunner::new(config(0));
        let (mut rows, mut bad) = (0, 0);
        for _ in 0..400 {
            let request = request().new_tree(&mut runner).unwrap().current();
            let expected = protobuf::decode_logs(&request.encode_to_vec(), &keys, &DecodeLimits::default()).unwrap();
            for dialect in [PYTHON, JAVASCRIPT, ANY] {
                let text = text(&request, dialect, &mut runner);
                let received = json::decode_logs(text.as_bytes(), &keys, &DecodeLimits::default());
                let received = received.unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!(actual(&received), actual(&expected), "{text}");
                rows += received.groups().iter().map(|group| group.event.len()).sum::<usize>();
                bad += received.tally().bad_values.len();
            }
        }
        assert!(rows > 600 && bad > 60, "the generator must make both: {rows} rows, {bad} bad");
    }
}

/// A request in a dialect.
pub(crate) fn text(request: &ExportLogsServiceRequest, dialect: Dialect, runner: &mut TestRunner) -> String {
    Writer { dialect, rng: runner.rng() }.request(request)
}
