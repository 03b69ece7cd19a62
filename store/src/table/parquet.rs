//! Parquet files of a table: sorted by salted subject, encoded by cardinality, synced before anybody names them.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Schema, TimeUnit};
use candor_policy::hex;
use hashbrown::{HashMap, HashSet};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{Error, Kind};
use crate::storage;
use crate::table::layout::{self, TablePath};

/// Rows of a row group, at most: also what one flush run takes.
const ROW_GROUP_ROWS: usize = 262_144;
/// Values looked at to tell whether a column repeats itself.
const SAMPLE: usize = 8_192;
/// How rows of a file are ordered, as its metadata says it.
const SORTED_BY: &str = "sha256(salt || subject)";

/// Rows that become one file: one date of receipt, one policy, one catalogue.
#[derive(Clone)]
pub(crate) struct Group {
    /// Date of receipt, days since 1970-01-01.
    pub(crate) received_date: i32,
    /// SHA-256 of the policy, hex.
    pub(crate) policy: String,
    /// SHA-256 of the catalogue, hex.
    pub(crate) catalogue: String,
    /// The rows in the order of their arrival, columns as in [`layout::file_schema`].
    pub(crate) rows: RecordBatch,
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
    /// What the rows are sorted by.
    pub(crate) const SORTED_BY: &str = "candor.sorted_by";
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
    let salt: [u8; 32] = random()?;
    let (order, subjects) = subject_order(&group.rows, &salt)?;
    let rows = arrow_select::take::take_record_batch(&group.rows, &order).map_err(|why| unwritable(table, why))?;
    let properties = properties(&rows, subjects, file_metadata(table, group, &received_date, subjects, &salt));

    // Random, not numbered: a number would be shared by the tables of two purposes.
    let path = format!("{}={received_date}/part-{}.parquet", layout::RECEIVED_DATE, hex::encode(&random::<16>()?));
    let target = table.folder.join(&path);
    storage::make_folder(&storage::parent(&target)).map_err(|why| io_failed(&target, &why))?;
    let beside = storage::beside(&target);
    let written = write_beside(&beside, &rows, properties).and_then(|file| publish(&file, &beside, &target));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    let (size, modified) = written?;
    Ok(WrittenFile { path, received_date, size, modified, rows: rows.num_rows() as u64 })
}

/// Row numbers by ascending salted subject, in the order of arrival within a subject; and how many subjects there are.
///
/// The hash is computed once a subject, and the rows are then counted into place.
fn subject_order(rows: &RecordBatch, salt: &[u8; 32]) -> Result<(UInt32Array, usize), Error> {
    let subjects = rows.column_by_name(layout::SUBJECT).and_then(|column| column.as_string_opt::<i32>());
    let subjects: &StringArray = subjects.ok_or_else(|| {
        Error::new(
            Kind::Data,
            "rows without a subject column",
            "a frame is not what it says",
            "report this: it is a fault",
        )
    })?;
    let (subject_of_row, names) = intern(subjects);

    let mut ranked: Vec<([u8; 32], u32)> = names.iter().zip(0..).map(|(name, id)| (salted(salt, name), id)).collect();
    ranked.sort_unstable();
    let mut rank_of = vec![0_u32; ranked.len()];
    for (rank, (_, id)) in (0_u32..).zip(&ranked) {
        rank_of[*id as usize] = rank;
    }

    let mut next = vec![0_u32; ranked.len() + 1];
    for id in &subject_of_row {
        next[rank_of[*id as usize] as usize + 1] += 1;
    }
    for rank in 1..next.len() {
        next[rank] += next[rank - 1];
    }
    let mut order = vec![0_u32; subject_of_row.len()];
    for (row, id) in (0_u32..).zip(&subject_of_row) {
        let place = &mut next[rank_of[*id as usize] as usize];
        order[*place as usize] = row;
        *place += 1;
    }
    Ok((UInt32Array::from(order), ranked.len()))
}

/// Row → number of its subject, and the distinct subjects.
fn intern(subjects: &StringArray) -> (Vec<u32>, Vec<&str>) {
    let mut names: Vec<&str> = Vec::new();
    let mut numbers: HashMap<&str, u32, foldhash::fast::RandomState> = HashMap::default();
    let mut of_row = Vec::with_capacity(subjects.len());
    for row in 0..subjects.len() {
        let name = subjects.value(row);
        // Rows of one request often have one subject.
        let number = match of_row.last() {
            Some(last) if names[*last as usize] == name => *last,
            _ => *numbers.entry(name).or_insert_with(|| {
                names.push(name);
                names.len() as u32 - 1
            }),
        };
        of_row.push(number);
    }
    (of_row, names)
}

/// `SHA-256(salt ‖ subject)`.
fn salted(salt: &[u8; 32], subject: &str) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(salt);
    context.update(subject.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
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
    subjects: usize,
    salt: &[u8; 32],
) -> Vec<KeyValue> {
    [
        (metadata::FORMAT, "1".to_owned()),
        (metadata::PURPOSE, table.purpose.clone()),
        (metadata::STREAM, table.stream.clone()),
        (metadata::POLICY, group.policy.clone()),
        (metadata::CATALOGUE, group.catalogue.clone()),
        (metadata::RECEIVED_DATE, received_date.to_owned()),
        (metadata::ROWS, group.rows.num_rows().to_string()),
        (metadata::SUBJECTS, subjects.to_string()),
        (metadata::SALT, hex::encode(salt)),
        (metadata::SORTED_BY, SORTED_BY.to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| KeyValue::new(key.to_owned(), value))
    .collect()
}

/// No statistics but on columns that say nothing of a person; one bloom filter, on the subject.
fn properties(rows: &RecordBatch, subjects: usize, metadata: Vec<KeyValue>) -> WriterProperties {
    let subject = ColumnPath::from(layout::SUBJECT);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from(layout::EVENT), EnabledStatistics::Page)
        .set_column_statistics_enabled(ColumnPath::from(layout::DECISION), EnabledStatistics::Page)
        .set_column_bloom_filter_enabled(subject.clone(), true)
        .set_column_bloom_filter_max_ndv(subject, subjects.max(1) as u64)
        .set_key_value_metadata(Some(metadata));
    for (field, values) in rows.schema().fields().iter().zip(rows.columns()) {
        let repeats =
            if field.name() == layout::SUBJECT { subjects * 2 <= rows.num_rows() } else { repeats_itself(values) };
        builder = match values.as_list_opt::<i32>() {
            None => encode(builder, ColumnPath::from(field.name().as_str()), field.data_type(), repeats),
            // What is encoded is the elements.
            Some(lists) => encode(builder, element_path(field.name()), &lists.value_type(), repeats),
        };
    }
    builder.build()
}

/// Path of a list's elements in a Parquet schema.
fn element_path(column: &str) -> ColumnPath {
    ColumnPath::new(vec![column.to_owned(), "list".to_owned(), "element".to_owned()])
}

/// A dictionary where values repeat; without one, lengths and differences apart from the bytes, which zstd then packs.
fn encode(
    builder: WriterPropertiesBuilder,
    column: ColumnPath,
    kind: &DataType,
    repeats: bool,
) -> WriterPropertiesBuilder {
    let builder = builder.set_column_dictionary_enabled(column.clone(), repeats);
    match kind {
        DataType::Utf8 => builder.set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY),
        DataType::Int32 | DataType::Int64 | DataType::Timestamp(..) => {
            builder.set_column_encoding(column, Encoding::DELTA_BINARY_PACKED)
        }
        _ => builder,
    }
}

/// Whether at most half of a sample's values are distinct. Neighbours are left out: sorted rows repeat by the subject,
/// and what counts is whether the column's values come again in the whole file.
fn repeats_itself(values: &ArrayRef) -> bool {
    match values.data_type() {
        DataType::Utf8 => {
            let values = values.as_string::<i32>();
            few_distinct(values, |row| values.value(row))
        }
        DataType::Int32 => {
            let values = values.as_primitive::<Int32Type>();
            few_distinct(values, |row| values.value(row))
        }
        DataType::Int64 => {
            let values = values.as_primitive::<Int64Type>();
            few_distinct(values, |row| values.value(row))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            few_distinct(values, |row| values.value(row).to_bits())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = values.as_primitive::<TimestampMicrosecondType>();
            few_distinct(values, |row| values.value(row))
        }
        DataType::List(_) => repeats_itself(values.as_list::<i32>().values()),
        _ => false,
    }
}

fn few_distinct<V: std::hash::Hash + Eq>(array: &dyn Array, value: impl Fn(usize) -> V) -> bool {
    let step = array.len().div_ceil(SAMPLE).max(1);
    let mut seen: HashSet<V, foldhash::fast::RandomState> = HashSet::default();
    let mut looked_at = 0;
    for row in (0..array.len()).step_by(step).filter(|row| array.is_valid(*row)) {
        seen.insert(value(row));
        looked_at += 1;
    }
    seen.len() * 2 <= looked_at
}

/// Writes and syncs the bytes under an unfinished name.
fn write_beside(beside: &Path, rows: &RecordBatch, properties: WriterProperties) -> Result<File, Error> {
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
    let mut writer = ArrowWriter::try_new_with_options(file, rows.schema(), options).map_err(failed)?;
    writer.write(rows).map_err(failed)?;
    let file = writer.into_inner().map_err(failed)?;
    file.sync_data().map_err(|why| Error::sync(cannot_sync(beside), &why))?;
    Ok(file)
}

/// Gives a synced file its name, durably; its size and time.
fn publish(file: &File, beside: &Path, target: &Path) -> Result<(u64, i64), Error> {
    let about = file.metadata().map_err(|why| io_failed(beside, &why))?;
    std::fs::rename(beside, target).map_err(|why| io_failed(target, &why))?;
    storage::sync_folder(&storage::parent(target)).map_err(|why| Error::sync(cannot_sync(target), &why))?;
    Ok((about.len(), about.mtime() * 1_000 + about.mtime_nsec() / 1_000_000))
}

fn io_failed(path: &Path, why: &std::io::Error) -> Error {
    Error::io(format!("cannot write {}", path.display()), why)
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

/// Rows of several batches in the order of their arrival, with the `batch` column that frames do not have.
///
/// # Errors
/// `Data` if the batches do not fit together.
pub(crate) fn gather(table: &TablePath, batches: &[&RecordBatch]) -> Result<RecordBatch, Error> {
    let failed = |why| unwritable(table, why);
    let Some(first) = batches.first() else {
        return Ok(RecordBatch::new_empty(Schema::empty().into()));
    };
    let rows = arrow_select::concat::concat_batches(&first.schema(), batches.iter().copied()).map_err(failed)?;
    let schema = layout::file_schema(&rows.schema());
    let columns = schema
        .fields()
        .iter()
        .map(|field| match rows.column_by_name(field.name()) {
            Some(values) => values.clone(),
            None => arrow_array::new_null_array(field.data_type(), rows.num_rows()),
        })
        .collect();
    RecordBatch::try_new(schema.into(), columns).map_err(failed)
}
