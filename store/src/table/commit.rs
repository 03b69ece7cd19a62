//! Commits to a Delta table: its creation, its new columns, its files and the lsn up to which it holds every row.

use std::sync::Arc;

use arrow_array::builder::{MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_conversion::{TryFromArrow, TryFromKernel};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::scan::state::ScanFile;
use delta_kernel::schema::{StructField, StructType};
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::data_layout::DataLayout;
use delta_kernel::transaction::{CommitResult, CommittedTransaction, Transaction, UpdateTableOperation};
use delta_kernel::{KernelError, SnapshotRef};

use crate::error::{Error, Kind};
use crate::storage;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::parquet::WrittenFile;

/// Name of the `txn` that says up to which lsn a table holds every row.
pub(crate) const WAL: &str = "candor/wal";
/// What commits name as their writer.
pub(super) const ENGINE: &str = concat!("candor/", env!("CARGO_PKG_VERSION"));
/// Commits after which the log is summed up in a checkpoint.
const CHECKPOINT_EVERY: u64 = 50;
/// Tries against other writers of one table; here there is one thread, and whatever else opens the table.
pub(super) const TRIES: usize = 10;

/// A file that a version of a table lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveFile {
    /// Relative to the table's folder.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Date of receipt, days since 1970-01-01.
    pub(crate) received_date: i32,
}

/// One version of a table.
#[derive(Clone, Debug)]
pub(crate) struct TableSnapshot {
    /// Its columns, `received_date` among them.
    pub(crate) schema: SchemaRef,
    /// Every row of a frame up to this lsn is in `files`; 0 if none was ever written.
    pub(crate) lsn: u64,
    /// The files that make it up.
    pub(crate) files: Vec<LiveFile>,
}

impl Delta {
    /// The newest version of a table; none if it was never created.
    ///
    /// # Errors
    /// `Data` if its log cannot be read.
    pub(crate) fn read(&self, table: &TablePath) -> Result<Option<TableSnapshot>, Error> {
        let Some(snapshot) = self.snapshot(table)? else {
            return Ok(None);
        };
        let files = self.live_files(table, &snapshot)?;
        Ok(Some(TableSnapshot { schema: schema_of(table, &snapshot)?, lsn: self.lsn(table, &snapshot)?, files }))
    }

    /// The columns of a table, `received_date` among them; none if it was never created.
    ///
    /// # Errors
    /// As [`Delta::read`].
    pub(crate) fn schema(&self, table: &TablePath) -> Result<Option<SchemaRef>, Error> {
        self.snapshot(table)?.map(|snapshot| schema_of(table, &snapshot)).transpose()
    }

    /// Up to which lsn the table holds every row; 0 if it was never created.
    ///
    /// # Errors
    /// As [`Delta::read`].
    pub(crate) fn written_lsn(&self, table: &TablePath) -> Result<u64, Error> {
        self.snapshot(table)?.map_or(Ok(0), |snapshot| self.lsn(table, &snapshot))
    }

    /// Makes the table if it is not there, and tells up to which lsn it holds every row.
    ///
    /// # Errors
    /// `Data` if it cannot take files of these schemas: a column has another type there.
    pub(crate) fn prepare(&self, table: &TablePath, schemas: &[SchemaRef]) -> Result<u64, Error> {
        let Some(first) = schemas.first() else {
            return self.written_lsn(table);
        };
        let snapshot = self.open_or_create(table, first)?;
        let known = schema_of(table, &snapshot)?;
        for schema in schemas {
            layout::missing_columns(&table.name(), &known, schema)?;
        }
        self.lsn(table, &snapshot)
    }

    /// Adds files to a table in one commit that says that it now holds every row up to `lsn`.
    ///
    /// # Errors
    /// `Retry` if the table does not hold exactly the rows up to `after`: somebody else wrote it, look again.
    pub(crate) fn append(
        &self,
        table: &TablePath,
        schemas: &[SchemaRef],
        files: &[WrittenFile],
        after: u64,
        lsn: u64,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let Some(snapshot) = self.snapshot(table)? else {
                return Err(moved(table, "it is gone"));
            };
            // The library takes a lower txn, and paths that are live already: whoever commits must look.
            let have = self.lsn(table, &snapshot)?;
            if have != after || lsn <= have {
                return Err(moved(table, format_args!("it is at lsn {have}, not at {after}")));
            }
            let transaction = self.transaction(table, snapshot, schemas, files, lsn)?;
            match transaction.commit(self.engine()).map_err(|why| self.uncommitted(table, &why))? {
                CommitResult::Committed(committed) => {
                    self.checkpoint_if_due(table, &committed);
                    return Ok(());
                }
                CommitResult::Conflicted(_) | CommitResult::Retryable(_) => {}
            }
        }
        Err(moved(table, "others were faster each time"))
    }

    fn transaction(
        &self,
        table: &TablePath,
        snapshot: SnapshotRef,
        schemas: &[SchemaRef],
        files: &[WrittenFile],
        lsn: u64,
    ) -> Result<Transaction, Error> {
        let mut known = schema_of(table, &snapshot)?.as_ref().clone();
        let mut builder = snapshot.update_table(UpdateTableOperation::Write, ENGINE, true).with_transaction_id(
            WAL,
            i64::try_from(lsn).map_err(|_| moved(table, "the lsn is beyond what Delta holds"))?,
        );
        for schema in schemas {
            for field in layout::missing_columns(&table.name(), &known, schema)? {
                builder = builder.add_column(StructField::try_from_arrow(&field).map_err(|why| fault(table, &why))?);
                let fields = known.fields().iter().cloned().chain([Arc::new(field)]);
                known = Schema::new(fields.collect::<Vec<_>>());
            }
        }
        let mut transaction = builder
            .build(self.engine(), Box::new(FileSystemCommitter::new()))
            .map_err(|why| self.uncommitted(table, &why))?;
        let added = added_files(files).map_err(|why| fault(table, &why))?;
        transaction.add_files(Box::new(ArrowEngineData::new(added)));
        Ok(transaction)
    }

    fn open_or_create(&self, table: &TablePath, file_schema: &Schema) -> Result<SnapshotRef, Error> {
        if let Some(snapshot) = self.snapshot(table)? {
            return Ok(snapshot);
        }
        let schema =
            StructType::try_from_arrow(&layout::table_schema(file_schema)).map_err(|why| fault(table, &why))?;
        let failed = |why: &KernelError| self.failed("cannot create table", table, why);
        storage::make_folder(&table.folder)
            .map_err(|why| Error::write(format!("cannot make {}", table.folder.display()), &why))?;
        let committed = create_table(table.url()?, Arc::new(schema), ENGINE, false)
            .with_data_layout(DataLayout::partitioned([layout::RECEIVED_DATE]))
            // Statistics in the log would outlive an erasure; `numRecords` is all that commits hold.
            .with_table_properties([("delta.dataSkippingNumIndexedCols", "0")])
            .build(self.engine(), Box::new(FileSystemCommitter::new()))
            .map_err(|why| failed(&why))?
            .commit(self.engine())
            .map_err(|why| failed(&why))?;
        drop(committed);
        // Whoever won, the table is there now.
        self.snapshot(table)?.ok_or_else(|| moved(table, "it was just created and is gone"))
    }

    fn lsn(&self, table: &TablePath, snapshot: &SnapshotRef) -> Result<u64, Error> {
        let version = snapshot
            .get_app_id_version(WAL, self.engine())
            .map_err(|why| self.failed("cannot read the log of table", table, &why))?;
        Ok(version.and_then(|lsn| u64::try_from(lsn).ok()).unwrap_or(0))
    }

    pub(super) fn live_files(&self, table: &TablePath, snapshot: &SnapshotRef) -> Result<Vec<LiveFile>, Error> {
        let failed = |why: &KernelError| self.failed("cannot list the files of table", table, why);
        let scan = Arc::clone(snapshot).scan_builder().build().map_err(|why| failed(&why))?;
        let mut files = Vec::new();
        for batch in scan.scan_metadata(self.engine()).map_err(|why| failed(&why))? {
            let batch = batch.map_err(|why| failed(&why))?;
            files = batch.visit_scan_files(files, keep_file).map_err(|why| failed(&why))?;
        }
        files
            .into_iter()
            .map(|(path, size, date)| {
                let Some(received_date) = date.as_deref().and_then(layout::day_of_text) else {
                    let what = format!("a file of table {} has no date of receipt", table.name());
                    return Err(Error::new(Kind::Data, what, path, "remove what another program wrote to the table"));
                };
                Ok(LiveFile { path, size, received_date })
            })
            .collect()
    }

    pub(super) fn checkpoint_if_due(&self, table: &TablePath, committed: &CommittedTransaction) {
        if committed.post_commit_stats().commits_since_checkpoint < CHECKPOINT_EVERY {
            return;
        }
        // A checkpoint saves time and nothing else: the commit stands, and the next one tries again.
        let outcome = match committed.post_commit_snapshot() {
            Some(snapshot) => snapshot.checkpoint(self.engine(), None).map(|_| ()).map_err(|why| why.to_string()),
            None => Err("no snapshot of the commit".to_owned()),
        };
        if let Err(why) = outcome {
            tracing::warn!(table = table.name(), why, "no checkpoint was written; the next commit tries again");
        }
    }

    pub(super) fn uncommitted(&self, table: &TablePath, why: &KernelError) -> Error {
        self.failed("cannot commit to table", table, why)
    }
}

fn schema_of(table: &TablePath, snapshot: &SnapshotRef) -> Result<SchemaRef, Error> {
    let schema = Schema::try_from_kernel(snapshot.schema().as_ref());
    schema.map(Arc::new).map_err(|why| fault(table, &why))
}

/// Collects what a version lists; the library takes a function without a state of its own.
fn keep_file(files: &mut Vec<(String, u64, Option<String>)>, mut file: ScanFile) {
    let date = file.partition_values.remove(layout::RECEIVED_DATE);
    files.push((file.path, u64::try_from(file.size).unwrap_or(0), date));
}

/// The files as Delta's `add` actions, with `numRecords` as their only statistic.
pub(super) fn added_files(files: &[WrittenFile]) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut partition = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for file in files {
        partition.keys().append_value(layout::RECEIVED_DATE);
        partition.values().append_value(&file.received_date);
        partition.append(true)?;
    }
    let numbers =
        |number: fn(&WrittenFile) -> i64| -> ArrayRef { Arc::new(files.iter().map(number).collect::<Int64Array>()) };
    let records = numbers(|file| file.rows as i64);
    let stats = StructArray::from(vec![(Arc::new(Field::new("numRecords", DataType::Int64, true)), records)]);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("path", Arc::new(files.iter().map(|file| Some(&file.path)).collect::<StringArray>()), false),
        ("partitionValues", Arc::new(partition.finish()), false),
        ("size", numbers(|file| file.size as i64), false),
        ("modificationTime", numbers(|file| file.modified), false),
        ("stats", Arc::new(stats), true),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, values, nullable)| Field::new(*name, values.data_type().clone(), *nullable))
        .collect();
    RecordBatch::try_new(Schema::new(fields).into(), columns.into_iter().map(|(_, values, _)| values).collect())
}

pub(super) fn moved(table: &TablePath, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Retry, format!("table {} was not written", table.name()), why, "it is tried again by itself")
}

pub(super) fn fault(table: &TablePath, why: &arrow_schema::ArrowError) -> Error {
    Error::new(Kind::Data, format!("table {} cannot be described", table.name()), why, "report this: it is a fault")
}
