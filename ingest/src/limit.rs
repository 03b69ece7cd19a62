//! The budget of bytes in flight: what all bodies together may take, charged as it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::buffer::{Buffer, Spares};
use crate::error::Refusal;

/// Bytes that all requests together may hold.
#[derive(Debug)]
pub(crate) struct Budget {
    most: usize,
    used: AtomicUsize,
    spares: Arc<Spares>,
}

/// What one request holds of it; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    held: usize,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: AtomicUsize::new(0), spares: Arc::default() })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        Lease { budget: Arc::clone(self), held: 0 }
    }
}

impl Lease {
    /// An empty buffer, as [`Spares::buffer`] says; what is put into it has to be taken by [`Self::grow`].
    pub(crate) fn buffer(&self, expected: usize, trusted: usize) -> Buffer {
        self.budget.spares.buffer(expected, trusted)
    }

    /// Takes `bytes` more, or refuses: waiting could leave requests waiting for each other.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let most = self.budget.most;
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= most);
        // Relaxed: the counter guards no other memory.
        match self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => {
                self.held += bytes;
                Ok(())
            }
            Err(_) => Err(Refusal::again("too many requests are in flight")),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_takes_refuses_and_gives_back() {
        let budget = Budget::new(10);
        let mut first = budget.lease();
        first.grow(6).unwrap();
        first.grow(3).unwrap();
        let mut second = budget.lease();
        assert!(second.grow(2).is_err());
        assert!(second.grow(usize::MAX).is_err(), "a sum that overflows is refused");
        assert_eq!(budget.used(), 9, "what was refused is not charged");
        drop(first);
        second.grow(10).unwrap();
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
