//! Sealed files: one leaf for each subject of a file, the file's root, and what shows a subject what a file has of it.
//!
//! `docs/FORMAT.md`, "Sealed files", fixes each byte. A leaf tells nobody but its subject, and whoever has the file, what is in it:
//! it is a keyed digest under a key that every subject has for itself.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::merkle::{self, Hash};

mod proof;
mod seal;

pub use proof::{Claim, FileProof, Leaves, ProofError};
pub use seal::{SealError, Sealed, Sealer, content_of};

/// Bytes of an entry.
pub const ENTRY_LEN: usize = 64;
/// What the root of a file begins with when it is hashed.
const FILE: &[u8] = b"candor/file/v1\n";

/// What a leaf hashes: `salted ‖ mac`. Entries are ordered by their salted subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// `SHA-256(salt ‖ subject)`.
    pub salted: Hash,
    /// `HMAC-SHA256(blind, content)`.
    pub mac: Hash,
}

/// A file's secret, made ready: it gives each subject its blind.
#[derive(Clone)]
pub struct Secret {
    keyed: Hmac<Sha256>,
}

impl Secret {
    /// The secret of a file.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { keyed: keyed(secret) }
    }

    /// Whose leaf is keyed by this: `HMAC-SHA256(secret, subject)`.
    #[must_use]
    pub fn blind(&self, subject: &str) -> Hash {
        self.keyed.clone().chain_update(subject).finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// A leaf that is being made.
struct Leaf {
    salted: Hash,
    mac: Hmac<Sha256>,
}

impl Leaf {
    fn new(salted: Hash, blind: &Hash) -> Self {
        Self { salted, mac: keyed(blind) }
    }

    fn update(&mut self, content: &[u8]) {
        self.mac.update(content);
    }

    fn finish(self) -> Entry {
        Entry { salted: self.salted, mac: self.mac.finalize().into_bytes().into() }
    }
}

impl Entry {
    /// The entry of a subject's rows, as [`content_of`] has them.
    #[must_use]
    pub fn new(salted: Hash, blind: &Hash, content: &[u8]) -> Self {
        let mut leaf = Leaf::new(salted, blind);
        leaf.update(content);
        leaf.finish()
    }

    /// An entry's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..32].copy_from_slice(&self.salted);
        bytes[32..].copy_from_slice(&self.mac);
        bytes
    }

    /// What the bytes say.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; ENTRY_LEN]) -> Self {
        let (mut salted, mut mac) = ([0; 32], [0; 32]);
        salted.copy_from_slice(&bytes[..32]);
        mac.copy_from_slice(&bytes[32..]);
        Self { salted, mac }
    }

    /// Hash of its leaf.
    #[must_use]
    pub fn hash(&self) -> Hash {
        merkle::leaf_hash(&self.to_bytes())
    }
}

/// `SHA-256(salt ‖ subject)`: by what leaves are ordered, and nobody finds a subject without the salt.
#[must_use]
pub fn salted(salt: &Hash, subject: &str) -> Hash {
    Sha256::new_with_prefix(salt).chain_update(subject).finalize().into()
}

/// Root of a file: SHA-256 over `candor/file/v1`, LF, the salt, the number of leaves as u64be and the root of their tree.
///
/// Were the salt left out, whoever makes a proof could choose one by which a subject falls between two others.
#[must_use]
pub fn file_root(salt: &Hash, size: u64, tree: &Hash) -> Hash {
    Sha256::new_with_prefix(FILE)
        .chain_update(salt)
        .chain_update(size.to_be_bytes())
        .chain_update(tree)
        .finalize()
        .into()
}

fn keyed(key: &Hash) -> Hmac<Sha256> {
    // A key that is shorter than a block is one with zeros behind it.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    Hmac::new(&block.into())
}
