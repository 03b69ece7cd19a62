//! Statements that a subject makes itself: signed with its key, so that nobody else can, and that anybody can check.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::consent::ConsentState;
use candor_policy::digest::Digest;
use candor_policy::hex;
use candor_policy::subject::LedgerId;
use serde::{Deserialize, Serialize};

use super::chain::NOTHING_BEFORE;
use super::{Assertion, Notice, Statement, StatementError, check_terms, states};
use crate::identity::{PublicKey, SubjectKey};

/// What the signed message begins with.
const MESSAGE: &str = "candor/statement/v1\n";
/// Most purposes of a statement: more than a policy can have, for those that it had before.
const MAX_PURPOSES: usize = 64;
/// Most bytes of the name of a fleet or a purpose.
const MAX_NAME_BYTES: usize = 128;

/// What a device sends to `POST /v1/consent`: the full state of all purposes at a sequence of its own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignedStatement {
    /// The fleet that it is for.
    pub fleet: String,
    /// The subject's public key, base64url.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub key: PublicKey,
    /// instance·2^32 + n, n from 1.
    pub sequence: i64,
    /// Hash of the statement before, hex; 64 zeros for the first.
    pub previous: String,
    /// Full state of all purposes.
    #[serde(deserialize_with = "states::once")]
    pub purposes: BTreeMap<String, ConsentState>,
    /// The notice that was shown.
    pub notice: Notice,
    /// Lower end of the age band in years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = super::MAX_AGE)))]
    pub age_from: Option<u8>,
    /// Day from which *given* counts as expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When the subject first gave it (RFC 3339), also where the statement is a later one or under a later key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_at: Option<String>,
    /// Global Privacy Control: as if every event had it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gpc: bool,
    /// A guardian says this for a minor.
    #[serde(default, skip_serializing_if = "is_false")]
    pub guardian: bool,
    /// The last statement of this key: nothing is stored for it afterwards.
    #[serde(default, skip_serializing_if = "is_false")]
    pub closes: bool,
    /// Ed25519 over the rest, base64url.
    pub signature: String,
}

/// What a ledger keeps of a statement that its subject signed, beside what every statement has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// See [`SignedStatement::fleet`].
    pub fleet: String,
    /// See [`SignedStatement::key`].
    pub key: PublicKey,
    /// See [`SignedStatement::gpc`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub gpc: bool,
    /// See [`SignedStatement::closes`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub closes: bool,
    /// See [`SignedStatement::signature`].
    pub signature: String,
}

impl SignedStatement {
    /// The same signed with a key, which it names from then on.
    ///
    /// # Errors
    /// [`StatementError::Invalid`] if it is not one that a service takes.
    pub fn sign(mut self, key: &SubjectKey) -> Result<Self, StatementError> {
        self.key = key.public();
        self.check_form()?;
        self.signature = URL_SAFE_NO_PAD.encode(key.sign(self.message()?.as_bytes()));
        Ok(self)
    }

    /// Checks sizes, forms and the signature: everything that can be checked without the policy and the history.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), StatementError> {
        self.check_form()?;
        let signature = URL_SAFE_NO_PAD.decode(&self.signature).unwrap_or_default();
        if self.key.verify(self.message()?.as_bytes(), &signature) { Ok(()) } else { Err(StatementError::Signature) }
    }

    /// SHA-256 of its RFC 8785 JSON without the signature: what the next statement's `previous` holds.
    ///
    /// # Errors
    /// None in practice: every field is JSON.
    pub fn hash(&self) -> Result<Digest, StatementError> {
        self.content().map(|content| Digest::of_bytes(content.as_bytes()))
    }

    /// The ledger's id of who signed.
    #[must_use]
    pub fn ledger_id(&self) -> LedgerId {
        LedgerId::of_certified(&self.key.subject_id())
    }

    /// `previous` of a key's first statement.
    #[must_use]
    pub fn nothing_before() -> String {
        NOTHING_BEFORE.to_owned()
    }

    fn message(&self) -> Result<String, StatementError> {
        self.content().map(|content| format!("{MESSAGE}{content}"))
    }

    /// RFC 8785 JSON without the signature.
    fn content(&self) -> Result<String, StatementError> {
        let invalid = |_| StatementError::Invalid { field: "purposes", expected: "names and states" };
        let mut document = serde_json::to_value(self).map_err(invalid)?;
        if let Some(members) = document.as_object_mut() {
            members.remove("signature");
        }
        serde_json_canonicalizer::to_string(&document).map_err(invalid)
    }

    fn check_form(&self) -> Result<(), StatementError> {
        let invalid = |field, expected| Err(StatementError::Invalid { field, expected });
        let is_name =
            |name: &str| (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if !is_name(&self.fleet) {
            return invalid("fleet", "the name of the service's catalogue");
        }
        // From 2^53 on, RFC 8785 writes several numbers alike: a signature would hold for each.
        if !(1..1 << 53).contains(&self.sequence) || self.sequence as u32 == 0 {
            return invalid("sequence", "instance·2^32 + n, n from 1, below 2^53");
        }
        if hex::decode(&self.previous).is_none_or(|bytes| bytes.len() != 32) {
            return invalid("previous", "64 lower-case hex digits");
        }
        if self.purposes.len() > MAX_PURPOSES || !self.purposes.keys().all(|name| is_name(name)) {
            return invalid("purposes", "at most 64 names of purposes");
        }
        check_terms(&self.notice, self.age_from, self.expires.as_deref(), self.granted_at.as_deref())
    }
}

impl Statement {
    /// A subject's own statement as the ledger keeps it; `received_at` is in µs UTC. Check it first.
    ///
    /// # Errors
    /// [`StatementError::Invalid`] for a time that no calendar has.
    pub fn from_signed(statement: SignedStatement, received_at: i64, source: &str) -> Result<Self, StatementError> {
        let received = jiff::Timestamp::from_microsecond(received_at)
            .map_err(|_| StatementError::Invalid { field: "received_at", expected: "a time of the calendar" })?;
        let SignedStatement { fleet, key, gpc, closes, signature, .. } = statement;
        Ok(Self {
            ledger_id: hex::encode(key.subject_id().as_bytes()),
            sequence: statement.sequence,
            previous: statement.previous,
            purposes: statement.purposes,
            notice: statement.notice,
            age_from: statement.age_from,
            expires: statement.expires,
            granted_at: statement.granted_at,
            received_at: format!("{received:.6}"),
            asserted_by: if statement.guardian { Assertion::Guardian } else { Assertion::Subject },
            source: source.to_owned(),
            signed: Some(Signed { fleet, key, gpc, closes, signature }),
        })
    }

    /// What the subject signed, if it did.
    #[must_use]
    pub fn to_signed(&self) -> Option<SignedStatement> {
        let Signed { fleet, key, gpc, closes, signature } = self.signed.clone()?;
        Some(SignedStatement {
            fleet,
            key,
            sequence: self.sequence,
            previous: self.previous.clone(),
            purposes: self.purposes.clone(),
            notice: self.notice.clone(),
            age_from: self.age_from,
            expires: self.expires.clone(),
            granted_at: self.granted_at.clone(),
            gpc,
            guardian: self.asserted_by == Assertion::Guardian,
            closes,
            signature,
        })
    }
}

impl std::fmt::Debug for SignedStatement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedStatement(sequence {}, {} purposes)", self.sequence, self.purposes.len())
    }
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signed(..)")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use ConsentState::{Given, Refused, Withdrawn};

    use super::super::verify_chain;
    use super::*;
    use crate::identity::Seed;

    fn key(epoch: u64) -> SubjectKey {
        SubjectKey::derive(&Seed::new([7; 32]), "acme-fleet", epoch).unwrap()
    }

    fn statement(sequence: i64, previous: Option<&SignedStatement>, state: ConsentState) -> SignedStatement {
        SignedStatement {
            fleet: "acme-fleet".to_owned(),
            key: key(0).public(),
            sequence,
            previous: previous
                .map_or_else(SignedStatement::nothing_before, |before| before.hash().unwrap().to_string()),
            purposes: BTreeMap::from([("analytics".to_owned(), state)]),
            notice: Notice { version: "2026-01".to_owned(), language: "de".to_owned() },
            age_from: Some(18),
            expires: None,
            granted_at: Some("2026-01-31T12:00:00Z".to_owned()),
            gpc: false,
            guardian: false,
            closes: false,
            signature: String::new(),
        }
        .sign(&key(0))
        .unwrap()
    }

    fn kept(statement: &SignedStatement) -> Statement {
        Statement::from_signed(statement.clone(), 1_795_377_600_500_000, "devices").unwrap()
    }

    #[test]
    fn whatever_is_changed_in_it_its_signature_holds_no_more() {
        let signed = statement(1, None, Given);
        assert_eq!(signed.check(), Ok(()));
        let with = |change: fn(&mut SignedStatement)| {
            let mut changed = signed.clone();
            change(&mut changed);
            changed.check()
        };
        for change in [
            (|s| s.fleet.push('x')) as fn(&mut SignedStatement),
            |s| s.key = key(1).public(),
            |s| s.sequence = 2,
            |s| s.previous = "ab".repeat(32),
            |s| _ = s.purposes.insert("analytics".to_owned(), Refused),
            |s| _ = s.purposes.insert("marketing".to_owned(), Given),
            |s| s.notice.version.push('x'),
            |s| s.age_from = None,
            |s| s.expires = Some("2027-01-01".to_owned()),
            |s| s.granted_at = None,
            |s| s.gpc = true,
            |s| s.guardian = true,
            |s| s.closes = true,
            |s| s.signature = URL_SAFE_NO_PAD.encode([0; 64]),
            |s| s.signature = String::new(),
        ] {
            assert_eq!(with(change), Err(StatementError::Signature));
        }
        for (change, field) in [
            ((|s| s.sequence = 1 << 32) as fn(&mut SignedStatement), "sequence"),
            (|s| s.sequence = -1, "sequence"),
            (|s| s.sequence = (1 << 53) | 1, "sequence"),
            (|s| s.previous = "x".to_owned(), "previous"),
            (|s| s.fleet = String::new(), "fleet"),
            (|s| s.notice.language = "d e".to_owned(), "notice.language"),
            (|s| s.purposes = (0..65).map(|n| (n.to_string(), Given)).collect(), "purposes"),
        ] {
            assert!(
                matches!(with(change), Err(StatementError::Invalid { field: found, .. }) if found == field),
                "{field}"
            );
        }
    }

    #[test]
    fn the_ledger_has_everything_that_was_signed() {
        let guardian = SignedStatement { guardian: true, gpc: true, closes: true, ..statement(1, None, Given) };
        let guardian = guardian.sign(&key(0)).unwrap();
        let kept = kept(&guardian);
        let json = serde_json::to_string(&kept).unwrap();
        let back: Statement = serde_json::from_str(&json).unwrap();
        assert_eq!(back, kept);
        assert_eq!(back.to_signed().unwrap(), guardian);
        assert_eq!(back.hash().unwrap(), guardian.hash().unwrap());
        assert_eq!(back.to_signed().unwrap().check(), Ok(()));
        let state = back.consent(&["analytics"]).unwrap();
        assert!(state.gpc() && state.closed() && state.guardian());
        assert_eq!(state.state(0, 0), Given);
    }

    #[test]
    fn a_chain_of_ones_own_may_fork_and_move_and_cannot_be_altered() {
        let first = statement(1, None, Given);
        let second = statement(2, Some(&first), Withdrawn);
        let fork = statement(2, Some(&first), Given);
        let moved = statement(1 << 32 | 1, Some(&fork), Refused);
        let history = |statements: &[&SignedStatement]| statements.iter().map(|one| kept(one)).collect::<Vec<_>>();
        assert_eq!(verify_chain(&history(&[&first, &second])), Ok(()));
        assert_eq!(verify_chain(&history(&[&first, &second, &fork, &moved])), Ok(()));
        assert_eq!(verify_chain(&history(&[&first, &fork, &second, &moved])), Ok(()));
        for (broken, at) in [(vec![&second], 2), (vec![&first, &moved], 1 << 32 | 1), (vec![&second, &first], 2)] {
            let error = verify_chain(&history(&broken)).unwrap_err();
            assert!(matches!(error, StatementError::Damaged { sequence, .. } if sequence == at), "{error}");
        }
        let mut altered = history(&[&first, &second]);
        altered[1].purposes.insert("analytics".to_owned(), Given);
        assert!(verify_chain(&altered).is_err(), "whoever holds the ledger cannot give consent");
        let mut asserted = history(&[&first, &second]);
        asserted[1].signed = None;
        asserted[1].asserted_by = Assertion::Controller;
        assert!(verify_chain(&asserted).is_err(), "nor assert it of a subject that signs");
    }
}
