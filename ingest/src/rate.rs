//! Rate per source: requests a second, by the generic cell rate algorithm, with bursts of one second's worth.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::error::{Kind, Refusal};
use crate::source::{Source, Sources};

/// What each source may still send.
pub(crate) struct Rates {
    of: HashMap<Arc<str>, DefaultDirectRateLimiter>,
}

impl Rates {
    /// Rates for the sources of a fleet: nothing that comes from outside makes an entry.
    pub(crate) fn new(sources: &Sources, per_second: u32) -> Self {
        let quota = Quota::per_second(NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN));
        let of = sources.iter().map(|source| (Arc::clone(&source.name), RateLimiter::direct(quota))).collect();
        Self { of }
    }

    /// Takes one request of a source, or asks it to come again.
    pub(crate) fn take(&self, source: &Source) -> Result<(), Refusal> {
        match self.of.get(&source.name).map(RateLimiter::check) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => {
                let mend = "this source sends more requests a second than it may: send larger batches, less often";
                Err(Refusal::new(Kind::TooFast, mend))
            }
        }
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rates of {} sources", self.of.len())
    }
}
