//! What callers, appender and flusher of one store share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use candor_wire::identity::SubjectKey;
use candor_wire::log::checkpoint::SignedCheckpoint;
use tokio::sync::{oneshot, watch};

use crate::batches::Batches;
use crate::clock::Clock;
use crate::closed::ClosedSegments;
use crate::consent::{ConsentMap, Purposes};
use crate::erase::tombstones::{TombstoneId, TombstoneKey, Tombstones};
use crate::error::{EXIT_AFTER_IO_ERROR, Error};
use crate::gathering::Announcements;
use crate::log::Log;
use crate::nonces::Nonces;
use crate::queue::{Job, Queue};
use crate::receipts::RecentReceipts;
use crate::recent::RecentStatements;
use crate::repeats::Repeats;
use crate::settings::Settings;
use crate::store::FlushReport;
use crate::turn::Turn;
use crate::unreadable::Unreadable;

/// The parts; each guards itself.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) purposes: Purposes,
    pub(crate) queue: Queue,
    pub(crate) consent: ConsentMap,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) recent: RecentStatements,
    pub(crate) batches: Batches,
    pub(crate) receipts: RecentReceipts,
    /// Numbered batches that are on their way to the queue.
    pub(crate) announcements: Announcements,
    /// Signs receipts; without it no numbered batch is taken.
    receipt_key: RwLock<Option<Arc<SubjectKey>>>,
    /// The newest checkpoint of the log, which receipts name.
    checkpoint: Option<watch::Receiver<Arc<SignedCheckpoint>>>,
    pub(crate) nonces: Nonces,
    /// Held by whoever writes tables, log and released frames, and by a backup for the moment that it copies.
    pub(crate) turn: Turn,
    /// A backup copies files that tables listed a moment ago: none of them may be removed until it is through.
    pub(crate) is_copying: AtomicBool,
    pub(crate) closed: ClosedSegments,
    pub(crate) gauges: Gauges,
    /// Erasures that are open and done.
    pub(crate) erasures: Mutex<crate::erase::Account>,
    /// Why no segment can be opened, while that is so.
    refusing: Mutex<Option<Error>>,
}

/// Figures that several threads write.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) frames: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) pending_rows: AtomicU64,
    /// When the open segment was opened, if there is one.
    segment_opened: Mutex<Option<Instant>>,
    pub(crate) set_aside: AtomicU64,
    pub(crate) repeats: AtomicU64,
    pub(crate) lsn: AtomicU64,
    pub(crate) flushed_lsn: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    /// Live files without an entry in the log, because they cannot be read.
    pub(crate) unsealed: Arc<AtomicU64>,
    pub(crate) unreadable: Unreadable,
    pub(crate) compacted_files: AtomicU64,
    pub(crate) expired_files: AtomicU64,
    pub(crate) expired_rows: AtomicU64,
    /// Second since 1970 of the last pass of retention.
    pub(crate) expired_at: AtomicU64,
    /// Whether it doubted the clock.
    pub(crate) clock_doubted: AtomicU64,
}

impl Shared {
    pub(crate) fn new(settings: Settings, clock: Arc<dyn Clock>, purposes: Purposes) -> Self {
        Self {
            queue: Queue::new(settings.queue_bytes),
            repeats: Arc::new(Repeats::new(&settings)),
            settings,
            clock,
            purposes,
            consent: ConsentMap::new(),
            recent: RecentStatements::default(),
            batches: Batches::new(),
            receipts: RecentReceipts::default(),
            announcements: Announcements::default(),
            receipt_key: RwLock::default(),
            checkpoint: None,
            nonces: Nonces::default(),
            turn: Turn::default(),
            is_copying: AtomicBool::new(false),
            closed: ClosedSegments::default(),
            gauges: Gauges::default(),
            erasures: Mutex::default(),
            refusing: Mutex::new(None),
        }
    }

    /// The same with the key that signs receipts.
    pub(crate) fn with_receipt_key(self, key: Option<SubjectKey>) -> Self {
        self.set_receipt_key(key);
        self
    }

    /// The same with the log whose checkpoint receipts name.
    pub(crate) fn with_log(mut self, log: &Log) -> Self {
        self.checkpoint = Some(log.newest());
        self
    }

    /// The text of the log's newest checkpoint: it is durable. Nothing is waited for.
    pub(crate) fn checkpoint(&self) -> Option<String> {
        self.checkpoint.as_ref().map(|newest| newest.borrow().note.text().to_owned())
    }

    /// The same with the tombstones that a start found.
    pub(crate) fn with_tombstones(mut self, key: TombstoneKey, ids: &[TombstoneId]) -> Self {
        self.consent.tombstones = Tombstones::new(key);
        self.consent.tombstones.add(ids.iter().copied());
        self
    }

    /// Closes the open segment and waits until everything up to it is in tables.
    pub(crate) async fn flush(&self) -> Result<FlushReport, Error> {
        let (answer, told) = oneshot::channel();
        self.queue.push(Job::Rotate(answer))?;
        let up_to = told.await.map_err(|_| Error::closed())?;
        let (answer, told) = oneshot::channel();
        self.closed.wait_for(up_to, answer);
        told.await.map_err(|_| Error::closed())?
    }

    /// Puts another key in its place.
    pub(crate) fn set_receipt_key(&self, key: Option<SubjectKey>) {
        *self.receipt_key.write().unwrap_or_else(PoisonError::into_inner) = key.map(Arc::new);
    }

    /// The key that signs receipts.
    pub(crate) fn receipt_key(&self) -> Option<Arc<SubjectKey>> {
        self.receipt_key.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Second of the clock, since 1970.
    pub(crate) fn second(&self) -> i64 {
        self.clock.now().div_euclid(1_000_000)
    }

    /// Today by the clock, in days since 1970-01-01.
    pub(crate) fn day(&self) -> i32 {
        const MICROSECONDS: i64 = 86_400_000_000;
        i32::try_from(self.clock.now().div_euclid(MICROSECONDS)).unwrap_or(i32::MAX)
    }

    /// Requests received before this time (µs) need not be recognised any more.
    pub(crate) fn horizon(&self) -> i64 {
        let hours = i64::try_from(self.settings.repeat_hours).unwrap_or(i64::MAX);
        self.clock.now().saturating_sub(hours.saturating_mul(3_600_000_000))
    }

    /// Says why nothing can be appended, or that it can again. True if that is news.
    pub(crate) fn set_refusing(&self, why: Option<Error>) -> bool {
        let mut refusing = lock(&self.refusing);
        let news = refusing.is_some() != why.is_some();
        *refusing = why;
        news
    }

    /// Why nothing can be appended, if that is so.
    pub(crate) fn refusing(&self) -> Option<Error> {
        lock(&self.refusing).clone()
    }
}

/// Ends the process: after a failed write or sync the page cache lies, so nothing may be acknowledged any more.
pub(crate) fn end_process(what: &str, path: &std::path::Path, error: &std::io::Error) -> ! {
    tracing::error!(
        file = %path.display(), %error,
        "{what} failed: nothing that waits for it is acknowledged; the service ends, and recovers when it is started again"
    );
    std::process::exit(EXIT_AFTER_IO_ERROR)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gauges {
    pub(crate) fn open_segment(&self, at: Instant) {
        *lock(&self.segment_opened) = Some(at);
    }

    pub(crate) fn close_segment(&self) {
        *lock(&self.segment_opened) = None;
    }

    pub(crate) fn segment_opened(&self) -> Option<Instant> {
        *lock(&self.segment_opened)
    }

    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}
