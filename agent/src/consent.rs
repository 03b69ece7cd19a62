//! Consent as a device keeps it: what the person said, the statement that says all of it, and what may still be sent.

use std::collections::{BTreeMap, BTreeSet};

use candor_policy::consent::ConsentState;
use candor_wire::identity::SubjectKey;
use candor_wire::statement::{Notice, SignedStatement};
use serde::{Deserialize, Serialize};

use crate::epoch::DAY;
use crate::error::Error;
use crate::state::EpochState;

/// What a person changes. What is left out stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// New state per purpose: `given`, `refused` or `withdrawn`.
    pub purposes: BTreeMap<String, ConsentState>,
    /// Names that are taken out again, as if they had never been said: one that was mistyped. Not what the service has.
    pub left_out: BTreeSet<String>,
    /// The notice that was shown. The first statement needs one.
    pub notice: Option<Notice>,
    /// Lower end of the age band in years.
    pub age_from: Option<u8>,
    /// Day (`YYYY-MM-DD`) from which *given* counts as expired.
    pub expires: Option<String>,
    /// When it was first given (RFC 3339), if that was not now.
    pub granted_at: Option<String>,
    /// Global Privacy Control, on or off.
    pub gpc: Option<bool>,
    /// A guardian says so for a minor.
    pub guardian: bool,
    /// Everything that was given is withdrawn, everything else refused.
    pub withdraw_all: bool,
}

/// What a purpose rests on, as far as a device must know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Only *given* will do.
    Consent,
    /// Anything but a refusal or a withdrawal will do. What a device assumes of a purpose that it knows nothing of: the service decides.
    #[default]
    Notice,
    /// It does not depend on what the person says.
    Other,
}

/// What a device knows of purposes, to keep back what could not be stored anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purposes {
    /// What each rests on.
    pub bases: BTreeMap<String, Basis>,
    /// The purposes that an event can serve. An event that is not here can serve all of them.
    pub of_events: BTreeMap<String, BTreeSet<String>>,
}

impl Change {
    /// Everything withdrawn or refused.
    #[must_use]
    pub fn withdraw_all() -> Self {
        Self { withdraw_all: true, ..Self::default() }
    }

    /// One purpose set to a state.
    #[must_use]
    pub fn with(mut self, purpose: &str, state: ConsentState) -> Self {
        self.purposes.insert(purpose.to_owned(), state);
        self
    }

    /// What holds after this change of an epoch's newest statement, at `now` (µs UTC).
    pub(crate) fn apply(&self, epoch: Option<&EpochState>, now: i64) -> Result<Draft, Error> {
        let before = epoch.and_then(EpochState::head);
        let notice = self.notice.clone().or_else(|| before.map(|before| before.notice.clone()));
        let notice =
            notice.ok_or_else(|| Error::Consent("the first statement needs the notice that was shown".into()))?;
        let mut draft = before.map_or_else(|| Draft::new(notice.clone()), Draft::of);
        draft.notice = notice;
        draft.expire(now);
        for name in &self.left_out {
            if epoch.is_some_and(|epoch| epoch.service_has(name)) {
                return Err(back_to_unknown());
            }
            draft.purposes.remove(name);
        }
        for (purpose, state) in &self.purposes {
            let known = draft.purposes.entry(purpose.clone()).or_default();
            if *state == ConsentState::Unknown && *known != ConsentState::Unknown {
                return Err(back_to_unknown());
            }
            *known = *state;
        }
        if self.withdraw_all {
            draft.withdraw_all();
        }
        let gives = self.purposes.values().any(|state| *state == ConsentState::Given);
        if gives {
            draft.granted_at = Some(self.granted_at.clone().map_or_else(|| rfc3339(now), Ok)?);
        }
        draft.carry_expiry(self);
        draft.age_from = self.age_from.or(draft.age_from);
        draft.gpc = self.gpc.unwrap_or(draft.gpc);
        // Who spoke is a matter of this statement: a minor who withdraws what a guardian gave needs no guardian.
        draft.guardian = self.guardian || draft.guardian && !gives;
        Ok(draft)
    }
}

/// What a statement says, before it has a place in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub purposes: BTreeMap<String, ConsentState>,
    pub notice: Notice,
    pub age_from: Option<u8>,
    pub expires: Option<String>,
    pub granted_at: Option<String>,
    pub gpc: bool,
    pub guardian: bool,
    pub closes: bool,
}

impl Draft {
    pub(crate) fn new(notice: Notice) -> Self {
        Self {
            purposes: BTreeMap::new(),
            notice,
            age_from: None,
            expires: None,
            granted_at: None,
            gpc: false,
            guardian: false,
            closes: false,
        }
    }

    /// The same state again.
    pub(crate) fn of(statement: &SignedStatement) -> Self {
        Self {
            purposes: statement.purposes.clone(),
            notice: statement.notice.clone(),
            age_from: statement.age_from,
            expires: statement.expires.clone(),
            granted_at: statement.granted_at.clone(),
            gpc: statement.gpc,
            guardian: statement.guardian,
            closes: statement.closes,
        }
    }

    /// What both permit: for an epoch that is over, and for a history that went on without this device.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for (purpose, state) in &other.purposes {
            let known = self.purposes.entry(purpose.clone()).or_default();
            let stays = known.is_objection() || !state.is_objection() && *known != ConsentState::Given;
            *known = if stays { *known } else { *state };
        }
        for (purpose, state) in &mut self.purposes {
            if !other.purposes.contains_key(purpose) && *state == ConsentState::Given {
                *state = ConsentState::Unknown;
            }
        }
        self.age_from = self.age_from.zip(other.age_from).map(|(one, two)| one.min(two));
        self.expires = match (self.expires.take(), other.expires.clone()) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.gpc |= other.gpc;
        self.guardian &= other.guardian;
        self.closes |= other.closes;
        self
    }

    pub(crate) fn withdraw_all(&mut self) {
        for state in self.purposes.values_mut() {
            *state = match state {
                ConsentState::Unknown | ConsentState::Refused => ConsentState::Refused,
                _ => ConsentState::Withdrawn,
            };
        }
    }

    fn expire(&mut self, now: i64) {
        let today = jiff::Timestamp::from_microsecond(now.div_euclid(DAY).saturating_mul(DAY)).ok();
        let today = today.map(|time| time.strftime("%Y-%m-%d").to_string());
        if self.expires.is_some() && self.expires <= today {
            self.expires = None;
            for state in self.purposes.values_mut().filter(|state| **state == ConsentState::Given) {
                *state = ConsentState::Expired;
            }
        }
    }

    /// One day holds for all that is given, so it must not outlive what anything was given for.
    fn carry_expiry(&mut self, change: &Change) {
        let carried = self
            .purposes
            .iter()
            .any(|(name, state)| *state == ConsentState::Given && !change.purposes.contains_key(name));
        let earlier = self.expires.take().filter(|_| carried);
        self.expires = match (earlier, change.expires.clone()) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }

    /// Signs it as what follows `epoch`'s newest statement.
    pub(crate) fn sign(&self, key: &SubjectKey, fleet: &str, epoch: &EpochState) -> Result<SignedStatement, Error> {
        let previous = match epoch.head() {
            Some(head) => head.hash().map_err(|_| Error::Crypto)?.to_string(),
            None => SignedStatement::nothing_before(),
        };
        let before = epoch.head().map_or(0, |head| head.sequence).max(epoch.signed);
        let sequence = before.max(i64::from(epoch.instance) << 32).checked_add(1);
        let sequence = sequence.filter(|sequence| sequence & 0xffff_ffff != 0);
        let sequence = sequence.ok_or_else(|| Error::Consent("the epoch has no sequence number left".into()))?;
        let statement = SignedStatement {
            fleet: fleet.to_owned(),
            key: key.public(),
            sequence,
            previous,
            purposes: self.purposes.clone(),
            notice: self.notice.clone(),
            age_from: self.age_from,
            expires: self.expires.clone(),
            granted_at: self.granted_at.clone(),
            gpc: self.gpc,
            guardian: self.guardian,
            closes: self.closes,
            signature: String::new(),
        };
        statement.sign(key).map_err(|error| Error::Consent(error.to_string()))
    }
}

impl Purposes {
    /// Whether an event that was collected under one statement may go out under another: both must leave a purpose for it.
    pub(crate) fn may_send(&self, event: &str, then: Option<&SignedStatement>, now: Option<&SignedStatement>) -> bool {
        if then.into_iter().chain(now).any(|statement| statement.closes) {
            return false;
        }
        let may = |purpose: &String| self.is_open(purpose, then) && self.is_open(purpose, now);
        if let Some(purposes) = self.of_events.get(event) {
            return purposes.iter().any(may);
        }
        let stated = then.into_iter().chain(now).flat_map(|statement| statement.purposes.keys());
        let mut all = self.bases.keys().chain(stated).peekable();
        // Nobody said anything yet: the service decides.
        all.peek().is_none() || all.any(may)
    }

    fn is_open(&self, purpose: &str, statement: Option<&SignedStatement>) -> bool {
        let state = statement.and_then(|statement| statement.purposes.get(purpose).copied()).unwrap_or_default();
        match self.bases.get(purpose).copied().unwrap_or_default() {
            Basis::Consent => state == ConsentState::Given,
            Basis::Notice => !state.is_objection(),
            Basis::Other => true,
        }
    }
}

fn back_to_unknown() -> Error {
    Error::Consent("what the service has cannot become `unknown` again: say `refused` or `withdrawn`".into())
}

/// A time (µs UTC) as RFC 3339.
pub(crate) fn rfc3339(time: i64) -> Result<String, Error> {
    let time =
        jiff::Timestamp::from_microsecond(time).map_err(|_| Error::Consent("the clock is off the calendar".into()))?;
    Ok(format!("{time:.0}"))
}
