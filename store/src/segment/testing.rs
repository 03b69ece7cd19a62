//! Small frames for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use candor_policy::consent::ConsentState;
use candor_policy::hex;
use candor_policy::operator::list_of;
use candor_wire::receipt::{PurposeReceipt, Receipt};
use candor_wire::statement::{Assertion, Notice, Statement};
use proptest::prelude::*;

use crate::reply::Reply;
use crate::segment::frame::{BatchHeader, FrameNonce};

/// Rows of the types that frames have, with nulls.
pub(crate) fn rows() -> impl Strategy<Value = RecordBatch> {
    let list = proptest::option::of(prop::collection::vec(any::<Option<String>>(), 0..4));
    let cell = (any::<Option<i64>>(), any::<Option<bool>>(), any::<Option<String>>(), list);
    prop::collection::vec(cell, 0..40).prop_map(|cells| {
        let numbers: Int64Array = cells.iter().map(|cell| cell.0).collect();
        let flags: BooleanArray = cells.iter().map(|cell| cell.1).collect();
        let text: StringArray = cells.iter().map(|cell| cell.2.clone()).collect();
        RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(numbers) as ArrayRef, true),
            ("b", Arc::new(flags) as ArrayRef, true),
            ("s", Arc::new(text) as ArrayRef, true),
            ("l", lists(cells.iter().map(|cell| cell.3.as_deref())), true),
        ])
        .unwrap()
    })
}

/// Lists of texts, as policies make them.
pub(crate) fn lists<'a, T: AsRef<str> + 'a>(lists: impl Iterator<Item = Option<&'a [Option<T>]>>) -> ArrayRef {
    let DataType::List(element) = list_of(DataType::Utf8) else { unreachable!() };
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element);
    for list in lists {
        match list {
            Some(list) => builder.append_value(list.iter().map(Option::as_ref)),
            None => builder.append(false),
        }
    }
    Arc::new(builder.finish())
}

/// `count` rows that are numbered from 0.
pub(crate) fn some_rows(count: usize) -> RecordBatch {
    let numbers: Int64Array = (0..count as i64).map(Some).collect();
    RecordBatch::try_from_iter_with_nullable([("n", Arc::new(numbers) as ArrayRef, true)]).unwrap()
}

/// A batch header without tables.
pub(crate) fn header(source: &str, rejected: u64) -> BatchHeader {
    BatchHeader {
        source: source.to_owned(),
        digest: hex::encode(&[7; 16]),
        received_at: 1,
        policy: String::new(),
        catalogue: String::new(),
        counts: Vec::new(),
        reply: Reply { rejected, message: String::new() },
        tables: Vec::new(),
        nonce: None,
    }
}

/// A receipt for batch `number` of subject number `subject`; rows were stored for the purpose `p`.
pub(crate) fn receipt(subject: u8, number: u64) -> Receipt {
    let stored = PurposeReceipt {
        batch: Some(number),
        dropped: BTreeMap::from([("bad_value".to_owned(), 1)]),
        offered: 4,
        rows: Some(hex::encode(&[8; 32])),
        stored: 3,
    };
    Receipt {
        batch: number,
        body: hex::encode(&[9; 32]),
        catalogue: String::new(),
        checkpoint: None,
        consent: Some(1),
        fleet: "test".to_owned(),
        policy: String::new(),
        purposes: BTreeMap::from([("p".to_owned(), stored)]),
        received_at: 1,
        seal_by: 2,
        subject: hex::encode(&[subject; 32]),
    }
}

/// The header of a numbered batch without tables.
pub(crate) fn numbered_header(number: u64) -> BatchHeader {
    let nonce = FrameNonce { id: hex::encode(&[6; 16]), expires: 1_800_000_000 };
    BatchHeader { digest: String::new(), nonce: Some(nonce), ..header("s", number) }
}

/// A statement about the purpose `p` of subject number `subject`.
pub(crate) fn statement(subject: u8, sequence: i64, given: bool) -> Statement {
    let state = if given { ConsentState::Given } else { ConsentState::Withdrawn };
    Statement {
        ledger_id: hex::encode(&[subject; 32]),
        sequence,
        previous: hex::encode(&[0; 32]),
        purposes: BTreeMap::from([("p".to_owned(), state)]),
        notice: Notice { version: "1".to_owned(), language: "en".to_owned() },
        age_from: None,
        expires: None,
        granted_at: None,
        received_at: "2026-01-01T00:00:00Z".to_owned(),
        asserted_by: Assertion::Controller,
        source: "test".to_owned(),
        signed: None,
    }
}
