//! Receipts: what a device gets for a batch, and what it can prove by it.
//!
//! One signature of the service covers a group of receipts: the root of a Merkle tree (RFC 6962) whose leaves they are. Each
//! carries its path. The bytes that are hashed are the receipt's RFC 8785 JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::{PublicKey, SubjectKey};
use crate::merkle::{self, Hash};

/// What the signed message of a group begins with.
const GROUP: &[u8] = b"candor/receipts/v1\n";
/// Most bytes of an envelope as it comes in a header.
const MOST_BYTES: usize = 64 << 10;

/// What the JSON of a receipt takes, mostly.
const ABOUT_BYTES: usize = 1 << 10;

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Running number that the device gave it.
    pub batch: u64,
    /// SHA-256 of the body as it was sent, hex.
    pub body: String,
    /// SHA-256 of the catalogue, hex.
    pub catalogue: String,
    /// What the service's log was when the batch was appended: the text of its checkpoint (name, size and root), where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// Sequence of the consent that the device named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<i64>,
    /// The fleet.
    pub fleet: String,
    /// SHA-256 of the policy, hex.
    pub policy: String,
    /// What each purpose was offered and took.
    pub purposes: BTreeMap<String, PurposeReceipt>,
    /// Time of receipt, µs UTC.
    pub received_at: i64,
    /// When every row of it is in a sealed file, µs UTC.
    pub seal_by: i64,
    /// The subject's id, hex.
    pub subject: String,
}

/// What one purpose took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PurposeReceipt {
    /// Running number among the subject's batches that stored rows for this purpose; none if it stored none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// Records that were not stored, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Records in the batch.
    pub offered: u64,
    /// Hash of the stored rows ([`crate::row::hash_of`]), hex; none if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// Records stored.
    pub stored: u64,
}

/// What shows that the service signed a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Place of the receipt in its group.
    pub index: u64,
    /// Receipts in the group.
    pub size: u64,
    /// Hashes beside the way from the receipt up to the root, base64url.
    #[serde(serialize_with = "write_hashes", deserialize_with = "read_hashes")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub path: Vec<Hash>,
    /// The service's receipt key, base64url.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub key: PublicKey,
    /// Its signature over the group, base64url.
    pub signature: String,
}

/// A receipt with its proof: the envelope in which it comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// The proof.
    pub proof: Proof,
}

/// Why a receipt proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// It cannot be read.
    #[error("it is not a receipt in base64url and JSON")]
    Unreadable,
    /// Another key than the one that the device knows signed it.
    #[error("it is signed by another key than the service's that is known")]
    OtherKey,
    /// Its path leads nowhere, or the signature does not hold.
    #[error("its signature does not hold")]
    Signature,
}

impl Receipt {
    /// Its RFC 8785 JSON: the bytes that are hashed.
    ///
    /// # Errors
    /// None in practice: every field is JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        if !self.is_in_order() {
            return serde_json_canonicalizer::to_string(self);
        }
        // Fields stand in the order of their names, which is all that RFC 8785 asks of most receipts.
        let mut json = Vec::with_capacity(ABOUT_BYTES);
        serde_json::to_writer(&mut json, self)?;
        String::from_utf8(json).map_err(serde::de::Error::custom)
    }

    /// Whether it has neither names whose order in UTF-16 could be another one, nor numbers that are no doubles.
    fn is_in_order(&self) -> bool {
        const PAST: u64 = 1 << 53;
        let times = [self.received_at, self.seal_by, self.consent.unwrap_or(0)];
        let purpose = |(name, purpose): (&String, &PurposeReceipt)| {
            let numbers = [purpose.batch.unwrap_or(0), purpose.offered, purpose.stored];
            let dropped = |(reason, count): (&String, &u64)| reason.is_ascii() && *count < PAST;
            name.is_ascii() && numbers.iter().all(|number| *number < PAST) && purpose.dropped.iter().all(dropped)
        };
        let plain = times.iter().all(|time| time.unsigned_abs() < PAST) && self.batch < PAST;
        plain && self.purposes.iter().all(purpose)
    }
}

impl SignedReceipt {
    /// The envelope as a header's value: base64url of its JSON.
    ///
    /// # Errors
    /// None in practice: every field is JSON.
    pub fn to_header(&self) -> Result<String, serde_json::Error> {
        serde_json::to_vec(self).map(|json| URL_SAFE_NO_PAD.encode(json))
    }

    /// The envelope of a header's value.
    ///
    /// # Errors
    /// [`ReceiptError::Unreadable`].
    pub fn from_header(value: &str) -> Result<Self, ReceiptError> {
        let json = Some(value.trim()).filter(|value| value.len() <= MOST_BYTES);
        let json = json.and_then(|value| URL_SAFE_NO_PAD.decode(value).ok()).ok_or(ReceiptError::Unreadable)?;
        serde_json::from_slice(&json).map_err(|_| ReceiptError::Unreadable)
    }

    /// Checks that the service whose key is known signed this receipt.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn verify(&self, known: &PublicKey) -> Result<(), ReceiptError> {
        if self.proof.key != *known {
            return Err(ReceiptError::OtherKey);
        }
        let json = self.receipt.to_json().map_err(|_| ReceiptError::Unreadable)?;
        let leaf = merkle::leaf_hash(json.as_bytes());
        let Proof { index, size, path, signature, .. } = &self.proof;
        let root = merkle::root_of_path(leaf, *index, *size, path).ok_or(ReceiptError::Signature)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| ReceiptError::Signature)?;
        let holds = known.verify(&group_message(*size, &root), &signature);
        if holds { Ok(()) } else { Err(ReceiptError::Signature) }
    }
}

/// Signs a group of receipts, given the hashes of their JSON ([`merkle::leaf_hash`]): a proof for each, in order.
#[must_use]
pub fn sign_group(key: &SubjectKey, leaves: &[Hash]) -> Vec<Proof> {
    let size = leaves.len() as u64;
    let (paths, root) = merkle::paths(leaves);
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&group_message(size, &root)));
    let proof = |(index, path)| Proof { index, size, path, key: key.public(), signature: signature.clone() };
    (0..).zip(paths).map(proof).collect()
}

/// The message that is signed for a group: `"candor/receipts/v1\n" ‖ u64be size ‖ root`.
fn group_message(size: u64, root: &Hash) -> Vec<u8> {
    [GROUP, &size.to_be_bytes(), root].concat()
}

fn write_hashes<S: Serializer>(hashes: &[Hash], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(hashes.iter().map(|hash| URL_SAFE_NO_PAD.encode(hash)))
}

fn read_hashes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hash>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.len() > merkle::MOST_PATH {
        return Err(serde::de::Error::custom("a path is longer than any tree is high"));
    }
    let hash = |text: String| URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    let hashes: Option<Vec<Hash>> = texts.into_iter().map(hash).collect();
    hashes.ok_or_else(|| serde::de::Error::custom("a hash is 43 characters of base64url"))
}
