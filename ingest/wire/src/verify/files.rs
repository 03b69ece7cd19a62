//! Proofs file by file: each live file of each table has these rows of the subject, or none.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use candor_policy::subject::SubjectId;

use super::answer::{FileEvidence, Row};
use super::evidence::{Evidence, SubjectEvidence};
use super::line::{Assumption, Check, Line, Lines, Verdict};
use super::log::{Log, seen_checkpoint, size_of};
use super::rows::{ReadRow, content};
use crate::counted::{counted, counted_and};
use crate::leaf::FileProof;
use crate::log::checkpoint::SignedCheckpoint;
use crate::log::entry::Sealed;
use crate::log::live::LiveFiles;
use crate::merkle::Hash;

/// Most proofs that an answer has for each live file: a subject has an id for each key generation.
const MOST_IDS: usize = 64;

/// An answer with its rows read.
pub(super) struct View<'a> {
    pub(super) subject: &'a SubjectEvidence,
    pub(super) ids: Vec<SubjectId>,
    /// Rows that can be read, in their order.
    pub(super) rows: Vec<ReadRow<'a>>,
    unreadable: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(subject: &'a SubjectEvidence) -> Self {
        let rows: Vec<ReadRow<'a>> = subject.answer.rows.iter().filter_map(ReadRow::read).collect();
        let unreadable = subject.answer.rows.len() - rows.len();
        Self { subject, ids: subject.ids(), rows, unreadable }
    }

    /// What lines are about: a part of this subject's answer.
    #[expect(clippy::unnecessary_wraps, reason = "lines may be about nothing in particular")]
    pub(super) fn about(&self, part: impl Into<String>) -> Option<String> {
        let part = part.into();
        Some(self.subject.name().map_or_else(|| part.clone(), |name| format!("{name}, {part}")))
    }

    /// The file of a row, as the log names it: table and path.
    pub(super) fn place(row: &Row) -> Option<(String, &str)> {
        let table = format!("{}/{}", row.purpose, row.stream);
        let path = row.file.as_deref()?.strip_prefix("tables/")?.strip_prefix(table.as_str())?.strip_prefix('/')?;
        Some((table, path))
    }
}

/// A proof for each live file, and each row in a file that is proved.
pub(super) fn check(evidence: &Evidence, view: &View<'_>, log: &Log, audited: &BTreeSet<u64>, lines: &mut Lines) {
    check_ids(view, lines);
    if view.ids.len() > MOST_IDS {
        // Each of them would want a proof for each file.
        return lines.failed(Check::Files, view.subject.name(), "the answer is about more ids than a subject has");
    }
    let Some(live) = under(evidence, view, log, lines) else { return };
    let mut proofs: BTreeMap<(u64, usize), &FileEvidence> = BTreeMap::new();
    for file in &view.subject.answer.files {
        let about = || view.about(format!("entry {}", file.entry));
        if live.live_file(file.entry).is_none() {
            lines.failed(Check::Files, about(), "it has a proof for a file that is not live");
        } else if file.id >= view.ids.len() || proofs.insert((file.entry, file.id), file).is_some() {
            lines.failed(Check::Files, about(), "it has two proofs for one file, or one about nobody");
        }
    }
    let rows = rows_by_file(view, &live, lines);
    let (mut files, mut missing) = (0, false);
    for (entry, sealed) in live.live() {
        files += 1;
        for id in 0..view.ids.len() {
            let rows = rows.get(&(entry, id)).map_or(&[][..], Vec::as_slice);
            let about = view.about(format!("{} {} (entry {entry})", sealed.table, sealed.path));
            match proofs.get(&(entry, id)) {
                None => {
                    missing = true;
                    lines.failed(Check::Files, about, "the answer has no proof for this file");
                }
                Some(file) => match check_file(view, id, sealed, file, rows) {
                    Err(why) => lines.failed(Check::File, about, why),
                    Ok(()) => lines.push(shown(about, rows.len(), audited.contains(&entry))),
                },
            }
        }
    }
    if !missing && !view.ids.is_empty() {
        lines.proved(Check::Files, view.subject.name(), format!("{files} live files"));
    }
}

fn shown(about: Option<String>, rows: usize, is_audited: bool) -> Line {
    let (verdict, assumption) = if is_audited {
        (Verdict::Proved, None)
    } else {
        (Verdict::ProvedIfRecomputed, Some(Assumption::FileRecomputed))
    };
    let why = match rows {
        0 => "no row of the subject".to_owned(),
        n => counted(n, "row of the subject"),
    };
    Line { check: Check::File, about, verdict, assumption, why: Some(why) }
}

/// One that signs is its key; which ids another has is only known to the key ring.
fn check_ids(view: &View<'_>, lines: &mut Lines) {
    let name = view.subject.name();
    let answer = &view.subject.answer;
    match &view.subject.key {
        Some(key) if answer.subject == candor_policy::hex::encode(key.subject_id().as_bytes()) => {
            lines.proved(Check::Ids, name, "the id is the hash of its own key");
        }
        Some(_) => lines.failed(Check::Ids, name, "the answer is about another subject"),
        None if view.ids.is_empty() => {
            lines.unchecked(Check::Ids, name, "the answer does not say which ids it is about");
        }
        None => lines.not_provable(Check::Ids, name, Assumption::IdsFromService),
    }
}

/// What is live under the checkpoint of the answer, if that is one of this log and not older than what the receipts saw.
fn under<'a>(evidence: &Evidence, view: &View<'_>, log: &'a Log, lines: &mut Lines) -> Option<Cow<'a, LiveFiles>> {
    let name = || view.subject.name();
    let Some(note) = &view.subject.answer.checkpoint else {
        lines.unchecked(Check::Files, name(), "the answer has no proofs: the service keeps no log");
        return None;
    };
    let signed = match SignedCheckpoint::open(note.as_bytes(), &evidence.trust.log, &[]) {
        Ok(signed) => signed.checkpoint,
        Err(why) => {
            lines.failed(Check::Files, name(), format!("the checkpoint of the answer: {why}"));
            return None;
        }
    };
    if let Some(why) = log.differs(signed.size, &signed.root) {
        lines.failed(Check::Files, name(), format!("of the log that the answer is under: {why}"));
        return None;
    }
    // Of receipts that came in after the answer was made, the service may name a newer one.
    let next = view.subject.answer.batches.as_ref().map_or(0, |batches| batches.next);
    let receipts = view.subject.receipts.iter().map(|given| &given.receipt).filter(|receipt| receipt.batch < next);
    let kept = view.subject.kept_receipts.iter().flatten().map(|signed| &signed.receipt);
    let seen =
        receipts.chain(kept).filter_map(|receipt| seen_checkpoint(receipt.checkpoint.as_deref()?, &signed.origin));
    if seen.map(|(size, _)| size).max() > Some(signed.size) {
        lines.failed(Check::Files, name(), "the answer is under an older checkpoint than a receipt has");
        return None;
    }
    // What was kept was kept before it was asked, if it was asked now: a bundle may be older than that, and whole.
    let kept = evidence.trust.kept.as_ref().filter(|_| evidence.before.is_some());
    if evidence.before.iter().chain(kept).filter_map(|note| size_of(note)).max() > Some(signed.size) {
        lines.failed(
            Check::Files,
            name(),
            "the answer is under an older checkpoint than the log had when it was asked",
        );
        return None;
    }
    let changes = log.changes_from(signed.size);
    if changes > 0 {
        lines.not_provable(Check::Files, view.about(counted(changes, "entry")), Assumption::AnswerIsOlder);
    }
    log.live_at(signed.size)
}

/// The rows that are in a file, by entry and id; those in a file that is not live are a fault.
fn rows_by_file<'a, 'b>(
    view: &'b View<'a>,
    live: &LiveFiles,
    lines: &mut Lines,
) -> BTreeMap<(u64, usize), Vec<&'b ReadRow<'a>>> {
    let mut rows: BTreeMap<(u64, usize), Vec<&ReadRow<'_>>> = BTreeMap::new();
    if view.unreadable > 0 {
        let why = format!("{} not in canonical encoding", counted_and(view.unreadable, "row", "is", "are"));
        lines.failed(Check::Rows, view.subject.name(), why);
    }
    // No proof is about such a row: it would count for its receipt, and be in no file and of nobody.
    let is_ours = |row: &&ReadRow<'_>| view.ids.is_empty() || row.row.id < view.ids.len();
    let foreign = view.rows.iter().filter(|row| !is_ours(row)).count();
    if foreign > 0 {
        let why = format!("{} of an id that the answer is not about", counted_and(foreign, "row", "is", "are"));
        lines.failed(Check::Files, view.subject.name(), why);
    }
    for row in view.rows.iter().filter(is_ours) {
        let Some(file) = &row.row.file else { continue };
        let entry = View::place(row.row)
            .and_then(|(table, path)| live.entry_of(&table, path))
            .filter(|entry| live.live_file(*entry).is_some());
        match entry {
            Some(entry) => rows.entry((entry, row.row.id)).or_default().push(row),
            None => lines.failed(
                Check::Files,
                view.about(file.clone()),
                "it has rows in a file that is not live in the log",
            ),
        }
    }
    rows
}

fn check_file(
    view: &View<'_>,
    id: usize,
    sealed: &Sealed,
    file: &FileEvidence,
    rows: &[&ReadRow<'_>],
) -> Result<(), String> {
    let proof = FileProof::from_text(&file.proof).map_err(|why| why.to_string())?;
    if proof.size != sealed.subjects {
        return Err(format!("it proves a file of {}, the log has {}", counted(proof.size, "subject"), sealed.subjects));
    }
    let subject = view.ids[id].in_table(Log::purpose_of(&sealed.table));
    if rows.is_empty() {
        return proof.check_absent(&sealed.root.0, subject.as_str()).map_err(|why| why.to_string());
    }
    if rows
        .iter()
        .any(|row| row.row.policy != sealed.policy.to_string() || row.row.received_date != sealed.received_date)
    {
        return Err("a row of it has another policy or date than the file".to_owned());
    }
    let content = content(rows).ok_or("its rows cannot be in one file")?;
    let blind = file.blind.as_deref().and_then(blind).ok_or("it has rows and no key of the subject's leaf")?;
    proof.check_present(&sealed.root.0, subject.as_str(), &blind, &content).map_err(|why| why.to_string())
}

fn blind(text: &str) -> Option<Hash> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}
