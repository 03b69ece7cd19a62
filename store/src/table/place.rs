//! Where in a file one subject's rows stand: they are side by side, in the order of the salted subjects, and a proof says which leaf is
//! the subject's. So a few pages tell, and the rest of the file is not read.

use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use candor_wire::leaf::{Claim, FileProof, Salt, salted};
use parquet::errors::ParquetError;

use crate::table::layout;
use crate::table::pages::Pages;

/// Rows to each side of where a subject should be that are looked at first.
const NEAR: usize = 512;
/// Looks at a file: each halves what is left, or doubles what is seen.
const MOST_LOOKS: usize = 48;

/// The leaf that a subject has in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    salt: Salt,
    index: usize,
    leaves: usize,
}

impl Place {
    /// As a proof says; none if it shows that the subject has nothing.
    pub(crate) fn of(proof: &FileProof) -> Option<Self> {
        let Claim::Present { index, .. } = proof.claim else { return None };
        let number = |number: u64| usize::try_from(number).ok();
        Some(Self { salt: proof.salt, index: number(index)?, leaves: number(proof.size)? })
    }

    /// A subject's rows; none if they are not where they should be, and have to be looked for.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn rows(self, pages: &Pages, subject: &str) -> Result<Option<RecordBatch>, ParquetError> {
        let Some(range) = self.range(pages, subject)? else { return Ok(None) };
        let Some(rows) = pages.read(&range, None)? else { return Ok(None) };
        let is_whole =
            rows.num_rows() == range.len() && subjects(&rows).is_some_and(|mut all| all.all(|one| one == subject));
        Ok(is_whole.then_some(rows))
    }

    /// Where its rows are.
    fn range(self, pages: &Pages, subject: &str) -> Result<Option<Range<usize>>, ParquetError> {
        let rows = pages.rows();
        // Each leaf has a row at least.
        let (Some(spare), true) = (rows.checked_sub(self.leaves), self.index < self.leaves) else { return Ok(None) };
        if spare == 0 {
            return Ok(Some(self.index..self.index + 1));
        }
        let wanted = salted(&self.salt, subject);
        let mut first = self.index..self.index + spare + 1;
        let guess = self.index + usize::try_from(self.index as u64 * spare as u64 / self.leaves as u64).unwrap_or(0);
        let mut window = guess.saturating_sub(NEAR)..guess.saturating_add(NEAR).min(rows);
        for _ in 0..MOST_LOOKS {
            let seen = pages.read(&window, Some(layout::SUBJECT))?;
            let Some(seen) = seen.as_ref().and_then(subjects).map(Iterator::collect::<Vec<&str>>) else {
                return Ok(None);
            };
            let Some(at) = seen.iter().position(|one| *one == subject) else {
                let Some(begins) = seen.first() else { return Ok(None) };
                if wanted < salted(&self.salt, begins) {
                    first.end = first.end.min(window.start);
                } else {
                    first.start = first.start.max(window.end);
                }
                if first.is_empty() {
                    return Ok(None);
                }
                let middle = first.start + first.len() / 2;
                window = middle.saturating_sub(NEAR)..middle.saturating_add(NEAR).min(rows);
                continue;
            };
            let end = seen.iter().rposition(|one| *one == subject).map_or(at, |last| last + 1);
            let (open_before, open_after) = (at == 0 && window.start > 0, end == seen.len() && window.end < rows);
            if !open_before && !open_after {
                return Ok(Some(window.start + at..window.start + end));
            }
            let more = window.len();
            window.start = if open_before { window.start.saturating_sub(more) } else { window.start };
            window.end = if open_after { window.end.saturating_add(more).min(rows) } else { window.end };
        }
        Ok(None)
    }
}

fn subjects(rows: &RecordBatch) -> Option<impl Iterator<Item = &str>> {
    let column = rows.column_by_name(layout::SUBJECT)?.as_string_opt::<i32>()?;
    Some(column.iter().map(Option::unwrap_or_default))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;
    use crate::table::pages::testing::{draws, pages_of};

    /// A file of subjects with so many rows each, in order, in small row groups and pages; its subjects with where their rows begin.
    fn file(salt: &Salt, counts: &[usize]) -> (Pages, Vec<(String, Range<usize>)>) {
        let mut subjects: Vec<(String, usize)> =
            counts.iter().enumerate().map(|(number, count)| (format!("{number:032x}"), *count)).collect();
        subjects.sort_by_key(|(subject, _)| salted(salt, subject));
        let mut at = 0;
        let ranges: Vec<_> = subjects
            .iter()
            .map(|(subject, count)| {
                at += count;
                (subject.clone(), at - count..at)
            })
            .collect();
        let names = subjects.iter().flat_map(|(subject, count)| std::iter::repeat_n(subject.as_str(), *count));
        let names: ArrayRef = Arc::new(StringArray::from(names.collect::<Vec<&str>>()));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..i64::try_from(at).unwrap()));
        let rows = RecordBatch::try_from_iter([(layout::SUBJECT, names), ("number", numbers)]).unwrap();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(3_000))
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(100)
            .build();
        let file = tempfile::tempfile().unwrap();
        let mut writer = ArrowWriter::try_new(file.try_clone().unwrap(), rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        (pages_of(file), ranges)
    }

    fn number(rows: &RecordBatch, at: usize) -> usize {
        let numbers = rows.column(1).as_primitive::<arrow_array::types::Int64Type>();
        usize::try_from(numbers.value(at)).unwrap()
    }

    #[test]
    fn rows_are_found_wherever_they_are() {
        let mut draw = draws();
        let evenly: Vec<usize> = (0..8_000).map(|_| 1).collect();
        let differently: Vec<usize> = (0..1_500).map(|_| 1 + draw(8)).collect();
        // One that fills row groups among many that hardly have any.
        let lopsided: Vec<usize> = (0..900).map(|subject| if subject % 300 == 7 { 4_500 } else { 1 }).collect();
        for counts in [evenly, differently, lopsided, vec![1], vec![700], vec![2_000, 1]] {
            let salt = [draw(256) as u8; 16];
            let (pages, ranges) = file(&salt, &counts);
            for (index, (subject, range)) in
                ranges.iter().enumerate().filter(|(at, _)| ranges.len() < 10 || at % 13 == 0)
            {
                let place = Place { salt, index, leaves: ranges.len() };
                let rows = place.rows(&pages, subject).unwrap().unwrap();
                assert_eq!((rows.num_rows(), number(&rows, 0)), (range.len(), range.start), "{subject}");
                assert!(subjects(&rows).unwrap().all(|one| one == subject));
            }
        }
    }

    #[test]
    fn a_place_that_is_wrong_finds_nothing() {
        let (pages, ranges) = file(&[1; 16], &[3; 1_000]);
        let subject = &ranges[500].0;
        let rows = |place: Place, subject: &str| place.rows(&pages, subject).unwrap();
        let right = Place { salt: [1; 16], index: 500, leaves: 1_000 };
        assert!(rows(right, subject).is_some());
        assert!(rows(right, "somebody else").is_none());
        assert!(rows(Place { leaves: 3_000, ..right }, subject).is_none(), "more leaves than there can be");
        assert!(rows(Place { leaves: 3_001, ..right }, subject).is_none());
        assert!(rows(Place { index: 1_000, ..right }, subject).is_none());
        // Neither is what is found there in doubt where only the way was wrong.
        assert!(rows(Place { salt: [2; 16], ..right }, subject).is_none_or(|rows| rows.num_rows() == 3));
    }
}
