//! Consent: states, the state that clearing sees, and the snapshot of a batch's subjects.

use serde::{Deserialize, Serialize};

/// State of one purpose for one subject. Names are those of the W3C Data Privacy Vocabulary, in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConsentState {
    /// Nothing was ever said.
    #[default]
    Unknown,
    /// Given.
    Given,
    /// Asked and refused.
    Refused,
    /// Given once, then withdrawn.
    Withdrawn,
    /// Given until a date that has passed.
    Expired,
    /// Given under a notice that has changed materially since.
    Invalidated,
}

impl ConsentState {
    /// Whether the subject said no (an objection counts under `notice` as well).
    #[must_use]
    pub const fn is_objection(self) -> bool {
        matches!(self, Self::Refused | Self::Withdrawn)
    }

    /// Packs into 4 bits.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Given => 1,
            Self::Refused => 2,
            Self::Withdrawn => 3,
            Self::Expired => 4,
            Self::Invalidated => 5,
        }
    }

    /// The state of 4 bits; what no version has written is `Unknown`, which permits nothing.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Given,
            2 => Self::Refused,
            3 => Self::Withdrawn,
            4 => Self::Expired,
            5 => Self::Invalidated,
            _ => Self::Unknown,
        }
    }
}

/// Most purposes that one policy may have: 16 states of 4 bits fit a word.
pub const MAX_PURPOSES: usize = 16;

/// What the ledger says of one subject, compact: 24 bytes. Purposes are numbered as in the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectConsent {
    states: u64,
    sequence: i64,
    /// Days since 1970-01-01 from which *given* counts as expired; 0 = never.
    expires_day: u32,
    /// Lower end of the subject's age band in years; `None` if unknown.
    age_from: Option<u8>,
    /// [`GPC`], [`GUARDIAN`], [`CLOSED`].
    flags: u8,
}

/// The subject opted out by Global Privacy Control in a statement, for everything that it sends.
const GPC: u8 = 1;
/// A guardian made the statement for a minor.
const GUARDIAN: u8 = 2;
/// The subject's key is closed: nothing is stored for it any more.
const CLOSED: u8 = 4;

impl SubjectConsent {
    /// A state at `sequence` (instance·2^32 + n); see [`Self::with`] for the purposes.
    #[must_use]
    pub const fn new(sequence: i64, age_from: Option<u8>, expires_day: u32) -> Self {
        Self { states: 0, sequence, expires_day, age_from, flags: 0 }
    }

    /// The same with purpose number `purpose` (below [`MAX_PURPOSES`]) in `state`.
    #[must_use]
    pub const fn with(mut self, purpose: usize, state: ConsentState) -> Self {
        let shift = (purpose % MAX_PURPOSES) * 4;
        self.states = self.states & !(0xf << shift) | (state.code() as u64) << shift;
        self
    }

    /// The same with Global Privacy Control on or off.
    #[must_use]
    pub const fn with_gpc(self, on: bool) -> Self {
        self.with_flag(GPC, on)
    }

    /// The same, said by a guardian for a minor or not.
    #[must_use]
    pub const fn with_guardian(self, on: bool) -> Self {
        self.with_flag(GUARDIAN, on)
    }

    /// The same with the subject's key closed or open.
    #[must_use]
    pub const fn with_closed(self, on: bool) -> Self {
        self.with_flag(CLOSED, on)
    }

    /// The same at another sequence.
    #[must_use]
    pub const fn at(mut self, sequence: i64) -> Self {
        self.sequence = sequence;
        self
    }

    /// What both states permit: given where both have it given, objected to where either objects, the younger age, the
    /// earlier expiry; Global Privacy Control and a closed key of either, a guardian of both. The sequence is this one's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let expires_day = match (self.expires_day, other.expires_day) {
            (0, day) | (day, 0) => day,
            (one, two) => one.min(two),
        };
        let age_from = self.age_from.zip(other.age_from).map(|(one, two)| one.min(two));
        let flags = (self.flags | other.flags) & (GPC | CLOSED) | self.flags & other.flags & GUARDIAN;
        let both = Self { states: 0, sequence: self.sequence, expires_day, age_from, flags };
        (0..MAX_PURPOSES).fold(both, |both, purpose| {
            // A day before every expiry: which of the two ends sooner is kept beside the states.
            let (one, two) = (self.state(purpose, i32::MIN), other.state(purpose, i32::MIN));
            let weaker = |state: ConsentState| state != ConsentState::Given;
            let state = if one.is_objection() || !two.is_objection() && weaker(one) { one } else { two };
            both.with(purpose, state)
        })
    }

    const fn with_flag(mut self, flag: u8, on: bool) -> Self {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
        self
    }

    /// State of a purpose on `day` (days since 1970-01-01).
    #[must_use]
    pub const fn state(&self, purpose: usize, day: i32) -> ConsentState {
        let code = self.states >> ((purpose % MAX_PURPOSES) * 4) & 0xf;
        let state = ConsentState::from_code(code as u8);
        match state {
            ConsentState::Given if self.expires_day != 0 && day as i64 >= self.expires_day as i64 => {
                ConsentState::Expired
            }
            other => other,
        }
    }

    /// Sequence of the statement that made this state: instance·2^32 + n; 0 if there was none.
    #[must_use]
    pub const fn sequence(&self) -> i64 {
        self.sequence
    }

    /// Days since 1970-01-01 from which *given* counts as expired, whichever purpose; `None` if it never does.
    #[must_use]
    pub const fn expires_day(&self) -> Option<u32> {
        if self.expires_day == 0 { None } else { Some(self.expires_day) }
    }

    /// Lower end of the age band in years.
    #[must_use]
    pub const fn age_from(&self) -> Option<u8> {
        self.age_from
    }

    /// Whether the subject opted out by Global Privacy Control, whatever a request says.
    #[must_use]
    pub const fn gpc(&self) -> bool {
        self.flags & GPC != 0
    }

    /// Whether a guardian made the statement.
    #[must_use]
    pub const fn guardian(&self) -> bool {
        self.flags & GUARDIAN != 0
    }

    /// Whether the subject's key is closed.
    #[must_use]
    pub const fn closed(&self) -> bool {
        self.flags & CLOSED != 0
    }
}

/// Consent of the subjects of one batch as it was at one generation of the ledger.
/// `states[i]` belongs to `Admitted::subjects()[i]`; a subject without a statement has the default: nothing given.
#[derive(Clone, Debug)]
pub struct ConsentSnapshot {
    generation: u64,
    states: Vec<SubjectConsent>,
}

impl ConsentSnapshot {
    /// The generation must be read before the states are: the append then checks everything that changed after it.
    #[must_use]
    pub const fn new(generation: u64, states: Vec<SubjectConsent>) -> Self {
        Self { generation, states }
    }

    /// Generation of the ledger that the states are at least as new as.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// State of subject number `subject`; the default (nothing given) where the snapshot has none.
    #[must_use]
    pub fn of(&self, subject: usize) -> SubjectConsent {
        self.states.get(subject).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [ConsentState; 6] = [
        ConsentState::Unknown,
        ConsentState::Given,
        ConsentState::Refused,
        ConsentState::Withdrawn,
        ConsentState::Expired,
        ConsentState::Invalidated,
    ];

    #[test]
    fn sixteen_purposes_are_packed_side_by_side() {
        let state_of = |purpose: usize| STATES[purpose % STATES.len()];
        let full = (0..MAX_PURPOSES).fold(SubjectConsent::new(1, None, 0), |c, p| c.with(p, ConsentState::Invalidated));
        let packed = (0..MAX_PURPOSES).fold(full, |consent, purpose| consent.with(purpose, state_of(purpose)));
        for purpose in 0..MAX_PURPOSES {
            assert_eq!(packed.state(purpose, 0), state_of(purpose), "purpose {purpose}");
        }
    }

    #[test]
    fn codes_round_trip_and_unheard_of_ones_permit_nothing() {
        for state in STATES {
            assert_eq!(ConsentState::from_code(state.code()), state);
        }
        for code in 6..=u8::MAX {
            assert_eq!(ConsentState::from_code(code), ConsentState::Unknown);
        }
    }

    #[test]
    fn given_ends_on_its_day_and_nothing_else_does() {
        let consent = SubjectConsent::new(1, None, 100).with(0, ConsentState::Given).with(1, ConsentState::Refused);
        assert_eq!(consent.state(0, 99), ConsentState::Given);
        assert_eq!(consent.state(0, 100), ConsentState::Expired);
        assert_eq!(consent.state(1, 100), ConsentState::Refused);
        let forever = SubjectConsent::new(1, None, 0).with(0, ConsentState::Given);
        assert_eq!(forever.state(0, i32::MAX), ConsentState::Given);
        assert_eq!((consent.expires_day(), forever.expires_day()), (Some(100), None));
    }

    #[test]
    fn two_states_permit_together_what_each_permits() {
        use ConsentState::{Expired, Given, Invalidated, Refused, Unknown, Withdrawn};
        for (one, two, both) in [
            (Given, Given, Given),
            (Given, Withdrawn, Withdrawn),
            (Refused, Given, Refused),
            (Unknown, Refused, Refused),
            (Refused, Unknown, Refused),
            (Given, Unknown, Unknown),
            (Expired, Given, Expired),
            (Given, Invalidated, Invalidated),
        ] {
            let state = |state| SubjectConsent::new(1, None, 0).with(3, state);
            let found = state(one).and(state(two));
            assert_eq!(found.state(3, 0), both, "{one:?} and {two:?}");
        }
        let one = SubjectConsent::new(5, Some(20), 100).with_gpc(true).with_guardian(true);
        let two = SubjectConsent::new(9, Some(14), 0).with_closed(true);
        let both = one.and(two);
        assert_eq!((both.sequence(), both.age_from()), (5, Some(14)));
        assert_eq!((both.gpc(), both.guardian(), both.closed()), (true, false, true));
        assert_eq!(both.with(0, Given).state(0, 100), Expired);
        assert_eq!(one.and(SubjectConsent::new(9, None, 0)).age_from(), None, "an unknown age fails every `min_age`");
        assert_eq!(both.with_gpc(false).at(7).sequence(), 7);
        assert!(!both.with_gpc(false).gpc() && both.with_gpc(false).closed());
        assert_eq!(size_of::<SubjectConsent>(), 24);
    }

    #[test]
    fn whom_the_snapshot_does_not_have_has_given_nothing() {
        let snapshot = ConsentSnapshot::new(4, vec![SubjectConsent::new(7, Some(20), 0).with(0, ConsentState::Given)]);
        assert_eq!((snapshot.of(0).sequence(), snapshot.of(0).age_from()), (7, Some(20)));
        assert_eq!(snapshot.of(1), SubjectConsent::default());
        assert_eq!(snapshot.of(1).state(0, 0), ConsentState::Unknown);
    }
}
