//! Consent in memory: the newest state of every subject, and what changed while batches were on their way.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use candor_policy::consent::{ConsentSnapshot, ConsentState, MAX_PURPOSES, SubjectConsent};
use candor_policy::hex;
use candor_policy::plan::Plan;
use candor_policy::policy::LegalBasis;
use candor_policy::subject::LedgerId;
use candor_wire::statement::{ConsentRequest, Statement};
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};

use crate::erase::tombstones::Tombstones;
use crate::table::layout::day_of_text;

/// The first half of a ledger id: an HMAC, so that half of it is still as good as unique, and spread evenly.
pub(crate) type SubjectKey = [u8; 16];

type Shard = HashTable<(SubjectKey, SubjectConsent)>;

const SHARDS: usize = 256;
/// Most subjects that are looked up under one set of locks, so that a statement need not wait for a large request.
const LOOKED_UP: usize = 512;

/// The states that are in force. Readers take the generation first, so that what they see is never older than it.
#[derive(Debug)]
pub(crate) struct ConsentMap {
    shards: Vec<RwLock<Shard>>,
    hasher: foldhash::fast::RandomState,
    generation: AtomicU64,
    subjects: AtomicU64,
    /// Subjects of whom nothing is stored ever again: no state of theirs needs to be there.
    pub(crate) tombstones: Tombstones,
}

impl ConsentMap {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::new(Shard::default())).collect();
        let hasher = foldhash::fast::RandomState::default();
        let (generation, subjects, tombstones) = (AtomicU64::new(0), AtomicU64::new(0), Tombstones::default());
        Self { shards, hasher, generation, subjects, tombstones }
    }

    /// States of these subjects, at a generation read before them.
    pub(crate) fn snapshot(&self, subjects: &[LedgerId]) -> ConsentSnapshot {
        let generation = self.generation.load(Ordering::Acquire);
        let mut states = Vec::with_capacity(subjects.len());
        for some in subjects.chunks(LOOKED_UP) {
            self.look_up(some, &mut states);
        }
        if self.tombstones.any() {
            for (subject, state) in subjects.iter().zip(&mut states) {
                *state = self.or_erased(subject, *state);
            }
        }
        ConsentSnapshot::new(generation, states)
    }

    /// State of one subject: closed for good if it was erased.
    pub(crate) fn of_subject(&self, subject: &LedgerId) -> SubjectConsent {
        self.or_erased(subject, self.of(&key_of(subject)))
    }

    fn or_erased(&self, subject: &LedgerId, state: SubjectConsent) -> SubjectConsent {
        let unknown = state.sequence() == 0 && !state.closed();
        if unknown && self.tombstones.holds(subject) { erased() } else { state }
    }

    /// Takes the locks of all shards that are needed, then finds where entries are, then reads them. In a large fleet each
    /// is far away in memory: where nothing else is done in between, the processor fetches several at once.
    fn look_up(&self, subjects: &[LedgerId], states: &mut Vec<SubjectConsent>) {
        let mut wanted = [false; SHARDS];
        for subject in subjects {
            wanted[shard_of(&key_of(subject))] = true;
        }
        let mut shards: [Option<RwLockReadGuard<'_, Shard>>; SHARDS] = [const { None }; SHARDS];
        // Always in this order: whoever waits for one of them holds none behind it, so that nobody waits in a circle.
        for (number, shard) in shards.iter_mut().enumerate().filter(|(number, _)| wanted[*number]) {
            *shard = Some(self.shards[number].read().unwrap_or_else(PoisonError::into_inner));
        }
        let likely: Vec<_> = subjects
            .iter()
            .map(|subject| {
                let key = key_of(subject);
                shards[shard_of(&key)].as_ref().and_then(|shard| shard.iter_hash(self.hash(&key)).next())
            })
            .collect();
        states.extend(subjects.iter().zip(likely).map(|(subject, likely)| {
            let key = key_of(subject);
            match (likely, &shards[shard_of(&key)]) {
                (Some((same, state)), _) if *same == key => *state,
                (Some(_), Some(shard)) => self.find(shard, &key),
                _ => SubjectConsent::default(),
            }
        }));
    }

    /// State of one subject; the default, nothing given, if there is no statement.
    pub(crate) fn of(&self, key: &SubjectKey) -> SubjectConsent {
        self.find(&self.shard(key).read().unwrap_or_else(PoisonError::into_inner), key)
    }

    fn find(&self, shard: &Shard, key: &SubjectKey) -> SubjectConsent {
        shard.find(self.hash(key), |(other, _)| other == key).map(|(_, state)| *state).unwrap_or_default()
    }

    /// Puts a state in force; readers learn of it with the next [`Self::publish`].
    pub(crate) fn set(&self, key: SubjectKey, state: SubjectConsent) {
        let mut shard = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        match shard.entry(self.hash(&key), |(other, _)| *other == key, |(key, _)| self.hash(key)) {
            Entry::Occupied(mut known) => known.get_mut().1 = state,
            Entry::Vacant(new) => {
                new.insert((key, state));
                self.subjects.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Says that every state up to `generation` has been set.
    pub(crate) fn publish(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// Subjects with a statement.
    pub(crate) fn subjects(&self) -> u64 {
        self.subjects.load(Ordering::Relaxed)
    }

    fn hash(&self, key: &SubjectKey) -> u64 {
        // As a number: no length goes into it, and it is done in a few steps.
        self.hasher.hash_one(u128::from_le_bytes(*key))
    }

    fn shard(&self, key: &SubjectKey) -> &RwLock<Shard> {
        &self.shards[shard_of(key)]
    }
}

fn shard_of(key: &SubjectKey) -> usize {
    usize::from(key[15]) % SHARDS
}

/// The key of a subject in memory.
pub(crate) fn key_of(subject: &LedgerId) -> SubjectKey {
    let mut key = [0; 16];
    key.copy_from_slice(&subject.as_bytes()[..16]);
    key
}

/// The state of a subject that was erased: no statement, and closed.
pub(crate) fn erased() -> SubjectConsent {
    SubjectConsent::default().with_closed(true)
}

/// Whether a state is that of a subject that was erased: whoever closes a key itself makes a statement.
pub(crate) const fn is_erased(state: &SubjectConsent) -> bool {
    state.closed() && state.sequence() == 0
}

/// Ledger id of a statement, or none if it is not one.
pub(crate) fn subject_of(statement: &Statement) -> Option<LedgerId> {
    hex::decode(&statement.ledger_id)?.try_into().ok().map(LedgerId::from_bytes)
}

/// What the states in memory need of the policy: numbers of purposes, what they rest on, and the ages that they ask for.
#[derive(Debug)]
pub(crate) struct Purposes {
    names: Vec<String>,
    /// Highest `min_age` of each, over all jurisdictions.
    min_age: Vec<u8>,
    /// The bases of each, over all jurisdictions.
    bases: Vec<Vec<LegalBasis>>,
}

impl Purposes {
    pub(crate) fn of_plan(plan: &Plan) -> Self {
        let purposes = &plan.policy().purposes;
        Self::new(purposes.iter().map(|purpose| {
            let min_age = purpose.min_age.iter().copied().max().unwrap_or(0);
            (purpose.name.clone(), min_age, purpose.basis.iter().copied().flatten().collect())
        }))
    }

    pub(crate) fn new(purposes: impl IntoIterator<Item = (String, u8, Vec<LegalBasis>)>) -> Self {
        let mut all = Self { names: Vec::new(), min_age: Vec::new(), bases: Vec::new() };
        for (name, min_age, bases) in purposes.into_iter().take(MAX_PURPOSES) {
            all.names.push(name);
            all.min_age.push(min_age);
            all.bases.push(bases);
        }
        all
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of a purpose.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// The compact form of a statement. One that cannot be read says no to everything.
    pub(crate) fn compact(&self, statement: &Statement) -> SubjectConsent {
        statement.consent(&self.names).unwrap_or_else(|_| {
            let nothing = SubjectConsent::new(statement.sequence, None, 0);
            (0..self.names.len()).fold(nothing, |state, purpose| state.with(purpose, ConsentState::Refused))
        })
    }

    /// Whether a request permits less, somewhere, than what is in force on `day`. Who never gave anything has nothing to take back where
    /// consent is asked for, and something where silence permits. A day that is still to come takes back nothing yet.
    pub(crate) fn takes_back(&self, in_force: &SubjectConsent, request: &ConsentRequest, day: i32) -> bool {
        let is_over = request.expires.as_deref().and_then(day_of_text).is_some_and(|end| end <= day);
        let is_younger = request.age_from.is_some_and(|age| in_force.age_from().is_some_and(|before| age < before));
        let too_young = |min_age: u8| is_younger && request.age_from.is_some_and(|age| age < min_age);
        self.names.iter().zip(&self.min_age).zip(&self.bases).enumerate().any(|(number, ((name, min_age), bases))| {
            let before = in_force.state(number, day);
            let after = match request.purposes.get(name).copied().unwrap_or(before) {
                ConsentState::Given if is_over => ConsentState::Expired,
                other => other,
            };
            too_young(*min_age) || bases.iter().any(|basis| basis.holds(before) && !basis.holds(after))
        })
    }

    /// The purposes, a bit each, for which `new` may permit less than `old` did on `day`: what is not given any more,
    /// whatever it was before, and what asks for an age that is not reached any more.
    fn narrowed(&self, old: &SubjectConsent, new: &SubjectConsent, day: i32) -> u16 {
        // What opts out or closes reaches every purpose; a guardian who does not speak any more, whoever asks for an age.
        if new.closed() && !old.closed() || new.gpc() && !old.gpc() {
            return u16::MAX;
        }
        let mut mask = 0;
        for (number, min_age) in self.min_age.iter().enumerate() {
            let (before, after) = (old.state(number, day), new.state(number, day));
            let changed = before != after && after != ConsentState::Given;
            let younger = new.age_from() < old.age_from() && new.age_from().unwrap_or(0) < *min_age;
            let alone = old.guardian() && !new.guardian() && new.age_from().unwrap_or(0) < *min_age;
            if changed || younger || alone {
                mask |= 1 << number;
            }
        }
        mask
    }
}

/// One subject of a batch that has rows: its key, its number in the batch, and the purposes of its rows, a bit each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Concerned {
    pub(crate) key: SubjectKey,
    pub(crate) subject: u32,
    pub(crate) purposes: u16,
}

/// What to do with a batch, given what changed since its snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing that concerns it.
    Unchanged,
    /// Rows of these (subject number, purpose number) must go.
    Withdrawn(Vec<(u32, u16)>),
    /// Its snapshot is older than what is remembered.
    TooOld,
}

/// The appender's memory of what narrowed, newest last: the last [`Changes::KEPT`] statements.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Generation of the newest statement.
    generation: u64,
    /// Generation after which every change is in `by_subject`.
    complete_from: u64,
    by_subject: HashMap<SubjectKey, Vec<(u64, u16)>, foldhash::fast::FixedState>,
    order: std::collections::VecDeque<(u64, SubjectKey)>,
}

impl Changes {
    /// A batch waits for milliseconds; this many statements take a second even where nothing else is done.
    pub(crate) const KEPT: usize = 1 << 16;

    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Notes a statement that is being appended: it precedes whatever the queue holds after it.
    pub(crate) fn note(
        &mut self,
        purposes: &Purposes,
        key: SubjectKey,
        change: (&SubjectConsent, &SubjectConsent),
        day: i32,
    ) {
        self.generation += 1;
        let mask = purposes.narrowed(change.0, change.1, day);
        if mask == 0 {
            return;
        }
        self.by_subject.entry(key).or_default().push((self.generation, mask));
        self.order.push_back((self.generation, key));
        if self.order.len() > Self::KEPT {
            self.forget_oldest();
        }
    }

    /// What narrowed after `generation` for the subjects of a batch.
    pub(crate) fn verdict(&self, generation: u64, concerned: &[Concerned]) -> Verdict {
        if generation >= self.generation || concerned.is_empty() {
            return Verdict::Unchanged;
        }
        if generation < self.complete_from {
            return Verdict::TooOld;
        }
        let mut withdrawn = Vec::new();
        for one in concerned {
            let Some(changes) = self.by_subject.get(&one.key) else { continue };
            let since = changes.iter().rev().take_while(|(at, _)| *at > generation);
            let mask = since.fold(0, |mask, (_, narrowed)| mask | narrowed) & one.purposes;
            withdrawn
                .extend((0..MAX_PURPOSES as u16).filter(|purpose| mask >> purpose & 1 == 1).map(|p| (one.subject, p)));
        }
        if withdrawn.is_empty() { Verdict::Unchanged } else { Verdict::Withdrawn(withdrawn) }
    }

    fn forget_oldest(&mut self) {
        let Some((generation, key)) = self.order.pop_front() else { return };
        self.complete_from = generation;
        if let Some(changes) = self.by_subject.get_mut(&key) {
            changes.retain(|(at, _)| *at > generation);
            if changes.is_empty() {
                self.by_subject.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConsentState::{Given, Refused, Unknown, Withdrawn};

    fn purposes() -> Purposes {
        let (asked, told) = (vec![LegalBasis::Consent], vec![LegalBasis::Consent, LegalBasis::Notice]);
        Purposes::new([("a".to_owned(), 0, asked), ("b".to_owned(), 16, told)])
    }

    fn state(a: ConsentState, b: ConsentState, age: Option<u8>) -> SubjectConsent {
        SubjectConsent::new(1, age, 0).with(0, a).with(1, b)
    }

    #[test]
    fn only_what_permits_less_narrows() {
        let narrowed = |old, new| purposes().narrowed(&old, &new, 0);
        assert_eq!(narrowed(state(Given, Given, None), state(Withdrawn, Given, None)), 0b01);
        assert_eq!(narrowed(state(Unknown, Unknown, None), state(Given, Refused, None)), 0b10);
        // Saying again what was said takes nothing out, under notice as little as under consent.
        assert_eq!(narrowed(state(Unknown, Given, None), state(Unknown, Given, None)), 0);
        // A younger age narrows only where an age is asked for.
        assert_eq!(narrowed(state(Given, Given, Some(18)), state(Given, Given, Some(13))), 0b10);
        assert_eq!(narrowed(state(Given, Given, Some(13)), state(Given, Given, Some(18))), 0);
        // Given with a date that has passed is not given.
        let expired = SubjectConsent::new(2, None, 1).with(0, Given).with(1, Unknown);
        assert_eq!(purposes().narrowed(&state(Given, Unknown, None), &expired, 5), 0b01);
    }

    #[test]
    fn taken_back_is_what_was_permitted_and_is_not_any_more() {
        let takes_back = |in_force: SubjectConsent, purposes: &str, more: &str| {
            let notice = r#"{"version":"1","language":"de"}"#;
            let text = format!(r#"{{"subject":"s","purposes":{{{purposes}}},"notice":{notice}{more}}}"#);
            self::purposes().takes_back(&in_force, &serde_json::from_str(&text).unwrap(), 20_819)
        };
        let (nobody, both) = (SubjectConsent::default(), state(Given, Given, Some(18)));
        for state in ["refused", "withdrawn", "expired", "invalidated"] {
            assert!(takes_back(both, &format!(r#""a":"{state}""#), ""), "{state}");
            assert!(!takes_back(nobody, &format!(r#""a":"{state}""#), ""), "nothing was given: {state}");
        }
        // Where notice is enough, no is the first thing that counts; said again it takes back nothing.
        assert!(takes_back(nobody, r#""b":"refused""#, ""));
        assert!(!takes_back(nobody, r#""b":"expired""#, ""));
        assert!(!takes_back(state(Unknown, Refused, None), r#""a":"given","b":"withdrawn""#, ""));
        assert!(!takes_back(nobody, r#""a":"given","b":"given""#, ""));
        assert!(!takes_back(both, r#""a":"given","b":"given""#, r#","age_from":18"#));
        // An age that is too low, and a day that has come, for what is not named as well. Day 20,819 is 2027-01-01.
        assert!(takes_back(both, "", r#","age_from":15"#) && !takes_back(both, "", r#","age_from":17"#));
        assert!(takes_back(both, r#""a":"given""#, r#","expires":"2027-01-01""#));
        assert!(!takes_back(both, r#""a":"given""#, r#","expires":"2027-01-02""#));
    }

    #[test]
    fn a_batch_loses_what_was_withdrawn_after_its_snapshot_and_nothing_else() {
        let (one, two) = ([1; 16], [2; 16]);
        let mut changes = Changes::default();
        let both = state(Given, Given, Some(20));
        let none = state(Withdrawn, Withdrawn, Some(20));
        changes.note(&purposes(), one, (&both, &none), 0);
        changes.note(&purposes(), one, (&none, &both), 0);
        let concerned =
            [Concerned { key: two, subject: 0, purposes: 0b11 }, Concerned { key: one, subject: 1, purposes: 0b10 }];
        // Withdrawn and given again: what was on its way in between stays out.
        assert_eq!(changes.verdict(0, &concerned), Verdict::Withdrawn(vec![(1, 1)]));
        assert_eq!(changes.verdict(1, &concerned), Verdict::Unchanged);
        assert_eq!(changes.verdict(0, &concerned[..1]), Verdict::Unchanged);
    }

    #[test]
    fn a_snapshot_older_than_the_memory_is_refused_and_the_memory_is_bounded() {
        let (both, none) = (state(Given, Given, None), state(Withdrawn, Withdrawn, None));
        let mut changes = Changes::default();
        for n in 0..=Changes::KEPT as u64 {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&(n % 7).to_le_bytes());
            changes.note(&purposes(), key, (&both, &none), 0);
        }
        let concerned = [Concerned { key: [9; 16], subject: 0, purposes: 1 }];
        assert_eq!(changes.verdict(0, &concerned), Verdict::TooOld);
        assert_eq!(changes.verdict(1, &concerned), Verdict::Unchanged);
        assert_eq!(changes.order.len(), Changes::KEPT);
        assert_eq!(changes.by_subject.values().map(Vec::len).sum::<usize>(), Changes::KEPT);
    }

    #[test]
    fn a_snapshot_has_the_states_of_all_its_subjects_in_their_order() {
        let subject = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            bytes[15] = (n % 251) as u8;
            LedgerId::from_bytes(bytes)
        };
        let map = ConsentMap::new();
        // More than are looked up at once, in some shards several; every third is unknown, and some come again.
        for n in (0..2_000).filter(|n| n % 3 != 0) {
            map.set(key_of(&subject(n)), state(Given, Unknown, None).at(i64::from(n)));
        }
        map.publish(7);
        let asked: Vec<LedgerId> = (0..2_000).chain([5, 5, 1]).map(subject).collect();
        let snapshot = map.snapshot(&asked);
        assert_eq!(snapshot.generation(), 7);
        for (number, id) in asked.iter().enumerate() {
            assert_eq!(snapshot.of(number), map.of(&key_of(id)), "subject {number}");
        }
        assert_eq!(
            (snapshot.of(3).sequence(), snapshot.of(1_999).sequence(), snapshot.of(2_002).sequence()),
            (0, 1_999, 1)
        );
    }

    #[test]
    fn a_statement_that_cannot_be_read_says_no() {
        let mut statement = crate::segment::testing::statement(1, 3, true);
        statement.purposes.insert("a".to_owned(), Given);
        assert_eq!(purposes().compact(&statement).state(0, 0), Given);
        statement.expires = Some("soon".to_owned());
        let state = purposes().compact(&statement);
        assert_eq!((state.state(0, 0), state.state(1, 0), state.sequence()), (Refused, Refused, 3));
    }
}
