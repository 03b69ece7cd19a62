//! Rate of requests that need no token: so many a second of one address, looked at before a signature is.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::address::sender;
use crate::error::{Kind, Refusal};

/// Addresses share this many places: memory is bounded whoever comes. Who shares a place with whom is another at each start.
const PLACES: usize = 4_096;

/// What each address may still ask.
pub(crate) struct Strangers {
    places: Vec<DefaultDirectRateLimiter>,
    hasher: RandomState,
}

impl Strangers {
    /// So many requests a second of one address, with bursts of as many.
    pub(crate) fn new(per_second: u32) -> Self {
        let quota = Quota::per_second(NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN));
        Self { places: (0..PLACES).map(|_| RateLimiter::direct(quota)).collect(), hasher: RandomState::new() }
    }

    /// Takes one request of an address, or asks it to come again.
    pub(crate) fn take(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let place = self.hasher.hash_one(address.map(sender)) as usize % PLACES;
        match self.places.get(place).map(RateLimiter::check) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => {
                let mend = "this address asks more often than it may without a token: ask again in a second";
                Err(Refusal::new(Kind::TooFast, mend))
            }
        }
    }
}

impl std::fmt::Debug for Strangers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Strangers in {} places", self.places.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_to_wait_and_another_is_not() {
        let strangers = Strangers::new(2);
        let take = |address: &str| strangers.take(Some(address.parse().unwrap())).map_err(|refusal| refusal.kind);
        assert_eq!([take("192.0.2.1"), take("192.0.2.1"), take("192.0.2.1")], [Ok(()), Ok(()), Err(Kind::TooFast)]);
        // All but one in some thousands have a place of their own.
        let others = (0..50).filter(|n| take(&format!("198.51.100.{n}")).is_ok()).count();
        assert!(others >= 48, "{others}");
        assert_eq!(take("2001:db8::1").and(take("2001:db8::2")).and(take("2001:db8::3")), Err(Kind::TooFast));
    }
}
