//! The hash that a receipt has of the rows that were stored: by column, so that what rows share is hashed once.
//!
//! `docs/FORMAT.md`, "Hash of stored rows", fixes each byte. The rows of a batch are put in order by what they say: the hash is
//! the same whatever file they are in, and whatever order they have there.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use sha2::{Digest, Sha256};

use super::cells::Cells;
use super::column::{Column, Form};
use super::order::order;
use super::{LEFT_OUT, RECEIVED_DATE, RowError};
use crate::merkle::Hash;

/// What is hashed begins with this.
const ROWS: &[u8] = b"candor/rows/v2\n";

/// Hash of the rows that one purpose stored of a batch, by stream; `received_date` in days since 1970-01-01.
///
/// # Errors
/// [`RowError::Type`].
pub fn hash_of_batches(streams: &BTreeMap<&str, &RecordBatch>, received_date: i32) -> Result<Hash, RowError> {
    let mut hash = Sha256::new_with_prefix(ROWS);
    let mut scratch = Vec::new();
    for (stream, rows) in streams {
        add_stream(stream, rows.num_rows(), &columns(rows, received_date)?, &mut hash, &mut scratch);
    }
    Ok(hash.finalize().into())
}

/// The same from each row's canonical encoding, for whoever checks it. A stream may come in several parts.
///
/// # Errors
/// [`RowError::Malformed`], also where rows do not fit into one table.
pub fn hash_of<'a>(streams: impl IntoIterator<Item = (&'a str, Vec<&'a [u8]>)>) -> Result<Hash, RowError> {
    let mut all: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for (stream, rows) in streams {
        all.entry(stream).or_default().extend(rows);
    }
    let mut hash = Sha256::new_with_prefix(ROWS);
    let mut scratch = Vec::new();
    for (stream, rows) in all {
        add_stream(stream, rows.len(), &Column::of_rows(&rows)?, &mut hash, &mut scratch);
    }
    Ok(hash.finalize().into())
}

/// The columns of a batch that have a value, by name.
fn columns(rows: &RecordBatch, received_date: i32) -> Result<Vec<Column<'_>>, RowError> {
    let fields = rows.schema_ref().fields().iter().zip(rows.columns());
    let kept = fields.filter(|(field, cells)| {
        !LEFT_OUT.contains(&field.name().as_str()) && cells.logical_null_count() < cells.len()
    });
    let columns = kept.map(|(field, cells)| Column::of_array(field.name(), cells));
    let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
    columns.push(Column::of_date(RECEIVED_DATE, received_date));
    columns.sort_unstable_by(|one, other| one.name().cmp(other.name()));
    Ok(columns)
}

/// Adds a stream, if it has rows: its name, their number, its columns and how many they are. `scratch` is memory of before.
fn add_stream(stream: &str, rows: usize, columns: &[Column<'_>], hash: &mut Sha256, scratch: &mut Vec<u8>) {
    if rows == 0 {
        return;
    }
    hash.update((stream.len() as u32).to_be_bytes());
    hash.update(stream.as_bytes());
    hash.update((rows as u64).to_be_bytes());
    hash.update((columns.len() as u32).to_be_bytes());
    let order = order(columns, rows);
    scratch.reserve(rows * size_of::<u64>());
    for column in columns {
        add_column(column, rows, order.as_deref(), hash, scratch);
    }
}

fn add_column(column: &Column<'_>, rows: usize, order: Option<&[u32]>, hash: &mut Sha256, scratch: &mut Vec<u8>) {
    scratch.clear();
    scratch.extend_from_slice(&(column.name().len() as u32).to_be_bytes());
    scratch.extend_from_slice(column.name().as_bytes());
    scratch.push(column.tag());
    match column.form() {
        Form::Same => {
            scratch.push(b'=');
            column.cells().write_one(column.tag(), 0, scratch);
        }
        Form::All => {
            scratch.push(b'*');
            if let Some(order) = order {
                write_cells(column.cells(), rows, || order.iter().map(|row| *row as usize), scratch);
            } else if !column.cells().write_few(0..rows, scratch) {
                column.cells().write_fixed(0..rows, scratch);
                hash.update(&*scratch);
                return hash.update(column.cells().bytes(0..rows));
            }
        }
        Form::Some(nulls) => {
            scratch.push(b'?');
            let at = |place: usize| order.map_or(place, |order| order[place] as usize);
            let valid = |place: usize| nulls.is_valid(at(place));
            scratch.extend((0..rows.div_ceil(8)).map(|byte| {
                let bits = (byte * 8..rows.min(byte * 8 + 8)).filter(|place| valid(*place));
                bits.fold(0_u8, |bits, place| bits | 0x80 >> (place % 8))
            }));
            let count = rows - nulls.null_count();
            write_cells(column.cells(), count, || (0..rows).filter(|place| valid(*place)).map(at), scratch);
        }
    }
    hash.update(&*scratch);
}

fn write_cells<I>(cells: &Cells<'_>, count: usize, rows: impl Fn() -> I, out: &mut Vec<u8>)
where
    I: Iterator<Item = usize>,
{
    if !cells.write_few(rows(), out) {
        cells.write_some(count, rows, out);
    }
}
