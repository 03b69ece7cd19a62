//! The ledger of subjects that sign: numbers of batches, their receipts, and nonces.

use std::collections::{BTreeMap, BTreeSet};

use candor_policy::subject::LedgerId;
use candor_wire::receipt::Receipt;
use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::sqlite::{Ledger, ROWS_PER_INSERT, damaged, reply_at, unreadable, unwritable};
use crate::batches::Numbers;
use crate::error::{Error, Kind};
use crate::nonces::NonceUse;
use crate::reply::Reply;

/// By purpose: batches that stored rows for it.
type Stored = BTreeMap<String, u64>;

impl Ledger {
    /// The receipt of a subject's batch, with what the client was told.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn receipt(&self, subject: &LedgerId, number: u64) -> Result<Option<(Receipt, Reply)>, Error> {
        let select = "SELECT receipt, rejected, message FROM receipts WHERE ledger_id = ? AND number = ?";
        let query = sqlx::query(select).bind(subject.as_bytes().to_vec()).bind(number as i64);
        let row = query.fetch_optional(self.pool()).await.map_err(unreadable)?;
        row.map(|row| Ok((receipt(&row)?, reply_at(&row, 1)?))).transpose()
    }

    /// Receipts of a subject from a number on, `most` of them, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn receipts(&self, subject: &LedgerId, from: u64, most: usize) -> Result<Vec<Receipt>, Error> {
        let select = "SELECT receipt FROM receipts WHERE ledger_id = ? AND number >= ? ORDER BY number LIMIT ?";
        let query = sqlx::query(select).bind(subject.as_bytes().to_vec());
        let query = query.bind(i64::try_from(from).unwrap_or(i64::MAX)).bind(most as i64);
        let rows = query.fetch_all(self.pool()).await.map_err(unreadable)?;
        rows.iter().map(receipt).collect()
    }

    /// Hands over what was taken of each subject, one after another.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn each_numbered(&self, mut each: impl FnMut(LedgerId, Numbers, Stored)) -> Result<(), Error> {
        let mut rows = sqlx::query("SELECT ledger_id, highest, missing, stored FROM numbers").fetch(self.pool());
        while let Some(row) = rows.try_next().await.map_err(unreadable)? {
            let (numbers, stored) = numbers(&row, 1)?;
            each(subject(&row)?, numbers, stored);
        }
        Ok(())
    }

    /// Hands over each nonce that still counts at a second of the clock.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn each_nonce(&self, now: i64, mut each: impl FnMut(NonceUse)) -> Result<(), Error> {
        let mut rows = sqlx::query("SELECT id, expires FROM nonces WHERE expires >= ?").bind(now).fetch(self.pool());
        while let Some(row) = rows.try_next().await.map_err(unreadable)? {
            let id: &[u8] = row.try_get(0).map_err(unreadable)?;
            let id = id.try_into().map_err(|_| damaged("a nonce has not 16 bytes"))?;
            each(NonceUse { id, expires: row.try_get(1).map_err(unreadable)? });
        }
        Ok(())
    }

    /// Keeps a nonce.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn keep_nonce(&self, nonce: NonceUse) -> Result<(), Error> {
        let mut connection = self.pool().acquire().await.map_err(unwritable)?;
        let insert = sqlx::query("INSERT OR REPLACE INTO nonces (id, expires) VALUES (?, ?)");
        let insert = insert.bind(nonce.id.to_vec()).bind(nonce.expires);
        insert.execute(&mut *connection).await.map_err(unwritable)?;
        Ok(())
    }
}

/// Enters receipts in their order, and what they took.
pub(super) async fn insert_receipts(
    connection: &mut SqliteConnection,
    epoch: i64,
    receipts: &[(LedgerId, Receipt, Reply)],
) -> Result<(), Error> {
    let subjects: BTreeSet<LedgerId> = receipts.iter().map(|(subject, ..)| *subject).collect();
    let mut taken = numbers_of(connection, &subjects).await?;
    for (subject, receipt, _) in receipts {
        let (numbers, stored) = taken.entry(*subject).or_default();
        numbers.take(receipt.batch);
        let counted = receipt.purposes.iter().filter_map(|(name, purpose)| Some((name.clone(), purpose.batch?)));
        stored.extend(counted);
    }
    for chunk in receipts.chunks(ROWS_PER_INSERT) {
        let rows: Vec<_> = chunk.iter().map(receipt_row).collect::<Result<_, _>>()?;
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT OR IGNORE INTO receipts (ledger_id, number, receipt, rejected, message, epoch) ",
        );
        insert.push_values(rows, |mut row, (subject, number, json, reply)| {
            row.push_bind(subject).push_bind(number).push_bind(json);
            row.push_bind(reply.rejected as i64).push_bind(reply.message.clone()).push_bind(epoch);
        });
        insert.build().execute(&mut *connection).await.map_err(unwritable)?;
    }
    insert_numbers(connection, taken).await
}

/// Enters nonces, and forgets those that have expired.
pub(super) async fn insert_nonces(
    connection: &mut SqliteConnection,
    nonces: &[NonceUse],
    now: i64,
) -> Result<(), Error> {
    for chunk in nonces.chunks(ROWS_PER_INSERT) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO nonces (id, expires) ");
        insert.push_values(chunk, |mut row, nonce| {
            row.push_bind(nonce.id.to_vec()).push_bind(nonce.expires);
        });
        insert.build().execute(&mut *connection).await.map_err(unwritable)?;
    }
    let delete = sqlx::query("DELETE FROM nonces WHERE expires < ?").bind(now);
    delete.execute(&mut *connection).await.map_err(unwritable)?;
    Ok(())
}

fn receipt_row(
    (subject, receipt, reply): &(LedgerId, Receipt, Reply),
) -> Result<(Vec<u8>, i64, String, &Reply), Error> {
    let json = receipt.to_json().map_err(|why| fault(&why))?;
    Ok((subject.as_bytes().to_vec(), receipt.batch as i64, json, reply))
}

async fn insert_numbers(
    connection: &mut SqliteConnection,
    taken: BTreeMap<LedgerId, (Numbers, Stored)>,
) -> Result<(), Error> {
    let row = |(subject, (numbers, stored)): (LedgerId, (Numbers, Stored))| {
        let missing = serde_json::to_string(numbers.missing()).map_err(|why| fault(&why))?;
        let stored = serde_json::to_string(&stored).map_err(|why| fault(&why))?;
        Ok((subject.as_bytes().to_vec(), numbers.highest() as i64, missing, stored))
    };
    let rows: Vec<_> = taken.into_iter().map(row).collect::<Result<_, Error>>()?;
    for chunk in rows.chunks(ROWS_PER_INSERT) {
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT OR REPLACE INTO numbers (ledger_id, highest, missing, stored) ");
        insert.push_values(chunk, |mut row, (subject, highest, missing, stored)| {
            row.push_bind(subject.clone()).push_bind(*highest).push_bind(missing.clone()).push_bind(stored.clone());
        });
        insert.build().execute(&mut *connection).await.map_err(unwritable)?;
    }
    Ok(())
}

/// What was taken of these subjects so far; who has nothing is not there.
async fn numbers_of(
    connection: &mut SqliteConnection,
    subjects: &BTreeSet<LedgerId>,
) -> Result<BTreeMap<LedgerId, (Numbers, Stored)>, Error> {
    let subjects: Vec<&LedgerId> = subjects.iter().collect();
    let mut taken = BTreeMap::new();
    for chunk in subjects.chunks(ROWS_PER_INSERT) {
        let mut select =
            QueryBuilder::<Sqlite>::new("SELECT ledger_id, highest, missing, stored FROM numbers WHERE ledger_id IN (");
        let mut ids = select.separated(", ");
        for subject in chunk {
            ids.push_bind(subject.as_bytes().to_vec());
        }
        select.push(")");
        for row in select.build().fetch_all(&mut *connection).await.map_err(unreadable)? {
            taken.insert(subject(&row)?, numbers(&row, 1)?);
        }
    }
    Ok(taken)
}

fn subject(row: &SqliteRow) -> Result<LedgerId, Error> {
    let id: &[u8] = row.try_get(0).map_err(unreadable)?;
    id.try_into().map(LedgerId::from_bytes).map_err(|_| damaged("a ledger id has not 32 bytes"))
}

/// Highest, missing and stored of a row, from column `at` on.
fn numbers(row: &SqliteRow, at: usize) -> Result<(Numbers, Stored), Error> {
    let highest: i64 = row.try_get(at).map_err(unreadable)?;
    let (missing, stored): (&str, &str) =
        (row.try_get(at + 1).map_err(unreadable)?, row.try_get(at + 2).map_err(unreadable)?);
    let missing = serde_json::from_str(missing).ok().and_then(|missing| Numbers::new(highest as u64, missing));
    let stored = serde_json::from_str(stored).ok();
    missing.zip(stored).ok_or_else(|| damaged("numbers of batches make no sense"))
}

fn receipt(row: &SqliteRow) -> Result<Receipt, Error> {
    let json: &str = row.try_get(0).map_err(unreadable)?;
    serde_json::from_str(json).map_err(|_| damaged("a receipt makes no sense"))
}

fn fault(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Data, "a receipt cannot be kept", why, "report this: it is a fault")
}
