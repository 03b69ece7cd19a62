//! The ledger of epochs: which counts, receipts and statements belong to which epoch of the log.
//!
//! What a release enters belongs to the epoch that is open then. A closed epoch never changes, except that an erasure turns a
//! receipt or a statement into its bare leaf.

use std::collections::BTreeMap;

use candor_policy::counts::Count;
use candor_wire::merkle::Hash;
use candor_wire::receipt::Receipt;
use candor_wire::statement::consent_leaf;
use candor_wire::sum_tree::{self, Node};
use candor_wire::totals::{Cell, Opened};
use futures::TryStreamExt;
use ring::rand::{SecureRandom, SystemRandom};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::sqlite::{Ledger, account, damaged, insert_accounts, unreadable, unwritable};
use crate::error::{Error, Kind};

/// Which tree of an epoch a bare leaf belongs to.
pub(super) const RECEIPTS: &str = "receipts";
pub(super) const CONSENTS: &str = "consents";

/// An epoch that nothing is added to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedEpoch {
    /// From 1.
    pub number: u64,
    /// µs UTC.
    pub from: i64,
    /// µs UTC.
    pub to: i64,
    nonce: Hash,
}

/// A leaf of the tree of receipts as it is sorted and kept: its sums as JSON take a third of what they take as maps.
type KeptLeaf = (Hash, Box<str>);

impl Ledger {
    /// Closes the open epoch and opens the next, if it is older than `length` (µs) and holds anything; whether it did.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn close_epoch(&self, now: i64, length: i64) -> Result<bool, Error> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(unwritable)?;
        let (number, opened_at) = open_epoch(&mut transaction, now).await?;
        let elapsed = now.saturating_sub(opened_at);
        // A clock that went back says nothing about how long it was: it may have been long enough.
        let is_due = elapsed >= length || elapsed < 0;
        if !is_due || !holds_anything(&mut transaction, number).await? {
            transaction.rollback().await.map_err(unwritable)?;
            return Ok(false);
        }
        sqlx::query("UPDATE epochs SET closed_at = ?, nonce = ? WHERE number = ?")
            .bind(now)
            .bind(random()?.to_vec())
            .bind(number)
            .execute(&mut *transaction)
            .await
            .map_err(unwritable)?;
        insert_epoch(&mut transaction, number + 1, now).await?;
        transaction.commit().await.map_err(unwritable)?;
        Ok(true)
    }

    /// Makes sure that the open epoch comes after `logged`, the last one that the log has: a ledger that was restored from a backup
    /// would add to one whose totals are signed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn open_epoch_after(&self, logged: u64, now: i64) -> Result<(), Error> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(unwritable)?;
        let (number, _) = open_epoch(&mut transaction, now).await?;
        let logged = i64::try_from(logged).unwrap_or(i64::MAX - 1);
        if number > logged {
            return transaction.rollback().await.map_err(unwritable);
        }
        insert_epoch(&mut transaction, logged + 1, now).await?;
        transaction.commit().await.map_err(unwritable)
    }

    /// The closed epochs above a number, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn closed_epochs(&self, above: u64) -> Result<Vec<ClosedEpoch>, Error> {
        let select = "SELECT number, opened_at, closed_at, nonce FROM epochs WHERE number > ? AND closed_at IS NOT NULL ORDER BY number";
        let query = sqlx::query(select).bind(i64::try_from(above).unwrap_or(i64::MAX));
        query.fetch_all(self.pool()).await.map_err(unreadable)?.iter().map(closed).collect()
    }

    /// Every cell of an epoch, with what opens the digest in the log.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn opened(&self, epoch: &ClosedEpoch) -> Result<Opened, Error> {
        let select = "SELECT source, stream, purpose, account, records FROM epoch_totals WHERE epoch = ?";
        let rows = sqlx::query(select).bind(epoch.number as i64).fetch_all(self.pool()).await.map_err(unreadable)?;
        let counts: Vec<(String, Count)> = rows.iter().map(account).collect::<Result<_, _>>()?;
        let sums = super::sum(counts.iter().map(|(source, count)| (source.as_str(), count)));
        let mut cells: Vec<Cell> = sums.into_iter().map(|(source, count)| cell(source, count)).collect();
        cells.sort_unstable();
        Ok(Opened { epoch: epoch.number, cells, nonce: epoch.nonce })
    }

    /// Root of the tree over an epoch's receipts, and how many they are.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn receipts_root(&self, epoch: &ClosedEpoch) -> Result<(Node, u64), Error> {
        let leaves = self.receipt_leaves(epoch.number).await?;
        let size = leaves.len() as u64;
        let nodes = leaves.into_iter().map(|leaf| node(&leaf).map_err(|_| sum_tree::TooMuch));
        let root = sum_tree::root(nodes).map_err(|why| damaged(&why.to_string()))?;
        Ok((root, size))
    }

    /// The leaves of an epoch's receipts, in the order in which they are in the tree.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn receipt_nodes(&self, epoch: u64) -> Result<Vec<Node>, Error> {
        self.receipt_leaves(epoch).await?.iter().map(node).collect()
    }

    async fn receipt_leaves(&self, epoch: u64) -> Result<Vec<KeptLeaf>, Error> {
        let mut leaves = Vec::new();
        let mut rows = sqlx::query_scalar::<_, String>("SELECT receipt FROM receipts WHERE epoch = ?")
            .bind(epoch as i64)
            .fetch(self.pool());
        while let Some(json) = rows.try_next().await.map_err(unreadable)? {
            let receipt: Receipt = serde_json::from_str(&json).map_err(|_| damaged("a receipt does not make sense"))?;
            let node = Node::of_receipt(&receipt).map_err(|why| damaged(&why.to_string()))?;
            let sums = serde_json::to_string(&node.sums).map_err(|why| damaged(&why.to_string()))?;
            leaves.push((node.hash, sums.into()));
        }
        drop(rows);
        for (hash, sums) in self.bare_leaves(epoch, RECEIPTS).await? {
            leaves.push((hash, sums.into()));
        }
        leaves.sort_unstable();
        Ok(leaves)
    }

    /// The leaf hashes of an epoch's consent statements, in the order in which they are in the tree.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn consent_leaves(&self, epoch: u64) -> Result<Vec<Hash>, Error> {
        let mut leaves = Vec::new();
        let select = "SELECT nonce, hash FROM statements WHERE epoch = ? AND nonce IS NOT NULL";
        let mut rows = sqlx::query(select).bind(epoch as i64).fetch(self.pool());
        while let Some(row) = rows.try_next().await.map_err(unreadable)? {
            let (nonce, hash): (&[u8], &[u8]) =
                (row.try_get(0).map_err(unreadable)?, row.try_get(1).map_err(unreadable)?);
            let hash: Hash = hash.try_into().map_err(|_| damaged("the hash of a statement has not 32 bytes"))?;
            leaves.push(consent_leaf(nonce, &hash));
        }
        drop(rows);
        leaves.extend(self.bare_leaves(epoch, CONSENTS).await?.into_iter().map(|(hash, _)| hash));
        leaves.sort_unstable();
        Ok(leaves)
    }

    async fn bare_leaves(&self, epoch: u64, tree: &str) -> Result<Vec<(Hash, String)>, Error> {
        let select = "SELECT hash, sums FROM bare_leaves WHERE epoch = ? AND tree = ?";
        let query = sqlx::query(select).bind(epoch as i64).bind(tree);
        let rows = query.fetch_all(self.pool()).await.map_err(unreadable)?;
        let leaf = |row: &SqliteRow| Ok((hash_at(row, 0)?, row.try_get(1).map_err(unreadable)?));
        rows.iter().map(leaf).collect()
    }
}

/// Number and start of the open epoch, made if there is none.
pub(super) async fn open_epoch(connection: &mut SqliteConnection, now: i64) -> Result<(i64, i64), Error> {
    let newest = "SELECT number, opened_at FROM epochs WHERE closed_at IS NULL ORDER BY number DESC LIMIT 1";
    if let Some(row) = sqlx::query(newest).fetch_optional(&mut *connection).await.map_err(unreadable)? {
        return Ok((row.try_get(0).map_err(unreadable)?, row.try_get(1).map_err(unreadable)?));
    }
    insert_epoch(connection, 1, now).await?;
    Ok((1, now))
}

/// Adds counts to the totals of an epoch.
pub(super) async fn insert_epoch_totals(
    connection: &mut SqliteConnection,
    epoch: i64,
    counts: &[(String, Count)],
) -> Result<(), Error> {
    let insert = "INSERT INTO epoch_totals (epoch, source, stream, purpose, account, records) VALUES (?, ?, ?, ?, ?, ?) \
                  ON CONFLICT DO UPDATE SET records = records + excluded.records";
    insert_accounts(connection, insert, Some(epoch), counts).await
}

async fn insert_epoch(connection: &mut SqliteConnection, number: i64, now: i64) -> Result<(), Error> {
    let insert = sqlx::query("INSERT INTO epochs (number, opened_at) VALUES (?, ?)").bind(number).bind(now);
    insert.execute(connection).await.map_err(unwritable)?;
    Ok(())
}

async fn holds_anything(connection: &mut SqliteConnection, epoch: i64) -> Result<bool, Error> {
    let select = "SELECT EXISTS (SELECT 1 FROM epoch_totals WHERE epoch = ?1) OR EXISTS (SELECT 1 FROM statements WHERE epoch = ?1)";
    sqlx::query_scalar(select).bind(epoch).fetch_one(connection).await.map_err(unreadable)
}

fn closed(row: &SqliteRow) -> Result<ClosedEpoch, Error> {
    let number: i64 = row.try_get(0).map_err(unreadable)?;
    let (from, to) = (row.try_get(1).map_err(unreadable)?, row.try_get(2).map_err(unreadable)?);
    Ok(ClosedEpoch { number: number as u64, from, to, nonce: hash_at(row, 3)? })
}

fn hash_at(row: &SqliteRow, column: usize) -> Result<Hash, Error> {
    let bytes: &[u8] = row.try_get(column).map_err(unreadable)?;
    bytes.try_into().map_err(|_| damaged("a hash or a nonce has not 32 bytes"))
}

fn node((hash, sums): &KeptLeaf) -> Result<Node, Error> {
    let sums = serde_json::from_str(sums).map_err(|_| damaged("the sums of a receipt do not make sense"))?;
    Ok(Node { hash: *hash, sums })
}

fn cell(source: String, count: Count) -> Cell {
    let dropped: BTreeMap<String, u64> =
        count.dropped.into_iter().map(|(reason, records)| (reason.name().to_owned(), records)).collect();
    Cell {
        source,
        stream: count.stream.unwrap_or_default(),
        purpose: count.purpose,
        dropped,
        offered: count.offered,
        stored: count.stored,
    }
}

fn random() -> Result<Hash, Error> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        let why = "the system gave no random numbers";
        Error::new(
            Kind::Retry,
            "an epoch of the log cannot be closed",
            why,
            "check that the process may call getrandom",
        )
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use candor_policy::reason::Reason;
    use candor_wire::receipt::PurposeReceipt;
    use candor_wire::statement::{Assertion, Notice, Statement};

    use super::*;
    use crate::ledger::Release;
    use crate::reply::Reply;
    use candor_policy::subject::LedgerId;

    const HOUR: i64 = 3_600_000_000;

    fn count(offered: u64, dropped: u64) -> (String, Count) {
        let reasons = (dropped > 0).then_some((Reason::NoConsent, dropped)).into_iter().collect();
        let (stream, purpose) = (Some("phone.app".to_owned()), "analytics".to_owned());
        ("phones".to_owned(), Count { stream, purpose, offered, stored: offered - dropped, dropped: reasons })
    }

    fn receipt(batch: u64, offered: u64) -> (LedgerId, Receipt, Reply) {
        let purpose = PurposeReceipt { offered, stored: offered, ..PurposeReceipt::default() };
        let receipt = Receipt {
            batch,
            body: String::new(),
            catalogue: String::new(),
            checkpoint: None,
            consent: None,
            fleet: "acme-fleet".to_owned(),
            policy: String::new(),
            purposes: [("analytics".to_owned(), purpose)].into(),
            received_at: 5,
            seal_by: 6,
            subject: String::new(),
        };
        (LedgerId::from_bytes([1; 32]), receipt, Reply::default())
    }

    fn release(up_to_lsn: u64, offered: u64) -> Release {
        let (counts, receipts) = (vec![count(offered, 1)], vec![receipt(up_to_lsn, offered)]);
        Release { up_to_lsn, counts, receipts, ..Release::default() }
    }

    async fn ledger(folder: &tempfile::TempDir) -> Ledger {
        Ledger::open(&folder.path().join("ledger.db")).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_epoch_holds_what_was_released_while_it_was_open() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder).await;
        assert!(!ledger.close_epoch(5 * HOUR, HOUR).await.unwrap(), "nothing is in it");
        ledger.release(&release(1, 10)).await.unwrap();
        ledger.release(&release(2, 20)).await.unwrap();
        assert!(!ledger.close_epoch(HOUR - 1, HOUR).await.unwrap());
        assert!(ledger.close_epoch(HOUR, HOUR).await.unwrap());
        assert!(!ledger.close_epoch(9 * HOUR, HOUR).await.unwrap());
        ledger.release(&release(3, 40)).await.unwrap();
        assert!(ledger.close_epoch(9 * HOUR, HOUR).await.unwrap());

        let closed = ledger.closed_epochs(0).await.unwrap();
        assert_eq!(
            closed.iter().map(|epoch| (epoch.number, epoch.from, epoch.to)).collect::<Vec<_>>(),
            [(1, 0, HOUR), (2, HOUR, 9 * HOUR)]
        );
        assert_ne!(closed[0].nonce, closed[1].nonce);
        assert_eq!(ledger.closed_epochs(1).await.unwrap(), closed[1..]);
        let (first, second) = (ledger.opened(&closed[0]).await.unwrap(), ledger.opened(&closed[1]).await.unwrap());
        assert_eq!((first.cells[0].offered, first.cells[0].dropped["no_consent"]), (30, 2));
        assert_eq!((second.cells[0].offered, second.cells[0].stored), (40, 39));
        let (root, size) = ledger.receipts_root(&closed[0]).await.unwrap();
        assert_eq!((root.sums.purpose("analytics").unwrap().offered, size), (30, 2));
        let nodes = ledger.receipt_nodes(1).await.unwrap();
        let path = sum_tree::path(&nodes, 1).unwrap().unwrap();
        assert_eq!(path.root(&nodes[1]), Some(root));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_restored_ledger_never_adds_to_an_epoch_that_is_logged() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder).await;
        ledger.release(&release(1, 10)).await.unwrap();
        ledger.open_epoch_after(0, 7).await.unwrap();
        ledger.open_epoch_after(4, 7).await.unwrap();
        ledger.release(&release(2, 20)).await.unwrap();
        assert!(ledger.close_epoch(7 + HOUR, HOUR).await.unwrap());
        let closed = ledger.closed_epochs(0).await.unwrap();
        assert_eq!(closed.iter().map(|epoch| epoch.number).collect::<Vec<_>>(), [5]);
        assert_eq!(ledger.opened(&closed[0]).await.unwrap().cells[0].offered, 20);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn statements_are_leaves_that_nobody_can_guess() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder).await;
        let statement = |sequence| Statement {
            ledger_id: "01".repeat(32),
            sequence,
            previous: "00".repeat(32),
            purposes: BTreeMap::new(),
            notice: Notice { version: "1".to_owned(), language: "en".to_owned() },
            age_from: None,
            expires: None,
            granted_at: None,
            received_at: "2026-01-31T12:00:00Z".to_owned(),
            asserted_by: Assertion::Controller,
            source: "backend".to_owned(),
            signed: None,
        };
        let release = Release { up_to_lsn: 1, statements: vec![statement(1), statement(2)], ..Release::default() };
        ledger.release(&release).await.unwrap();
        assert!(ledger.close_epoch(HOUR, HOUR).await.unwrap());
        let leaves = ledger.consent_leaves(1).await.unwrap();
        assert_eq!(leaves.len(), 2);
        assert!(leaves[0] < leaves[1]);
        let hash = *statement(1).hash().unwrap().as_bytes();
        assert!(!leaves.contains(&consent_leaf(&[0; 16], &hash)));
    }
}
