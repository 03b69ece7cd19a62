//! How long to wait: exponential with full jitter, and never less than the service asked for.

use std::time::Duration;

use crate::error::Error;
use crate::rim::{Random, below};

/// A service that asks for more than a day is not listened to any longer than that.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// Waits between attempts that failed one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Something succeeded.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: anything from nothing to the exponential bound, after what the service asked for.
    pub(crate) fn wait(&mut self, asked: Option<Duration>, random: &dyn Random) -> Result<Duration, Error> {
        let bound = self.first.saturating_mul(1 << self.failures.min(24)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let jitter = below(random, bound.as_micros() as u64 + 1)?;
        Ok(asked.unwrap_or_default().min(LONGEST_ASKED) + Duration::from_micros(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rim::SystemEntropy;

    #[test]
    fn waits_grow_to_a_bound_spread_and_follow_the_service() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_mins(1));
        let mut backoff = Backoff::new(first, longest);
        for failure in 0..40 {
            let bound = first.saturating_mul(1 << failure.min(20)).min(longest);
            assert!(backoff.wait(None, &SystemEntropy).unwrap() <= bound, "failure {failure}");
        }
        let waits: Vec<_> = (0..50).map(|_| backoff.wait(None, &SystemEntropy).unwrap()).collect();
        assert!(waits.iter().any(|w| *w < longest / 3) && waits.iter().any(|w| *w > longest / 3 * 2));
        let asked = Duration::from_secs(90);
        assert!((asked..=asked + longest).contains(&backoff.wait(Some(asked), &SystemEntropy).unwrap()));
        backoff.reset();
        assert!(backoff.wait(Some(Duration::MAX), &SystemEntropy).unwrap() <= LONGEST_ASKED + first);
    }
}
