//! Numbered batches: which numbers of a subject were taken, and how many of its batches stored rows for each purpose.
//!
//! The appender alone changes them, in the order of its queue, so that a number is taken once, without any horizon. What lies
//! between the lowest missing number and the highest one seen is bounded: a device sends low numbers first.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

use crate::consent::SubjectKey;

/// Most numbers from the lowest missing one to the highest one seen.
pub const MOST_OPEN: u64 = 1_024;

const SHARDS: usize = 256;

/// The numbers of one subject. Numbers count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    highest: u64,
    /// Numbers below `highest` that were not seen, ascending.
    missing: Vec<u64>,
}

/// What a number is to those that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It was not seen.
    New,
    /// It was.
    Seen,
    /// Taking it would leave more open than is kept.
    TooFar,
}

impl Numbers {
    /// These numbers, as a ledger has them; what cannot be is none.
    #[must_use]
    pub fn new(highest: u64, missing: Vec<u64>) -> Option<Self> {
        let ascending = missing.is_sorted_by(|one, two| one < two);
        let inside =
            missing.first().is_none_or(|first| *first > 0) && missing.last().is_none_or(|last| *last < highest);
        (ascending && inside).then_some(Self { highest, missing })
    }

    /// Highest number seen; 0 for none.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// Numbers below it that were not seen, ascending.
    #[must_use]
    pub fn missing(&self) -> &[u64] {
        &self.missing
    }

    /// What a number is; 0 is never new.
    #[must_use]
    pub fn place(&self, number: u64) -> Place {
        if number <= self.highest {
            return if self.missing.binary_search(&number).is_ok() { Place::New } else { Place::Seen };
        }
        let lowest = self.missing.first().copied().unwrap_or(self.highest + 1);
        if number - lowest < MOST_OPEN { Place::New } else { Place::TooFar }
    }

    /// Takes a number that is new.
    pub fn take(&mut self, number: u64) {
        if let Ok(at) = self.missing.binary_search(&number) {
            self.missing.remove(at);
        } else if number > self.highest {
            self.missing.extend(self.highest + 1..number);
            self.highest = number;
        }
    }
}

/// What memory holds of one subject that sends numbered batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubjectBatches {
    pub(crate) numbers: Numbers,
    /// By number of the purpose: batches that stored rows for it.
    pub(crate) stored: Box<[u64]>,
}

impl SubjectBatches {
    /// Batches that stored rows for a purpose.
    pub(crate) fn stored(&self, purpose: usize) -> u64 {
        self.stored.get(purpose).copied().unwrap_or(0)
    }

    /// Says how many batches stored rows for a purpose.
    pub(crate) fn set_stored(&mut self, purpose: usize, count: u64) {
        if self.stored.len() <= purpose {
            let mut longer = std::mem::take(&mut self.stored).into_vec();
            longer.resize(purpose + 1, 0);
            self.stored = longer.into();
        }
        self.stored[purpose] = count;
    }
}

type Shard = HashMap<SubjectKey, SubjectBatches, foldhash::fast::FixedState>;

/// All subjects that send numbered batches.
#[derive(Debug)]
pub(crate) struct Batches {
    shards: Vec<Mutex<Shard>>,
}

impl Batches {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// What is known of a subject.
    pub(crate) fn of(&self, key: &SubjectKey) -> SubjectBatches {
        self.shard(key).lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned().unwrap_or_default()
    }

    /// What a number is for a subject.
    pub(crate) fn place(&self, key: &SubjectKey, number: u64) -> Place {
        let shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(key).map_or_else(|| Numbers::default().place(number), |batches| batches.numbers.place(number))
    }

    /// Changes what is known of a subject.
    pub(crate) fn change(&self, key: SubjectKey, change: impl FnOnce(&mut SubjectBatches)) {
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        change(shard.entry(key).or_default());
    }

    /// Forgets a subject.
    pub(crate) fn forget(&self, key: &SubjectKey) {
        self.shard(key).lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn shard(&self, key: &SubjectKey) -> &Mutex<Shard> {
        &self.shards[usize::from(key[15]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A set of everything that was taken says the same.
        #[test]
        fn a_number_is_taken_once_and_gaps_are_remembered(sent in prop::collection::vec(1_u64..1_600, 1..400)) {
            let (mut numbers, mut seen) = (Numbers::default(), BTreeSet::new());
            for number in sent {
                let lowest = (1..=1_600).find(|number| !seen.contains(number)).unwrap();
                let expected = if seen.contains(&number) {
                    Place::Seen
                } else if number >= lowest + MOST_OPEN {
                    Place::TooFar
                } else {
                    Place::New
                };
                prop_assert_eq!(numbers.place(number), expected);
                if expected == Place::New {
                    numbers.take(number);
                    seen.insert(number);
                }
                let highest = seen.last().copied().unwrap_or(0);
                let missing: Vec<u64> = (1..highest).filter(|number| !seen.contains(number)).collect();
                prop_assert!((missing.len() as u64) < MOST_OPEN);
                prop_assert_eq!((numbers.highest(), numbers.missing()), (highest, missing.as_slice()));
                prop_assert_eq!(Numbers::new(highest, missing), Some(numbers.clone()));
            }
        }
    }

    #[test]
    fn nothing_is_number_0_and_no_ledger_makes_numbers_that_cannot_be() {
        assert_eq!(Numbers::default().place(0), Place::Seen);
        for (highest, missing) in [(3, vec![3]), (3, vec![0]), (3, vec![2, 1]), (3, vec![1, 1]), (0, vec![1])] {
            assert_eq!(Numbers::new(highest, missing), None);
        }
    }

    #[test]
    fn purposes_are_counted_each_for_itself() {
        let batches = Batches::new();
        let key = [9; 16];
        batches.change(key, |batches| batches.set_stored(2, 7));
        batches.change(key, |batches| batches.numbers.take(1));
        let found = batches.of(&key);
        assert_eq!((found.stored(0), found.stored(2), found.stored(9)), (0, 7, 0));
        assert_eq!((batches.place(&key, 1), batches.place(&[8; 16], 1)), (Place::Seen, Place::New));
    }
}
