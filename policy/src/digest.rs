//! SHA-256 digests of documents: RFC 8785 JSON of what was parsed.

use ring::digest::{SHA256, digest};
use serde::Serialize;

/// A SHA-256 digest; prints as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// SHA-256 of bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(out)
    }

    /// SHA-256 of the RFC 8785 (JSON Canonicalization Scheme) form of a document.
    ///
    /// # Errors
    /// If the document cannot be JSON (a map whose keys are not strings, a number that is not finite).
    pub fn of_document(document: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json_canonicalizer::to_vec(document).map(|bytes| Self::of_bytes(&bytes))
    }

    /// The digest that `hex` writes, or `None`.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        crate::hex::decode(hex)?.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::hex::encode(&self.0))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}
