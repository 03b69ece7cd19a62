//! A column of a batch as its hash takes it, and how its rows are ordered by it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::cells::{CellOfRow, Cells, bits};
use super::{RowError, cells_of, tag};

/// Rows that a checker is given may name many columns: most cells of the tables that they make, for each of their bytes.
const MOST_CELLS_PER_BYTE: usize = 64;

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
        let same = nulls.is_none() && cells.are_same(0..cells.len());
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

    /// What its rows say.
    pub(super) const fn cells(&self) -> &Cells<'a> {
        &self.cells
    }

    /// The order of two rows by this column: null before values, numbers by value, doubles by their bits, bytes as they are.
    pub(super) fn compare(&self, one: usize, other: usize) -> Ordering {
        let valid = |row: usize| self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        match (valid(one), valid(other)) {
            (true, true) => self.cells.compare(one, other),
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
            Cells::Doubles(doubles) => {
                let low = doubles.iter().copied().map(bits).min()?;
                doubles.iter().map(|double| bits(*double) - low).collect()
            }
            Cells::Bytes { .. } => return None,
        };
        let bits = u64::BITS - ranks.iter().fold(0, |all, rank| all | rank).leading_zeros();
        Some((ranks, bits))
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
