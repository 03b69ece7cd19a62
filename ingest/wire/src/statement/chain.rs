//! From one statement to the next: what carries over, what a request changes, and the chain that shows both.

use std::collections::{BTreeMap, BTreeSet};

use candor_policy::consent::ConsentState;
use candor_policy::hex;
use candor_policy::subject::LedgerId;

use super::{Assertion, ConsentRequest, Statement, StatementError, day_number};

/// `previous` of a subject's first statement.
pub(super) const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Statement {
    /// The statement that a request makes after `previous`, the subject's newest.
    ///
    /// `purposes` are all purposes of the policy; `received_at` is in µs UTC.
    ///
    /// # Errors
    /// What is wrong with the request; nothing is to be recorded then.
    pub fn next(
        previous: Option<&Self>,
        request: &ConsentRequest,
        ledger_id: &LedgerId,
        purposes: &[impl AsRef<str>],
        received_at: i64,
        source: &str,
    ) -> Result<Self, StatementError> {
        request.check()?;
        let ledger_id = hex::encode(ledger_id.as_bytes());
        if previous.is_some_and(|previous| previous.ledger_id != ledger_id) {
            return Err(StatementError::OtherSubject);
        }
        let received = jiff::Timestamp::from_microsecond(received_at)
            .map_err(|_| StatementError::Invalid { field: "received_at", expected: "a time of the calendar" })?;
        let before = Before::of(previous, purposes, (received_at.div_euclid(86_400_000_000)) as i32)?;
        let states = before.with(&request.purposes)?;
        let expires = before.expires(request, &states);
        let gives = request.purposes.values().any(|state| *state == ConsentState::Given);
        let granted_before = previous.filter(|_| !gives).and_then(|previous| previous.granted_at.clone());
        Ok(Self {
            ledger_id,
            sequence: previous.map_or(Ok(1), Self::sequence_after)?,
            previous: previous.map_or_else(|| Ok(NOTHING_BEFORE.to_owned()), Self::hash_hex)?,
            purposes: states,
            notice: request.notice.clone(),
            age_from: request.age_from.or(previous.and_then(|previous| previous.age_from)),
            expires,
            granted_at: request.granted_at.clone().or(granted_before),
            received_at: format!("{received:.6}"),
            asserted_by: Assertion::Controller,
            source: source.to_owned(),
            signed: None,
        })
    }

    fn sequence_after(&self) -> Result<i64, StatementError> {
        // The lower half counts; running into the upper one would begin another instance.
        if self.sequence < 1 || self.sequence & 0xffff_ffff == 0xffff_ffff {
            return Err(StatementError::SequenceOverflow);
        }
        Ok(self.sequence + 1)
    }

    /// A subject that signs makes every statement itself; nobody signs for one that is assigned.
    fn check_author(&self, signs: bool) -> Result<(), StatementError> {
        match self.to_signed() {
            Some(signed) if signs && hex::encode(signed.ledger_id().as_bytes()) == self.ledger_id => {
                signed.check().map_err(|_| self.damaged("its signature does not hold"))
            }
            None if !signs => Ok(()),
            _ => Err(self.damaged("it is not from whom the others are")),
        }
    }

    fn hash_hex(&self) -> Result<String, StatementError> {
        self.hash().map(|hash| hash.to_string())
    }
}

/// Checks a subject's whole history, oldest first: nothing missing, nothing changed, nothing from somebody else.
///
/// A subject that signs numbers its statements itself: it may leave numbers out, move to another instance, and make two
/// statements of one number, of which the next may follow either. Each of them carries its signature.
///
/// # Errors
/// [`StatementError::Damaged`] with the first statement that does not follow from the one before.
pub fn verify_chain(history: &[Statement]) -> Result<(), StatementError> {
    let Some(first) = history.first() else { return Ok(()) };
    let signed = first.signed.is_some();
    // Hashes that the next number may name, and those of the number that is being read.
    let (mut before, mut now) = (vec![NOTHING_BEFORE.to_owned()], Vec::new());
    let mut sequence = if signed { first.sequence } else { 1 };
    for statement in history {
        if statement.ledger_id != first.ledger_id {
            return Err(statement.damaged("it belongs to another subject"));
        }
        if !now.is_empty() {
            let next = if signed { statement.sequence.max(sequence) } else { sequence + 1 };
            if next != sequence {
                (before, now) = (now, Vec::new());
            }
            sequence = next;
        }
        if statement.sequence != sequence {
            return Err(statement.damaged("a statement before it is missing or doubled"));
        }
        if !before.contains(&statement.previous) {
            return Err(statement.damaged("it does not name the hash of the one before"));
        }
        statement.check_author(signed)?;
        now.push(statement.hash_hex()?);
    }
    Ok(())
}

/// What was in force when a request came in.
struct Before {
    states: BTreeMap<String, ConsentState>,
    /// Expiry of what is given, unless it has passed.
    expires: Option<String>,
    known: BTreeSet<String>,
}

impl Before {
    fn of(previous: Option<&Statement>, purposes: &[impl AsRef<str>], today: i32) -> Result<Self, StatementError> {
        let known: BTreeSet<String> = purposes.iter().map(|name| name.as_ref().to_owned()).collect();
        let mut states: BTreeMap<String, ConsentState> =
            known.iter().map(|name| (name.clone(), ConsentState::Unknown)).collect();
        let mut expires = None;
        if let Some(previous) = previous {
            // Purposes that the policy no longer has stay in the history, and their data may still be there.
            states.extend(previous.purposes.clone());
            expires.clone_from(&previous.expires);
            if let Some(date) = &previous.expires
                && day_number(date).ok_or(previous.damaged("`expires` is not a day"))? <= today
            {
                expires = None;
                for state in states.values_mut().filter(|state| **state == ConsentState::Given) {
                    *state = ConsentState::Expired;
                }
            }
        }
        Ok(Self { states, expires, known })
    }

    fn with(&self, changes: &BTreeMap<String, ConsentState>) -> Result<BTreeMap<String, ConsentState>, StatementError> {
        let mut states = self.states.clone();
        for (name, state) in changes {
            let Some(known) = states.get_mut(name) else {
                let known = self.known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                return Err(StatementError::UnknownPurpose { known });
            };
            if *state == ConsentState::Unknown && *known != ConsentState::Unknown {
                return Err(StatementError::BackToUnknown { purpose: name.clone() });
            }
            *known = *state;
        }
        Ok(states)
    }

    /// One day holds for all that is given, so it must not outlive what anything was given for.
    fn expires(&self, request: &ConsentRequest, states: &BTreeMap<String, ConsentState>) -> Option<String> {
        let carried_over =
            states.iter().any(|(name, state)| *state == ConsentState::Given && !request.purposes.contains_key(name));
        let earlier = self.expires.clone().filter(|_| carried_over);
        match (earlier, request.expires.clone()) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, next, request};
    use super::*;
    use ConsentState::{Expired, Given, Refused, Unknown, Withdrawn};

    const YEAR: i64 = 365 * 86_400_000_000;

    fn states(statement: &Statement) -> Vec<ConsentState> {
        statement.purposes.values().copied().collect()
    }

    #[test]
    fn each_statement_holds_the_full_state_and_the_hash_of_the_one_before() {
        let first = next(None, &request(&[("analytics", Given)], None), NOW).unwrap();
        assert_eq!((first.sequence, first.previous.as_str()), (1, NOTHING_BEFORE));
        assert_eq!(states(&first), [Given, Unknown, Unknown]);
        assert_eq!(first.received_at, "2026-11-22T20:00:00.500000Z");
        assert_eq!(first.ledger_id, "07".repeat(32));

        let mut change = request(&[("marketing", Refused)], None);
        change.age_from = Some(16);
        let second = next(Some(&first), &change, NOW).unwrap();
        assert_eq!((second.sequence, second.previous.clone()), (2, first.hash().unwrap().to_string()));
        assert_eq!(states(&second), [Given, Unknown, Refused]);
        let third = next(Some(&second), &request(&[("analytics", Withdrawn)], None), NOW).unwrap();
        assert_eq!((states(&third), third.age_from), (vec![Withdrawn, Unknown, Refused], Some(16)));
        assert_eq!(verify_chain(&[first, second, third]), Ok(()));
        assert_eq!(verify_chain(&[]), Ok(()));
    }

    #[test]
    fn a_chain_with_anything_changed_missing_or_foreign_is_refused() {
        let first = next(None, &request(&[("analytics", Refused)], None), NOW).unwrap();
        let second = next(Some(&first), &request(&[("analytics", Given)], None), NOW).unwrap();
        let third = next(Some(&second), &request(&[], None), NOW).unwrap();
        let mut forged = first.clone();
        forged.purposes.insert("analytics".to_owned(), Given);
        let mut foreign = second.clone();
        foreign.ledger_id = "08".repeat(32);
        for (history, at) in [
            (vec![forged, second.clone(), third.clone()], 2),
            (vec![first.clone(), third.clone()], 3),
            (vec![second.clone(), third], 2),
            (vec![first.clone(), first.clone()], 1),
            (vec![first, foreign], 2),
        ] {
            let error = verify_chain(&history).unwrap_err();
            assert!(matches!(error, StatementError::Damaged { sequence, .. } if sequence == at), "{error}");
        }
    }

    #[test]
    fn no_statement_widens_what_it_does_not_name() {
        let given = next(None, &request(&[("analytics", Given)], Some("2027-06-30")), NOW).unwrap();
        // A later day, or none, does not reach what was given until June.
        let later = request(&[("marketing", Given)], Some("2028-01-01"));
        let second = next(Some(&given), &later, NOW).unwrap();
        assert_eq!(second.expires.as_deref(), Some("2027-06-30"));
        let none = next(Some(&given), &request(&[("marketing", Given)], None), NOW).unwrap();
        assert_eq!(none.expires.as_deref(), Some("2027-06-30"));
        // Named again, it does; and an earlier day always holds.
        let again = request(&[("analytics", Given), ("marketing", Given)], Some("2028-01-01"));
        assert_eq!(next(Some(&given), &again, NOW).unwrap().expires.as_deref(), Some("2028-01-01"));
        let earlier = next(Some(&given), &request(&[], Some("2027-01-01")), NOW).unwrap();
        assert_eq!(earlier.expires.as_deref(), Some("2027-01-01"));
        // Once the day has passed, what was given has expired, and a new day does not bring it back.
        let revived = next(Some(&given), &later, NOW + YEAR).unwrap();
        assert_eq!((states(&revived), revived.expires.as_deref()), (vec![Expired, Unknown, Given], Some("2028-01-01")));
    }

    #[test]
    fn the_sequence_ends_with_its_instance() {
        let mut last = next(None, &request(&[], None), NOW).unwrap();
        last.sequence = 0xffff_fffe;
        let statement = next(Some(&last), &request(&[], None), NOW).unwrap();
        assert_eq!(statement.sequence, 0xffff_ffff);
        let error = next(Some(&statement), &request(&[], None), NOW).unwrap_err();
        assert_eq!(error, StatementError::SequenceOverflow);
    }
}
