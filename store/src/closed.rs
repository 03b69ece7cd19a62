//! Segments that are closed and wait to be written into tables, and who waits for that.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::shared::lock;
use crate::store::FlushReport;

/// A segment that nothing is appended to any more; every frame in it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClosedSegment {
    pub(crate) path: PathBuf,
    pub(crate) last_lsn: u64,
    pub(crate) rows: u64,
    /// When its first frame came, or when this process found it.
    pub(crate) opened: Instant,
}

/// In the order of their lsn.
#[derive(Debug, Default)]
pub(crate) struct ClosedSegments {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    segments: VecDeque<ClosedSegment>,
    waiters: Vec<Waiter>,
    stopped: bool,
}

#[derive(Debug)]
struct Waiter {
    up_to: u64,
    report: FlushReport,
    answer: oneshot::Sender<Result<FlushReport, Error>>,
}

impl ClosedSegments {
    pub(crate) fn push(&self, segment: ClosedSegment) {
        lock(&self.inner).segments.push_back(segment);
        self.changed.notify_all();
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.inner).segments.len()
    }

    /// Where those that hold nothing above an lsn are.
    pub(crate) fn paths_up_to(&self, lsn: u64) -> Vec<PathBuf> {
        let inner = lock(&self.inner);
        inner.segments.iter().filter(|segment| segment.last_lsn <= lsn).map(|segment| segment.path.clone()).collect()
    }

    /// When the oldest of them was opened.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        lock(&self.inner).segments.front().map(|segment| segment.opened)
    }

    /// Answers when everything up to an lsn is in tables, or when that failed.
    pub(crate) fn wait_for(&self, up_to: u64, answer: oneshot::Sender<Result<FlushReport, Error>>) {
        let mut inner = lock(&self.inner);
        if inner.stopped {
            let _ = answer.send(Err(Error::closed()));
            return;
        }
        inner.waiters.push(Waiter { up_to, report: FlushReport::default(), answer });
        inner.settle();
        drop(inner);
        self.changed.notify_all();
    }

    /// The first segment, which stays in the list until [`Self::done`]; none when the store closes. After a failure,
    /// waits for `pause` or until somebody asks for a flush.
    pub(crate) fn next(&self, pause: Option<Duration>) -> Option<ClosedSegment> {
        let mut inner = lock(&self.inner);
        if let Some(pause) = pause
            && inner.waiters.is_empty()
            && !inner.stopped
        {
            inner = self
                .changed
                .wait_timeout_while(inner, pause, |inner| inner.waiters.is_empty() && !inner.stopped)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let inner = self
            .changed
            .wait_while(inner, |inner| inner.segments.is_empty() && !inner.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        if inner.stopped { None } else { inner.segments.front().cloned() }
    }

    /// The first segment is in tables and gone.
    pub(crate) fn done(&self, report: &FlushReport) {
        let mut inner = lock(&self.inner);
        inner.segments.pop_front();
        for waiter in &mut inner.waiters {
            waiter.report.rows += report.rows;
            waiter.report.files += report.files;
            waiter.report.segments += report.segments;
        }
        inner.settle();
    }

    /// The first segment could not be written; it is tried again.
    pub(crate) fn failed(&self, error: &Error) {
        for waiter in std::mem::take(&mut lock(&self.inner).waiters) {
            let _ = waiter.answer.send(Err(error.clone()));
        }
    }

    /// Ends the flusher after the segment that it is at.
    pub(crate) fn stop(&self) {
        let mut inner = lock(&self.inner);
        inner.stopped = true;
        for waiter in std::mem::take(&mut inner.waiters) {
            let _ = waiter.answer.send(Err(Error::closed()));
        }
        drop(inner);
        self.changed.notify_all();
    }
}

impl Inner {
    /// Answers whoever waits for nothing that is still in the list.
    fn settle(&mut self) {
        let open = self.segments.front().map(|segment| segment.last_lsn);
        let (settled, waiting) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter: &Waiter| open.is_none_or(|last_lsn| last_lsn > waiter.up_to));
        self.waiters = waiting;
        for waiter in settled {
            let _ = waiter.answer.send(Ok(waiter.report));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::error::Kind;

    /// The same for all, so that segments compare.
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    fn segment(last_lsn: u64) -> ClosedSegment {
        ClosedSegment { path: PathBuf::from("x"), last_lsn, rows: 1, opened: *START }
    }

    #[tokio::test]
    async fn a_waiter_is_told_the_sum_of_what_it_waited_for() {
        let closed = ClosedSegments::default();
        let (answer, told) = oneshot::channel();
        closed.wait_for(9, answer);
        assert_eq!(told.await.unwrap().unwrap(), FlushReport::default());

        closed.push(segment(4));
        closed.push(segment(9));
        let (answer, mut told) = oneshot::channel();
        closed.wait_for(9, answer);
        let report = FlushReport { rows: 2, files: 1, segments: 1 };
        assert_eq!(closed.next(None), Some(segment(4)));
        closed.done(&report);
        assert!(told.try_recv().is_err());
        assert_eq!(closed.next(None), Some(segment(9)));
        closed.done(&report);
        assert_eq!(told.await.unwrap().unwrap(), FlushReport { rows: 4, files: 2, segments: 2 });
    }

    #[tokio::test]
    async fn a_failure_is_told_and_the_segment_stays() {
        let closed = ClosedSegments::default();
        closed.push(segment(4));
        let (answer, told) = oneshot::channel();
        closed.wait_for(4, answer);
        closed.failed(&Error::new(Kind::Retry, "x", "y", "z"));
        assert_eq!(told.await.unwrap().unwrap_err().kind(), Kind::Retry);
        assert_eq!(closed.next(Some(Duration::from_millis(1))), Some(segment(4)));
        closed.stop();
        assert_eq!(closed.next(None), None);
    }
}
