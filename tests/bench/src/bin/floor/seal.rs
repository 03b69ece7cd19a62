//! What a file needs at least in which each subject can be shown its own rows, and no others: a commitment to the rows of each, under
//! a blind of its own, and the tree over all of them (RFC 6962, section 2.1). One SHA-256 for each, of the rows as they are.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use sha2::{Digest, Sha256};

use crate::columns::SUBJECT;

type Hash = [u8; 32];

/// Root over the subjects of rows that are in order, each with its salted name.
pub(crate) fn root<'a>(rows: &RecordBatch, mut salted: impl FnMut(&str) -> &'a Hash) -> Hash {
    let subjects = rows.column(SUBJECT).as_string::<i32>();
    let (mut leaves, mut content, mut start) = (Vec::new(), Vec::new(), 0);
    for end in 1..=rows.num_rows() {
        let subject = subjects.value(start);
        if end < rows.num_rows() && subjects.value(end) == subject {
            continue;
        }
        content.clear();
        write(rows, start..end, &mut content);
        let blind: Hash = Sha256::new_with_prefix(b"a secret of a file").chain_update(subject).finalize().into();
        let commitment: Hash = Sha256::new_with_prefix(blind).chain_update(&content).finalize().into();
        let leaf = Sha256::new_with_prefix([0]).chain_update(salted(subject)).chain_update(commitment);
        leaves.push(Hash::from(leaf.finalize()));
        start = end;
    }
    while leaves.len() > 1 {
        let above = leaves.chunks(2).map(|pair| match pair {
            [left, right] => Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into(),
            alone => alone[0],
        });
        leaves = above.collect();
    }
    leaves.first().copied().unwrap_or_default()
}

/// Columns one after another, texts with their lengths.
fn write(rows: &RecordBatch, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
    for column in rows.columns() {
        for row in range.clone() {
            match column.data_type() {
                DataType::Utf8 => {
                    let text = column.as_string::<i32>().value(row);
                    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
                DataType::Int64 => out.extend_from_slice(&column.as_primitive::<Int64Type>().value(row).to_be_bytes()),
                DataType::Float64 => {
                    out.extend_from_slice(&column.as_primitive::<Float64Type>().value(row).to_be_bytes());
                }
                DataType::Timestamp(..) => {
                    let times = column.as_primitive::<TimestampMicrosecondType>();
                    out.extend_from_slice(&times.value(row).to_be_bytes());
                }
                other => panic!("no column of the job is a {other}"),
            }
        }
    }
}
