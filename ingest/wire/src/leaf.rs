//! Sealed files: one leaf for each subject of a file, the file's root, and what shows a subject what a file has of it.
//!
//! `docs/FORMAT.md`, "Sealed files", fixes each byte. A leaf tells nobody but its subject, and whoever has the file, what is in it:
//! it commits to the content under a key that every subject has for itself.

use sha2::{Digest, Sha256};

use crate::merkle::{self, Hash};
use crate::sha256::{of_pair, of_tagged};

mod proof;
mod seal;

pub use proof::{Claim, FileProof, Leaves, ProofError};
pub use seal::{SealError, Sealed, Sealer, content_of};

/// Bytes of an entry.
pub const ENTRY_LEN: usize = 48;
/// What the root of a file begins with when it is hashed.
const FILE: &[u8] = b"candor/file/v1\n";

/// What subjects of a file are hashed with; it is public.
pub type Salt = [u8; 16];
/// The first half of `SHA-256(salt ‖ subject)`: with a salt, or a secret, of 16 bytes a subject's id is one block of SHA-256.
pub type Salted = [u8; 16];

/// What a leaf hashes: `salted ‖ commitment`. Entries are ordered by their salted subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// By what leaves are ordered.
    pub salted: Salted,
    /// `SHA-256(heads ‖ heads ‖ blind ‖ rest)`, heads being the first 32 bytes of the content and rest all others.
    pub commitment: Hash,
}

/// A file's secret: it gives each subject its blind.
#[derive(Clone)]
pub struct Secret([u8; 16]);

impl Secret {
    /// The secret of a file.
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// What a subject's leaf is committed to with: `SHA-256(secret ‖ subject)`.
    #[must_use]
    pub fn blind(&self, subject: &str) -> Hash {
        of_pair(&self.0, subject.as_bytes())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl Entry {
    /// The entry of a subject's rows, as [`content_of`] has them.
    #[must_use]
    pub fn new(salted: Salted, blind: &Hash, content: &[u8]) -> Self {
        let (heads, rest) = content.split_first_chunk().unwrap_or((&[0; 32], content));
        Self { salted, commitment: of_tagged(heads, &[blind, rest]) }
    }

    /// An entry's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..16].copy_from_slice(&self.salted);
        bytes[16..].copy_from_slice(&self.commitment);
        bytes
    }

    /// What the bytes say.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; ENTRY_LEN]) -> Self {
        let (mut salted, mut commitment) = ([0; 16], [0; 32]);
        salted.copy_from_slice(&bytes[..16]);
        commitment.copy_from_slice(&bytes[16..]);
        Self { salted, commitment }
    }

    /// Hash of its leaf.
    #[must_use]
    pub fn hash(&self) -> Hash {
        merkle::leaf_hash(&self.to_bytes())
    }
}

/// The first half of `SHA-256(salt ‖ subject)`: by what leaves are ordered, and nobody finds a subject without the salt.
#[must_use]
pub fn salted(salt: &Salt, subject: &str) -> Salted {
    let mut salted = [0; 16];
    salted.copy_from_slice(&of_pair(salt, subject.as_bytes())[..16]);
    salted
}

/// Root of a file: SHA-256 over `candor/file/v1`, LF, the salt, the number of leaves as u64be and the root of their tree.
///
/// Were the salt left out, whoever makes a proof could choose one by which a subject falls between two others.
#[must_use]
pub fn file_root(salt: &Salt, size: u64, tree: &Hash) -> Hash {
    Sha256::new_with_prefix(FILE)
        .chain_update(salt)
        .chain_update(size.to_be_bytes())
        .chain_update(tree)
        .finalize()
        .into()
}
