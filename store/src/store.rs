//! The store of a running service: append, consent, flush. One process at a time holds it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use candor_policy::batch::Cleared;
use candor_policy::catalogue::Signal;
use candor_policy::consent::{ConsentSnapshot, ConsentState, SubjectConsent};
use candor_policy::counts::Count;
use candor_policy::keys::Keys;
use candor_policy::plan::Plan;
use candor_policy::subject::LedgerId;
use candor_wire::receipt::SignedReceipt;
use candor_wire::statement::{ConsentRequest, Statement, StatementError};
use ring::hmac;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::appender::Appender;
use crate::backup::refuse_unfinished;
use crate::clock::Clock;
use crate::consent::{Purposes, is_erased, key_of};
use crate::epochs::Epochs;
use crate::erase::{Desk, restored};
use crate::error::{Error, Kind};
use crate::fit;
use crate::flusher::Flusher;
use crate::keys::KeyRing;
use crate::ledger::Ledger;
use crate::load::load;
use crate::lock::Lock;
use crate::log::{self, Log};
use crate::queue::{BatchAnswer, BatchJob, Job, Order, StatementAnswer, StatementJob};
use crate::repeats::{Claim, Claimed, too_many_held};
use crate::reply::Reply;
use crate::schedule::Schedule;
use crate::sealing::Sealer;
use crate::segment::codec::{Encoded, encode_statement};
use crate::segment::{FOLDER, SET_ASIDE};
use crate::settings::Settings;
use crate::shared::{Gauges, Shared};

mod backup;
mod encode;
pub mod erasure;
mod figures;
#[cfg(test)]
mod fixture;
mod keyring;
mod prepare;
mod signed;
#[cfg(test)]
mod tests;
pub mod upkeep;
pub mod withdraw;

pub use figures::Figures;

use encode::{Identity, concerned, encode};
#[cfg(feature = "failpoints")]
pub(crate) use prepare::arm_failpoints;
use prepare::{keep_documents, make_folder};

/// What identifies a request for recognising repeats: HMAC-SHA256 of its decompressed body, or of its events' ids, under a
/// key of the ring, first 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchDigest(pub [u8; 16]);

/// Stands where the digest of a body has its signal.
const IN_PARTS: u8 = 3;

impl BatchDigest {
    fn of(context: hmac::Context) -> Self {
        let mut digest = [0; 16];
        digest.copy_from_slice(&context.sign().as_ref()[..16]);
        Self(digest)
    }
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The batch is durable.
    Stored {
        /// What the client is told.
        reply: Reply,
        /// The account as it was written: withdrawals at the append included.
        counts: Vec<Count>,
    },
    /// The same request was stored before; nothing was added.
    Repeat(Reply),
}

/// What became of a batch that was offered to the appender.
enum Offered {
    Durable {
        counts: Vec<Count>,
        receipt: Option<Box<SignedReceipt>>,
    },
    Seen,
    TooFar,
    Erased,
    /// It lost rows, and is to be encoded anew.
    Again {
        cleared: Box<Cleared>,
        order: Order,
    },
}

/// What a flush did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FlushReport {
    /// Rows written to tables.
    pub rows: u64,
    /// Parquet files committed.
    pub files: u64,
    /// Segments released.
    pub segments: u64,
}

/// The open store. Dropping it without [`Store::close`] leaves what is not in tables to the next start.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    ledger: Ledger,
    keys: Arc<RwLock<Arc<Keys>>>,
    ring: Arc<Mutex<KeyRing>>,
    /// Keys that the policy in force names.
    named: Vec<String>,
    repeats_key: hmac::Key,
    log: Arc<Log>,
    epochs: Arc<Epochs>,
    keeping: tokio::task::JoinHandle<()>,
    desk: Arc<Desk>,
    erasing: tokio::task::JoinHandle<()>,
    threads: Vec<JoinHandle<()>>,
    schedule: Schedule,
    /// The threads hold it as well: the folder stays locked until the last of them is done.
    _lock: Arc<Lock>,
}

impl Store {
    /// Locks the data folder, makes what is missing (key ring included), recovers segments, and starts appender and flusher.
    /// Must be called inside a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// `Retry` if another process holds the lock, `Data` if something on disk is not what it should be.
    pub async fn open(settings: Settings, plan: Arc<Plan>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        #[cfg(feature = "failpoints")]
        arm_failpoints();
        let data = settings.data.clone();
        refuse_unfinished(&data)?;
        make_folder(&data)?;
        let lock = Arc::new(Lock::take(&data)?);
        for name in [FOLDER, SET_ASIDE, "documents"] {
            make_folder(&data.join(name))?;
        }
        let named = plan.named_keys();
        let ring = KeyRing::of_service(&settings, &named, clock.now())?;
        let ledger = Ledger::open(&data.join("ledger.db")).await?;
        let log = open_log(&settings, &ring, &plan)?;
        fit::at_start(&data, &ledger, &log, &plan).await?;
        keep_documents(&data, &ledger, &plan, clock.now()).await?;
        log::start::log_start(&log, &ring.told(clock.now()), &plan, clock.now())?;
        let tombstones = restored::look(&data, &ledger).await?;
        let swept = crate::table::sweep(&data, crate::rewrite::files_of_jobs(&ledger).await?, &log).await?;
        let shared = Shared::new(settings, clock, Purposes::of_plan(&plan)).with_receipt_key(ring.receipts());
        let shared = Arc::new(shared.with_log(&log).with_tombstones(ring.tombstones(), &tombstones.ids));
        // Tables skip what is not above their `txn`, also where the ledger came from a backup.
        let loaded = load(&shared, &ledger, tombstones.is_ledger_older).await?;
        let next_lsn = loaded.next_lsn.max(swept.highest_lsn + 1);
        restored::erase_again(&shared, &ledger, &ring.tombstones(), &tombstones, loaded.erased).await?;

        shared.closed.ask(Box::new(crate::rewrite::resume_at_start));
        let appender = Appender::new(Arc::clone(&shared), next_lsn);
        let sealer = Sealer::new(data, Arc::clone(&log), Arc::clone(&shared.gauges.unsealed));
        let flusher = Flusher::new(Arc::clone(&shared), ledger.clone(), Handle::current(), sealer);
        let threads = vec![
            spawn("candor-append", Arc::clone(&lock), move || appender.run())?,
            spawn("candor-flush", Arc::clone(&lock), move || flusher.run())?,
        ];
        let epochs = Epochs::new(Arc::clone(&shared), ledger.clone(), Arc::clone(&log));
        epochs.begin().await?;
        let epochs = Arc::new(epochs);
        let keeping = tokio::spawn(Arc::clone(&epochs).run());
        let schedule = Schedule::start(&shared);
        let (keys, repeats_key) = (Arc::new(RwLock::new(Arc::new(ring.keys()))), ring.repeats());
        let ring = Arc::new(Mutex::new(ring));
        let (fleet, of_log) = (&plan.catalogue().name, Arc::clone(&log));
        let desk = Desk::open(Arc::clone(&shared), ledger.clone(), of_log, Arc::clone(&ring), fleet).await?;
        let desk = Arc::new(desk);
        let erasing = tokio::spawn(Arc::clone(&desk).rounds());
        Ok(Self {
            shared,
            ledger,
            keys,
            ring,
            named,
            repeats_key,
            log,
            epochs,
            keeping,
            desk,
            erasing,
            threads,
            schedule,
            _lock: lock,
        })
    }

    /// The log of statements.
    #[must_use]
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// Keyed digest of a decompressed body of a signal from a source: the same bytes may be a request of two signals.
    #[must_use]
    pub fn batch_digest(&self, source: &str, signal: Signal, body: &[u8]) -> BatchDigest {
        let mut context = hmac::Context::with_key(&self.repeats_key);
        context.update(source.as_bytes());
        context.update(&[signal as u8]);
        context.update(body);
        BatchDigest::of(context)
    }

    /// Keyed digest of a request from a source by parts: what makes two requests of a protocol the same one.
    #[must_use]
    pub fn request_digest<'a>(&self, source: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> BatchDigest {
        let mut context = hmac::Context::with_key(&self.repeats_key);
        context.update(source.as_bytes());
        context.update(&[IN_PARTS]);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        BatchDigest::of(context)
    }

    /// What the same request was told within the horizon, if it is durable already.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn repeat_of(&self, digest: &BatchDigest) -> Result<Option<Reply>, Error> {
        let reply = self.known(digest).await?;
        Gauges::add(&self.shared.gauges.repeats, u64::from(reply.is_some()));
        Ok(reply)
    }

    /// Whether the same request is durable already; asking counts nothing.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn is_known(&self, digest: &BatchDigest) -> Result<bool, Error> {
        Ok(self.known(digest).await?.is_some())
    }

    /// Consent of these subjects, at a generation read before the states.
    #[must_use]
    pub fn consent(&self, subjects: &[LedgerId]) -> ConsentSnapshot {
        self.shared.consent.snapshot(subjects)
    }

    /// Makes a cleared batch durable; returns after its fdatasync. Rows of subjects who withdrew since the batch's
    /// snapshot are taken out first. The decision about a repeat falls here, in the order of the queue.
    ///
    /// If the caller goes away meanwhile, the batch is stored whole or not at all, and sending it again is safe.
    ///
    /// # Errors
    /// `Retry` when the queue is full or the disk is; `Stop` after a failed fsync (the process ends).
    pub async fn append(&self, cleared: Cleared, digest: BatchDigest, reply: Reply) -> Result<Appended, Error> {
        let claim = match self.claim(digest).await? {
            Ok(claim) => claim,
            Err(reply) => {
                Gauges::add(&self.shared.gauges.repeats, 1);
                return Ok(Appended::Repeat(reply));
            }
        };
        let identity = Identity::Digest(digest);
        let (mut cleared, mut order) = (cleared, Order::Claimed(claim));
        loop {
            let ready = encode(cleared, &identity, &reply).await?;
            match self.offer(ready.cleared, ready.encoded, order, &reply).await? {
                Offered::Durable { counts, .. } => return Ok(Appended::Stored { reply, counts }),
                Offered::Again { cleared: fewer, order: back } => (cleared, order) = (*fewer, back),
                // Only numbers can be that.
                Offered::Seen | Offered::TooFar | Offered::Erased => return Err(Error::closed()),
            }
        }
    }

    /// Waits until the ledger is not far behind with statements: whoever brings many of them asks first.
    ///
    /// # Errors
    /// `Retry` if it does not get on.
    pub async fn room_for_statements(&self) -> Result<(), Error> {
        self.shared.recent.room().await
    }

    /// The same for statements of one request. Their order must hold, so that all go on at once where one of them must not wait: whoever
    /// takes something back waits for nothing, nor does who gives nothing.
    ///
    /// What goes on so is held in memory without a bound, since a bound would be a withdrawal refused. Nobody can fill it with more than
    /// he can do anyway: who may state for assigned subjects may take back and erase what all of them gave, and the appender's syncs set
    /// the pace as they do for statements one by one, which have never waited.
    ///
    /// # Errors
    /// `Retry` if it does not get on.
    pub async fn room_for(&self, requests: &[ConsentRequest]) -> Result<(), Error> {
        if self.shared.recent.has_room() || self.must_not_wait(requests) {
            return Ok(());
        }
        self.shared.recent.room().await
    }

    fn must_not_wait(&self, requests: &[ConsentRequest]) -> bool {
        let (keys, day) = (self.keys(), self.shared.day());
        // What names no purpose may bring an age, which can permit more.
        let gives = |request: &ConsentRequest| {
            request.purposes.is_empty() || request.purposes.values().any(|state| *state == ConsentState::Given)
        };
        let takes_back = |request: &ConsentRequest| {
            let in_force = self.shared.consent.of_subject(&keys.ledger_id(&request.subject));
            self.shared.purposes.takes_back(&in_force, request, day)
        };
        !requests.iter().any(gives) || requests.iter().any(takes_back)
    }

    /// Records a consent statement; returns the full statement after its fdatasync, when it is in force.
    ///
    /// # Errors
    /// `Request` for an unknown purpose or a bad date; as [`Store::append`] otherwise.
    pub async fn record_consent(&self, request: ConsentRequest, source: &str) -> Result<Statement, Error> {
        let subject = self.keys().ledger_id(&request.subject);
        loop {
            // In this order: what comes in between is seen by the appender.
            let base = self.shared.consent.of_subject(&subject);
            if is_erased(&base) {
                return Err(erased_for_good());
            }
            let previous = self.newest_statement(&subject).await?;
            let statement = self.next_statement(previous.as_ref(), &request, &subject, source)?;
            let state = self.shared.purposes.compact(&statement);
            if self.put_statement(&subject, statement.clone(), (base, state)).await? {
                return Ok(statement);
            }
        }
    }

    /// Appends a statement that turns one state into another; false if the first is not in force any more.
    async fn put_statement(
        &self,
        subject: &LedgerId,
        statement: Statement,
        (base, state): (SubjectConsent, SubjectConsent),
    ) -> Result<bool, Error> {
        let (answer, told) = oneshot::channel();
        let encoded = encode_statement(&statement)?;
        let job = StatementJob { encoded, key: key_of(subject), base, state, statement, answer };
        self.shared.queue.push(Job::Statement(Box::new(job)))?;
        match told.await.map_err(|_| Error::closed())? {
            StatementAnswer::Durable => Ok(true),
            StatementAnswer::Refused(error) => Err(error),
            // Another statement of the subject came first: build on that one.
            StatementAnswer::Superseded => Ok(false),
        }
    }

    /// The subject's statements, oldest first.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn consent_history(&self, subject: &LedgerId) -> Result<Vec<Statement>, Error> {
        // In this order: a statement that moves to the ledger meanwhile is seen twice, not missed.
        let recent = self.shared.recent.of(subject);
        // One that signs may make two of one number, of which the ledger may have the other.
        if recent.first().is_some_and(|first| first.sequence == 1 && first.signed.is_none()) {
            return Ok(recent);
        }
        let mut history = self.ledger.history(subject).await?;
        for statement in recent {
            if !history.contains(&statement) {
                history.push(statement);
            }
        }
        Ok(history)
    }

    /// A policy or catalogue that was ever in force, as RFC 8785 JSON.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn document(&self, digest: &candor_policy::digest::Digest) -> Result<Option<String>, Error> {
        self.ledger.document(&digest.to_string()).await
    }

    /// Closes the open segment and writes everything up to it into tables.
    ///
    /// # Errors
    /// As the tables' writers give them; rows then stay in segments and are tried again.
    pub async fn flush(&self) -> Result<FlushReport, Error> {
        let report = self.shared.flush().await?;
        self.epochs.keep().await?;
        Ok(report)
    }

    /// Whether appends are possible (for `/readyz`), with the reason if not.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), Error> {
        if self.shared.queue.is_closed() {
            return Err(Error::closed());
        }
        self.shared.refusing().map_or(Ok(()), Err)
    }

    /// Flushes, syncs and releases the lock.
    ///
    /// # Errors
    /// As [`Store::flush`].
    pub async fn close(mut self) -> Result<FlushReport, Error> {
        let flushed = self.flush().await;
        self.stop();
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        joined.await.map_err(|error| Error::new(Kind::Stop, "the store did not close", error, "start it again"))?;
        self.ledger.clone().close().await?;
        flushed
    }

    /// Offers a batch to the appender and waits for what becomes of it.
    async fn offer(&self, cleared: Cleared, encoded: Encoded, order: Order, reply: &Reply) -> Result<Offered, Error> {
        let (answer, told) = oneshot::channel();
        self.shared.queue.push(Job::Batch(BatchJob {
            encoded,
            generation: cleared.generation(),
            concerned: concerned(&cleared),
            order,
            reply: reply.clone(),
            answer,
        }))?;
        match told.await.map_err(|_| Error::closed())? {
            BatchAnswer::Durable(receipt) => Ok(Offered::Durable { counts: cleared.counts().to_vec(), receipt }),
            BatchAnswer::Seen => Ok(Offered::Seen),
            BatchAnswer::TooFar => Ok(Offered::TooFar),
            BatchAnswer::Erased => Ok(Offered::Erased),
            BatchAnswer::Refused(error) => Err(error),
            BatchAnswer::Withdrawn { order, withdrawn, generation } => {
                let cleared = cleared.without(&withdrawn, generation).map_err(|error| not_filtered(&error))?;
                Ok(Offered::Again { cleared: Box::new(cleared), order })
            }
        }
    }

    /// The right to append a request, or what it was told when it was stored before.
    async fn claim(&self, digest: BatchDigest) -> Result<Result<Claim, Reply>, Error> {
        match self.shared.repeats.claim(digest).await {
            Claimed::Known(reply) => Ok(Err(reply)),
            Claimed::Full => Err(too_many_held()),
            Claimed::Ours(claim) => Ok(self.released(&digest).await?.map_or(Ok(claim), Err)),
        }
    }

    async fn known(&self, digest: &BatchDigest) -> Result<Option<Reply>, Error> {
        match self.shared.repeats.held(digest) {
            Some(reply) => Ok(Some(reply)),
            None => self.released(digest).await,
        }
    }

    /// What a request that is not held was told, if the ledger has it.
    async fn released(&self, digest: &BatchDigest) -> Result<Option<Reply>, Error> {
        if !self.shared.repeats.may_be_released(digest) {
            return Ok(None);
        }
        self.ledger.repeat(digest, self.shared.horizon()).await
    }

    fn stop(&self) {
        self.keeping.abort();
        self.erasing.abort();
        self.schedule.stop();
        self.shared.queue.close();
        self.shared.closed.stop();
    }

    async fn newest_statement(&self, subject: &LedgerId) -> Result<Option<Statement>, Error> {
        if self.shared.consent.of(&key_of(subject)).sequence() == 0 {
            return Ok(None);
        }
        match self.shared.recent.of(subject).pop() {
            Some(statement) => Ok(Some(statement)),
            None => Ok(self.ledger.history(subject).await?.pop()),
        }
    }

    fn next_statement(
        &self,
        previous: Option<&Statement>,
        request: &ConsentRequest,
        subject: &LedgerId,
        source: &str,
    ) -> Result<Statement, Error> {
        let (names, now) = (self.shared.purposes.names(), self.shared.clock.now());
        Statement::next(previous, request, subject, names, now, source).map_err(not_a_statement)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Opens the log, and tells it of keys and documents that are new.
fn open_log(settings: &Settings, ring: &KeyRing, plan: &Plan) -> Result<Arc<Log>, Error> {
    let origin = settings.log.origin(&plan.catalogue().name);
    Log::open(&settings.data, ring.log_signers(&origin)?, &origin).map(Arc::new)
}

/// Starts a thread that the store cannot do without: if it panics, the process ends rather than take what nobody stores.
fn spawn(name: &str, lock: Arc<Lock>, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    const EXIT_AFTER_PANIC: i32 = 70;
    let thread = name.to_owned();
    let guarded = move || {
        let _lock = lock;
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!(thread, "a thread of the store panicked: the service ends");
            std::process::exit(EXIT_AFTER_PANIC);
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .map_err(|error| Error::new(Kind::Retry, "cannot start a thread", error, "raise the limit of processes"))
}

fn erased_for_good() -> Error {
    let mend = "a person who comes back needs another value to be known by";
    Error::new(Kind::Request, "nothing is recorded of this subject any more", "it was erased", mend)
}

fn not_filtered(error: &dyn std::fmt::Display) -> Error {
    let mend = "this is a fault of candor: report it";
    Error::new(Kind::Stop, "rows of a withdrawn consent cannot be taken out, so nothing is stored", error, mend)
}

fn not_a_statement(error: StatementError) -> Error {
    let what = "the consent cannot be recorded";
    match error {
        StatementError::UnknownPurpose { .. }
        | StatementError::BackToUnknown { .. }
        | StatementError::Invalid { .. } => Error::new(Kind::Request, what, error, "change the request as it says"),
        other => Error::new(Kind::Data, what, other, "run `candor doctor` on the data folder"),
    }
}
