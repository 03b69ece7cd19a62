//! Who signed a request, and whether it may count: looked at before a byte of the body is read.

use std::sync::Arc;

use candor_policy::subject::{LedgerId, SubjectId};
use candor_store::nonces::{NonceUse, User};
use candor_store::signed::SignedBatch;
use candor_wire::identity::PublicKey;
use candor_wire::reason::Reason;
use candor_wire::signature::{self, RequestHead, Verified, is_digest_of};
use http::header::HOST;
use http::request::Parts;

use crate::body::Sent;
use crate::error::Refusal;
use crate::pipeline::Signed;
use crate::service::Service;
use crate::subject::is_stranger;

/// Who signed a request, and what the signature covers. Whoever holds one holds a signature that is of now, for this fleet,
/// and was not used before.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    /// What tables know the subject by.
    pub(crate) subject: SubjectId,
    /// What the ledger knows it by.
    pub(crate) ledger: LedgerId,
    pub(crate) key: PublicKey,
    pub(crate) nonce: NonceUse,
    /// Sequence of the consent under which events were collected.
    pub(crate) consent: Option<i64>,
    batch: Option<u64>,
    digest: Option<[u8; 32]>,
}

/// Whether a request says that it is signed.
pub(crate) fn is_signed(parts: &Parts) -> bool {
    parts.headers.contains_key(&signature::SIGNATURE) || parts.headers.contains_key(&signature::SIGNATURE_INPUT)
}

/// Refuses a signature where a source names its subjects: a device must not think that it counted.
pub(crate) fn none(parts: &Parts) -> Result<(), Refusal> {
    if is_signed(parts) {
        let mend = "this source names its subjects: send it without a signature, or with the token of a signed source";
        return Err(Refusal::because(Reason::SignatureInvalid, mend));
    }
    Ok(())
}

impl Signer {
    /// Verifies the head of a request and uses its nonce.
    pub(crate) fn of(service: &Service, parts: &Parts, has_token: bool, has_body: bool) -> Result<Self, Refusal> {
        let head = RequestHead {
            method: parts.method.as_str(),
            authority: authority(parts).unwrap_or_default(),
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &parts.headers,
        };
        let verified = signature::verify(&head, has_body, service.clock.now().div_euclid(1_000_000))?;
        let Verified { key, nonce, digest, fleet, consent, batch } = verified;
        if fleet.as_deref() != Some(&*service.fleet) {
            let mend = "this is the service of another fleet: `fleet` of GET /v1/keys says which; send its name as Candor-Fleet";
            return Err(Refusal::because(Reason::FleetUnknown, mend));
        }
        let nonce = NonceUse { id: nonce.id, expires: nonce.expires };
        let subject = key.subject_id();
        let ledger = LedgerId::of_certified(&subject);
        let user = if has_token {
            User::Sender
        } else if is_stranger(service, &ledger) {
            User::Stranger
        } else {
            User::Subject
        };
        if !service.store.take_nonce(nonce, user)? {
            let mend = "this nonce was used before: sign the request again, with another one";
            return Err(Refusal::because(Reason::NonceUsed, mend));
        }
        Ok(Self { subject, ledger, key, nonce, consent, batch, digest })
    }

    /// The batch that a request is, if its key may still send and its number can be one.
    pub(crate) fn batch(&self, service: &Service) -> Result<Signed, Refusal> {
        let number = self.batch.ok_or_else(|| {
            let mend = "batches of signed sources are numbered: send the header Candor-Batch, from 1, covered";
            Refusal::because(Reason::BatchNumber, mend)
        })?;
        let seen = service.store.batches_of(&self.ledger);
        let is_repeat = number < seen.next && !seen.missing.contains(&number);
        // What was stored before the key was closed has its receipt, for a device whose answer was lost.
        if !is_repeat && service.store.consent(&[self.ledger]).of(0).closed() {
            return Err(closed());
        }
        let batch = SignedBatch {
            subject: self.ledger,
            fleet: Arc::clone(&service.fleet),
            number,
            body: self.digest.unwrap_or(EMPTY),
            consent: self.consent,
            nonce: self.nonce,
        };
        Ok(Signed { subject: self.subject, batch })
    }

    /// Whether a body is the one that was signed, as it was sent.
    pub(crate) fn check(&self, sent: &Sent) -> Result<(), Refusal> {
        check_body(self.digest.as_ref().unwrap_or(&EMPTY), sent)
    }
}

/// Refuses what comes for a key that is closed.
pub(crate) fn closed() -> Refusal {
    let mend = "the holder closed this key: nothing is stored for it any more; use the key of the next epoch";
    Refusal::because(Reason::KeyClosed, mend)
}

/// Holds a body against the digest that was signed.
pub(crate) fn check_body(digest: &[u8; 32], sent: &Sent) -> Result<(), Refusal> {
    if is_digest_of(digest, sent.as_bytes()) {
        return Ok(());
    }
    let mend =
        "the body is not the one that Content-Digest is of: sign the bytes that are sent, compressed if they are";
    Err(Refusal::because(Reason::DigestMismatch, mend))
}

/// SHA-256 of nothing: the body of a request that has none.
const EMPTY: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Host and port as the client sees them: `:authority`, or the one `Host`.
fn authority(parts: &Parts) -> Option<&str> {
    if let Some(authority) = parts.uri.authority() {
        return Some(authority.as_str());
    }
    let mut values = parts.headers.get_all(HOST).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}
