//! What a store counts about itself.

use std::sync::atomic::Ordering;

use super::Store;
use crate::shared::lock;

/// What the store counts about itself since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Frames acknowledged.
    pub frames: u64,
    /// fdatasync calls that acknowledged them.
    pub syncs: u64,
    /// Rows in segments that are not in tables yet.
    pub pending_rows: u64,
    /// Statements in segments that are not in the ledger yet.
    pub pending_statements: u64,
    /// How long the oldest of them have waited, in seconds.
    pub flush_lag_seconds: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Damaged segments (or parts) set aside, ever.
    pub set_aside: u64,
    /// Requests recognised as repeats since start.
    pub repeats: u64,
    /// Requests that are durable and not in the ledger yet, held one by one to recognise repeats.
    pub repeats_held: u64,
    /// Bytes of the filter that knows the others.
    pub repeats_filter_bytes: u64,
    /// How often the ledger was asked whether it has a request.
    pub repeats_lookups: u64,
    /// Highest lsn appended.
    pub lsn: u64,
    /// Highest lsn in tables.
    pub flushed_lsn: u64,
    /// Subjects with a consent statement.
    pub subjects: u64,
    /// Flushes that failed since start.
    pub flush_failures: u64,
    /// Erasures that are not done.
    pub erasures_open: u64,
    /// Erasures that are.
    pub erasures_done: u64,
    /// Erasures that are not done and should be.
    pub erasures_overdue: u64,
    /// Files that compaction put together since start.
    pub compacted_files: u64,
    /// Files that retention removed or emptied of a field since start.
    pub expired_files: u64,
    /// Rows that it removed.
    pub expired_rows: u64,
    /// Second since 1970 of its last pass; 0 before the first.
    pub expired_at: u64,
    /// Whether it doubted the clock then: 1 if so.
    pub clock_doubted: u64,
    /// Live files that have no entry in the log because they cannot be read.
    pub unsealed_files: u64,
    /// Files that retention or erasure left as they are in its last pass, because they cannot be read.
    pub unreadable_files: u64,
    /// Entries in the log.
    pub log_size: u64,
}

impl Store {
    /// Figures for `/metrics`.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let gauges = &self.shared.gauges;
        let (open, oldest) = (gauges.segment_opened(), self.shared.closed.oldest());
        let pending_rows = gauges.pending_rows.load(Ordering::Relaxed);
        // A segment that was opened and has no row yet waits for nothing.
        let since = oldest.or(open.filter(|_| pending_rows > 0));
        let repeats = self.shared.repeats.figures();
        let (erasures, now) = (lock(&self.shared.erasures).clone(), self.shared.clock.now());
        Figures {
            frames: gauges.frames.load(Ordering::Relaxed),
            syncs: gauges.syncs.load(Ordering::Relaxed),
            pending_rows,
            pending_statements: self.shared.recent.count() as u64,
            flush_lag_seconds: since.map_or(0, |since| since.elapsed().as_secs()),
            segments: self.shared.closed.len() as u64 + u64::from(open.is_some()),
            set_aside: gauges.set_aside.load(Ordering::Relaxed),
            repeats: gauges.repeats.load(Ordering::Relaxed),
            repeats_held: repeats.held,
            repeats_filter_bytes: repeats.filter_bytes,
            repeats_lookups: repeats.lookups,
            lsn: gauges.lsn.load(Ordering::Relaxed),
            flushed_lsn: gauges.flushed_lsn.load(Ordering::Relaxed),
            subjects: self.shared.consent.subjects(),
            flush_failures: gauges.flush_failures.load(Ordering::Relaxed),
            erasures_open: erasures.open.len() as u64,
            erasures_done: erasures.done,
            erasures_overdue: erasures.open.iter().filter(|deadline| **deadline < now).count() as u64,
            unsealed_files: gauges.unsealed.load(Ordering::Relaxed),
            unreadable_files: gauges.unreadable.count(),
            log_size: self.log.size(),
            compacted_files: gauges.compacted_files.load(Ordering::Relaxed),
            expired_files: gauges.expired_files.load(Ordering::Relaxed),
            expired_rows: gauges.expired_rows.load(Ordering::Relaxed),
            expired_at: gauges.expired_at.load(Ordering::Relaxed),
            clock_doubted: gauges.clock_doubted.load(Ordering::Relaxed),
        }
    }
}
