//! Erasure: what a subject asks for, and the certificate that it holds afterwards. `docs/FORMAT.md`, "Erasure", fixes each byte.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::identity::{PublicKey, SubjectKey};
use crate::log::entry::Sha256Hex;

/// What the signed message, and the digest of a certificate's subject, begin with.
const DOMAIN: &str = "candor/certificate/v1";
/// Most bytes of a certificate with its signature.
pub const MOST_BYTES: usize = 32 << 20;
/// Most bytes of a request.
pub const MOST_REQUEST_BYTES: usize = 16 << 10;
/// Most purposes that a request names.
const MOST_PURPOSES: usize = 64;
/// Most places that a certificate names.
const MOST_PLACES: usize = 64;
/// Most files that a certificate names.
const MOST_FILES: usize = 1 << 17;
/// Most bytes of a name.
const MOST_NAME: usize = 255;
/// JSON numbers are exact below this.
const MOST_NUMBER: u64 = 1 << 53;

/// What `POST /v1/subject/erasure` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ErasureRequest {
    /// What is to go.
    pub scope: Scope,
}

/// What is to go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scope {
    /// Everything, for good: nothing is stored of the subject ever again.
    All,
    /// What was stored for these purposes, which the subject has withdrawn.
    Purposes(Vec<String>),
    /// What was received on these days, and nothing else: consent stays as it is.
    Received {
        /// First day, `YYYY-MM-DD`; without one: from the beginning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Last day, `YYYY-MM-DD`; without one: up to now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
}

/// The one value of `kind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CertificateKind {
    /// A certificate of erasure.
    #[default]
    Certificate,
}

/// What was erased, where, and what is out of the service's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Until when it had to be done, µs UTC.
    pub deadline: i64,
    /// When nothing of it was left in the places that are `done`, µs UTC.
    pub done_at: i64,
    /// The files that held rows of the subject, in the order of their tables and digests.
    pub files: Vec<ErasedFile>,
    /// The fleet.
    pub fleet: String,
    /// 16 random bytes, hex.
    pub id: String,
    /// `certificate`.
    pub kind: CertificateKind,
    /// Place by place.
    pub places: Vec<Place>,
    /// When it was asked for, µs UTC.
    pub requested_at: i64,
    /// Rows that are gone.
    pub rows: u64,
    /// What was asked for.
    pub scope: Scope,
    /// SHA-256(`candor/certificate/v1` ‖ nonce ‖ ledger id): only who knows the nonce can tell whom it is about.
    pub subject: Sha256Hex,
}

/// A file that held rows of the subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ErasedFile {
    /// `PURPOSE/STREAM`.
    pub table: String,
    /// SHA-256 of the file, which is gone.
    pub old: Sha256Hex,
    /// SHA-256 of the file in its place; none if no row was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Sha256Hex>,
    /// Rows of the subject that were in it.
    pub removed: u64,
}

/// A place that held something of the subject, or may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its name.
    pub place: String,
    /// What became of it there.
    pub state: PlaceState,
    /// Until when it will have gone, µs UTC; only where that is known and not `done`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// What became of data in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlaceState {
    /// Nothing is left.
    Done,
    /// It goes later, by itself.
    Due,
    /// The service has no hand in it.
    Outside,
}

/// A certificate as it is handed out. Its text is its RFC 8785 JSON, and nothing else is taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignedCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// The service's log key, base64url.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub key: PublicKey,
    /// 32 bytes, hex: with them the subject's digest can be computed.
    pub nonce: Sha256Hex,
    /// Ed25519 over the certificate, base64url.
    pub signature: String,
}

/// Why a request or a certificate is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErasureError {
    /// It cannot be read.
    #[error("it is not a certificate of erasure")]
    Unreadable,
    /// It could be written in another way.
    #[error("it is not written as RFC 8785 says")]
    NotCanonical,
    /// It has more bytes than any has.
    #[error("it is too long")]
    TooLong,
    /// A field has a value that it cannot have.
    #[error("its `{0}` cannot be that")]
    Field(&'static str),
    /// Another key than the log's signed it.
    #[error("it is signed by another key than the log's that is known")]
    OtherKey,
    /// The signature is not that of the key over these bytes.
    #[error("its signature does not hold")]
    Signature,
    /// It is about somebody else.
    #[error("it is about another subject")]
    OtherSubject,
}

impl Scope {
    /// The same with names in the order that a certificate has them in, each once: neither order nor repeats say anything.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        if let Self::Purposes(names) = &mut self {
            names.sort_unstable();
            names.dedup();
        }
        self
    }

    /// Whether it can be asked for.
    ///
    /// # Errors
    /// [`ErasureError::Field`].
    pub fn check(&self) -> Result<(), ErasureError> {
        match self {
            Self::All => Ok(()),
            Self::Purposes(names) => {
                require("purposes", (1..=MOST_PURPOSES).contains(&names.len()))?;
                require("purposes", names.is_sorted_by(|one, two| one < two))?;
                require("purposes", names.iter().all(|name| is_name(name)))
            }
            Self::Received { from, to } => {
                require("received", from.is_some() || to.is_some())?;
                require("from", from.as_deref().is_none_or(|day| day_of(day).is_some()))?;
                require("to", to.as_deref().is_none_or(|day| day_of(day).is_some()))?;
                let (first, last) = (from.as_deref().and_then(day_of), to.as_deref().and_then(day_of));
                require("to", first.zip(last).is_none_or(|(first, last)| first <= last))
            }
        }
    }

    /// Whether what a purpose holds of a day of receipt (days since 1970-01-01) is to go.
    #[must_use]
    pub fn covers(&self, purpose: &str, day: i32) -> bool {
        match self {
            Self::All => true,
            Self::Purposes(names) => names.iter().any(|name| name == purpose),
            Self::Received { from, to } => {
                let first = from.as_deref().map_or(Some(i32::MIN), day_of);
                let last = to.as_deref().map_or(Some(i32::MAX), day_of);
                first.zip(last).is_some_and(|(first, last)| (first..=last).contains(&day))
            }
        }
    }
}

impl Certificate {
    /// Its bytes: RFC 8785 JSON.
    ///
    /// # Errors
    /// If a field has a value that it cannot have, or it is too long.
    pub fn encode(&self) -> Result<Vec<u8>, ErasureError> {
        self.check()?;
        let bytes = serde_json_canonicalizer::to_vec(self).map_err(|_| ErasureError::Unreadable)?;
        if bytes.len() > MOST_BYTES { Err(ErasureError::TooLong) } else { Ok(bytes) }
    }

    /// Reads one: exactly what [`Certificate::encode`] writes.
    ///
    /// # Errors
    /// [`ErasureError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ErasureError> {
        let certificate: Self = read(bytes)?;
        if certificate.encode()? == bytes { Ok(certificate) } else { Err(ErasureError::NotCanonical) }
    }

    /// SHA-256 of its bytes: what the log holds of it.
    ///
    /// # Errors
    /// As [`Certificate::encode`].
    pub fn digest(&self) -> Result<Sha256Hex, ErasureError> {
        self.encode().map(|bytes| Sha256Hex(Sha256::digest(bytes).into()))
    }

    /// Signs it.
    ///
    /// # Errors
    /// As [`Certificate::encode`].
    pub fn sign(self, nonce: [u8; 32], key: &SubjectKey) -> Result<SignedCertificate, ErasureError> {
        let signature = URL_SAFE_NO_PAD.encode(key.sign(&message(&self)?));
        Ok(SignedCertificate { certificate: self, key: key.public(), nonce: Sha256Hex(nonce), signature })
    }

    fn check(&self) -> Result<(), ErasureError> {
        require("id", hex::decode(&self.id).is_some_and(|bytes| bytes.len() == 16))?;
        require("fleet", is_name(&self.fleet))?;
        self.scope.check()?;
        for (field, time) in
            [("requested_at", self.requested_at), ("done_at", self.done_at), ("deadline", self.deadline)]
        {
            require(field, time.unsigned_abs() < MOST_NUMBER)?;
        }
        require("files", self.files.len() <= MOST_FILES)?;
        require("files", self.files.is_sorted_by(|one, two| (&one.table, one.old) < (&two.table, two.old)))?;
        let mut rows = 0_u64;
        for file in &self.files {
            let names = file.table.split_once('/');
            require("table", names.is_some_and(|(purpose, stream)| is_name(purpose) && is_name(stream)))?;
            require("removed", (1..MOST_NUMBER).contains(&file.removed))?;
            rows = rows.saturating_add(file.removed);
        }
        require("rows", rows == self.rows && rows < MOST_NUMBER)?;
        require("places", self.places.len() <= MOST_PLACES)?;
        for place in &self.places {
            require("place", is_place(&place.place))?;
            require("until", place.until.is_none_or(|time| time.unsigned_abs() < MOST_NUMBER))?;
            require("until", place.state != PlaceState::Done || place.until.is_none())?;
        }
        Ok(())
    }
}

impl SignedCertificate {
    /// Its text: RFC 8785 JSON.
    ///
    /// # Errors
    /// As [`Certificate::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, ErasureError> {
        self.certificate.check()?;
        let bytes = serde_json_canonicalizer::to_vec(self).map_err(|_| ErasureError::Unreadable)?;
        if bytes.len() > MOST_BYTES { Err(ErasureError::TooLong) } else { Ok(bytes) }
    }

    /// Reads one: exactly what [`SignedCertificate::encode`] writes.
    ///
    /// # Errors
    /// [`ErasureError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ErasureError> {
        let signed: Self = read(bytes)?;
        if signed.encode()? == bytes { Ok(signed) } else { Err(ErasureError::NotCanonical) }
    }

    /// Whether the log's key signed it, and for this subject.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, key: &PublicKey, subject: &LedgerId) -> Result<(), ErasureError> {
        if self.key != *key {
            return Err(ErasureError::OtherKey);
        }
        let signature = URL_SAFE_NO_PAD.decode(&self.signature).map_err(|_| ErasureError::Signature)?;
        if !key.verify(&message(&self.certificate)?, &signature) {
            return Err(ErasureError::Signature);
        }
        let is_about = subject_digest(&self.nonce.0, subject) == self.certificate.subject;
        if is_about { Ok(()) } else { Err(ErasureError::OtherSubject) }
    }
}

/// What a certificate calls its subject.
#[must_use]
pub fn subject_digest(nonce: &[u8; 32], subject: &LedgerId) -> Sha256Hex {
    let digest = Sha256::new_with_prefix(DOMAIN).chain_update(nonce).chain_update(subject.as_bytes());
    Sha256Hex(digest.finalize().into())
}

/// What is signed: the domain, one LF, the certificate's bytes.
fn message(certificate: &Certificate) -> Result<Vec<u8>, ErasureError> {
    let bytes = certificate.encode()?;
    Ok([DOMAIN.as_bytes(), b"\n", &bytes].concat())
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ErasureError> {
    if bytes.len() > MOST_BYTES {
        return Err(ErasureError::TooLong);
    }
    serde_json::from_slice(bytes).map_err(|_| ErasureError::Unreadable)
}

fn require(field: &'static str, holds: bool) -> Result<(), ErasureError> {
    if holds { Ok(()) } else { Err(ErasureError::Field(field)) }
}

/// A day as days since 1970-01-01.
fn day_of(text: &str) -> Option<i32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    if date.to_string() != text {
        return None;
    }
    date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1))).ok().map(|span| span.get_days())
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= MOST_NAME && name.chars().all(allowed)
}

/// Names of places are for people: words, without what a terminal would obey.
fn is_place(name: &str) -> bool {
    !name.is_empty() && name.len() <= MOST_NAME && !name.chars().any(char::is_control)
}
