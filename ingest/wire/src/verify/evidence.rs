//! What there is to check, and what is trusted beforehand.

use std::collections::BTreeMap;

use candor_policy::subject::{LedgerId, SubjectId};

use crate::identity::PublicKey;
use crate::log::note::VerifierKey;
use crate::merkle::Hash;
use crate::receipt::SignedReceipt;
use crate::statement::Statement;
use crate::totals::Opened;

use super::answer::{Answer, ReceiptEvidence};
use super::line::Check;

/// Everything that was gathered.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// When it was asked for, by the clock of whoever asked, µs UTC.
    pub asked_at: i64,
    /// What is known beforehand.
    pub trust: Trust,
    /// The checkpoint that the log had before anything was asked, as a note; none where nobody looked, as of a bundle.
    pub before: Option<Vec<u8>>,
    /// The checkpoint, as a signed note.
    pub checkpoint: Option<Vec<u8>>,
    /// The entries of the log, as many as the checkpoint says.
    pub entries: Option<Vec<Vec<u8>>>,
    /// Policies and catalogues by the digest that they are asked for by.
    pub documents: BTreeMap<Hash, Vec<u8>>,
    /// What auditors signed, as JSON.
    pub audits: Vec<Vec<u8>>,
    /// What opens the small cells of epochs, for auditors.
    pub opened: Vec<Opened>,
    /// Certificates of erasure, as JSON.
    pub certificates: Vec<Vec<u8>>,
    /// Ids of whoever checks, of whom the service may know nothing any more.
    pub holders: Vec<LedgerId>,
    /// Whom it is about; nobody where the log alone is checked.
    pub subjects: Vec<SubjectEvidence>,
    /// Of whom a device kept something, and the service shows nothing.
    pub unanswered: Vec<Unanswered>,
}

/// What whoever checks knows beforehand.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Keys of the log; the first names it.
    pub log: Vec<VerifierKey>,
    /// Whether they are known from elsewhere than the service.
    pub is_pinned: bool,
    /// The checkpoint that was kept, as a note.
    pub kept: Option<Vec<u8>>,
    /// Others that were kept of a log of this name: under each of its keys, and under keys that are not known.
    pub also_kept: Vec<AlsoKept>,
    /// Keys of witnesses.
    pub witnesses: Vec<VerifierKey>,
    /// Keys of auditors.
    pub auditors: Vec<VerifierKey>,
    /// The key of receipts that a device keeps.
    pub receipts: Option<PublicKey>,
    /// Checks for which only the bundle itself has what its answers are held against: nothing is proved by that.
    pub by_bundle: Vec<Check>,
}

/// A checkpoint that was kept under another key than the newest that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlsoKept {
    /// As a note.
    pub note: Vec<u8>,
    /// SHA-256 of the text of the verifier key that it was kept under.
    pub key: Hash,
    /// Whose it is.
    pub of: KeptOf,
}

/// What a checkpoint that was kept is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptOf {
    /// This log: its key is known as one of this log's.
    ThisLog,
    /// A log of this name, and nobody but the service says that it has another key now.
    ThisName,
    /// A log of this name, where whoever checks knows the log's keys otherwise: it may be another.
    PerhapsAnother,
}

/// What is said of one subject.
#[derive(Clone, Debug)]
pub struct SubjectEvidence {
    /// Epoch of the device, where it is one that signs.
    pub epoch: Option<u64>,
    /// The subject's own key, where it signs: known from its identity.
    pub key: Option<PublicKey>,
    /// What the service answered.
    pub answer: Answer,
    /// Receipts as the service has them, or as the device kept them.
    pub receipts: Vec<ReceiptEvidence>,
    /// Receipts that the device kept; none where there is no device at hand.
    pub kept_receipts: Option<Vec<SignedReceipt>>,
    /// Statements that the device kept.
    pub kept_statements: Option<Vec<Statement>>,
}

/// What a device kept of a subject that the service says nothing of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Its id in the ledger.
    pub ledger: LedgerId,
    /// Receipts of it.
    pub receipts: usize,
    /// Statements of it that the service took.
    pub statements: usize,
}

impl SubjectEvidence {
    /// The ids that tables are derived from: the hash of its key, or what the service says they are.
    pub(super) fn ids(&self) -> Vec<SubjectId> {
        match &self.key {
            Some(key) => vec![key.subject_id()],
            None => self.answer.ids.iter().map(|id| SubjectId::from_bytes(id.0)).collect(),
        }
    }

    /// Its id in the ledger.
    pub(super) fn ledger_id(&self) -> Option<LedgerId> {
        match &self.key {
            Some(key) => Some(LedgerId::of_certified(&key.subject_id())),
            None => Some(LedgerId::from_bytes(candor_policy::hex::decode(&self.answer.subject)?.try_into().ok()?)),
        }
    }

    /// What lines call it.
    pub(super) fn name(&self) -> Option<String> {
        self.epoch.map(|epoch| format!("epoch {epoch}"))
    }
}
