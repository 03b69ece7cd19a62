//! Receipts of numbered batches: drafted with the batch, finished at the append, signed when they are durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use candor_policy::batch::Cleared;
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::identity::SubjectKey;
use candor_wire::merkle;
use candor_wire::receipt::{Proof, PurposeReceipt, Receipt, SignedReceipt, sign_group};
use candor_wire::row;

use crate::error::{Error, Kind};
use crate::reply::Reply;
use crate::segment::codec::receipt_json;
use crate::shared::lock;
use crate::signed::SignedBatch;
use crate::table::layout;

/// From receipt to sealed, at most, in µs: one hour.
const SEAL_WITHIN: i64 = 3_600_000_000;

/// The receipt of a batch as far as it is known before the append: running numbers of purposes are missing.
pub(crate) fn draft(cleared: &Cleared, batch: &SignedBatch) -> Result<Receipt, Error> {
    let (policy, catalogue) = cleared.digests();
    let mut purposes: BTreeMap<String, PurposeReceipt> = BTreeMap::new();
    for count in cleared.counts() {
        let purpose = purposes.entry(count.purpose.clone()).or_default();
        purpose.offered += count.offered;
        purpose.stored += count.stored;
        for (reason, records) in &count.dropped {
            *purpose.dropped.entry(reason.name().to_owned()).or_default() += records;
        }
    }
    for (name, hash) in row_hashes(cleared)? {
        purposes.entry(name.to_owned()).or_default().rows = Some(hex::encode(&hash));
    }
    Ok(Receipt {
        batch: batch.number,
        body: hex::encode(&batch.body),
        catalogue: catalogue.to_string(),
        checkpoint: None,
        consent: batch.consent,
        fleet: batch.fleet.to_string(),
        policy: policy.to_string(),
        purposes,
        received_at: cleared.received_at(),
        seal_by: cleared.received_at().saturating_add(SEAL_WITHIN),
        subject: hex::encode(batch.subject.as_bytes()),
    })
}

/// Purpose → hash of its rows, for purposes that have some.
fn row_hashes(cleared: &Cleared) -> Result<BTreeMap<&str, merkle::Hash>, Error> {
    let day = layout::day_of(cleared.received_at());
    let mut purposes: BTreeMap<&str, BTreeMap<&str, &RecordBatch>> = BTreeMap::new();
    for table in cleared.tables() {
        let streams = purposes.entry(&table.purpose_name).or_default();
        if streams.insert(&table.stream, &table.rows).is_some() {
            return Err(fault(&"a stream came in two parts"));
        }
    }
    let hash = |(name, streams)| Ok((name, row::hash_of_batches(&streams, day).map_err(|why| fault(&why))?));
    purposes.into_iter().map(hash).collect()
}

/// Receipts that are durable in a segment and not in the ledger yet.
#[derive(Debug, Default)]
pub(crate) struct RecentReceipts {
    by_batch: Mutex<ByBatch>,
}

/// (subject, number) → lsn and what its device gets; ordered, so that those of one subject are found without looking at others'.
type ByBatch = BTreeMap<(LedgerId, u64), (u64, Arc<Told>)>;

/// What a device is told of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The receipt as text: its maps would take three times as much.
    json: Box<str>,
    pub(crate) reply: Reply,
}

impl Told {
    /// `json` is what [`receipt_json`] made.
    pub(crate) fn new(json: String, reply: Reply) -> Self {
        Self { json: json.into(), reply }
    }

    pub(crate) fn receipt(&self) -> Result<Receipt, Error> {
        serde_json::from_str(&self.json).map_err(|why| fault(&why))
    }
}

impl RecentReceipts {
    pub(crate) fn push(&self, (subject, number): (LedgerId, u64), lsn: u64, told: Told) {
        lock(&self.by_batch).insert((subject, number), (lsn, Arc::new(told)));
    }

    pub(crate) fn of(&self, subject: &LedgerId, number: u64) -> Option<Arc<Told>> {
        lock(&self.by_batch).get(&(*subject, number)).map(|(_, told)| Arc::clone(told))
    }

    /// Those of a subject from a number on, in order.
    pub(crate) fn from(&self, subject: &LedgerId, from: u64) -> Vec<Arc<Told>> {
        let by_batch = lock(&self.by_batch);
        by_batch.range((*subject, from)..=(*subject, u64::MAX)).map(|(_, (_, told))| Arc::clone(told)).collect()
    }

    /// Forgets what the ledger has.
    pub(crate) fn forget_up_to(&self, lsn: u64) {
        lock(&self.by_batch).retain(|_, (at, _)| *at > lsn);
    }
}

/// Signs receipts that became durable together: a proof for each.
pub(crate) fn sign<'a>(key: &SubjectKey, jsons: impl Iterator<Item = &'a str>) -> Vec<Proof> {
    let leaves: Vec<merkle::Hash> = jsons.map(|json| merkle::leaf_hash(json.as_bytes())).collect();
    sign_group(key, &leaves)
}

/// A receipt of before, signed anew: a group of its own.
pub(crate) fn sign_again(key: &SubjectKey, receipt: Receipt) -> Result<SignedReceipt, Error> {
    let proof = sign(key, [receipt_json(&receipt)?.as_str()].into_iter()).pop();
    proof.map(|proof| SignedReceipt { receipt, proof }).ok_or_else(|| fault(&"a group of one has no proof"))
}

fn fault(why: &dyn std::fmt::Display) -> Error {
    Error::new(
        Kind::Stop,
        "a receipt cannot be made, so nothing is stored",
        why,
        "this is a fault of candor: report it",
    )
}
