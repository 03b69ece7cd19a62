//! What `GET /v1/subject` answers and what receipts come with, as whoever checks reads it. Members that are not here are for people.

use candor_policy::hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::log::entry::Sha256Hex;
use crate::merkle::Hash;
use crate::receipt::{Proof, Receipt, SignedReceipt};
use crate::statement::Statement;
use crate::sum_tree::SumPath;

/// What a service says of a subject.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Id in the ledger, hex.
    pub subject: String,
    /// Ids that tables are derived from, one for each key generation.
    #[serde(default)]
    pub ids: Vec<Sha256Hex>,
    /// Time of the service, µs UTC.
    #[serde(default)]
    pub time: i64,
    /// Statements, oldest first.
    #[serde(default)]
    pub statements: Vec<Statement>,
    /// Where they are in the log.
    #[serde(default)]
    pub consents: Vec<StatementEvidence>,
    /// Numbers of batches, of one that signs.
    #[serde(default)]
    pub batches: Option<Batches>,
    /// Rows, sealed or not.
    #[serde(default)]
    pub rows: Vec<Row>,
    /// The checkpoint that the proofs are under, as a note; none where there is no log.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// A proof for each live file of each table.
    #[serde(default)]
    pub files: Vec<FileEvidence>,
}

/// Which of a subject's batches the service has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Batches {
    /// One more than the highest number.
    pub next: u64,
    /// Numbers below it that were not seen.
    #[serde(default)]
    pub missing: Vec<u64>,
}

/// A row that is held.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// Purpose.
    pub purpose: String,
    /// Stream.
    pub stream: String,
    /// Which of the subject's ids it is under, where there are several.
    #[serde(default)]
    pub id: usize,
    /// Event.
    pub event: String,
    /// Date of receipt.
    pub received_date: String,
    /// The file, from the data folder; none while it is in none.
    #[serde(default)]
    pub file: Option<String>,
    /// Number among the batches that stored rows for the purpose.
    #[serde(default)]
    pub batch: Option<i64>,
    /// Sequence of the statement that it was stored under.
    #[serde(default)]
    pub consent_seq: Option<i64>,
    /// Digest of the policy.
    pub policy: String,
    /// Digest of the catalogue.
    #[serde(default)]
    pub catalogue: Option<String>,
    /// Field by field, for people.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Canonical encoding, base64url: what counts.
    pub row: String,
}

/// A value, and what let it through.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Field {
    /// Column.
    pub column: String,
    /// Value.
    pub value: Value,
    /// Id of the rule.
    pub rule: String,
    /// Operator with its parameters.
    pub operator: String,
}

/// What one file has of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FileEvidence {
    /// Number of the file's `sealed` entry in the log.
    pub entry: u64,
    /// Which of the subject's ids it is about, where there are several.
    #[serde(default, skip_serializing_if = "is_first")]
    pub id: usize,
    /// [`crate::leaf::FileProof`], base64url.
    pub proof: String,
    /// The key of the subject's leaf, base64url, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
}

/// Where a statement is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StatementEvidence {
    /// Hash of the statement, hex.
    pub statement: Sha256Hex,
    /// Epoch of the log.
    pub epoch: u64,
    /// What hides it in the tree, hex.
    #[serde(with = "bytes")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub nonce: Vec<u8>,
    /// Place of its leaf.
    pub index: u64,
    /// Hashes beside the way up, hex.
    pub path: Vec<Sha256Hex>,
}

/// A receipt, and where its counts are in the log. A line of a device's journal reads as one too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptEvidence {
    /// The receipt.
    pub receipt: Receipt,
    /// What shows that the service signed it.
    pub proof: Proof,
    /// Where it is in the totals of an epoch, once that is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<std::collections::BTreeMap<String, Value>>"))]
    pub totals: Option<InEpoch>,
}

/// A way up the sum tree over an epoch's receipts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InEpoch {
    /// Epoch of the log.
    pub epoch: u64,
    /// The way.
    pub path: SumPath,
}

impl ReceiptEvidence {
    /// The envelope alone.
    #[must_use]
    pub fn signed(&self) -> SignedReceipt {
        SignedReceipt { receipt: self.receipt.clone(), proof: self.proof.clone() }
    }
}

impl From<SignedReceipt> for ReceiptEvidence {
    fn from(SignedReceipt { receipt, proof }: SignedReceipt) -> Self {
        Self { receipt, proof, totals: None }
    }
}

impl StatementEvidence {
    pub(super) fn hashes(&self) -> Vec<Hash> {
        self.path.iter().map(|hash| hash.0).collect()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_first(id: &usize) -> bool {
    *id == 0
}

/// Bytes as hex.
mod bytes {
    use super::{Deserialize, Deserializer, Serializer, hex};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(&text).ok_or_else(|| serde::de::Error::custom("a nonce is lower-case hex digits"))
    }
}
