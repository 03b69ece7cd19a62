//! What was gathered to be checked: as it came, so that a bundle holds the same bytes that a check reads.

use std::collections::{BTreeMap, BTreeSet};

use candor_policy::subject::LedgerId;
use candor_wire::identity::PublicKey;
use candor_wire::log::note::VerifierKey;
use candor_wire::merkle::Hash;
use candor_wire::receipt::SignedReceipt;
use candor_wire::statement::{SignedStatement, Statement};
use candor_wire::totals::Opened;
use candor_wire::verify::{AlsoKept, Answer, Check, Evidence, ReceiptEvidence, SubjectEvidence, Trust, Unanswered};

/// Everything that somebody was told.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// When it was asked for, µs UTC.
    pub(super) asked_at: i64,
    /// Keys of the log, as the service shows them.
    pub(super) log: Vec<String>,
    /// The checkpoint that a service showed before anything else was asked, a note.
    pub(super) before: Option<Vec<u8>>,
    /// What was kept of the log by then: the newest checkpoint, a note, and whatever else.
    pub(super) kept: Option<(Option<Vec<u8>>, Vec<AlsoKept>)>,
    /// The checkpoint, a note.
    pub(super) checkpoint: Option<Vec<u8>>,
    /// The entries under it.
    pub(super) entries: Option<Vec<Vec<u8>>>,
    /// Policies and catalogues.
    pub(super) documents: BTreeMap<Hash, Vec<u8>>,
    /// Statements of auditors.
    pub(super) audits: Vec<Vec<u8>>,
    /// What opens small cells of totals.
    pub(super) opened: Vec<Opened>,
    /// Certificates of erasure.
    pub(super) certificates: Vec<Vec<u8>>,
    /// Ids of whoever asks.
    pub(super) holders: Vec<LedgerId>,
    /// Who it is about.
    pub(super) subjects: Vec<Told>,
    /// Of whom a device kept something, and nothing was told.
    pub(super) unanswered: Vec<Unanswered>,
}

/// What was told of one subject.
#[derive(Debug)]
pub(super) struct Told {
    /// What files of a bundle are called.
    pub(super) name: String,
    /// Epoch of the device.
    pub(super) epoch: Option<u64>,
    /// Its key, where it signs.
    pub(super) key: Option<PublicKey>,
    /// The answer, as it came.
    pub(super) answer: Vec<u8>,
    /// Receipts, a line each.
    pub(super) receipts: Vec<u8>,
    /// Receipts that the device kept, a line each.
    pub(super) kept: Option<Vec<u8>>,
    /// Statements that the device made, a line each.
    pub(super) said: Option<Vec<u8>>,
}

/// What whoever checks brings along.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Keys of the log that were given.
    pub(super) log: Vec<VerifierKey>,
    /// Keys of witnesses.
    pub(super) witnesses: Vec<VerifierKey>,
    /// Keys of auditors.
    pub(super) auditors: Vec<VerifierKey>,
    /// The checkpoint that was kept of this log.
    pub(super) kept: Option<Vec<u8>>,
    /// Others that were kept of it, or of its name.
    pub(super) also_kept: Vec<AlsoKept>,
    /// What only the bundle itself says.
    pub(super) by_bundle: Vec<Check>,
}

impl Gathered {
    /// Keys of the log that can be read as such.
    pub(super) fn shown_keys(&self) -> Vec<VerifierKey> {
        self.log.iter().filter_map(|key| key.parse().ok()).collect()
    }

    /// The evidence that it is; what in it cannot be read is said.
    pub(super) fn into_evidence(self, known: Known) -> Result<Evidence, String> {
        let shown = self.shown_keys();
        let is_pinned = !known.log.is_empty();
        let trust = Trust {
            log: if is_pinned { known.log } else { shown },
            is_pinned,
            kept: known.kept,
            also_kept: known.also_kept,
            witnesses: known.witnesses,
            auditors: known.auditors,
            receipts: None,
            by_bundle: known.by_bundle,
        };
        let subjects = self.subjects.into_iter().map(Told::into_evidence).collect::<Result<_, _>>()?;
        Ok(Evidence {
            asked_at: self.asked_at,
            trust,
            before: self.before,
            checkpoint: self.checkpoint,
            entries: self.entries,
            documents: self.documents,
            audits: self.audits,
            opened: self.opened,
            certificates: self.certificates,
            holders: self.holders,
            subjects,
            unanswered: self.unanswered,
        })
    }
}

impl Told {
    fn into_evidence(self) -> Result<SubjectEvidence, String> {
        let name = self.name;
        let answer: Answer =
            serde_json::from_slice(&self.answer).map_err(|why| format!("the answer {name} {}", senseless(&why)))?;
        let receipts = lines(&self.receipts).map_err(|why| format!("the receipts {name}: {why}"))?;
        let kept = self.kept.as_deref().map(lines).transpose();
        let kept = kept.map_err(|why| format!("the receipts that were kept of {name}: {why}"))?;
        let kept: Option<Vec<SignedReceipt>> = kept.map(|kept| kept.iter().map(ReceiptEvidence::signed).collect());
        let said = self.said.as_deref().map(statements).transpose();
        let said = said.map_err(|why| format!("the statements that were made by {name}: {why}"))?;
        Ok(SubjectEvidence {
            epoch: self.epoch,
            key: self.key,
            answer,
            receipts,
            kept_receipts: kept,
            kept_statements: said,
        })
    }
}

/// The place alone: serde's text may quote what it read, which may be a value of an event.
pub(super) fn senseless(why: &serde_json::Error) -> String {
    format!("ends to make sense at line {}, column {}", why.line(), why.column())
}

/// Receipts as JSON Lines.
pub(super) fn to_lines(receipts: &[ReceiptEvidence]) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    for receipt in receipts {
        serde_json::to_writer(&mut bytes, receipt)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Receipts of JSON Lines: our own, or the journal of a device, whose lines without a receipt are passed over.
fn lines(bytes: &[u8]) -> Result<Vec<ReceiptEvidence>, String> {
    let mut receipts = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let read: serde_json::Value =
            serde_json::from_slice(line).map_err(|why| format!("line {}: it {}", number + 1, senseless(&why)))?;
        if read.get("receipt").is_none_or(serde_json::Value::is_null) {
            continue;
        }
        receipts.push(serde_json::from_value(read).map_err(|_| format!("line {} is no receipt", number + 1))?);
    }
    Ok(receipts)
}

/// Signed statements as JSON Lines.
pub(super) fn statements_to_lines(statements: &[&SignedStatement]) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    for statement in statements {
        serde_json::to_writer(&mut bytes, statement)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Statements of JSON Lines, each signed by its key. When the service received them, the device does not know.
fn statements(bytes: &[u8]) -> Result<Vec<Statement>, String> {
    let mut statements = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let failed = |why: &dyn std::fmt::Display| format!("line {} is no statement: {why}", number + 1);
        let signed: SignedStatement =
            serde_json::from_slice(line).map_err(|why| failed(&format!("it {}", senseless(&why))))?;
        signed.check().map_err(|why| failed(&why))?;
        statements.push(Statement::from_signed(signed, 0, "device").map_err(|why| failed(&why))?);
    }
    Ok(statements)
}

/// How many receipts a journal has of each subject.
pub(super) fn count_by_subject(journal: &[u8]) -> Result<BTreeMap<String, usize>, String> {
    let mut counts = BTreeMap::new();
    for line in lines(journal)? {
        *counts.entry(line.receipt.subject).or_default() += 1;
    }
    Ok(counts)
}

/// Lines of a device's journal, or of `agent receipts list`, that are about a subject.
pub(super) fn lines_of(journal: &[u8], subject: &str) -> Result<Vec<u8>, String> {
    let receipts: Vec<ReceiptEvidence> =
        lines(journal)?.into_iter().filter(|line| line.receipt.subject == subject).collect();
    to_lines(&receipts).map_err(|why| why.to_string())
}

/// The documents that the entries of a log name.
pub(super) fn documents_of(entries: &[Vec<u8>]) -> BTreeSet<(bool, Hash)> {
    use candor_wire::log::entry::Entry;
    let named = entries.iter().filter_map(|bytes| match Entry::decode(bytes).ok()? {
        Entry::Policy(document) => Some((false, document.digest.0)),
        Entry::Catalogue(document) => Some((true, document.digest.0)),
        _ => None,
    });
    named.collect()
}
