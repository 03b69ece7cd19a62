//! Nonces of signed requests: each is used once. Memory has those that still count; segments and the ledger keep them over a
//! restart.

use std::sync::Mutex;

use hashbrown::HashMap;

use crate::error::{Error, Kind};
use crate::shared::lock;

/// Most nonces that are remembered: five minutes of 3,000 requests a second.
const MOST: usize = 1 << 20;
/// How many uses go by between two looks for what has expired.
const SWEEP_EVERY: usize = 1 << 12;

/// One use of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceUse {
    /// What key and nonce hash to.
    pub id: [u8; 16],
    /// Second since 1970 from which it need not be remembered.
    pub expires: i64,
}

/// The nonces that count.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Nonce → when it expires.
    used: HashMap<[u8; 16], i64, foldhash::quality::RandomState>,
    since_sweep: usize,
}

impl Nonces {
    /// Uses a nonce at a second of the clock; false if it was used before.
    pub(crate) fn take(&self, nonce: NonceUse, now: i64) -> Result<bool, Error> {
        let mut inner = lock(&self.inner);
        inner.since_sweep += 1;
        if inner.since_sweep >= SWEEP_EVERY || inner.used.len() >= MOST {
            inner.used.retain(|_, expires| *expires >= now);
            inner.since_sweep = 0;
        }
        if inner.used.len() >= MOST {
            return Err(Error::new(
                Kind::Retry,
                "too many signed requests in too short a time",
                format!("{MOST} nonces are remembered"),
                "send it again in a second",
            ));
        }
        Ok(inner.used.insert(nonce.id, nonce.expires).is_none())
    }

    /// Remembers one from before a restart.
    pub(crate) fn remember(&self, nonce: NonceUse) {
        lock(&self.inner).used.insert(nonce.id, nonce.expires);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_used_once_and_forgotten_when_it_has_expired() {
        let nonces = Nonces::default();
        let nonce = |id: u8| NonceUse { id: [id; 16], expires: 100 };
        assert!(nonces.take(nonce(1), 0).unwrap());
        assert!(!nonces.take(nonce(1), 50).unwrap());
        nonces.remember(nonce(2));
        assert!(!nonces.take(nonce(2), 50).unwrap());
        for n in 0..SWEEP_EVERY as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_le_bytes());
            nonces.take(NonceUse { id, expires: 500 }, 101).unwrap();
        }
        assert!(nonces.take(nonce(1), 101).unwrap());
    }
}
