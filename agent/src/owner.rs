//! Changes of hands: a new owner, who inherits nothing, and a new device of the same owner, which inherits all.

use std::collections::BTreeSet;

use candor_policy::hex;
use candor_wire::reason::Reason;
use candor_wire::statement::Notice;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::access::SubjectAnswer;
use crate::call::{Call, Caller, Heard};
use crate::consent::Draft;
use crate::deliver::{Halt, HeadAnswer, Next};
use crate::device::{Counts, Device, Settings, World};
use crate::epoch::EpochTimer;
use crate::erase::{EpochErasure, Stage};
use crate::error::Error;
use crate::folder::Folder;
use crate::held::{MOST_EPOCHS, NO_END, UNKNOWN_EPOCHS, is_erased, patiently};
use crate::identity::{self, Identity, IdentityAt};
use crate::journal::{self, Journal, Line};
use crate::rim::{Random, Transport};
use crate::spool::Spool;
use crate::state::{self, EpochState, State};

/// Closing statements of an owner before, and the seed that can still deliver them. It goes with the last of them.
const FILE: &str = "leaving.toml";

/// Who speaks: an owner who left, by the place in the list of them, or the one who is here.
pub(crate) type Left = Option<usize>;

/// An owner who left.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub identity: Identity,
    pub epochs: Vec<EpochState>,
}

/// `leaving.toml`: the owner who left last comes last.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    owners: Vec<Owner>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    fleet: String,
    /// 64 hex digits.
    seed: String,
    epochs: Vec<EpochState>,
}

impl Device {
    /// A new owner: another seed, and nothing carried over. Every epoch of the old one that the service may know gets a statement
    /// that withdraws everything and closes its key; seed, spool and journal are destroyed, but for the seed in `leaving.toml`,
    /// which goes when these statements are delivered, and not before. They go out before anything else. The old owner's counts are returned:
    /// what was in the spool is dropped as `transferred`.
    ///
    /// # Errors
    /// [`Error::Identity`] if the identity is not in the folder: replace it where it is kept, and use a new folder.
    pub fn transfer(&mut self) -> Result<Counts, Error> {
        self.freshen()?;
        let result = self.transfer_now();
        self.is_stale = true;
        let counts = result?;
        self.freshen()?;
        Ok(counts)
    }

    fn transfer_now(&mut self) -> Result<Counts, Error> {
        if self.at != IdentityAt::Folder {
            return Err(Error::Identity(
                "it is kept elsewhere: replace it there, and give the new one a new folder".to_owned(),
            ));
        }
        let mut closing = Vec::new();
        let mut epochs = self.epochs();
        epochs.retain(|epoch| self.may_be_known(*epoch));
        for epoch in epochs {
            let mut known = self.state.of(epoch).clone();
            let notice = || Notice { version: "none".to_owned(), language: "und".to_owned() };
            let mut draft = known.head().map_or_else(|| Draft::new(notice()), Draft::of);
            draft.withdraw_all();
            draft.closes = true;
            if !known.is_closed {
                known.state(&draft, &self.identity.key(epoch)?, self.identity.fleet())?;
                closing.push(known);
            }
        }
        self.leaving.push(Leaving { identity: self.identity.clone(), epochs: closing });
        save(&self.leaving, &*self.world.folder)?;
        let mut counts = self.counts();
        *counts.dropped.entry("transferred".to_owned()).or_default() += std::mem::take(&mut counts.spooled);
        counts.dropped.retain(|_, events| *events > 0);
        finish(&self.leaving, &*self.world.folder, &*self.world.random)?;
        Ok(counts)
    }

    /// Whether anything of an epoch may have reached the service.
    pub(crate) fn may_be_known(&self, epoch: u64) -> bool {
        let numbers = self.journal.sums.numbers(epoch);
        let may_be_out = self.spool.entries().iter().any(|(at, entry)| at.0 == epoch && entry.may_be_out);
        let stated = self.state.get(epoch).is_some_and(|known| !known.statements.is_empty() || known.moved);
        numbers.last > 0 || may_be_out || stated
    }

    /// A new device of the same owner, from the identity that a phrase wrote. It asks the service for one epoch after the other,
    /// each over a connection of its own, until it knows none of two in a row. This is a move: statements of the device before
    /// are behind those of this one from now on.
    ///
    /// # Errors
    /// [`Error::Identity`] if the folder has an identity; what the way to the service says, which may be temporary: nothing is
    /// kept then, and the same call may be made again.
    pub async fn recover<T: Transport>(
        world: World,
        settings: Settings,
        identity: &Identity,
        transport: &mut T,
    ) -> Result<Self, Error> {
        if Identity::load(&*world.folder)?.is_some() {
            return Err(Error::Identity("the folder has one already".to_owned()));
        }
        let mut caller = Caller { clock: world.clock.clone(), random: world.random.clone(), offset: 0 };
        let (mut epochs, mut lines, mut unknown) = (Vec::new(), Vec::new(), 0);
        for epoch in 0.. {
            if epoch == MOST_EPOCHS {
                return Err(NO_END);
            }
            transport.part();
            let Some((known, next)) = found(&mut caller, identity, epoch, transport).await? else {
                unknown += 1;
                if unknown == UNKNOWN_EPOCHS {
                    break;
                }
                continue;
            };
            unknown = 0;
            if next > 1 {
                lines.push(Line { epoch, batch: Some(next - 1), closed: true, ..Line::default() });
            }
            epochs.push(known);
        }
        let timer = EpochTimer::start(settings.epoch.as_micros() as i64, caller.time(), &*world.random)?;
        let mut state = State::new(identity.mark()?, timer);
        (state.epoch, state.clock_offset) = (epochs.last().map_or(0, |last| last.epoch), caller.offset);
        state.epochs = epochs;
        // What was erased is closed for good, and nobody said yes since.
        if state.get(state.epoch).is_some_and(|last| last.erasure.is_some()) {
            (state.epoch, state.is_silent) = (state.epoch + 1, true);
        }
        let epoch = state.epoch;
        let last = state.of(epoch);
        if let Some(draft) = last.head().map(Draft::of).filter(|draft| !draft.closes) {
            last.state(&draft, &identity.key(epoch)?, identity.fleet())?;
        }
        clear(&*world.folder)?;
        if !lines.is_empty() {
            Journal::load(world.folder.clone())?.append(&lines)?;
        }
        state.save(&*world.folder)?;
        identity.save(&*world.folder)?;
        Self::open(world, settings, IdentityAt::Folder)
    }

    /// Destroys the seeds of owners whose closing statements are all delivered; whether there was one.
    pub(crate) fn part_with(&mut self) -> Result<bool, Error> {
        let is_waiting = |owner: &Leaving| owner.epochs.iter().any(EpochState::is_behind);
        if self.leaving.iter().all(is_waiting) {
            return Ok(false);
        }
        self.leaving.retain(is_waiting);
        // Places in the list are others now.
        self.connected = None;
        save(&self.leaving, &*self.world.folder)?;
        Ok(true)
    }

    pub(crate) async fn deliver_leaving<T: Transport>(
        &mut self,
        transport: &mut T,
        owner: usize,
        at: usize,
    ) -> Result<Next, Halt> {
        let left = self.leaving.get(owner).and_then(|left| left.epochs.get(at));
        let Some(mut known) = left.cloned() else { return Ok(Next::Again) };
        let Some(statement) = known.statements.get(known.delivered) else { return Ok(Next::Again) };
        let body = serde_json::to_vec(statement).map_err(|_| Error::Crypto)?;
        let call = self.addressed(Call::post("/v1/consent", "application/json", body.into()))?;
        let heard = self.ask(transport, Some(owner), known.epoch, &call).await?;
        match heard.reason() {
            None if heard.status.is_success() => {
                self.got_through();
                known.delivered += 1;
                (known.is_refused, known.refusal) = (false, String::new());
            }
            Some(Reason::KeyClosed) => known.is_closed = true,
            Some(Reason::ConsentConflict | Reason::ConsentMissing) => {
                known.is_refused = false;
                self.put_right(transport, Some(owner), &mut known, &heard).await?;
            }
            // Nobody is left who could state it otherwise: it is kept, to be said again.
            _ => {
                let identity = self.asker(Some(owner));
                let key = identity.key(known.epoch)?;
                known.is_refused_for(heard.message(), &BTreeSet::new(), &key, identity.fleet())?;
                self.is_said(key.public());
            }
        }
        if let Some(place) = self.leaving.get_mut(owner).and_then(|left| left.epochs.get_mut(at)) {
            *place = known;
        }
        save(&self.leaving, &*self.world.folder)?;
        Ok(Next::Again)
    }
}

/// Reads who left, and finishes a change of owner that a crash interrupted.
pub(crate) fn load_and_finish(
    folder: &dyn Folder,
    random: &dyn Random,
    at: &IdentityAt,
) -> Result<Vec<Leaving>, Error> {
    let document: Document = state::load(folder, FILE)?.unwrap_or_default();
    let mut leaving = Vec::new();
    for mut owner in document.owners {
        let seed = hex::decode(&owner.seed).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        owner.seed.zeroize();
        let seed = seed.ok_or_else(|| Error::Damaged { name: FILE.to_owned(), what: "it has no seed" })?;
        leaving.push(Leaving { identity: Identity::of_seed(seed, &owner.fleet), epochs: owner.epochs });
    }
    if *at == IdentityAt::Folder {
        finish(&leaving, folder, random)?;
    }
    Ok(leaving)
}

/// Destroys what the last owner who left has in the folder, and gives it another identity.
fn finish(leaving: &[Leaving], folder: &dyn Folder, random: &dyn Random) -> Result<(), Error> {
    let Some(last) = leaving.last() else { return Ok(()) };
    let present = Identity::load(folder)?;
    if present.as_ref().is_some_and(|present| *present != last.identity) {
        return Ok(());
    }
    destroy(folder, identity::FILE)?;
    clear(folder)?;
    Identity::random(last.identity.fleet(), random)?.save(folder)
}

/// Removes spool, journal and state for good.
pub(crate) fn clear(folder: &dyn Folder) -> Result<(), Error> {
    Spool::destroy(folder)?;
    destroy(folder, journal::FILE)?;
    destroy(folder, state::FILE)
}

fn destroy(folder: &dyn Folder, name: &str) -> Result<(), Error> {
    folder.destroy(name).map_err(|e| Error::folder(name, &e))
}

fn save(leaving: &[Leaving], folder: &dyn Folder) -> Result<(), Error> {
    if leaving.is_empty() {
        return destroy(folder, FILE);
    }
    let owners = leaving.iter().map(|owner| Owner {
        fleet: owner.identity.fleet().to_owned(),
        seed: hex::encode(owner.identity.seed().as_bytes()),
        epochs: owner.epochs.clone(),
    });
    let mut document = Document { owners: owners.collect() };
    let saved = state::save(folder, FILE, &document);
    document.owners.iter_mut().for_each(|owner| owner.seed.zeroize());
    saved
}

/// What the service knows of an epoch, and the next number; `None` if it knows nothing.
async fn found<T: Transport>(
    caller: &mut Caller,
    identity: &Identity,
    epoch: u64,
    transport: &mut T,
) -> Result<Option<(EpochState, u64)>, Error> {
    let key = identity.key(epoch)?;
    let call = Call::get("/v1/subject/head").for_fleet(identity.fleet())?;
    let heard = patiently(caller, transport, &key, &call).await?;
    if heard.reason() == Some(Reason::SubjectUnknown) {
        let erased = is_erased(caller, identity, transport, &key).await?;
        let erasure = Some(EpochErasure { stage: Stage::Unknown, ..EpochErasure::default() });
        return Ok(erased.then(|| (EpochState { epoch, is_closed: true, erasure, ..EpochState::default() }, 1)));
    }
    let newest: HeadAnswer = parsed(heard)?;
    let call = Call::get("/v1/subject").for_fleet(identity.fleet())?;
    let heard = patiently(caller, transport, &key, &call).await?;
    let answer: SubjectAnswer = parsed(heard)?;
    let statements = answer.signed_by(&key.public())?;
    let signed = statements.last().map_or(0, |last| last.sequence);
    let known = EpochState {
        epoch,
        instance: if signed == 0 { 0 } else { ((signed >> 32) as u32).saturating_add(1) },
        delivered: statements.len(),
        is_closed: statements.last().is_some_and(|last| last.closes),
        is_refused: false,
        refusal: String::new(),
        signed,
        moved: true,
        statements,
        void: Vec::new(),
        erasure: None,
    };
    Ok(Some((known, newest.batches.next)))
}

fn parsed<T: serde::de::DeserializeOwned>(heard: Heard) -> Result<T, Error> {
    let body = heard.success()?;
    serde_json::from_slice(&body).map_err(|_| Error::Answer("what a service says of a subject"))
}
