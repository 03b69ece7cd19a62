//! Delivering, a step at a time: statements before events, lower numbers before higher ones, and an answer to every refusal.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use candor_policy::digest::Digest;
use candor_policy::hex;
use candor_wire::identity::PublicKey;
use candor_wire::reason::Reason;
use candor_wire::receipt::{ReceiptError, SignedReceipt};
use candor_wire::signature;
use candor_wire::succession::{Succession, followers};
use http::{HeaderValue, Request, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::call::{Call, Heard};
use crate::device::Device;
use crate::encode::empty_body;
use crate::error::Error;
use crate::journal::{GivenUp, Line};
use crate::rim::Transport;

/// After so many attempts in a row to put statements right, waits come between them.
const MOST_HEALS: u32 = 3;
/// After so many in a row, a batch without events that is refused is not tried again.
const MOST_REFUSALS: u32 = 8;
/// Microseconds of an hour: a clock that errs by more is remembered at once.
const HOUR: i64 = 3_600_000_000;
const PROTOBUF: &str = "application/x-protobuf";

/// What there is to do after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Something was done; there may be more.
    Again,
    /// Nothing can be done before this much time has passed.
    Wait(Duration),
    /// Everything is delivered.
    Idle,
    /// It does not go on by itself. Nothing is lost: another step tries again.
    Stopped(Stop),
}

/// Why delivering does not go on by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The key of an epoch is closed, by an erasure or by whoever has it: what waited under it is dropped and counted.
    #[error("the key of epoch {epoch} is closed: {}begin another epoch (`rotate`), and ask for consent anew", lost(*.dropped))]
    KeyClosed {
        /// The epoch.
        epoch: u64,
        /// Events that are dropped, counted as `key_closed`.
        dropped: u64,
    },
    /// The service does not take a statement. No event goes out before another takes its place.
    #[error("the service refuses the consent of epoch {epoch}: {message}")]
    StatementRefused {
        /// The epoch.
        epoch: u64,
        /// What it said.
        message: String,
    },
    /// The service refuses whoever asks, or the path is not there: not a matter of the batch.
    #[error("the service answered {status}{}: {message}", .reason.map(|reason| format!(" ({})", reason.name())).unwrap_or_default())]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The reason, if it gave one.
        reason: Option<Reason>,
        /// What it said.
        message: String,
    },
    /// Another service than before: its receipts are signed by another key, or it is another fleet's.
    #[error("this is not the service that the device knows: {0}")]
    OtherService(&'static str),
    /// The service cannot be spoken to, and that will not change by itself.
    #[error("{0}")]
    Unusable(Error),
}

/// Why a step ends early.
pub(crate) enum Halt {
    Next(Next),
    Error(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self::Next(Next::Stopped(stop))
    }
}

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

#[derive(Deserialize)]
pub(crate) struct KeysAnswer {
    fleet: String,
    receipts: Vec<KeyAnswer>,
    /// Keys of the log.
    #[serde(default)]
    pub(crate) log: Vec<LogKeyAnswer>,
    #[serde(default)]
    successions: Vec<Succession>,
}

#[derive(Deserialize)]
struct KeyAnswer {
    key: PublicKey,
}

#[derive(Deserialize)]
pub(crate) struct LogKeyAnswer {
    pub(crate) vkey: String,
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
        if !self.leaving.is_empty() {
            return self.deliver_leaving(transport).await;
        }
        if let Some(epoch) = self.to_erase() {
            return self.deliver_erasure(transport, epoch).await;
        }
        if let Some(refused) = self.state.epochs.iter().find(|epoch| epoch.is_refused && epoch.is_behind()) {
            let message = "state it anew".to_owned();
            return Err(Stop::StatementRefused { epoch: refused.epoch, message }.into());
        }
        let behind = self.state.epochs.iter().find(|known| known.is_behind()).map(|known| known.epoch);
        let open = self.journal.sums.epochs.iter().find_map(|(epoch, numbers)| {
            let is_closed = self.state.get(*epoch).is_some_and(|known| known.is_closed || known.erasure.is_some());
            numbers.open.keys().next().filter(|_| !is_closed).map(|number| (*epoch, *number))
        });
        let first = self.spool.entries().keys().next().copied();
        if let Some(epoch) = behind {
            return self.deliver_statement(transport, epoch).await;
        }
        let Some(epoch) = open.or(first).map(|(epoch, _)| epoch) else { return Ok(Next::Idle) };
        self.pin(transport, epoch).await?;
        match (open.or(self.gaps.first().copied()), first) {
            (Some(number), _) => self.close_number(transport, number).await,
            (None, Some(at)) => self.deliver_batch(transport, at).await,
            (None, None) => Ok(Next::Idle),
        }
    }

    /// One signed request as the holder of an epoch's key. Whatever is not about this request halts the step.
    pub(crate) async fn ask<T: Transport>(
        &mut self,
        transport: &mut T,
        leaving: bool,
        epoch: u64,
        call: &Call,
    ) -> Result<Heard, Halt> {
        let owner = self.leaving.first().filter(|_| leaving).map(|owner| &owner.identity);
        let key = owner.unwrap_or(&self.identity).key(epoch)?;
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

    /// Learns the service's receipt key, once.
    pub(crate) async fn pin<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<(), Halt> {
        if self.state.receipt_key.is_some() {
            return Ok(());
        }
        let keys = self.keys_of(transport, epoch).await?;
        let first = keys.receipts.first().ok_or(Stop::OtherService("it signs no receipts"))?;
        let mut state = self.state.clone();
        state.receipt_key = Some(first.key);
        state.save(&*self.world.folder)?;
        self.state = state;
        Ok(())
    }

    /// Goes on to the key that follows the one that is known, if that one signed it; whether there is such a key.
    pub(crate) async fn follow<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<bool, Halt> {
        let Some(known) = self.state.receipt_key else { return Ok(false) };
        let keys = self.keys_of(transport, epoch).await?;
        let after = followers(&known, &keys.successions);
        let Some((newest, between)) = after.split_last() else { return Ok(false) };
        if keys.receipts.first().is_none_or(|first| first.key != *newest) {
            return Ok(false);
        }
        let mut state = self.state.clone();
        state.receipt_keys_before.push(known);
        state.receipt_keys_before.extend(between);
        state.receipt_key = Some(*newest);
        state.save(&*self.world.folder)?;
        self.state = state;
        Ok(true)
    }

    /// What anybody may read, without a signature.
    pub(crate) async fn read<T: Transport>(&mut self, transport: &mut T, path: &str) -> Result<Heard, Halt> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() =
            format!("{}{path}", transport.base()).parse().map_err(|_| Error::Address("its path cannot be used"))?;
        let heard = transport.exchange(request).await.map(Heard::of).map_err(|error| self.no_answer(error))?;
        self.judge(heard)
    }

    pub(crate) async fn keys_of<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<KeysAnswer, Halt> {
        if self.connected.replace((false, epoch)) != Some((false, epoch)) {
            transport.part();
        }
        let heard = self.read(transport, "/v1/keys").await?;
        let keys: Option<KeysAnswer> = serde_json::from_slice(&heard.body).ok();
        let Some(keys) = keys.filter(|_| heard.status.is_success()) else { return Err(self.wait(None)) };
        if keys.fleet != self.identity.fleet() {
            return Err(Stop::OtherService("it is another fleet's").into());
        }
        Ok(keys)
    }

    pub(crate) async fn deliver_statement<T: Transport>(
        &mut self,
        transport: &mut T,
        epoch: u64,
    ) -> Result<Next, Halt> {
        let known = self.state.of(epoch).clone();
        let Some(statement) = known.statements.get(known.delivered) else { return Ok(Next::Again) };
        let body = serde_json::to_vec(statement).map_err(|_| Error::Crypto)?;
        let call = self.addressed(Call::post("/v1/consent", "application/json", body.into()))?;
        let heard = self.ask(transport, false, epoch, &call).await?;
        match heard.reason() {
            None if heard.status.is_success() => {
                self.got_through();
                self.state.of(epoch).delivered += 1;
                self.save()?;
                Ok(Next::Again)
            }
            Some(Reason::KeyClosed) => self.key_closed(epoch),
            Some(Reason::ConsentConflict | Reason::ConsentMissing) => self.heal(transport, epoch, &heard).await,
            _ => {
                let known = self.state.of(epoch);
                known.is_refused = true;
                let is_going = known.erasure.is_some();
                self.save()?;
                if is_going {
                    return Ok(Next::Again);
                }
                Err(Stop::StatementRefused { epoch, message: heard.message() }.into())
            }
        }
    }

    async fn deliver_batch<T: Transport>(&mut self, transport: &mut T, at: (u64, u64)) -> Result<Next, Halt> {
        let (epoch, newest) = (at.0, self.head(at.0).cloned());
        if !self.screen(at, newest.as_ref())? {
            return Ok(Next::Again);
        }
        let body = match self.spool.body(at) {
            Err(Error::Damaged { .. }) => {
                self.give_up(&[at], "damaged")?;
                return Ok(Next::Again);
            }
            body => Bytes::from(body?),
        };
        let number = self.next_number(epoch);
        let mut call = self.addressed(Call::post("/v1/logs", PROTOBUF, body.clone()).zstd())?;
        call = call.with(&signature::BATCH, HeaderValue::from(number));
        let sequence = self.spool.entries().get(&at).and_then(|entry| entry.label.consent);
        let known = sequence.and_then(|sequence| self.state.get(epoch)?.at(sequence));
        if let Some(statement) = known {
            call = call.with(&signature::CONSENT, HeaderValue::from(statement.sequence));
        }
        if newest.is_some_and(|newest| newest.gpc) {
            call = call.with(&signature::GPC, HeaderValue::from_static("1"));
        }
        self.spool.goes_out(at);
        let heard = self.ask(transport, false, epoch, &call).await?;
        match heard.reason() {
            None if heard.status.is_success() => {
                let receipt = self.receipt(transport, &heard, epoch, number).await?;
                self.accept(transport, at, number, &receipt, &body).await
            }
            Some(Reason::KeyClosed) => self.key_closed(epoch),
            Some(Reason::ConsentMissing) => self.heal(transport, epoch, &heard).await,
            Some(Reason::BatchTooFar) => self.find_gaps(transport, epoch, number).await,
            reason => {
                self.got_through();
                let why = reason.map_or_else(|| heard.status.as_u16().to_string(), |reason| reason.name().to_owned());
                self.give_up(&[at], &format!("refused_{why}"))?;
                Ok(Next::Again)
            }
        }
    }

    /// The receipt of an answer, if the service that is known signed it for this batch. Without it nothing is acknowledged: any
    /// way to a service can answer 200.
    async fn receipt<T: Transport>(
        &mut self,
        transport: &mut T,
        heard: &Heard,
        epoch: u64,
        number: u64,
    ) -> Result<SignedReceipt, Halt> {
        let Some(pinned) = self.state.receipt_key else { return Err(self.wait(None)) };
        let receipt = SignedReceipt::from_header(heard.header(&signature::RECEIPT));
        let mut verified = receipt.clone().and_then(|receipt| receipt.verify(&pinned).map(|()| receipt));
        if verified == Err(ReceiptError::OtherKey) && self.follow(transport, epoch).await? {
            let Some(pinned) = self.state.receipt_key else { return Err(self.wait(None)) };
            verified = receipt.and_then(|receipt| receipt.verify(&pinned).map(|()| receipt));
        }
        let subject = hex::encode(self.identity.public(epoch)?.subject_id().as_bytes());
        match verified {
            Err(ReceiptError::OtherKey) => Err(Stop::OtherService("its receipts are signed by another key").into()),
            Ok(SignedReceipt { receipt, proof })
                if receipt.batch == number && receipt.subject == subject && receipt.fleet == self.identity.fleet() =>
            {
                Ok(SignedReceipt { receipt, proof })
            }
            _ => Err(self.wait(heard.retry_after())),
        }
    }

    async fn accept<T: Transport>(
        &mut self,
        transport: &mut T,
        at: (u64, u64),
        number: u64,
        signed: &SignedReceipt,
        body: &Bytes,
    ) -> Result<Next, Halt> {
        let Some(entry) = self.spool.entries().get(&at).cloned() else { return Ok(Next::Again) };
        if signed.receipt.body != Digest::of_bytes(body).to_string() {
            return self.number_is_taken(transport, at.0, number).await;
        }
        let line = Line {
            events: entry.label.events,
            dropped: entry.label.shed,
            ordinal: Some(at.1),
            ..self.line(at.0, number)
        };
        self.journal.append(&[with_receipt(line, signed)?])?;
        self.spool.settle(at)?;
        self.got_through();
        Ok(Next::Again)
    }

    /// Another holder of the seed, or this one before its folder was set back, used this number: the next free one is the
    /// service's to tell.
    async fn number_is_taken<T: Transport>(
        &mut self,
        transport: &mut T,
        epoch: u64,
        number: u64,
    ) -> Result<Next, Halt> {
        self.heals(None)?;
        let head = self.head_of(transport, false, epoch).await?;
        let last = head.map_or(number, |head| head.batches.next.saturating_sub(1)).max(number);
        self.journal.append(&[Line { closed: true, ..self.line(epoch, last) }])?;
        Ok(Next::Again)
    }

    /// Sends a batch without events under a number whose batch was given up. Nothing can be doubled by it: it fills the gap, or
    /// brings the receipt of what the service had already.
    async fn close_number<T: Transport>(
        &mut self,
        transport: &mut T,
        (epoch, number): (u64, u64),
    ) -> Result<Next, Halt> {
        let body = Bytes::from(empty_body());
        let digest = Digest::of_bytes(&body).to_string();
        let call = self.addressed(Call::post("/v1/logs", PROTOBUF, body))?;
        let call = call.with(&signature::BATCH, HeaderValue::from(number));
        let heard = self.ask(transport, false, epoch, &call).await?;
        let closed = Line { closed: true, ..self.line(epoch, number) };
        let given_up = self.journal.sums.numbers(epoch).open.get(&number).cloned();
        let line = match heard.reason() {
            None if heard.status.is_success() => {
                let signed = self.receipt(transport, &heard, epoch, number).await?;
                match &given_up {
                    _ if signed.receipt.body == digest => with_receipt(closed, &signed)?,
                    Some(GivenUp { events, reason, body })
                        if body.as_ref().is_none_or(|body| *body == signed.receipt.body) =>
                    {
                        with_receipt(Line { events: *events, was: Some(reason.clone()), ..closed }, &signed)?
                    }
                    _ => closed,
                }
            }
            Some(Reason::KeyClosed) => return self.key_closed(epoch),
            Some(Reason::ConsentMissing) => return self.heal(transport, epoch, &heard).await,
            Some(Reason::BatchTooFar) => return self.find_gaps(transport, epoch, number).await,
            _ if self.heals < MOST_REFUSALS => {
                self.heals += 1;
                return Err(self.wait(heard.retry_after()));
            }
            _ => closed,
        };
        // A number that was filled for the service's sake has its receipt in the journal already.
        if given_up.is_some() {
            self.journal.append(&[line])?;
        }
        self.gaps.remove(&(epoch, number));
        self.got_through();
        Ok(Next::Again)
    }

    /// The service lacks lower numbers: those that this device does not know of are filled first.
    async fn find_gaps<T: Transport>(&mut self, transport: &mut T, epoch: u64, number: u64) -> Result<Next, Halt> {
        self.heals(None)?;
        let head = self.head_of(transport, false, epoch).await?;
        let missing = head.map(|head| head.batches.missing).unwrap_or_default();
        let before = self.gaps.len();
        self.gaps.extend(missing.into_iter().filter(|gap| *gap < number).map(|gap| (epoch, gap)));
        if self.gaps.len() == before { Err(self.wait(None)) } else { Ok(Next::Again) }
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
        leaving: bool,
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

    pub(crate) fn addressed(&self, call: Call) -> Result<Call, Error> {
        call.for_fleet(self.identity.fleet())
    }

    fn line(&self, epoch: u64, number: u64) -> Line {
        Line { epoch, batch: Some(number), taken: self.taken, ..Line::default() }
    }
}

fn lost(events: u64) -> String {
    match events {
        0 => String::new(),
        1 => "the event that waited under it is dropped, counted as `key_closed`; ".to_owned(),
        _ => format!("the {events} events that waited under it are dropped, counted as `key_closed`; "),
    }
}

fn with_receipt(line: Line, signed: &SignedReceipt) -> Result<Line, Error> {
    let raw = |text: Result<String, serde_json::Error>| text.and_then(RawValue::from_string).map_err(|_| Error::Crypto);
    let (receipt, proof) = (raw(signed.receipt.to_json())?, raw(serde_json::to_string(&signed.proof))?);
    Ok(Line { receipt: Some(receipt), proof: Some(proof), ..line })
}
