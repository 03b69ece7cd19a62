//! Who a row is about: ledger ids, subject ids and the narrower name that a table holds.
//!
//! An assigned subject is known to the ledger and to tables by two ids, so that keys of tables can change. One that signs is
//! known to both by the hash of its own key, which nobody but its holder can use and which its device can compute.

use sha2::{Digest, Sha256};

use crate::hex::Hex16;

/// Stable id of a subject in the ledger: `HMAC-SHA256(K_ledger, attribute value)` for assigned subjects, the subject id for
/// those that sign. In no table, no log line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerId([u8; 32]);

/// Id that tables are derived from: `HMAC-SHA256(K_n, ledger id)` for assigned subjects, n the key generation; `SHA-256(public
/// key)` for those that sign.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectId([u8; 32]);

impl LedgerId {
    /// Wraps the 32 bytes of an id that was derived before (from a frame or the ledger).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The ledger's id of a subject that signs.
    #[must_use]
    pub const fn of_certified(subject: &SubjectId) -> Self {
        Self(subject.0)
    }

    /// The 32 bytes, for the ledger and for frames only.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl SubjectId {
    /// Wraps the 32 bytes of a derived id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The id of a subject that signs with the Ed25519 key of these bytes.
    #[must_use]
    pub fn of_public_key(key: &[u8; 32]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// The 32 bytes: whoever holds them can find the subject's rows.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the tables of one purpose call this subject:
    /// `hex(SHA-256("candor/table/v1" ‖ subject id ‖ purpose)[..16])`, 32 characters.
    #[must_use]
    pub fn in_table(&self, purpose: &str) -> Hex16 {
        let digest = Sha256::new_with_prefix(b"candor/table/v1").chain_update(self.0).chain_update(purpose);
        Hex16::of_first(&digest.finalize().into())
    }
}

impl std::fmt::Debug for LedgerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LedgerId(..)")
    }
}

impl std::fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SubjectId(..)")
    }
}
