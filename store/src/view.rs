//! Reading a data folder beside a running service: sealed rows, rows still in segments, totals, consent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use candor_policy::counts::Count;
use candor_policy::subject::{LedgerId, SubjectId};
use candor_wire::receipt::Receipt;
use candor_wire::statement::Statement;
use candor_wire::totals::Opened;
use candor_wire::verify::ReceiptEvidence;
use serde::Serialize;

use crate::access::Under;
use crate::access::files::Parts;
use crate::error::{Error, Kind};
use crate::held::Looked;
use crate::keys::KeyRing;
use crate::ledger::{self, Ledger};
use crate::log::removed::removed_rows;
use crate::segment::codec::receipt_json;
use crate::segment::frame::{BatchFrame, Frame};
use crate::table::commit::{LiveFile, TableSnapshot};
use crate::table::engine::Delta;
use crate::table::layout::{self, TablePath};
use crate::table::lookup;
use crate::work::Work;
use crate::{held, query, receipts};

/// Openings that a busy service may spoil: each time it flushed what the view had just begun to read.
const TRIES: usize = 20;

/// A consistent view of a data folder, read-only: everything acknowledged before it was opened, nothing twice.
pub struct View {
    data: PathBuf,
    ledger: Ledger,
    tables: Vec<TableView>,
    statements: Vec<Statement>,
    receipts: Vec<Receipt>,
    totals: Vec<(String, Count)>,
    work: Arc<Work>,
    key_ring: Option<PathBuf>,
}

/// One table: its sealed files and the rows that are in no file yet.
pub(crate) struct TableView {
    /// `PURPOSE/STREAM`.
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) path: TablePath,
    /// All columns, those of pending rows and `received_date` included.
    pub(crate) schema: SchemaRef,
    /// Its live files.
    pub(crate) files: Vec<LiveFile>,
    /// Rows of segments.
    pub(crate) pending: Vec<PendingRows>,
}

/// Rows of one frame that are in no file yet, columns as in [`layout::file_schema`].
#[derive(Clone)]
pub(crate) struct PendingRows {
    /// Date of receipt, days since 1970-01-01.
    pub(crate) received_date: i32,
    /// SHA-256 of the policy, hex.
    pub(crate) policy: String,
    /// SHA-256 of the catalogue, hex.
    pub(crate) catalogue: String,
    /// The rows.
    pub(crate) rows: RecordBatch,
}

/// A row held about a subject, and why it is there.
#[derive(Clone, Serialize)]
pub struct HeldRow {
    /// Purpose name.
    pub purpose: String,
    /// Stream name.
    pub stream: String,
    /// Which of the subject's ids it is under: it has one for each key generation.
    #[serde(skip_serializing_if = "is_first")]
    pub id: usize,
    /// Event name.
    pub event: String,
    /// Date of receipt, `YYYY-MM-DD`.
    pub received_date: String,
    /// Date on which retention removes it.
    pub goes_on: Option<String>,
    /// File relative to the data folder, or none for a row that is not sealed yet.
    pub file: Option<String>,
    /// Running number of the batch among those that stored rows of the subject for this purpose; none for assigned subjects.
    pub batch: Option<i64>,
    /// Sequence of the consent statement it was stored under.
    pub consent_seq: Option<i64>,
    /// Digest of the policy it was cleared under.
    pub policy: String,
    /// Digest of the catalogue then.
    pub catalogue: String,
    /// Field by field.
    pub fields: Vec<HeldField>,
    /// The row in its canonical encoding, base64url: what receipts hash.
    pub row: String,
}

/// One stored value with the rule that let it through.
#[derive(Clone, Serialize)]
pub struct HeldField {
    /// Column in the table.
    pub column: String,
    /// Stored value.
    pub value: serde_json::Value,
    /// Rule id.
    pub rule: String,
    /// Operator with parameters.
    pub operator: String,
}

/// Totals of one (source, stream, purpose).
#[derive(Clone, Debug, Serialize)]
pub struct Total {
    /// Source name.
    pub source: String,
    /// The account.
    #[serde(flatten)]
    pub count: Count,
    /// Rows of it found in tables and segments. Tables do not know sources: none where several feed one table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<u64>,
    /// Rows of it that erasure or retention took out of tables, as the log says; none where `found` is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
}

/// Rows of one table, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableRows {
    /// Purpose name.
    pub purpose: String,
    /// Stream name.
    pub stream: String,
    /// Rows in the table's files, as their footers count them.
    pub sealed: u64,
    /// Rows in segments that are in no file yet.
    pub pending: u64,
    /// Rows that were in files and are in none any more, as the log says.
    pub removed: u64,
}

impl View {
    /// Opens a data folder for reading; a service may be running on it.
    ///
    /// # Errors
    /// `Data` if it is no data folder.
    pub async fn open(data: &Path) -> Result<Self, Error> {
        let path = data.join("ledger.db");
        if !path.is_file() {
            return Err(no_data_folder(data));
        }
        let ledger = Ledger::open_read_only(&path).await?;
        for _ in 0..TRIES {
            match Self::open_once(data, &ledger).await {
                Ok(Some(view)) => return Ok(view),
                // A segment went away while it was read.
                Err(error) if error.kind() != Kind::Retry => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        let what = format!("{} could not be read in peace", data.display());
        Err(Error::new(Kind::Retry, what, "the service flushed meanwhile, each time", "try again"))
    }

    /// The same with a key ring that is kept outside the data folder, if there is one.
    #[must_use]
    pub fn with_key_ring(mut self, elsewhere: Option<&Path>) -> Self {
        self.key_ring = elsewhere.map(Path::to_path_buf);
        self
    }

    /// Everything held about the subject whom sources name `value`, under every live key generation.
    ///
    /// # Errors
    /// If something cannot be read.
    pub async fn held(&self, value: &str) -> Result<Vec<HeldRow>, Error> {
        self.held_by(&self.ids(value)?).await
    }

    /// The ids of the subject whom sources name `value`, one for each live key generation, newest first.
    ///
    /// # Errors
    /// If the key ring cannot be read.
    pub fn ids(&self, value: &str) -> Result<Vec<SubjectId>, Error> {
        let generations = self.key_ring()?.generations();
        Ok(generations.iter().map(|keys| keys.subject_id(&keys.ledger_id(value))).collect())
    }

    /// The ledger id of the subject whom sources name `value`.
    ///
    /// # Errors
    /// If the key ring cannot be read.
    pub fn ledger_id(&self, value: &str) -> Result<LedgerId, Error> {
        Ok(self.key_ring()?.keys().ledger_id(value))
    }

    /// Everything held about subjects by their ids: those of subjects that sign are hashes of their keys.
    ///
    /// # Errors
    /// If something cannot be read.
    pub async fn held_by(&self, subjects: &[SubjectId]) -> Result<Vec<HeldRow>, Error> {
        let mut outcome = self.held_now(subjects).await;
        for _ in 0..TRIES {
            let Some(again) = self.again(&outcome).await? else { break };
            outcome = again.held_now(subjects).await;
        }
        outcome
    }

    async fn held_now(&self, subjects: &[SubjectId]) -> Result<Vec<HeldRow>, Error> {
        held::rows(&self.tables, &self.ledger, subjects, None, &self.work).await?.whole()
    }

    /// The same, where it is known what files have: as much as can be read.
    pub(crate) async fn held_in(&self, subjects: &[SubjectId], parts: &Parts) -> Result<Looked, Error> {
        held::rows(&self.tables, &self.ledger, subjects, Some(parts), &self.work).await
    }

    /// Table and path of every live file, as the log names them.
    #[must_use]
    pub fn files(&self) -> BTreeSet<(&str, &str)> {
        let files = self.tables.iter().flat_map(|table| table.files.iter().map(move |file| (table, file)));
        files.map(|(table, file)| (table.name.as_str(), file.path.as_str())).collect()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.data
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The subject's statements, oldest first.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn consent_history(&self, value: &str) -> Result<Vec<Statement>, Error> {
        let ledger_id = self.key_ring()?.keys().ledger_id(value);
        self.history_of(&ledger_id).await
    }

    /// The statements of a subject by its ledger id, oldest first.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn history_of(&self, ledger_id: &LedgerId) -> Result<Vec<Statement>, Error> {
        let mut history = self.ledger.history(ledger_id).await?;
        let hex = candor_policy::hex::encode(ledger_id.as_bytes());
        let pending = self.statements.iter().filter(|statement| statement.ledger_id == hex);
        for statement in pending {
            if !history.contains(statement) {
                history.push(statement.clone());
            }
        }
        history.sort_by_key(|statement| statement.sequence);
        Ok(history)
    }

    /// Offered = stored + dropped by reason, sealed and pending together.
    ///
    /// # Errors
    /// If something cannot be read.
    pub async fn totals(&self) -> Result<Vec<Total>, Error> {
        let mut outcome = self.totals_now().await;
        for _ in 0..TRIES {
            let Some(again) = self.again(&outcome).await? else { break };
            outcome = again.totals_now().await;
        }
        outcome
    }

    async fn totals_now(&self) -> Result<Vec<Total>, Error> {
        let rows = self.rows_now().await?;
        let table_of = |count: &Count| {
            let of_table = |other: &Count| other.stream == count.stream && other.purpose == count.purpose;
            let stream = count.stream.as_deref()?;
            if self.totals.iter().filter(|(_, other)| of_table(other)).count() > 1 {
                return None;
            }
            let table = rows.iter().find(|table| table.purpose == count.purpose && table.stream == stream);
            Some(table.map_or((0, 0), |table| (table.sealed + table.pending, table.removed)))
        };
        let total = |(source, count): &(String, Count)| {
            let (found, removed) = table_of(count).unzip();
            Total { source: source.clone(), count: count.clone(), found, removed }
        };
        Ok(self.totals.iter().map(total).collect())
    }

    /// How many rows each table holds, sealed and pending.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub async fn rows(&self) -> Result<Vec<TableRows>, Error> {
        let mut outcome = self.rows_now().await;
        for _ in 0..TRIES {
            let Some(again) = self.again(&outcome).await? else { break };
            outcome = again.rows_now().await;
        }
        outcome
    }

    async fn rows_now(&self) -> Result<Vec<TableRows>, Error> {
        let tables: Vec<_> = self.tables.iter().map(|table| (table.path.clone(), table.files.clone())).collect();
        let work = self.work();
        work.begin(tables.iter().map(|(_, files)| files.len() as u64).sum());
        let data = self.data.clone();
        let (sealed, removed) = blocking(move || {
            // Before the files are counted: what goes meanwhile is missed in both, not in one.
            let removed = removed_rows(&data)?;
            let count = |(path, files): &(TablePath, Vec<LiveFile>)| lookup::count_rows(path, files, &work);
            Ok((tables.iter().map(count).collect::<Result<Vec<u64>, Error>>()?, removed))
        })
        .await?;
        let counted = |(table, sealed): (&TableView, u64)| TableRows {
            purpose: table.path.purpose.clone(),
            stream: table.path.stream.clone(),
            sealed,
            removed: removed.get(&table.path.name()).copied().unwrap_or(0),
            pending: table.pending.iter().map(|pending| pending.rows.num_rows() as u64).sum(),
        };
        Ok(self.tables.iter().zip(sealed).map(counted).collect())
    }

    /// A policy or catalogue that was ever in force, by its digest in hex.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn document(&self, digest: &str) -> Result<Option<String>, Error> {
        self.ledger.document(digest).await
    }

    /// What opens the small cells of every closed epoch: for auditors.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn opened_epochs(&self, last: u64) -> Result<Vec<Opened>, Error> {
        let mut opened = Vec::new();
        for epoch in self.ledger.closed_epochs(0).await?.iter().filter(|epoch| epoch.number <= last) {
            opened.push(self.ledger.opened(epoch).await?);
        }
        Ok(opened)
    }

    /// Keys that sign the log of this origin, newest first, as verifier keys.
    ///
    /// # Errors
    /// If the key ring cannot be read, or has none.
    pub fn log_keys(&self, origin: &str) -> Result<Vec<String>, Error> {
        let signers = self.key_ring()?.log_signers(origin)?;
        Ok(signers.iter().map(|signer| signer.verifier().to_string()).collect())
    }

    /// Every receipt of a subject that signs, signed anew, with its place in the totals of a log.
    ///
    /// # Errors
    /// If the ledger or the key ring cannot be read.
    pub async fn receipts(&self, ledger_id: &LedgerId, under: Option<&Under>) -> Result<Vec<ReceiptEvidence>, Error> {
        let mut found = self.ledger.receipts(ledger_id, 1, i32::MAX as usize).await?;
        let subject = candor_policy::hex::encode(ledger_id.as_bytes());
        found.extend(self.receipts.iter().filter(|receipt| receipt.subject == subject).cloned());
        found.sort_by_key(|receipt| receipt.batch);
        found.dedup_by_key(|receipt| receipt.batch);
        let Some(key) = self.key_ring()?.receipts() else { return Ok(Vec::new()) };
        let places = self.ledger.receipt_places(ledger_id, &found, under.map_or(0, Under::totals_epoch)).await?;
        let jsons: Vec<String> = found.iter().map(receipt_json).collect::<Result<_, _>>()?;
        let proofs = receipts::sign(&key, jsons.iter().map(String::as_str));
        let given = found.into_iter().zip(proofs).zip(places);
        Ok(given.map(|((receipt, proof), totals)| ReceiptEvidence { receipt, proof, totals }).collect())
    }

    /// Runs a read-only SQL query over all tables (`purpose."stream"`), pending rows included. A table that the
    /// documents in force declare is there before its first row.
    ///
    /// # Errors
    /// `Request` for bad SQL.
    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, Error> {
        let mut outcome = self.query_now(sql).await;
        for _ in 0..TRIES {
            let Some(again) = self.again(&outcome).await? else { break };
            outcome = again.query_now(sql).await;
        }
        outcome
    }

    async fn query_now(&self, sql: &str) -> Result<Vec<RecordBatch>, Error> {
        let declared = self.declared().await?;
        let tables: Vec<&TableView> = self.tables.iter().chain(&declared).collect();
        query::run(&tables, sql, &self.work).await
    }

    /// What it is busy with, for whoever waits.
    #[must_use]
    pub fn work(&self) -> Arc<Work> {
        Arc::clone(&self.work)
    }

    fn key_ring(&self) -> Result<KeyRing, Error> {
        KeyRing::open_for(&self.data, self.key_ring.as_deref())
    }

    /// The data folder as it is now, if files that this view knew were replaced before they were read.
    async fn again<T>(&self, outcome: &Result<T, Error>) -> Result<Option<Self>, Error> {
        match outcome {
            Err(error) if error.kind() == Kind::Retry => {}
            // What reads files for us tells this in words only.
            Err(error) if error.kind() == Kind::Data && self.lacks_a_file() => {}
            _ => return Ok(None),
        }
        let mut again = Self::open(&self.data).await?;
        (again.work, again.key_ring) = (self.work(), self.key_ring.clone());
        Ok(Some(again))
    }

    fn lacks_a_file(&self) -> bool {
        let gone = |table: &TableView| table.files.iter().any(|file| !table.path.folder.join(&file.path).exists());
        self.tables.iter().any(gone)
    }

    /// Frames first, tables and ledger after: what left the segments meanwhile is in both by then. The view is whole
    /// if neither holds more than the frames told of; none if one does.
    async fn open_once(data: &Path, ledger: &Ledger) -> Result<Option<Self>, Error> {
        let at_start = ledger.released_lsn().await?;
        let folder = data.to_path_buf();
        let (frames, snapshots) = blocking(move || {
            let frames = crate::segment::read_all(&folder)?;
            Ok((frames, snapshots(&folder)?))
        })
        .await?;
        let (released, totals) = ledger.released().await?;
        let horizon = frames.iter().map(Frame::lsn).max().unwrap_or(0).max(at_start);
        if released > horizon || snapshots.iter().any(|(_, snapshot)| snapshot.lsn > horizon) {
            return Ok(None);
        }
        Ok(Some(Self {
            data: data.to_path_buf(),
            ledger: ledger.clone(),
            totals: overlaid(&totals, &frames, released),
            statements: frames.iter().filter_map(statement).cloned().collect(),
            receipts: frames.iter().filter_map(batch).filter_map(|frame| frame.receipt.as_deref().cloned()).collect(),
            tables: tables(data, snapshots, &frames)?,
            work: Arc::default(),
            key_ring: None,
        }))
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({}: {} tables)", self.data.display(), self.tables.len())
    }
}

impl std::fmt::Debug for TableView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableView({}: {} files, {} pending frames)", self.path.name(), self.files.len(), self.pending.len())
    }
}

impl std::fmt::Debug for HeldRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeldRow({}/{}: {} fields)", self.purpose, self.stream, self.fields.len())
    }
}

impl std::fmt::Debug for HeldField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeldField({})", self.column)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_first(id: &usize) -> bool {
    *id == 0
}

/// What was named has never been a data folder.
pub(crate) fn no_data_folder(data: &Path) -> Error {
    let what = format!("{} is no data folder", data.display());
    Error::new(Kind::Data, what, "it has no ledger.db", "name the folder that `candor serve --data` uses")
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|why| {
        let mend = "report this: it is a fault";
        Err(Error::new(Kind::Data, "reading was broken off", why, mend))
    })
}

fn snapshots(data: &Path) -> Result<Vec<(TablePath, TableSnapshot)>, Error> {
    let delta = Delta::shared()?;
    let mut snapshots = Vec::new();
    for path in layout::list(data)? {
        if let Some(snapshot) = delta.read(&path)? {
            snapshots.push((path, snapshot));
        }
    }
    Ok(snapshots)
}

fn overlaid(totals: &[(String, Count)], frames: &[Frame], released: u64) -> Vec<(String, Count)> {
    let sealed = totals.iter().map(|(source, count)| (source.as_str(), count));
    let pending = frames
        .iter()
        .filter_map(batch)
        .filter(|frame| frame.lsn > released)
        .flat_map(|frame| frame.header.counts.iter().map(|count| (frame.header.source.as_str(), count)));
    ledger::sum(sealed.chain(pending))
}

/// Every table that has files or pending rows; of a frame only what its table's `txn` does not cover.
fn tables(data: &Path, snapshots: Vec<(TablePath, TableSnapshot)>, frames: &[Frame]) -> Result<Vec<TableView>, Error> {
    let mut tables = BTreeMap::new();
    for (path, snapshot) in snapshots {
        let view = TableView {
            name: path.name(),
            path: path.clone(),
            schema: snapshot.schema,
            files: snapshot.files,
            pending: Vec::new(),
        };
        tables.insert(path, (snapshot.lsn, view));
    }
    for frame in frames.iter().filter_map(batch) {
        for rows in frame.tables.iter().filter(|table| table.rows.num_rows() > 0) {
            let path = TablePath::new(data, &rows.purpose, &rows.stream)?;
            let rows = as_in_files(&path, &rows.rows, frame.number_for(&rows.purpose))?;
            let (lsn, view) = tables.entry(path.clone()).or_insert_with(|| {
                let schema = Arc::new(layout::table_schema(&rows.schema()));
                (0, TableView { name: path.name(), path, schema, files: Vec::new(), pending: Vec::new() })
            });
            if frame.lsn > *lsn {
                view.push(frame, rows)?;
            }
        }
    }
    Ok(tables.into_values().map(|(_, view)| view).collect())
}

/// Rows of a frame with the column that files have beside a frame's.
fn as_in_files(table: &TablePath, rows: &RecordBatch, number: Option<i64>) -> Result<RecordBatch, Error> {
    layout::with_batch(rows, number).map_err(|why| {
        let what = format!("cannot read pending rows of {}", table.name());
        Error::new(Kind::Data, what, why, "report this: it is a fault")
    })
}

impl TableView {
    fn push(&mut self, frame: &BatchFrame, rows: RecordBatch) -> Result<(), Error> {
        let missing = layout::missing_columns(&self.path.name(), &self.schema, &rows.schema())?;
        if !missing.is_empty() {
            let fields = self.schema.fields().iter().cloned().chain(missing.into_iter().map(Arc::new));
            self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        }
        self.pending.push(PendingRows {
            received_date: layout::day_of(frame.header.received_at),
            policy: frame.header.policy.clone(),
            catalogue: frame.header.catalogue.clone(),
            rows,
        });
        Ok(())
    }
}

const fn batch(frame: &Frame) -> Option<&BatchFrame> {
    match frame {
        Frame::Batch(batch) => Some(batch),
        Frame::Statement { .. } => None,
    }
}

const fn statement(frame: &Frame) -> Option<&Statement> {
    match frame {
        Frame::Batch(_) => None,
        Frame::Statement { statement, .. } => Some(statement),
    }
}

mod declared;
mod erased;
#[cfg(test)]
mod tests;
