//! Erasure for the holder of an identity, epoch by epoch: whoever has the seed may ask for it, on any machine.

use std::sync::Arc;

use candor_policy::hex;
use candor_policy::subject::LedgerId;
use candor_wire::erasure::{ErasureRequest, Scope, SignedCertificate};
use candor_wire::identity::SubjectKey;
use candor_wire::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::call::{Call, Caller};
use crate::error::Error;
use crate::held::{MOST_EPOCHS, NO_END, UNKNOWN_EPOCHS, patiently};
use crate::identity::Identity;
use crate::rim::{Clock, Random, Transport};

pub(crate) const PATH: &str = "/v1/subject/erasure";

/// An erasure, as a service tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Erasure {
    /// 32 hex digits.
    pub id: String,
    /// `open` or `done`.
    pub state: String,
    /// What is to go.
    pub scope: Scope,
    /// When it was asked for, µs UTC.
    pub requested_at: i64,
    /// Until when it has to be done, µs UTC.
    pub deadline: i64,
    /// When it was done, µs UTC.
    #[serde(default)]
    pub done_at: Option<i64>,
    /// What it leaves in the holder's hands.
    #[serde(default)]
    pub certificate: Option<SignedCertificate>,
    /// The log's entry that has the certificate's digest.
    #[serde(default)]
    pub entry: Option<u64>,
    /// Where it was asked for: purposes of it whose events are taken all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still_taken: Vec<String>,
}

/// `GET /v1/subject/erasure`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Erasures {
    /// The subject's id in the ledger, hex.
    pub subject: String,
    /// Oldest first.
    pub erasures: Vec<Erasure>,
}

/// The erasures of one epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfEpoch {
    /// Its number.
    pub epoch: u64,
    /// The subject's id in the ledger, hex, where that is known.
    pub subject: Option<String>,
    /// Oldest first.
    pub erasures: Vec<Erasure>,
}

/// Asks a service to erase what it holds of every epoch that it knows, each over a connection of its own.
///
/// # Errors
/// What the way to the service says.
pub async fn request<T: Transport>(
    identity: &Identity,
    (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    transport: &mut T,
    scope: &Scope,
) -> Result<Vec<OfEpoch>, Error> {
    let body = serde_json::to_vec(&ErasureRequest { scope: scope.clone() }).map_err(|_| Error::Crypto)?;
    let call = Call::post(PATH, "application/json", body.into());
    each(identity, (clock, random), transport, &call, |_, body| {
        let erasure = serde_json::from_slice(body).map_err(|_| Error::Answer("an erasure"))?;
        Ok(vec![erasure])
    })
    .await
}

/// Asks a service for the erasures of every epoch, and holds each certificate against the key that it names.
///
/// # Errors
/// What the way to the service says; [`Error::Answer`] for a certificate that does not hold.
pub async fn status<T: Transport>(
    identity: &Identity,
    (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    transport: &mut T,
) -> Result<Vec<OfEpoch>, Error> {
    each(identity, (clock, random), transport, &Call::get(PATH), |key, body| {
        let subject = LedgerId::of_certified(&key.subject_id());
        let answer: Erasures = serde_json::from_slice(body).map_err(|_| Error::Answer("erasures"))?;
        if answer.subject != hex::encode(subject.as_bytes()) || !answer.erasures.iter().all(|one| holds(one, &subject))
        {
            return Err(Error::Answer("certificates of the subject that asked"));
        }
        Ok(answer.erasures)
    })
    .await
}

/// Whether a certificate is what its own key signed, for this subject. Whether the key is the log's is for whoever knows that.
#[must_use]
pub fn holds(erasure: &Erasure, subject: &LedgerId) -> bool {
    erasure.certificate.as_ref().is_none_or(|signed| signed.check(&signed.key, subject).is_ok())
}

async fn each<T: Transport>(
    identity: &Identity,
    (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    transport: &mut T,
    call: &Call,
    read: impl Fn(&SubjectKey, &[u8]) -> Result<Vec<Erasure>, Error>,
) -> Result<Vec<OfEpoch>, Error> {
    let mut caller = Caller { clock, random, offset: 0 };
    let call = call.clone().for_fleet(identity.fleet())?;
    let (mut found, mut unknown) = (Vec::new(), 0);
    for epoch in 0..MOST_EPOCHS {
        transport.part();
        let key = identity.key(epoch)?;
        let heard = patiently(&mut caller, transport, &key, &call).await?;
        if heard.reason() == Some(Reason::SubjectUnknown) {
            unknown += 1;
            if unknown == UNKNOWN_EPOCHS {
                return Ok(found);
            }
            continue;
        }
        unknown = 0;
        let subject = Some(hex::encode(LedgerId::of_certified(&key.subject_id()).as_bytes()));
        found.push(OfEpoch { epoch, subject, erasures: read(&key, &heard.success()?)? });
    }
    Err(NO_END)
}
