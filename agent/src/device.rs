//! A device: it takes events, keeps them until they are acknowledged or counted as dropped, and remembers both.
//!
//! The law, at every moment and after any crash: *taken = acknowledged + dropped + spooled*. What counts is in two places only: the
//! journal, which says what became of a batch, and the spool, which has those of which nothing is said yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use candor_policy::consent::ConsentState;
use candor_policy::digest::Digest;
use candor_policy::hex;
use candor_wire::identity::PublicKey;
use candor_wire::statement::SignedStatement;

use crate::backoff::Backoff;
use crate::call::Caller;
use crate::consent::{Change, Draft, Purposes};
use crate::encode::{request_of, without};
use crate::epoch::EpochTimer;
use crate::error::Error;
use crate::event::Event;
use crate::folder::Folder;
use crate::identity::{Identity, IdentityAt};
use crate::journal::{GivenUp, Journal, Line};
use crate::owner::Leaving;
use crate::rim::{Clock, Random};
use crate::spool::{Label, Spool};
use crate::state::State;

/// Most bytes of a batch's body before compression.
const MOST_BODY_BYTES: u64 = 64 << 20;
/// Level of zstd: its default.
const LEVEL: i32 = 3;

/// How a device behaves. All of it has defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Length of an epoch; each is drawn within ±10 %.
    pub epoch: Duration,
    /// Most bytes of the spool: beyond, the oldest batch is dropped.
    pub spool_bytes: u64,
    /// Most events of a batch.
    pub batch_events: usize,
    /// Most bytes of a batch before compression. The service publishes what it takes at `/v1/limits`.
    pub batch_bytes: usize,
    /// Bound of the first wait after a failure; it doubles with each.
    pub first_wait: Duration,
    /// Bound of all waits that the service did not ask for.
    pub longest_wait: Duration,
    /// What the device knows of purposes.
    pub purposes: Purposes,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epoch: Duration::from_hours(30 * 24),
            spool_bytes: 64 << 20,
            batch_events: 2_000,
            batch_bytes: 2 << 20,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_mins(5),
            purposes: Purposes::default(),
        }
    }
}

/// What a device stands on.
#[derive(Clone, Debug)]
pub struct World {
    /// Its state.
    pub folder: Arc<dyn Folder>,
    /// The time, which may be wrong.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

/// What became of the events that a device took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub taken: u64,
    /// Those in receipts.
    pub acknowledged: u64,
    /// Those given up, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Those that wait.
    pub spooled: u64,
}

/// What [`Device::take`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Events in the spool.
    pub spooled: u64,
    /// Events that were dropped at once: kept back for want of consent, or too large.
    pub dropped: u64,
}

/// A device, for people to look at.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Name of the fleet.
    pub fleet: String,
    /// The epoch that events are collected in.
    pub epoch: u64,
    /// Microseconds until it ends, as far as the clock can be believed.
    pub epoch_left: i64,
    /// Public key of the epoch.
    pub key: PublicKey,
    /// What the service calls the subject of this epoch, hex.
    pub subject: String,
    /// Epochs that have statements, receipts or waiting events.
    pub epochs: Vec<u64>,
    /// The statement in force.
    pub consent: Option<SignedStatement>,
    /// Statements that the service does not have yet, all epochs together.
    pub undelivered: usize,
    /// Closing statements of the owner before that the service does not have yet.
    pub leaving: usize,
    /// Nothing is sent until consent is given anew: everything was erased, or the key was closed.
    pub is_silent: bool,
    /// The service's receipt key, once it is known.
    pub receipt_key: Option<PublicKey>,
    /// Microseconds by which the service's clock is ahead.
    pub clock_offset: i64,
    /// Bytes of the spool.
    pub spool_bytes: u64,
    /// Receipts that are kept.
    pub receipts: u64,
    /// Hash of the journal's last line, hex: it fixes all of them.
    pub chain: String,
    /// What became of the events.
    pub counts: Counts,
}

/// A device, opened. Every change is durable when a method returns; after an error the state is read again by the next call.
#[derive(Debug)]
pub struct Device {
    pub(crate) world: World,
    pub(crate) settings: Settings,
    pub(crate) at: IdentityAt,
    pub(crate) identity: Identity,
    pub(crate) state: State,
    pub(crate) saved_timer: EpochTimer,
    pub(crate) journal: Journal,
    pub(crate) spool: Spool,
    pub(crate) taken: u64,
    pub(crate) leaving: Vec<Leaving>,
    pub(crate) caller: Caller,
    pub(crate) backoff: Backoff,
    /// Numbers below others that the service lacks, to be filled.
    pub(crate) gaps: BTreeSet<(u64, u64)>,
    /// How often in a row statements were put right without any getting through.
    pub(crate) heals: u32,
    /// Whose connection is open: another epoch must not share it.
    pub(crate) connected: Option<(bool, u64)>,
    pub(crate) is_stale: bool,
}

impl Device {
    /// A new identity in a folder that has none. Whatever else is left there goes.
    ///
    /// # Errors
    /// [`Error::Identity`] if there is one: its owner's data hangs on it, see [`Device::transfer`].
    pub fn create(world: World, settings: Settings, identity: &Identity) -> Result<Self, Error> {
        if Identity::load(&*world.folder)?.is_some() {
            return Err(Error::Identity("the folder has one already".to_owned()));
        }
        crate::owner::clear(&*world.folder)?;
        identity.save(&*world.folder)?;
        Self::open(world, settings, IdentityAt::Folder)
    }

    /// Opens a device, and finishes what a crash interrupted.
    ///
    /// # Errors
    /// [`Error::Identity`] if there is none, or the state is another identity's; [`Error::Damaged`] if a file is not what a device
    /// writes (a batch that is damaged is dropped and counted instead).
    pub fn open(world: World, settings: Settings, at: IdentityAt) -> Result<Self, Error> {
        let folder = &world.folder;
        let leaving = crate::owner::load_and_finish(&**folder, &*world.random, &at)?;
        let identity = match &at {
            IdentityAt::Folder => Identity::load(&**folder)?,
            IdentityAt::File(path) => Some(Identity::read(path)?),
        };
        let identity = identity.ok_or_else(|| Error::Identity("there is none yet: make one".to_owned()))?;
        let mark = identity.mark()?;
        let state = match State::load(&**folder)? {
            Some(state) if state.identity == mark => state,
            Some(_) => return Err(Error::Identity("the folder is another identity's".to_owned())),
            None => {
                let length = settings.epoch.as_micros() as i64;
                let state = State::new(mark, EpochTimer::start(length, world.clock.now(), &*world.random)?);
                state.save(&**folder)?;
                state
            }
        };
        let journal = Journal::load(Arc::clone(folder))?;
        let (spool, damaged) =
            Spool::load(Arc::clone(folder), identity.seed().as_bytes(), |ordinal| journal.sums.is_settled(ordinal))?;
        let caller =
            Caller { clock: Arc::clone(&world.clock), random: Arc::clone(&world.random), offset: state.clock_offset };
        let mut device = Self {
            backoff: Backoff::new(settings.first_wait, settings.longest_wait),
            saved_timer: state.timer,
            taken: 0,
            gaps: BTreeSet::new(),
            heals: 0,
            connected: None,
            is_stale: false,
            world,
            settings,
            at,
            identity,
            state,
            journal,
            spool,
            leaving,
            caller,
        };
        device.account(&damaged)?;
        device.discard_erased()?;
        Ok(device)
    }

    /// Takes events: they are durable, and will be acknowledged or counted. They come under the consent in force, and what it
    /// leaves no purpose for is dropped at once.
    ///
    /// # Errors
    /// [`Error::Closed`] if the epoch's key is closed. After [`Error::Folder`] some may have been taken: the counts tell.
    pub fn take(&mut self, events: &[Event]) -> Result<Taken, Error> {
        self.guarded(|device| device.take_now(events))
    }

    /// What the person says from now on. A withdrawal, and whatever else narrows, reaches every epoch that has data at the service
    /// or in the spool; events that may not be sent any more are dropped.
    ///
    /// # Errors
    /// [`Error::Consent`] if it is no statement.
    pub fn consent(&mut self, change: &Change) -> Result<(), Error> {
        self.guarded(|device| device.consent_now(change))
    }

    /// The statement in force.
    pub fn consented(&self) -> Option<&SignedStatement> {
        self.head(self.state.epoch)
    }

    /// Begins the next epoch before its time. Consent goes on with it, but not from a key that was closed: it has to be given anew.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn rotate(&mut self) -> Result<(), Error> {
        self.guarded(Self::next_epoch)
    }

    /// Most events of a batch: to hand over more at a time gains nothing.
    #[must_use]
    pub const fn batch_events(&self) -> usize {
        self.settings.batch_events
    }

    /// The identity, for its phrase.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What became of the events.
    pub fn counts(&self) -> Counts {
        let mut dropped = self.journal.sums.dropped.clone();
        for (reason, events) in self.spool.entries().values().flat_map(|entry| &entry.label.shed) {
            *dropped.entry(reason.clone()).or_default() += events;
        }
        dropped.retain(|_, events| *events > 0);
        let acknowledged = self.journal.sums.acknowledged;
        Counts { taken: self.taken, acknowledged, dropped, spooled: self.spool.events() }
    }

    /// All of it, for people.
    ///
    /// # Errors
    /// [`Error::Identity`] if the fleet's name makes no key.
    pub fn show(&self) -> Result<Shown, Error> {
        let key = self.identity.public(self.state.epoch)?;
        let behind = |epochs: &[crate::state::EpochState]| {
            let open = epochs.iter().filter(|epoch| epoch.is_behind());
            open.map(|epoch| epoch.statements.len() - epoch.delivered).sum::<usize>()
        };
        Ok(Shown {
            fleet: self.identity.fleet().to_owned(),
            epoch: self.state.epoch,
            epoch_left: self.state.timer.left,
            key,
            subject: hex::encode(key.subject_id().as_bytes()),
            epochs: self.epochs().into_iter().collect(),
            consent: self.consented().cloned(),
            undelivered: behind(&self.state.epochs),
            leaving: self.leaving.iter().map(|leaving| behind(&leaving.epochs)).sum(),
            is_silent: self.state.is_silent,
            receipt_key: self.state.receipt_key,
            clock_offset: self.caller.offset,
            spool_bytes: self.spool.bytes(),
            receipts: self.journal.sums.receipts,
            chain: hex::encode(self.journal.chain()),
            counts: self.counts(),
        })
    }

    /// Runs one change on a state that is known to be that of the folder.
    pub(crate) fn guarded<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.freshen()?;
        let result = self.turn().and_then(|()| change(self));
        self.is_stale |= result.is_err();
        result
    }

    /// Reads the folder again if a call failed since.
    pub(crate) fn freshen(&mut self) -> Result<(), Error> {
        if !self.is_stale {
            return Ok(());
        }
        let fresh = Self::open(self.world.clone(), self.settings.clone(), self.at.clone())?;
        let before = std::mem::replace(self, fresh);
        (self.backoff, self.caller.offset) = (before.backoff, before.caller.offset);
        Ok(())
    }

    fn take_now(&mut self, events: &[Event]) -> Result<Taken, Error> {
        let epoch = self.state.epoch;
        if self.state.get(epoch).is_some_and(|known| known.is_closed) {
            return Err(Error::Closed(epoch));
        }
        let head = self.head(epoch);
        let consent = head.map(|head| head.sequence);
        let is_silent = self.state.is_silent;
        let may_send = |event: &&Event| !is_silent && self.settings.purposes.may_send(&event.name, head, head);
        let (sent, kept): (Vec<&Event>, Vec<&Event>) = events.iter().partition(may_send);
        let mut taken = Taken { spooled: 0, dropped: kept.len() as u64 };
        if !kept.is_empty() {
            self.drop_unspooled("no_consent", kept.len() as u64)?;
        }
        let mut chunks: Vec<Vec<&Event>> =
            sent.chunks(self.settings.batch_events.max(1)).rev().map(<[&Event]>::to_vec).collect();
        while let Some(mut chunk) = chunks.pop() {
            let body = request_of(chunk.iter().copied());
            let events = chunk.len() as u64;
            if body.len() <= self.settings.batch_bytes {
                self.spool_batch(epoch, events, consent, &body)?;
                taken.spooled += events;
            } else if events > 1 {
                chunks.push(chunk.split_off(chunk.len() / 2));
                chunks.push(chunk);
            } else {
                self.drop_unspooled("too_large", 1)?;
                taken.dropped += 1;
            }
        }
        Ok(taken)
    }

    fn spool_batch(&mut self, epoch: u64, events: u64, consent: Option<i64>, body: &[u8]) -> Result<(), Error> {
        let body = zstd::encode_all(body, LEVEL).map_err(|_| Error::Crypto)?;
        let (mut free, mut oldest) = (self.settings.spool_bytes.saturating_sub(self.spool.bytes()), Vec::new());
        let mut by_age: Vec<_> = self.spool.entries().iter().map(|(at, entry)| (at.1, *at, entry.bytes)).collect();
        by_age.sort_unstable();
        for (_, at, bytes) in by_age {
            if free >= Spool::file_bytes(body.len()) {
                break;
            }
            free += bytes;
            oldest.push(at);
        }
        self.give_up(&oldest, "spool_full")?;
        let last = self.spool.entries().keys().map(|(_, ordinal)| ordinal + 1).max().unwrap_or(0);
        let ordinal = last.max(self.journal.sums.next_ordinal());
        let taken = self.taken + events;
        let label = Label { events, shed: BTreeMap::new(), consent, taken };
        self.spool.put((epoch, ordinal), label, &body, &*self.world.random)?;
        self.taken = taken;
        Ok(())
    }

    fn drop_unspooled(&mut self, reason: &str, events: u64) -> Result<(), Error> {
        let dropped = BTreeMap::from([(reason.to_owned(), events)]);
        let taken = self.taken + events;
        self.journal.append(&[Line { epoch: self.state.epoch, dropped, taken, ..Line::default() }])?;
        self.taken = taken;
        Ok(())
    }

    /// Drops batches of the spool, counted. What may have left the device keeps its number, which is closed later.
    pub(crate) fn give_up(&mut self, batches: &[(u64, u64)], reason: &str) -> Result<(), Error> {
        if batches.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for at in batches {
            let Some(entry) = self.spool.entries().get(at) else { continue };
            let mut dropped = entry.label.shed.clone();
            *dropped.entry(reason.to_owned()).or_default() += entry.label.events;
            let (mut batch, mut given_up) = (None, None);
            if entry.may_be_out {
                let body = self.spool.body(*at).ok().map(|body| Digest::of_bytes(&body).to_string());
                batch = Some(self.next_number(at.0));
                given_up = Some(GivenUp { events: entry.label.events, reason: reason.to_owned(), body });
            }
            let (epoch, ordinal, taken) = (at.0, Some(at.1), self.taken);
            lines.push(Line { epoch, ordinal, batch, dropped, given_up, taken, ..Line::default() });
        }
        self.journal.append(&lines)?;
        batches.iter().try_for_each(|at| self.spool.settle(*at))
    }

    /// The number that the next batch of an epoch goes out under, or went.
    pub(crate) fn next_number(&self, epoch: u64) -> u64 {
        self.journal.sums.numbers(epoch).last + 1
    }

    /// Drops of a batch what may not be sent under `now`. Whether anything is left.
    pub(crate) fn screen(&mut self, at: (u64, u64), now: Option<&SignedStatement>) -> Result<bool, Error> {
        let Some(entry) = self.spool.entries().get(&at).cloned() else { return Ok(false) };
        let then = entry.label.consent.and_then(|sequence| self.state.get(at.0)?.said_at(sequence));
        if then.map(|then| then.sequence) == now.map(|now| now.sequence) {
            return Ok(true);
        }
        let body = match self.spool.body(at) {
            Err(Error::Damaged { .. }) => return self.give_up(&[at], "damaged").map(|()| false),
            body => unpacked(&body?)?,
        };
        let purposes = &self.settings.purposes;
        let (rest, lost) = without(&body, |event| purposes.may_send(event, then, now)).ok_or(Error::Crypto)?;
        if lost == 0 {
            return Ok(true);
        }
        // What is out already cannot change: all of it counts as dropped, and what the service has of it is found out.
        if lost == entry.label.events || entry.may_be_out {
            return self.give_up(&[at], "withdrawn").map(|()| false);
        }
        let mut label = entry.label;
        label.events -= lost;
        *label.shed.entry("withdrawn".to_owned()).or_default() += lost;
        let body = zstd::encode_all(rest.as_slice(), LEVEL).map_err(|_| Error::Crypto)?;
        self.spool.put(at, label, &body, &*self.world.random)?;
        Ok(true)
    }

    fn consent_now(&mut self, change: &Change) -> Result<(), Error> {
        let current = self.state.epoch;
        if self.state.get(current).is_some_and(|known| known.is_closed) {
            return Err(Error::Closed(current));
        }
        let draft = change.apply(self.head(current), self.caller.time())?;
        let mut state = self.state.clone();
        // To say anything but yes keeps quiet who was erased.
        state.is_silent &= !change.purposes.values().any(|state| *state == ConsentState::Given);
        for epoch in self.epochs() {
            let known = state.of(epoch);
            let head = known.head().map(Draft::of);
            let draft = match &head {
                _ if epoch == current => draft.clone(),
                Some(head) => head.clone().and(&draft),
                None => continue,
            };
            let is_over = known.is_closed || known.erasure.is_some();
            if !is_over && (known.is_refused || head.as_ref() != Some(&draft)) {
                known.state(&draft, &self.identity.key(epoch)?, self.identity.fleet())?;
            }
        }
        state.save(&*self.world.folder)?;
        self.state = state;
        let all: Vec<(u64, u64)> = self.spool.entries().keys().copied().collect();
        for at in all {
            let now = self.head(at.0).cloned();
            self.screen(at, now.as_ref())?;
        }
        Ok(())
    }

    /// Looks at the clock, and begins the next epoch if this one is over.
    pub(crate) fn turn(&mut self) -> Result<(), Error> {
        let length = self.settings.epoch.as_micros() as i64;
        if self.state.timer.look(self.caller.time(), length) {
            return self.next_epoch();
        }
        // What is lost in a crash is counted again from the clock: a write a day is enough.
        if self.saved_timer.left - self.state.timer.left > length / 30 {
            self.save()?;
        }
        Ok(())
    }

    fn next_epoch(&mut self) -> Result<(), Error> {
        self.begin_epoch(self.state.clone())
    }

    /// Begins the epoch that follows a state's. Consent is carried over unless it is to be given anew.
    pub(crate) fn begin_epoch(&mut self, mut state: State) -> Result<(), Error> {
        let before = state.get(state.epoch).cloned().unwrap_or_default();
        state.is_silent |= before.is_closed || before.erasure.is_some();
        state.timer = state.timer.next(self.settings.epoch.as_micros() as i64, &*self.world.random)?;
        state.epoch += 1;
        let epoch = state.epoch;
        if let Some(head) = before.head().filter(|_| !state.is_silent) {
            let draft = Draft { closes: false, ..Draft::of(head) };
            state.of(epoch).state(&draft, &self.identity.key(epoch)?, self.identity.fleet())?;
        }
        let live = self.epochs();
        state
            .epochs
            .retain(|known| live.contains(&known.epoch) || !known.statements.is_empty() || known.erasure.is_some());
        state.of(epoch);
        state.save(&*self.world.folder)?;
        self.saved_timer = state.timer;
        self.state = state;
        Ok(())
    }

    pub(crate) fn save(&mut self) -> Result<(), Error> {
        self.state.clock_offset = self.caller.offset;
        self.state.save(&*self.world.folder)?;
        self.saved_timer = self.state.timer;
        Ok(())
    }

    pub(crate) fn head(&self, epoch: u64) -> Option<&SignedStatement> {
        self.state.get(epoch)?.head()
    }

    /// The current epoch and every other that has rows at the service, waiting events, or statements on their way.
    pub(crate) fn epochs(&self) -> BTreeSet<u64> {
        let numbers = self.journal.sums.epochs.iter().filter(|(_, n)| n.receipts > 0 || !n.open.is_empty());
        let mut epochs: BTreeSet<u64> = numbers.map(|(epoch, _)| *epoch).collect();
        epochs.extend(self.spool.entries().keys().map(|(epoch, _)| *epoch));
        epochs.extend(self.state.epochs.iter().filter(|known| known.is_behind() || known.moved).map(|k| k.epoch));
        epochs.insert(self.state.epoch);
        epochs
    }

    /// Finds the sums of what is there, and counts what is not there any more.
    fn account(&mut self, damaged: &[(u64, u64)]) -> Result<(), Error> {
        let entries = self.spool.entries().values();
        self.taken = entries.map(|entry| entry.label.taken).max().unwrap_or(0).max(self.journal.sums.taken);
        let spooled: u64 = self.spool.entries().values().map(|entry| entry.label.all()).sum();
        let sums = &self.journal.sums;
        let known = sums.acknowledged + sums.all_dropped() + spooled;
        let Some(lost) = self.taken.checked_sub(known) else {
            return Err(Error::Damaged { name: "the journal".to_owned(), what: "it does not add up with the spool" });
        };
        let highest = sums.epochs.keys().chain(self.spool.entries().keys().map(|(epoch, _)| epoch)).max();
        self.state.epoch = self.state.epoch.max(highest.copied().unwrap_or(0));
        self.count_lost(damaged, lost)
    }

    fn count_lost(&mut self, damaged: &[(u64, u64)], lost: u64) -> Result<(), Error> {
        let (taken, mut lines) = (self.taken, Vec::new());
        let counted = |reason: &str, events| BTreeMap::from([(reason.to_owned(), events)]);
        for (at, (epoch, ordinal)) in damaged.iter().enumerate() {
            let is_first = !self.spool.entries().keys().any(|(e, o)| e == epoch && o < ordinal);
            let is_first = is_first && !damaged.iter().any(|(e, o)| e == epoch && o < ordinal);
            let events = if at == 0 { lost } else { 0 };
            let batch = is_first.then(|| self.next_number(*epoch));
            let given_up = batch.map(|_| GivenUp { events, reason: "damaged".to_owned(), body: None });
            let (epoch, ordinal, dropped) = (*epoch, Some(*ordinal), counted("damaged", events));
            lines.push(Line { epoch, ordinal, batch, dropped, given_up, taken, ..Line::default() });
        }
        if damaged.is_empty() && lost > 0 {
            let (epoch, dropped) = (self.state.epoch, counted("lost", lost));
            lines.push(Line { epoch, dropped, taken, ..Line::default() });
        }
        if !lines.is_empty() {
            self.journal.append(&lines)?;
        }
        damaged.iter().try_for_each(|at| self.spool.settle(*at))
    }
}

/// A body of the spool as OTLP.
fn unpacked(body: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let decoder = zstd::Decoder::new(body).map_err(|_| Error::Crypto)?;
    #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
    std::io::Read::read_to_end(&mut std::io::Read::take(decoder, MOST_BODY_BYTES), &mut bytes)
        .map_err(|_| Error::Crypto)?;
    Ok(bytes)
}
