//! Rows in their canonical encoding: what receipts hash, and what whoever checks a table hashes again.
//!
//! `docs/FORMAT.md`, "Rows in canonical encoding", fixes each byte. Only values count: a null is absence, so that a column
//! that a table gains changes nothing.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};

mod cells;
mod column;
mod content;
mod few;
mod hash;
mod order;

pub use content::{BLOCK_ROWS, Content, Sink};
pub use hash::{hash_of, hash_of_batches};

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

/// A double as answers show it: JSON has no number for three of them, so they have the names of protobuf's JSON mapping. A null
/// would say that nothing was stored.
#[must_use]
pub fn json_of_double(value: f64) -> serde_json::Value {
    match value {
        _ if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        _ => value.into(),
    }
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
        let parts = parts(batch, received_date)?;
        let rows = batch.num_rows();
        let wide: usize = parts.iter().map(Part::width).sum();
        let mut out = Self { bytes: Vec::with_capacity(rows * wide), ends: Vec::with_capacity(rows) };
        for row in 0..rows {
            for part in &parts {
                part.write(row, &mut out.bytes)?;
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

/// Reads an encoding: names with values, in order.
///
/// # Errors
/// [`RowError::Malformed`], also where names are not in ascending order: a row has one encoding.
pub fn decode(bytes: &[u8]) -> Result<Vec<(String, Value)>, RowError> {
    read(bytes, |cell, value| (cell.name.to_owned(), value))
}

/// A cell of an encoding: its value in bytes.
struct Cell<'a> {
    name: &'a str,
    tag: u8,
    value: &'a [u8],
}

/// The cells of an encoding, in order.
fn cells_of(bytes: &[u8]) -> Result<Vec<Cell<'_>>, RowError> {
    read(bytes, |cell, _| cell)
}

fn read<'a, T>(mut bytes: &'a [u8], each: impl Fn(Cell<'a>, Value) -> T) -> Result<Vec<T>, RowError> {
    let mut cells = Vec::new();
    let mut before: Option<&str> = None;
    while !bytes.is_empty() {
        let name = text(&mut bytes)?;
        if before.is_some_and(|before| before >= name) {
            return Err(RowError::Malformed);
        }
        before = Some(name);
        let tag = take::<1>(&mut bytes)?[0];
        let start = bytes;
        let read = value(tag, &mut bytes, true)?;
        let value = &start[..start.len() - bytes.len()];
        cells.push(each(Cell { name, tag, value }, read));
    }
    Ok(cells)
}

/// What the encodings of all rows have at one place.
enum Part<'a> {
    /// The same bytes in every row: columns with one value, of which there are many in what one device sent.
    Same(Vec<u8>),
    /// A column: `u32be len(name) ‖ name ‖ tag` before each cell that is not null.
    Cells { head: Vec<u8>, cells: Cells<'a>, nulls: Option<&'a NullBuffer> },
}

/// The cells of a column, their type looked at once.
enum Cells<'a> {
    Bool(&'a BooleanArray),
    I32(&'a Int32Array),
    I64(&'a Int64Array),
    F64(&'a Float64Array),
    Text(&'a StringArray),
    Time(&'a TimestampMicrosecondArray),
    Date(&'a Date32Array),
    List(&'a ListArray),
}

/// The parts of all rows in the order of the columns' names; what is the same in every row and stands together is one part.
fn parts(batch: &RecordBatch, received_date: i32) -> Result<Vec<Part<'_>>, RowError> {
    let schema = batch.schema_ref();
    let fields = schema.fields().iter().zip(batch.columns());
    let kept = fields
        .filter(|(field, values)| !LEFT_OUT.contains(&field.name().as_str()) && values.null_count() < values.len());
    let mut columns: Vec<(&str, Option<&ArrayRef>)> =
        kept.map(|(field, values)| (field.name().as_str(), Some(values))).collect();
    columns.push((RECEIVED_DATE, None));
    columns.sort_unstable_by_key(|(name, _)| *name);
    let mut parts: Vec<Part<'_>> = Vec::with_capacity(columns.len());
    for (name, values) in columns {
        let Some(values) = values else {
            Part::push_same(&mut parts, &head(name), |out| {
                write_i64(i64::from(received_date), out);
                Ok(())
            })?;
            continue;
        };
        let mut head = head(name);
        if let Some(last) = head.last_mut() {
            *last = tag(values.data_type())?;
        }
        let cells = Cells::of(values)?;
        if values.null_count() == 0 && cells.is_constant() {
            Part::push_same(&mut parts, &head, |out| cells.write(0, out))?;
        } else {
            parts.push(Part::Cells { head, cells, nulls: values.nulls() });
        }
    }
    Ok(parts)
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

impl Part<'_> {
    /// Adds a cell that every row has, to what the rows have before it if that is the same as well.
    fn push_same(
        parts: &mut Vec<Self>,
        head: &[u8],
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), RowError>,
    ) -> Result<(), RowError> {
        if !matches!(parts.last(), Some(Self::Same(_))) {
            parts.push(Self::Same(Vec::new()));
        }
        if let Some(Self::Same(bytes)) = parts.last_mut() {
            bytes.extend_from_slice(head);
            write(bytes)?;
        }
        Ok(())
    }

    /// Bytes in a row, about.
    fn width(&self) -> usize {
        match self {
            Self::Same(bytes) => bytes.len(),
            Self::Cells { head, .. } => head.len() + 12,
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        match self {
            Self::Same(bytes) => out.extend_from_slice(bytes),
            Self::Cells { nulls: Some(nulls), .. } if nulls.is_null(row) => {}
            Self::Cells { head, cells, .. } => {
                out.extend_from_slice(head);
                cells.write(row, out)?;
            }
        }
        Ok(())
    }
}

impl<'a> Cells<'a> {
    fn of(values: &'a ArrayRef) -> Result<Self, RowError> {
        Ok(match values.data_type() {
            DataType::Boolean => Self::Bool(values.as_boolean()),
            DataType::Int32 => Self::I32(values.as_primitive::<Int32Type>()),
            DataType::Int64 => Self::I64(values.as_primitive::<Int64Type>()),
            DataType::Float64 => Self::F64(values.as_primitive::<Float64Type>()),
            DataType::Utf8 => Self::Text(values.as_string::<i32>()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Time(values.as_primitive::<TimestampMicrosecondType>())
            }
            DataType::Date32 => Self::Date(values.as_primitive::<Date32Type>()),
            DataType::List(_) => Self::List(values.as_list::<i32>()),
            _ => return Err(RowError::Type),
        })
    }

    /// Whether all cells are one value, where that is quick to see.
    fn is_constant(&self) -> bool {
        match self {
            Self::I32(values) => all_equal(values.values()),
            Self::I64(values) => all_equal(values.values()),
            Self::Time(values) => all_equal(values.values()),
            Self::Date(values) => all_equal(values.values()),
            Self::Text(values) => (1..values.len()).all(|row| values.value(row) == values.value(0)),
            Self::Bool(values) => values.true_count() == values.len() || values.false_count() == values.len(),
            Self::F64(_) | Self::List(_) => false,
        }
    }

    /// The value of a cell that is not null, after its tag.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), RowError> {
        match self {
            Self::Bool(values) => out.push(u8::from(values.value(row))),
            Self::I32(values) => write_i64(i64::from(values.value(row)), out),
            Self::I64(values) => write_i64(values.value(row), out),
            Self::F64(values) => {
                let value = values.value(row);
                let bits = if value.is_nan() { NAN } else { value.to_bits() };
                out.extend_from_slice(&bits.to_be_bytes());
            }
            Self::Text(values) => {
                let text = values.value(row);
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Self::Time(values) => write_i64(values.value(row), out),
            Self::Date(values) => write_i64(i64::from(values.value(row)), out),
            Self::List(values) => return write_list(&values.value(row), out),
        }
        Ok(())
    }
}

fn all_equal<T: PartialEq>(values: &[T]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

fn write_list(elements: &ArrayRef, out: &mut Vec<u8>) -> Result<(), RowError> {
    let (tag, cells) = (tag(elements.data_type())?, Cells::of(elements)?);
    out.extend_from_slice(&(elements.len() as u32).to_be_bytes());
    for element in 0..elements.len() {
        if elements.is_null(element) {
            out.push(b'n');
        } else {
            out.push(tag);
            cells.write(element, out)?;
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
        b's' => Value::Text(text(bytes)?.to_owned()),
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

fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, RowError> {
    let length = u32::from_be_bytes(take(bytes)?) as usize;
    let (text, rest) = bytes.split_at_checked(length).ok_or(RowError::Malformed)?;
    *bytes = rest;
    std::str::from_utf8(text).map_err(|_| RowError::Malformed)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], RowError> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or(RowError::Malformed)?;
    *bytes = rest;
    Ok(*taken)
}
