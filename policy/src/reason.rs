//! Why a record was not stored for a purpose: one reason per record and purpose, the first that applies.

use serde::{Deserialize, Serialize};

/// The reasons in the order in which they are tried; the text form is the one in totals, frames and receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The catalogue declares no event of that name.
    UndeclaredEvent,
    /// A declared field came with another type: the whole record goes, for every purpose.
    BadValue,
    /// The attribute that the source names as its subject is missing.
    NoSubject,
    /// No rule of the purpose lets anything of this record through.
    NoRule,
    /// The purpose has no legal basis in the record's jurisdiction.
    NoBasis,
    /// The subject's age is unknown or under the purpose's `min_age`.
    UnderAge,
    /// Global Privacy Control opts out of this purpose.
    OptedOut,
    /// The purpose needs a consent that is not given.
    NoConsent,
    /// An operator failed on it: it lacks its key, or is given what it was not compiled for. Nothing of the record is stored.
    EvaluationFailed,
    /// Consent was withdrawn between clearing and the append.
    WithdrawnAtAppend,
}

impl Reason {
    /// All reasons, in order.
    pub const ALL: [Self; 10] = [
        Self::UndeclaredEvent,
        Self::BadValue,
        Self::NoSubject,
        Self::NoRule,
        Self::NoBasis,
        Self::UnderAge,
        Self::OptedOut,
        Self::NoConsent,
        Self::EvaluationFailed,
        Self::WithdrawnAtAppend,
    ];

    /// The name used in totals, frames, metrics and receipts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UndeclaredEvent => "undeclared_event",
            Self::BadValue => "bad_value",
            Self::NoSubject => "no_subject",
            Self::NoRule => "no_rule",
            Self::NoBasis => "no_basis",
            Self::UnderAge => "under_age",
            Self::OptedOut => "opted_out",
            Self::NoConsent => "no_consent",
            Self::EvaluationFailed => "evaluation_failed",
            Self::WithdrawnAtAppend => "withdrawn_at_append",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
