//! Leaves of sealed files against another way to make them: from each row's own encoding, as whoever checks them may do it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests stop where a test would")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_select::concat::concat_batches;
use candor_wire::leaf::{Entry, SealError, Sealer, Secret, content_of, salted};
use candor_wire::row::{Rows, Value, decode};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const DATE: i32 = 20_779;

#[derive(Clone, Debug)]
struct Row {
    subject: u8,
    batch: Option<i64>,
    event: String,
    time: Option<i64>,
    decision: i32,
    long: Option<i64>,
    load: Option<f64>,
    charging: Option<bool>,
    day: Option<i32>,
    words: Option<Vec<Option<String>>>,
}

fn row() -> impl Strategy<Value = Row> {
    let long = prop_oneof![Just(None), Just(Some(7)), (-300_i64..300).prop_map(Some), any::<i64>().prop_map(Some)];
    let load = prop_oneof![
        Just(None),
        Just(Some(f64::NAN)),
        Just(Some(-f64::NAN)),
        Just(Some(-0.0)),
        any::<f64>().prop_map(Some)
    ];
    let word = prop::option::of("[aä]{0,2}");
    let head = (0_u8..6, prop::option::of(0_i64..3), "[ab]{0,3}", prop::option::of(any::<i64>()), 0_i32..3);
    let rest = (
        long,
        load,
        any::<Option<bool>>(),
        prop::option::of(-5_i32..5),
        prop::option::of(prop::collection::vec(word, 0..3)),
    );
    (head, rest).prop_map(|((subject, batch, event, time, decision), (long, load, charging, day, words))| Row {
        subject,
        batch,
        event,
        time,
        decision,
        long,
        load,
        charging,
        day,
        words,
    })
}

fn name(subject: u8) -> String {
    format!("{subject:032x}")
}

fn table(rows: &[Row]) -> RecordBatch {
    let mut words = ListBuilder::new(StringBuilder::new());
    for row in rows {
        words.append_option(row.words.clone());
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("event", Arc::new(rows.iter().map(|row| Some(row.event.clone())).collect::<StringArray>())),
        ("time", Arc::new(rows.iter().map(|row| row.time).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))),
        ("subject", Arc::new(rows.iter().map(|row| Some(name(row.subject))).collect::<StringArray>())),
        ("batch", Arc::new(rows.iter().map(|row| row.batch).collect::<Int64Array>())),
        ("decision", Arc::new(rows.iter().map(|row| Some(row.decision)).collect::<Int32Array>())),
        ("long", Arc::new(rows.iter().map(|row| row.long).collect::<Int64Array>())),
        ("load", Arc::new(rows.iter().map(|row| row.load).collect::<Float64Array>())),
        ("charging", Arc::new(rows.iter().map(|row| row.charging).collect::<BooleanArray>())),
        ("day", Arc::new(rows.iter().map(|row| row.day).collect::<Date32Array>())),
        ("words", Arc::new(words.finish())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true))).unwrap()
}

/// The content of a leaf, value by value, as the page says it.
fn content_by_the_page(rows: &RecordBatch) -> Vec<u8> {
    let mut all = Vec::new();
    let encoded = Rows::encode(rows, DATE).unwrap();
    let batches = rows.column_by_name("batch").unwrap();
    let batches = batches.as_any().downcast_ref::<Int64Array>().unwrap();
    let rows: Vec<Vec<(String, Value)>> = encoded
        .iter()
        .zip(batches.iter())
        .map(|(row, batch)| {
            let mut row = decode(row).unwrap();
            row.extend(batch.map(|batch| ("batch".to_owned(), Value::Integer(batch))));
            row
        })
        .collect();
    for block in rows.chunks(8_192) {
        let names: BTreeSet<&str> = block.iter().flatten().map(|(name, _)| name.as_str()).collect();
        let mut heads = Vec::new();
        for name in &names {
            let value = block.iter().flatten().find(|(other, _)| other == name).map(|(_, value)| value);
            heads.extend((name.len() as u32).to_be_bytes());
            heads.extend(name.as_bytes());
            heads.push(tag(value.unwrap()));
        }
        all.extend(Sha256::digest(heads));
        all.extend(varint(block.len() as u64));
        for name in names {
            let cells: Vec<Option<&Value>> =
                block.iter().map(|row| row.iter().find(|(other, _)| other == name).map(|(_, value)| value)).collect();
            match cells.as_slice() {
                [Some(alone)] => all.extend(short(alone)),
                several => column_by_the_page(several, &mut all),
            }
        }
    }
    all
}

fn column_by_the_page(cells: &[Option<&Value>], all: &mut Vec<u8>) {
    let there: Vec<&Value> = cells.iter().copied().flatten().collect();
    let encoded: Vec<Vec<u8>> = there.iter().map(|value| encode(value)).collect();
    if there.len() == cells.len() && encoded.iter().all(|other| *other == encoded[0]) {
        all.push(b'=');
        return all.extend(&encoded[0]);
    }
    if there.len() == cells.len() {
        all.push(b'*');
    } else {
        all.push(b'?');
        for byte in cells.chunks(8) {
            all.push(byte.iter().enumerate().map(|(n, cell)| u8::from(cell.is_some()) << (7 - n)).sum());
        }
    }
    match there[0] {
        Value::Float(_) => all.extend(encoded.concat()),
        Value::Text(_) | Value::List(_) => {
            let bytes: Vec<&[u8]> = encoded
                .iter()
                .zip(&there)
                .map(|(bytes, value)| if matches!(value, Value::Text(_)) { &bytes[4..] } else { &bytes[..] })
                .collect();
            numbers_by_the_page(&bytes.iter().map(|bytes| bytes.len() as i64).collect::<Vec<_>>(), all);
            all.extend(bytes.concat());
        }
        _ => numbers_by_the_page(&there.iter().map(|value| number(value)).collect::<Vec<_>>(), all),
    }
}

fn numbers_by_the_page(numbers: &[i64], all: &mut Vec<u8>) {
    let (low, high) = (*numbers.iter().min().unwrap(), *numbers.iter().max().unwrap());
    let widest = i128::from(high) - i128::from(low);
    let width = [0_u32, 1, 2, 4, 8].into_iter().find(|width| widest < 1 << (8 * width)).unwrap();
    all.extend(low.to_be_bytes());
    all.push(width as u8);
    for number in numbers {
        let more = (i128::from(*number) - i128::from(low)) as u64;
        all.extend(&more.to_be_bytes()[8 - width as usize..]);
    }
}

fn varint(number: u64) -> Vec<u8> {
    let groups = (64 - number.leading_zeros()).div_ceil(7).max(1);
    (0..groups).map(|n| (number >> (7 * n)) as u8 & 0x7f | u8::from(n + 1 < groups) << 7).collect()
}

/// The value of a row alone.
fn short(value: &Value) -> Vec<u8> {
    match value {
        Value::Integer(_) | Value::Time(_) | Value::Date(_) => {
            let number = i128::from(number(value));
            varint(u64::try_from(if number < 0 { -2 * number - 1 } else { 2 * number }).unwrap())
        }
        Value::Text(text) => [varint(text.len() as u64), text.as_bytes().to_vec()].concat(),
        Value::Bool(_) | Value::Float(_) | Value::List(_) => encode(value),
    }
}

fn tag(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => b'b',
        Value::Integer(_) => b'i',
        Value::Float(_) => b'f',
        Value::Text(_) => b's',
        Value::Time(_) => b't',
        Value::Date(_) => b'd',
        Value::List(_) => b'l',
    }
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Bool(value) => i64::from(*value),
        Value::Integer(value) | Value::Time(value) => *value,
        Value::Date(value) => i64::from(*value),
        _ => panic!("no number"),
    }
}

fn encode(value: &Value) -> Vec<u8> {
    match value {
        Value::Bool(value) => vec![u8::from(*value)],
        Value::Float(value) => value.to_bits().to_be_bytes().to_vec(),
        Value::Text(text) => [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat(),
        Value::List(elements) => {
            let mut all = (elements.len() as u32).to_be_bytes().to_vec();
            for element in elements {
                match element {
                    None => all.push(b'n'),
                    Some(value) => {
                        all.push(tag(value));
                        all.extend(encode(value));
                    }
                }
            }
            all
        }
        other => number(other).to_be_bytes().to_vec(),
    }
}

/// Rows as a file has them, and what each subject has.
fn in_order(rows: &[Row], salt: &[u8; 16]) -> (RecordBatch, BTreeMap<[u8; 16], (String, RecordBatch)>) {
    let mut by_subject: BTreeMap<[u8; 16], Vec<Row>> = BTreeMap::new();
    for row in rows {
        by_subject.entry(salted(salt, &name(row.subject))).or_default().push(row.clone());
    }
    let all: Vec<Row> = by_subject.values().flatten().cloned().collect();
    let tables = by_subject.into_iter().map(|(salted, rows)| (salted, (name(rows[0].subject), table(&rows))));
    (table(&all), tables.collect())
}

fn seal(parts: &[RecordBatch], salt: [u8; 16], secret: [u8; 16]) -> Result<Vec<Entry>, SealError> {
    let mut entries = Vec::new();
    let mut sealer = Sealer::new(salt, secret, DATE, |entry: Entry, hash| {
        assert_eq!(entry.hash(), hash);
        entries.push(entry);
    });
    parts.iter().try_for_each(|part| sealer.push(part))?;
    let done = sealer.finish()?;
    assert_eq!(done.rows, parts.iter().map(|part| part.num_rows() as u64).sum::<u64>());
    assert_eq!(done.subjects, entries.len() as u64);
    Ok(entries)
}

fn cut(file: &RecordBatch, cuts: &[prop::sample::Index]) -> Vec<RecordBatch> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(file.num_rows() + 1)).collect();
    ends.extend([0, file.num_rows()]);
    ends.sort_unstable();
    ends.windows(2).map(|pair| file.slice(pair[0], pair[1] - pair[0])).collect()
}

proptest! {
    #[test]
    fn leaves_are_those_of_the_page_wherever_readers_cut(
        rows in prop::collection::vec(row(), 1..40),
        cuts: Vec<prop::sample::Index>,
        keys: ([u8; 16], [u8; 16]),
    ) {
        let (file, subjects) = in_order(&rows, &keys.0);
        let secret = Secret::new(keys.1);
        let expected: Vec<Entry> = subjects.iter().map(|(salted, (subject, rows))| {
            Entry::new(*salted, &secret.blind(subject), &content_by_the_page(rows))
        }).collect();
        prop_assert_eq!(seal(&cut(&file, &cuts), keys.0, keys.1).unwrap(), expected);
    }

    #[test]
    fn a_column_that_the_file_gains_changes_nothing(rows in prop::collection::vec(row(), 1..10)) {
        let one = table(&rows);
        let mut fields: Vec<(&str, ArrayRef)> = vec![("zz", Arc::new(Int64Array::new_null(rows.len())))];
        let schema = one.schema();
        fields.extend(schema.fields().iter().rev().map(|field| field.name().as_str()).zip(one.columns().iter().rev().cloned()));
        let other = RecordBatch::try_from_iter(fields).unwrap();
        prop_assert_eq!(content_of(&one, DATE).unwrap(), content_of(&other, DATE).unwrap());
    }

    #[test]
    fn no_two_lists_of_rows_have_one_content(
        one in prop::collection::vec(row(), 1..5),
        change in (any::<prop::sample::Index>(), row(), 0..4),
    ) {
        let mut other = one.clone();
        let at = change.0.index(one.len());
        match change.2 {
            0 => other[at] = change.1,
            1 => other.insert(at, change.1),
            2 => _ = other.remove(at),
            _ => other.swap(0, at),
        }
        let rows = |rows: &[Row]| -> Vec<Vec<u8>> {
            let table = table(rows);
            let batch = table.column_by_name("batch").unwrap().to_data();
            let encoded = Rows::encode(&table, DATE).unwrap();
            let batch = Int64Array::from(batch);
            encoded.iter().zip(batch.iter()).map(|(row, batch)| [row, format!("{batch:?}").as_bytes()].concat()).collect()
        };
        let same = rows(&one) == rows(&other);
        prop_assert_eq!(content_of(&table(&one), DATE).unwrap() == content_of(&table(&other), DATE).unwrap(), same);
    }
}

#[test]
fn a_subject_of_many_rows_is_hashed_in_blocks() {
    let rows: Vec<Row> = (0..20_000)
        .map(|n| Row {
            subject: 1,
            batch: Some(n / 100),
            event: format!("e{}", n % 3),
            time: Some(n * 1_000),
            decision: 0,
            long: (n % 7 == 0).then_some(n),
            load: None,
            charging: Some(n % 2 == 0),
            day: None,
            words: None,
        })
        .collect();
    let file = table(&rows);
    let expected = content_by_the_page(&file);
    assert_eq!(content_of(&file, DATE).unwrap(), expected);
    let entry = Entry::new(salted(&[1; 16], &name(1)), &Secret::new([2; 16]).blind(&name(1)), &expected);
    for step in [700, 8_192, 9_000, 20_000] {
        let parts: Vec<RecordBatch> =
            (0..20_000).step_by(step).map(|from| file.slice(from, step.min(20_000 - from))).collect();
        assert_eq!(seal(&parts, [1; 16], [2; 16]).unwrap(), [entry], "{step}");
    }
}

#[test]
fn what_no_file_can_have_is_refused() {
    let row = |subject| Row {
        subject,
        batch: None,
        event: String::new(),
        time: None,
        decision: 0,
        long: None,
        load: None,
        charging: None,
        day: None,
        words: None,
    };
    let (one, other) = (table(&[row(1)]), table(&[row(2)]));
    let salt = [3; 16];
    let ascending = salted(&salt, &name(1)) < salted(&salt, &name(2));
    let (first, second) = if ascending { (one, other) } else { (other, one) };
    assert_eq!(seal(&[first.clone(), second.clone()], salt, [0; 16]).unwrap().len(), 2);
    assert!(matches!(seal(&[second.clone(), first.clone()], salt, [0; 16]), Err(SealError::Order)));
    let torn = [first.clone(), second.clone(), first.clone()];
    assert!(matches!(seal(&torn, salt, [0; 16]), Err(SealError::Order)), "a subject whose rows do not stand together");
    let whole = concat_batches(&first.schema(), &torn).unwrap();
    assert!(matches!(seal(&[whole], salt, [0; 16]), Err(SealError::Order)));

    let mut columns: Vec<(&str, ArrayRef)> = vec![("subject", Arc::new(StringArray::from(vec![None::<&str>])))];
    let nobody = RecordBatch::try_from_iter_with_nullable([("subject", columns[0].1.clone(), true)]).unwrap();
    assert!(matches!(seal(&[nobody], salt, [0; 16]), Err(SealError::Subject)));
    columns[0].1 = Arc::new(StringArray::from(vec!["s"]));
    for more in ["received_date", "subject"] {
        columns.push((more, Arc::new(Date32Array::from(vec![0]))));
        let forged = RecordBatch::try_from_iter(columns.clone()).unwrap();
        let refused = seal(&[forged], salt, [0; 16]);
        // A second subject is no column of any table.
        assert!(matches!(refused, Err(SealError::Row(_) | SealError::Subject)), "{more}: {refused:?}");
    }
}
