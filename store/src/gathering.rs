//! Receipts of durable batches wait a moment for batches that are on their way, so that one signature serves them all.
//!
//! A signature costs as much as clearing a few dozen events, and a proof in a group of eight 96 bytes. Whoever is alone waits for
//! nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use candor_wire::merkle;
use candor_wire::receipt::{Receipt, SignedReceipt, sign_group};
use tokio::sync::oneshot;

use crate::queue::BatchAnswer;
use crate::shared::Shared;

/// How long the first of a group waits at most: some 5,000 events' clearing, and less than a network's delay.
const PATIENCE: Duration = Duration::from_millis(5);
/// Most receipts of a group: their proofs have ten hashes.
const MOST: usize = 1_024;

/// Counts numbered batches that are on their way to the appender.
#[derive(Debug, Default)]
pub(crate) struct Announcements(Arc<AtomicUsize>);

/// A numbered batch that is being decoded and cleared: receipts may wait for it until this is dropped.
#[derive(Debug)]
#[must_use = "a batch that is not announced has a signature of its own"]
pub struct Announced(Arc<AtomicUsize>);

impl Announcements {
    /// One more.
    pub(crate) fn announce(&self) -> Announced {
        self.0.fetch_add(1, Ordering::Relaxed);
        Announced(Arc::clone(&self.0))
    }

    /// Whether any batch is on its way.
    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Receipts that are durable and not signed.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    receipts: Vec<Gathered>,
    /// When the first of them came.
    since: Option<Instant>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) receipt: Receipt,
    /// Hash of the bytes that its batch's frame has of it.
    pub(crate) leaf: merkle::Hash,
    pub(crate) answer: oneshot::Sender<BatchAnswer>,
}

impl Gathering {
    pub(crate) fn push(&mut self, receipt: Gathered) {
        self.since.get_or_insert_with(Instant::now);
        self.receipts.push(receipt);
    }

    /// Whether nobody is to be waited for any more.
    pub(crate) fn is_due(&self, announcements: &Announcements) -> bool {
        self.receipts.len() >= MOST || !announcements.any() || self.patience().is_some_and(|left| left.is_zero())
    }

    /// How long they wait still; none if there are none.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.since.map(|since| PATIENCE.saturating_sub(since.elapsed()))
    }

    /// One signature for all of them.
    pub(crate) fn sign(&mut self, shared: &Shared) {
        let receipts = std::mem::take(&mut self.receipts);
        self.since = None;
        let Some(key) = shared.receipt_key().filter(|_| !receipts.is_empty()) else { return };
        let leaves: Vec<merkle::Hash> = receipts.iter().map(|gathered| gathered.leaf).collect();
        for (Gathered { receipt, answer, .. }, proof) in receipts.into_iter().zip(sign_group(&key, &leaves)) {
            let _ = answer.send(BatchAnswer::Durable(Some(Box::new(SignedReceipt { receipt, proof }))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::testing;

    fn gathered() -> Gathered {
        Gathered { receipt: testing::receipt(1, 1), leaf: [0; 32], answer: oneshot::channel().0 }
    }

    #[test]
    fn whoever_is_alone_waits_for_nobody_and_nobody_waits_for_long() {
        let (announcements, mut gathering) = (Announcements::default(), Gathering::default());
        assert_eq!(gathering.patience(), None);
        gathering.push(gathered());
        assert!(gathering.is_due(&announcements));

        let (one, other) = (announcements.announce(), announcements.announce());
        drop(one);
        assert!(!gathering.is_due(&announcements), "one is on its way");
        gathering.since = Instant::now().checked_sub(PATIENCE);
        assert!(gathering.is_due(&announcements), "it did not come in time");
        gathering.since = Some(Instant::now() + PATIENCE);
        assert!(!gathering.is_due(&announcements));
        drop(other);
        assert!(gathering.is_due(&announcements), "it came, or will not");
    }

    #[test]
    fn a_group_has_a_limit() {
        let (announcements, mut gathering) = (Announcements::default(), Gathering::default());
        let _one = announcements.announce();
        for _ in 1..MOST {
            gathering.push(gathered());
        }
        gathering.since = Some(Instant::now() + PATIENCE);
        assert!(!gathering.is_due(&announcements));
        gathering.push(gathered());
        assert!(gathering.is_due(&announcements));
    }
}
