//! Frames with rows, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use candor_policy::counts::Count;
use candor_policy::hex;

use crate::reply::Reply;
use crate::segment::frame::{BatchFrame, BatchHeader, Frame, FrameTable};
use crate::table::parquet::Group;

/// Purpose of every row here.
pub(crate) const PURPOSE: &str = "analytics";
/// Stream of every row here.
pub(crate) const STREAM: &str = "phone.app";
/// 2026-01-31, noon.
pub(crate) const NOON: i64 = 20_484 * 86_400_000_000 + 43_200_000_000;
/// One day.
pub(crate) const DAY: i64 = 86_400_000_000;

/// One row for each subject, all under decision 0, and the columns that are named besides.
pub(crate) fn rows(subjects: &[&str], more: &[(&str, ArrayRef)]) -> RecordBatch {
    let count = subjects.len();
    let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("event", Arc::new(StringArray::from(vec!["phone.app.opened"; count])), false),
        ("time", Arc::new(TimestampMicrosecondArray::from(vec![NOON; count]).with_timezone("UTC")), true),
        ("subject", Arc::new(StringArray::from(subjects.to_vec())), false),
        ("consent_seq", Arc::new(Int64Array::from(vec![7; count])), true),
        ("decision", Arc::new(Int32Array::from(vec![0; count])), false),
    ];
    columns.extend(more.iter().map(|(name, values)| (*name, Arc::clone(values), true)));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// A text column.
pub(crate) fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Rows of 2026-01-31 that become a file.
pub(crate) fn group(batches: Vec<RecordBatch>) -> Group {
    let (policy, catalogue) = ("p0".to_owned(), "c0".to_owned());
    Group { received_date: 20_484, policy, catalogue, batches, replaces: Vec::new(), removed: 0 }
}

/// A frame of one request whose rows were all stored.
pub(crate) fn frame(lsn: u64, received_at: i64, policy: &str, rows: RecordBatch) -> Frame {
    let stored = rows.num_rows() as u64;
    let count = Count {
        stream: Some(STREAM.to_owned()),
        purpose: PURPOSE.to_owned(),
        offered: stored,
        stored,
        dropped: BTreeMap::new(),
    };
    let header = BatchHeader {
        source: "devices".to_owned(),
        digest: hex::encode(&lsn.to_be_bytes().repeat(2)),
        received_at,
        policy: policy.to_owned(),
        catalogue: "c0".to_owned(),
        counts: vec![count],
        reply: Reply::default(),
        tables: Vec::new(),
        nonce: None,
    };
    let table = FrameTable { purpose: PURPOSE.to_owned(), stream: STREAM.to_owned(), rows };
    Frame::Batch(BatchFrame { lsn, header, tables: vec![table], receipt: None })
}
