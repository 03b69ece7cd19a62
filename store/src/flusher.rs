//! The one thread that takes closed segments into tables and the ledger, and then lets go of them.
//!
//! Each step is durable before the next begins, and each can be done again: tables skip what their `txn` has seen,
//! the ledger's watermark says what it has, and a segment goes last.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use candor_policy::hex;
use tokio::runtime::Handle;

use crate::closed::{ClosedSegment, Errand, Next};
use crate::error::{Error, Kind, end_process_after};
use crate::flush::commit_tables;
use crate::ledger::{Ledger, Release};
use crate::load::{nonce_of, subject_of_receipt};
use crate::rewrite::Desk;
use crate::sealing::Sealer;
use crate::segment::frame::{BatchHeader, Frame};
use crate::segment::read::SegmentReader;
use crate::shared::{Gauges, Shared};
use crate::storage;
use crate::store::{BatchDigest, FlushReport};
use crate::table::layout::day_of;

/// Pause after the first failure; it doubles up to [`LONGEST_PAUSE`], short enough to be back soon after a full disk is.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How often requests beyond the horizon are forgotten, in µs: it walks over all of them.
const FORGET_EVERY: i64 = 3_600_000_000;

/// How often it is looked whether a backup is through.
const LOOK_AT_BACKUP: Duration = Duration::from_millis(50);

/// State of the thread.
#[derive(Debug)]
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    ledger: Ledger,
    runtime: Handle,
    sealer: Sealer,
    forgotten_at: i64,
}

impl Flusher {
    pub(crate) fn new(shared: Arc<Shared>, ledger: Ledger, runtime: Handle, sealer: Sealer) -> Self {
        let forgotten_at = shared.clock.now();
        Self { shared, ledger, runtime, sealer, forgotten_at }
    }

    /// Works until the store is closed.
    pub(crate) fn run(mut self) {
        // What the tables use may look for the runtime.
        let runtime = self.runtime.clone();
        let _entered = runtime.enter();
        self.seal_what_is_there();
        let mut pause = None;
        let shared = Arc::clone(&self.shared);
        loop {
            let next = self.shared.closed.next(pause);
            let mut turn = shared.turn.take_after_others();
            match next {
                Next::Stop => return,
                Next::Errand(errand) => {
                    // A backup copies files that tables listed a moment ago: nobody removes one until it is through.
                    while shared.is_copying.load(Ordering::Acquire) && self.flush_waiting() {
                        // It may need the turn yet.
                        drop(turn);
                        std::thread::sleep(LOOK_AT_BACKUP);
                        turn = shared.turn.take_after_others();
                    }
                    self.guarded_errand(errand);
                }
                Next::Segment(segment) if self.take(&segment) => {
                    self.forget_old_repeats();
                    pause = None;
                }
                Next::Segment(_) => {
                    pause = Some(pause.map_or(FIRST_PAUSE, |pause: Duration| (pause * 2).min(LONGEST_PAUSE)));
                }
            }
            drop(turn);
        }
    }

    /// What a crash left without an entry is sealed before anything is written.
    fn seal_what_is_there(&self) {
        match self.sealer.around(|_| Ok(((), Vec::new()))) {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::Stop => end_process_after(&error),
            // Segments still go into tables, and sealing is tried again with each.
            Err(error) => tracing::error!(%error, "files in tables are not in the log yet"),
        }
    }

    /// Writes what waits meanwhile; false if the store closes. For errands that take long.
    pub(crate) fn flush_waiting(&self) -> bool {
        while let Some(segment) = self.shared.closed.first() {
            if !self.take(&segment) {
                // The thread itself tries again, with a pause.
                break;
            }
        }
        !self.shared.closed.is_stopped()
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What jobs on tables work with, on this thread.
    pub(crate) fn desk(&self) -> Desk<'_> {
        Desk {
            data: &self.shared.settings.data,
            ledger: &self.ledger,
            runtime: &self.runtime,
            seal: &self.sealer,
            flusher: Some(self),
        }
    }

    /// Writes a segment into tables and lets go of it; false if it stays.
    fn take(&self, segment: &ClosedSegment) -> bool {
        match self.guarded_flush(segment) {
            Ok(report) => {
                self.shared.closed.done(&report);
                true
            }
            Err(error) if error.kind() == Kind::Stop => end_process_after(&error),
            Err(error) => {
                Gauges::add(&self.shared.gauges.flush_failures, 1);
                tracing::error!(segment = %segment.path.display(), %error, "a segment stays, and is tried again");
                self.shared.closed.failed(&error);
                false
            }
        }
    }

    /// As [`Self::guarded_flush`]: whoever waits for the errand learns of a panic by its silence.
    fn guarded_errand(&self, errand: Errand) {
        if catch_unwind(AssertUnwindSafe(|| errand(self))).is_err() {
            tracing::error!("work on tables panicked: this is a fault of candor, report it; nothing is lost");
        }
    }

    /// A panic in a table writer must not end the thread that everything later depends on.
    fn guarded_flush(&self, segment: &ClosedSegment) -> Result<FlushReport, Error> {
        catch_unwind(AssertUnwindSafe(|| self.flush(segment))).unwrap_or_else(|_| {
            Err(Error::new(
                Kind::Data,
                "a segment could not be written into tables",
                "its writer panicked",
                "this is a fault of candor: report it; the segment stays and nothing is lost",
            ))
        })
    }

    fn flush(&self, segment: &ClosedSegment) -> Result<FlushReport, Error> {
        let released = self.shared.gauges.flushed_lsn.load(Ordering::Relaxed);
        let mut report = FlushReport::default();
        if segment.last_lsn > released {
            let frames = read_frames(segment, released)?;
            self.keep_late_days(&frames)?;
            report = self.sealer.around(|data| {
                let (report, committed) = commit_tables(data, &frames, segment.last_lsn)?;
                fail::fail_point!("flush::before_seal", |_| std::process::abort());
                Ok((report, committed))
            })?;
            fail::fail_point!("flush::after_seal", |_| std::process::abort());
            fail::fail_point!("flush::before_release", |_| std::process::abort());
            self.release(frames, segment)?;
            fail::fail_point!("flush::after_release", |_| std::process::abort());
        }
        fail::fail_point!("segment::before_unlink", |_| std::process::abort());
        let what = || format!("cannot remove the segment {}", segment.path.display());
        storage::remove_if_there(&segment.path).map_err(|error| Error::io(what(), &error))?;
        storage::sync_folder(&storage::parent(&segment.path)).map_err(|error| Error::sync(what(), &error))?;
        fail::fail_point!("segment::after_unlink", |_| std::process::abort());
        report.segments = 1;
        Ok(report)
    }

    /// A clock that is behind gives dates under which rows would go too early: the day that is believed counts for those.
    fn keep_late_days(&self, frames: &[Frame]) -> Result<(), Error> {
        let Some(believed) = self.runtime.block_on(self.ledger.believed_day())? else { return Ok(()) };
        let dates: BTreeSet<i32> = frames.iter().filter_map(received_date).collect();
        for date in dates.into_iter().filter(|date| *date < believed - 1) {
            self.runtime.block_on(self.ledger.keep_late_day(date, believed))?;
        }
        Ok(())
    }

    fn release(&self, frames: Vec<Frame>, segment: &ClosedSegment) -> Result<(), Error> {
        let release = release_of(frames, segment.last_lsn, (self.shared.horizon(), self.shared.clock.now()))?;
        self.runtime.block_on(self.ledger.release(&release))?;
        let known = release.repeats.iter().map(|(digest, received_at, _)| (*digest, *received_at));
        self.shared.repeats.release(known);
        let gauges = &self.shared.gauges;
        gauges.flushed_lsn.store(segment.last_lsn, Ordering::Relaxed);
        gauges.pending_rows.fetch_sub(segment.rows, Ordering::Relaxed);
        self.shared.recent.forget_up_to(segment.last_lsn);
        self.shared.receipts.forget_up_to(segment.last_lsn);
        Ok(())
    }

    fn forget_old_repeats(&mut self) {
        let now = self.shared.clock.now();
        if now.saturating_sub(self.forgotten_at) >= FORGET_EVERY {
            self.shared.repeats.forget_before(self.shared.horizon());
            self.forgotten_at = now;
        }
    }
}

fn received_date(frame: &Frame) -> Option<i32> {
    match frame {
        Frame::Batch(batch) => Some(day_of(batch.header.received_at)),
        Frame::Statement { .. } => None,
    }
}

/// Digest of a request from its frame's header.
pub(crate) fn digest_of(header: &BatchHeader) -> Result<BatchDigest, Error> {
    let bytes = hex::decode(&header.digest).and_then(|bytes| bytes.try_into().ok());
    bytes.map(BatchDigest).ok_or_else(|| {
        Error::new(
            Kind::Data,
            "a frame's digest cannot be read",
            "it is not 32 hex digits",
            "start the version of candor that wrote it",
        )
    })
}

fn read_frames(segment: &ClosedSegment, released: u64) -> Result<Vec<Frame>, Error> {
    let mut reader = SegmentReader::open(&segment.path).map_err(|error| error.into_error(&segment.path))?;
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        if frame.lsn() > released {
            frames.push(frame);
        }
    }
    // Releasing less than was acknowledged would lose it.
    if frames.last().map(Frame::lsn) != Some(segment.last_lsn) {
        return Err(Error::new(
            Kind::Data,
            format!("the segment {} was damaged after it was written", segment.path.display()),
            format!("frame {} cannot be read any more", segment.last_lsn),
            "check the disk; the next start sets the damage aside",
        ));
    }
    Ok(frames)
}

fn release_of(frames: Vec<Frame>, up_to_lsn: u64, (forget_before, released_at): (i64, i64)) -> Result<Release, Error> {
    let now = released_at.div_euclid(1_000_000);
    let mut release = Release { up_to_lsn, forget_before, now, released_at, ..Release::default() };
    for frame in frames {
        match frame {
            Frame::Statement { statement, .. } => release.statements.push(statement),
            Frame::Batch(batch) => {
                let header = batch.header;
                match batch.receipt {
                    None => release.repeats.push((digest_of(&header)?, header.received_at, header.reply)),
                    Some(receipt) => {
                        release.nonces.extend(nonce_of(&header).filter(|nonce| nonce.expires >= now));
                        release.receipts.push((subject_of_receipt(&receipt)?, *receipt, header.reply));
                    }
                }
                release.counts.extend(header.counts.into_iter().map(|count| (header.source.clone(), count)));
            }
        }
    }
    Ok(release)
}
