//! Rows of a file in their order: by ascending salted subject, within one in the order of their arrival.
//!
//! The hash is computed once a subject, the rows are then counted into place, and columns are put in order one by one.

use std::hash::BuildHasher;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, new_empty_array, new_null_array};
use arrow_schema::{ArrowError, DataType, Field};
use arrow_select::interleave::interleave;
use candor_wire::leaf::{Salt, Salted, salted};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::error::{Error, Kind};
use crate::table::layout;

/// Batches of one schema, and the order in which a file takes their rows.
pub(super) struct Sorted<'a> {
    batches: &'a [RecordBatch],
    /// Number of the batch, and of the row in it.
    places: Vec<(usize, usize)>,
    /// Salted subjects, ascending.
    subjects: Vec<Salted>,
}

/// A column of all batches.
pub(super) struct Column<'a> {
    kind: &'a DataType,
    /// None where frames do not have it.
    parts: Option<Vec<&'a dyn Array>>,
}

impl<'a> Sorted<'a> {
    /// # Errors
    /// `Data` if the batches have no subjects.
    pub(super) fn new(batches: &'a [RecordBatch], salt: &Salt) -> Result<Self, Error> {
        let columns: Option<Vec<&StringArray>> = batches
            .iter()
            .map(|batch| batch.column_by_name(layout::SUBJECT).and_then(|column| column.as_string_opt::<i32>()))
            .collect();
        let columns = columns.ok_or_else(no_subjects)?;
        let (subject_of_row, names) = intern(&columns);
        let (rank_of, subjects) = ranks(&names, salt);

        let mut next = vec![0_u32; names.len() + 1];
        for id in &subject_of_row {
            next[rank_of[*id as usize] as usize + 1] += 1;
        }
        for rank in 1..next.len() {
            next[rank] += next[rank - 1];
        }
        let mut places = vec![(0, 0); subject_of_row.len()];
        let all =
            batches.iter().enumerate().flat_map(|(number, batch)| (0..batch.num_rows()).map(move |row| (number, row)));
        for (id, place) in subject_of_row.iter().zip(all) {
            let at = &mut next[rank_of[*id as usize] as usize];
            places[*at as usize] = place;
            *at += 1;
        }
        Ok(Self { batches, places, subjects })
    }

    /// Rows.
    pub(super) const fn len(&self) -> usize {
        self.places.len()
    }

    /// Distinct subjects.
    pub(super) const fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// Their salted subjects, in order.
    pub(super) fn salted(&self) -> Vec<Salted> {
        self.subjects.clone()
    }

    /// A column that can be put in order.
    pub(super) fn column<'b>(&self, field: &'b Field) -> Column<'b>
    where
        'a: 'b,
    {
        let parts = self.batches.iter().map(|batch| batch.column_by_name(field.name()).map(AsRef::as_ref)).collect();
        Column { kind: field.data_type(), parts }
    }

    /// The values of a column in order; nulls where frames do not have it.
    pub(super) fn values(&self, column: &Column<'_>, range: Range<usize>) -> Result<ArrayRef, ArrowError> {
        column.values(&self.places[range])
    }

    /// Values of a column from all over the rows, `most` or a few more.
    pub(super) fn sample(&self, field: &Field, most: usize) -> Result<ArrayRef, ArrowError> {
        let step = self.len().div_ceil(most).max(1);
        let places: Vec<_> = self.places.iter().copied().step_by(step).collect();
        self.column(field).values(&places)
    }
}

impl Column<'_> {
    fn values(&self, places: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
        match &self.parts {
            _ if places.is_empty() => Ok(new_empty_array(self.kind)),
            Some(parts) => interleave(parts, places),
            None => Ok(new_null_array(self.kind, places.len())),
        }
    }
}

/// All of a range in ranges of at most `most`.
pub(super) fn ranges(all: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    all.clone().step_by(most.max(1)).map(move |from| from..all.end.min(from + most))
}

/// Row → number of its subject, and the distinct subjects.
fn intern<'a>(columns: &[&'a StringArray]) -> (Vec<u32>, Vec<&'a str>) {
    let rows = columns.iter().copied().map(Array::len).sum();
    let mut names: Vec<&str> = Vec::new();
    // The high half of the hash, and the number, of each: names are looked at again only where it is the same. There is room for as
    // many as can be, so that nothing is moved; what nobody writes to takes no memory.
    let mut numbers: HashTable<(u32, u32)> = HashTable::with_capacity(rows);
    let hasher = foldhash::fast::RandomState::default();
    let mut of_row: Vec<u32> = Vec::with_capacity(rows);
    for name in columns.iter().flat_map(|column| (0..column.len()).map(|row| column.value(row))) {
        // Rows of one request often have one subject.
        let number = match of_row.last() {
            Some(last) if names[*last as usize] == name => *last,
            _ => {
                let hash = hasher.hash_one(name);
                let high = (hash >> 32) as u32;
                let same = |(other, number): &(u32, u32)| *other == high && names[*number as usize] == name;
                match numbers.entry(hash, same, |(_, number)| hasher.hash_one(names[*number as usize])) {
                    Entry::Occupied(known) => known.get().1,
                    Entry::Vacant(new) => {
                        let number = names.len() as u32;
                        names.push(name);
                        new.insert((high, number));
                        number
                    }
                }
            }
        };
        of_row.push(number);
    }
    (of_row, names)
}

/// Number of a subject → its rank by salted subject, and the salted subjects in order.
fn ranks(names: &[&str], salt: &Salt) -> (Vec<u32>, Vec<Salted>) {
    let salted: Vec<Salted> = names.iter().map(|name| salted(salt, name)).collect();
    // The first bytes tell all but a few apart: what is moved about is a third of what has all of them.
    let mut ranked: Vec<(u64, u32)> = salted.iter().map(first_bytes).zip(0..).collect();
    ranked.sort_unstable_by(|(one, a), (two, b)| {
        one.cmp(two).then_with(|| salted[*a as usize].cmp(&salted[*b as usize]))
    });
    let mut rank_of = vec![0_u32; ranked.len()];
    for (rank, (_, id)) in (0_u32..).zip(&ranked) {
        rank_of[*id as usize] = rank;
    }
    (rank_of, ranked.into_iter().map(|(_, id)| salted[id as usize]).collect())
}

fn first_bytes(salted: &Salted) -> u64 {
    salted.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

fn no_subjects() -> Error {
    let why = "a frame is not what it says";
    Error::new(Kind::Data, "rows without a subject column", why, "report this: it is a fault")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, UInt32Array};
    use proptest::prelude::*;

    use super::*;

    fn batch(subjects: &[u8], first: i64) -> RecordBatch {
        let names: StringArray = subjects.iter().map(|subject| Some(subject.to_string())).collect();
        let numbers = Int64Array::from_iter_values(first..first + subjects.len() as i64);
        RecordBatch::try_from_iter([
            (layout::SUBJECT, Arc::new(names) as ArrayRef),
            ("number", Arc::new(numbers) as ArrayRef),
        ])
        .unwrap()
    }

    proptest! {
        /// What sorting by (salted subject, arrival) gives, which is another algorithm.
        #[test]
        fn rows_are_in_order(batches in prop::collection::vec(prop::collection::vec(0_u8..6, 0..9), 1..5), salt: [u8; 16]) {
            let mut all: Vec<([u8; 16], i64)> = Vec::new();
            let batches: Vec<RecordBatch> = batches.iter().map(|subjects| {
                let first = all.len() as i64;
                all.extend(subjects.iter().zip(first..).map(|(subject, row)| (salted(&salt, &subject.to_string()), row)));
                batch(subjects, first)
            }).collect();
            all.sort_unstable();

            let rows = Sorted::new(&batches, &salt).unwrap();
            let number = Field::new("number", DataType::Int64, true);
            let column = rows.column(&number);
            let parts: Vec<ArrayRef> = ranges(0..rows.len(), 4).map(|range| rows.values(&column, range).unwrap()).collect();
            let found: Vec<i64> =
                parts.iter().flat_map(|part| part.as_primitive::<arrow_array::types::Int64Type>().values().to_vec()).collect();
            prop_assert_eq!(found, all.iter().map(|(_, row)| *row).collect::<Vec<_>>());
            prop_assert!(parts.iter().all(|part| part.len() <= 4));
            let mut subjects: Vec<_> = all.iter().map(|(salted, _)| salted).collect();
            subjects.dedup();
            prop_assert_eq!(rows.subjects(), subjects.len());
            let found = rows.salted();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), subjects);
            prop_assert_eq!(rows.len(), all.len());

            let absent = Field::new("absent", DataType::UInt32, true);
            let nulls = rows.values(&rows.column(&absent), 0..rows.len()).unwrap();
            prop_assert_eq!(nulls.as_ref(), &UInt32Array::new_null(rows.len()) as &dyn Array);
            prop_assert!(rows.sample(&number, 3).unwrap().len() <= 4);
        }
    }
}
