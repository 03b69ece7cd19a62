//! A file's leaves from its rows, as they are written or read.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;

use super::{Entry, Salt, Salted, Secret, salted};
use crate::merkle::Hash;
use crate::row::{BLOCK_ROWS, Content, RowError, Sink};
use crate::sha256::Tagged;

/// Whose rows they are.
const SUBJECT: &str = "subject";

/// What seals a file, or recomputes it: rows go in, in the order of the file, and of each subject its entry comes out with the
/// hash of its leaf, ascending.
pub struct Sealer<F> {
    salt: Salt,
    secret: Secret,
    received_date: i32,
    each: F,
    /// Salted subjects in the order of the file, where somebody has them already.
    known: std::vec::IntoIter<Salted>,
    /// The subject whose rows may still be coming.
    open: Option<Open>,
    /// Salted subject of the entry before.
    last: Option<Salted>,
    /// That of a leaf that is whole, if one waits to be hashed beside the next, and that of the open leaf.
    commitments: [Commitment; 2],
    /// Salted subject of the one that waits.
    waiting: Option<Salted>,
    sealed: Sealed,
}

/// What was sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Rows.
    pub rows: u64,
    /// Subjects: leaves.
    pub subjects: u64,
}

/// Why rows cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A row is nobody's.
    #[error("a row has no subject")]
    Subject,
    /// Rows are not by ascending salted subject.
    #[error("its rows are not in the order of their salted subjects")]
    Order,
    /// A column that no table has.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Parts of a file that have not the same columns.
    #[error(transparent)]
    Columns(#[from] ArrowError),
}

/// What the commitment of a leaf is made of, as its blocks come.
#[derive(Debug, Default)]
struct Commitment {
    message: Tagged,
    /// Until the first block, whose heads come before it.
    blind: Option<Hash>,
}

/// A subject whose last rows were not seen yet.
struct Open {
    subject: String,
    salted: Salted,
    /// Rows that fill no block yet.
    rest: Vec<RecordBatch>,
}

impl<F: FnMut(Entry, Hash)> Sealer<F> {
    /// For a file with this salt and secret, of rows received on this day (since 1970-01-01).
    pub fn new(salt: Salt, secret: [u8; 16], received_date: i32, each: F) -> Self {
        Self {
            salt,
            secret: Secret::new(secret),
            received_date,
            each,
            known: Vec::new().into_iter(),
            open: None,
            last: None,
            commitments: Default::default(),
            waiting: None,
            sealed: Sealed::default(),
        }
    }

    /// Who put the rows in order has the salted subjects already, in that order.
    #[must_use]
    pub fn with_salted(self, subjects: Vec<Salted>) -> Self {
        Self { known: subjects.into_iter(), ..self }
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// If they cannot be part of a sealed file.
    pub fn push(&mut self, rows: &RecordBatch) -> Result<(), SealError> {
        let subjects = rows.column_by_name(SUBJECT).and_then(|column| column.as_string_opt::<i32>());
        let subjects = subjects.filter(|subjects| subjects.null_count() == 0).ok_or(SealError::Subject)?;
        let count = rows.num_rows();
        self.sealed.rows += count as u64;
        let mut start = self.go_on(subjects, rows)?;
        if start == count {
            return Ok(());
        }
        let mut columns = content(rows, self.received_date)?;
        loop {
            let end = run(subjects, start);
            let salted = self.begin(subjects.value(start))?;
            if end == count {
                let rest = vec![rows.slice(start, end - start)];
                self.open = Some(Open { subject: subjects.value(start).to_owned(), salted, rest });
                return Ok(());
            }
            write_blocks(&mut columns, start..end, self.open_commitment());
            self.give(salted);
            start = end;
        }
    }

    /// The last subject's rows are all there.
    ///
    /// # Errors
    /// If they cannot be part of a sealed file.
    pub fn finish(mut self) -> Result<Sealed, SealError> {
        self.close()?;
        if let Some(salted) = self.waiting.take() {
            let commitment = self.commitments[0].message.hash();
            self.emit(salted, commitment);
        }
        Ok(self.sealed)
    }

    /// Adds what rows begin with to the open subject, if it is that subject's; where the others begin.
    fn go_on(&mut self, subjects: &StringArray, rows: &RecordBatch) -> Result<usize, SealError> {
        let Some(open) = self.open.as_mut().filter(|_| !subjects.is_empty()) else { return Ok(0) };
        let mut end = 0;
        if subjects.value(0) == open.subject {
            end = run(subjects, 0);
            open.rest.push(rows.slice(0, end));
        }
        if end < subjects.len() {
            self.close()?;
        } else if open.rest.iter().map(RecordBatch::num_rows).sum::<usize>() >= BLOCK_ROWS {
            let rest = concat_batches(&rows.schema(), &open.rest)?;
            let full = rest.num_rows() / BLOCK_ROWS * BLOCK_ROWS;
            open.rest = vec![rest.slice(full, rest.num_rows() - full)];
            write_blocks(&mut content(&rest, self.received_date)?, 0..full, self.open_commitment());
        }
        Ok(end)
    }

    fn close(&mut self) -> Result<(), SealError> {
        let Some(Open { salted, rest, .. }) = self.open.take() else { return Ok(()) };
        let Some(first) = rest.first() else { return Ok(()) };
        let joined = if rest.len() == 1 { first.clone() } else { concat_batches(&first.schema(), &rest)? };
        write_blocks(&mut content(&joined, self.received_date)?, 0..joined.num_rows(), self.open_commitment());
        self.give(salted);
        Ok(())
    }

    fn open_commitment(&mut self) -> &mut Commitment {
        &mut self.commitments[usize::from(self.waiting.is_some())]
    }

    fn begin(&mut self, subject: &str) -> Result<Salted, SealError> {
        let salted = self.known.next().unwrap_or_else(|| salted(&self.salt, subject));
        if self.last.is_some_and(|last| last >= salted) {
            return Err(SealError::Order);
        }
        self.last = Some(salted);
        let blind = self.secret.blind(subject);
        self.open_commitment().blind = Some(blind);
        Ok(salted)
    }

    /// The open leaf is whole.
    fn give(&mut self, salted: Salted) {
        let Some(before) = self.waiting.take() else {
            self.waiting = Some(salted);
            return;
        };
        let [first, second] = &mut self.commitments;
        let [first, second] = first.message.hash_both(&mut second.message);
        self.emit(before, first);
        self.emit(salted, second);
    }

    fn emit(&mut self, salted: Salted, commitment: Hash) {
        let entry = Entry { salted, commitment };
        self.sealed.subjects += 1;
        (self.each)(entry, entry.hash());
    }
}

impl Sink for Commitment {
    fn begin(&mut self, heads: &Hash) {
        if let Some(blind) = self.blind.take() {
            self.message.begin(heads);
            self.message.bytes().extend_from_slice(&blind);
        } else {
            self.message.bytes().extend_from_slice(heads);
        }
    }

    fn bytes(&mut self) -> &mut Vec<u8> {
        self.message.bytes()
    }

    fn long(&mut self, bytes: &[u8]) {
        self.message.long(bytes);
    }
}

impl<F> std::fmt::Debug for Sealer<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sealer").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

/// The content of a subject's rows, in the order of the file: what a checker holds against a leaf.
///
/// # Errors
/// If they cannot be part of a sealed file.
pub fn content_of(rows: &RecordBatch, received_date: i32) -> Result<Vec<u8>, RowError> {
    let mut all = Vec::new();
    write_blocks(&mut content(rows, received_date)?, 0..rows.num_rows(), &mut all);
    Ok(all)
}

fn content(rows: &RecordBatch, received_date: i32) -> Result<Content<'_>, RowError> {
    let schema = rows.schema_ref();
    let columns = schema.fields().iter().zip(rows.columns());
    Content::new(columns.map(|(field, values): (_, &ArrayRef)| (field.name().as_str(), values)), received_date)
}

fn write_blocks(columns: &mut Content<'_>, rows: Range<usize>, sink: &mut impl Sink) {
    for start in rows.clone().step_by(BLOCK_ROWS) {
        columns.write_block(start..rows.end.min(start + BLOCK_ROWS), sink);
    }
}

/// Where the subject of a row ends.
fn run(subjects: &StringArray, start: usize) -> usize {
    let subject = subjects.value(start);
    (start + 1..subjects.len()).find(|row| subjects.value(*row) != subject).unwrap_or(subjects.len())
}
