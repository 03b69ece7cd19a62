//! A file's leaves, order, root and counts from its rows: what whoever has the file can hold against what it says.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use candor_wire::leaf::{Entry, Sealer, file_root};
use candor_wire::merkle::{Frontier, Hash};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};

use super::about::{About, footer, guarded, open, read, said};
use crate::error::Error;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 8_192;
/// Most rows of a row group: one of ours has a few hundred thousand.
const MOST_GROUP_ROWS: i64 = 1 << 24;
/// Most columns.
const MOST_COLUMNS: usize = 4_096;

/// What a file is, beside what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recomputed {
    /// What its metadata says.
    pub about: About,
    /// Its rows.
    pub rows: u64,
    /// Their subjects.
    pub subjects: u64,
    /// The root that they have.
    pub root: Hash,
}

impl Recomputed {
    /// What the metadata says wrongly; nothing if it is all so.
    #[must_use]
    pub fn lies(&self) -> Vec<&'static str> {
        let held = [
            (self.about.rows == self.rows, "rows"),
            (self.about.subjects == self.subjects, "subjects"),
            (self.about.root == self.root, "root"),
        ];
        held.into_iter().filter(|(so, _)| !so).map(|(_, what)| what).collect()
    }
}

/// Reads a whole file and makes its root anew, row group by row group.
///
/// # Errors
/// As [`super::about()`]; also if its rows are not in order.
pub fn recompute(path: &Path) -> Result<Recomputed, Error> {
    leaves(path, |_, _| ())
}

/// The same, and each leaf in order.
pub(super) fn leaves(path: &Path, mut each: impl FnMut(Entry, Hash)) -> Result<Recomputed, Error> {
    let file = open(path)?;
    guarded(path, move || {
        let footer = footer(&file, PageIndexPolicy::Skip)?;
        let about = read(&footer)?;
        let mut tree = Frontier::default();
        let mut sealer = Sealer::new(about.salt, about.secret, about.received_date, |entry, hash| {
            tree.push(hash);
            each(entry, hash);
        });
        for rows in reader(file, footer)? {
            sealer.push(&rows.map_err(said)?).map_err(said)?;
        }
        let done = sealer.finish().map_err(said)?;
        let root = file_root(&about.salt, done.subjects, &tree.root());
        Ok(Recomputed { about, rows: done.rows, subjects: done.subjects, root })
    })
}

fn reader(file: File, footer: ParquetMetaData) -> Result<ParquetRecordBatchReader, String> {
    let most = footer.row_groups().iter().map(RowGroupMetaData::num_rows).max().unwrap_or(0);
    if most > MOST_GROUP_ROWS || footer.file_metadata().schema_descr().num_columns() > MOST_COLUMNS {
        return Err("it is larger than files are".to_owned());
    }
    // What somebody says of types beside the Parquet schema does not count.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::try_new(Arc::new(footer), options).map_err(said)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    builder.with_batch_size(BATCH_ROWS).build().map_err(said)
}
