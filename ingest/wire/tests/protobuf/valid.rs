//! Valid requests become what the oracle says, column for column.

use std::cell::Cell;

use candor_wire::otlp::DecodeLimits;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::generate::{config, logs, metrics, traces};
use crate::oracle::item::Request;
use crate::oracle::{actual, expected};
use crate::spec::{key_index, spec, spec_by_record, spec_by_scope};

#[test]
fn random_logs_become_what_the_oracle_says() {
    all_become_what_the_oracle_says(&logs::request());
}

#[test]
fn random_metrics_become_what_the_oracle_says() {
    all_become_what_the_oracle_says(&metrics::request());
}

#[test]
fn random_traces_become_what_the_oracle_says() {
    all_become_what_the_oracle_says(&traces::request());
}

fn all_become_what_the_oracle_says<R: Request>(requests: &impl Strategy<Value = R>) {
    for spec in [spec(), spec_by_record(), spec_by_scope()] {
        let keys = key_index(&spec);
        let (rows, bad) = (Cell::new(0), Cell::new(0));
        let verdict = TestRunner::new(config(400)).run(requests, |request| {
            let body = request.encode_to_vec();
            let received = R::decode_by_us(&body, &keys, &DecodeLimits::default())?;
            // As prost reads it: on the way there -0 becomes 0 where 0 is the default.
            let expected = expected(&spec, &R::decode(body.as_slice()).unwrap());
            prop_assert_eq!(actual(&received), expected);
            prop_assert_eq!(received.records(), sent(&request));
            rows.set(rows.get() + received.groups().iter().map(|group| group.event.len()).sum::<usize>());
            bad.set(bad.get() + received.tally().bad_values.len());
            Ok(())
        });
        if let Err(error) = verdict {
            panic!("{error}");
        }
        println!("{} rows, {} bad", rows.get(), bad.get());
        assert!(rows.get() > 200 && bad.get() > 20, "the generator must make both: {rows:?} rows, {bad:?} bad");
    }
}

fn sent(request: &impl Request) -> u64 {
    let resources = request.resources();
    resources.iter().flat_map(|resource| &resource.scopes).map(|(_, items)| items.len() as u64).sum()
}
