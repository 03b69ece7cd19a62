//! Where erasures are handed in, and who sees to it that they are done in time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::{Certificate, PlaceState, Scope};
use candor_wire::identity::SubjectKey;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;

use super::pass::{self, Passed, Waiting, scope_of, unsound};
use super::plan;
use super::tombstones::{Line, Tombstone, TombstoneFile, TombstoneKey};
use super::{Erasure, Progress, restored};
use crate::consent::{is_erased, key_of};
use crate::error::{Error, Kind};
use crate::keys::KeyRing;
use crate::ledger::Ledger;
use crate::ledger::erasures::{Kept, State};
use crate::log::Log;
use crate::queue::Job;
use crate::rewrite::on_flusher;
use crate::settings::ErasureSettings;
use crate::shared::{Shared, lock};
use crate::table::layout;
use crate::unreadable::Files;
use crate::view::blocking;

const DAY: i64 = 86_400_000_000;
/// After a pass that left something.
const PAUSE: Duration = Duration::from_secs(30);

/// The desk of a running store.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Ledger,
    pub(super) log: Arc<Log>,
    pub(super) ring: Arc<Mutex<KeyRing>>,
    pub(super) key: TombstoneKey,
    pub(super) fleet: String,
    pub(super) settings: ErasureSettings,
    file: Arc<Mutex<TombstoneFile>>,
    /// One request at a time: the same one again finds the first.
    taking: tokio::sync::Mutex<()>,
    /// One pass at a time.
    passing: tokio::sync::Mutex<()>,
}

impl Desk {
    /// The desk of a data folder. What was not over goes on with the first round.
    ///
    /// # Errors
    /// If the ring has no key for the log; if the ledger cannot be read.
    pub(crate) async fn open(
        shared: Arc<Shared>,
        ledger: Ledger,
        log: Arc<Log>,
        ring: Arc<Mutex<KeyRing>>,
        fleet: &str,
    ) -> Result<Self, Error> {
        check(&shared.settings.erasure)?;
        let key = lock(&ring).tombstones();
        let desk = Self {
            settings: shared.settings.erasure.clone(),
            file: Arc::new(Mutex::new(TombstoneFile::of(&shared.settings.data))),
            key,
            fleet: fleet.to_owned(),
            taking: tokio::sync::Mutex::new(()),
            passing: tokio::sync::Mutex::new(()),
            shared,
            ledger,
            log,
            ring,
        };
        desk.count().await?;
        Ok(desk)
    }

    /// Takes an erasure in: from when this returns, nothing that it covers for good is stored any more.
    ///
    /// # Errors
    /// If something cannot be written.
    pub(crate) async fn request(self: &Arc<Self>, subject: LedgerId, scope: Scope) -> Result<Erasure, Error> {
        let desk = Arc::clone(self);
        // On a task of its own: whoever asks may go away, and what came to the ledger has to come into force.
        let taken = tokio::spawn(async move { desk.take_in(subject, &scope).await });
        let kept = taken.await.unwrap_or_else(|why| {
            Err(Error::new(Kind::Data, "an erasure was not taken in", why, "ask again, and report this: it is a fault"))
        })?;
        self.told(&subject, &kept)
    }

    async fn take_in(&self, subject: LedgerId, scope: &Scope) -> Result<Kept, Error> {
        let _one = self.taking.lock().await;
        let id = self.key.id(&subject);
        let json = serde_json::to_string(scope).map_err(|why| unsound(&why))?;
        let known = self.ledger.erasures_of(&id).await?;
        // Asked again, of one that is open or for good: it is the same one.
        let same =
            known.iter().rev().find(|kept| kept.scope == json && (kept.state != State::Done || *scope == Scope::All));
        let kept = match same {
            Some(kept) => kept.clone(),
            None => self.begin(subject, &id, scope, json).await?,
        };
        // However far it is: the first request may have come to an end in between.
        if *scope == Scope::All {
            self.refuse(subject).await?;
        }
        self.count().await?;
        Ok(kept)
    }

    /// The erasures of a subject, oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn of(&self, subject: &LedgerId) -> Result<Vec<Erasure>, Error> {
        let kept = self.ledger.erasures_of(&self.key.id(subject)).await?;
        kept.iter().map(|kept| self.told(subject, kept)).collect()
    }

    /// Does what is open, now, and says what stays open and why: that is tried again.
    ///
    /// # Errors
    /// If none could be done, as tables, ledger and log give it.
    pub(crate) async fn run_now(self: &Arc<Self>) -> Result<Passed, Error> {
        let _one = self.passing.lock().await;
        let restored = restored::tables(&self.ledger).await?;
        if restored.is_none() && self.ledger.erasure_account().await?.0.is_empty() {
            self.shared.gauges.unreadable.of_erasure(Files::new());
            return Ok(Passed::default());
        }
        let (drained, waits) = self.drain().await?;
        let desk = Arc::clone(self);
        let passed = on_flusher(&self.shared, move |flusher| {
            let came_back = restored.map_or(Ok(()), |job| restored::run(flusher, &desk, &job));
            let waits = match came_back {
                Err(error) if error.kind() == Kind::Stop => return Err(error),
                // It may have to wait for what the pass does.
                other => other.err(),
            };
            let passed = pass::run(flusher, &desk, &drained)?;
            Ok(Passed { why: passed.why.clone().or(waits), ..passed })
        })
        .await;
        self.count().await?;
        let passed = passed?;
        let mut open = self.ledger.open_erasures().await?;
        open.sort_by_key(|kept| kept.deadline);
        let waiting = |kept: Kept| Waiting { id: hex::encode(&kept.id), deadline: kept.deadline };
        let (open, why) = (open.into_iter().map(waiting).collect(), passed.why.clone().or(waits));
        Passed { open, why, ..passed }.unless_for_nothing()
    }

    /// Rounds for as long as the store is open.
    pub(crate) async fn rounds(self: Arc<Self>) {
        let every = Duration::from_secs(self.settings.every_minutes.max(1) * 60);
        loop {
            let pause = match self.run_now().await {
                Ok(passed) => {
                    if passed.erasures > 0 {
                        tracing::info!(erasures = passed.erasures, files = passed.files, rows = passed.rows, "erased");
                    }
                    // Why, the pass has said.
                    if passed.why.is_some() { PAUSE } else { every }
                }
                Err(error) if error.kind() == Kind::Stop => return error.end_process_if_of_disk(),
                Err(error) => {
                    tracing::error!(%error, "erasures wait, and are tried again");
                    PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Has everything in tables that was acknowledged for the subjects of open erasures, and gives those. Of whoever asks while it
    /// flushes more may be acknowledged, in no table yet: that erasure waits for the next pass. So does one whose subject cannot be
    /// refused; why comes second.
    async fn drain(&self) -> Result<(HashSet<[u8; 16]>, Option<Error>), Error> {
        let (mut drained, mut waits) = (HashSet::new(), None);
        for kept in self.ledger.open_erasures().await? {
            if let Some(subject) = kept.subject
                && scope_of(&kept)? == Scope::All
            {
                // Its request may have come no further than to the ledger.
                match self.refuse(subject).await {
                    Err(error) if error.kind() == Kind::Stop => return Err(error),
                    Err(error) => {
                        waits = waits.or(Some(error));
                        continue;
                    }
                    Ok(()) => {}
                }
            }
            drained.insert(kept.id);
        }
        self.shared.flush().await?;
        fail::fail_point!("erase::after_flush", |_| std::process::abort());
        Ok((drained, waits))
    }

    /// The log's newest key, which signs certificates.
    fn log_key(&self) -> Result<SubjectKey, Error> {
        lock(&self.ring).log_key().ok_or_else(|| {
            let mend = "add [[log]] with generation = 1 and a secret of 64 hex digits (`openssl rand -hex 32`)";
            Error::new(Kind::Data, "no certificate can be signed", "the key ring has no key for the log", mend)
        })
    }

    /// For threads that may block: what is written is synced.
    pub(super) fn file(&self) -> MutexGuard<'_, TombstoneFile> {
        lock(&self.file)
    }

    async fn begin(&self, subject: LedgerId, id: &[u8; 32], scope: &Scope, json: String) -> Result<Kept, Error> {
        let now = self.shared.clock.now();
        let kept = Kept {
            id: random()?,
            subject: Some(subject),
            scope: json,
            requested_at: now,
            deadline: now.saturating_add(i64::from(self.settings.days).saturating_mul(DAY)),
            state: State::Open,
            done_at: None,
            certificate: None,
            entry: None,
            is_again: false,
        };
        let tombstone = if *scope == Scope::All { Some(self.tombstone(&subject, now).await?) } else { None };
        self.ledger.begin_erasure(&kept, id, tombstone.as_ref()).await?;
        fail::fail_point!("erase::after_request", |_| std::process::abort());
        Ok(kept)
    }

    /// What stays of a subject: it knows each name that a table has of it, or may have in a backup.
    async fn tombstone(&self, subject: &LedgerId, now: i64) -> Result<Tombstone, Error> {
        let mut purposes: Vec<String> = self.shared.purposes.names().to_vec();
        let data = self.shared.settings.data.clone();
        purposes.extend(blocking(move || layout::list(&data)).await?.into_iter().map(|table| table.purpose));
        purposes.sort_unstable();
        purposes.dedup();
        let ids = plan::ids_of(&lock(&self.ring), subject);
        let names =
            ids.iter().flat_map(|id| purposes.iter().map(|purpose| self.key.name(id.in_table(purpose).as_str())));
        let names = names.collect();
        let newest = match self.shared.recent.of(subject).pop() {
            Some(statement) => Some(statement),
            None => self.ledger.history(subject).await?.pop(),
        };
        let id = hex::encode(&self.key.id(subject));
        Ok(Tombstone { id, names, notice: newest.map(|statement| statement.notice.version), requested_at: now })
    }

    /// Puts the end of a subject in force, unless it is: in the file first, then for whatever the queue holds behind it.
    async fn refuse(&self, subject: LedgerId) -> Result<(), Error> {
        let tombstones = &self.shared.consent.tombstones;
        // What is in memory is in the file.
        if !tombstones.holds(&subject) {
            let id = self.key.id(&subject);
            let line = self.ledger.tombstone(&id).await?;
            let line = line.ok_or_else(|| unsound(&"the ledger has no tombstone of its subject"))?;
            let file = Arc::clone(&self.file);
            blocking(move || lock(&file).append(&[Line::Tombstone(line)])).await?;
            fail::fail_point!("erase::after_tombstone", |_| std::process::abort());
            tombstones.add([id]);
        }
        // Not as readers see it: a tombstone is there for them before the queue knows of it.
        if is_erased(&self.shared.consent.of(&key_of(&subject))) {
            return Ok(());
        }
        let (answer, told) = oneshot::channel();
        self.shared.queue.push(Job::Close { subject, answer })?;
        told.await.map_err(|_| Error::closed())
    }

    /// Counts what is open and done, for the metrics.
    async fn count(&self) -> Result<(), Error> {
        let (open, done) = self.ledger.erasure_account().await?;
        *lock(&self.shared.erasures) = super::Account { open, done };
        Ok(())
    }

    fn told(&self, subject: &LedgerId, kept: &Kept) -> Result<Erasure, Error> {
        let is_done = kept.state == State::Done;
        let certificate = match &kept.certificate {
            // Signed anew each time: the log's key may have been rotated.
            Some(json) if is_done => {
                let certificate = Certificate::decode(json.as_bytes()).map_err(|why| unsound(&why))?;
                let signed = certificate.sign(self.key.nonce(&kept.id, subject), &self.log_key()?);
                Some(signed.map_err(|why| unsound(&why))?)
            }
            _ => None,
        };
        Ok(Erasure {
            id: hex::encode(&kept.id),
            scope: scope_of(kept)?,
            requested_at: kept.requested_at,
            deadline: kept.deadline,
            progress: if is_done { Progress::Done } else { Progress::Open },
            done_at: kept.done_at.filter(|_| is_done),
            certificate,
            entry: kept.entry.filter(|_| is_done),
        })
    }
}

/// Refuses places that no certificate could name.
fn check(settings: &ErasureSettings) -> Result<(), Error> {
    const MOST: usize = 50;
    let fits = |place: &crate::settings::OtherPlace| {
        let is_name = (1..=255).contains(&place.name.len()) && !place.name.chars().any(char::is_control);
        is_name && place.state != PlaceState::Done
    };
    if settings.place.len() <= MOST && settings.place.iter().all(fits) {
        return Ok(());
    }
    let mend = "give each place a name, and the state `due` or `outside`; 50 at most";
    Err(Error::new(
        Kind::Data,
        "the setting `store.erasure.place` cannot be",
        "no certificate can name such a place",
        mend,
    ))
}

pub(super) fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        let why = "the system gave no random numbers";
        Error::new(Kind::Retry, "an erasure has no id", why, "check that the process may call getrandom")
    })?;
    Ok(bytes)
}
