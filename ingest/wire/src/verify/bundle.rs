//! The manifest of a bundle: every file of it by its digest, and a digest of the manifest itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::documents::digest_of;
use crate::identity::PublicKey;
use crate::log::entry::Sha256Hex;

/// Name of the manifest's file.
pub const MANIFEST: &str = "bundle.json";
/// Most bytes of a manifest: 50,000 files.
pub const MOST_MANIFEST_BYTES: usize = 8 << 20;

/// What a bundle has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `bundle`.
    pub kind: BundleKind,
    /// 1.
    pub version: u32,
    /// When it was asked for, by the clock of whoever asked, µs UTC.
    pub asked_at: i64,
    /// Keys of the log that the service showed, newest first.
    pub log: Vec<String>,
    /// Whom it is about.
    pub subjects: Vec<BundleSubject>,
    /// Path in the bundle → SHA-256.
    pub files: BTreeMap<String, Sha256Hex>,
    /// SHA-256 of the RFC 8785 JSON of the rest.
    pub digest: Sha256Hex,
}

/// A subject of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleSubject {
    /// What its files are called: `answers/NAME.json`, `receipts/NAME.jsonl`.
    pub name: String,
    /// Epoch of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Its key, base64url, where it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
}

/// There is one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BundleKind {
    /// The only one.
    Bundle,
}

/// Why there is no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("it is not the manifest of a bundle, or not written as RFC 8785 says")]
    Unreadable,
    /// Something in it was changed.
    #[error("it is not the manifest that was written: its digest is another")]
    Digest,
    /// A file of it would lie elsewhere.
    #[error("it names a file outside the bundle")]
    Path,
    /// A file is another than it names, or it does not name it.
    #[error("it is not as it was written")]
    File,
}

impl Manifest {
    /// A manifest with its digest.
    ///
    /// # Errors
    /// [`ManifestError::Path`].
    pub fn new(
        asked_at: i64,
        log: Vec<String>,
        subjects: Vec<BundleSubject>,
        files: BTreeMap<String, Sha256Hex>,
    ) -> Result<Self, ManifestError> {
        let kind = BundleKind::Bundle;
        let mut manifest = Self { kind, version: 1, asked_at, log, subjects, files, digest: Sha256Hex([0; 32]) };
        manifest.digest = manifest.digest_of_rest()?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Its bytes: RFC 8785 JSON.
    ///
    /// # Errors
    /// None in practice: every field is JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, ManifestError> {
        serde_json_canonicalizer::to_vec(self).map_err(|_| ManifestError::Unreadable)
    }

    /// Reads a manifest: exactly what [`Manifest::to_json`] writes.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        if json.len() > MOST_MANIFEST_BYTES {
            return Err(ManifestError::Unreadable);
        }
        let manifest: Self = serde_json::from_slice(json).map_err(|_| ManifestError::Unreadable)?;
        if manifest.to_json()? != json || manifest.version != 1 {
            return Err(ManifestError::Unreadable);
        }
        if manifest.digest_of_rest()? != manifest.digest {
            return Err(ManifestError::Digest);
        }
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether a file of the bundle is as it was written.
    ///
    /// # Errors
    /// [`ManifestError::File`].
    pub fn check_file(&self, path: &str, bytes: &[u8]) -> Result<(), ManifestError> {
        let is_it = self.files.get(path).is_some_and(|digest| digest.0 == digest_of(bytes));
        if is_it { Ok(()) } else { Err(ManifestError::File) }
    }

    fn check(&self) -> Result<(), ManifestError> {
        let is_name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
        };
        let are_paths = self.files.keys().all(|path| path != MANIFEST && path.split('/').all(is_name));
        let are_names = self.subjects.iter().all(|subject| is_name(&subject.name));
        if are_paths && are_names { Ok(()) } else { Err(ManifestError::Path) }
    }

    fn digest_of_rest(&self) -> Result<Sha256Hex, ManifestError> {
        let mut document = serde_json::to_value(self).map_err(|_| ManifestError::Unreadable)?;
        if let Some(members) = document.as_object_mut() {
            members.remove("digest");
        }
        let json = serde_json_canonicalizer::to_vec(&document).map_err(|_| ManifestError::Unreadable)?;
        Ok(Sha256Hex(Sha256::digest(json).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let key = crate::identity::SubjectKey::of_seed(&[1; 32]).public();
        let subjects = vec![BundleSubject { name: "0".to_owned(), epoch: Some(0), key: Some(key) }];
        let files = [("answers/0.json".to_owned(), Sha256Hex([1; 32])), ("checkpoint".to_owned(), Sha256Hex([2; 32]))];
        Manifest::new(1_795_377_600_000_000, vec!["log".to_owned()], subjects, files.into()).unwrap()
    }

    #[test]
    fn every_byte_of_a_manifest_counts() {
        let json = manifest().to_json().unwrap();
        assert_eq!(Manifest::from_json(&json), Ok(manifest()));
        for (at, flip) in (0..json.len()).flat_map(|at| (1..=255_u8).map(move |flip| (at, flip))) {
            let mut other = json.clone();
            other[at] ^= flip;
            assert!(Manifest::from_json(&other).is_err(), "{at} {flip}");
        }
        for end in 0..json.len() {
            assert!(Manifest::from_json(&json[..end]).is_err());
        }
    }

    #[test]
    fn nothing_in_it_lies_outside() {
        for path in ["../x", "/x", "a//b", "a/../b", "", "bundle.json", ".hidden", "a/", "a\\b", "a b"] {
            let files = [(path.to_owned(), Sha256Hex([1; 32]))].into();
            assert_eq!(Manifest::new(1, Vec::new(), Vec::new(), files), Err(ManifestError::Path), "{path:?}");
        }
    }
}
