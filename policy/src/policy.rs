//! The policy, resolved: purposes, legal bases, jurisdictions, rules and retention as privacy officers declared them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::FieldPath;
use crate::consent::ConsentState;
use crate::digest::Digest;
use crate::reason::Reason;
use crate::retention::Period;
use crate::rule_document::Rule;
use crate::source::Source;

/// A parsed policy. [`crate::plan::Plan::compile`] checks it against a catalogue.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// SHA-256 over the RFC 8785 JSON of the document.
    pub digest: Digest,
    /// RFC 8785 JSON of the document, as published at `/v1/policy`.
    pub canonical: String,
    /// Version of the published notice, if the policy names one: legal bases other than consent need it.
    pub notice: Option<String>,
    /// Which attribute gives the jurisdiction, and how its values map.
    pub jurisdictions: Jurisdictions,
    /// Which attribute carries GPC, if any, and the purposes that it opts out of.
    pub gpc: GpcRule,
    /// Purposes in document order: their index is the purpose number.
    pub purposes: Vec<Purpose>,
    /// Rules in document order.
    pub(crate) rules: Vec<Rule>,
    /// Where problems that compiling finds are.
    pub(crate) source: Source,
}

/// Jurisdictions that the policy knows; number 0 is `unknown`, the others follow in document order.
#[derive(Clone, Debug)]
pub struct Jurisdictions {
    /// The attribute, if the policy names one.
    pub from: Option<FieldPath>,
    /// Names; `names[0]` is `unknown`.
    pub names: Vec<String>,
    /// Attribute value → number in `names`.
    pub values: BTreeMap<String, u16>,
}

/// Global Privacy Control (`Sec-GPC: 1`, or an attribute that is true).
#[derive(Clone, Debug)]
pub struct GpcRule {
    /// The attribute, if the policy names one.
    pub from: Option<FieldPath>,
    /// Per purpose number: whether GPC opts out of it.
    pub opts_out: Vec<bool>,
}

/// Why data may be used.
#[derive(Clone, Debug)]
pub struct Purpose {
    /// Name, also the first part of its tables' paths.
    pub name: String,
    /// fideslang data use: `analytics.reporting`.
    pub data_use: String,
    /// What it is, for people.
    pub description: String,
    /// Per jurisdiction number: the legal basis; `unknown` (0) has the strictest of all.
    pub basis: Vec<Option<LegalBasis>>,
    /// Per jurisdiction number: least age in years, 0 for none; `unknown` has the highest of all.
    pub min_age: Vec<u8>,
    /// How long rows stay, from the date of receipt.
    pub retain: Period,
    /// What a withdrawal does to rows stored before. Nothing carries it out yet (`docs/THREATS.md`).
    pub on_withdrawal: OnWithdrawal,
}

/// Legal basis of a purpose in a jurisdiction, least strict first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LegalBasis {
    /// Performance of a contract; needs a published notice.
    Contract,
    /// A legal obligation; needs a published notice.
    LegalObligation,
    /// Vital interests; needs a published notice.
    VitalInterests,
    /// A task in the public interest; needs a published notice; an objection ends it.
    PublicInterest,
    /// Legitimate interests; needs a published notice; an objection ends it.
    LegitimateInterests,
    /// Notice with opt-out: holds unless refused, withdrawn or opted out.
    Notice,
    /// Consent: must be given.
    Consent,
    /// Separate consent: must be given for this purpose alone.
    SeparateConsent,
}

impl LegalBasis {
    /// All of them, least strict first.
    pub const ALL: [Self; 8] = [
        Self::Contract,
        Self::LegalObligation,
        Self::VitalInterests,
        Self::PublicInterest,
        Self::LegitimateInterests,
        Self::Notice,
        Self::Consent,
        Self::SeparateConsent,
    ];

    /// As policies write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::LegalObligation => "legal_obligation",
            Self::VitalInterests => "vital_interests",
            Self::PublicInterest => "public_interest",
            Self::LegitimateInterests => "legitimate_interests",
            Self::Notice => "notice",
            Self::Consent => "consent",
            Self::SeparateConsent => "separate_consent",
        }
    }

    /// Whether the policy must name the version of a published notice.
    #[must_use]
    pub const fn needs_notice(self) -> bool {
        !matches!(self, Self::Notice | Self::Consent | Self::SeparateConsent)
    }

    /// Whether it permits what a subject in this state sends.
    #[must_use]
    pub fn holds(self, consent: ConsentState) -> bool {
        match self {
            Self::Consent | Self::SeparateConsent => consent == ConsentState::Given,
            Self::Notice | Self::PublicInterest | Self::LegitimateInterests => !consent.is_objection(),
            Self::Contract | Self::LegalObligation | Self::VitalInterests => true,
        }
    }
}

/// One rule: its id, and the line where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRef<'a> {
    /// Its id.
    pub id: &'a str,
    /// Line of the id in the policy's file; 1 where the policy was read from its canonical JSON.
    pub line: usize,
}

/// What happens to rows stored before a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnWithdrawal {
    /// They are erased.
    Erase,
    /// They stay until retention ends.
    Keep,
}

impl Policy {
    /// Number of the purpose of that name.
    #[must_use]
    pub fn purpose_number(&self, name: &str) -> Option<u16> {
        self.purposes.iter().position(|purpose| purpose.name == name).map(|number| number as u16)
    }

    /// All rules, by number.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = RuleRef<'_>> {
        self.rules.iter().map(|rule| RuleRef { id: &rule.id, line: self.source.line(rule.span.start) })
    }

    /// The rule of a number that a plan names.
    #[must_use]
    pub fn rule(&self, number: u16) -> Option<RuleRef<'_>> {
        let rule = self.rules.get(usize::from(number))?;
        Some(RuleRef { id: &rule.id, line: self.source.line(rule.span.start) })
    }

    /// Why a record that a rule lets through is not stored for a purpose, or `None` if it is: the one gate that
    /// clearing and explanation share. The checks come in the order of [`Reason`].
    #[must_use]
    pub fn gate(&self, purpose: u16, jurisdiction: u16, gpc: bool, age: Age, consent: ConsentState) -> Option<Reason> {
        let (at, place) = (usize::from(purpose), usize::from(jurisdiction));
        let Some(declared) = self.purposes.get(at) else { return Some(Reason::NoBasis) };
        let Some(basis) = declared.basis.get(place).copied().flatten() else { return Some(Reason::NoBasis) };
        let min_age = declared.min_age.get(place).copied().unwrap_or(u8::MAX);
        let by_consent = matches!(basis, LegalBasis::Consent | LegalBasis::SeparateConsent);
        if min_age > 0 && !age.reaches(min_age, by_consent && consent == ConsentState::Given) {
            return Some(Reason::UnderAge);
        }
        if gpc && self.gpc.opts_out.get(at).copied().unwrap_or(true) {
            return Some(Reason::OptedOut);
        }
        (!basis.holds(consent)).then_some(Reason::NoConsent)
    }
}

/// What is known of a subject's age where a purpose asks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Lower end of the age band in years, if it is known.
    Own(Option<u8>),
    /// A guardian speaks for the subject: what he gave consent to is as good as an adult's.
    Guarded,
}

impl Age {
    fn reaches(self, min_age: u8, given: bool) -> bool {
        match self {
            Self::Own(age) => age.is_some_and(|age| age >= min_age),
            Self::Guarded => given,
        }
    }
}

impl Jurisdictions {
    /// Number of a value; 0 (`unknown`) for a value that the policy does not map, or none.
    #[must_use]
    pub fn number(&self, value: Option<&str>) -> u16 {
        value.and_then(|v| self.values.get(v)).copied().unwrap_or(0)
    }
}
