//! What waits for the appender: bounded in bytes, taken whole.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use candor_policy::consent::SubjectConsent;
use candor_policy::subject::LedgerId;
use candor_wire::receipt::{Receipt, SignedReceipt};
use candor_wire::statement::Statement;
use tokio::sync::oneshot;

use crate::consent::{Concerned, SubjectKey};
use crate::error::{Error, Kind};
use crate::gathering::Announced;
use crate::repeats::Claim;
use crate::reply::Reply;
use crate::segment::codec::Encoded;
use crate::segment::writer::frame_len;

/// One thing for the appender to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Append a request.
    Batch(BatchJob),
    /// Append a consent statement.
    Statement(Box<StatementJob>),
    /// Take nothing of a subject any more, from here on.
    Close { subject: LedgerId, answer: oneshot::Sender<()> },
    /// Close the open segment; the answer is the highest lsn that is durable.
    Rotate(oneshot::Sender<u64>),
}

/// A request to append.
#[derive(Debug)]
pub(crate) struct BatchJob {
    pub(crate) encoded: Encoded,
    /// Generation of the consent that it was cleared under, and whom it has rows of.
    pub(crate) generation: u64,
    pub(crate) concerned: Vec<Concerned>,
    pub(crate) order: Order,
    pub(crate) reply: Reply,
    pub(crate) answer: oneshot::Sender<BatchAnswer>,
}

/// By what a request is stored once.
#[derive(Debug)]
pub(crate) enum Order {
    /// A claim on its digest.
    Claimed(Claim),
    /// Its number.
    Numbered(Box<Numbered>),
}

/// A numbered batch: whose it is, and its receipt but for the running numbers of purposes.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) subject: LedgerId,
    pub(crate) key: SubjectKey,
    pub(crate) draft: Receipt,
    /// Kept until it is appended, or is not.
    pub(crate) announced: Announced,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum BatchAnswer {
    /// It is durable; a numbered one has its receipt.
    Durable(Option<Box<SignedReceipt>>),
    /// Its number was taken before, and what has it is durable.
    Seen,
    /// Its number is too far from those that are missing.
    TooFar,
    /// Rows of these (subject number, purpose number) must go first; the batch is then as new as `generation`.
    Withdrawn { order: Order, withdrawn: Vec<(u32, u16)>, generation: u64 },
    /// Its subject was erased: nothing is stored of it any more.
    Erased,
    /// It cannot be appended now.
    Refused(Error),
}

/// A statement to append.
#[derive(Debug)]
pub(crate) struct StatementJob {
    pub(crate) encoded: Encoded,
    pub(crate) statement: Statement,
    pub(crate) key: SubjectKey,
    /// State that it was built on, with the sequence of its statement, 0 for none.
    pub(crate) base: SubjectConsent,
    pub(crate) state: SubjectConsent,
    pub(crate) answer: oneshot::Sender<StatementAnswer>,
}

/// What became of a statement.
#[derive(Debug)]
pub(crate) enum StatementAnswer {
    /// It is durable and in force.
    Durable,
    /// Another statement of the subject came first, and is in force: build on that.
    Superseded,
    /// It cannot be appended now.
    Refused(Error),
}

/// What [`Queue::take`] found.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Everything that waited, in order.
    Jobs(Vec<Job>),
    /// Nothing came in time.
    Idle,
    /// Nothing will come any more.
    Closed,
}

/// Many senders, one appender.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    limit: u64,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: Vec<Job>,
    /// Bytes that wait, those being written included.
    bytes: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(limit: u64) -> Self {
        Self { inner: Mutex::default(), filled: Condvar::new(), limit }
    }

    /// Puts a job at the end, or refuses it as overload. One that is alone always fits, however large.
    pub(crate) fn push(&self, job: Job) -> Result<(), Error> {
        let bytes = job.bytes();
        let mut inner = self.lock();
        if inner.closed {
            return Err(Error::closed());
        }
        if bytes > 0 && inner.bytes > 0 && inner.bytes + bytes > self.limit {
            return Err(overload(self.limit));
        }
        inner.bytes += bytes;
        inner.jobs.push(job);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes everything that waits, or waits itself: without a `patience`, until something comes.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Taken {
        let mut inner = self.lock();
        let mut waited = false;
        loop {
            if !inner.jobs.is_empty() {
                return Taken::Jobs(std::mem::take(&mut inner.jobs));
            }
            if inner.closed {
                return Taken::Closed;
            }
            if waited {
                return Taken::Idle;
            }
            inner = match patience {
                None => self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (inner, timeout) =
                        self.filled.wait_timeout(inner, patience).unwrap_or_else(PoisonError::into_inner);
                    waited = timeout.timed_out();
                    inner
                }
            };
        }
    }

    /// Bytes of taken jobs that have been answered: there is room for others.
    pub(crate) fn done(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
    }

    /// Refuses what comes from now on; what waits is still taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// Bytes that it holds until it is answered.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Batch(batch) => frame_len(&batch.encoded),
            Self::Statement(statement) => frame_len(&statement.encoded),
            Self::Close { .. } | Self::Rotate(_) => 0,
        }
    }
}

fn overload(limit: u64) -> Error {
    Error::new(
        Kind::Retry,
        "too much is waiting to be written",
        format!("{limit} bytes wait for the disk"),
        "send again in a second; if it lasts, the disk is too slow for this load",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::codec::encode_statement;
    use crate::segment::testing;

    fn job(subject: u8) -> Job {
        let statement = testing::statement(subject, 1, true);
        Job::Statement(Box::new(StatementJob {
            encoded: encode_statement(&statement).unwrap(),
            statement,
            key: [subject; 16],
            base: SubjectConsent::default(),
            state: SubjectConsent::default(),
            answer: oneshot::channel().0,
        }))
    }

    #[test]
    fn a_full_queue_refuses_until_what_was_taken_is_answered() {
        let bytes = job(1).bytes();
        let queue = Queue::new(2 * bytes);
        queue.push(job(1)).unwrap();
        queue.push(job(2)).unwrap();
        assert_eq!(queue.push(job(3)).unwrap_err().kind(), Kind::Retry);
        let Taken::Jobs(jobs) = queue.take(None) else { panic!() };
        assert_eq!(jobs.len(), 2);
        // Taken is not answered: its bytes still count.
        assert_eq!(queue.push(job(3)).unwrap_err().kind(), Kind::Retry);
        queue.done(2 * bytes);
        queue.push(job(3)).unwrap();
    }

    #[test]
    fn one_job_larger_than_the_queue_is_taken_when_it_is_alone() {
        let queue = Queue::new(1);
        queue.push(job(1)).unwrap();
        assert_eq!(queue.push(job(2)).unwrap_err().kind(), Kind::Retry);
    }

    #[test]
    fn a_closed_queue_gives_what_waits_and_takes_nothing_more() {
        let queue = Queue::new(1 << 20);
        assert!(matches!(queue.take(Some(Duration::from_millis(1))), Taken::Idle));
        queue.push(job(1)).unwrap();
        queue.close();
        assert_eq!(queue.push(job(2)).unwrap_err().kind(), Kind::Stop);
        assert!(matches!(queue.take(None), Taken::Jobs(jobs) if jobs.len() == 1));
        assert!(matches!(queue.take(None), Taken::Closed));
    }
}
