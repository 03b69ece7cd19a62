//! One new file out of old ones: read row group by row group, without what goes, written like any other.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch, new_null_array};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;

use super::file::FileInfo;
use super::job::Fate;
use crate::error::{Error, Kind};
use crate::table::commit::LiveFile;
use crate::table::layout::{self, TablePath};
use crate::table::lookup::{open, unreadable};
use crate::table::parquet::{self, Group, WrittenFile};

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 16_384;

/// What became of files that were to become one.
#[derive(Default)]
pub(super) struct Made {
    /// The new file; none if no row is left.
    pub(super) written: Option<WrittenFile>,
    /// The files that it stands for: they can go.
    pub(super) of: Vec<String>,
    /// Those that cannot be read, and why: they stay as they are.
    pub(super) unread: Vec<(String, Error)>,
}

/// Writes the file that takes the place of `files` (one date, policy and catalogue), as far as these can be read.
///
/// # Errors
/// As [`parquet::write`].
pub(super) fn write(table: &TablePath, files: &[FileInfo], fate: &Fate) -> Result<Made, Error> {
    let kept = Kept::of(fate);
    let (mut read, mut batches, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        let live = LiveFile { path: file.path.clone(), size: file.size, received_date: file.received_date };
        match guarded(table, &live, || rows_of(table, &live, &kept)) {
            Ok(rows) => {
                batches.extend(rows);
                read.push(file);
            }
            Err(error) if error.kind() == Kind::Stop => return Err(error),
            Err(error) => unread.push((file.path.clone(), error)),
        }
    }
    // Packed with nothing, a file would only be written again and again.
    let is_alone = *fate == Fate::Kept && read.len() < 2 && !unread.is_empty();
    let Some(first) = read.first().filter(|_| !is_alone) else { return Ok(Made { unread, ..Made::default() }) };
    let of: Vec<String> = read.iter().map(|file| file.path.clone()).collect();
    let rows: u64 = batches.iter().map(|rows| rows.num_rows() as u64).sum();
    if rows == 0 {
        return Ok(Made { written: None, of, unread });
    }
    let removed = read.iter().map(|file| file.rows).sum::<u64>().saturating_sub(rows);
    let group = Group {
        received_date: first.received_date,
        policy: first.policy.clone(),
        catalogue: first.catalogue.clone(),
        batches: of_one_schema(table, batches)?,
        replaces: of.clone(),
        removed,
    };
    Ok(Made { written: Some(parquet::write(table, &group)?), of, unread })
}

/// What stays of a file's rows.
fn rows_of(table: &TablePath, live: &LiveFile, kept: &Kept<'_>) -> Result<Vec<RecordBatch>, Error> {
    let failed = |why: &dyn std::fmt::Display| unreadable(table, live, why);
    let reader = open(table, live)?.with_batch_size(BATCH_ROWS).build().map_err(|why| failed(&why))?;
    let mut batches = Vec::new();
    for rows in reader {
        let rows = rows.and_then(|rows| kept.rows(&rows)).map_err(|why| failed(&why))?;
        if rows.num_rows() > 0 {
            batches.push(rows);
        }
    }
    Ok(batches)
}

/// Reads a file that may be damaged: a library that stops at it must not stop the work on others.
///
/// # Errors
/// As `read` says; `Data` where it panics.
pub(crate) fn guarded<T>(
    table: &TablePath,
    file: &LiveFile,
    read: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let read = catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_| Err(unreadable(table, file, &"no reader can read it")))
}

/// Whether a column of a file has a value in any row.
///
/// # Errors
/// `Data` if the file cannot be read.
pub(crate) fn has_values(table: &TablePath, file: &LiveFile, column: &str) -> Result<bool, Error> {
    let failed = |why: &dyn std::fmt::Display| unreadable(table, file, why);
    let builder = open(table, file)?;
    let Some(at) = builder.schema().fields().iter().position(|field| field.name() == column) else {
        return Ok(false);
    };
    let mask = ProjectionMask::roots(builder.parquet_schema(), [at]);
    for rows in builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|why| failed(&why))? {
        let rows = rows.map_err(|why| failed(&why))?;
        if rows.columns().iter().any(|values| values.null_count() < values.len()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What stays of rows.
enum Kept<'a> {
    All,
    None,
    Without(HashSet<&'a str>),
    Nulled(&'a [String]),
}

impl<'a> Kept<'a> {
    fn of(fate: &'a Fate) -> Self {
        match fate {
            Fate::Kept => Self::All,
            Fate::Gone => Self::None,
            Fate::Without(subjects) => Self::Without(subjects.iter().map(String::as_str).collect()),
            Fate::Nulled(columns) => Self::Nulled(columns),
        }
    }

    fn rows(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        match self {
            Self::All => Ok(rows.clone()),
            Self::None => Ok(rows.slice(0, 0)),
            Self::Without(subjects) => {
                let column = rows.column_by_name(layout::SUBJECT).and_then(|column| column.as_string_opt::<i32>());
                let column = column.ok_or_else(|| ArrowError::SchemaError("it has no subjects".to_owned()))?;
                let stays: BooleanArray = column
                    .iter()
                    .map(|subject| Some(subject.is_none_or(|subject| !subjects.contains(subject))))
                    .collect();
                filter_record_batch(rows, &stays)
            }
            Self::Nulled(names) => {
                let schema = rows.schema();
                // A column that a file lacks is null there, and nobody has to look into it again.
                let others = schema.fields().iter().enumerate().filter(|(_, field)| !names.contains(field.name()));
                rows.project(&others.map(|(at, _)| at).collect::<Vec<_>>())
            }
        }
    }
}

/// The same rows, each with every column that one of them has: a file that is older than a column has none.
fn of_one_schema(table: &TablePath, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, Error> {
    let mut fields: Vec<Arc<Field>> = Vec::new();
    for batch in &batches {
        let known = Schema::new(fields.clone());
        let missing = layout::missing_columns(&table.name(), &known, batch.schema_ref())?;
        fields.extend(missing.into_iter().map(|field| Arc::new(field.with_nullable(true))));
    }
    let schema: SchemaRef = Schema::new(fields).into();
    let same = |batch: RecordBatch| {
        let column = |field: &Arc<Field>| {
            let values = batch.column_by_name(field.name()).cloned();
            values.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
        };
        RecordBatch::try_new(Arc::clone(&schema), schema.fields().iter().map(column).collect())
    };
    batches.into_iter().map(same).collect::<Result<_, _>>().map_err(|why| {
        let what = format!("files of {} cannot become one", table.name());
        Error::new(Kind::Data, what, why, "report this: it is a fault")
    })
}
