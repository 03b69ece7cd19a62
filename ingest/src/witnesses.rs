//! Witnesses (c2sp.org/tlog-witness): each is asked to cosign the newest checkpoint of the log, beside everything else. Nobody waits
//! for what it answers, and nothing is believed that its key did not sign.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candor_store::clock::Clock;
use candor_store::log::Log;
use candor_store::settings::Witness;
use candor_wire::counted::{counted, counted_and};
use candor_wire::log::checkpoint::SignedCheckpoint;
use candor_wire::log::note::{Signature, VerifierKey};
use candor_wire::log::witness::{AddCheckpoint, conflict, cosignature};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::metrics::OfWitness;

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// After this long a witness is asked to sign the same checkpoint again: its signature says that the log is not older than that.
const REFRESH: Duration = Duration::from_hours(1);
/// Waits after failures grow from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// How often one checkpoint is sent before the next wait: a witness says once where it is, another service may come between.
const TRIES: u32 = 3;

/// What a witness answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, if it gave one.
    pub content_type: Option<String>,
    /// The body, up to a limit.
    pub body: Bytes,
}

/// An answer on its way, or why there is none.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send + 'a>>;

/// A way to witnesses over the network.
pub trait Ask: std::fmt::Debug + Send + Sync {
    /// Posts a body to a witness, at its address and [`candor_wire::log::witness::PATH`].
    fn ask<'a>(&'a self, witness: &'a Witness, body: String) -> Asking<'a>;
}

/// No way to anybody, for a service without witnesses.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Ask for Nobody {
    fn ask<'a>(&'a self, _witness: &'a Witness, _body: String) -> Asking<'a> {
        Box::pin(async { Err("there is no way to it".to_owned()) })
    }
}

/// Why a witness did not cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// It did not answer in time.
    Unreachable,
    /// It answered with a status that says no.
    Refused,
    /// What it saw is not a beginning of this log.
    Inconsistent,
    /// What it answered is not its signature.
    Invalid,
    /// The log could not be read or written here.
    Store,
}

impl Failure {
    pub(crate) const ALL: [Self; 5] =
        [Self::Unreachable, Self::Refused, Self::Inconsistent, Self::Invalid, Self::Store];

    /// As metrics have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Inconsistent => "inconsistent",
            Self::Invalid => "invalid",
            Self::Store => "store",
        }
    }
}

/// The tasks that ask, one a witness.
#[derive(Debug)]
pub(crate) struct Witnesses {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Witnesses {
    /// Begins to ask.
    pub(crate) fn start(
        witnesses: Vec<Witness>,
        (log, ask, clock): (&Arc<Log>, &Arc<dyn Ask>, &Arc<dyn Clock>),
        figures: impl Fn(&VerifierKey) -> OfWitness,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tasks = witnesses.into_iter().map(|witness| {
            let figures = figures(&witness.key);
            let (log, ask, clock) = (Arc::clone(log), Arc::clone(ask), Arc::clone(clock));
            let asker = Asker { witness, log, ask, clock, figures, size: 0, signed_at: 0, failures: 0 };
            tokio::spawn(asker.run(stopped.clone()))
        });
        Self { tasks: tasks.collect(), stop }
    }

    /// Asks no more; returns when nothing of the log is being written.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a witness could not be asked to the end");
            }
        }
    }
}

/// Asks one witness.
#[derive(Debug)]
struct Asker {
    witness: Witness,
    log: Arc<Log>,
    ask: Arc<dyn Ask>,
    clock: Arc<dyn Clock>,
    figures: OfWitness,
    /// Entries of the checkpoint that it cosigned last, as far as is known here.
    size: u64,
    /// When that was, in seconds since 1970.
    signed_at: u64,
    failures: u32,
}

impl Asker {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut newest = self.log.newest();
        self.remember(&newest.borrow_and_update().clone());
        loop {
            let checkpoint = Arc::clone(&newest.borrow_and_update());
            if self.is_due(&checkpoint) {
                // Dropped at a stop while it waits for an answer, and never while it writes.
                let asked = tokio::select! {
                    asked = self.signature(&checkpoint) => asked,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                let done = match asked {
                    Ok(Some(signature)) => self.keep(&checkpoint, signature).await,
                    Ok(None) => Ok(()),
                    Err(failed) => Err(failed),
                };
                self.note(done);
            }
            let is_failing = self.failures > 0;
            tokio::select! {
                () = tokio::time::sleep(self.wait()) => {}
                // While it fails only the time counts: whatever is newest then is asked for.
                changed = newest.changed(), if !is_failing => if changed.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// What its signature under the checkpoint of a start says.
    fn remember(&mut self, checkpoint: &SignedCheckpoint) {
        if let Some(time) = signed(checkpoint, &self.witness.key) {
            (self.size, self.signed_at) = (checkpoint.checkpoint.size, time);
        }
        self.figures.signed(self.size, self.signed_at);
    }

    fn is_due(&self, checkpoint: &SignedCheckpoint) -> bool {
        let is_old = || self.age() >= REFRESH.as_secs();
        checkpoint.checkpoint.size > 0 && (signed(checkpoint, &self.witness.key).is_none() || is_old())
    }

    /// How long to do nothing, if nothing changes.
    fn wait(&self) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else {
            return REFRESH.saturating_sub(Duration::from_secs(self.age())).max(FIRST_WAIT);
        };
        let bound = FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(LONGEST_WAIT);
        // Half of it at random, so that the services of a fleet do not come back together.
        let random = RandomState::new().hash_one(doublings) % 1_000;
        bound / 2 + bound.mul_f64(random as f64 / 2_000.0)
    }

    /// Its signature under a checkpoint; none if it has signed a later one.
    async fn signature(&mut self, checkpoint: &Arc<SignedCheckpoint>) -> Result<Option<Signature>, Failed> {
        let (size, text) = (checkpoint.checkpoint.size, checkpoint.note.text());
        for _ in 0..TRIES {
            if self.size > size {
                return Ok(None);
            }
            let body = self.request(checkpoint, self.size).await?;
            let asked = tokio::time::timeout(PATIENCE, self.ask.ask(&self.witness, body)).await;
            let answer = asked.unwrap_or_else(|_| Err("it took too long".to_owned()));
            let answer = answer.map_err(|why| Failed(Failure::Unreachable, why))?;
            match answer.status {
                200 => {
                    let signature = cosignature(&answer.body, text, &self.witness.key);
                    return signature.map(Some).map_err(|why| invalid(&why));
                }
                409 => self.follow(&answer)?,
                422 => return Err(Failed(Failure::Inconsistent, "it does not take the proof (422)".to_owned())),
                status => return Err(Failed(Failure::Refused, format!("it answered {status}"))),
            }
        }
        Err(Failed(Failure::Refused, "it says another size each time".to_owned()))
    }

    async fn request(&self, checkpoint: &Arc<SignedCheckpoint>, old: u64) -> Result<String, Failed> {
        let (log, checkpoint) = (Arc::clone(&self.log), Arc::clone(checkpoint));
        let proof = spawn_blocking(move || {
            let proof = log.consistency(old, checkpoint.checkpoint.size)?;
            Ok::<_, candor_store::error::Error>(AddCheckpoint { old, proof, note: checkpoint.note.clone() }.to_string())
        });
        match proof.await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) => Err(Failed(Failure::Store, error.to_string())),
            Err(error) => Err(Failed(Failure::Store, error.to_string())),
        }
    }

    /// Takes the size that a witness says it cosigned last.
    fn follow(&mut self, answer: &Answer) -> Result<(), Failed> {
        let conflict = conflict(answer.content_type.as_deref(), &answer.body);
        let last = conflict.ok_or_else(|| invalid(&"a conflict without a size"))?;
        let newest = self.log.size();
        if last > newest {
            let why = format!("it cosigned {}, and the log has {newest}: entries were lost", counted(last, "entry"));
            return Err(Failed(Failure::Inconsistent, why));
        }
        if last == self.size {
            return Err(Failed(
                Failure::Inconsistent,
                format!("it cosigned {} others", counted_and(last, "entry", "that was", "that were")),
            ));
        }
        self.size = last;
        Ok(())
    }

    /// Makes its signature durable and shows it, unless the log has grown meanwhile.
    async fn keep(&mut self, checkpoint: &Arc<SignedCheckpoint>, signature: Signature) -> Result<(), Failed> {
        let time = signature.time().unwrap_or_default();
        let (log, seen) = (Arc::clone(&self.log), Arc::clone(checkpoint));
        let kept = spawn_blocking(move || log.add_cosignatures(&seen.checkpoint, vec![signature])).await;
        match kept {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Failed(Failure::Store, error.to_string())),
            Err(error) => return Err(Failed(Failure::Store, error.to_string())),
        }
        // One whose clock is ahead must not look fresh for ever, nor be asked all the time for being behind.
        (self.size, self.signed_at) = (checkpoint.checkpoint.size, self.now());
        self.figures.signed(self.size, time.min(self.signed_at));
        Ok(())
    }

    /// Counts and tells what came of asking.
    fn note(&mut self, done: Result<(), Failed>) {
        let name = self.witness.key.name();
        let Err(Failed(failure, why)) = done else {
            if self.failures > 0 {
                tracing::info!(witness = name, size = self.size, "the witness cosigns again");
            }
            self.failures = 0;
            return;
        };
        self.failures = self.failures.saturating_add(1);
        self.figures.failed(failure);
        let kind = failure.name();
        if failure == Failure::Inconsistent {
            tracing::error!(witness = name, kind, why, "the witness saw another log: it was turned back, or forked");
        } else {
            tracing::warn!(witness = name, kind, why, "the witness did not cosign");
        }
    }

    fn age(&self) -> u64 {
        self.now().saturating_sub(self.signed_at)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now() / 1_000_000).unwrap_or_default()
    }
}

/// What went wrong, and what is known of it.
#[derive(Debug)]
struct Failed(Failure, String);

fn invalid(why: &dyn std::fmt::Display) -> Failed {
    Failed(Failure::Invalid, why.to_string())
}

/// When a witness cosigned a checkpoint, if it did.
fn signed(checkpoint: &SignedCheckpoint, witness: &VerifierKey) -> Option<u64> {
    checkpoint.note.verify(std::slice::from_ref(witness)).ok()?.first()?.time
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicI64, Ordering};

    use candor_wire::log::entry::{Entry, InForce, Sha256Hex};
    use candor_wire::log::note::{Algorithm, Signer};

    use super::*;
    use crate::metrics::Metrics;
    use crate::tests::world::StillClock;

    const SECOND: i64 = 1_000_000;

    /// A witness that signs whatever comes, and remembers it.
    #[derive(Debug)]
    struct Signs(Signer, Mutex<Vec<u64>>);

    impl Ask for Signs {
        fn ask<'a>(&'a self, _witness: &'a Witness, body: String) -> Asking<'a> {
            let request = AddCheckpoint::parse(body.as_bytes()).unwrap();
            self.1.lock().unwrap().push(request.old);
            let line = self.0.sign(request.note.text(), 1_780_000_000).to_string();
            Box::pin(async { Ok(Answer { status: 200, content_type: None, body: line.into() }) })
        }
    }

    fn asker(data: &std::path::Path) -> (Asker, Arc<Signs>, Arc<StillClock>) {
        let signer = Signer::new("acme.example/log", Algorithm::Ed25519, &[1; 32]).unwrap();
        let log = Log::open(data, vec![signer], "acme.example/log").unwrap();
        let witness = Signer::new("witness.example/w1", Algorithm::Cosignature, &[2; 32]).unwrap();
        let key = witness.verifier().clone();
        let signs = Arc::new(Signs(witness, Mutex::default()));
        let clock = Arc::new(StillClock(AtomicI64::new(1_780_000_000 * SECOND)));
        let of_witness = Asker {
            figures: Metrics::new().of_witness(&key),
            witness: Witness { key, url: "http://witness.example".to_owned(), ca: None },
            log: Arc::new(log),
            ask: Arc::clone(&signs) as Arc<dyn Ask>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            size: 0,
            signed_at: 0,
            failures: 0,
        };
        (of_witness, signs, clock)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_checkpoint_is_signed_once_and_anew_after_an_hour() {
        let data = tempfile::tempdir().unwrap();
        let (mut asker, signs, clock) = asker(data.path());
        assert!(!asker.is_due(&asker.log.checkpoint()), "there is nothing to sign yet");
        let digest = |n: u8| Sha256Hex([n; 32]);
        asker.log.append(&[Entry::Policy(InForce { digest: digest(1), since: 1 })]).unwrap();
        asker.log.append(&[Entry::Policy(InForce { digest: digest(2), since: 2 })]).unwrap();
        for _ in 0..2 {
            let checkpoint = asker.log.checkpoint();
            assert!(asker.is_due(&checkpoint));
            let signature = asker.signature(&checkpoint).await.unwrap().unwrap();
            asker.keep(&checkpoint, signature).await.unwrap();
            let (shown, wait) = (asker.log.checkpoint(), asker.wait());
            assert!(!asker.is_due(&shown) && signed(&shown, &asker.witness.key).is_some());
            assert_eq!(wait, REFRESH);
            clock.0.fetch_add(3_600 * SECOND, Ordering::Relaxed);
        }
        // Its own clock stands still: it is not asked all the time for that.
        assert_eq!(*signs.1.lock().unwrap(), [0, 2]);
        // A start knows from the checkpoint what was signed, and when.
        (asker.size, asker.signed_at) = (0, 0);
        asker.remember(&asker.log.checkpoint());
        assert_eq!((asker.size, asker.signed_at), (2, 1_780_000_000));
    }

    #[test]
    fn waits_grow_to_a_bound_and_spread() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _guard = runtime.enter();
        let data = tempfile::tempdir().unwrap();
        let mut asker = asker(data.path()).0;
        for failures in 1..40 {
            asker.failures = failures;
            let bound = FIRST_WAIT.saturating_mul(1 << (failures - 1).min(20)).min(LONGEST_WAIT);
            let waits: Vec<_> = (0..50).map(|_| asker.wait()).collect();
            assert!(waits.iter().all(|wait| (bound / 2..=bound).contains(wait)), "{failures}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "{failures} failures: no jitter");
        }
    }
}
