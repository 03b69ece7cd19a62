//! Segments that are closed and wait to be written into tables, who waits for that, and what else the thread that
//! writes tables is asked to do.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::flusher::Flusher;
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

/// Something to do on the one thread that writes tables.
pub(crate) type Errand = Box<dyn FnOnce(&Flusher) + Send>;

/// What the thread does next.
pub(crate) enum Next {
    /// Write this segment into tables; it stays in the list until [`ClosedSegments::done`].
    Segment(ClosedSegment),
    /// Do this.
    Errand(Errand),
    /// End: the store closes.
    Stop,
}

#[derive(Default)]
struct Inner {
    segments: VecDeque<ClosedSegment>,
    errands: VecDeque<Errand>,
    /// Whose turn it is where both wait: neither keeps the other from ever being done.
    errand_next: bool,
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

    /// Has something done on the thread that writes tables. What it holds is dropped if the store closes first.
    pub(crate) fn ask(&self, errand: Errand) {
        let mut inner = lock(&self.inner);
        if !inner.stopped {
            inner.errands.push_back(errand);
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// The first segment, or an errand: in turns where both wait. After a failure, segments wait for `pause` or until
    /// somebody asks for a flush.
    pub(crate) fn next(&self, pause: Option<Duration>) -> Next {
        let mut inner = lock(&self.inner);
        if let Some(pause) = pause {
            inner = self
                .changed
                .wait_timeout_while(inner, pause, |inner| {
                    inner.waiters.is_empty() && inner.errands.is_empty() && !inner.stopped
                })
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let mut inner = self
            .changed
            .wait_while(inner, |inner| inner.segments.is_empty() && inner.errands.is_empty() && !inner.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        if inner.stopped {
            return Next::Stop;
        }
        if inner.errand_next || inner.segments.is_empty() {
            inner.errand_next = false;
            if let Some(errand) = inner.errands.pop_front() {
                return Next::Errand(errand);
            }
        }
        inner.errand_next = true;
        inner.segments.front().cloned().map_or(Next::Stop, Next::Segment)
    }

    /// The first segment, if one waits and the store is open.
    pub(crate) fn first(&self) -> Option<ClosedSegment> {
        let inner = lock(&self.inner);
        inner.segments.front().filter(|_| !inner.stopped).cloned()
    }

    /// Whether the store closes.
    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.inner).stopped
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
        // Whoever waits for them is told by that.
        let errands = std::mem::take(&mut inner.errands);
        for waiter in std::mem::take(&mut inner.waiters) {
            let _ = waiter.answer.send(Err(Error::closed()));
        }
        drop(inner);
        drop(errands);
        self.changed.notify_all();
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inner({} segments, {} errands)", self.segments.len(), self.errands.len())
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

    fn next(closed: &ClosedSegments, pause: Option<Duration>) -> Option<ClosedSegment> {
        match closed.next(pause) {
            Next::Segment(segment) => Some(segment),
            Next::Errand(_) => panic!("nobody asked for anything"),
            Next::Stop => None,
        }
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
        assert_eq!(next(&closed, None), Some(segment(4)));
        closed.done(&report);
        assert!(told.try_recv().is_err());
        assert_eq!(next(&closed, None), Some(segment(9)));
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
        assert_eq!(next(&closed, Some(Duration::from_millis(1))), Some(segment(4)));
        closed.stop();
        assert_eq!(next(&closed, None), None);
    }

    #[test]
    fn segments_and_errands_take_turns() {
        let closed = ClosedSegments::default();
        for lsn in 1..=2 {
            closed.push(segment(lsn));
            closed.ask(Box::new(|_| ()));
        }
        let is_errand = |closed: &ClosedSegments| matches!(closed.next(None), Next::Errand(_));
        assert!(!is_errand(&closed));
        assert!(is_errand(&closed));
        assert!(!is_errand(&closed), "the segment was not done, and comes again");
        assert!(is_errand(&closed));
        assert!(!is_errand(&closed));
    }
}
