//! A column of a batch as its hash takes it: numbers, doubles or bytes, whether they come from a table or from encodings of rows.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, ListArray, StringArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;

use super::{NAN, RowError, cells_of, tag, write_list};

/// Rows that a checker is given may name many columns: most cells of the tables that they make, for each of their bytes.
const MOST_CELLS_PER_BYTE: usize = 64;

/// Number of a row, and the value that its encoding has.
type CellOfRow<'a> = (usize, &'a [u8]);

/// A column in which at least one row has a value.
pub(super) struct Column<'a> {
    name: &'a str,
    tag: u8,
    cells: Cells<'a>,
    nulls: Option<NullBuffer>,
    /// Whether every row has the same value; it is the first of `cells`.
    same: bool,
}

/// How a column is written.
pub(super) enum Form<'c> {
    /// Every row has the same value.
    Same,
    /// Every row has a value.
    All,
    /// Some rows have none.
    Some(&'c NullBuffer),
}

/// What the rows of a column say, null or not; nobody looks at what stands under a null.
enum Cells<'a> {
    /// Booleans, integers, times, dates.
    Numbers(Cow<'a, [i64]>),
    /// Their bits.
    Doubles(Vec<u64>),
    /// Texts, and lists in their encoding.
    Bytes { offsets: Cow<'a, [i32]>, bytes: Cow<'a, [u8]> },
}

impl<'a> Column<'a> {
    /// A column of a table; one of them is not null.
    pub(super) fn of_array(name: &'a str, values: &'a ArrayRef) -> Result<Self, RowError> {
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        Ok(Self::new(name, tag(values.data_type())?, Cells::of(values)?, nulls))
    }

    /// A date that all rows have.
    pub(super) fn of_date(name: &'a str, days: i32) -> Self {
        Self::new(name, b'd', Cells::Numbers(Cow::Owned(vec![i64::from(days)])), None)
    }

    /// The columns that encodings of rows have, by name.
    pub(super) fn of_rows(rows: &[&'a [u8]]) -> Result<Vec<Self>, RowError> {
        let mut sparse: BTreeMap<&str, (u8, Vec<CellOfRow<'_>>)> = BTreeMap::new();
        for (number, row) in rows.iter().enumerate() {
            for cell in cells_of(row)? {
                let (tag, cells) = sparse.entry(cell.name).or_insert((cell.tag, Vec::new()));
                if *tag != cell.tag {
                    return Err(RowError::Malformed);
                }
                cells.push((number, cell.value));
            }
        }
        let bytes: usize = rows.iter().map(|row| row.len()).sum();
        if sparse.len().saturating_mul(rows.len()) > bytes.saturating_mul(MOST_CELLS_PER_BYTE) {
            return Err(RowError::Malformed);
        }
        let column = |(name, (tag, cells)): (_, (u8, Vec<_>))| {
            let nulls = (cells.len() < rows.len()).then(|| presence(&cells, rows.len()));
            Ok(Self::new(name, tag, Cells::of_encoded(tag, &cells, rows.len())?, nulls))
        };
        sparse.into_iter().map(column).collect()
    }

    fn new(name: &'a str, tag: u8, cells: Cells<'a>, nulls: Option<NullBuffer>) -> Self {
        let same = nulls.is_none() && cells.are_same();
        Self { name, tag, cells, nulls, same }
    }

    pub(super) const fn name(&self) -> &'a str {
        self.name
    }

    pub(super) const fn tag(&self) -> u8 {
        self.tag
    }

    pub(super) const fn form(&self) -> Form<'_> {
        match &self.nulls {
            _ if self.same => Form::Same,
            None => Form::All,
            Some(nulls) => Form::Some(nulls),
        }
    }

    /// The value of every row, as a row's encoding has it.
    pub(super) fn write_same(&self, out: &mut Vec<u8>) {
        match &self.cells {
            Cells::Numbers(numbers) if self.tag == b'b' => out.push(u8::from(numbers[0] != 0)),
            Cells::Numbers(numbers) => out.extend_from_slice(&numbers[0].to_be_bytes()),
            Cells::Doubles(bits) => out.extend_from_slice(&bits[0].to_be_bytes()),
            Cells::Bytes { .. } => {
                let bytes = self.cells.bytes_of(0);
                if self.tag == b's' {
                    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                }
                out.extend_from_slice(bytes);
            }
        }
    }

    /// What has one width: numbers, doubles, lengths of bytes.
    pub(super) fn write_fixed(&self, rows: impl Iterator<Item = usize> + Clone, out: &mut Vec<u8>) {
        match &self.cells {
            Cells::Numbers(numbers) => pack(rows.map(|row| numbers[row]), out),
            Cells::Doubles(bits) => write::<8>(rows.map(|row| bits[row]), out),
            Cells::Bytes { offsets, .. } => pack(rows.map(|row| i64::from(offsets[row + 1] - offsets[row])), out),
        }
    }

    /// The same of a column without nulls, in the order of its rows.
    pub(super) fn write_all_fixed(&self, out: &mut Vec<u8>) {
        match &self.cells {
            Cells::Numbers(numbers) => pack(numbers.iter().copied(), out),
            Cells::Doubles(bits) => write::<8>(bits.iter().copied(), out),
            Cells::Bytes { offsets, .. } => pack(offsets.windows(2).map(|pair| i64::from(pair[1] - pair[0])), out),
        }
    }

    /// What has not.
    pub(super) fn write_bytes(&self, rows: impl Iterator<Item = usize>, out: &mut Vec<u8>) {
        if let Cells::Bytes { .. } = self.cells {
            rows.for_each(|row| out.extend_from_slice(self.cells.bytes_of(row)));
        }
    }

    /// [`Self::write_bytes`] of a column without nulls, in the order of its rows.
    pub(super) fn all_bytes(&self) -> &[u8] {
        match &self.cells {
            Cells::Bytes { offsets, bytes } => {
                let end = |offset: Option<&i32>| offset.map_or(0, |offset| *offset as usize);
                &bytes[end(offsets.first())..end(offsets.last())]
            }
            _ => &[],
        }
    }

    /// The order of two rows by this column: null before values, numbers by value, doubles by their bits, bytes as they are.
    pub(super) fn compare(&self, one: usize, other: usize) -> Ordering {
        let valid = |row: usize| self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        match (valid(one), valid(other)) {
            (true, true) => match &self.cells {
                Cells::Numbers(numbers) => numbers[one].cmp(&numbers[other]),
                Cells::Doubles(bits) => bits[one].cmp(&bits[other]),
                Cells::Bytes { .. } => self.cells.bytes_of(one).cmp(self.cells.bytes_of(other)),
            },
            (one, other) => one.cmp(&other),
        }
    }

    /// Whether each row says more than the one before, where that is quick to see.
    pub(super) fn ascends(&self) -> bool {
        match &self.cells {
            Cells::Numbers(numbers) if self.nulls.is_none() => numbers.is_sorted_by(|one, other| one < other),
            _ => false,
        }
    }

    /// Numbers that are in the order of the rows, and how many bits they have; none where that is not quick to see.
    pub(super) fn ranks(&self) -> Option<(Vec<u64>, u32)> {
        if self.nulls.is_some() {
            return None;
        }
        let ranks: Vec<u64> = match &self.cells {
            Cells::Numbers(numbers) => {
                let low = numbers.iter().copied().min()?;
                numbers.iter().map(|number| number.wrapping_sub(low) as u64).collect()
            }
            Cells::Doubles(bits) => {
                let low = bits.iter().copied().min()?;
                bits.iter().map(|bits| bits - low).collect()
            }
            Cells::Bytes { .. } => return None,
        };
        let bits = u64::BITS - ranks.iter().fold(0, |all, rank| all | rank).leading_zeros();
        Some((ranks, bits))
    }
}

impl<'a> Cells<'a> {
    fn of(values: &'a ArrayRef) -> Result<Self, RowError> {
        Ok(match values.data_type() {
            DataType::Boolean => Self::Numbers(values.as_boolean().values().iter().map(i64::from).collect()),
            DataType::Int32 => Self::narrow(values.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Self::Numbers(Cow::Borrowed(values.as_primitive::<Int64Type>().values())),
            DataType::Float64 => {
                Self::Doubles(values.as_primitive::<Float64Type>().values().iter().copied().map(bits).collect())
            }
            DataType::Utf8 => Self::texts(values.as_string()),
            DataType::Timestamp(..) => match values.as_primitive_opt::<TimestampMicrosecondType>() {
                Some(times) => Self::Numbers(Cow::Borrowed(times.values())),
                None => return Err(RowError::Type),
            },
            DataType::Date32 => Self::narrow(values.as_primitive::<Date32Type>().values()),
            DataType::List(_) => Self::lists(values.as_list())?,
            _ => return Err(RowError::Type),
        })
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

    /// Cells by number of their row, each in its encoding.
    fn of_encoded(tag: u8, cells: &[CellOfRow<'_>], rows: usize) -> Result<Self, RowError> {
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
            return Ok(Self::Doubles(numbers));
        }
        Ok(Self::Numbers(numbers.into_iter().map(u64::cast_signed).collect()))
    }

    /// Whether all cells say the same, if none is null.
    fn are_same(&self) -> bool {
        match self {
            Self::Numbers(numbers) => all_equal(numbers),
            Self::Doubles(bits) => all_equal(bits),
            Self::Bytes { offsets, bytes } => {
                let [first, second, ..] = **offsets else { return true };
                let (width, end) = (second - first, offsets.last().copied().unwrap_or(first));
                // Without a branch for each value; what differs mostly does so in sum.
                let uneven = || offsets.windows(2).filter(|pair| pair[1] - pair[0] != width).count();
                if i64::from(end - first) != i64::from(width) * (offsets.len() as i64 - 1) || uneven() > 0 {
                    return false;
                }
                // Laid over themselves, moved by one value.
                bytes[first as usize..(end - width) as usize] == bytes[second as usize..end as usize]
            }
        }
    }

    fn bytes_of(&self, row: usize) -> &[u8] {
        match self {
            Self::Bytes { offsets, bytes } => &bytes[offsets[row] as usize..offsets[row + 1] as usize],
            Self::Numbers(_) | Self::Doubles(_) => &[],
        }
    }
}

/// Which rows have a cell.
fn presence(cells: &[CellOfRow<'_>], rows: usize) -> NullBuffer {
    let mut present = vec![false; rows];
    for (row, _) in cells {
        present[*row] = true;
    }
    NullBuffer::new(BooleanBuffer::from(present))
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { NAN } else { value.to_bits() }
}

fn all_equal<T: PartialEq>(values: &[T]) -> bool {
    let Some(first) = values.first() else { return true };
    // By blocks, which are compared without a branch for each value.
    values.chunks(64).all(|block| block.iter().filter(|value| *value != first).count() == 0)
}

/// Numbers as the smallest of them, and what each is more than that, in as many bytes as the largest needs.
fn pack(numbers: impl Iterator<Item = i64> + Clone, out: &mut Vec<u8>) {
    let (low, high) =
        numbers.clone().fold((i64::MAX, i64::MIN), |(low, high), number| (low.min(number), high.max(number)));
    let more = |number: i64| number.wrapping_sub(low) as u64;
    out.extend_from_slice(&low.to_be_bytes());
    match more(high) {
        0 => out.push(0),
        1..=0xff => write_packed::<1>(numbers.map(more), out),
        0x100..=0xffff => write_packed::<2>(numbers.map(more), out),
        0x1_0000..=0xffff_ffff => write_packed::<4>(numbers.map(more), out),
        _ => write_packed::<8>(numbers.map(more), out),
    }
}

fn write_packed<const WIDTH: usize>(numbers: impl Iterator<Item = u64> + Clone, out: &mut Vec<u8>) {
    out.push(WIDTH as u8);
    write::<WIDTH>(numbers, out);
}

fn write<const WIDTH: usize>(numbers: impl Iterator<Item = u64> + Clone, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + numbers.clone().count() * WIDTH, 0);
    for (place, number) in out[start..].chunks_exact_mut(WIDTH).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes()[8 - WIDTH..]);
    }
}
