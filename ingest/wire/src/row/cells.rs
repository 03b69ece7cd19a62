//! The cells of a column as all that is hashed takes them: numbers, doubles or bytes, whether they come from a table or from
//! encodings of rows.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, ListArray, StringArray};
use arrow_schema::{DataType, TimeUnit};

use super::few::write_few;
use super::{NAN, RowError, write_list};

/// Numbers that are compared at a time.
const LANES: usize = 4;

/// Number of a row, and the value that its encoding has.
pub(super) type CellOfRow<'a> = (usize, &'a [u8]);

/// What the rows of a column say, null or not; nobody looks at what stands under a null.
#[derive(Debug)]
pub(super) enum Cells<'a> {
    /// Booleans, integers, times, dates.
    Numbers(Cow<'a, [i64]>),
    /// As they are: all that looks at them takes their bits, with one NaN.
    Doubles(Cow<'a, [f64]>),
    /// Texts, and lists in their encoding.
    Bytes { offsets: Cow<'a, [i32]>, bytes: Cow<'a, [u8]> },
}

impl<'a> Cells<'a> {
    /// The cells of a column of a table.
    pub(super) fn of(values: &'a ArrayRef) -> Result<Self, RowError> {
        Ok(match values.data_type() {
            DataType::Boolean => Self::Numbers(values.as_boolean().values().iter().map(i64::from).collect()),
            DataType::Int32 => Self::narrow(values.as_primitive::<Int32Type>().values()),
            DataType::Date32 => Self::narrow(values.as_primitive::<Date32Type>().values()),
            DataType::Int64 => Self::Numbers(Cow::Borrowed(values.as_primitive::<Int64Type>().values())),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Numbers(Cow::Borrowed(values.as_primitive::<TimestampMicrosecondType>().values()))
            }
            DataType::Float64 => Self::Doubles(Cow::Borrowed(values.as_primitive::<Float64Type>().values())),
            DataType::Utf8 => Self::texts(values.as_string()),
            DataType::List(_) => Self::lists(values.as_list())?,
            _ => return Err(RowError::Type),
        })
    }

    /// Of so many rows those that have a cell, each in its encoding.
    pub(super) fn of_encoded(tag: u8, cells: &[CellOfRow<'_>], rows: usize) -> Result<Self, RowError> {
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| RowError::Malformed);
        if matches!(tag, b's' | b'l') {
            let (mut offsets, mut bytes) = (vec![0], Vec::new());
            let mut end = 0;
            for (row, value) in cells {
                offsets.resize(row + 1, end);
                // The length of a text is written apart.
                bytes.extend_from_slice(if tag == b's' { value.get(4..).unwrap_or_default() } else { value });
                end = i32::try_from(bytes.len()).map_err(|_| RowError::Malformed)?;
            }
            offsets.resize(rows + 1, end);
            return Ok(Self::Bytes { offsets: offsets.into(), bytes: bytes.into() });
        }
        let mut numbers = vec![0; rows];
        for (row, value) in cells {
            numbers[*row] = if let [boolean] = value { u64::from(*boolean) } else { number(value)? };
        }
        if tag == b'f' {
            return Ok(Self::Doubles(numbers.into_iter().map(f64::from_bits).collect()));
        }
        Ok(Self::Numbers(numbers.into_iter().map(u64::cast_signed).collect()))
    }

    fn narrow(numbers: &[i32]) -> Self {
        Self::Numbers(numbers.iter().map(|number| i64::from(*number)).collect())
    }

    fn texts(texts: &'a StringArray) -> Self {
        Self::Bytes { offsets: Cow::Borrowed(texts.value_offsets()), bytes: Cow::Borrowed(texts.value_data()) }
    }

    fn lists(lists: &ListArray) -> Result<Self, RowError> {
        let (mut offsets, mut bytes) = (vec![0], Vec::new());
        for row in 0..lists.len() {
            if lists.is_valid(row) {
                write_list(&lists.value(row), &mut bytes)?;
            }
            offsets.push(i32::try_from(bytes.len()).map_err(|_| RowError::Type)?);
        }
        Ok(Self::Bytes { offsets: offsets.into(), bytes: bytes.into() })
    }

    /// Rows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Doubles(doubles) => doubles.len(),
            Self::Bytes { offsets, .. } => offsets.len().saturating_sub(1),
        }
    }

    /// Whether all of these rows say the same, if none is null.
    pub(super) fn are_same(&self, rows: Range<usize>) -> bool {
        match self {
            Self::Numbers(numbers) => all_equal(&numbers[rows], |number| *number),
            Self::Doubles(doubles) => all_equal(&doubles[rows], |double| bits(*double)),
            Self::Bytes { .. } if rows.len() < 2 => true,
            Self::Bytes { offsets, bytes } => {
                let offsets = &offsets[rows.start..=rows.end];
                let (first, second, end) = (offsets[0], offsets[1], offsets[offsets.len() - 1]);
                let width = second - first;
                // Without a branch for each value; what differs mostly does so in sum.
                let uneven = || offsets.windows(2).filter(|pair| pair[1] - pair[0] != width).count();
                if i64::from(end - first) != i64::from(width) * rows.len() as i64 || uneven() > 0 {
                    return false;
                }
                // Laid over themselves, moved by one value.
                bytes[first as usize..(end - width) as usize] == bytes[second as usize..end as usize]
            }
        }
    }

    /// The value of one row, as a row's encoding has it.
    pub(super) fn write_one(&self, tag: u8, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Numbers(numbers) if tag == b'b' => out.push(u8::from(numbers[row] != 0)),
            Self::Numbers(numbers) => out.extend_from_slice(&numbers[row].to_be_bytes()),
            Self::Doubles(doubles) => out.extend_from_slice(&bits(doubles[row]).to_be_bytes()),
            Self::Bytes { .. } => {
                let bytes = self.bytes(row..row + 1);
                if tag == b's' {
                    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                }
                out.extend_from_slice(bytes);
            }
        }
    }

    /// The value of one row in as few bytes as it needs.
    pub(super) fn write_short(&self, tag: u8, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Numbers(numbers) if tag == b'b' => out.push(u8::from(numbers[row] != 0)),
            Self::Numbers(numbers) => write_varint(zigzag(numbers[row]), out),
            Self::Doubles(doubles) => out.extend_from_slice(&bits(doubles[row]).to_be_bytes()),
            Self::Bytes { .. } => {
                let bytes = self.bytes(row..row + 1);
                if tag == b's' {
                    write_varint(bytes.len() as u64, out);
                }
                out.extend_from_slice(bytes);
            }
        }
    }

    /// What has one width of rows that stand together: numbers, doubles, lengths of bytes.
    pub(super) fn write_fixed(&self, rows: Range<usize>, out: &mut Vec<u8>) {
        let count = rows.len();
        match self {
            Self::Numbers(numbers) => pack_slice(&numbers[rows], out),
            Self::Doubles(doubles) => write::<8>(count, doubles[rows].iter().copied().map(bits), out),
            Self::Bytes { offsets, .. } => {
                let ends = &offsets[rows.start..=rows.end];
                pack_lengths(count, || ends.iter().zip(&ends[1..]).map(|(start, end)| (end - start) as u32), out);
            }
        }
    }

    /// What has not, of rows that stand together.
    pub(super) fn bytes(&self, rows: Range<usize>) -> &[u8] {
        match self {
            Self::Bytes { offsets, bytes } => &bytes[offsets[rows.start] as usize..offsets[rows.end] as usize],
            Self::Numbers(_) | Self::Doubles(_) => &[],
        }
    }

    /// Bytes of which there are few; whether they are that. Of many it writes a 0, of anything else nothing.
    pub(super) fn write_few(&self, rows: impl Iterator<Item = usize>, out: &mut Vec<u8>) -> bool {
        let Self::Bytes { offsets, bytes } = self else { return false };
        write_few(bytes, rows.map(|row| offsets[row] as usize..offsets[row + 1] as usize), out)
    }

    /// [`Self::write_fixed`] and [`Self::bytes`] of so many rows in any order.
    pub(super) fn write_some<I>(&self, count: usize, rows: impl Fn() -> I, out: &mut Vec<u8>)
    where
        I: Iterator<Item = usize>,
    {
        match self {
            Self::Numbers(numbers) => pack(count, || rows().map(|row| numbers[row]), out),
            Self::Doubles(doubles) => write::<8>(count, rows().map(|row| bits(doubles[row])), out),
            Self::Bytes { offsets, .. } => {
                pack_lengths(count, || rows().map(|row| (offsets[row + 1] - offsets[row]) as u32), out);
                rows().for_each(|row| out.extend_from_slice(self.bytes(row..row + 1)));
            }
        }
    }

    /// Numbers by value, doubles by their bits, bytes as they are.
    pub(super) fn compare(&self, one: usize, other: usize) -> Ordering {
        match self {
            Self::Numbers(numbers) => numbers[one].cmp(&numbers[other]),
            Self::Doubles(doubles) => bits(doubles[one]).cmp(&bits(doubles[other])),
            Self::Bytes { .. } => self.bytes(one..one + 1).cmp(self.bytes(other..other + 1)),
        }
    }
}

/// Seven bits a byte, the lowest first, the highest bit of each but the last set: a varint of Protocol Buffers.
pub(super) fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small numbers for those of a small amount, whatever their sign: a `sint64` of Protocol Buffers.
const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Bits of a double; every NaN has the same.
pub(super) fn bits(value: f64) -> u64 {
    if value.is_nan() { NAN } else { value.to_bits() }
}

fn all_equal<T, V: PartialEq>(values: &[T], of: impl Fn(&T) -> V) -> bool {
    let [first, .., last] = values else { return true };
    let (first, last) = (of(first), of(last));
    // By blocks, which are compared without a branch for each value.
    first == last && values.chunks(64).all(|block| block.iter().filter(|value| of(value) != first).count() == 0)
}

/// Numbers as the smallest of them, and what each is more than that, in as many bytes as the largest needs.
fn pack<I: Iterator<Item = i64>>(count: usize, numbers: impl Fn() -> I, out: &mut Vec<u8>) {
    let (low, high) = numbers().fold((i64::MAX, i64::MIN), |(low, high), number| (low.min(number), high.max(number)));
    out.extend_from_slice(&low.to_be_bytes());
    write_more(count, high.wrapping_sub(low) as u64, numbers().map(|number| number.wrapping_sub(low) as u64), out);
}

/// The same of numbers that stand together.
fn pack_slice(numbers: &[i64], out: &mut Vec<u8>) {
    let (mut low, mut high) = ([i64::MAX; LANES], [i64::MIN; LANES]);
    let (lanes, rest) = numbers.as_chunks::<LANES>();
    // None waits for the one before it.
    for lane in lanes {
        for (number, (low, high)) in lane.iter().zip(low.iter_mut().zip(&mut high)) {
            (*low, *high) = ((*low).min(*number), (*high).max(*number));
        }
    }
    let low = low.iter().chain(rest).fold(i64::MAX, |low, number| low.min(*number));
    let high = high.iter().chain(rest).fold(i64::MIN, |high, number| high.max(*number));
    out.extend_from_slice(&low.to_be_bytes());
    let more = numbers.iter().map(|number| number.wrapping_sub(low) as u64);
    write_more(numbers.len(), high.wrapping_sub(low) as u64, more, out);
}

/// The same of numbers of 32 bits, of which a machine compares several at a time.
pub(super) fn pack_lengths<I: Iterator<Item = u32>>(count: usize, lengths: impl Fn() -> I, out: &mut Vec<u8>) {
    let (low, high) = lengths().fold((u32::MAX, 0), |(low, high), length| (low.min(length), high.max(length)));
    out.extend_from_slice(&i64::from(low).to_be_bytes());
    write_more(count, u64::from(high - low), lengths().map(|length| u64::from(length - low)), out);
}

/// The width that the largest needs, and all of them in it.
fn write_more(count: usize, largest: u64, numbers: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    match largest {
        0 => out.push(0),
        1..=0xff => write_packed::<1>(count, numbers, out),
        0x100..=0xffff => write_packed::<2>(count, numbers, out),
        0x1_0000..=0xffff_ffff => write_packed::<4>(count, numbers, out),
        _ => write_packed::<8>(count, numbers, out),
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
