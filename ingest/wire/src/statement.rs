//! Consent statements: a subject's full state per purpose at a sequence, chained by hash.
//!
//! A statement never widens what it does not name: a purpose that a request leaves out keeps its state, an expiry that
//! has passed turns it into *expired*, and a later expiry does not reach it.

use std::collections::BTreeMap;

use candor_policy::consent::{ConsentState, SubjectConsent};
use candor_policy::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::merkle::{Hash, leaf_hash};

mod chain;
mod signed;
mod states;

pub use chain::verify_chain;
pub use signed::{Signed, SignedStatement};

/// Most bytes of a subject's value.
pub const MAX_SUBJECT_BYTES: usize = 1_024;
/// Most characters of a notice's version or language.
pub const MAX_NOTICE_CHARS: usize = 64;
/// Nobody is older: a bigger number is a birth year.
pub const MAX_AGE: u8 = 150;

/// Who vouches for a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Assertion {
    /// The fleet's own backend said so through the API.
    Controller,
    /// The subject signed it.
    Subject,
    /// A guardian signed it with the subject's key.
    Guardian,
}

/// The notice that the subject was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Version of the notice: `2026-01`.
    pub version: String,
    /// BCP 47 language: `de`.
    pub language: String,
}

/// What `POST /v1/consent` takes: purposes that are left out stay as they are.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConsentRequest {
    /// Value of the attribute by which the source names its subjects. Never stored, never logged.
    pub subject: String,
    /// New state per purpose.
    #[serde(deserialize_with = "states::once")]
    pub purposes: BTreeMap<String, ConsentState>,
    /// The notice that was shown.
    pub notice: Notice,
    /// Lower end of the subject's age band in years; stays as it was if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = MAX_AGE)))]
    pub age_from: Option<u8>,
    /// Day (`YYYY-MM-DD`) from which *given* counts as expired. While a purpose that was given before is not named
    /// again, the earlier of its day and this one holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When the subject first gave it (RFC 3339), where the backend knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_at: Option<String>,
}

impl std::fmt::Debug for ConsentRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConsentRequest(subject: .., {} purposes)", self.purposes.len())
    }
}

/// One statement of the ledger: the full state of all purposes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Ledger id, hex: a pseudonym under a secret key, or the hash of the subject's own key.
    pub ledger_id: String,
    /// instance·2^32 + n, n from 1.
    pub sequence: i64,
    /// SHA-256 of the statement before (of its RFC 8785 JSON); all zeros for the first.
    pub previous: String,
    /// Full state of all purposes.
    #[serde(deserialize_with = "states::once")]
    pub purposes: BTreeMap<String, ConsentState>,
    /// The notice that was shown.
    pub notice: Notice,
    /// Lower end of the age band in years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_from: Option<u8>,
    /// Day from which *given* counts as expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When the subject first gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_at: Option<String>,
    /// When the service received it, RFC 3339 UTC.
    pub received_at: String,
    /// Who vouches for it.
    pub asserted_by: Assertion,
    /// Name of the source that sent it.
    pub source: String,
    /// What shows that the subject made it, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// Why a request is not a statement; never holds the subject's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// A purpose that the policy does not have. Its name is not repeated: it could be anything.
    #[error("a purpose is not one that the policy declares: use {known}")]
    UnknownPurpose {
        /// The names that the policy has.
        known: String,
    },
    /// A state that a request cannot ask for.
    #[error("`{purpose}` cannot become `unknown` again: say `refused` or `withdrawn`")]
    BackToUnknown {
        /// Name of the purpose.
        purpose: String,
    },
    /// A part of the request that is not as it must be.
    #[error("`{field}` must be {expected}")]
    Invalid {
        /// Path in the request: `notice.language`.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Its signature is not that of its key over what it says.
    #[error("the signature does not hold: sign the statement as it is sent, with the key that it names")]
    Signature,
    /// The subject has had 2^32 - 1 statements.
    #[error("the subject has no sequence number left: register it under a new value")]
    SequenceOverflow,
    /// The statement before is another subject's.
    #[error("the statement before belongs to another subject: pass this subject's newest one")]
    OtherSubject,
    /// A stored statement that this service did not write so.
    #[error("statement {sequence} is damaged ({what}): restore the ledger from a backup")]
    Damaged {
        /// Its sequence.
        sequence: i64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl ConsentRequest {
    /// Checks sizes and forms: everything that can be checked without the policy and the subject's history.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), StatementError> {
        let invalid = |field, expected| Err(StatementError::Invalid { field, expected });
        if self.subject.is_empty() || self.subject.len() > MAX_SUBJECT_BYTES {
            return invalid("subject", "text of 1 to 1,024 bytes");
        }
        check_terms(&self.notice, self.age_from, self.expires.as_deref(), self.granted_at.as_deref())
    }
}

/// The leaf of a statement in the tree over an epoch's statements: RFC 6962 over nonce ‖ hash of the statement. Without the nonce, which
/// goes with an erasure, nobody can tell whose it was.
#[must_use]
pub fn consent_leaf(nonce: &[u8], hash: &Hash) -> Hash {
    leaf_hash(&[nonce, hash].concat())
}

impl Statement {
    /// SHA-256 of the RFC 8785 JSON: what the next statement's `previous` holds.
    ///
    /// # Errors
    /// None in practice: every field is JSON.
    pub fn hash(&self) -> Result<Digest, StatementError> {
        match self.to_signed() {
            // What the subject could not know when it signed is no part of it.
            Some(signed) => signed.hash(),
            None => Digest::of_document(self).map_err(|_| self.damaged("it is not JSON")),
        }
    }

    /// The form that clearing sees, with purposes numbered as in `purposes`: those that the statement does not name
    /// are unknown, those that the policy no longer has are left out.
    ///
    /// # Errors
    /// [`StatementError::Damaged`] if its expiry is no day: a state without its expiry would permit too much.
    pub fn consent(&self, purposes: &[impl AsRef<str>]) -> Result<SubjectConsent, StatementError> {
        let expires = match &self.expires {
            None => 0,
            // 0 stands for "never": what expired before 1971 has expired on every day that matters.
            Some(date) => day_number(date).ok_or(self.damaged("`expires` is not a day"))?.max(1) as u32,
        };
        let state = SubjectConsent::new(self.sequence, self.age_from, expires)
            .with_guardian(self.asserted_by == Assertion::Guardian)
            .with_gpc(self.signed.as_ref().is_some_and(|signed| signed.gpc))
            .with_closed(self.signed.as_ref().is_some_and(|signed| signed.closes));
        Ok(purposes.iter().enumerate().fold(state, |state, (number, name)| {
            state.with(number, self.purposes.get(name.as_ref()).copied().unwrap_or_default())
        }))
    }

    /// What statements say together of one purpose, which is number 0 of the answer; none if there are none. Several of one number
    /// permit what each of them does.
    ///
    /// # Errors
    /// As [`Statement::consent`].
    pub fn together<'a>(
        statements: impl IntoIterator<Item = &'a Self>,
        purpose: &str,
    ) -> Result<Option<SubjectConsent>, StatementError> {
        let said: Vec<SubjectConsent> =
            statements.into_iter().map(|one| one.consent(&[purpose])).collect::<Result<_, _>>()?;
        Ok(said.into_iter().reduce(SubjectConsent::and))
    }

    const fn damaged(&self, what: &'static str) -> StatementError {
        StatementError::Damaged { sequence: self.sequence, what }
    }
}

/// Sizes and forms of what a request and a subject's own statement have in common.
fn check_terms(
    notice: &Notice,
    age_from: Option<u8>,
    expires: Option<&str>,
    granted_at: Option<&str>,
) -> Result<(), StatementError> {
    let invalid = |field, expected| Err(StatementError::Invalid { field, expected });
    if !is_short(&notice.version, |c| !c.is_control()) {
        return invalid("notice.version", "1 to 64 characters, none of them a control character");
    }
    if !is_short(&notice.language, |c| c.is_ascii_alphanumeric() || c == '-') {
        return invalid("notice.language", "a BCP 47 language tag of 1 to 64 characters, like `de` or `pt-BR`");
    }
    if age_from.is_some_and(|age| age > MAX_AGE) {
        return invalid("age_from", "an age in years, at most 150");
    }
    if expires.is_some_and(|date| day_number(date).is_none()) {
        return invalid("expires", "a day, like 2027-12-31");
    }
    if granted_at.is_some_and(|time| crate::otlp::value::rfc3339_microseconds(time).is_none()) {
        return invalid("granted_at", "a time of RFC 3339, like 2026-01-31T12:00:00Z");
    }
    Ok(())
}

/// The `YYYY-MM-DD` of days since 1970-01-01.
pub(crate) fn day_text(day: u32) -> Option<String> {
    let days = jiff::Span::new().try_days(day).ok()?;
    jiff::civil::date(1970, 1, 1).checked_add(days).ok().map(|date| date.to_string())
}

/// Days since 1970-01-01 of a `YYYY-MM-DD`.
fn day_number(date: &str) -> Option<i32> {
    let bytes = date.as_bytes();
    let framed = bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
    let date: jiff::civil::Date = framed.then(|| date.parse().ok()).flatten()?;
    date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1))).ok().map(|span| span.get_days())
}

fn is_short(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    // Four bytes a character at most: a cheap look before every character is.
    text.len() <= MAX_NOTICE_CHARS * 4
        && (1..=MAX_NOTICE_CHARS).contains(&text.chars().count())
        && text.chars().all(allowed)
}

impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Statement(sequence {}, {} purposes)", self.sequence, self.purposes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConsentState::{Expired, Given, Refused, Unknown};
    use candor_policy::subject::LedgerId;

    pub(super) const PURPOSES: [&str; 3] = ["analytics", "diagnostics", "marketing"];
    /// 2026-11-22T20:00:00.5Z.
    pub(super) const NOW: i64 = 1_795_377_600_500_000;

    fn subject() -> LedgerId {
        LedgerId::from_bytes([7; 32])
    }

    pub(super) fn request(purposes: &[(&str, ConsentState)], expires: Option<&str>) -> ConsentRequest {
        ConsentRequest {
            subject: "phone-0001".to_owned(),
            purposes: purposes.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect(),
            notice: Notice { version: "2026-01".to_owned(), language: "de".to_owned() },
            age_from: None,
            expires: expires.map(str::to_owned),
            granted_at: None,
        }
    }

    pub(super) fn next(
        previous: Option<&Statement>,
        request: &ConsentRequest,
        at: i64,
    ) -> Result<Statement, StatementError> {
        Statement::next(previous, request, &subject(), &PURPOSES, at, "backend")
    }

    #[test]
    fn requests_that_cannot_be_are_told_what_to_mend_without_the_subject() {
        let fine = request(&[("analytics", Given)], None);
        let with = |change: &dyn Fn(&mut ConsentRequest)| {
            let mut changed = fine.clone();
            change(&mut changed);
            next(None, &changed, NOW).unwrap_err().to_string()
        };
        for (message, expected) in [
            (with(&|r| r.subject.clear()), "`subject` must be text of 1 to 1,024 bytes"),
            (with(&|r| r.subject = "x".repeat(1_025)), "`subject` must be text of 1 to 1,024 bytes"),
            (with(&|r| r.notice.language = "d e".to_owned()), "`notice.language` must be a BCP 47"),
            (with(&|r| r.notice.version = "v".repeat(65)), "`notice.version` must be 1 to 64 characters"),
            (with(&|r| r.expires = Some("31.12.2027".to_owned())), "`expires` must be a day, like 2027-12-31"),
            (with(&|r| r.expires = Some("2027-02-30".to_owned())), "`expires` must be a day"),
            (with(&|r| r.granted_at = Some("yesterday".to_owned())), "`granted_at` must be a time of RFC 3339"),
            (with(&|r| r.age_from = Some(200)), "`age_from` must be an age in years"),
            (
                with(&|r| r.purposes.extend([("phone-0001".to_owned(), Given)])),
                "a purpose is not one that the policy declares: use analytics, diagnostics, marketing",
            ),
        ] {
            assert!(message.starts_with(expected), "{message}");
            assert!(!message.contains("phone-0001"), "{message}");
        }
        let refused = next(None, &request(&[("analytics", Refused)], None), NOW).unwrap();
        let error = next(Some(&refused), &request(&[("analytics", Unknown)], None), NOW).unwrap_err();
        assert_eq!(error, StatementError::BackToUnknown { purpose: "analytics".to_owned() });
        let other = Statement { ledger_id: "ab".repeat(32), ..refused };
        assert_eq!(next(Some(&other), &fine, NOW).unwrap_err(), StatementError::OtherSubject);
        assert!(!format!("{fine:?}").contains("phone-0001"));
    }

    #[test]
    fn clearing_sees_states_by_number_and_an_expiry_that_is_never_lost() {
        let statement = next(None, &request(&[("marketing", Given)], Some("2027-01-01")), NOW).unwrap();
        let consent = statement.consent(&["marketing", "new one"]).unwrap();
        // 2027-01-01 is day 20,819.
        assert_eq!((consent.state(0, 20_818), consent.state(0, 20_819)), (Given, Expired));
        assert_eq!((consent.state(1, 0), consent.sequence()), (Unknown, 1));

        let long_ago = Statement { expires: Some("1969-01-01".to_owned()), ..statement.clone() };
        assert_eq!(long_ago.consent(&["marketing"]).unwrap().state(0, 20_000), Expired);
        let damaged = Statement { expires: Some("soon".to_owned()), ..statement };
        assert!(damaged.consent(&["marketing"]).is_err());
    }

    #[test]
    fn a_request_is_json_and_knows_no_other_field() {
        let json = r#"{"subject":"a","purposes":{"analytics":"given"},"notice":{"version":"1","language":"de"}}"#;
        let request: ConsentRequest = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), json);
        assert!(serde_json::from_str::<ConsentRequest>(&json.replace("subject", "subjekt")).is_err());
    }

    #[test]
    fn a_purpose_that_comes_twice_is_no_statement() {
        let json = |purposes: &str| {
            format!(r#"{{"subject":"a","purposes":{{{purposes}}},"notice":{{"version":"1","language":"de"}}}}"#)
        };
        let read = |purposes: &str| serde_json::from_str::<ConsentRequest>(&json(purposes));
        assert_eq!(read(r#""a":"given","b":"given""#).unwrap().purposes.len(), 2);
        for twice in [
            r#""opt":"withdrawn","opt":"given""#,
            r#""opt":"given","b":"given","opt":"given""#,
            r#""opt":"withdrawn","\u006fpt":"given""#,
        ] {
            let error = read(twice).unwrap_err();
            assert!(error.is_data() && !error.to_string().contains("opt"), "{error}");
        }
        let statement = next(None, &request(&[("analytics", Given)], None), NOW).unwrap();
        let stored = serde_json::to_string(&statement).unwrap();
        assert_eq!(serde_json::from_str::<Statement>(&stored).unwrap(), statement);
        let twice = stored.replace("\"analytics\":", "\"analytics\":\"withdrawn\",\"analytics\":");
        assert!(twice != stored && serde_json::from_str::<Statement>(&twice).is_err());
    }
}
