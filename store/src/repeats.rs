//! Exactly once: which requests are durable already, and which are on their way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use tokio::sync::watch;

use crate::reply::Reply;
use crate::store::BatchDigest;

type Shard = HashMap<[u8; 16], Entry, foldhash::fast::FixedState>;

const SHARDS: usize = 64;

/// Digest → what the client was told. Digests are keyed, so nobody outside can make them collide.
#[derive(Debug)]
pub(crate) struct Repeats {
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug)]
enum Entry {
    /// Durable since this second; most replies are plain success, and take no room of their own.
    Durable { second: u32, reply: Option<Box<Reply>> },
    /// Somebody is appending it; the channel closes when that has come to an end.
    Claimed(watch::Receiver<()>),
}

/// The right to append one request, held by one task at a time. Dropping it lets the next one try.
#[derive(Debug)]
pub(crate) struct Claim {
    repeats: Arc<Repeats>,
    digest: BatchDigest,
    kept: bool,
    _ended: watch::Sender<()>,
}

/// What [`Repeats::claim`] found.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// Nobody else has it.
    Ours(Claim),
    /// It is durable; this is what the client was told.
    Known(Reply),
}

impl Repeats {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect() }
    }

    /// What the request was told, if it is durable.
    pub(crate) fn known(&self, digest: &BatchDigest) -> Option<Reply> {
        match self.shard(digest).get(&digest.0) {
            Some(Entry::Durable { reply, .. }) => Some(reply.as_deref().cloned().unwrap_or_default()),
            _ => None,
        }
    }

    /// Claims a request, or waits for whoever has it: the second of two waits for the first one's sync.
    pub(crate) async fn claim(self: &Arc<Self>, digest: BatchDigest) -> Claimed {
        loop {
            let mut ended = match self.try_claim(digest) {
                Ok(claimed) => return claimed,
                Err(ended) => ended,
            };
            // Nothing is ever sent: this returns when the claim is gone, whatever became of it.
            let _ = ended.changed().await;
        }
    }

    /// Enters a request that was durable before this start.
    pub(crate) fn insert(&self, digest: BatchDigest, received_at: i64, reply: Reply) {
        let reply = (reply != Reply::default()).then(|| Box::new(reply));
        self.shard(&digest).insert(digest.0, Entry::Durable { second: second(received_at), reply });
    }

    /// Forgets what was received before `time` (µs).
    pub(crate) fn forget_before(&self, time: i64) {
        let horizon = second(time);
        for shard in &self.shards {
            lock(shard).retain(|_, entry| match entry {
                Entry::Durable { second, .. } => *second >= horizon,
                Entry::Claimed(_) => true,
            });
        }
    }

    fn try_claim(self: &Arc<Self>, digest: BatchDigest) -> Result<Claimed, watch::Receiver<()>> {
        let mut shard = self.shard(&digest);
        match shard.get(&digest.0) {
            Some(Entry::Durable { reply, .. }) => Ok(Claimed::Known(reply.as_deref().cloned().unwrap_or_default())),
            Some(Entry::Claimed(ended)) => Err(ended.clone()),
            None => {
                let (sender, receiver) = watch::channel(());
                shard.insert(digest.0, Entry::Claimed(receiver));
                Ok(Claimed::Ours(Claim { repeats: Arc::clone(self), digest, kept: false, _ended: sender }))
            }
        }
    }

    fn shard(&self, digest: &BatchDigest) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(digest.0[0]) % SHARDS])
    }
}

impl Claim {
    /// The request is durable: from now on it is a repeat.
    pub(crate) fn keep(mut self, received_at: i64, reply: Reply) {
        self.repeats.insert(self.digest, received_at, reply);
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.repeats.shard(&self.digest).remove(&self.digest.0);
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whole seconds; a time outside of 1970 to 2106 is clamped.
fn second(time: i64) -> u32 {
    u32::try_from(time.div_euclid(1_000_000).max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: BatchDigest = BatchDigest([1; 16]);

    fn told(rejected: u64) -> Reply {
        Reply { rejected, message: String::new() }
    }

    #[tokio::test]
    async fn the_second_of_two_waits_and_is_told_what_the_first_was() {
        let repeats = Arc::new(Repeats::new());
        let Claimed::Ours(claim) = repeats.claim(DIGEST).await else { panic!() };
        let second = tokio::spawn({
            let repeats = Arc::clone(&repeats);
            async move { repeats.claim(DIGEST).await }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        assert_eq!(repeats.known(&DIGEST), None);
        claim.keep(5, told(3));
        let Claimed::Known(reply) = second.await.unwrap() else { panic!() };
        assert_eq!(reply, told(3));
    }

    #[tokio::test]
    async fn a_claim_that_came_to_nothing_passes_on() {
        let repeats = Arc::new(Repeats::new());
        let Claimed::Ours(claim) = repeats.claim(DIGEST).await else { panic!() };
        drop(claim);
        assert!(matches!(repeats.claim(DIGEST).await, Claimed::Ours(_)));
        assert_eq!(repeats.known(&DIGEST), None);
    }

    #[test]
    fn the_horizon_forgets_what_is_older() {
        let repeats = Repeats::new();
        repeats.insert(DIGEST, 1_000_000, told(0));
        repeats.insert(BatchDigest([2; 16]), 9_000_000, told(0));
        repeats.forget_before(5_000_000);
        assert_eq!(repeats.known(&DIGEST), None);
        assert_eq!(repeats.known(&BatchDigest([2; 16])), Some(told(0)));
    }
}
