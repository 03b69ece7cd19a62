//! Content of a leaf: a subject's rows in a file, by column, so that what rows share is hashed once.
//!
//! `docs/FORMAT.md`, "Sealed files", fixes each byte. What a subject has is the same whatever columns the file has besides, and
//! where its readers cut it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::bit_chunk_iterator::UnalignedBitChunk;
use arrow_buffer::{BooleanBuffer, NullBuffer};
use sha2::{Digest, Sha256};

use super::cells::{Cells, write_varint};
use super::{RECEIVED_DATE, RowError, tag};
use crate::merkle::Hash;

/// Most rows of a block: who has more has several, so that nobody needs all of them in memory.
pub const BLOCK_ROWS: usize = 8_192;
/// Bytes that are not worth a copy.
const LONG: usize = 8_192;
/// The column that says whose rows they are, which a leaf says otherwise.
const SUBJECT: &str = "subject";

/// Columns of a part of a file, from which the content of leaves is taken.
#[derive(Debug)]
pub struct Content<'a> {
    parts: Vec<Part<'a>>,
    heads: Heads,
    /// Columns with nulls.
    sparse: Vec<&'a NullBuffer>,
    /// How many values each of them has in the block that is written.
    counts: Vec<usize>,
}

/// Where the content of leaves goes.
pub trait Sink {
    /// A block begins, with the hash of its heads.
    fn begin(&mut self, heads: &Hash);

    /// What is short is appended to this.
    fn bytes(&mut self) -> &mut Vec<u8>;

    /// What is long is given as it lies in memory, after what was appended.
    fn long(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn begin(&mut self, heads: &Hash) {
        self.extend_from_slice(heads);
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        self
    }

    fn long(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// What blocks have at one place.
#[derive(Debug)]
enum Part<'a> {
    /// The same bytes in every block: columns with one value.
    Same {
        /// In a block of several rows.
        block: Vec<u8>,
        /// In a block of one.
        alone: Vec<u8>,
    },
    /// A column that says more.
    Column(Column<'a>),
}

#[derive(Debug)]
struct Column<'a> {
    tag: u8,
    cells: Cells<'a>,
    /// Its place among the columns with nulls, if it has some.
    sparse: Option<usize>,
}

/// Names and tags of a block's columns, as one hash: a block of one row would have more of them than of values.
#[derive(Debug, Default)]
struct Heads {
    /// `u32be len(name) ‖ name ‖ tag`, and the place among the columns with nulls.
    columns: Vec<(Vec<u8>, Option<usize>)>,
    /// The one before, by which of the columns with nulls the block has.
    last: Option<(Vec<bool>, Hash)>,
    known: HashMap<Vec<bool>, Hash>,
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
        let mut content = Self { parts: Vec::new(), heads: Heads::default(), sparse: Vec::new(), counts: Vec::new() };
        for (name, values) in named {
            match values {
                None => {
                    content.heads.push(name, b'd', None);
                    content.push_same(b'd', &Cells::Numbers(Cow::Owned(vec![i64::from(received_date)])));
                }
                Some(values) if values.null_count() == values.len() => {}
                Some(values) => content.push(name, values)?,
            }
        }
        Ok(content)
    }

    /// Writes the block of these rows, at most [`BLOCK_ROWS`] and at least one, all of one subject.
    pub fn write_block(&mut self, rows: Range<usize>, sink: &mut impl Sink) {
        self.counts.clear();
        self.counts.extend(self.sparse.iter().map(|nulls| count(nulls, &rows)));
        sink.begin(&self.heads.hash(&self.counts));
        write_varint(rows.len() as u64, sink.bytes());
        if rows.len() == 1 {
            return self.write_alone(rows.start, sink.bytes());
        }
        for part in &self.parts {
            match part {
                Part::Same { block, .. } => sink.bytes().extend_from_slice(block),
                Part::Column(column) => {
                    let there = column.sparse.map(|place| (self.sparse[place], self.counts[place]));
                    column.write(rows.clone(), there, sink);
                }
            }
        }
    }

    /// Writes what the only row of a block says: most leaves of a large fleet are one.
    fn write_alone(&self, row: usize, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Same { alone, .. } => out.extend_from_slice(alone),
                Part::Column(column) if column.sparse.is_some_and(|place| self.counts[place] == 0) => {}
                Part::Column(column) => column.cells.write_short(column.tag, row, out),
            }
        }
    }

    fn push(&mut self, name: &str, values: &'a ArrayRef) -> Result<(), RowError> {
        let (tag, cells) = (tag(values.data_type())?, Cells::of(values)?);
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0);
        let sparse = nulls.map(|nulls| {
            self.sparse.push(nulls);
            self.sparse.len() - 1
        });
        self.heads.push(name, tag, sparse);
        if sparse.is_none() && cells.are_same(0..values.len()) {
            self.push_same(tag, &cells);
        } else {
            self.parts.push(Part::Column(Column { tag, cells, sparse }));
        }
        Ok(())
    }

    /// A column that says the same in every row.
    fn push_same(&mut self, tag: u8, cells: &Cells<'_>) {
        if !matches!(self.parts.last(), Some(Part::Same { .. })) {
            self.parts.push(Part::Same { block: Vec::new(), alone: Vec::new() });
        }
        if let Some(Part::Same { block, alone }) = self.parts.last_mut() {
            block.push(b'=');
            cells.write_one(tag, 0, block);
            cells.write_short(tag, 0, alone);
        }
    }
}

impl Column<'_> {
    /// Writes the column of some rows, of which so many have a value: nothing if none has.
    fn write(&self, rows: Range<usize>, there: Option<(&NullBuffer, usize)>, sink: &mut impl Sink) {
        let out = sink.bytes();
        match there {
            Some((_, 0)) => {}
            Some((nulls, some)) if some < rows.len() => {
                let there = nulls.inner().slice(rows.start, rows.len());
                out.push(b'?');
                write_bits(&there, out);
                self.cells.write_some(some, || there.set_indices().map(|place| rows.start + place), out);
            }
            _ if self.cells.are_same(rows.clone()) => {
                out.push(b'=');
                self.cells.write_one(self.tag, rows.start, out);
            }
            _ => {
                out.push(b'*');
                self.cells.write_fixed(rows.clone(), out);
                match self.cells.bytes(rows) {
                    long if long.len() >= LONG => sink.long(long),
                    short => out.extend_from_slice(short),
                }
            }
        }
    }
}

impl Heads {
    fn push(&mut self, name: &str, tag: u8, sparse: Option<usize>) {
        let head = [&(name.len() as u32).to_be_bytes(), name.as_bytes(), &[tag]].concat();
        self.columns.push((head, sparse));
    }

    /// Of a block in which columns with nulls have so many values.
    fn hash(&mut self, counts: &[usize]) -> Hash {
        let is_there = |count: &usize| *count > 0;
        if let Some((there, hash)) = &self.last
            && there.iter().copied().eq(counts.iter().map(is_there))
        {
            return *hash;
        }
        let there: Vec<bool> = counts.iter().map(is_there).collect();
        let hash = self.known.get(&there).copied().unwrap_or_else(|| {
            let columns = self.columns.iter().filter(|(_, sparse)| sparse.is_none_or(|place| there[place]));
            columns.fold(Sha256::new(), |hash, (head, _)| hash.chain_update(head)).finalize().into()
        });
        if let Some((before, of_before)) = self.last.replace((there, hash)) {
            self.known.insert(before, of_before);
        }
        hash
    }
}

/// How many of these rows have a value.
fn count(nulls: &NullBuffer, rows: &Range<usize>) -> usize {
    if rows.len() == 1 {
        return usize::from(nulls.is_valid(rows.start));
    }
    UnalignedBitChunk::new(nulls.validity(), nulls.offset() + rows.start, rows.len()).count_ones()
}

/// One bit for each row, the first of them the highest.
fn write_bits(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let words = bits.bit_chunks();
    let bytes = words.iter_padded().flat_map(u64::to_le_bytes).map(u8::reverse_bits);
    out.extend(bytes.take(bits.len().div_ceil(8)));
}
