//! Content of a leaf: a subject's rows in a file, by column, so that what rows share is hashed once.
//!
//! `docs/FORMAT.md`, "Sealed files", fixes each byte. What a subject has is the same whatever columns the file has besides, and
//! where its readers cut it.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, TimeUnit};

use super::{NAN, RECEIVED_DATE, RowError, tag, write_list};

/// Most rows of a block: who has more has several, so that nobody needs all of them in memory.
pub const BLOCK_ROWS: usize = 8_192;
/// The column that says whose rows they are, which a leaf says otherwise.
const SUBJECT: &str = "subject";

/// Columns of a part of a file, from which the content of leaves is taken.
#[derive(Debug)]
pub struct Content<'a> {
    parts: Vec<Part<'a>>,
}

/// What blocks have at one place.
#[derive(Debug)]
enum Part<'a> {
    /// The same bytes in every block: columns with one value.
    Same(Vec<u8>),
    /// `u32be len(name) ‖ name ‖ tag`, and what follows where a value is.
    Column { head: Vec<u8>, cells: Cells<'a>, nulls: Option<&'a NullBuffer> },
}

#[derive(Debug)]
enum Cells<'a> {
    Bool(&'a BooleanBuffer),
    I32(&'a [i32]),
    I64(&'a [i64]),
    F64(&'a [f64]),
    Text {
        offsets: &'a [i32],
        bytes: &'a [u8],
    },
    /// Lists in their encoding.
    List {
        offsets: Vec<i32>,
        bytes: Vec<u8>,
    },
}

impl<'a> Content<'a> {
    /// The columns of some rows, in any order, and the date of receipt (days since 1970-01-01), which tables have as a partition.
    ///
    /// # Errors
    /// [`RowError::Type`]; [`RowError::Malformed`] if two columns have one name.
    pub fn new(
        columns: impl IntoIterator<Item = (&'a str, &'a ArrayRef)>,
        received_date: i32,
    ) -> Result<Self, RowError> {
        let mut named: Vec<(&str, Option<&ArrayRef>)> = vec![(RECEIVED_DATE, None)];
        named.extend(columns.into_iter().map(|(name, values)| (name, Some(values))));
        named.retain(|(name, _)| *name != SUBJECT);
        named.sort_unstable_by_key(|(name, _)| *name);
        if named.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(RowError::Malformed);
        }
        let mut parts = Vec::with_capacity(named.len());
        for (name, values) in named {
            match values {
                None => {
                    let mut head = head(name, b'd');
                    head.push(b'=');
                    head.extend_from_slice(&i64::from(received_date).to_be_bytes());
                    Part::push_same(&mut parts, &head);
                }
                Some(values) if values.null_count() == values.len() => {}
                Some(values) => Part::push(&mut parts, name, values)?,
            }
        }
        Ok(Self { parts })
    }

    /// Appends the block of these rows, at most [`BLOCK_ROWS`] and at least one, all of one subject.
    pub fn write_block(&self, rows: Range<usize>, out: &mut Vec<u8>) {
        out.extend_from_slice(&(rows.len() as u64).to_be_bytes());
        for part in &self.parts {
            match part {
                Part::Same(bytes) => out.extend_from_slice(bytes),
                Part::Column { head, cells, nulls } => cells.write(head, *nulls, rows.clone(), out),
            }
        }
    }
}

impl<'a> Part<'a> {
    fn push(parts: &mut Vec<Self>, name: &str, values: &'a ArrayRef) -> Result<(), RowError> {
        let (head, cells) = (head(name, tag(values.data_type())?), Cells::of(values)?);
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_none() && cells.are_same(&(0..values.len())) {
            let mut bytes = Vec::new();
            cells.write(&head, None, 0..1, &mut bytes);
            Self::push_same(parts, &bytes);
        } else {
            parts.push(Self::Column { head, cells, nulls });
        }
        Ok(())
    }

    fn push_same(parts: &mut Vec<Self>, bytes: &[u8]) {
        match parts.last_mut() {
            Some(Self::Same(before)) => before.extend_from_slice(bytes),
            _ => parts.push(Self::Same(bytes.to_vec())),
        }
    }
}

impl<'a> Cells<'a> {
    fn of(values: &'a ArrayRef) -> Result<Self, RowError> {
        Ok(match values.data_type() {
            DataType::Boolean => Self::Bool(values.as_boolean().values()),
            DataType::Int32 => Self::I32(values.as_primitive::<Int32Type>().values()),
            DataType::Date32 => Self::I32(values.as_primitive::<Date32Type>().values()),
            DataType::Int64 => Self::I64(values.as_primitive::<Int64Type>().values()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::I64(values.as_primitive::<TimestampMicrosecondType>().values())
            }
            DataType::Float64 => Self::F64(values.as_primitive::<Float64Type>().values()),
            DataType::Utf8 => {
                let texts = values.as_string::<i32>();
                Self::Text { offsets: texts.value_offsets(), bytes: texts.value_data() }
            }
            DataType::List(_) => Self::lists(values.as_list())?,
            _ => return Err(RowError::Type),
        })
    }

    fn lists(lists: &ListArray) -> Result<Self, RowError> {
        let (mut offsets, mut bytes) = (vec![0], Vec::new());
        for row in 0..lists.len() {
            if lists.is_valid(row) {
                write_list(&lists.value(row), &mut bytes)?;
            }
            offsets.push(i32::try_from(bytes.len()).map_err(|_| RowError::Type)?);
        }
        Ok(Self::List { offsets, bytes })
    }

    /// Appends the column of some rows: nothing if all of them are null.
    fn write(&self, head: &[u8], nulls: Option<&NullBuffer>, rows: Range<usize>, out: &mut Vec<u8>) {
        if let Some(nulls) = nulls {
            let there = nulls.inner().slice(rows.start, rows.len());
            let count = there.count_set_bits();
            if count < rows.len() {
                if count > 0 {
                    out.extend_from_slice(head);
                    out.push(b'?');
                    write_bits(&there, out);
                    let places = || there.set_indices().map(|place| rows.start + place);
                    self.write_some(count, places, out);
                }
                return;
            }
        }
        out.extend_from_slice(head);
        if self.are_same(&rows) {
            out.push(b'=');
            self.write_one(rows.start, out);
        } else {
            out.push(b'*');
            self.write_all(rows, out);
        }
    }

    /// Whether all of these rows say the same.
    fn are_same(&self, rows: &Range<usize>) -> bool {
        match self {
            Self::Bool(bits) => {
                let set = bits.slice(rows.start, rows.len()).count_set_bits();
                set == 0 || set == rows.len()
            }
            Self::I32(numbers) => all_equal(&numbers[rows.clone()], |number| *number),
            Self::I64(numbers) => all_equal(&numbers[rows.clone()], |number| *number),
            Self::F64(numbers) => all_equal(&numbers[rows.clone()], |value| bits(*value)),
            Self::Text { offsets, bytes } => same_bytes(offsets, bytes, rows),
            Self::List { offsets, bytes } => same_bytes(offsets, bytes, rows),
        }
    }

    /// A value as a row's encoding has it.
    fn write_one(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Bool(bits) => out.push(u8::from(bits.value(row))),
            Self::I32(numbers) => out.extend_from_slice(&i64::from(numbers[row]).to_be_bytes()),
            Self::I64(numbers) => out.extend_from_slice(&numbers[row].to_be_bytes()),
            Self::F64(numbers) => out.extend_from_slice(&bits(numbers[row]).to_be_bytes()),
            Self::Text { offsets, bytes } => {
                let text = bytes_of(offsets, bytes, row);
                out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                out.extend_from_slice(text);
            }
            Self::List { offsets, bytes } => out.extend_from_slice(bytes_of(offsets, bytes, row)),
        }
    }

    /// Values of rows that stand together, none of them null.
    fn write_all(&self, rows: Range<usize>, out: &mut Vec<u8>) {
        let count = rows.len();
        match self {
            Self::Bool(bits) => pack(count, || rows.clone().map(|row| i64::from(bits.value(row))), out),
            Self::I32(numbers) => pack(count, || numbers[rows.clone()].iter().map(|number| i64::from(*number)), out),
            Self::I64(numbers) => pack(count, || numbers[rows.clone()].iter().copied(), out),
            Self::F64(numbers) => write::<8>(count, numbers[rows].iter().copied().map(bits), out),
            Self::Text { offsets, bytes } => write_bytes(offsets, bytes, rows, out),
            Self::List { offsets, bytes } => write_bytes(offsets, bytes, rows, out),
        }
    }

    /// Values of the rows that have one.
    fn write_some<I: Iterator<Item = usize>>(&self, count: usize, rows: impl Fn() -> I, out: &mut Vec<u8>) {
        let (offsets, bytes): (&[i32], &[u8]) = match self {
            Self::Bool(bits) => return pack(count, || rows().map(|row| i64::from(bits.value(row))), out),
            Self::I32(numbers) => return pack(count, || rows().map(|row| i64::from(numbers[row])), out),
            Self::I64(numbers) => return pack(count, || rows().map(|row| numbers[row]), out),
            Self::F64(numbers) => {
                return write::<8>(count, rows().map(|row| bits(numbers[row])), out);
            }
            Self::Text { offsets, bytes } => (offsets, bytes),
            Self::List { offsets, bytes } => (offsets, bytes),
        };
        pack(count, || rows().map(|row| i64::from(offsets[row + 1] - offsets[row])), out);
        rows().for_each(|row| out.extend_from_slice(bytes_of(offsets, bytes, row)));
    }
}

fn head(name: &str, tag: u8) -> Vec<u8> {
    [&(name.len() as u32).to_be_bytes(), name.as_bytes(), &[tag]].concat()
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { NAN } else { value.to_bits() }
}

fn all_equal<T, V: PartialEq>(values: &[T], value: impl Fn(&T) -> V) -> bool {
    let Some(first) = values.first() else { return true };
    let first = value(first);
    values.iter().all(|other| value(other) == first)
}

fn bytes_of<'a>(offsets: &[i32], bytes: &'a [u8], row: usize) -> &'a [u8] {
    &bytes[offsets[row] as usize..offsets[row + 1] as usize]
}

fn same_bytes(offsets: &[i32], bytes: &[u8], rows: &Range<usize>) -> bool {
    let first = bytes_of(offsets, bytes, rows.start);
    rows.clone().skip(1).all(|row| bytes_of(offsets, bytes, row) == first)
}

/// The lengths, then the bytes.
fn write_bytes(offsets: &[i32], bytes: &[u8], rows: Range<usize>, out: &mut Vec<u8>) {
    let ends = &offsets[rows.start..=rows.end];
    pack(rows.len(), || ends.windows(2).map(|pair| i64::from(pair[1] - pair[0])), out);
    out.extend_from_slice(&bytes[offsets[rows.start] as usize..offsets[rows.end] as usize]);
}

/// One bit for each row, the first of them the highest.
fn write_bits(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let words = bits.bit_chunks();
    let bytes = words.iter_padded().flat_map(u64::to_le_bytes).map(u8::reverse_bits);
    out.extend(bytes.take(bits.len().div_ceil(8)));
}

/// Numbers as the smallest of them, and what each is more than that, in as many bytes as the largest needs.
fn pack<I: Iterator<Item = i64>>(count: usize, numbers: impl Fn() -> I, out: &mut Vec<u8>) {
    let (low, high) = numbers().fold((i64::MAX, i64::MIN), |(low, high), number| (low.min(number), high.max(number)));
    let more = numbers().map(|number| number.wrapping_sub(low) as u64);
    out.extend_from_slice(&low.to_be_bytes());
    match high.wrapping_sub(low) as u64 {
        0 => out.push(0),
        1..=0xff => write_packed::<1>(count, more, out),
        0x100..=0xffff => write_packed::<2>(count, more, out),
        0x1_0000..=0xffff_ffff => write_packed::<4>(count, more, out),
        _ => write_packed::<8>(count, more, out),
    }
}

fn write_packed<const WIDTH: usize>(count: usize, numbers: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    out.push(WIDTH as u8);
    write::<WIDTH>(count, numbers, out);
}

/// The low bytes of each.
fn write<const WIDTH: usize>(count: usize, numbers: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + count * WIDTH, 0);
    for (place, number) in out[start..].as_chunks_mut::<WIDTH>().0.iter_mut().zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes()[8 - WIDTH..]);
    }
}
