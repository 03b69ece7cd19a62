//! From a closed segment to tables: one run per segment, exactly once by `txn`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::error::{Error, Kind};
use crate::sealed;
use crate::sealing::Committed;
use crate::segment::frame::{BatchHeader, Frame};
use crate::store::FlushReport;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::parquet::{self, Group, WrittenFile};

/// Writes all rows of `frames` (one closed segment, ascending lsn) into the Delta tables under `data`, with
/// `txn` (`candor/wal`, highest lsn). Frames at or below a table's `txn` are skipped for that table, so that a
/// crash anywhere neither loses nor repeats a row. Blocking; call it on a thread of its own.
///
/// # Errors
/// If a table cannot be written: call again with the same frames. The other tables are written all the same.
pub fn write_tables(data: &Path, frames: &[Frame], up_to_lsn: u64) -> Result<FlushReport, Error> {
    commit_tables(data, frames, up_to_lsn).map(|(report, _)| report)
}

/// The same, and which files were committed.
///
/// # Errors
/// As [`write_tables`]; what was committed before it failed is found in the tables.
pub(crate) fn commit_tables(
    data: &Path,
    frames: &[Frame],
    up_to_lsn: u64,
) -> Result<(FlushReport, Vec<Committed>), Error> {
    let delta = Delta::shared()?;
    let (mut report, mut committed) = (FlushReport::default(), Vec::new());
    let mut first_error = None;
    for ((purpose, stream), pieces) in by_table(frames) {
        let written = TablePath::new(data, purpose, stream)
            .and_then(|table| Ok((write_table(delta, &table, &pieces, up_to_lsn)?, table)));
        match written {
            Ok((files, table)) => {
                report.rows += files.iter().map(|file| file.rows).sum::<u64>();
                report.files += files.len() as u64;
                committed.extend(files.into_iter().map(|file| Committed { table: table.clone(), path: file.path }));
            }
            Err(error) if error.kind() == Kind::Stop => return Err(error),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok((report, committed)), Err)
}

/// One file, sorted and written and in no commit: the stage that `benches/parquet.rs` measures. Its bytes.
///
/// # Errors
/// If it cannot be written.
#[doc(hidden)]
pub fn write_one_file(data: &Path, purpose: &str, stream: &str, rows: &RecordBatch) -> Result<u64, Error> {
    let table = TablePath::new(data, purpose, stream)?;
    let batches = vec![rows.clone()];
    let group = Group {
        received_date: 0,
        policy: String::new(),
        catalogue: String::new(),
        batches,
        replaces: Vec::new(),
        removed: 0,
    };
    parquet::write(&table, &group).map(|file| file.size)
}

/// Rows of one frame for one table.
#[derive(Clone, Copy)]
struct Piece<'a> {
    lsn: u64,
    header: &'a BatchHeader,
    rows: &'a RecordBatch,
    /// Running number of the batch for the table's purpose.
    number: Option<i64>,
}

fn by_table(frames: &[Frame]) -> BTreeMap<(&str, &str), Vec<Piece<'_>>> {
    let mut tables: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for frame in frames {
        let Frame::Batch(batch) = frame else { continue };
        for table in batch.tables.iter().filter(|table| table.rows.num_rows() > 0) {
            let pieces = tables.entry((table.purpose.as_str(), table.stream.as_str())).or_default();
            let number = batch.number_for(&table.purpose);
            pieces.push(Piece { lsn: batch.lsn, header: &batch.header, rows: &table.rows, number });
        }
    }
    tables
}

/// Writes what a table lacks of `pieces`; the files that it gained.
fn write_table(
    delta: &Delta,
    table: &TablePath,
    pieces: &[Piece<'_>],
    up_to_lsn: u64,
) -> Result<Vec<WrittenFile>, Error> {
    let schemas = schemas(pieces);
    // Before any byte is written: a column that cannot be would be found at every try.
    let after = delta.prepare(table, &schemas)?;
    let pieces: Vec<_> = pieces.iter().copied().filter(|piece| piece.lsn > after).collect();
    if pieces.is_empty() {
        return Ok(Vec::new());
    }
    fail::fail_point!("flush::before_parquet", |_| std::process::abort());
    let mut files = Vec::new();
    let outcome = group(table, &pieces).and_then(|groups| write_files(table, groups, &mut files)).and_then(|()| {
        fail::fail_point!("flush::after_parquet", |_| std::process::abort());
        fail::fail_point!("flush::before_commit", |_| std::process::abort());
        delta.append(table, &schemas, &files, after, up_to_lsn)
    });
    fail::fail_point!("flush::after_commit", |_| std::process::abort());
    match outcome {
        Ok(()) => Ok(files),
        Err(error) if error.kind() == Kind::Stop => Err(error),
        Err(error) => settle(delta, table, files, up_to_lsn, error),
    }
}

/// The distinct schemas of the files that frames become.
fn schemas(pieces: &[Piece<'_>]) -> Vec<SchemaRef> {
    let mut frames: Vec<SchemaRef> = Vec::new();
    for piece in pieces {
        let schema = piece.rows.schema();
        if !frames.iter().rev().any(|known| *known == schema) {
            frames.push(schema);
        }
    }
    frames.iter().map(|frame| Arc::new(layout::file_schema(frame))).collect()
}

fn write_files(table: &TablePath, groups: Vec<Group>, files: &mut Vec<WrittenFile>) -> Result<(), Error> {
    for group in groups {
        files.push(parquet::write(table, &group)?);
    }
    Ok(())
}

/// After a failure: the commit may stand all the same (the error came later), or the files are nobody's and go.
fn settle(
    delta: &Delta,
    table: &TablePath,
    files: Vec<WrittenFile>,
    up_to_lsn: u64,
    error: Error,
) -> Result<Vec<WrittenFile>, Error> {
    if delta.written_lsn(table)? >= up_to_lsn {
        let live = delta.read(table)?.map_or_else(Vec::new, |snapshot| snapshot.files);
        if files.iter().all(|file| live.iter().any(|other| other.path == file.path)) {
            return Ok(files);
        }
    }
    for file in &files {
        // What stays is an orphan, which the next start removes.
        let _ = std::fs::remove_file(table.folder.join(&file.path));
        let _ = sealed::remove_leaves(table, &file.path);
    }
    Err(error)
}

/// One group for each date of receipt, policy and catalogue, rows in the order of their lsn.
fn group(table: &TablePath, pieces: &[Piece<'_>]) -> Result<Vec<Group>, Error> {
    let mut groups: Vec<(SchemaRef, Group)> = Vec::new();
    // Where one batch has a number all get the column, so that they can share a file.
    let numbered = pieces.iter().any(|piece| piece.number.is_some());
    for piece in pieces {
        let rows = if numbered {
            layout::with_batch(piece.rows, piece.number).map_err(|why| {
                let what = format!("rows of {} cannot be numbered", table.name());
                Error::new(Kind::Data, what, why, "report this: it is a fault")
            })?
        } else {
            piece.rows.clone()
        };
        let (received_date, schema) = (layout::day_of(piece.header.received_at), piece.rows.schema());
        let same = |(of_schema, group): &&mut (SchemaRef, Group)| {
            group.received_date == received_date
                && group.policy == piece.header.policy
                && group.catalogue == piece.header.catalogue
                && *of_schema == schema
        };
        // The newest group first: policies and dates change rarely.
        if let Some((_, group)) = groups.iter_mut().rev().find(same) {
            group.batches.push(rows);
            continue;
        }
        let (policy, catalogue) = (piece.header.policy.clone(), piece.header.catalogue.clone());
        let batches = vec![rows];
        groups.push((schema, Group { received_date, policy, catalogue, batches, replaces: Vec::new(), removed: 0 }));
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}
