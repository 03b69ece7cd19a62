//! The ledger: consent statements, repeats, totals, documents and the watermark of released frames, in `SQLite`.

mod copy;
mod days;
mod documents;
mod epochs;
pub(crate) mod erasures;
pub(crate) mod jobs;
mod migrations;
mod numbered;
mod places;
mod sqlite;

use candor_policy::counts::Count;
use candor_policy::subject::LedgerId;
use candor_wire::receipt::Receipt;
use candor_wire::statement::Statement;

use crate::nonces::NonceUse;
use crate::reply::Reply;
use crate::store::BatchDigest;

pub use epochs::ClosedEpoch;
pub use sqlite::Ledger;

/// Everything that enters the ledger when frames up to an lsn are released, in one transaction.
#[derive(Debug, Default)]
pub struct Release {
    /// Highest lsn of the frames.
    pub up_to_lsn: u64,
    /// (source, account) of each batch frame.
    pub counts: Vec<(String, Count)>,
    /// (digest, time of receipt µs, what the client was told) of each batch frame.
    pub repeats: Vec<(BatchDigest, i64, Reply)>,
    /// Statements in the order of their lsn.
    pub statements: Vec<Statement>,
    /// Repeats received before this time (µs) are forgotten: the horizon.
    pub forget_before: i64,
    /// Receipts of numbered batches with their subjects and what the clients were told, in the order of their lsn.
    pub receipts: Vec<(LedgerId, Receipt, Reply)>,
    /// Nonces that were used by them and still count.
    pub nonces: Vec<NonceUse>,
    /// Second of the clock: nonces that expired before it are forgotten.
    pub now: i64,
    /// The clock at the release, µs: an epoch that this opens begins then.
    pub released_at: i64,
}

/// Sums accounts of the same (source, stream, purpose), in order.
pub(crate) fn sum<'a>(counts: impl IntoIterator<Item = (&'a str, &'a Count)>) -> Vec<(String, Count)> {
    let mut sums: std::collections::BTreeMap<(&str, Option<&str>, &str), Count> = std::collections::BTreeMap::new();
    for (source, count) in counts {
        let total = sums.entry((source, count.stream.as_deref(), &count.purpose)).or_insert_with(|| Count {
            stream: count.stream.clone(),
            purpose: count.purpose.clone(),
            offered: 0,
            stored: 0,
            dropped: std::collections::BTreeMap::new(),
        });
        total.offered += count.offered;
        total.stored += count.stored;
        for (reason, records) in &count.dropped {
            *total.dropped.entry(*reason).or_default() += records;
        }
    }
    sums.into_iter().map(|((source, _, _), count)| (source.to_owned(), count)).collect()
}
