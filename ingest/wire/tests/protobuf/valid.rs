//! Valid requests become what the oracle says, column for column.

use std::cell::Cell;

use candor_wire::otlp::DecodeLimits;
use candor_wire::otlp::protobuf::decode_logs;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message;

use crate::generate::{config, request};
use crate::oracle::{actual, expected};
use crate::spec::{key_index, spec, spec_by_record};

#[test]
fn random_requests_become_what_the_oracle_says() {
    for spec in [spec(), spec_by_record()] {
        let keys = key_index(&spec);
        let (rows, bad) = (Cell::new(0), Cell::new(0));
        let verdict = TestRunner::new(config(400)).run(&request(), |request| {
            let received = decode_logs(&request.encode_to_vec(), &keys, &DecodeLimits::default())?;
            let expected = expected(&spec, &request);
            prop_assert_eq!(actual(&received), expected);
            prop_assert_eq!(received.records(), sent(&request));
            rows.set(rows.get() + received.groups().iter().map(|group| group.event.len()).sum::<usize>());
            bad.set(bad.get() + received.tally().bad_values.len());
            Ok(())
        });
        if let Err(error) = verdict {
            panic!("{error}");
        }
        assert!(rows.get() > 200 && bad.get() > 20, "the generator must make both: {rows:?} rows, {bad:?} bad");
    }
}

fn sent(request: &ExportLogsServiceRequest) -> u64 {
    let scopes = request.resource_logs.iter().flat_map(|logs| &logs.scope_logs);
    scopes.map(|scope| scope.log_records.len() as u64).sum()
}
