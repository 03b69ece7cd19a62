//! Delivering, a step at a time: statements before events, lower numbers before higher ones, and an answer to every refusal.

mod batch;
mod keys;
mod outcome;

use std::future::Future;
use std::time::Duration;

use candor_wire::reason::Reason;
use serde::Deserialize;

pub(crate) use outcome::Halt;
pub use outcome::{Next, Stop};

use crate::call::{Call, Heard};
use crate::device::Device;
use crate::error::Error;
use crate::heal::says_less;
use crate::identity::Identity;
use crate::owner::Left;
use crate::rim::Transport;

/// After so many attempts in a row to put statements right, waits come between them.
const MOST_HEALS: u32 = 3;
/// Microseconds of an hour: a clock that errs by more is remembered at once.
const HOUR: i64 = 3_600_000_000;

/// `GET /v1/subject/head`.
#[derive(Deserialize)]
pub(crate) struct HeadAnswer {
    #[serde(default)]
    pub sequence: i64,
    #[serde(default)]
    pub hash: String,
    pub batches: BatchesAnswer,
}

/// The numbers that a service has seen.
#[derive(Deserialize)]
pub(crate) struct BatchesAnswer {
    pub next: u64,
    #[serde(default)]
    pub missing: Vec<u64>,
}

/// Delivers everything that there is, with the waits that it takes. A temporary failure never ends it.
///
/// # Errors
/// What the folder says; `Ok(Some)` if it stopped.
pub async fn deliver<T, S>(
    device: &mut Device,
    transport: &mut T,
    mut sleep: impl FnMut(Duration) -> S,
) -> Result<Option<Stop>, Error>
where
    T: Transport,
    S: Future<Output = ()>,
{
    loop {
        match device.step(transport).await? {
            Next::Again => {}
            Next::Wait(time) => sleep(time).await,
            Next::Idle => return Ok(None),
            Next::Stopped(stop) => return Ok(Some(stop)),
        }
    }
}

impl Device {
    /// Delivers the next thing: a statement, or a batch. One change of the folder and a few requests at most; it may be cancelled.
    ///
    /// # Errors
    /// What the folder says, or that there is no randomness. Whatever the service and the way to it do is a [`Next`].
    pub async fn step<T: Transport>(&mut self, transport: &mut T) -> Result<Next, Error> {
        self.freshen()?;
        let result = match self.turn() {
            Ok(()) => self.advance(transport).await,
            Err(error) => Err(Halt::Error(error)),
        };
        match result {
            Ok(next) | Err(Halt::Next(next)) => Ok(next),
            Err(Halt::Error(error)) => {
                self.is_stale = true;
                Err(error)
            }
        }
    }

    async fn advance<T: Transport>(&mut self, transport: &mut T) -> Result<Next, Halt> {
        if self.part_with()? {
            return Ok(Next::Again);
        }
        if let Some((owner, at)) = self.leaving_now()? {
            return self.deliver_leaving(transport, owner, at).await;
        }
        if let Some(epoch) = self.to_erase() {
            return self.deliver_erasure(transport, epoch).await;
        }
        let held = self.held()?;
        let goes = |epoch: u64| !held.contains(&epoch);
        if let Some(known) = self.state.epochs.iter().find(|known| known.is_behind() && goes(known.epoch)) {
            let epoch = known.epoch;
            return self.deliver_statement(transport, epoch).await;
        }
        let open = self.journal.sums.epochs.iter().filter(|(epoch, _)| goes(**epoch)).find_map(|(epoch, numbers)| {
            let is_closed = self.state.get(*epoch).is_some_and(|known| known.is_closed || known.erasure.is_some());
            numbers.open.keys().next().filter(|_| !is_closed).map(|number| (*epoch, *number))
        });
        let first = self.spool.entries().keys().find(|at| goes(at.0)).copied();
        let Some(epoch) = open.or(first).map(|(epoch, _)| epoch) else {
            return Ok(self.stuck().map_or(Next::Idle, Next::Stopped));
        };
        self.pin(transport, epoch).await?;
        match (open.or(self.gaps.iter().find(|gap| goes(gap.0)).copied()), first) {
            (Some(number), _) => self.close_number(transport, number).await,
            (None, Some(at)) => self.deliver_batch(transport, at).await,
            (None, None) => Ok(Next::Idle),
        }
    }

    /// One signed request as the holder of an epoch's key. Whatever is not about this request halts the step.
    pub(crate) async fn ask<T: Transport>(
        &mut self,
        transport: &mut T,
        leaving: Left,
        epoch: u64,
        call: &Call,
    ) -> Result<Heard, Halt> {
        let key = self.asker(leaving).key(epoch)?;
        if self.connected.replace((leaving, epoch)) != Some((leaving, epoch)) {
            transport.part();
        }
        let heard = self.caller.call(transport, &key, call).await;
        let heard = heard.map_err(|error| self.no_answer(error))?;
        self.judge(heard)
    }

    fn no_answer(&mut self, error: Error) -> Halt {
        match error {
            Error::NoRandomness | Error::Crypto => Halt::Error(error),
            error if error.is_temporary() => self.wait(None),
            error => Stop::Unusable(error).into(),
        }
    }

    /// Sorts an answer: what is left is a success, or a refusal of just this request.
    fn judge(&mut self, heard: Heard) -> Result<Heard, Halt> {
        if heard.status.is_success() {
            // The service took the time of the signature for right.
            self.state.timer.set_right(self.caller.time());
            if (self.caller.offset - self.state.clock_offset).abs() > HOUR {
                self.save()?;
            }
            return Ok(heard);
        }
        let reason = heard.reason();
        let about_asker =
            matches!(reason, Some(Reason::FleetUnknown | Reason::SignatureMissing | Reason::SignatureInvalid))
                || reason.is_none() && matches!(heard.status.as_u16(), 300..=399 | 401 | 403 | 404 | 405 | 407);
        match reason {
            Some(Reason::ConsentMissing) => Ok(heard),
            Some(Reason::SignatureTime | Reason::NonceUsed | Reason::DigestMismatch) => {
                Err(self.wait(heard.retry_after()))
            }
            _ if heard.is_temporary() => Err(self.wait(heard.retry_after())),
            _ if about_asker => Err(Stop::Refused { status: heard.status, reason, message: heard.message() }.into()),
            _ => Ok(heard),
        }
    }

    pub(crate) fn wait(&mut self, asked: Option<Duration>) -> Halt {
        match self.backoff.wait(asked, &*self.world.random) {
            Ok(time) => Halt::Next(Next::Wait(time)),
            Err(error) => Halt::Error(error),
        }
    }

    pub(crate) fn got_through(&mut self) {
        self.backoff.reset();
        self.heals = 0;
    }

    /// Whether statements may be put right at once; after a few times, waits come between.
    pub(crate) fn heals(&mut self, asked: Option<Duration>) -> Result<(), Halt> {
        self.heals += 1;
        if self.heals > MOST_HEALS { Err(self.wait(asked)) } else { Ok(()) }
    }

    pub(crate) async fn deliver_statement<T: Transport>(
        &mut self,
        transport: &mut T,
        epoch: u64,
    ) -> Result<Next, Halt> {
        // Said again, it waits in line like any other: its answer may be lost, and then another must not take its place unseen.
        if std::mem::take(&mut self.state.of(epoch).is_refused) {
            self.save()?;
        }
        let known = self.state.of(epoch).clone();
        let Some(statement) = known.statements.get(known.delivered) else { return Ok(Next::Again) };
        let body = serde_json::to_vec(statement).map_err(|_| Error::Crypto)?;
        let call = self.addressed(Call::post("/v1/consent", "application/json", body.into()))?;
        let heard = self.ask(transport, None, epoch, &call).await?;
        match heard.reason() {
            None if heard.status.is_success() => {
                self.got_through();
                if says_less(&heard.body, statement) {
                    return self.agree(transport, epoch).await;
                }
                let known = self.state.of(epoch);
                known.delivered += 1;
                known.refusal.clear();
                self.save()?;
                Ok(Next::Again)
            }
            Some(Reason::KeyClosed) => self.key_closed(epoch),
            Some(Reason::ConsentConflict | Reason::ConsentMissing) => self.heal(transport, epoch, &heard).await,
            _ => {
                self.got_through();
                self.statement_refused(transport, epoch, heard.message()).await?;
                // What it holds up is told when all else is done.
                Ok(Next::Again)
            }
        }
    }

    /// Nothing is stored under this key any more.
    fn key_closed(&mut self, epoch: u64) -> Result<Next, Halt> {
        self.state.of(epoch).is_closed = true;
        self.save()?;
        let of_epoch = self.spool.entries().iter().filter(|(at, _)| at.0 == epoch);
        let (all, events): (Vec<_>, Vec<u64>) = of_epoch.map(|(at, entry)| (*at, entry.label.events)).unzip();
        self.give_up(&all, "key_closed")?;
        self.gaps.retain(|gap| gap.0 != epoch);
        if self.state.of(epoch).erasure.is_some() {
            return Ok(Next::Again);
        }
        Err(Stop::KeyClosed { epoch, dropped: events.iter().sum() }.into())
    }

    /// The service's newest statement and numbers of an epoch; `None` if it does not know the subject.
    pub(crate) async fn head_of<T: Transport>(
        &mut self,
        transport: &mut T,
        leaving: Left,
        epoch: u64,
    ) -> Result<Option<HeadAnswer>, Halt> {
        let call = self.addressed(Call::get("/v1/subject/head"))?;
        let heard = self.ask(transport, leaving, epoch, &call).await?;
        if heard.reason() == Some(Reason::SubjectUnknown) {
            return Ok(None);
        }
        let parsed = serde_json::from_slice(&heard.body).ok().filter(|_| heard.status.is_success());
        parsed.map_or_else(|| Err(self.wait(heard.retry_after())), |answer| Ok(Some(answer)))
    }

    /// Who signs: this owner, or one who left.
    pub(crate) fn asker(&self, leaving: Left) -> &Identity {
        leaving.and_then(|owner| self.leaving.get(owner)).map_or(&self.identity, |owner| &owner.identity)
    }

    pub(crate) fn addressed(&self, call: Call) -> Result<Call, Error> {
        call.for_fleet(self.identity.fleet())
    }
}
