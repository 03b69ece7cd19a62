//! What an auditor signs about the files that he recomputed, and who believes him.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::line::{Check, Lines};
use super::log::Log;
use crate::counted::counted;
use crate::identity::SubjectKey;
use crate::log::entry::Sha256Hex;
use crate::log::note::{Algorithm, VerifierKey, VerifierKeyError};

/// What the signed message begins with.
const MESSAGE: &str = "candor/audit/v1\n";
/// Most bytes of a signed statement: 150,000 files.
const MOST_BYTES: usize = 10 << 20;

/// What an auditor says: these files were recomputed, and are as the log has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditStatement {
    /// `audit`.
    pub kind: AuditKind,
    /// Name of the auditor, as in his key.
    pub auditor: String,
    /// Name of the log.
    pub log: String,
    /// Entries of the log that he read.
    pub size: u64,
    /// Its root then.
    pub root: Sha256Hex,
    /// SHA-256 of each file that he recomputed, ascending.
    pub files: Vec<Sha256Hex>,
    /// When, µs UTC.
    pub at: i64,
}

/// There is one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditKind {
    /// The only one.
    Audit,
}

/// A statement with the auditor's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedAudit {
    /// What is signed.
    pub statement: AuditStatement,
    /// Ed25519 over `candor/audit/v1`, LF and the RFC 8785 JSON of the statement, base64url.
    pub signature: String,
}

/// Why a statement says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// It cannot be read.
    #[error("it is not a statement of an auditor, or not written as RFC 8785 says")]
    Unreadable,
    /// Its files are not in order.
    #[error("its files are not in ascending order, each once")]
    Order,
    /// Nobody who is known signed it.
    #[error("no auditor who is known signed it")]
    Unknown,
    /// The key has a name that cannot be one.
    #[error(transparent)]
    Key(#[from] VerifierKeyError),
}

impl AuditStatement {
    /// The statement signed, as it is written to a file.
    ///
    /// # Errors
    /// [`AuditError::Order`].
    pub fn sign(self, key: &SubjectKey) -> Result<SignedAudit, AuditError> {
        let signature = URL_SAFE_NO_PAD.encode(key.sign(self.message()?.as_bytes()));
        Ok(SignedAudit { statement: self, signature })
    }

    /// The key by which others know an auditor.
    ///
    /// # Errors
    /// If the name cannot be one.
    pub fn verifier(auditor: &str, key: &SubjectKey) -> Result<VerifierKey, AuditError> {
        Ok(VerifierKey::new(auditor, Algorithm::Ed25519, key.public())?)
    }

    fn message(&self) -> Result<String, AuditError> {
        if !self.files.is_sorted_by(|one, two| one < two) {
            return Err(AuditError::Order);
        }
        let json = serde_json_canonicalizer::to_string(self).map_err(|_| AuditError::Unreadable)?;
        Ok(format!("{MESSAGE}{json}"))
    }
}

impl SignedAudit {
    /// Its bytes: RFC 8785 JSON.
    ///
    /// # Errors
    /// None in practice: every field is JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, AuditError> {
        serde_json_canonicalizer::to_vec(self).map_err(|_| AuditError::Unreadable)
    }

    /// Reads a statement; whose it is says [`SignedAudit::verify`].
    ///
    /// # Errors
    /// [`AuditError::Unreadable`].
    pub fn from_json(json: &[u8]) -> Result<Self, AuditError> {
        if json.len() > MOST_BYTES {
            return Err(AuditError::Unreadable);
        }
        let audit: Self = serde_json::from_slice(json).map_err(|_| AuditError::Unreadable)?;
        if audit.to_json()? == json.strip_suffix(b"\n").unwrap_or(json) {
            Ok(audit)
        } else {
            Err(AuditError::Unreadable)
        }
    }

    /// Checks that an auditor who is known signed it.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn verify(&self, known: &[VerifierKey]) -> Result<(), AuditError> {
        let message = self.statement.message()?;
        let signature = URL_SAFE_NO_PAD.decode(&self.signature).map_err(|_| AuditError::Unreadable)?;
        let mut named = known.iter().filter(|key| key.name() == self.statement.auditor);
        let holds = named.any(|key| key.signed(message.as_bytes(), &signature));
        if holds { Ok(()) } else { Err(AuditError::Unknown) }
    }
}

/// Entries whose files an auditor whom the checker knows recomputed: of those that were live when he read the log. Of a later entry
/// he has said nothing, also where it names the same bytes: its root is another's word.
pub(super) fn check(evidence: &Evidence, log: &Log, lines: &mut Lines) -> BTreeSet<u64> {
    let mut audited = BTreeSet::new();
    for json in &evidence.audits {
        let audit = match SignedAudit::from_json(json) {
            Ok(audit) => audit,
            Err(why) => {
                lines.failed(Check::Auditor, None, why.to_string());
                continue;
            }
        };
        let statement = &audit.statement;
        let about = Some(statement.auditor.clone());
        if let Err(why) = audit.verify(&evidence.trust.auditors) {
            lines.failed(Check::Auditor, about, why.to_string());
        } else if statement.log != log.checkpoint.origin {
            lines.failed(Check::Auditor, about, "it is about another log");
        } else if let Some(why) = log.differs(statement.size, &statement.root.0) {
            lines.failed(Check::Auditor, about, format!("of the log that he saw: {why}"));
        } else {
            let (files, entries) = (counted(statement.files.len(), "file"), counted(statement.size, "entry"));
            lines.proved(Check::Auditor, about, format!("{files}, {entries}"));
            if let Some(live) = log.live_at(statement.size) {
                let read = |file: &Sha256Hex| statement.files.binary_search(file).is_ok();
                audited.extend(live.live().filter(|(_, sealed)| read(&sealed.file)).map(|(entry, _)| entry));
            }
        }
    }
    audited
}
