//! Rows in their canonical encoding: what receipts hash, and what whoever checks a table hashes again.
//!
//! `docs/FORMAT.md`, "Rows in canonical encoding", fixes each byte. Only values count: a null is absence, so that a column
//! that a table gains changes nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use sha2::{Digest, Sha256};

use crate::merkle::Hash;

/// Columns that are no part of a row's encoding: whose row it is, and a number that is given when it is appended.
const LEFT_OUT: [&str; 3] = ["subject", "batch", RECEIVED_DATE];
/// The date of receipt, which tables have as a partition.
const RECEIVED_DATE: &str = "received_date";
/// f64 has many ways to say that it is no number; this is the one.
const NAN: u64 = 0x7ff8_0000_0000_0000;

/// Encodings of rows, end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// A value of an encoding that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    Integer(i64),
    /// `f`
    Float(f64),
    /// `s`
    Text(String),
    /// `t`: µs UTC
    Time(i64),
    /// `d`: days since 1970-01-01
    Date(i32),
    /// `l`
    List(Vec<Option<Value>>),
}

/// What is wrong with columns or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// No table has a column of this type.
    #[error("a column has a type that tables do not have")]
    Type,
    /// The bytes are no encoding of a row.
    #[error("it is not a row in its canonical encoding")]
    Malformed,
}

impl Rows {
    /// Encodes the rows of a batch, in order; `received_date` in days since 1970-01-01.
    ///
    /// # Errors
    /// [`RowError::Type`].
    pub fn encode(batch: &RecordBatch, received_date: i32) -> Result<Self, RowError> {
        let mut columns = columns(batch)?;
        columns.push(Column { head: head(RECEIVED_DATE), cells: Cells::Date(received_date) });
        columns.sort_by(|one, two| one.name().cmp(two.name()));
        let rows = batch.num_rows();
        let wide: usize = columns.iter().map(|column| column.head.len() + 12).sum();
        let mut out = Self { bytes: Vec::with_capacity(rows * wide), ends: Vec::with_capacity(rows) };
        for row in 0..rows {
            for column in &columns {
                column.write(row, &mut out.bytes)?;
            }
            out.ends.push(out.bytes.len());
        }
        Ok(out)
    }

    /// Number of rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Row number `row`.
    #[must_use]
    pub fn row(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[row]]
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.row(row))
    }
}

/// Hash of the rows that one purpose stored of a batch, by stream: SHA-256 over, for each stream with rows in the order of
/// names, `u32be len(stream) ‖ stream ‖ u64be rows` and each row in ascending order as `u32be len ‖ row`, duplicates kept. A
/// stream may come in several parts.
#[must_use]
pub fn hash_of<'a>(streams: impl IntoIterator<Item = (&'a str, Vec<&'a [u8]>)>) -> Hash {
    let mut all: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for (stream, rows) in streams {
        match all.entry(stream) {
            Entry::Vacant(first) => _ = first.insert(rows),
            Entry::Occupied(more) => more.into_mut().extend(rows),
        }
    }
    let mut hash = Sha256::new();
    for (stream, mut rows) in all.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        hash.update((stream.len() as u32).to_be_bytes());
        hash.update(stream.as_bytes());
        hash.update((rows.len() as u64).to_be_bytes());
        rows.sort_unstable();
        for row in rows {
            hash.update((row.len() as u32).to_be_bytes());
            hash.update(row);
        }
    }
    hash.finalize().into()
}

/// Reads an encoding: names with values, in order.
///
/// # Errors
/// [`RowError::Malformed`], also where names are not in ascending order: a row has one encoding.
pub fn decode(mut bytes: &[u8]) -> Result<Vec<(String, Value)>, RowError> {
    let mut cells: Vec<(String, Value)> = Vec::new();
    while !bytes.is_empty() {
        let name = text(&mut bytes)?;
        if cells.last().is_some_and(|(before, _)| *before >= name) {
            return Err(RowError::Malformed);
        }
        let tag = take::<1>(&mut bytes)?[0];
        cells.push((name, value(tag, &mut bytes, true)?));
    }
    Ok(cells)
}

/// A column on its way into encodings.
struct Column<'a> {
    /// `u32be len(name) ‖ name ‖ tag`.
    head: Vec<u8>,
    cells: Cells<'a>,
}

/// Where the cells of a column come from.
enum Cells<'a> {
    Array(&'a ArrayRef),
    /// The same in every row.
    Date(i32),
}

fn columns(batch: &RecordBatch) -> Result<Vec<Column<'_>>, RowError> {
    let schema = batch.schema_ref();
    let fields = schema.fields().iter().zip(batch.columns());
    let kept = fields
        .filter(|(field, values)| !LEFT_OUT.contains(&field.name().as_str()) && values.null_count() < values.len());
    kept.map(|(field, values)| {
        let mut head = head(field.name());
        if let Some(last) = head.last_mut() {
            *last = tag(values.data_type())?;
        }
        Ok(Column { head, cells: Cells::Array(values) })
    })
    .collect()
}

/// The head of a date's cells; another type has another tag.
fn head(name: &str) -> Vec<u8> {
    [&(name.len() as u32).to_be_bytes(), name.as_bytes(), b"d"].concat()
}

const fn tag(kind: &DataType) -> Result<u8, RowError> {
    Ok(match kind {
        DataType::Boolean => b'b',
        DataType::Int32 | DataType::Int64 => b'i',
        DataType::Float64 => b'f',
        DataType::Utf8 => b's',
        DataType::Timestamp(TimeUnit::Microsecond, _) => b't',
        DataType::Date32 => b'd',
        DataType::List(_) => b'l',
        _ => return Err(RowError::Type),
    })
}

impl Column<'_> {
    fn name(&self) -> &[u8] {
        &self.head[4..self.head.len() - 1]
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        match &self.cells {
            Cells::Array(values) if values.is_null(row) => Ok(()),
            Cells::Array(values) => {
                out.extend_from_slice(&self.head);
                write_value(values, row, out)
            }
            Cells::Date(date) => {
                out.extend_from_slice(&self.head);
                out.extend_from_slice(&i64::from(*date).to_be_bytes());
                Ok(())
            }
        }
    }
}

/// The value of a cell that is not null, after its tag.
fn write_value(values: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
    match values.data_type() {
        DataType::Boolean => out.push(u8::from(values.as_boolean().value(row))),
        DataType::Int32 => write_i64(i64::from(values.as_primitive::<Int32Type>().value(row)), out),
        DataType::Int64 => write_i64(values.as_primitive::<Int64Type>().value(row), out),
        DataType::Float64 => {
            let value = values.as_primitive::<Float64Type>().value(row);
            let bits = if value.is_nan() { NAN } else { value.to_bits() };
            out.extend_from_slice(&bits.to_be_bytes());
        }
        DataType::Utf8 => {
            let text = values.as_string::<i32>().value(row);
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            write_i64(values.as_primitive::<TimestampMicrosecondType>().value(row), out);
        }
        DataType::Date32 => write_i64(i64::from(values.as_primitive::<Date32Type>().value(row)), out),
        DataType::List(_) => return write_list(&values.as_list::<i32>().value(row), out),
        _ => return Err(RowError::Type),
    }
    Ok(())
}

fn write_list(elements: &ArrayRef, out: &mut Vec<u8>) -> Result<(), RowError> {
    let tag = tag(elements.data_type())?;
    out.extend_from_slice(&(elements.len() as u32).to_be_bytes());
    for element in 0..elements.len() {
        if elements.is_null(element) {
            out.push(b'n');
        } else {
            out.push(tag);
            write_value(elements, element, out)?;
        }
    }
    Ok(())
}

fn write_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn value(tag: u8, bytes: &mut &[u8], lists: bool) -> Result<Value, RowError> {
    Ok(match tag {
        b'b' => match take::<1>(bytes)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return Err(RowError::Malformed),
        },
        b'i' => Value::Integer(i64::from_be_bytes(take(bytes)?)),
        b'f' => {
            let value = f64::from_bits(u64::from_be_bytes(take(bytes)?));
            if value.is_nan() && value.to_bits() != NAN {
                return Err(RowError::Malformed);
            }
            Value::Float(value)
        }
        b's' => Value::Text(text(bytes)?),
        b't' => Value::Time(i64::from_be_bytes(take(bytes)?)),
        b'd' => {
            let days = i64::from_be_bytes(take(bytes)?);
            Value::Date(i32::try_from(days).map_err(|_| RowError::Malformed)?)
        }
        // Tables have no lists of lists: what says so could nest without an end.
        b'l' if lists => {
            let count = u32::from_be_bytes(take(bytes)?);
            let mut kind = None;
            let elements = (0..count).map(|_| match take::<1>(bytes)?[0] {
                b'n' => Ok(None),
                tag if *kind.get_or_insert(tag) == tag => value(tag, bytes, false).map(Some),
                _ => Err(RowError::Malformed),
            });
            Value::List(elements.collect::<Result<_, _>>()?)
        }
        _ => return Err(RowError::Malformed),
    })
}

fn text(bytes: &mut &[u8]) -> Result<String, RowError> {
    let length = u32::from_be_bytes(take(bytes)?) as usize;
    let (text, rest) = bytes.split_at_checked(length).ok_or(RowError::Malformed)?;
    *bytes = rest;
    std::str::from_utf8(text).map(str::to_owned).map_err(|_| RowError::Malformed)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], RowError> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or(RowError::Malformed)?;
    *bytes = rest;
    Ok(*taken)
}
