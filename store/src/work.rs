//! How far long work is, for whoever waits for it: counters that one side raises and the other looks at.

use std::sync::atomic::{AtomicU64, Ordering};

/// Steps of one piece of work. Relaxed throughout: the numbers are only shown.
#[derive(Debug, Default)]
pub struct Work {
    done: AtomicU64,
    of: AtomicU64,
}

impl Work {
    /// A piece of work begins; `of` is 0 where nobody knows how many steps it has.
    pub fn begin(&self, of: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
    }

    /// So many more of them are done.
    pub fn advance(&self, steps: u64) {
        self.done.fetch_add(steps, Ordering::Relaxed);
    }

    /// Steps that were begun, and how many there are (0 where nobody knows).
    #[must_use]
    pub fn seen(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed))
    }
}
