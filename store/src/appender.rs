//! The one thread that appends: it writes all that queued while the last fdatasync ran, syncs once, answers each.
//!
//! It is where everything is put in order. A statement counts for whatever the queue holds behind it, and is in force
//! for readers after its fdatasync.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use candor_policy::consent::SubjectConsent;
use candor_policy::subject::LedgerId;
use candor_wire::merkle;
use candor_wire::receipt::Receipt;
use candor_wire::statement::Statement;
use hashbrown::HashMap;
use tokio::sync::oneshot;

use crate::batches::Place;
use crate::closed::ClosedSegment;
use crate::consent::{Changes, SubjectKey, Verdict, erased, is_erased, key_of, subject_of};
use crate::error::{Error, Kind};
use crate::gathering::{Gathered, Gathering};
use crate::queue::{BatchAnswer, BatchJob, Job, Numbered, Order, StatementAnswer, StatementJob, Taken};
use crate::receipts::Told;
use crate::repeats::Claim;
use crate::reply::Reply;
use crate::segment::FOLDER;
use crate::segment::codec::{Encoded, receipt_json};
use crate::segment::writer::{CreateError, SegmentWriter, frame_len};
use crate::shared::{Gauges, Shared, end_process};

/// While the disk is full: how often to look whether there is room again, so that `ready` says so without a request.
const RETRY: Duration = Duration::from_secs(1);

/// State of the thread.
#[derive(Debug)]
pub(crate) struct Appender {
    shared: Arc<Shared>,
    wal: PathBuf,
    segment: Option<SegmentWriter>,
    next_lsn: u64,
    changes: Changes,
    group: Group,
    gathering: Gathering,
}

/// What has been written since the last sync.
#[derive(Debug, Default)]
struct Group {
    frames: u64,
    rows: u64,
    batches: Vec<WrittenBatch>,
    numbered: Vec<WrittenNumbered>,
    /// Requests whose number was taken: what has it may be in this group.
    seen: Vec<oneshot::Sender<BatchAnswer>>,
    statements: Vec<WrittenStatement>,
    /// The newest states among `statements`.
    states: HashMap<SubjectKey, SubjectConsent, foldhash::fast::FixedState>,
    superseded: Vec<oneshot::Sender<StatementAnswer>>,
    /// Subjects of whom nothing is taken any more.
    closings: Vec<(SubjectKey, oneshot::Sender<()>)>,
}

#[derive(Debug)]
struct WrittenBatch {
    claim: Claim,
    reply: Reply,
    answer: oneshot::Sender<BatchAnswer>,
}

#[derive(Debug)]
struct WrittenNumbered {
    lsn: u64,
    subject: LedgerId,
    receipt: Receipt,
    /// The bytes of the receipt that are hashed.
    json: String,
    reply: Reply,
    answer: oneshot::Sender<BatchAnswer>,
}

#[derive(Debug)]
struct WrittenStatement {
    lsn: u64,
    subject: LedgerId,
    key: SubjectKey,
    state: SubjectConsent,
    statement: Statement,
    answer: oneshot::Sender<StatementAnswer>,
}

impl Appender {
    /// An appender whose first frame gets `next_lsn`, always in a segment of its own.
    pub(crate) fn new(shared: Arc<Shared>, next_lsn: u64) -> Self {
        let wal = shared.settings.data.join(FOLDER);
        Self {
            shared,
            wal,
            segment: None,
            next_lsn,
            changes: Changes::default(),
            group: Group::default(),
            gathering: Gathering::default(),
        }
    }

    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        loop {
            match self.shared.queue.take(self.patience()) {
                Taken::Jobs(jobs) => self.write_group(jobs),
                Taken::Idle => {}
                Taken::Closed => break,
            }
            self.keep_house();
        }
        self.gathering.sign(&self.shared);
        self.close_segment();
    }

    fn write_group(&mut self, jobs: Vec<Job>) {
        let bytes = jobs.iter().map(Job::bytes).sum();
        for job in jobs {
            match job {
                Job::Batch(batch) => self.batch(batch),
                Job::Statement(statement) => self.statement(*statement),
                Job::Close { subject, answer } => self.close_subject(&subject, answer),
                Job::Rotate(answer) => {
                    self.commit();
                    self.close_segment();
                    let _ = answer.send(self.next_lsn - 1);
                }
            }
        }
        self.commit();
        self.shared.queue.done(bytes);
    }

    fn batch(&mut self, job: BatchJob) {
        if let Order::Numbered(numbered) = &job.order {
            if is_erased(&self.state_of(&numbered.subject, &numbered.key)) {
                return drop(job.answer.send(BatchAnswer::Erased));
            }
            match self.shared.batches.place(&numbered.key, numbered.draft.batch) {
                Place::New => {}
                Place::Seen => return self.group.seen.push(job.answer),
                Place::TooFar => return drop(job.answer.send(BatchAnswer::TooFar)),
            }
        }
        let refused = match self.changes.verdict(job.generation, &job.concerned) {
            Verdict::Unchanged => return self.append(job),
            Verdict::Withdrawn(withdrawn) => {
                BatchAnswer::Withdrawn { order: job.order, withdrawn, generation: self.changes.generation() }
            }
            Verdict::TooOld => BatchAnswer::Refused(too_old()),
        };
        // Nobody listens if the client has gone: the request is then neither stored nor acknowledged.
        let _ = job.answer.send(refused);
    }

    fn append(&mut self, job: BatchJob) {
        let BatchJob { encoded, order, reply, answer, .. } = job;
        match order {
            Order::Claimed(claim) => match self.write(&encoded) {
                Ok(_) => self.group.batches.push(WrittenBatch { claim, reply, answer }),
                Err(error) => drop(answer.send(BatchAnswer::Refused(error))),
            },
            Order::Numbered(mut numbered) => match self.write_numbered(encoded, &mut numbered) {
                Ok((lsn, json)) => {
                    let Numbered { subject, draft: receipt, announced, .. } = *numbered;
                    // It is not on its way any more.
                    drop(announced);
                    self.group.numbered.push(WrittenNumbered { lsn, subject, receipt, json, reply, answer });
                }
                Err(error) => drop(answer.send(BatchAnswer::Refused(error))),
            },
        }
    }

    /// Finishes a receipt and writes it with its batch; the number is taken from then on. Its lsn, and the receipt's JSON.
    fn write_numbered(&mut self, mut encoded: Encoded, numbered: &mut Numbered) -> Result<(u64, String), Error> {
        let Numbered { key, draft: receipt, .. } = numbered;
        let key = *key;
        let before = self.shared.batches.of(&key);
        let mut stored = Vec::new();
        for (name, purpose) in receipt.purposes.iter_mut().filter(|(_, purpose)| purpose.stored > 0) {
            let Some(number) = self.shared.purposes.number(name) else { continue };
            let count = before.stored(number) + 1;
            purpose.batch = Some(count);
            stored.push((number, count));
        }
        // Here and not in the draft: receipts in the order of the queue name checkpoints that never go back.
        receipt.checkpoint = self.shared.checkpoint();
        let json = receipt_json(receipt)?;
        encoded.add_receipt(&json)?;
        let lsn = self.write(&encoded)?;
        self.shared.batches.change(key, |batches| {
            batches.numbers.take(receipt.batch);
            for (purpose, count) in stored {
                batches.set_stored(purpose, count);
            }
        });
        Ok((lsn, json))
    }

    fn statement(&mut self, job: StatementJob) {
        let Some(subject) = subject_of(&job.statement) else {
            let _ = job.answer.send(StatementAnswer::Refused(no_subject()));
            return;
        };
        let current = self.state_of(&subject, &job.key);
        if current != job.base {
            self.group.superseded.push(job.answer);
            return;
        }
        match self.write(&job.encoded) {
            Ok(lsn) => {
                let day = self.shared.day();
                self.changes.note(&self.shared.purposes, job.key, (&current, &job.state), day);
                self.group.states.insert(job.key, job.state);
                let StatementJob { statement, key, state, answer, .. } = job;
                self.group.statements.push(WrittenStatement { lsn, subject, key, state, statement, answer });
            }
            Err(error) => {
                let _ = job.answer.send(StatementAnswer::Refused(error));
            }
        }
    }

    /// The subject's state for whatever comes next in the queue.
    fn state_of(&self, subject: &LedgerId, key: &SubjectKey) -> SubjectConsent {
        let in_group = self.group.states.get(key).copied();
        in_group.unwrap_or_else(|| self.shared.consent.of_subject(subject))
    }

    /// From here on nothing of the subject is taken. What makes that last is not a frame, and is durable already.
    fn close_subject(&mut self, subject: &LedgerId, answer: oneshot::Sender<()>) {
        let key = key_of(subject);
        // The tombstone is in memory by now: what was in force before is in the map, or nothing was.
        let before = self.group.states.get(&key).copied().unwrap_or_else(|| self.shared.consent.of(&key));
        let day = self.shared.day();
        self.changes.note(&self.shared.purposes, key, (&before, &erased()), day);
        self.group.states.insert(key, erased());
        self.group.closings.push((key, answer));
    }

    /// Writes a frame; it is durable after the next [`Self::commit`].
    fn write(&mut self, encoded: &Encoded) -> Result<u64, Error> {
        let len = frame_len(encoded);
        if self.segment.as_ref().is_some_and(|segment| !segment.fits(len)) {
            self.commit();
            self.close_segment();
            // One without frames stays open, and is too small for this one: it is made anew under the same name.
            self.segment = None;
        }
        let segment = match &mut self.segment {
            Some(segment) => segment,
            none => none.insert(open_segment(&self.shared, &self.wal, self.next_lsn, len)?),
        };
        let lsn = match segment.append(encoded) {
            Ok(lsn) => lsn,
            Err(error) => end_process("writing to a segment", segment.path(), &error),
        };
        self.next_lsn = segment.next_lsn();
        self.group.frames += 1;
        self.group.rows += encoded.rows;
        Ok(lsn)
    }

    /// Makes everything written durable, puts it in force, and only then answers.
    fn commit(&mut self) {
        let group = std::mem::take(&mut self.group);
        if let Some(segment) = self.segment.as_ref().filter(|_| group.frames > 0) {
            fail::fail_point!("segment::before_sync", |_| std::process::abort());
            if let Err(error) = segment.sync() {
                end_process("syncing a segment", segment.path(), &error);
            }
            fail::fail_point!("segment::after_sync", |_| std::process::abort());
            self.count(&group);
        }
        self.put_in_force(group.statements, group.closings);
        for batch in group.batches {
            batch.claim.keep(batch.reply);
            let _ = batch.answer.send(BatchAnswer::Durable(None));
        }
        self.gather_receipts(group.numbered);
        for answer in group.seen {
            let _ = answer.send(BatchAnswer::Seen);
        }
        for answer in group.superseded {
            let _ = answer.send(StatementAnswer::Superseded);
        }
    }

    fn put_in_force(&self, statements: Vec<WrittenStatement>, closings: Vec<(SubjectKey, oneshot::Sender<()>)>) {
        for written in &statements {
            self.shared.recent.push(written.subject, written.lsn, written.statement.clone());
            self.shared.consent.set(written.key, written.state);
        }
        for (key, _) in &closings {
            self.shared.consent.set(*key, erased());
        }
        self.shared.consent.publish(self.changes.generation());
        for (_, answer) in closings {
            let _ = answer.send(());
        }
        for written in statements {
            let _ = written.answer.send(StatementAnswer::Durable);
        }
    }

    /// What is durable is known from here on; its receipt may wait for others before it is signed.
    fn gather_receipts(&mut self, written: Vec<WrittenNumbered>) {
        for WrittenNumbered { lsn, subject, receipt, json, reply, answer } in written {
            let leaf = merkle::leaf_hash(json.as_bytes());
            self.shared.receipts.push((subject, receipt.batch), lsn, Told::new(json, reply));
            self.gathering.push(Gathered { receipt, leaf, answer });
        }
    }

    fn count(&self, group: &Group) {
        let gauges = &self.shared.gauges;
        Gauges::add(&gauges.frames, group.frames);
        Gauges::add(&gauges.syncs, 1);
        Gauges::add(&gauges.pending_rows, group.rows);
        gauges.lsn.store(self.next_lsn - 1, Ordering::Relaxed);
    }

    /// Hands the open segment to the flusher, if it has frames. All of them are durable: only call it after a commit.
    fn close_segment(&mut self) {
        let Some(segment) = self.segment.take_if(|segment| segment.frames() > 0) else { return };
        self.shared.gauges.close_segment();
        self.shared.closed.push(ClosedSegment {
            path: segment.path().to_path_buf(),
            last_lsn: segment.next_lsn() - 1,
            rows: segment.rows(),
            opened: segment.opened(),
        });
    }

    /// Signs receipts that waited for long enough, closes a segment that is full enough or old enough, and looks after a full disk.
    fn keep_house(&mut self) {
        if self.gathering.is_due(&self.shared.announcements) {
            self.gathering.sign(&self.shared);
        }
        let settings = &self.shared.settings;
        let age = Duration::from_secs(settings.flush_seconds);
        let due =
            |segment: &SegmentWriter| segment.weight() >= settings.segment_rows || segment.opened().elapsed() >= age;
        if self.segment.as_ref().is_some_and(due) {
            self.close_segment();
        }
        if self.segment.is_none() && self.shared.refusing().is_some() {
            // One that is opened now serves the next request.
            self.segment = open_segment(&self.shared, &self.wal, self.next_lsn, 0).ok();
        }
    }

    /// How long the queue may stay empty before there is something else to do.
    fn patience(&self) -> Option<Duration> {
        self.patience_of_segment().into_iter().chain(self.gathering.patience()).min()
    }

    fn patience_of_segment(&self) -> Option<Duration> {
        if self.shared.refusing().is_some() {
            return Some(RETRY);
        }
        let segment = self.segment.as_ref().filter(|segment| segment.frames() > 0)?;
        let age = Duration::from_secs(self.shared.settings.flush_seconds);
        Some(age.saturating_sub(segment.opened().elapsed()))
    }
}

/// Opens a segment, or says why the client must wait. A full disk is not the end: the same frame may fit later.
fn open_segment(shared: &Shared, wal: &std::path::Path, lsn: u64, frame: u64) -> Result<SegmentWriter, Error> {
    match SegmentWriter::create(wal, lsn, shared.settings.segment_bytes, frame) {
        Ok(segment) => {
            shared.gauges.open_segment(segment.opened());
            if shared.set_refusing(None) {
                tracing::info!("segments can be opened again: requests are taken");
            }
            Ok(segment)
        }
        Err(CreateError::Sync(error)) => end_process("syncing a new segment", wal, &error),
        Err(CreateError::Refused(error)) => {
            let refused = Error::new(
                Kind::Retry,
                format!("cannot open a segment in {}", wal.display()),
                &error,
                "free some disk space, or mend what is said: requests are taken again by themselves",
            );
            if shared.set_refusing(Some(refused.clone())) {
                tracing::error!(%error, folder = %wal.display(), "no segment can be opened: requests are told to come again");
            }
            Err(refused)
        }
    }
}

fn too_old() -> Error {
    Error::new(
        Kind::Retry,
        "a request waited too long",
        "more consents changed meanwhile than are remembered",
        "send it again",
    )
}

fn no_subject() -> Error {
    Error::new(
        Kind::Stop,
        "a statement has no ledger id",
        "it is not 64 hex digits",
        "this is a fault of candor: report it",
    )
}

#[cfg(test)]
mod tests;
