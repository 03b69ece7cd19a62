//! Nonces of signed requests: each is used once. Memory has those that still count; segments and the ledger keep them over a
//! restart.

use std::sync::Mutex;

use hashbrown::HashMap;

use crate::error::{Error, Kind};
use crate::shared::lock;

/// Who used a nonce. Each kind has a place of its own: who can be anybody takes up nobody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// A source's token came with the signature.
    Sender,
    /// A signature alone, of a subject that something was recorded of.
    Subject,
    /// A signature alone, of a key that anybody can make.
    Stranger,
}

/// Most nonces of each kind that are remembered. A million is five minutes of 3,000 requests a second.
const MOST: [usize; 3] = [1 << 20, 1 << 18, 1 << 16];

/// One use of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceUse {
    /// What key and nonce hash to.
    pub id: [u8; 16],
    /// Second since 1970 from which it need not be remembered.
    pub expires: i64,
}

/// The nonces that count.
#[derive(Debug)]
pub(crate) struct Nonces {
    inner: Mutex<[Place; 3]>,
    most: [usize; 3],
}

/// Those of one kind of user.
#[derive(Debug, Default)]
struct Place {
    /// Nonce → when it expires.
    used: HashMap<[u8; 16], i64, foldhash::quality::RandomState>,
    /// Second of the last look for what has expired.
    swept: i64,
}

impl Default for Nonces {
    fn default() -> Self {
        Self { inner: Mutex::default(), most: MOST }
    }
}

impl Nonces {
    /// Uses a nonce at a second of the clock; false if it was used before, by whomever.
    pub(crate) fn take(&self, nonce: NonceUse, user: User, now: i64) -> Result<bool, Error> {
        let most = self.most[user as usize];
        let mut places = lock(&self.inner);
        if places.iter().any(|place| place.used.contains_key(&nonce.id)) {
            return Ok(false);
        }
        let place = &mut places[user as usize];
        // Before the map grows, and once a second at most: it walks over all of them.
        let is_tight = place.used.len() >= most || place.used.len() == place.used.capacity();
        if is_tight && place.swept != now {
            place.used.retain(|_, expires| *expires >= now);
            place.swept = now;
        }
        if place.used.len() >= most {
            return Err(Error::new(
                Kind::Retry,
                "too many signed requests in too short a time",
                format!("{most} nonces are remembered"),
                "send it again in a second",
            ));
        }
        place.used.insert(nonce.id, nonce.expires);
        Ok(true)
    }

    /// Remembers one from before a restart.
    pub(crate) fn remember(&self, nonce: NonceUse) {
        lock(&self.inner)[User::Sender as usize].used.insert(nonce.id, nonce.expires);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(number: u64, expires: i64) -> NonceUse {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        NonceUse { id, expires }
    }

    #[test]
    fn a_nonce_is_used_once_by_whomever_and_forgotten_when_it_has_expired() {
        let nonces = Nonces::default();
        let users = [User::Sender, User::Subject, User::Stranger];
        for (number, user) in (1..).zip(users) {
            assert!(nonces.take(nonce(number, 100), user, 0).unwrap());
            for other in users {
                assert!(!nonces.take(nonce(number, 100), other, 50).unwrap());
            }
        }
        nonces.remember(nonce(9, 100));
        assert!(!nonces.take(nonce(9, 100), User::Stranger, 50).unwrap());
        for number in 100..1_000 {
            nonces.take(nonce(number, 500), User::Sender, 101).unwrap();
        }
        assert!(nonces.take(nonce(1, 200), User::Sender, 101).unwrap());
    }

    #[test]
    fn strangers_take_up_their_own_place_alone_and_get_it_back_by_the_second() {
        let nonces = Nonces { most: [20, 10, 5], ..Nonces::default() };
        let take = |number, user, now| nonces.take(nonce(number, now + 10), user, now).map_err(|error| error.kind());
        for number in 0..5 {
            assert_eq!(take(number, User::Stranger, 0), Ok(true));
        }
        for number in 5..50 {
            assert_eq!(take(number, User::Stranger, 9), Err(Kind::Retry));
        }
        assert_eq!([take(60, User::Sender, 9), take(61, User::Subject, 9)], [Ok(true), Ok(true)]);
        for number in 70..75 {
            assert_eq!(take(number, User::Stranger, 11), Ok(true));
        }
        // Nothing has expired, and one look in a second shows that.
        let swept = || lock(&nonces.inner)[User::Stranger as usize].swept;
        assert_eq!((take(80, User::Stranger, 11), swept()), (Err(Kind::Retry), 11));
        assert_eq!((take(80, User::Stranger, 12), swept()), (Err(Kind::Retry), 12));
    }
}
