//! Content of a leaf: a subject's rows in a file, by column, so that what rows share is hashed once.
//!
//! `docs/FORMAT.md`, "Sealed files", fixes each byte. What a subject has is the same whatever columns the file has besides, and
//! where its readers cut it.

use std::ops::Range;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::cells::Cells;
use super::{RECEIVED_DATE, RowError, tag};

/// Most rows of a block: who has more has several, so that nobody needs all of them in memory.
pub const BLOCK_ROWS: usize = 8_192;
/// Bytes that are not worth a copy.
const LONG: usize = 512;
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
    /// A column that says more.
    Column(Column<'a>),
}

#[derive(Debug)]
struct Column<'a> {
    /// `u32be len(name) ‖ name ‖ tag`, which come before its cells.
    head: Vec<u8>,
    tag: u8,
    cells: Cells<'a>,
    nulls: Option<&'a NullBuffer>,
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

    /// Gives the block of these rows, at most [`BLOCK_ROWS`] and at least one, all of one subject, piece by piece; `scratch` is
    /// memory of before.
    pub fn give_block(&self, rows: Range<usize>, scratch: &mut Vec<u8>, mut give: impl FnMut(&[u8])) {
        scratch.clear();
        scratch.extend_from_slice(&(rows.len() as u64).to_be_bytes());
        for part in &self.parts {
            match part {
                Part::Same(bytes) => scratch.extend_from_slice(bytes),
                Part::Column(column) => column.write(rows.clone(), scratch, &mut give),
            }
        }
        give(scratch);
    }
}

impl<'a> Part<'a> {
    fn push(parts: &mut Vec<Self>, name: &str, values: &'a ArrayRef) -> Result<(), RowError> {
        let tag = tag(values.data_type())?;
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0);
        let column = Column { head: head(name, tag), tag, cells: Cells::of(values)?, nulls };
        if column.nulls.is_none() && column.cells.are_same(0..values.len()) {
            let mut bytes = Vec::new();
            column.write_same(0, &mut bytes);
            Self::push_same(parts, &bytes);
        } else {
            parts.push(Self::Column(column));
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

impl Column<'_> {
    /// Appends the column of some rows: nothing if all of them are null. Long bytes are given as they are, after what was written.
    fn write(&self, rows: Range<usize>, out: &mut Vec<u8>, give: &mut impl FnMut(&[u8])) {
        let there = self.nulls.map(|nulls| nulls.inner().slice(rows.start, rows.len()));
        match there.map(|there| (there.count_set_bits(), there)) {
            Some((0, _)) => {}
            Some((some, there)) if some < rows.len() => {
                out.extend_from_slice(&self.head);
                out.push(b'?');
                write_bits(&there, out);
                self.cells.write_some(some, || there.set_indices().map(|place| rows.start + place), out);
            }
            _ if self.cells.are_same(rows.clone()) => self.write_same(rows.start, out),
            _ => {
                out.extend_from_slice(&self.head);
                out.push(b'*');
                self.cells.write_fixed(rows.clone(), out);
                let bytes = self.cells.bytes(rows);
                if bytes.len() < LONG {
                    return out.extend_from_slice(bytes);
                }
                give(out);
                out.clear();
                give(bytes);
            }
        }
    }

    /// Appends the column of rows that all say what one of them says.
    fn write_same(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.push(b'=');
        self.cells.write_one(self.tag, row, out);
    }
}

fn head(name: &str, tag: u8) -> Vec<u8> {
    [&(name.len() as u32).to_be_bytes(), name.as_bytes(), &[tag]].concat()
}

/// One bit for each row, the first of them the highest.
fn write_bits(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let words = bits.bit_chunks();
    let bytes = words.iter_padded().flat_map(u64::to_le_bytes).map(u8::reverse_bits);
    out.extend(bytes.take(bits.len().div_ceil(8)));
}
