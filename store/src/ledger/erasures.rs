//! The ledger of erasures: what was asked for and how far it is; tombstones; and taking a subject's own rows out.

use std::collections::HashSet;

use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::receipt::Receipt;
use candor_wire::statement::consent_leaf;
use candor_wire::sum_tree::Node;
use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::epochs::{CONSENTS, RECEIPTS};
use super::sqlite::{Ledger, damaged, unreadable, unwritable};
use crate::erase::tombstones::{Tombstone, TombstoneId};
use crate::error::{Error, Kind};

/// A ledger of more bytes is not written anew as a whole: it would be in memory twice.
const MOST_VACUUMED: i64 = 256 << 20;

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for its pass, or is in it.
    Open,
    /// Everything is gone but for what lies in the ledger's own log.
    Cleaning,
    /// Nothing is left.
    Done,
}

/// An erasure as the ledger has it.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) id: [u8; 16],
    /// The subject, while the erasure is open.
    pub(crate) subject: Option<LedgerId>,
    /// JSON.
    pub(crate) scope: String,
    pub(crate) requested_at: i64,
    pub(crate) deadline: i64,
    pub(crate) state: State,
    pub(crate) done_at: Option<i64>,
    /// RFC 8785 JSON of the certificate.
    pub(crate) certificate: Option<String>,
    /// Of the log.
    pub(crate) entry: Option<u64>,
    /// It was done before, and something came back with a backup: no certificate comes of it.
    pub(crate) is_again: bool,
}

const COLUMNS: &str = "id, ledger_id, scope, requested_at, deadline, state, done_at, certificate, entry, again";

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cleaning => "cleaning",
            Self::Done => "done",
        }
    }
}

impl Ledger {
    /// Keeps an erasure, and the tombstone that goes with it, durably.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn begin_erasure(
        &self,
        kept: &Kept,
        id: &TombstoneId,
        tombstone: Option<&Tombstone>,
    ) -> Result<(), Error> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(unwritable)?;
        sqlx::query(
            "INSERT INTO erasures (id, tombstone, ledger_id, scope, requested_at, deadline, state, again) \
             VALUES (?, ?, ?, ?, ?, ?, 'open', ?)",
        )
        .bind(kept.id.to_vec())
        .bind(id.to_vec())
        .bind(kept.subject.map(|subject| subject.as_bytes().to_vec()))
        .bind(kept.scope.clone())
        .bind(kept.requested_at)
        .bind(kept.deadline)
        .bind(kept.is_again)
        .execute(&mut *transaction)
        .await
        .map_err(unwritable)?;
        if let Some(tombstone) = tombstone {
            insert_tombstone(&mut transaction, tombstone).await?;
        }
        transaction.commit().await.map_err(unwritable)
    }

    /// The erasures of a subject, by its tombstone, oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn erasures_of(&self, id: &TombstoneId) -> Result<Vec<Kept>, Error> {
        self.erasures("SELECT {} FROM erasures WHERE tombstone = ? AND again = 0 ORDER BY requested_at, id", Some(id))
            .await
    }

    /// Whether anybody was ever erased, or asked to be.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn has_erasures(&self) -> Result<bool, Error> {
        let select = "SELECT EXISTS (SELECT 1 FROM erasures) OR EXISTS (SELECT 1 FROM tombstones)";
        sqlx::query_scalar(select).fetch_one(self.pool()).await.map_err(unreadable)
    }

    /// Whether a subject, by its tombstone, was erased, or asked to be.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn is_erased(&self, id: &TombstoneId) -> Result<bool, Error> {
        let select = "SELECT EXISTS (SELECT 1 FROM erasures WHERE tombstone = ?1) OR \
                      EXISTS (SELECT 1 FROM tombstones WHERE id = ?1)";
        sqlx::query_scalar(select).bind(id.to_vec()).fetch_one(self.pool()).await.map_err(unreadable)
    }

    /// The erasures that are to be done, oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn open_erasures(&self) -> Result<Vec<Kept>, Error> {
        self.erasures("SELECT {} FROM erasures WHERE state = 'open' ORDER BY requested_at, id", None).await
    }

    /// Ids of the tombstones whose erasures are open, hex.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn open_tombstones(&self) -> Result<HashSet<String>, Error> {
        let select = "SELECT lower(hex(tombstone)) FROM erasures WHERE state = 'open'";
        let ids: Vec<String> = sqlx::query_scalar(select).fetch_all(self.pool()).await.map_err(unreadable)?;
        Ok(ids.into_iter().collect())
    }

    /// The tombstone of a subject, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn tombstone(&self, id: &TombstoneId) -> Result<Option<Tombstone>, Error> {
        let select = sqlx::query_scalar("SELECT line FROM tombstones WHERE id = ?").bind(id.to_vec());
        let line: Option<String> = select.fetch_optional(self.pool()).await.map_err(unreadable)?;
        line.map(|line| serde_json::from_str(&line).map_err(|_| damaged("a tombstone makes no sense"))).transpose()
    }

    /// The tombstones of erasures that are open, by the ids of these.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn tombstones_of_open(&self) -> Result<Vec<([u8; 16], Tombstone)>, Error> {
        let select = "SELECT erasures.id, line FROM erasures JOIN tombstones ON tombstones.id = erasures.tombstone \
                      WHERE state = 'open' ORDER BY requested_at, erasures.id";
        let rows = sqlx::query(select).fetch_all(self.pool()).await.map_err(unreadable)?;
        let tombstone = |row: &SqliteRow| {
            let (id, line): (&[u8], &str) = (row.try_get(0).map_err(unreadable)?, row.try_get(1).map_err(unreadable)?);
            let id = id.try_into().map_err(|_| damaged("the id of an erasure has not 16 bytes"))?;
            Ok((id, serde_json::from_str(line).map_err(|_| damaged("a tombstone makes no sense"))?))
        };
        rows.iter().map(tombstone).collect()
    }

    async fn erasures(&self, select: &str, id: Option<&TombstoneId>) -> Result<Vec<Kept>, Error> {
        let select = sqlx::AssertSqlSafe(select.replace("{}", COLUMNS));
        let mut query = sqlx::query(select);
        if let Some(id) = id {
            query = query.bind(id.to_vec());
        }
        query.fetch_all(self.pool()).await.map_err(unreadable)?.iter().map(kept).collect()
    }

    /// Deadlines of those that are not done, and how many are.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn erasure_account(&self) -> Result<(Vec<i64>, u64), Error> {
        let open = "SELECT deadline FROM erasures WHERE state <> 'done'";
        let open = sqlx::query_scalar(open).fetch_all(self.pool()).await.map_err(unreadable)?;
        let done = "SELECT count(*) FROM erasures WHERE state = 'done' AND again = 0";
        let done: i64 = sqlx::query_scalar(done).fetch_one(self.pool()).await.map_err(unreadable)?;
        Ok((open, done as u64))
    }

    /// Keeps certificates, all or none.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) async fn keep_certificates(
        &self,
        certificates: &[([u8; 16], String)],
        done_at: i64,
    ) -> Result<(), Error> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(unwritable)?;
        for (id, certificate) in certificates {
            sqlx::query("UPDATE erasures SET certificate = ?, done_at = ? WHERE id = ?")
                .bind(certificate)
                .bind(done_at)
                .bind(id.to_vec())
                .execute(&mut *transaction)
                .await
                .map_err(unwritable)?;
        }
        transaction.commit().await.map_err(unwritable)
    }

    /// Ends erasures, and the job that did them if it is over: nothing names their subjects from then on but old bytes in files.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn end_erasures(
        &self,
        ids: &[[u8; 16]],
        entry: Option<u64>,
        job: Option<i64>,
        now: i64,
    ) -> Result<(), Error> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(unwritable)?;
        for id in ids {
            sqlx::query(
                "UPDATE erasures SET state = 'cleaning', ledger_id = NULL, entry = ?, done_at = coalesce(done_at, ?) \
                 WHERE id = ?",
            )
            .bind(entry.map(|entry| entry as i64))
            .bind(now)
            .bind(id.to_vec())
            .execute(&mut *transaction)
            .await
            .map_err(unwritable)?;
        }
        if let Some(job) = job {
            let end = sqlx::query("DELETE FROM jobs WHERE id = ?").bind(job);
            end.execute(&mut *transaction).await.map_err(unwritable)?;
        }
        transaction.commit().await.map_err(unwritable)
    }

    /// Removes old bytes from the ledger's files, and says that nothing is left of the erasures that waited for that.
    ///
    /// # Errors
    /// `Retry` while a reader holds the old bytes.
    pub(crate) async fn finish_erasures(&self) -> Result<(), Error> {
        let waiting = "SELECT EXISTS (SELECT 1 FROM erasures WHERE state = 'cleaning')";
        let waiting: bool = sqlx::query_scalar(waiting).fetch_one(self.pool()).await.map_err(unreadable)?;
        if !waiting {
            return Ok(());
        }
        // `secure_delete` overwrites what was deleted where it lay. Pages that were split or merged before may have older copies
        // in the room between their cells, and only this writes every page anew. The copy is made in memory (`temp_store`).
        let bytes = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let bytes: i64 = sqlx::query_scalar(bytes).fetch_one(self.pool()).await.map_err(unreadable)?;
        if bytes <= MOST_VACUUMED {
            sqlx::raw_sql("VACUUM").execute(self.pool()).await.map_err(unwritable)?;
        }
        self.truncate_wal().await?;
        let done = sqlx::query("UPDATE erasures SET state = 'done' WHERE state = 'cleaning'");
        done.execute(self.pool()).await.map(drop).map_err(unwritable)
    }

    /// Moves what is in the ledger's write-ahead log into its file, and empties it.
    ///
    /// # Errors
    /// `Retry` while a reader holds it.
    pub(crate) async fn truncate_wal(&self) -> Result<(), Error> {
        const TRIES: u32 = 20;
        for _ in 0..TRIES {
            let row =
                sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(self.pool()).await.map_err(unwritable)?;
            if row.try_get::<i64, _>(0).map_err(unwritable)? == 0 {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let why = "somebody reads from it all the time";
        Err(Error::new(Kind::Retry, "the ledger's own log cannot be emptied", why, "it is tried again by itself"))
    }

    /// Takes everything of subjects out of the ledger but their erasures. Of receipts and statements a bare leaf stays, so that
    /// the trees of their epochs have the roots that the log says.
    ///
    /// # Errors
    /// If it cannot be written; nothing is gone then.
    pub(crate) async fn erase_subjects(&self, subjects: &[LedgerId]) -> Result<(), Error> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(unwritable)?;
        for subject in subjects {
            let id = subject.as_bytes().to_vec();
            bare_receipts(&mut transaction, &id).await?;
            bare_statements(&mut transaction, &id).await?;
            for delete in [
                "DELETE FROM receipts WHERE ledger_id = ?",
                "DELETE FROM statements WHERE ledger_id = ?",
                "DELETE FROM numbers WHERE ledger_id = ?",
            ] {
                sqlx::query(delete).bind(id.clone()).execute(&mut *transaction).await.map_err(unwritable)?;
            }
        }
        transaction.commit().await.map_err(unwritable)
    }

    /// The tombstones that the ledger has.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn tombstones(&self) -> Result<Vec<Tombstone>, Error> {
        let lines: Vec<String> = sqlx::query_scalar("SELECT line FROM tombstones ORDER BY rowid")
            .fetch_all(self.pool())
            .await
            .map_err(unreadable)?;
        let parse = |line: &String| serde_json::from_str(line).map_err(|_| damaged("a tombstone makes no sense"));
        lines.iter().map(parse).collect()
    }

    /// Keeps tombstones that the ledger does not have.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) async fn keep_tombstones(&self, tombstones: &[Tombstone]) -> Result<(), Error> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(unwritable)?;
        for tombstone in tombstones {
            insert_tombstone(&mut transaction, tombstone).await?;
        }
        transaction.commit().await.map_err(unwritable)
    }

    /// Subjects of the ledger that `is_wanted` names: all of them are walked over.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn subjects_that(&self, is_wanted: impl Fn(&LedgerId) -> bool) -> Result<Vec<LedgerId>, Error> {
        let select = "SELECT ledger_id FROM statements UNION SELECT ledger_id FROM numbers UNION \
                      SELECT ledger_id FROM receipts";
        let mut rows = sqlx::query(select).fetch(self.pool());
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(unreadable)? {
            let id: &[u8] = row.try_get(0).map_err(unreadable)?;
            let id = id.try_into().map_err(|_| damaged("a ledger id has not 32 bytes"))?;
            found.extend(Some(LedgerId::from_bytes(id)).filter(&is_wanted));
        }
        Ok(found)
    }
}

async fn insert_tombstone(connection: &mut SqliteConnection, tombstone: &Tombstone) -> Result<(), Error> {
    let id = hex::decode(&tombstone.id).ok_or_else(|| damaged("a tombstone has no id"))?;
    let line = serde_json::to_string(tombstone).map_err(|_| damaged("a tombstone cannot be written"))?;
    sqlx::query("INSERT OR IGNORE INTO tombstones (id, line) VALUES (?, ?)")
        .bind(id)
        .bind(line)
        .execute(connection)
        .await
        .map(drop)
        .map_err(unwritable)
}

/// What came before epochs were is in no tree.
async fn bare_receipts(connection: &mut SqliteConnection, id: &[u8]) -> Result<(), Error> {
    let select = "SELECT epoch, receipt FROM receipts WHERE ledger_id = ? AND epoch > 0";
    let rows = sqlx::query(select).bind(id.to_vec()).fetch_all(&mut *connection).await.map_err(unreadable)?;
    for row in &rows {
        let json: &str = row.try_get(1).map_err(unreadable)?;
        let receipt: Receipt = serde_json::from_str(json).map_err(|_| damaged("a receipt makes no sense"))?;
        let node = Node::of_receipt(&receipt).map_err(|why| damaged(&why.to_string()))?;
        let sums = serde_json::to_string(&node.sums).map_err(|why| damaged(&why.to_string()))?;
        insert_leaf(connection, (epoch(row)?, RECEIPTS), &node.hash, &sums).await?;
    }
    Ok(())
}

async fn bare_statements(connection: &mut SqliteConnection, id: &[u8]) -> Result<(), Error> {
    let select = "SELECT epoch, nonce, hash FROM statements WHERE ledger_id = ? AND epoch > 0 AND nonce IS NOT NULL";
    let rows = sqlx::query(select).bind(id.to_vec()).fetch_all(&mut *connection).await.map_err(unreadable)?;
    for row in &rows {
        let (nonce, hash): (&[u8], &[u8]) = (row.try_get(1).map_err(unreadable)?, row.try_get(2).map_err(unreadable)?);
        let hash = hash.try_into().map_err(|_| damaged("the hash of a statement has not 32 bytes"))?;
        insert_leaf(connection, (epoch(row)?, CONSENTS), &consent_leaf(nonce, &hash), "").await?;
    }
    Ok(())
}

fn epoch(row: &SqliteRow) -> Result<i64, Error> {
    row.try_get(0).map_err(unreadable)
}

async fn insert_leaf(
    connection: &mut SqliteConnection,
    (epoch, tree): (i64, &str),
    hash: &[u8; 32],
    sums: &str,
) -> Result<(), Error> {
    sqlx::query("INSERT OR IGNORE INTO bare_leaves (epoch, tree, hash, sums) VALUES (?, ?, ?, ?)")
        .bind(epoch)
        .bind(tree)
        .bind(hash.to_vec())
        .bind(sums)
        .execute(connection)
        .await
        .map(drop)
        .map_err(unwritable)
}

fn kept(row: &SqliteRow) -> Result<Kept, Error> {
    let id: &[u8] = row.try_get(0).map_err(unreadable)?;
    let subject: Option<&[u8]> = row.try_get(1).map_err(unreadable)?;
    let subject = subject.map(|id| id.try_into().map(LedgerId::from_bytes));
    let state: &str = row.try_get(5).map_err(unreadable)?;
    let state = [State::Open, State::Cleaning, State::Done].into_iter().find(|known| known.name() == state);
    Ok(Kept {
        id: id.try_into().map_err(|_| damaged("the id of an erasure has not 16 bytes"))?,
        subject: subject.transpose().map_err(|_| damaged("a ledger id has not 32 bytes"))?,
        scope: row.try_get(2).map_err(unreadable)?,
        requested_at: row.try_get(3).map_err(unreadable)?,
        deadline: row.try_get(4).map_err(unreadable)?,
        state: state.ok_or_else(|| damaged("an erasure has no state that is known"))?,
        done_at: row.try_get(6).map_err(unreadable)?,
        certificate: row.try_get(7).map_err(unreadable)?,
        entry: row.try_get::<Option<i64>, _>(8).map_err(unreadable)?.map(|entry| entry as u64),
        is_again: row.try_get(9).map_err(unreadable)?,
    })
}
