//! Erasing everything, from the device on: one call, and what it began goes on until the certificates are there.
//!
//! What is to happen is written down first, in one file: every epoch that the service may know withdraws what it gave and is
//! marked, and the next epoch begins without any consent. Then the spool goes, counted; then each epoch's erasure is asked for
//! over a connection of its own. Whatever breaks this off, the next call or step goes on with it.

use bytes::Bytes;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::{ErasureRequest, Scope, SignedCertificate};
use candor_wire::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::consent::Draft;
use crate::deliver::{Halt, Next, Stop};
use crate::device::Device;
use crate::erasure::{Erasure, Erasures, PATH, holds};
use crate::error::Error;
use crate::rim::Transport;

/// Why events of the spool are dropped by it.
pub const DROPPED_AS: &str = "erased";
/// The folder of the certificates, within the device's.
pub const CERTIFICATES: &str = "certificates";

/// How far the erasure of an epoch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The service was not asked yet.
    #[default]
    Wanted,
    /// The service accepted it: nothing is stored under this epoch ever again.
    Requested,
    /// The certificate is here.
    Done,
    /// The service has nothing of this epoch.
    Unknown,
}

/// The erasure of an epoch, as the device remembers it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochErasure {
    /// How far it is.
    pub stage: Stage,
    /// What the service calls it: 32 hex digits. The certificate has the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When the service accepted it, µs UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<i64>,
    /// Until when it has to be done, µs UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// When it was done, µs UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<i64>,
    /// Rows that went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// What there is to expect of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Erasing {
    /// Everything that was stored.
    No,
    /// Nothing any more, or soon.
    InTime,
    /// Nothing, by a deadline that is over.
    Late,
}

impl Device {
    /// Has everything erased, in every epoch: what was given is withdrawn, the spool is dropped as [`DROPPED_AS`], and nothing is
    /// sent until consent is given anew. The service is asked by the next steps, see [`crate::deliver::deliver`]. To call it again
    /// changes nothing but what came since.
    ///
    /// # Errors
    /// [`Error::Folder`]: it may have begun then, and the same call goes on with it.
    pub fn erase(&mut self) -> Result<(), Error> {
        self.guarded(Self::erase_now)
    }

    /// The erasures that were ever begun here, epoch by epoch.
    pub fn erasures(&self) -> Vec<(u64, EpochErasure)> {
        self.state.epochs.iter().filter_map(|known| Some((known.epoch, known.erasure.clone()?))).collect()
    }

    /// Asks for the certificates that are not here yet, and keeps those that there are in [`CERTIFICATES`]. Whether all are here.
    ///
    /// # Errors
    /// [`Error::Answer`] for a certificate that does not hold; [`Error::Service`] if the service cannot be asked.
    pub async fn fetch_certificates<T: Transport>(&mut self, transport: &mut T) -> Result<bool, Error> {
        self.freshen()?;
        let waiting: Vec<u64> = self
            .erasures()
            .into_iter()
            .filter(|(_, one)| one.stage == Stage::Requested)
            .map(|(epoch, _)| epoch)
            .collect();
        for epoch in waiting {
            let result = self.fetch_certificate(transport, epoch).await;
            self.is_stale |= matches!(result, Err(Halt::Error(_)));
            result?;
        }
        let is_over = |stage| matches!(stage, Stage::Done | Stage::Unknown);
        Ok(self.erasures().iter().all(|(_, one)| is_over(one.stage)))
    }

    /// Whether an epoch is erased, or on the way: then nothing that a service has of it can be held against what it had. A promise that
    /// it has not kept in time is told, and what it never promised is no reason to look away.
    pub(crate) async fn erasing<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<Erasing, Halt> {
        let Some(known) = self.state.get(epoch).and_then(|known| known.erasure.clone()) else {
            return Ok(Erasing::No);
        };
        let is_over = |deadline: i64, now: i64| if deadline < now { Erasing::Late } else { Erasing::InTime };
        match known.stage {
            Stage::Done | Stage::Unknown => Ok(Erasing::InTime),
            Stage::Requested => {
                let deadline = known.deadline.unwrap_or(i64::MAX);
                if is_over(deadline, self.caller.time()) == Erasing::InTime {
                    return Ok(Erasing::InTime);
                }
                self.fetch_certificate(transport, epoch).await?;
                let is_done = self.state.of(epoch).erasure.as_ref().is_some_and(|one| one.stage == Stage::Done);
                Ok(if is_done { Erasing::InTime } else { Erasing::Late })
            }
            // The answer to the request may have been lost.
            Stage::Wanted => {
                let call = self.addressed(Call::get(PATH))?;
                let heard = self.ask_again(transport, epoch, &call).await?;
                if heard.reason() == Some(Reason::SubjectUnknown) {
                    return Ok(Erasing::No);
                }
                let answer: Erasures =
                    serde_json::from_slice(&heard.success()?).map_err(|_| Error::Answer("erasures"))?;
                let accepted = answer.erasures.iter().find(|one| one.scope == Scope::All);
                Ok(match accepted {
                    None => Erasing::No,
                    Some(one) if one.certificate.is_some() => Erasing::InTime,
                    Some(one) => is_over(one.deadline, self.caller.time()),
                })
            }
        }
    }

    /// Drops what waits in epochs that are to be erased.
    pub(crate) fn discard_erased(&mut self) -> Result<(), Error> {
        let is_going = |epoch: u64| self.state.get(epoch).is_some_and(|known| known.erasure.is_some());
        let going: Vec<_> = self.spool.entries().keys().filter(|at| is_going(at.0)).copied().collect();
        self.give_up(&going, DROPPED_AS)
    }

    /// The first epoch whose erasure is not asked for yet.
    pub(crate) fn to_erase(&self) -> Option<u64> {
        let is_wanted =
            |erasure: &Option<EpochErasure>| erasure.as_ref().is_some_and(|erasure| erasure.stage == Stage::Wanted);
        self.state.epochs.iter().find(|known| is_wanted(&known.erasure)).map(|known| known.epoch)
    }

    /// Withdraws, and then asks for the erasure.
    pub(crate) async fn deliver_erasure<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<Next, Halt> {
        if self.state.of(epoch).is_behind() {
            return self.deliver_statement(transport, epoch).await;
        }
        let body = serde_json::to_vec(&ErasureRequest { scope: Scope::All }).map_err(|_| Error::Crypto)?;
        let call = self.addressed(Call::post(PATH, "application/json", Bytes::from(body)))?;
        let heard = self.ask(transport, None, epoch, &call).await?;
        match heard.reason() {
            None if heard.status.is_success() => {
                let erasure = serde_json::from_slice(&heard.body).map_err(|_| Error::Answer("an erasure"))?;
                self.keep_erasure(epoch, &erasure)?;
            }
            // Who gave receipts for an epoch knows it.
            Some(Reason::SubjectUnknown) if self.journal.sums.numbers(epoch).receipts > 0 => {
                return Err(Stop::OtherService("it knows nothing of what it gave receipts for").into());
            }
            Some(Reason::SubjectUnknown) => {
                self.state.of(epoch).erasure = Some(EpochErasure { stage: Stage::Unknown, ..EpochErasure::default() });
                self.save()?;
            }
            reason => return Err(Stop::Refused { status: heard.status, reason, message: heard.message() }.into()),
        }
        self.got_through();
        Ok(Next::Again)
    }

    fn erase_now(&mut self) -> Result<(), Error> {
        let mut state = self.state.clone();
        for epoch in 0..=state.epoch {
            let is_known = self.may_be_known(epoch);
            let has_batches = self.spool.entries().keys().any(|at| at.0 == epoch);
            if !is_known && !has_batches || state.get(epoch).is_some_and(|known| known.erasure.is_some()) {
                continue;
            }
            let arrived = self.may_have_arrived(epoch);
            let known = state.of(epoch);
            let first = if is_known { Stage::Wanted } else { Stage::Unknown };
            known.erasure = Some(EpochErasure { stage: first, ..EpochErasure::default() });
            let Some(mut draft) = known.head().map(Draft::of) else { continue };
            draft.withdraw_all();
            if !arrived {
                // Nothing was heard of it: it need not be told now what it is to forget.
                known.void.append(&mut known.statements);
            } else if !known.is_closed && known.head().map(Draft::of).as_ref() != Some(&draft) {
                known.state(&draft, &self.identity.key(epoch)?, self.identity.fleet())?;
            }
        }
        state.is_silent = true;
        if state.get(state.epoch).is_some_and(|known| known.erasure.is_some()) {
            self.begin_epoch(state)?;
        } else {
            state.save(&*self.world.folder)?;
            self.state = state;
        }
        self.discard_erased()
    }

    /// Whether the service answered anything of an epoch, or may have taken something.
    fn may_have_arrived(&self, epoch: u64) -> bool {
        let may_be_out = self.spool.entries().iter().any(|(at, entry)| at.0 == epoch && entry.may_be_out);
        let stated = self.state.get(epoch).is_some_and(|known| known.delivered > 0 || known.moved || known.is_closed);
        stated || may_be_out || self.journal.sums.numbers(epoch).last > 0
    }

    async fn fetch_certificate<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<(), Halt> {
        let call = self.addressed(Call::get(PATH))?;
        let heard = self.ask_again(transport, epoch, &call).await?;
        let answer: Erasures = serde_json::from_slice(&heard.success()?).map_err(|_| Error::Answer("erasures"))?;
        let id = self.state.of(epoch).erasure.as_ref().and_then(|erasure| erasure.id.clone());
        let own = answer.erasures.iter().find(|one| Some(&one.id) == id.as_ref());
        let own = own.ok_or(Error::Answer("about the erasure that it accepted"))?;
        Ok(self.keep_erasure(epoch, own)?)
    }

    /// Remembers what the service says. A certificate is here before it counts as done.
    fn keep_erasure(&mut self, epoch: u64, erasure: &Erasure) -> Result<(), Error> {
        let subject = LedgerId::of_certified(&self.identity.public(epoch)?.subject_id());
        let is_id = erasure.id.len() == 32 && erasure.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_own = |signed: &SignedCertificate| {
            signed.certificate.id == erasure.id && signed.certificate.fleet == self.identity.fleet()
        };
        if !is_id || erasure.scope != Scope::All || !erasure.certificate.iter().all(is_own) || !holds(erasure, &subject)
        {
            return Err(Error::Answer("an erasure of everything, with a certificate of this subject"));
        }
        if let Some(signed) = &erasure.certificate {
            let name = format!("{CERTIFICATES}/{}.json", erasure.id);
            let text = signed.encode().map_err(|_| Error::Answer("a certificate"))?;
            self.world.folder.replace(&name, &text).map_err(|e| Error::folder(&name, &e))?;
        }
        let known = self.state.of(epoch);
        known.is_closed = true;
        known.erasure = Some(EpochErasure {
            stage: if erasure.certificate.is_some() { Stage::Done } else { Stage::Requested },
            id: Some(erasure.id.clone()),
            requested_at: Some(erasure.requested_at),
            deadline: Some(erasure.deadline),
            done_at: erasure.done_at,
            rows: erasure.certificate.as_ref().map(|signed| signed.certificate.rows),
        });
        self.save()
    }
}
