//! Rows in canonical encoding: one encoding a row, one row an encoding. A failure prints the input and proptest's seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests stop where a test would")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use candor_policy::digest::Digest;
use candor_wire::row::{RowError, Rows, Value, decode, hash_of, hash_of_batches};
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

/// Rows of any values, and of so few that columns are the same everywhere and rows are twice there.
fn some_rows() -> impl Strategy<Value = Vec<Row>> {
    prop_oneof![vec(row(), 0..8), few_rows()]
}

fn few_rows() -> impl Strategy<Value = Vec<Row>> {
    let few = (
        (option::of(Just(true)), option::of(Just(1)), option::of(0_i64..300), option::of(Just(0.5))),
        (
            option::of("[ab]{0,2}"),
            option::of(prop_oneof![0_i64..3, any::<i64>()]),
            option::of(Just(7)),
            option::of(vec(option::of(0_i64..2), 0..2)),
        ),
    );
    let always_there =
        |(first, (text, time, date, list)): Row| (first, (text.or(Some(String::new())), time.or(Some(1)), date, list));
    // More texts than are told apart by a number.
    let many = few.clone().prop_flat_map(|(first, (_, time, date, list))| {
        option::weighted(0.9, "[a-c]{0,20}").prop_map(move |text| (first, (text, time, date, list.clone())))
    });
    prop_oneof![
        vec(few.clone(), 0..40),
        vec(few.prop_map(always_there), 0..40),
        vec(many.clone(), 30..80),
        vec(many.prop_map(always_there), 30..80)
    ]
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

/// The hash as `docs/FORMAT.md` says it, step by step.
fn plain_hash(streams: &[(&str, &[Row])]) -> [u8; 32] {
    let mut out = b"candor/rows/v2\n".to_vec();
    for (stream, rows) in streams.iter().filter(|(_, rows)| !rows.is_empty()) {
        let mut rows: Vec<BTreeMap<String, Value>> = rows.iter().map(|row| cells(row).into_iter().collect()).collect();
        let mut names: Vec<String> = rows.iter().flat_map(BTreeMap::keys).cloned().collect();
        names.sort();
        names.dedup();
        rows.sort_by_cached_key(|row| {
            let others = names.iter().filter(|name| *name != "time");
            let keys = |name: &String| row.get(name).map(sort_key);
            [row.get("time").map(sort_key)].into_iter().chain(others.map(keys)).collect::<Vec<_>>()
        });
        out.extend((stream.len() as u32).to_be_bytes());
        out.extend(stream.as_bytes());
        out.extend((rows.len() as u64).to_be_bytes());
        out.extend((names.len() as u32).to_be_bytes());
        for name in &names {
            let column: Vec<Option<(u8, Vec<u8>)>> = rows.iter().map(|row| row.get(name).map(encoded)).collect();
            plain_column(name, &column, &mut out);
        }
    }
    *Digest::of_bytes(&out).as_bytes()
}

fn plain_column(name: &str, column: &[Option<(u8, Vec<u8>)>], out: &mut Vec<u8>) {
    let values: Vec<&Vec<u8>> = column.iter().flatten().map(|(_, value)| value).collect();
    let tag = column.iter().flatten().next().unwrap().0;
    out.extend((name.len() as u32).to_be_bytes());
    out.extend(name.as_bytes());
    out.push(tag);
    if values.len() == column.len() && values.windows(2).all(|pair| pair[0] == pair[1]) {
        out.push(b'=');
        out.extend(values[0]);
        return;
    }
    out.push(if values.len() == column.len() { b'*' } else { b'?' });
    if values.len() < column.len() {
        for eight in column.chunks(8) {
            out.push((0..8).map(|bit| u8::from(eight.get(bit).is_some_and(Option::is_some)) << (7 - bit)).sum());
        }
    }
    match tag {
        b'f' => out.extend(values.into_iter().flatten()),
        b's' | b'l' => {
            let skipped = if tag == b's' { 4 } else { 0 };
            let mut different: Vec<&Vec<u8>> = Vec::new();
            for value in &values {
                if !different.contains(value) {
                    different.push(value);
                }
            }
            let written = if different.len() > 32 {
                out.push(0);
                values
            } else {
                out.push(different.len() as u8);
                out.extend(values.iter().map(|value| different.iter().position(|other| other == value).unwrap() as u8));
                different
            };
            plain_numbers(&written.iter().map(|value| (value.len() - skipped) as i64).collect::<Vec<_>>(), out);
            out.extend(written.iter().flat_map(|value| &value[skipped..]));
        }
        b'b' => plain_numbers(&values.iter().map(|value| i64::from(value[0])).collect::<Vec<_>>(), out),
        _ => {
            let number = |value: &&Vec<u8>| i64::from_be_bytes(value.as_slice().try_into().unwrap());
            plain_numbers(&values.iter().map(number).collect::<Vec<_>>(), out);
        }
    }
}

fn plain_numbers(numbers: &[i64], out: &mut Vec<u8>) {
    let low = i128::from(*numbers.iter().min().unwrap());
    let more: Vec<i128> = numbers.iter().map(|number| i128::from(*number) - low).collect();
    let width = [0, 1, 2, 4, 8].into_iter().find(|width| more.iter().all(|more| *more < 1 << (8 * width))).unwrap();
    out.extend((low as i64).to_be_bytes());
    out.push(width as u8);
    for more in more {
        out.extend(&more.to_be_bytes()[16 - width..]);
    }
}

/// Numbers by value, doubles by their bits, bytes as they are.
fn sort_key(value: &Value) -> (i64, u64, Vec<u8>) {
    match value {
        Value::Bool(is) => (i64::from(*is), 0, vec![]),
        Value::Integer(number) | Value::Time(number) => (*number, 0, vec![]),
        Value::Date(days) => (i64::from(*days), 0, vec![]),
        Value::Float(_) => (0, u64::from_be_bytes(encoded(value).1.try_into().unwrap()), vec![]),
        Value::Text(text) => (0, 0, text.clone().into_bytes()),
        Value::List(_) => (0, 0, encoded(value).1),
    }
}

/// Tag and value of a cell.
fn encoded(value: &Value) -> (u8, Vec<u8>) {
    match value {
        Value::Bool(is) => (b'b', vec![u8::from(*is)]),
        Value::Integer(number) => (b'i', number.to_be_bytes().to_vec()),
        Value::Time(number) => (b't', number.to_be_bytes().to_vec()),
        Value::Date(days) => (b'd', i64::from(*days).to_be_bytes().to_vec()),
        Value::Float(float) if float.is_nan() => (b'f', 0x7ff8_0000_0000_0000_u64.to_be_bytes().to_vec()),
        Value::Float(float) => (b'f', float.to_bits().to_be_bytes().to_vec()),
        Value::Text(text) => (b's', [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()),
        Value::List(elements) => {
            let mut out = (elements.len() as u32).to_be_bytes().to_vec();
            for element in elements {
                match element.as_ref().map(encoded) {
                    Some((tag, value)) => out.extend([vec![tag], value].concat()),
                    None => out.push(b'n'),
                }
            }
            (b'l', out)
        }
    }
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
    fn the_hash_is_that_of_the_format_from_columns_and_from_encodings(one in some_rows(), other in some_rows()) {
        let (first, second) = (batch(&one), batch(&other));
        let hash = hash_of_batches(&BTreeMap::from([("car", &first), ("phone", &second)]), DATE).unwrap();
        prop_assert_eq!(hash, plain_hash(&[("car", &one), ("phone", &other)]));
        let (first, second) = (encode(&one), encode(&other));
        prop_assert_eq!(hash, hash_of([("phone", second.iter().collect()), ("car", first.iter().collect())]).unwrap());
    }

    #[test]
    fn neither_order_nor_parts_nor_later_columns_change_the_hash(
        rows in some_rows(), cut in 0_usize..40, at in 0_usize..10, later in any::<bool>(),
    ) {
        let hash = hash_of_batches(&BTreeMap::from([("car", &batch(&rows))]), DATE).unwrap();
        let encoded = encode(&rows);
        let mut turned: Vec<_> = encoded.iter().collect();
        turned.reverse();
        let (left, right) = turned.split_at(cut % (turned.len() + 1));
        prop_assert_eq!(hash, hash_of([("car", left.to_vec()), ("empty", vec![]), ("car", right.to_vec())]).unwrap());

        let mut turned = rows.clone();
        turned.rotate_left(cut % (rows.len() + 1));
        let mut all = columns(&turned);
        all.rotate_left(at);
        if later {
            all.insert(at, ("later", Arc::new(StringArray::new_null(rows.len()))));
        }
        let wider = RecordBatch::try_from_iter_with_nullable(all.into_iter().map(|(name, cells)| (name, cells, true)));
        prop_assert_eq!(hash, hash_of_batches(&BTreeMap::from([("car", &wider.unwrap())]), DATE).unwrap());
    }

    #[test]
    fn other_rows_have_another_hash(one in few_rows(), other in few_rows()) {
        let sorted = |rows: &[Row]| {
            let mut encodings: Vec<Vec<u8>> = encode(rows).iter().map(<[u8]>::to_vec).collect();
            encodings.sort();
            encodings
        };
        let hash = |rows: &[Row]| hash_of_batches(&BTreeMap::from([("car", &batch(rows))]), DATE).unwrap();
        prop_assert_eq!(hash(&one) == hash(&other), sorted(&one) == sorted(&other));
    }

    #[test]
    fn a_row_more_or_less_or_of_another_stream_is_another_hash(rows in vec(row(), 2..8), at in 0_usize..8) {
        let encoded = encode(&rows);
        let all: Vec<_> = encoded.iter().collect();
        let hash = |rows: &[&[u8]], stream: &str| hash_of([(stream, rows.to_vec())]).unwrap();
        let (whole, at) = (hash(&all, "car"), at % all.len());
        let (mut fewer, mut more) = (all.clone(), all.clone());
        let taken = fewer.remove(at);
        more.push(taken);
        prop_assert_ne!(whole, hash(&fewer, "car"));
        prop_assert_ne!(whole, hash(&more, "car"));
        prop_assert_ne!(whole, hash(&all, "cars"));
        prop_assert_ne!(whole, hash_of([("car", fewer), ("phone", vec![taken])]).unwrap());
    }

    #[test]
    fn hidden_cells_and_slices_change_nothing(rows in some_rows(), from in 0_usize..40) {
        let from = from % (rows.len() + 1);
        let sliced = batch(&rows).slice(from, rows.len() - from);
        let hash = hash_of_batches(&BTreeMap::from([("car", &sliced)]), DATE).unwrap();
        prop_assert_eq!(hash, plain_hash(&[("car", &rows[from..])]));
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

#[test]
fn rows_that_fit_into_no_table_have_no_hash() {
    let cell = |name: u8, tag: u8, value: &[u8]| [&[0, 0, 0, 1, name, tag], value].concat();
    let (number, time) = (cell(b'a', b'i', &[0; 8]), cell(b'a', b't', &[0; 8]));
    let hash = |rows: &[Vec<u8>]| hash_of([("car", rows.iter().map(Vec::as_slice).collect())]);
    assert!(hash(std::slice::from_ref(&number)).is_ok());
    assert_eq!(hash(&[number.clone(), time]), Err(RowError::Malformed));
    assert_eq!(hash(&[number, vec![0]]), Err(RowError::Malformed));
    // A column for each row: a table of all of them would have the square of what was sent.
    let wide: Vec<Vec<u8>> = (0..2_000_u32).map(|n| [&[0, 0, 0, 4], &n.to_be_bytes()[..], b"b\x01"].concat()).collect();
    let ascii: Vec<Vec<u8>> = wide.into_iter().filter(|row| row[4..8].is_ascii()).collect();
    assert!(ascii.len() > 1_000);
    assert_eq!(hash(&ascii), Err(RowError::Malformed));
}
