//! Exactly once: which requests are durable already, and which are on their way.
//!
//! Requests that the ledger does not have yet are held one by one. Of those that it has, memory keeps a filter alone, and
//! where that says "perhaps" the ledger is asked. Both are bounded: the first by refusing what is one too many, to be sent
//! again, the second by asking the ledger more often. No repeat is ever taken for new.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use hashbrown::HashMap;
use tokio::sync::watch;

use self::filter::{Filter, PAGE_BYTES};
use crate::error::{Error, Kind};
use crate::reply::Reply;
use crate::settings::Settings;
use crate::store::BatchDigest;

mod filter;

type Shard = HashMap<[u8; 16], Entry, foldhash::fast::FixedState>;

const SHARDS: usize = 64;
/// What one held request takes at most: a slot and its control byte in a table that has just grown, 7/16 full.
const HELD_BYTES: u64 = ((size_of::<([u8; 16], Entry)>() + 1) * 16 / 7) as u64 + 1;
/// Held requests that there is always room for.
const FEWEST_HELD: u64 = 1_024;

/// Digest → what the client was told. Digests are keyed, so nobody outside can make them collide.
#[derive(Debug)]
pub(crate) struct Repeats {
    /// Requests on their way, and durable ones that the ledger does not have.
    shards: Vec<Mutex<Shard>>,
    held: AtomicUsize,
    most_held: usize,
    /// Requests that the ledger has.
    released: RwLock<Filter>,
    lookups: AtomicU64,
}

#[derive(Debug)]
enum Entry {
    /// Durable; most replies are plain success, and take no room of their own.
    Durable(Option<Box<Reply>>),
    /// Somebody is appending it; the channel closes when that has come to an end. Boxed: there are few, and what is
    /// durable would take its room.
    Claimed(Box<watch::Receiver<()>>),
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
    /// Nobody else has it; the ledger may, if [`Repeats::may_be_released`].
    Ours(Claim),
    /// It is durable; this is what the client was told.
    Known(Reply),
    /// As many as may be are held: it must come again when some of them are in the ledger.
    Full,
}

/// What repeats take, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RepeatFigures {
    /// Requests that are held one by one.
    pub(crate) held: u64,
    /// Bytes of the filter.
    pub(crate) filter_bytes: u64,
    /// How often the ledger was asked.
    pub(crate) lookups: u64,
}

impl Repeats {
    pub(crate) fn new(settings: &Settings) -> Self {
        let half = settings.repeat_bytes / 2;
        let horizon = u32::try_from(settings.repeat_hours.saturating_mul(3_600)).unwrap_or(u32::MAX);
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            held: AtomicUsize::new(0),
            most_held: count((half / HELD_BYTES).max(FEWEST_HELD)),
            released: RwLock::new(Filter::new(count(half / PAGE_BYTES as u64), horizon)),
            lookups: AtomicU64::new(0),
        }
    }

    /// What the request was told, if it is durable and not in the ledger yet.
    pub(crate) fn held(&self, digest: &BatchDigest) -> Option<Reply> {
        match self.shard(digest).get(&digest.0) {
            Some(Entry::Durable(reply)) => Some(reply.as_deref().cloned().unwrap_or_default()),
            _ => None,
        }
    }

    /// Whether the ledger must be asked about a request that is not held. Ask in this order: what is released is in the
    /// filter before it is held no more.
    pub(crate) fn may_be_released(&self, digest: &BatchDigest) -> bool {
        let may = self.released.read().unwrap_or_else(PoisonError::into_inner).may_hold(digest);
        self.lookups.fetch_add(u64::from(may), Ordering::Relaxed);
        may
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

    /// Enters a request that is durable and not in the ledger: its frame waits for the flusher.
    pub(crate) fn hold(&self, digest: BatchDigest, reply: Reply) {
        let reply = (reply != Reply::default()).then(|| Box::new(reply));
        if self.shard(&digest).insert(digest.0, Entry::Durable(reply)).is_none() {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The ledger has these requests, by digest and time of receipt (µs).
    pub(crate) fn release(&self, requests: impl IntoIterator<Item = (BatchDigest, i64)>) {
        for (digest, received_at) in requests {
            self.released.write().unwrap_or_else(PoisonError::into_inner).insert(&digest, second(received_at));
            let mut shard = self.shard(&digest);
            if matches!(shard.get(&digest.0), Some(Entry::Durable(_))) {
                shard.remove(&digest.0);
                self.held.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Forgets what was received before `time` (µs).
    pub(crate) fn forget_before(&self, time: i64) {
        self.released.write().unwrap_or_else(PoisonError::into_inner).forget_before(second(time));
    }

    pub(crate) fn figures(&self) -> RepeatFigures {
        RepeatFigures {
            held: self.held.load(Ordering::Relaxed) as u64,
            filter_bytes: self.released.read().unwrap_or_else(PoisonError::into_inner).bytes() as u64,
            lookups: self.lookups.load(Ordering::Relaxed),
        }
    }

    fn try_claim(self: &Arc<Self>, digest: BatchDigest) -> Result<Claimed, watch::Receiver<()>> {
        let mut shard = self.shard(&digest);
        match shard.get(&digest.0) {
            Some(Entry::Durable(reply)) => Ok(Claimed::Known(reply.as_deref().cloned().unwrap_or_default())),
            Some(Entry::Claimed(ended)) => Err(ended.as_ref().clone()),
            None if self.held.load(Ordering::Relaxed) >= self.most_held => Ok(Claimed::Full),
            None => {
                let (sender, receiver) = watch::channel(());
                shard.insert(digest.0, Entry::Claimed(Box::new(receiver)));
                self.held.fetch_add(1, Ordering::Relaxed);
                Ok(Claimed::Ours(Claim { repeats: Arc::clone(self), digest, kept: false, _ended: sender }))
            }
        }
    }

    fn shard(&self, digest: &BatchDigest) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(digest.0[0]) % SHARDS])
    }
}

/// Why a request must wait: refusing it is what keeps the promise that a repeat adds no row.
pub(crate) fn too_many_held() -> Error {
    Error::new(
        Kind::Retry,
        "too many requests wait to be written into tables",
        "as many are held as `store.repeat_bytes` has room for",
        "see why segments are not flushed; if it is mere load, raise `store.repeat_bytes`",
    )
}

impl Claim {
    /// The request is durable: from now on it is a repeat.
    pub(crate) fn keep(mut self, reply: Reply) {
        self.repeats.hold(self.digest, reply);
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.repeats.shard(&self.digest).remove(&self.digest.0);
            self.repeats.held.fetch_sub(1, Ordering::Relaxed);
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

    fn repeats(repeat_bytes: u64) -> Arc<Repeats> {
        Arc::new(Repeats::new(&Settings { repeat_bytes, ..Settings::default() }))
    }

    fn numbered(number: u32) -> BatchDigest {
        BatchDigest(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
    }

    #[tokio::test]
    async fn the_second_of_two_waits_and_is_told_what_the_first_was() {
        let repeats = repeats(0);
        let Claimed::Ours(claim) = repeats.claim(DIGEST).await else { panic!() };
        let second = tokio::spawn({
            let repeats = Arc::clone(&repeats);
            async move { repeats.claim(DIGEST).await }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        assert_eq!(repeats.held(&DIGEST), None);
        claim.keep(told(3));
        let Claimed::Known(reply) = second.await.unwrap() else { panic!() };
        assert_eq!((reply, repeats.figures().held), (told(3), 1));
    }

    #[tokio::test]
    async fn a_claim_that_came_to_nothing_passes_on() {
        let repeats = repeats(0);
        let Claimed::Ours(claim) = repeats.claim(DIGEST).await else { panic!() };
        drop(claim);
        assert!(matches!(repeats.claim(DIGEST).await, Claimed::Ours(_)));
        assert_eq!((repeats.held(&DIGEST), repeats.figures().held), (None, 0));
    }

    #[tokio::test]
    async fn what_the_ledger_has_is_held_no_more_and_must_be_looked_up() {
        let repeats = repeats(0);
        repeats.hold(DIGEST, told(2));
        assert!(!repeats.may_be_released(&DIGEST));
        repeats.release([(DIGEST, 1_000_000)]);
        assert_eq!(repeats.held(&DIGEST), None);
        assert!(repeats.may_be_released(&DIGEST));
        assert_eq!(
            repeats.figures(),
            RepeatFigures { held: 0, filter_bytes: PAGE_BYTES as u64, lookups: 1 },
            "a look-up that is not needed is none"
        );
        repeats.forget_before(5_000_000);
        assert!(!repeats.may_be_released(&DIGEST));
    }

    #[tokio::test]
    async fn one_too_many_is_refused_until_the_ledger_has_some() {
        let repeats = repeats(0);
        for number in 0..FEWEST_HELD as u32 {
            let Claimed::Ours(claim) = repeats.claim(numbered(number)).await else { panic!("{number}") };
            claim.keep(told(0));
        }
        assert!(matches!(repeats.claim(DIGEST).await, Claimed::Full));
        assert!(matches!(repeats.claim(numbered(7)).await, Claimed::Known(_)), "a repeat is told what it was told");
        repeats.release([(numbered(7), 0)]);
        assert!(matches!(repeats.claim(DIGEST).await, Claimed::Ours(_)));
    }

    #[test]
    fn a_million_held_requests_take_what_is_said() {
        let repeats = repeats(1 << 40);
        let before = resident();
        let count = 1_000_000;
        (0..count).for_each(|number| repeats.hold(numbered(number), told(0)));
        let bytes: usize = repeats.shards.iter().map(|shard| lock(shard).allocation_size()).sum();
        let each = bytes as f64 / f64::from(count);
        println!(
            "{each:.1} bytes a request by its tables, {} by the process",
            (resident() - before) / u64::from(count)
        );
        assert_eq!(size_of::<Entry>(), 16);
        assert!(each <= HELD_BYTES as f64, "{each} bytes");
    }

    /// Resident memory of this process, in bytes.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}
