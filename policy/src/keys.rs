//! The keys that clearing needs, handed in by whoever keeps the key ring.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::subject::{LedgerId, SubjectId};

/// The state of HMAC-SHA256 (RFC 2104) after its key: cloned for each message.
pub(crate) type Keyed = Hmac<Sha256>;

/// One HMAC key with its generation; its `Debug` says nothing of the key.
#[derive(Clone)]
pub struct HmacKey {
    generation: u64,
    key: Keyed,
}

impl HmacKey {
    /// A key for HMAC-SHA256 from 32 secret bytes, and the number of its generation (from 1).
    #[must_use]
    pub fn new(generation: u64, secret: &[u8; 32]) -> Self {
        // The length of a block: such a key is taken as it is, and cannot be refused.
        let mut block = [0; 64];
        block[..32].copy_from_slice(secret);
        Self { generation, key: Keyed::new(&block.into()) }
    }

    /// Number of the generation, from 1.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The keyed state, to be cloned for each value.
    pub(crate) const fn keyed(&self) -> &Keyed {
        &self.key
    }
}

impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HmacKey(generation {})", self.generation)
    }
}

/// Everything secret that [`crate::plan::Plan::clear`] and admission use.
#[derive(Clone, Debug)]
pub struct Keys {
    ledger: HmacKey,
    subject: HmacKey,
    named: BTreeMap<String, HmacKey>,
}

impl Keys {
    /// `ledger` makes ledger ids, `subject` is the live generation `K_n`, `named` are the keys that operators name.
    #[must_use]
    pub const fn new(ledger: HmacKey, subject: HmacKey, named: BTreeMap<String, HmacKey>) -> Self {
        Self { ledger, subject, named }
    }

    /// The stable id of an assigned subject from the value of the attribute that its source names.
    #[must_use]
    pub fn ledger_id(&self, value: &str) -> LedgerId {
        LedgerId::from_bytes(tag(&self.ledger, value.as_bytes()))
    }

    /// The id that table subjects are derived from, under the live key generation.
    #[must_use]
    pub fn subject_id(&self, ledger_id: &LedgerId) -> SubjectId {
        SubjectId::from_bytes(tag(&self.subject, ledger_id.as_bytes()))
    }

    /// The key that an `hmac` or `fpe_ff1` operator names.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&HmacKey> {
        self.named.get(name)
    }
}

fn tag(key: &HmacKey, message: &[u8]) -> [u8; 32] {
    key.keyed().clone().chain_update(message).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by Python, with `ledger` 32 times 1 and `subject` 32 times 2:
    ///
    /// ```python
    /// ledger_id  = hmac.new(b"\x01" * 32, b"device-0001", hashlib.sha256).digest()
    /// subject_id = hmac.new(b"\x02" * 32, ledger_id, hashlib.sha256).digest()
    /// in_table   = hashlib.sha256(b"candor/table/v1" + subject_id + b"analytics").digest()[:16]
    /// ```
    #[test]
    fn ids_of_an_assigned_subject() {
        let keys = Keys::new(HmacKey::new(1, &[1; 32]), HmacKey::new(1, &[2; 32]), BTreeMap::new());
        let ledger_id = keys.ledger_id("device-0001");
        let subject_id = keys.subject_id(&ledger_id);
        let hex = |bytes: &[u8; 32]| crate::hex::encode(bytes);
        assert_eq!(hex(ledger_id.as_bytes()), "ef587374e6ab5e4f4e1d789695ee9c8aa55facff320e4f00fdbf0c2a83b90332");
        assert_eq!(hex(subject_id.as_bytes()), "8afe4f8be6552d73010530443144bc946ece3350fa3c745ddf287c419aca5eb6");
        assert_eq!(subject_id.in_table("analytics").as_str(), "1a58945753576fbd6a7b921bb387d542");
        assert_ne!(subject_id.in_table("analytics"), subject_id.in_table("marketing"));
    }

    #[test]
    fn no_debug_shows_a_key() {
        let named = BTreeMap::from([("analytics".to_owned(), HmacKey::new(3, &[0xab; 32]))]);
        let keys = Keys::new(HmacKey::new(1, &[0xab; 32]), HmacKey::new(2, &[0xab; 32]), named);
        let shown = format!("{keys:?} {:?}", keys.ledger_id("device-0001"));
        assert!(shown.contains("generation 3") && shown.contains("analytics"));
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"), "{shown}");
    }
}
