//! A device: it takes events, keeps them until they are acknowledged or counted as dropped, and remembers both.
//!
//! The law, at every moment and after any crash: *taken = acknowledged + dropped + spooled*. What counts is in two places only: the
//! journal, which says what became of a batch, and the spool, which has those of which nothing is said yet.

mod account;
mod batches;
mod epochs;
mod shown;
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use candor_wire::identity::PublicKey;
use candor_wire::statement::SignedStatement;

pub use account::Counts;
pub use shown::Shown;

use crate::backoff::Backoff;
use crate::call::Caller;
use crate::consent::{Change, Purposes};
use crate::epoch::EpochTimer;
use crate::error::Error;
use crate::event::Event;
use crate::folder::Folder;
use crate::identity::{Identity, IdentityAt};
use crate::journal::Journal;
use crate::owner::{Leaving, Left};
use crate::rim::{Clock, Random};
use crate::spool::Spool;
use crate::state::State;

/// Why a line that is no event is dropped.
pub const BAD_LINE: &str = "bad_line";

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

/// What [`Device::take`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Events in the spool.
    pub spooled: u64,
    /// Events that were dropped at once: kept back for want of consent, or too large.
    pub dropped: u64,
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
    pub(crate) connected: Option<(Left, u64)>,
    /// What the service said of the last batch that it refused.
    pub(crate) batch_refusal: Option<String>,
    /// When a refused statement was last said, by its key: what is not here was not said since the device was opened.
    pub(crate) said: BTreeMap<PublicKey, i64>,
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
            batch_refusal: None,
            said: BTreeMap::new(),
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

    /// Counts lines that should have been events and are none: taken, and dropped as [`BAD_LINE`].
    ///
    /// # Errors
    /// As [`Device::take`].
    pub fn take_bad(&mut self, lines: u64) -> Result<(), Error> {
        self.guarded(|device| if lines > 0 { device.drop_unspooled(BAD_LINE, lines) } else { Ok(()) })
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

    /// Begins the next epoch before its time, unless nobody can have seen the key of this one. Consent goes on with it, but not from a
    /// key that was closed: it has to be given anew.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn rotate(&mut self) -> Result<(), Error> {
        self.guarded(Self::next_epoch)
    }

    /// What the service said of the last batch that it refused since the device was opened: short, and fit for people. Its events are
    /// dropped, counted as `refused_` with the reason or the status.
    #[must_use]
    pub fn batch_refusal(&self) -> Option<&str> {
        self.batch_refusal.as_deref()
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
        (self.backoff, self.caller.offset, self.said) = (before.backoff, before.caller.offset, before.said);
        self.batch_refusal = before.batch_refusal;
        Ok(())
    }

    pub(crate) fn save(&mut self) -> Result<(), Error> {
        self.state.clock_offset = self.caller.offset;
        self.state.save(&*self.world.folder)?;
        self.saved_timer = self.state.timer;
        Ok(())
    }
}
