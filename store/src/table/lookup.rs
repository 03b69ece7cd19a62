//! One subject's rows in a table's files: by bloom filter first, then by the subject column alone.

use std::fs::File;
use std::sync::Arc;

use arrow_array::{RecordBatch, Scalar, StringArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ParquetRecordBatchReaderBuilder, RowFilter};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use crate::error::{Error, Kind};
use crate::table::commit::LiveFile;
use crate::table::layout::{self, TablePath};
use crate::table::parquet::metadata;
use crate::work::Work;

/// Rows of one subject in one file.
#[derive(Clone)]
pub(crate) struct FoundRows {
    /// The file, relative to the table's folder.
    pub(crate) path: String,
    /// Date of receipt, days since 1970-01-01.
    pub(crate) received_date: i32,
    /// SHA-256 of the policy, hex.
    pub(crate) policy: String,
    /// SHA-256 of the catalogue, hex.
    pub(crate) catalogue: String,
    /// The rows.
    pub(crate) rows: RecordBatch,
}

/// The rows of `subject` (as the purpose's tables call it), file by file.
///
/// # Errors
/// `Retry` if a file was replaced meanwhile, `Data` if one cannot be read.
pub(crate) fn rows_of(
    table: &TablePath,
    files: &[LiveFile],
    subject: &str,
    work: &Work,
) -> Result<Vec<FoundRows>, Error> {
    let mut found = Vec::new();
    for file in files {
        work.advance(1);
        let builder = open(table, file)?;
        let failed = |why: &dyn std::fmt::Display| unreadable(table, file, why);
        let candidates = candidates(&builder, subject).map_err(|why| failed(&why))?;
        if candidates.is_empty() {
            continue;
        }
        let about = Arc::clone(builder.metadata());
        let wanted = Scalar::new(StringArray::from(vec![subject.to_owned()]));
        let mask = ProjectionMask::columns(builder.parquet_schema(), [layout::SUBJECT]);
        let is_wanted = ArrowPredicateFn::new(mask, move |batch| arrow_ord::cmp::eq(batch.column(0), &wanted));
        let reader = builder
            .with_row_groups(candidates)
            .with_row_filter(RowFilter::new(vec![Box::new(is_wanted)]))
            .build()
            .map_err(|why| failed(&why))?;
        for rows in reader {
            let rows = rows.map_err(|why| failed(&why))?;
            if rows.num_rows() > 0 {
                found.push(FoundRows {
                    path: file.path.clone(),
                    received_date: file.received_date,
                    policy: value_of(&about, metadata::POLICY).unwrap_or_default(),
                    catalogue: value_of(&about, metadata::CATALOGUE).unwrap_or_default(),
                    rows,
                });
            }
        }
    }
    Ok(found)
}

/// Rows in the files, as their footers count them.
///
/// # Errors
/// As [`rows_of`].
pub(crate) fn count_rows(table: &TablePath, files: &[LiveFile], work: &Work) -> Result<u64, Error> {
    files.iter().try_fold(0, |sum, file| {
        work.advance(1);
        let rows = open(table, file)?.metadata().file_metadata().num_rows();
        Ok(sum + u64::try_from(rows).unwrap_or(0))
    })
}

/// Opens a file for reading.
///
/// # Errors
/// As [`rows_of`].
pub(crate) fn open(table: &TablePath, file: &LiveFile) -> Result<ParquetRecordBatchReaderBuilder<File>, Error> {
    let opened = match File::open(table.folder.join(&file.path)) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("{} is gone", table.file_name(&file.path));
            return Err(Error::new(Kind::Retry, what, "it was replaced meanwhile", "ask again"));
        }
        other => other.map_err(|why| unreadable(table, file, &why))?,
    };
    ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|why| unreadable(table, file, &why))
}

/// The row groups that may hold the subject.
fn candidates(builder: &ParquetRecordBatchReaderBuilder<File>, subject: &str) -> Result<Vec<usize>, ParquetError> {
    let columns = builder.parquet_schema().columns();
    let Some(column) = columns.iter().position(|column| column.name() == layout::SUBJECT) else {
        return Ok(Vec::new());
    };
    let mut groups = Vec::new();
    for group in 0..builder.metadata().num_row_groups() {
        let filter = builder.get_row_group_column_bloom_filter(group, column)?;
        if filter.is_none_or(|filter| filter.check(subject)) {
            groups.push(group);
        }
    }
    Ok(groups)
}

/// A value of a file's own metadata.
pub(crate) fn value_of(about: &ParquetMetaData, key: &str) -> Option<String> {
    let pairs = about.file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == key)?.value.clone()
}

/// A file that is damaged, or no file of ours.
pub(crate) fn unreadable(table: &TablePath, file: &LiveFile, why: &dyn std::fmt::Display) -> Error {
    let what = format!("cannot read {}", table.file_name(&file.path));
    Error::new(Kind::Data, what, why, "restore the file from a backup, or find out who changed it")
}
