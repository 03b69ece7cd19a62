//! Where a subject's receipts and statements are in the trees of closed epochs: what shows it that they are counted.

use std::collections::BTreeMap;

use candor_policy::subject::LedgerId;
use candor_wire::log::entry::Sha256Hex;
use candor_wire::merkle;
use candor_wire::receipt::Receipt;
use candor_wire::statement::consent_leaf;
use candor_wire::sum_tree::{self, Node};
use candor_wire::verify::{InEpoch, StatementEvidence};
use sqlx::Row;

use super::sqlite::{Ledger, damaged, unreadable};
use crate::error::Error;

/// What is asked of one epoch: its receipts, and which of those that were given they are.
type Asked<'a> = BTreeMap<u64, Vec<(usize, &'a Receipt)>>;

impl Ledger {
    /// Where a subject's statements are in the trees of the epochs up to `last`, the newest that the log has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn statement_places(&self, subject: &LedgerId, last: u64) -> Result<Vec<StatementEvidence>, Error> {
        let select = "SELECT epoch, nonce, hash FROM statements \
                      WHERE ledger_id = ? AND nonce IS NOT NULL AND epoch BETWEEN 1 AND ? ORDER BY epoch, sequence";
        let query = sqlx::query(select).bind(subject.as_bytes().to_vec()).bind(i64::try_from(last).unwrap_or(i64::MAX));
        let mut places = Vec::new();
        let mut tree: Option<(u64, Vec<merkle::Hash>)> = None;
        for row in query.fetch_all(self.pool()).await.map_err(unreadable)? {
            let epoch = row.try_get::<i64, _>(0).map_err(unreadable)? as u64;
            let (nonce, hash): (&[u8], &[u8]) =
                (row.try_get(1).map_err(unreadable)?, row.try_get(2).map_err(unreadable)?);
            let hash: merkle::Hash =
                hash.try_into().map_err(|_| damaged("the hash of a statement has not 32 bytes"))?;
            let leaf = consent_leaf(nonce, &hash);
            let leaves = match tree.take() {
                Some((of, leaves)) if of == epoch => leaves,
                _ => self.consent_leaves(epoch).await?,
            };
            if let Ok(index) = leaves.binary_search(&leaf) {
                let path = merkle::path(&leaves, index).into_iter().map(Sha256Hex).collect();
                let (statement, nonce, index) = (Sha256Hex(hash), nonce.to_vec(), index as u64);
                places.push(StatementEvidence { statement, epoch, nonce, index, path });
            }
            tree = Some((epoch, leaves));
        }
        Ok(places)
    }

    /// Where these receipts of a subject are in the totals of the epochs up to `last`, the newest that the log has; none for one
    /// whose epoch is open.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn receipt_places(
        &self,
        subject: &LedgerId,
        receipts: &[Receipt],
        last: u64,
    ) -> Result<Vec<Option<InEpoch>>, Error> {
        let mut places = vec![None; receipts.len()];
        let (Some(first), Some(newest)) = (receipts.first(), receipts.last()) else { return Ok(places) };
        let select = "SELECT number, epoch FROM receipts \
                      WHERE ledger_id = ? AND number BETWEEN ? AND ? AND epoch BETWEEN 1 AND ?";
        let query = sqlx::query(select)
            .bind(subject.as_bytes().to_vec())
            .bind(first.batch as i64)
            .bind(newest.batch as i64)
            .bind(i64::try_from(last).unwrap_or(i64::MAX));
        let mut asked: Asked<'_> = BTreeMap::new();
        for row in query.fetch_all(self.pool()).await.map_err(unreadable)? {
            let (number, epoch): (i64, i64) =
                (row.try_get(0).map_err(unreadable)?, row.try_get(1).map_err(unreadable)?);
            if let Ok(at) = receipts.binary_search_by_key(&(number as u64), |receipt| receipt.batch) {
                asked.entry(epoch as u64).or_default().push((at, &receipts[at]));
            }
        }
        for (epoch, of_epoch) in asked {
            let leaves = self.receipt_nodes(epoch).await?;
            for (at, path) in paths(&leaves, &of_epoch)? {
                places[at] = Some(InEpoch { epoch, path });
            }
        }
        Ok(places)
    }
}

fn paths(leaves: &[Node], receipts: &[(usize, &Receipt)]) -> Result<Vec<(usize, sum_tree::SumPath)>, Error> {
    let too_much = |why: sum_tree::TooMuch| damaged(&why.to_string());
    let mut wanted = Vec::with_capacity(receipts.len());
    for (at, receipt) in receipts {
        let leaf = Node::of_receipt(receipt).map_err(too_much)?;
        // What the tree does not have has no path: whoever checks it sees that.
        if let Ok(index) = leaves.binary_search_by(|other| other.hash.cmp(&leaf.hash)) {
            wanted.push((*at, index));
        }
    }
    let indices: Vec<usize> = wanted.iter().map(|(_, index)| *index).collect();
    let paths = sum_tree::paths(leaves, &indices).map_err(too_much)?;
    Ok(wanted.into_iter().map(|(at, _)| at).zip(paths).collect())
}
