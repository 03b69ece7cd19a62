//! Rows in canonical encoding: one encoding a row, one row an encoding. A failure prints the input and proptest's seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests stop where a test would")]

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use candor_policy::digest::Digest;
use candor_wire::row::{RowError, Rows, Value, decode, hash_of};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const DATE: i32 = 20_779;

/// One row: null or a value for each column.
type Row = (
    (Option<bool>, Option<i32>, Option<i64>, Option<f64>),
    (Option<String>, Option<i64>, Option<i32>, Option<Vec<Option<i64>>>),
);

fn row() -> impl Strategy<Value = Row> {
    let double = prop_oneof![any::<f64>(), Just(f64::NAN), Just(-0.0), Just(0.0)];
    (
        (any::<Option<bool>>(), any::<Option<i32>>(), any::<Option<i64>>(), option::of(double)),
        (option::of(".{0,6}"), any::<Option<i64>>(), any::<Option<i32>>(), option::of(vec(any::<Option<i64>>(), 0..4))),
    )
}

fn columns(rows: &[Row]) -> Vec<(&'static str, ArrayRef)> {
    let mut lists = ListBuilder::new(Int64Builder::new());
    for (_, (.., list)) in rows {
        lists.append_option(list.clone());
    }
    vec![
        ("z_bool", Arc::new(rows.iter().map(|(row, _)| row.0).collect::<BooleanArray>())),
        ("int", Arc::new(rows.iter().map(|(row, _)| row.1).collect::<Int32Array>())),
        ("long", Arc::new(rows.iter().map(|(row, _)| row.2).collect::<Int64Array>())),
        ("double", Arc::new(rows.iter().map(|(row, _)| row.3).collect::<Float64Array>())),
        ("text", Arc::new(rows.iter().map(|(_, row)| row.0.clone()).collect::<StringArray>())),
        ("time", Arc::new(rows.iter().map(|(_, row)| row.1).collect::<TimestampMicrosecondArray>())),
        ("date", Arc::new(rows.iter().map(|(_, row)| row.2).collect::<Date32Array>())),
        ("a_list", Arc::new(lists.finish())),
        ("subject", Arc::new(StringArray::from(vec!["somebody"; rows.len()]))),
        ("batch", Arc::new((0..rows.len() as i64).collect::<Int64Array>())),
    ]
}

fn batch(rows: &[Row]) -> RecordBatch {
    RecordBatch::try_from_iter(columns(rows)).unwrap()
}

fn encode(rows: &[Row]) -> Rows {
    Rows::encode(&batch(rows), DATE).unwrap()
}

/// What a row says, in the order of names.
fn cells(row: &Row) -> Vec<(String, Value)> {
    let ((boolean, int, long, double), (text, time, date, list)) = row.clone();
    let list = list.map(|list| Value::List(list.into_iter().map(|one| one.map(Value::Integer)).collect()));
    let all = [
        ("a_list", list),
        ("date", date.map(Value::Date)),
        ("double", double.map(Value::Float)),
        ("int", int.map(|int| Value::Integer(int.into()))),
        ("long", long.map(Value::Integer)),
        ("received_date", Some(Value::Date(DATE))),
        ("text", text.map(Value::Text)),
        ("time", time.map(Value::Time)),
        ("z_bool", boolean.map(Value::Bool)),
    ];
    all.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))).collect()
}

/// Written out, -0 and NaN are told from what they equal or do not.
fn shown(cells: &[(String, Value)]) -> String {
    format!("{cells:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_encoding_says_the_row_and_nothing_else(rows in vec(row(), 1..8)) {
        let encoded = encode(&rows);
        prop_assert_eq!(encoded.len(), rows.len());
        for (row, bytes) in rows.iter().zip(encoded.iter()) {
            prop_assert_eq!(shown(&decode(bytes).unwrap()), shown(&cells(row)));
        }
        for (one, bytes) in rows.iter().zip(encoded.iter()) {
            for (other, others) in rows.iter().zip(encoded.iter()) {
                prop_assert_eq!(bytes == others, shown(&cells(one)) == shown(&cells(other)));
            }
        }
    }

    #[test]
    fn columns_without_a_value_and_their_order_change_nothing(rows in vec(row(), 0..8), at in 0_usize..10) {
        let mut all = columns(&rows);
        all.rotate_left(at);
        all.insert(at, ("later", Arc::new(StringArray::new_null(rows.len()))));
        let wider = RecordBatch::try_from_iter_with_nullable(all.into_iter().map(|(name, cells)| (name, cells, true)));
        prop_assert_eq!(Rows::encode(&wider.unwrap(), DATE).unwrap(), encode(&rows));
    }

    #[test]
    fn slices_encode_as_their_rows(rows in vec(row(), 1..8), from in 0_usize..8) {
        let from = from % rows.len();
        let sliced = Rows::encode(&batch(&rows).slice(from, rows.len() - from), DATE).unwrap();
        prop_assert_eq!(sliced, encode(&rows[from..]));
    }

    #[test]
    fn neither_order_nor_parts_change_the_hash_and_a_row_does(
        one in vec(row(), 1..6), other in vec(row(), 0..6), cut in 0_usize..6,
    ) {
        let (first, second) = (encode(&one), encode(&other));
        let (first, second): (Vec<_>, Vec<_>) = (first.iter().collect(), second.iter().collect());
        let hash = hash_of([("car", first.clone()), ("phone", second.clone())]);
        let mut turned = first.clone();
        turned.reverse();
        let (left, right) = turned.split_at(cut % turned.len());
        let parts = [("phone", second.clone()), ("car", left.to_vec()), ("empty", vec![]), ("car", right.to_vec())];
        prop_assert_eq!(hash, hash_of(parts));
        prop_assert_ne!(hash, hash_of([("car", first[1..].to_vec()), ("phone", second.clone())]));
        let twice = first.iter().chain(&first[..1]).copied().collect();
        prop_assert_ne!(hash, hash_of([("car", twice), ("phone", second.clone())]));
        prop_assert_ne!(hash, hash_of([("cars", first), ("phone", second)]));
    }

    #[test]
    fn the_hash_takes_rows_in_the_order_of_their_bytes(
        shared in vec(0_u8..2, 0..20), mut rows in vec(vec(0_u8..2, 0..12), 1..30), with_shared: bool,
    ) {
        // Few different bytes, zeros among them: rows that are the beginning of others, or differ far behind.
        if with_shared {
            for row in &mut rows {
                *row = [shared.as_slice(), row].concat();
            }
        }
        let hash = hash_of([("car", rows.iter().map(Vec::as_slice).collect())]);
        rows.sort();
        let mut plain = b"\0\0\0\x03car".to_vec();
        plain.extend((rows.len() as u64).to_be_bytes());
        for row in &rows {
            plain.extend((row.len() as u32).to_be_bytes());
            plain.extend(row);
        }
        prop_assert_eq!(hash, *Digest::of_bytes(&plain).as_bytes());
    }

    #[test]
    fn bytes_that_anybody_may_write_are_read_or_refused(bytes in vec(any::<u8>(), 0..80)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn an_encoding_that_was_changed_is_another_row_or_none(row in row(), at in 0_usize..200, other: u8) {
        let encoded = encode(std::slice::from_ref(&row));
        let mut bytes = encoded.row(0).to_vec();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != other);
        bytes[at] = other;
        if let Ok(read) = decode(&bytes) {
            prop_assert_ne!(shown(&read), shown(&cells(&row)));
        }
    }
}

#[test]
fn what_is_no_row_is_refused() {
    let head = |tag: u8| [&[0, 0, 0, 1, b'a', tag][..]].concat();
    let cell = |tag: u8, value: &[u8]| [&head(tag), value].concat();
    let two_kinds = [&[0, 0, 0, 2, b'b', 1, b'i'][..], &[0; 8]].concat();
    for bytes in [
        vec![0],
        cell(b'b', &[2]),
        cell(b'f', &0x7ff8_0000_0000_0001_u64.to_be_bytes()),
        cell(b'd', &i64::MAX.to_be_bytes()),
        cell(b's', &[0, 0, 0, 1, 0xff]),
        cell(b's', &[0xff, 0xff, 0xff, 0xff]),
        cell(b'l', &[0xff, 0xff, 0xff, 0xff, b'n']),
        cell(b'l', &[0, 0, 0, 1, b'l', 0, 0, 0, 0]),
        cell(b'l', &two_kinds),
        cell(b'x', &[]),
        [cell(b'b', &[1]), cell(b'b', &[1])].concat(),
    ] {
        assert_eq!(decode(&bytes), Err(RowError::Malformed), "{bytes:?}");
    }
}

#[test]
fn columns_of_other_types_are_refused_unless_they_are_null() {
    let other = |cells: Vec<Option<i16>>| {
        let cells: ArrayRef = Arc::new(arrow_array::Int16Array::from(cells));
        assert_eq!(cells.len(), 1);
        Rows::encode(&RecordBatch::try_from_iter([("a", cells)]).unwrap(), DATE)
    };
    assert_eq!(other(vec![Some(1)]), Err(RowError::Type));
    assert!(other(vec![None]).is_ok());
}
