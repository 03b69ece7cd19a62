//! Batches of events: each under its number, acknowledged by a receipt of the service that is known, and none left open below.

use bytes::Bytes;
use candor_policy::digest::Digest;
use candor_policy::hex;
use candor_wire::reason::Reason;
use candor_wire::receipt::{ReceiptError, SignedReceipt};
use candor_wire::signature;
use http::HeaderValue;
use serde_json::value::RawValue;

use super::{Halt, Next, Stop};
use crate::call::{Call, Heard};
use crate::device::Device;
use crate::encode::empty_body;
use crate::error::Error;
use crate::journal::{GivenUp, Line};
use crate::rim::Transport;

/// After so many in a row, a batch without events that is refused is not tried again.
const MOST_REFUSALS: u32 = 8;
const PROTOBUF: &str = "application/x-protobuf";

impl Device {
    pub(super) async fn deliver_batch<T: Transport>(
        &mut self,
        transport: &mut T,
        at: (u64, u64),
    ) -> Result<Next, Halt> {
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
        let heard = self.ask(transport, None, epoch, &call).await?;
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
                self.batch_refusal = Some(heard.message());
                Ok(Next::Again)
            }
        }
    }

    /// Sends a batch without events under a number whose batch was given up. Nothing can be doubled by it: it fills the gap, or
    /// brings the receipt of what the service had already.
    pub(super) async fn close_number<T: Transport>(
        &mut self,
        transport: &mut T,
        (epoch, number): (u64, u64),
    ) -> Result<Next, Halt> {
        let body = Bytes::from(empty_body());
        let digest = Digest::of_bytes(&body).to_string();
        let call = self.addressed(Call::post("/v1/logs", PROTOBUF, body))?;
        let call = call.with(&signature::BATCH, HeaderValue::from(number));
        let heard = self.ask(transport, None, epoch, &call).await?;
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
        let head = self.head_of(transport, None, epoch).await?;
        let last = head.map_or(number, |head| head.batches.next.saturating_sub(1)).max(number);
        self.journal.append(&[Line { closed: true, ..self.line(epoch, last) }])?;
        Ok(Next::Again)
    }

    /// The service lacks lower numbers: those that this device does not know of are filled first.
    async fn find_gaps<T: Transport>(&mut self, transport: &mut T, epoch: u64, number: u64) -> Result<Next, Halt> {
        self.heals(None)?;
        let head = self.head_of(transport, None, epoch).await?;
        let missing = head.map(|head| head.batches.missing).unwrap_or_default();
        let before = self.gaps.len();
        self.gaps.extend(missing.into_iter().filter(|gap| *gap < number).map(|gap| (epoch, gap)));
        if self.gaps.len() == before { Err(self.wait(None)) } else { Ok(Next::Again) }
    }

    fn line(&self, epoch: u64, number: u64) -> Line {
        Line { epoch, batch: Some(number), taken: self.taken, ..Line::default() }
    }
}

fn with_receipt(line: Line, signed: &SignedReceipt) -> Result<Line, Error> {
    let raw = |text: Result<String, serde_json::Error>| text.and_then(RawValue::from_string).map_err(|_| Error::Crypto);
    let (receipt, proof) = (raw(signed.receipt.to_json())?, raw(serde_json::to_string(&signed.proof))?);
    Ok(Line { receipt: Some(receipt), proof: Some(proof), ..line })
}
