//! The store for subjects that sign: numbered batches with receipts, their own statements, nonces.

use std::sync::Arc;

use candor_policy::batch::Cleared;
use candor_policy::consent::{ConsentState, SubjectConsent};
use candor_policy::subject::LedgerId;
use candor_wire::identity::{PublicKey, SubjectKey};
use candor_wire::receipt::{Receipt, SignedReceipt};
use candor_wire::statement::{SignedStatement, Statement};
use candor_wire::verify::InEpoch;

use super::encode::{Identity, Ready, encode};
use super::{Offered, Store};
use crate::batches::Place;
use crate::consent::key_of;
use crate::error::{Error, Kind};
use crate::gathering::Announced;
use crate::nonces::{NonceUse, User};
use crate::queue::{Numbered, Order};
use crate::receipts;
use crate::reply::Reply;
use crate::segment::codec::receipt_json;
use crate::shared::Gauges;
use crate::signed::{BatchNumbers, ConsentAt, Recorded, SignedAppended, SignedBatch};

impl Store {
    /// Makes a numbered batch durable, once for its number, and gives its receipt. A number that was taken before gets the
    /// receipt of then, whatever comes with it: there is no horizon. Receipts of others wait a moment for one that was announced.
    /// Otherwise as [`Store::append`].
    ///
    /// # Errors
    /// As [`Store::append`]; `Data` where the key ring has no key for receipts.
    pub async fn append_signed(
        &self,
        mut cleared: Cleared,
        batch: SignedBatch,
        reply: Reply,
        announced: Announced,
    ) -> Result<SignedAppended, Error> {
        let batch = Arc::new(batch);
        self.key_of_receipts()?;
        let identity = Identity::Numbered(Arc::clone(&batch));
        let mut announced = Some(announced);
        loop {
            let Ready { cleared: whole, encoded, draft } = encode(cleared, &identity, &reply).await?;
            let draft = draft.ok_or_else(Error::closed)?;
            let announced = announced.take().unwrap_or_else(|| self.announce_batch());
            let numbered = Numbered { subject: batch.subject, key: key_of(&batch.subject), draft, announced };
            match self.offer(whole, encoded, Order::Numbered(Box::new(numbered)), &reply).await? {
                Offered::Durable { counts, receipt } => {
                    let receipt = receipt.ok_or_else(Error::closed)?;
                    return Ok(SignedAppended::Stored { reply, counts, receipt });
                }
                Offered::Seen => {
                    let known = self.receipt_of(&batch.subject, batch.number).await?;
                    let (reply, receipt) = known.ok_or_else(no_receipt)?;
                    return Ok(SignedAppended::Repeat { reply, receipt: Box::new(receipt) });
                }
                Offered::TooFar => return Ok(SignedAppended::TooFar),
                Offered::Erased => return Ok(SignedAppended::Erased),
                Offered::Again { cleared: fewer, .. } => cleared = *fewer,
            }
        }
    }

    /// Says that a numbered batch is about to be decoded and cleared: receipts that are durable meanwhile may share its signature.
    pub fn announce_batch(&self) -> Announced {
        self.shared.announcements.announce()
    }

    /// What a durable batch was told, with its receipt signed anew.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn receipt_of(&self, subject: &LedgerId, number: u64) -> Result<Option<(Reply, SignedReceipt)>, Error> {
        let key = self.key_of_receipts()?;
        // Most numbers are new: memory knows without asking the ledger.
        if self.shared.batches.place(&key_of(subject), number) != Place::Seen {
            return Ok(None);
        }
        // In this order: a receipt that moves to the ledger meanwhile is seen there.
        let told = match self.shared.receipts.of(subject, number) {
            Some(told) => Some((told.receipt()?, told.reply.clone())),
            None => self.ledger.receipt(subject, number).await?,
        };
        let Some((receipt, reply)) = told else { return Ok(None) };
        Gauges::add(&self.shared.gauges.repeats, 1);
        receipts::sign_again(&key, receipt).map(|receipt| Some((reply, receipt)))
    }

    /// Receipts of a subject's durable batches from number `from` on, `most` of them, in order.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn receipts_from(&self, subject: &LedgerId, from: u64, most: usize) -> Result<Vec<SignedReceipt>, Error> {
        let key = self.key_of_receipts()?;
        let recent = self.shared.receipts.from(subject, from);
        let mut found: Vec<Receipt> = self.ledger.receipts(subject, from, most).await?;
        for told in recent.iter().take(most) {
            found.push(told.receipt()?);
        }
        // One that moved to the ledger meanwhile is there twice.
        found.sort_by_key(|receipt| receipt.batch);
        found.dedup_by_key(|receipt| receipt.batch);
        found.truncate(most);
        let jsons: Vec<String> = found.iter().map(receipt_json).collect::<Result<_, _>>()?;
        let proofs = receipts::sign(&key, jsons.iter().map(String::as_str));
        Ok(found.into_iter().zip(proofs).map(|(receipt, proof)| SignedReceipt { receipt, proof }).collect())
    }

    /// Where receipts of a subject are in the logged totals, in their order; none for one whose epoch is not logged yet.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn receipt_places(
        &self,
        subject: &LedgerId,
        receipts: &[SignedReceipt],
    ) -> Result<Vec<Option<InEpoch>>, Error> {
        let last = self.log().look(candor_wire::log::live::LiveFiles::totals_epoch).unwrap_or(0);
        let receipts: Vec<Receipt> = receipts.iter().map(|signed| signed.receipt.clone()).collect();
        self.ledger.receipt_places(subject, &receipts, last).await
    }

    /// The numbers that were seen of a subject.
    #[must_use]
    pub fn batches_of(&self, subject: &LedgerId) -> BatchNumbers {
        let batches = self.shared.batches.of(&key_of(subject));
        BatchNumbers { next: batches.numbers.highest() + 1, missing: batches.numbers.missing().to_vec() }
    }

    /// The public half of the key that signs receipts, if there is one.
    #[must_use]
    pub fn receipt_key(&self) -> Option<PublicKey> {
        self.shared.receipt_key().map(|key| key.public())
    }

    /// Records a statement that its subject signed; returns after its fdatasync, when it is in force.
    ///
    /// # Errors
    /// As [`Store::append`]; what is wrong with the statement itself is a [`Recorded`].
    pub async fn record_signed(&self, statement: SignedStatement, source: &str) -> Result<Recorded, Error> {
        if let Err(why) = statement.check() {
            return Ok(Recorded::Invalid(why.to_string()));
        }
        let (subject, hash) = (statement.ledger_id(), statement.hash().map_err(super::not_a_statement)?.to_string());
        let kept =
            Statement::from_signed(statement, self.shared.clock.now(), source).map_err(super::not_a_statement)?;
        loop {
            // In this order: what comes in between is seen by the appender.
            let base = self.shared.consent.of_subject(&subject);
            let history = if base.sequence() == 0 { Vec::new() } else { self.consent_history(&subject).await? };
            let hashes: Vec<(i64, String)> = history.iter().map(hash_of).collect::<Result<_, Error>>()?;
            if let Some(known) = hashes.iter().position(|(_, known)| *known == hash) {
                return Ok(Recorded::Known(Box::new(history[known].clone())));
            }
            if base.closed() {
                return Ok(Recorded::Closed);
            }
            let head = hashes.last().map_or(0, |(sequence, _)| *sequence);
            let at = |wanted: i64| hashes.iter().filter(move |(sequence, _)| *sequence == wanted);
            // The first of all follows nothing; a second one of the newest number follows what that one follows.
            let before = if kept.sequence == head {
                history.iter().rfind(|one| one.sequence < head).map(|one| one.sequence)
            } else {
                Some(head)
            };
            let follows = match before {
                Some(number) if number > 0 => at(number).any(|(_, hash)| *hash == kept.previous),
                _ => kept.previous == SignedStatement::nothing_before(),
            };
            if kept.sequence < head || !follows {
                return Ok(Recorded::Conflict { head: hashes.last().cloned() });
            }
            if let Some(why) = self.undeclared_grant(&kept, history.last()) {
                return Ok(Recorded::Invalid(why));
            }
            let own = self.shared.purposes.compact(&kept);
            let state = if kept.sequence == head { own.and(base) } else { own };
            if self.put_statement(&subject, kept.clone(), (base, state)).await? {
                return Ok(Recorded::Now(Box::new(kept)));
            }
        }
    }

    /// What a subject's consent was at a sequence and still is.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn consent_at(&self, subject: &LedgerId, sequence: i64) -> Result<ConsentAt, Error> {
        let now = self.shared.consent.of_subject(subject);
        if sequence > now.sequence() {
            return Ok(ConsentAt::Missing);
        }
        if sequence == now.sequence() {
            return Ok(ConsentAt::State(now));
        }
        let history = self.consent_history(subject).await?;
        // Where the device left a number out, what it said before held.
        let held = history.iter().map(|statement| statement.sequence).filter(|other| *other <= sequence).max();
        let of_then = history.iter().filter(|statement| Some(statement.sequence) == held);
        let states = of_then.map(|statement| self.shared.purposes.compact(statement));
        let then = states.reduce(SubjectConsent::and).unwrap_or_default();
        Ok(ConsentAt::State(then.and(now).at(sequence)))
    }

    /// Uses a nonce; false if it was used before. It is remembered over a restart with the batch whose request used it, or
    /// after [`Store::keep_nonce`].
    ///
    /// # Errors
    /// `Retry` when as many of that kind of user as may be are remembered.
    pub fn take_nonce(&self, nonce: NonceUse, user: User) -> Result<bool, Error> {
        self.shared.nonces.take(nonce, user, self.shared.second())
    }

    /// Keeps a nonce over a restart, for a request that leaves no batch.
    ///
    /// # Errors
    /// If the ledger cannot be written.
    pub async fn keep_nonce(&self, nonce: NonceUse) -> Result<(), Error> {
        self.ledger.keep_nonce(nonce).await
    }

    fn key_of_receipts(&self) -> Result<Arc<SubjectKey>, Error> {
        self.shared.receipt_key().ok_or_else(|| {
            Error::new(
                Kind::Data,
                "the key ring has no key that signs receipts",
                "it is kept outside the data folder, so it is not changed",
                "add [receipts] with generation = 1 and a secret of 64 hex digits (`openssl rand -hex 32`)",
            )
        })
    }

    /// What is wrong with a statement that gives a purpose which neither the policy declares nor the statement before gave. An
    /// undeclared name in any other state permits nothing: to refuse it would hold up the withdrawal that comes with it.
    fn undeclared_grant(&self, statement: &Statement, before: Option<&Statement>) -> Option<String> {
        let names = self.shared.purposes.names();
        let gives = |one: &Statement, name: &str| one.purposes.get(name) == Some(&ConsentState::Given);
        let unknown = statement.purposes.keys().any(|name| {
            gives(statement, name) && !names.contains(name) && !before.is_some_and(|before| gives(before, name))
        });
        unknown
            .then(|| format!("a purpose that it gives is not one that the policy declares: use {}", names.join(", ")))
    }
}

fn hash_of(statement: &Statement) -> Result<(i64, String), Error> {
    let hash = statement.hash().map_err(super::not_a_statement)?;
    Ok((statement.sequence, hash.to_string()))
}

fn no_receipt() -> Error {
    Error::new(
        Kind::Data,
        "a batch that was stored has no receipt",
        "the ledger is older than the numbers that memory holds",
        "restore ledger.db from a backup that is newer",
    )
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;
