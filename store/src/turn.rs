//! One at a time writes tables, log and released frames. The flusher asks again as soon as it is done: others go before it.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::shared::lock;

/// The turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    taken: bool,
    /// Others than the flusher that wait.
    waiting: usize,
}

/// Whose turn it is, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a>(&'a Turn);

impl Turn {
    /// For the flusher: whoever else waits goes first.
    pub(crate) fn take_after_others(&self) -> Taken<'_> {
        let inner = lock(&self.inner);
        let waits = |inner: &mut Inner| inner.taken || inner.waiting > 0;
        let mut inner = self.changed.wait_while(inner, waits).unwrap_or_else(PoisonError::into_inner);
        inner.taken = true;
        Taken(self)
    }

    /// For everybody else.
    pub(crate) fn take(&self) -> Taken<'_> {
        let mut inner = lock(&self.inner);
        inner.waiting += 1;
        let mut inner = self.changed.wait_while(inner, |inner| inner.taken).unwrap_or_else(PoisonError::into_inner);
        inner.waiting -= 1;
        inner.taken = true;
        Taken(self)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        lock(&self.0.inner).taken = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn whoever_asks_again_and_again_lets_others_go_first() {
        let (turn, stop) = (Arc::new(Turn::default()), Arc::new(AtomicBool::new(false)));
        let (its, until) = (Arc::clone(&turn), Arc::clone(&stop));
        let flusher = std::thread::spawn(move || {
            let mut turns = 0;
            while !until.load(Ordering::Relaxed) {
                let _taken = its.take_after_others();
                std::thread::sleep(Duration::from_millis(1));
                turns += 1;
            }
            turns
        });
        let started = Instant::now();
        for _ in 0..100 {
            drop(turn.take());
        }
        assert!(started.elapsed() < Duration::from_secs(20));
        stop.store(true, Ordering::Relaxed);
        assert!(flusher.join().unwrap() > 0);
    }
}
