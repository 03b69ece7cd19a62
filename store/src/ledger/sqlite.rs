//! The ledger on `SQLite`: WAL mode, so that readers do not wait; `synchronous=FULL`, so that a commit is durable.

use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use candor_policy::counts::Count;
use candor_policy::hex;
use candor_policy::reason::Reason;
use candor_policy::subject::LedgerId;
use candor_wire::statement::Statement;
use futures::TryStreamExt;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::error::{Error, Kind};
use crate::ledger::Release;
use crate::ledger::epochs::{insert_epoch_totals, open_epoch};
use crate::ledger::migrations::MIGRATIONS;
use crate::ledger::numbered::{insert_nonces, insert_receipts};
use crate::reply::Reply;
use crate::storage;
use crate::store::BatchDigest;

/// Rows of one `INSERT`: times its columns, well below `SQLite`'s 32,766 parameters.
pub(super) const ROWS_PER_INSERT: usize = 1_000;
/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(5);

/// The open ledger (WAL mode, `synchronous=FULL`, `secure_delete`).
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: SqlitePool,
    read_only: bool,
}

impl Ledger {
    /// Opens or makes the ledger of a data folder for writing.
    ///
    /// # Errors
    /// `Data` if the file is no ledger, `Retry` if it is locked.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // What is deleted is overwritten, not merely forgotten.
            .pragma("secure_delete", "ON")
            // Nothing is written outside the data folder.
            .pragma("temp_store", "MEMORY");
        close_to_others(path).map_err(|why| Error::io(format!("cannot open the ledger {}", path.display()), &why))?;
        let ledger = Self { pool: connect(path, options).await?, read_only: false };
        ledger.migrate().await?;
        // SQLite does not sync the folder for a new file in WAL mode.
        storage::sync_folder(&storage::parent(path))
            .map_err(|why| Error::write(format!("cannot sync {}", path.display()), &why))?;
        Ok(ledger)
    }

    /// Opens it read-only, beside a running service.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub async fn open_read_only(path: &Path) -> Result<Self, Error> {
        let pool = connect(path, SqliteConnectOptions::new().read_only(true)).await?;
        let ledger = Self { pool, read_only: true };
        let version = ledger.version().await?;
        if version == MIGRATIONS.len() { Ok(ledger) } else { Err(wrong_version(version)) }
    }

    /// Highest lsn whose frame is in the ledger; 0 for none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn released_lsn(&self) -> Result<u64, Error> {
        released_lsn(&mut *self.pool.acquire().await.map_err(unreadable)?).await
    }

    /// Enters frames, once: frames up to `released_lsn` must have been left out by the caller.
    ///
    /// # Errors
    /// If it cannot be written; nothing of it is there then.
    pub async fn release(&self, release: &Release) -> Result<(), Error> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(unwritable)?;
        // The same release again: its answer was lost, not its commit.
        if released_lsn(&mut transaction).await? >= release.up_to_lsn {
            return transaction.rollback().await.map_err(unwritable);
        }
        let (epoch, _) = open_epoch(&mut transaction, release.released_at).await?;
        insert_statements(&mut transaction, epoch, &release.statements).await?;
        insert_totals(&mut transaction, &release.counts).await?;
        insert_epoch_totals(&mut transaction, epoch, &release.counts).await?;
        insert_repeats(&mut transaction, &release.repeats).await?;
        insert_receipts(&mut transaction, epoch, &release.receipts).await?;
        insert_nonces(&mut transaction, &release.nonces, release.now).await?;
        sqlx::query("DELETE FROM repeats WHERE received_at < ?")
            .bind(release.forget_before)
            .execute(&mut *transaction)
            .await
            .map_err(unwritable)?;
        sqlx::query("UPDATE watermark SET released_lsn = ?")
            .bind(release.up_to_lsn as i64)
            .execute(&mut *transaction)
            .await
            .map_err(unwritable)?;
        transaction.commit().await.map_err(unwritable)
    }

    /// Hands over the newest statement of every subject, for the snapshot in memory: one after another, since there may be millions.
    ///
    /// # Errors
    /// If it cannot be read, or as `each` says.
    pub async fn each_newest_statement(
        &self,
        mut each: impl FnMut(Statement) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let newest = "SELECT json FROM statements AS s WHERE sequence = \
                      (SELECT max(sequence) FROM statements WHERE ledger_id = s.ledger_id) \
                      ORDER BY ledger_id, sequence, hash";
        let mut rows = sqlx::query_scalar::<_, String>(newest).fetch(&self.pool);
        while let Some(json) = rows.try_next().await.map_err(unreadable)? {
            each(parse_statement(&json)?)?;
        }
        Ok(())
    }

    /// A subject's statements, oldest first.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn history(&self, subject: &LedgerId) -> Result<Vec<Statement>, Error> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT json FROM statements WHERE ledger_id = ? ORDER BY sequence, hash")
                .bind(subject.as_bytes().to_vec())
                .fetch_all(&self.pool)
                .await
                .map_err(unreadable)?;
        rows.iter().map(|json| parse_statement(json)).collect()
    }

    /// Hands over each request received at or after `since` (µs), by digest and time of receipt, in the order of time.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn each_repeat_since(&self, since: i64, mut each: impl FnMut(BatchDigest, i64)) -> Result<(), Error> {
        let select = "SELECT digest, received_at FROM repeats WHERE received_at >= ? ORDER BY received_at";
        let mut rows = sqlx::query(select).bind(since).fetch(&self.pool);
        while let Some(row) = rows.try_next().await.map_err(unreadable)? {
            each(digest(&row)?, row.try_get(1).map_err(unreadable)?);
        }
        Ok(())
    }

    /// What a request received at or after `since` (µs) was told.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn repeat(&self, digest: &BatchDigest, since: i64) -> Result<Option<Reply>, Error> {
        let row = sqlx::query("SELECT rejected, message FROM repeats WHERE digest = ? AND received_at >= ?")
            .bind(digest.0.to_vec())
            .bind(since)
            .fetch_optional(&self.pool)
            .await
            .map_err(unreadable)?;
        row.as_ref().map(|row| reply_at(row, 0)).transpose()
    }

    /// Totals per (source, stream, purpose) of released frames.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn totals(&self) -> Result<Vec<(String, Count)>, Error> {
        totals(&mut *self.pool.acquire().await.map_err(unreadable)?).await
    }

    /// [`Ledger::released_lsn`] and [`Ledger::totals`] of one moment.
    pub(crate) async fn released(&self) -> Result<(u64, Vec<(String, Count)>), Error> {
        let mut transaction = self.pool.begin().await.map_err(unreadable)?;
        let lsn = released_lsn(&mut transaction).await?;
        let totals = totals(&mut transaction).await?;
        transaction.rollback().await.map_err(unreadable)?;
        Ok((lsn, totals))
    }

    /// Closes it: the WAL is checkpointed and truncated.
    ///
    /// # Errors
    /// If that fails.
    pub async fn close(self) -> Result<(), Error> {
        let outcome = if self.read_only {
            Ok(())
        } else {
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.pool).await.map(|_| ()).map_err(unwritable)
        };
        self.pool.close().await;
        outcome
    }

    pub(super) const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    async fn migrate(&self) -> Result<(), Error> {
        let done = self.version().await?;
        let Some(missing) = MIGRATIONS.get(done..) else {
            return Err(wrong_version(done));
        };
        for (version, migration) in (done + 1..).zip(missing) {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(unwritable)?;
            sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(unwritable)?;
            // A pragma takes no parameter; the number is ours.
            let stamp = AssertSqlSafe(format!("PRAGMA user_version = {version}"));
            sqlx::raw_sql(stamp).execute(&mut *transaction).await.map_err(unwritable)?;
            transaction.commit().await.map_err(unwritable)?;
        }
        Ok(())
    }

    async fn version(&self) -> Result<usize, Error> {
        let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&self.pool).await.map_err(unreadable)?;
        Ok(usize::try_from(version).unwrap_or(usize::MAX))
    }
}

/// Makes the file, or those that are there, their owner's alone: `SQLite` gives what it makes beside it the same mode.
fn close_to_others(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
        made => drop(made?),
    }
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        // By name: to close a file lets go of the locks that this process has on it.
        match std::fs::set_permissions(&name, Permissions::from_mode(0o600)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
    }
    Ok(())
}

async fn connect(path: &Path, options: SqliteConnectOptions) -> Result<SqlitePool, Error> {
    SqlitePoolOptions::new()
        .max_connections(3)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.filename(path).foreign_keys(true).busy_timeout(BUSY))
        .await
        .map_err(|why| failed(&format!("cannot open the ledger {}", path.display()), &why))
}

async fn released_lsn(connection: &mut SqliteConnection) -> Result<u64, Error> {
    let lsn: i64 =
        sqlx::query_scalar("SELECT released_lsn FROM watermark").fetch_one(connection).await.map_err(unreadable)?;
    Ok(lsn as u64)
}

async fn insert_statements(
    connection: &mut SqliteConnection,
    epoch: i64,
    statements: &[Statement],
) -> Result<(), Error> {
    for chunk in statements.chunks(ROWS_PER_INSERT) {
        let rows: Vec<_> = chunk.iter().map(statement_row).collect::<Result<_, _>>()?;
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT OR IGNORE INTO statements (ledger_id, sequence, hash, json, epoch, nonce) ",
        );
        insert.push_values(rows, |mut row, (ledger_id, sequence, hash, json)| {
            row.push_bind(ledger_id).push_bind(sequence).push_bind(hash).push_bind(json);
            // SQLite's generator is seeded by the system's.
            row.push_bind(epoch).push("randomblob(16)");
        });
        insert.build().execute(&mut *connection).await.map_err(unwritable)?;
    }
    Ok(())
}

fn statement_row(statement: &Statement) -> Result<(Vec<u8>, i64, Vec<u8>, String), Error> {
    let fault = |why: &dyn std::fmt::Display| {
        Error::new(Kind::Data, "a consent statement cannot be kept", why, "report this: it is a fault")
    };
    let ledger_id = hex::decode(&statement.ledger_id).ok_or_else(|| fault(&"its ledger id is not hex"))?;
    let hash = statement.hash().map_err(|why| fault(&why))?;
    let json = serde_json::to_string(statement).map_err(|why| fault(&why))?;
    Ok((ledger_id, statement.sequence, hash.as_bytes().to_vec(), json))
}

async fn insert_totals(connection: &mut SqliteConnection, counts: &[(String, Count)]) -> Result<(), Error> {
    let insert = "INSERT INTO totals (source, stream, purpose, account, records) VALUES (?, ?, ?, ?, ?) \
                  ON CONFLICT DO UPDATE SET records = records + excluded.records";
    insert_accounts(connection, insert, None, counts).await
}

/// Adds counts by a statement that takes the epoch, where it takes one, source, stream, purpose, account and records.
pub(super) async fn insert_accounts(
    connection: &mut SqliteConnection,
    insert: &'static str,
    epoch: Option<i64>,
    counts: &[(String, Count)],
) -> Result<(), Error> {
    let sums = super::sum(counts.iter().map(|(source, count)| (source.as_str(), count)));
    for (source, count) in sums {
        let accounts = [(OFFERED, count.offered), (STORED, count.stored)];
        let dropped = count.dropped.iter().map(|(reason, records)| (reason.name(), *records));
        for (account, records) in accounts.into_iter().chain(dropped) {
            let mut query = sqlx::query(insert);
            if let Some(epoch) = epoch {
                query = query.bind(epoch);
            }
            let query = query.bind(&source).bind(count.stream.as_deref().unwrap_or("")).bind(&count.purpose);
            query.bind(account).bind(records as i64).execute(&mut *connection).await.map_err(unwritable)?;
        }
    }
    Ok(())
}

async fn insert_repeats(connection: &mut SqliteConnection, repeats: &[(BatchDigest, i64, Reply)]) -> Result<(), Error> {
    for chunk in repeats.chunks(ROWS_PER_INSERT) {
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO repeats (digest, received_at, rejected, message) ");
        insert.push_values(chunk, |mut row, (digest, received_at, reply)| {
            row.push_bind(digest.0.to_vec()).push_bind(*received_at);
            row.push_bind(reply.rejected as i64).push_bind(reply.message.clone());
        });
        insert.build().execute(&mut *connection).await.map_err(unwritable)?;
    }
    Ok(())
}

async fn totals(connection: &mut SqliteConnection) -> Result<Vec<(String, Count)>, Error> {
    let rows = sqlx::query("SELECT source, stream, purpose, account, records FROM totals")
        .fetch_all(connection)
        .await
        .map_err(unreadable)?;
    let counts: Vec<(String, Count)> = rows.iter().map(account).collect::<Result<_, _>>()?;
    Ok(super::sum(counts.iter().map(|(source, count)| (source.as_str(), count))))
}

/// One line of the totals, as an account that holds nothing else.
pub(super) fn account(row: &SqliteRow) -> Result<(String, Count), Error> {
    let text = |column: usize| row.try_get::<String, _>(column).map_err(unreadable);
    let records = row.try_get::<i64, _>(4).map_err(unreadable)? as u64;
    let stream = Some(text(1)?).filter(|stream| !stream.is_empty());
    let mut count = Count { stream, purpose: text(2)?, offered: 0, stored: 0, dropped: BTreeMap::new() };
    let account = text(3)?;
    match account.as_str() {
        OFFERED => count.offered = records,
        STORED => count.stored = records,
        name => match Reason::ALL.into_iter().find(|reason| reason.name() == name) {
            Some(reason) => drop(count.dropped.insert(reason, records)),
            None => return Err(damaged(&format!("no reason is called {name:?}"))),
        },
    }
    Ok((text(0)?, count))
}

const OFFERED: &str = "offered";
const STORED: &str = "stored";

fn digest(row: &SqliteRow) -> Result<BatchDigest, Error> {
    let digest: &[u8] = row.try_get(0).map_err(unreadable)?;
    digest.try_into().map(BatchDigest).map_err(|_| damaged("a digest has not 16 bytes"))
}

/// What a client was told, in two columns from `at` on.
pub(super) fn reply_at(row: &SqliteRow, at: usize) -> Result<Reply, Error> {
    let rejected: i64 = row.try_get(at).map_err(unreadable)?;
    Ok(Reply { rejected: rejected as u64, message: row.try_get(at + 1).map_err(unreadable)? })
}

fn parse_statement(json: &str) -> Result<Statement, Error> {
    // The place alone: serde's text may quote what it read.
    serde_json::from_str(json)
        .map_err(|why| damaged(&format!("a statement ends to make sense at column {}", why.column())))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn unreadable(why: sqlx::Error) -> Error {
    failed("cannot read the ledger", &why)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn unwritable(why: sqlx::Error) -> Error {
    let error = failed("cannot write the ledger", &why);
    // Of a reading nothing hangs on what the page cache shows; of a writing everything later does.
    if error.kind() == Kind::Stop { error.blame_disk() } else { error }
}

pub(super) fn damaged(why: &str) -> Error {
    Error::new(Kind::Data, "the ledger is damaged", why, "restore ledger.db from a backup")
}

fn wrong_version(version: usize) -> Error {
    let why = format!("its format has version {version}, this program knows {}", MIGRATIONS.len());
    Error::new(
        Kind::Data,
        "cannot use the ledger",
        why,
        "use the version of candor that wrote it, or start its service once",
    )
}

/// What the caller can do follows from `SQLite`'s primary result code.
fn failed(what: &str, why: &sqlx::Error) -> Error {
    let code = why.as_database_error().and_then(DatabaseError::code).and_then(|code| code.parse::<i32>().ok());
    match code.map(|code| code & 0xff) {
        // BUSY and LOCKED; a pool without a free connection gives no code.
        Some(5 | 6) => Error::new(Kind::Retry, what, why, "another process writes to it: try again"),
        None if matches!(why, sqlx::Error::PoolTimedOut) => Error::new(Kind::Retry, what, why, "try again"),
        // FULL.
        Some(13) => Error::new(Kind::Retry, what, why, "free some disk space: it goes on by itself"),
        // IOERR: also a failed sync, after which nothing may be trusted.
        Some(10) => Error::new(Kind::Stop, what, why, "check the disk, then start again: nothing acknowledged is lost"),
        _ => Error::new(Kind::Data, what, why, "check the file's owner and mode, or restore ledger.db from a backup"),
    }
}

#[cfg(test)]
mod tests;
