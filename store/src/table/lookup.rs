//! One subject's rows in a table's files, wherever they are: by bloom filter first, then by the subject column alone.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, Scalar, StringArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter};
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

/// Fewer files than this are read by one thread.
const FEW_FILES: usize = 16;
/// Threads of one look-up, where there are so many processors: requests that are stored need some too.
const MOST_THREADS: usize = 4;

/// What is done with files, in order, by as many threads as it pays.
///
/// # Errors
/// The first that `look` has.
pub(crate) fn in_parts<'a, File: Sync, Found: Send>(
    files: &'a [File],
    look: impl Fn(&'a [File]) -> Result<Vec<Found>, Error> + Sync,
) -> Result<Vec<Found>, Error> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if files.len() < FEW_FILES { 1 } else { processors.min(MOST_THREADS) };
    if threads == 1 {
        return look(files);
    }
    let found = std::thread::scope(|scope| {
        let parts: Vec<_> =
            files.chunks(files.len().div_ceil(threads)).map(|part| scope.spawn(|| look(part))).collect();
        parts.into_iter().map(|part| part.join().unwrap_or_else(|_| Err(broken_off()))).collect::<Result<Vec<_>, _>>()
    });
    Ok(found?.into_iter().flatten().collect())
}

/// The rows of `subject` (as the purpose's tables call it), file by file, in their order: one that cannot be read keeps no other from
/// being read. Of such a file there is `Retry` if it is gone, `Data` if it is damaged.
///
/// # Errors
/// If reading was broken off.
pub(crate) fn rows_of(
    table: &TablePath,
    files: &[LiveFile],
    subject: &str,
    work: &Work,
) -> Result<Vec<Result<Vec<FoundRows>, Error>>, Error> {
    in_parts(files, |files| {
        let read = |file| {
            work.advance(1);
            // Somebody may have forged it.
            let read = catch_unwind(AssertUnwindSafe(|| rows_of_one(table, file, subject)));
            read.unwrap_or_else(|_| Err(unreadable(table, file, &"no reader can read it")))
        };
        Ok(files.iter().map(read).collect())
    })
}

fn rows_of_one(table: &TablePath, file: &LiveFile, subject: &str) -> Result<Vec<FoundRows>, Error> {
    let mut found = Vec::new();
    let failed = |why: &dyn std::fmt::Display| unreadable(table, file, why);
    let of = |about: &ParquetMetaData, rows| FoundRows {
        path: file.path.clone(),
        received_date: file.received_date,
        policy: value_of(about, metadata::POLICY).unwrap_or_default(),
        catalogue: value_of(about, metadata::CATALOGUE).unwrap_or_default(),
        rows,
    };
    let builder = open(table, file)?;
    let candidates = candidates(&builder, subject).map_err(|why| failed(&why))?;
    if candidates.is_empty() {
        return Ok(found);
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
            found.push(of(&about, rows));
        }
    }
    Ok(found)
}

/// How many rows a file has of each of some subjects that it has rows of. Many cost hardly more than one.
///
/// # Errors
/// `Retry` if the file was replaced meanwhile, `Data` if it cannot be read.
pub(crate) fn count_of(
    table: &TablePath,
    file: &LiveFile,
    subjects: &HashSet<&str>,
) -> Result<BTreeMap<String, u64>, Error> {
    let builder = open(table, file)?;
    let failed = |why: &dyn std::fmt::Display| unreadable(table, file, why);
    let (groups, some) = candidates_of(&builder, subjects).map_err(|why| failed(&why))?;
    let mut counts = BTreeMap::new();
    if some.is_empty() {
        return Ok(counts);
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), [layout::SUBJECT]);
    let reader = builder.with_row_groups(groups).with_projection(mask).build().map_err(|why| failed(&why))?;
    for rows in reader {
        let rows = rows.map_err(|why| failed(&why))?;
        let Some(column) = rows.columns().first().and_then(|column| column.as_string_opt::<i32>()) else { continue };
        for subject in column.iter().flatten().filter(|subject| some.contains(subject)) {
            match counts.get_mut(subject) {
                Some(count) => *count += 1,
                None => drop(counts.insert(subject.to_owned(), 1)),
            }
        }
    }
    Ok(counts)
}

/// Every subject of a file, one after the other; one with several rows in a row is told once.
///
/// # Errors
/// `Retry` if the file was replaced meanwhile, `Data` if it cannot be read.
pub(crate) fn each_subject(table: &TablePath, file: &LiveFile, mut each: impl FnMut(&str)) -> Result<(), Error> {
    let builder = open(table, file)?;
    let failed = |why: &dyn std::fmt::Display| unreadable(table, file, why);
    let mask = ProjectionMask::columns(builder.parquet_schema(), [layout::SUBJECT]);
    let mut last = String::new();
    for rows in builder.with_projection(mask).build().map_err(|why| failed(&why))? {
        let rows = rows.map_err(|why| failed(&why))?;
        let Some(column) = rows.columns().first().and_then(|column| column.as_string_opt::<i32>()) else { continue };
        for subject in column.iter().flatten() {
            if subject != last {
                each(subject);
                subject.clone_into(&mut last);
            }
        }
    }
    Ok(())
}

/// Rows in the files, as their footers count them.
///
/// # Errors
/// `Retry` if the file was replaced meanwhile, `Data` if it cannot be read.
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
/// `Retry` if the file was replaced meanwhile, `Data` if it cannot be read.
pub(crate) fn open(table: &TablePath, file: &LiveFile) -> Result<ParquetRecordBatchReaderBuilder<File>, Error> {
    let opened = match File::open(table.folder.join(&file.path)) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("{} is gone", table.file_name(&file.path));
            return Err(Error::new(Kind::Retry, what, "it was replaced meanwhile", "ask again"));
        }
        other => other.map_err(|why| {
            Error::of_no_room(&table.file_name(&file.path), &why).unwrap_or_else(|| unreadable(table, file, &why))
        })?,
    };
    // What somebody else wrote into the table may call the same columns by types of his own: rows in it would not be found.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(opened, options).map_err(|why| unreadable(table, file, &why))
}

fn broken_off() -> Error {
    Error::new(Kind::Data, "reading was broken off", "a thread ended", "report this: it is a fault")
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

/// The row groups that may hold one of some subjects, and those of them that may be there.
fn candidates_of<'a>(
    builder: &ParquetRecordBatchReaderBuilder<File>,
    subjects: &HashSet<&'a str>,
) -> Result<(Vec<usize>, HashSet<&'a str>), ParquetError> {
    let columns = builder.parquet_schema().columns();
    let (mut groups, mut some) = (Vec::new(), HashSet::new());
    let Some(column) = columns.iter().position(|column| column.name() == layout::SUBJECT) else {
        return Ok((groups, some));
    };
    for group in 0..builder.metadata().num_row_groups() {
        let filter = builder.get_row_group_column_bloom_filter(group, column)?;
        let before = groups.len();
        for subject in subjects {
            if filter.as_ref().is_none_or(|filter| filter.check(*subject)) {
                some.insert(*subject);
                if groups.len() == before {
                    groups.push(group);
                }
            }
        }
    }
    Ok((groups, some))
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
