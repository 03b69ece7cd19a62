//! Tables: that each can be read, and that each file that it lists is whole and what it says of itself.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use candor_policy::hex;
use candor_wire::counted::counted;
use candor_wire::merkle::Hash;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use ring::digest::{SHA256, digest};

use super::log::Sealed;
use super::{RESTORE, verdict};
use crate::backup::digest_of;
use crate::doctor::Finding;
use crate::error::Error;
use crate::table::commit::LiveFile;
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::parquet::metadata;
use crate::work::Work;

/// What the tables of a folder hold.
#[derive(Debug, Default)]
pub(super) struct Tables {
    count: usize,
    rows: u64,
    sealed: usize,
    problems: Vec<String>,
    /// Paths of all live files, from the data folder.
    pub(super) live: HashSet<String>,
    /// Digests of the documents that files name.
    pub(super) documents: BTreeSet<String>,
    /// Highest lsn that a table has.
    pub(super) highest_lsn: u64,
}

/// Reads every live file of every table.
pub(super) fn check(data: &Path, sealed: &Sealed, busy: bool, work: &Work) -> Result<Tables, Error> {
    let delta = Delta::shared()?;
    let mut found = Tables::default();
    let mut lists = Vec::new();
    for table in layout::list(data)? {
        match delta.read(&table) {
            Ok(Some(snapshot)) => {
                found.count += 1;
                found.highest_lsn = found.highest_lsn.max(snapshot.lsn);
                lists.push((table, snapshot.files));
            }
            Ok(None) => {}
            Err(error) => found.problems.push(first_line(&error)),
        }
    }
    work.begin(lists.iter().map(|(_, files)| files.len() as u64).sum());
    for (table, files) in &lists {
        for file in files {
            work.advance(1);
            found.live.insert(table.file_name(&file.path));
            let of_log = sealed.get(&(table.name(), file.path.clone()));
            found.sealed += usize::from(of_log.is_some());
            match whole(table, file, of_log, &mut found.documents) {
                Ok(rows) => found.rows += rows,
                Err(why) => found.problems.push(format!("{}: {why}", table.file_name(&file.path))),
            }
        }
    }
    let mut gone: Vec<String> = sealed.keys().map(|(table, path)| format!("tables/{table}/{path}")).collect();
    gone.retain(|path| !busy && !found.live.contains(path));
    found.problems.extend(gone.iter().map(|path| format!("{path} is sealed in the log, and in no table")));
    Ok(found)
}

impl Tables {
    pub(super) fn finding(&self) -> Finding {
        let (files, sealed) = (self.live.len(), self.sealed);
        let found = format!(
            "{} with {} ({sealed} sealed in the log) and {}",
            self.count,
            counted(files, "file"),
            counted(self.rows, "row")
        );
        verdict("tables", found, &self.problems, RESTORE)
    }
}

/// The rows of a file, if every page of it can be read and its metadata is true.
fn whole(
    table: &TablePath,
    file: &LiveFile,
    sealed: Option<&Hash>,
    documents: &mut BTreeSet<String>,
) -> Result<u64, String> {
    let opened = File::open(table.folder.join(&file.path)).map_err(|error| error.to_string())?;
    let size = opened.metadata().map_err(|error| error.to_string())?.len();
    if size != file.size {
        return Err(format!("it has {size} bytes, the table says {}", file.size));
    }
    if let Some(sealed) = sealed {
        let copied = digest_of(&table.folder, &file.path).map_err(|error| first_line(&error))?;
        if copied.sha256 != hex::encode(sealed) {
            return Err("it is not the file that the log sealed".to_owned());
        }
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|error| error.to_string())?;
    let about = std::sync::Arc::clone(builder.metadata());
    let said = Said::of(&about)?;
    said.fits(table, file)?;
    let mut order = Order::new(said.salt);
    let mut rows = 0;
    for batch in builder.build().map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        rows += batch.num_rows() as u64;
        order.take(&batch)?;
    }
    if (rows, order.subjects) != (said.rows, said.subjects) {
        return Err(format!(
            "it has {} of {}, and says {} of {}",
            counted(rows, "row"),
            counted(order.subjects, "subject"),
            said.rows,
            said.subjects
        ));
    }
    documents.extend([said.policy, said.catalogue]);
    Ok(rows)
}

/// What a file says of itself.
struct Said {
    purpose: String,
    stream: String,
    received_date: String,
    policy: String,
    catalogue: String,
    rows: u64,
    subjects: u64,
    salt: Vec<u8>,
}

impl Said {
    fn of(about: &ParquetMetaData) -> Result<Self, String> {
        let pairs = about.file_metadata().key_value_metadata();
        let text = |key: &str| {
            let pair = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == key));
            pair.and_then(|pair| pair.value.clone()).ok_or_else(|| format!("it does not say {key}"))
        };
        let number = |key: &str| text(key)?.parse::<u64>().map_err(|_| format!("{key} is no number"));
        Ok(Self {
            purpose: text(metadata::PURPOSE)?,
            stream: text(metadata::STREAM)?,
            received_date: text(metadata::RECEIVED_DATE)?,
            policy: text(metadata::POLICY)?,
            catalogue: text(metadata::CATALOGUE)?,
            rows: number(metadata::ROWS)?,
            subjects: number(metadata::SUBJECTS)?,
            salt: hex::decode(&text(metadata::SALT)?).ok_or("its salt is not hex")?,
        })
    }

    fn fits(&self, table: &TablePath, file: &LiveFile) -> Result<(), String> {
        let date = layout::date_text(file.received_date).unwrap_or_default();
        let is_of_table = self.purpose == table.purpose && self.stream == table.stream && self.received_date == date;
        if is_of_table { Ok(()) } else { Err("it is of another table or day".to_owned()) }
    }
}

/// Rows come in the order of their salted subjects.
struct Order {
    salt: Vec<u8>,
    last: Option<(String, Vec<u8>)>,
    subjects: u64,
}

impl Order {
    const fn new(salt: Vec<u8>) -> Self {
        Self { salt, last: None, subjects: 0 }
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let column = batch.column_by_name(layout::SUBJECT).ok_or("it has no subjects")?;
        let subjects = column.as_string_opt::<i32>().ok_or("its subjects are no text")?;
        for row in 0..subjects.len() {
            let subject = subjects.value(row);
            if self.last.as_ref().is_some_and(|(last, _)| last == subject) {
                continue;
            }
            let salted = digest(&SHA256, &[&self.salt, subject.as_bytes()].concat()).as_ref().to_vec();
            if self.last.as_ref().is_some_and(|(_, last)| *last >= salted) {
                return Err("its rows are not in order".to_owned());
            }
            self.last = Some((subject.to_owned(), salted));
            self.subjects += 1;
        }
        Ok(())
    }
}

fn first_line(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
