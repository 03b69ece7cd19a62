//! What a service says of a subject, as a device reads it: `GET /v1/subject`.

use candor_wire::identity::PublicKey;
use candor_wire::statement::{SignedStatement, Statement};
use serde::Deserialize;

use crate::error::Error;

/// `GET /v1/subject`. Members that are not here are for people.
#[derive(Debug, Deserialize)]
pub(crate) struct SubjectAnswer {
    #[serde(default)]
    pub statements: Vec<Statement>,
    #[serde(default)]
    pub rows: Vec<RowAnswer>,
    /// The log's, a signed note.
    #[serde(default)]
    pub checkpoint: Option<String>,
}

/// One row that is stored.
#[derive(Debug, Deserialize)]
pub(crate) struct RowAnswer {
    pub purpose: String,
    pub stream: String,
    /// Number among the subject's batches that stored rows for the purpose.
    #[serde(default)]
    pub batch: Option<u64>,
    /// The sealed file that it is in; none for a row that is not sealed yet.
    #[serde(default)]
    pub file: Option<String>,
    /// Canonical encoding, base64url.
    pub row: String,
}

impl SubjectAnswer {
    /// The statements as they were signed, oldest first; each is checked against the key.
    pub(crate) fn signed_by(&self, key: &PublicKey) -> Result<Vec<SignedStatement>, Error> {
        let own = self.statements.iter().map(|statement| {
            let signed = statement.to_signed().filter(|signed| signed.key == *key && signed.check().is_ok());
            signed.ok_or(Error::Answer("a history that this device's owner signed"))
        });
        own.collect()
    }
}
