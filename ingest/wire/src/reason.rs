//! Why a signed request is refused, by name: what a service says in `Candor-Reason`, and what tells a device what to do.

/// A reason; its name is what goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There is no signature where one is needed.
    SignatureMissing,
    /// The signature does not hold, or does not cover what it must.
    SignatureInvalid,
    /// The signature is not of now: the answer carries the service's time.
    SignatureTime,
    /// The nonce was used before: sign again.
    NonceUsed,
    /// The body is not the one that was signed.
    DigestMismatch,
    /// The service is another fleet's.
    FleetUnknown,
    /// The key was closed by its holder: nothing is stored for it any more.
    KeyClosed,
    /// The service does not know the consent that the events were collected under: send the statements, then this again.
    ConsentMissing,
    /// The statement does not follow the newest one: the answer says which that is.
    ConsentConflict,
    /// The statement is not one.
    ConsentInvalid,
    /// The number of the consent that events were collected under is none.
    ConsentNumber,
    /// The batch has no number, or none that can be.
    BatchNumber,
    /// More numbers are missing below this one than are kept: send the lower ones first.
    BatchTooFar,
    /// Nothing is known of this subject.
    SubjectUnknown,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 14] = [
        Self::SignatureMissing,
        Self::SignatureInvalid,
        Self::SignatureTime,
        Self::NonceUsed,
        Self::DigestMismatch,
        Self::FleetUnknown,
        Self::KeyClosed,
        Self::ConsentMissing,
        Self::ConsentConflict,
        Self::ConsentInvalid,
        Self::ConsentNumber,
        Self::BatchNumber,
        Self::BatchTooFar,
        Self::SubjectUnknown,
    ];

    /// Its name in the header `Candor-Reason`, in metrics and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignatureMissing => "signature_missing",
            Self::SignatureInvalid => "signature_invalid",
            Self::SignatureTime => "signature_time",
            Self::NonceUsed => "nonce_used",
            Self::DigestMismatch => "digest_mismatch",
            Self::FleetUnknown => "fleet_unknown",
            Self::KeyClosed => "key_closed",
            Self::ConsentMissing => "consent_missing",
            Self::ConsentConflict => "consent_conflict",
            Self::ConsentInvalid => "consent_invalid",
            Self::ConsentNumber => "consent_number",
            Self::BatchNumber => "batch_number",
            Self::BatchTooFar => "batch_too_far",
            Self::SubjectUnknown => "subject_unknown",
        }
    }

    /// The reason of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
