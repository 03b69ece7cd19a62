//! Parquet files of a table: sorted by salted subject, encoded by cardinality, synced before anybody names them.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use candor_policy::hex;
use candor_wire::leaf::{Salt, SealError, Sealer};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowWriterOptions, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{Error, Kind};
use crate::sealed::Tree;
use crate::storage;
use crate::table::layout::{self, TablePath};

mod encoding;
mod sorted;

use encoding::properties;
use sorted::{Sorted, ranges};

/// Rows of a row group, at most: also what one flush run takes.
pub(crate) const ROW_GROUP_ROWS: usize = 262_144;
/// Rows that are put in order, written and sealed at a time: so few that what was just written is still near when it is sealed.
const SLICE_ROWS: usize = 4_096;
/// Version of this layout.
pub(crate) const FORMAT: u32 = 5;
/// How rows of a file are ordered, as its metadata says it.
const SORTED_BY: &str = "sha256(salt || subject)[..16]";

/// Rows that become one file: one date of receipt, one policy, one catalogue.
#[derive(Clone)]
pub(crate) struct Group {
    /// Date of receipt, days since 1970-01-01.
    pub(crate) received_date: i32,
    /// SHA-256 of the policy, hex.
    pub(crate) policy: String,
    /// SHA-256 of the catalogue, hex.
    pub(crate) catalogue: String,
    /// The rows in the order of their arrival, as frames have them: all of one schema.
    pub(crate) batches: Vec<RecordBatch>,
    /// Paths of the files that this one takes the place of, relative to the table's folder.
    pub(crate) replaces: Vec<String>,
    /// Rows of them that are not in it any more.
    pub(crate) removed: u64,
}

impl Group {
    /// Columns of the file that they become.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.batches.first().map_or_else(Schema::empty, |batch| layout::file_schema(&batch.schema())).into()
    }
}

/// What a file is sealed with; drawn for each anew.
struct Keys {
    salt: Salt,
    secret: [u8; 16],
    received_date: i32,
}

/// A file that is on disk and in no commit yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenFile {
    /// Relative to the table's folder, as the Delta log names it.
    pub(crate) path: String,
    /// Value of the partition column, `YYYY-MM-DD`.
    pub(crate) received_date: String,
    /// Bytes.
    pub(crate) size: u64,
    /// When it was written, ms since 1970-01-01.
    pub(crate) modified: i64,
    /// Rows.
    pub(crate) rows: u64,
}

/// Names of the key-value metadata of a file.
pub(crate) mod metadata {
    /// Version of this layout.
    pub(crate) const FORMAT: &str = "candor.format";
    /// Purpose name.
    pub(crate) const PURPOSE: &str = "candor.purpose";
    /// Stream name.
    pub(crate) const STREAM: &str = "candor.stream";
    /// SHA-256 of the policy, hex.
    pub(crate) const POLICY: &str = "candor.policy";
    /// SHA-256 of the catalogue, hex.
    pub(crate) const CATALOGUE: &str = "candor.catalogue";
    /// `YYYY-MM-DD`.
    pub(crate) const RECEIVED_DATE: &str = "candor.received_date";
    /// Rows.
    pub(crate) const ROWS: &str = "candor.rows";
    /// Distinct subjects.
    pub(crate) const SUBJECTS: &str = "candor.subjects";
    /// The file's salt, hex.
    pub(crate) const SALT: &str = "candor.salt";
    /// What keys the blinds of its subjects, hex.
    pub(crate) const SECRET: &str = "candor.secret";
    /// The file's root, hex.
    pub(crate) const ROOT: &str = "candor.root";
    /// What the rows are sorted by.
    pub(crate) const SORTED_BY: &str = "candor.sorted_by";
    /// Paths of the files that it takes the place of, as a JSON array; only where it does.
    pub(crate) const REPLACES: &str = "candor.replaces";
    /// Rows of those that are not in it any more; only where it takes the place of others.
    pub(crate) const REMOVED: &str = "candor.removed";
}

/// Sorts and writes a group; the file is durable, name included, when this returns.
///
/// # Errors
/// `Retry` if the disk is full, `Stop` if a sync failed; nothing is left behind in either case.
pub(crate) fn write(table: &TablePath, group: &Group) -> Result<WrittenFile, Error> {
    let received_date = layout::date_text(group.received_date).ok_or_else(|| {
        let why = format!("day {} is beyond the calendar", group.received_date);
        Error::new(Kind::Data, "rows have no date of receipt", why, "set the machine's clock")
    })?;
    let keys = Keys { salt: random()?, secret: random()?, received_date: group.received_date };
    let schema = group.schema();
    let rows = Sorted::new(&group.batches, &keys.salt)?;
    let metadata = file_metadata(table, group, &received_date, &rows, &keys);
    let properties = properties(&schema, &rows, metadata).map_err(|why| unwritable(table, why))?;

    // Random, not numbered: a number would be shared by the tables of two purposes.
    let path = format!("{}={received_date}/part-{}.parquet", layout::RECEIVED_DATE, hex::encode(&random::<16>()?));
    let target = table.folder.join(&path);
    storage::make_folder(&storage::parent(&target)).map_err(|why| io_failed(&target, &why))?;
    let beside = storage::beside(&target);
    let written = write_beside(&beside, &schema, &rows, properties, &keys)
        .and_then(|(file, tree)| Ok((publish(&file, &beside, &target)?, tree)));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    let ((size, modified), tree) = written?;
    // Whoever misses them makes them again.
    let _ = tree.write(&table.leaves(&path));
    Ok(WrittenFile { path, received_date, size, modified, rows: rows.len() as u64 })
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        let why = "the system gave no random numbers";
        Error::new(Kind::Retry, "no salt for a file", why, "check that the process may call getrandom")
    })?;
    Ok(bytes)
}

fn file_metadata(
    table: &TablePath,
    group: &Group,
    received_date: &str,
    rows: &Sorted<'_>,
    keys: &Keys,
) -> Vec<KeyValue> {
    let replaces = (!group.replaces.is_empty()).then(|| {
        let paths = serde_json::Value::from(group.replaces.clone()).to_string();
        [(metadata::REPLACES, paths), (metadata::REMOVED, group.removed.to_string())]
    });
    [
        (metadata::FORMAT, FORMAT.to_string()),
        (metadata::PURPOSE, table.purpose.clone()),
        (metadata::STREAM, table.stream.clone()),
        (metadata::POLICY, group.policy.clone()),
        (metadata::CATALOGUE, group.catalogue.clone()),
        (metadata::RECEIVED_DATE, received_date.to_owned()),
        (metadata::ROWS, rows.len().to_string()),
        (metadata::SUBJECTS, rows.subjects().to_string()),
        (metadata::SALT, hex::encode(&keys.salt)),
        (metadata::SECRET, hex::encode(&keys.secret)),
        (metadata::SORTED_BY, SORTED_BY.to_owned()),
    ]
    .into_iter()
    .chain(replaces.into_iter().flatten())
    .map(|(key, value)| KeyValue::new(key.to_owned(), value))
    .collect()
}

/// Writes and syncs the bytes under an unfinished name.
fn write_beside(
    beside: &Path,
    schema: &SchemaRef,
    rows: &Sorted<'_>,
    properties: WriterProperties,
    keys: &Keys,
) -> Result<(File, Tree), Error> {
    let failed = |why: ParquetError| match why {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(why) => io_failed(beside, &why),
            Err(why) => parquet_failed(beside, why),
        },
        why => parquet_failed(beside, why),
    };
    storage::remove_if_there(beside).map_err(|why| io_failed(beside, &why))?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside);
    let file = file.map_err(|why| io_failed(beside, &why))?;
    // The Arrow schema in the metadata would repeat what the Parquet schema says.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(file, schema.clone(), options).map_err(failed)?;
    let (file, tree) = write_rows(writer, schema, rows, keys).map_err(failed)?;
    file.sync_data().map_err(|why| Error::sync(cannot_sync(beside), &why))?;
    Ok((file, tree))
}

/// Puts rows in order slice by slice, so that only one of them is in memory twice, and seals what it writes.
fn write_rows(
    writer: ArrowWriter<File>,
    schema: &SchemaRef,
    rows: &Sorted<'_>,
    keys: &Keys,
) -> Result<(File, Tree), ParquetError> {
    let (mut file, factory) = writer.into_serialized_writer()?;
    let columns: Vec<_> = schema.fields().iter().map(|field| rows.column(field)).collect();
    let mut entries = Vec::with_capacity(rows.subjects());
    let mut hashes = Vec::with_capacity(rows.subjects());
    let sealer = Sealer::new(keys.salt, keys.secret, keys.received_date, |entry, hash| {
        entries.push(entry);
        hashes.push(hash);
    });
    let mut sealer = sealer.with_salted(rows.salted());
    for (number, group_rows) in ranges(0..rows.len(), ROW_GROUP_ROWS).enumerate() {
        let mut writers = factory.create_column_writers(number)?;
        for slice in ranges(group_rows, SLICE_ROWS) {
            let values =
                columns.iter().map(|column| rows.values(column, slice.clone())).collect::<Result<Vec<_>, _>>()?;
            write_slice(schema, &values, &mut writers)?;
            sealer.push(&RecordBatch::try_new(schema.clone(), values)?).map_err(external)?;
        }
        let mut group = file.next_row_group()?;
        for writer in writers {
            writer.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
    }
    sealer.finish().map_err(external)?;
    let tree = Tree::new(keys.salt, entries, hashes);
    file.append_key_value_metadata(KeyValue::new(metadata::ROOT.to_owned(), hex::encode(&tree.root())));
    Ok((file.into_inner()?, tree))
}

fn write_slice(schema: &Schema, values: &[ArrayRef], writers: &mut [ArrowColumnWriter]) -> Result<(), ParquetError> {
    let mut writers = writers.iter_mut();
    for (field, values) in schema.fields().iter().zip(values) {
        for leaf in compute_leaves(field, values)? {
            let missing = || ParquetError::General("a column without a writer".to_owned());
            writers.next().ok_or_else(missing)?.write(&leaf)?;
        }
    }
    Ok(())
}

fn external(why: SealError) -> ParquetError {
    ParquetError::External(Box::new(why))
}

/// Gives a synced file its name, durably; its size and time.
fn publish(file: &File, beside: &Path, target: &Path) -> Result<(u64, i64), Error> {
    let about = file.metadata().map_err(|why| io_failed(beside, &why))?;
    std::fs::rename(beside, target).map_err(|why| io_failed(target, &why))?;
    storage::sync_folder(&storage::parent(target)).map_err(|why| Error::sync(cannot_sync(target), &why))?;
    Ok((about.len(), about.mtime() * 1_000 + about.mtime_nsec() / 1_000_000))
}

fn io_failed(path: &Path, why: &std::io::Error) -> Error {
    Error::write(format!("cannot write {}", path.display()), why)
}

fn cannot_sync(path: &Path) -> String {
    format!("cannot sync {}", path.display())
}

fn parquet_failed(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Data, format!("cannot write {}", path.display()), why, "report this: it is a fault")
}

fn unwritable(table: &TablePath, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Data, format!("cannot sort rows of {}", table.name()), why, "report this: it is a fault")
}
