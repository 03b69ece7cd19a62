//! The log itself: who signed it, whether it is the one that others saw, and what its entries say together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::documents::digest_of;
use super::evidence::{AlsoKept, Evidence, KeptOf, Trust};
use super::line::{Assumption, Check, Lines};
use crate::counted::{counted, counted_and};
use crate::log::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::log::entry::{Entry, KeyChange};
use crate::log::live::LiveFiles;
use crate::log::note::Note;
use crate::merkle::{self, Hash, leaf_hash};

/// A checkpoint that a witness saw longer ago says nothing about today.
const FRESH_SECONDS: u64 = 24 * 3_600;
const SECOND: i64 = 1_000_000;

/// A log whose entries are those of a signed checkpoint, and agree with each other.
#[derive(Debug)]
pub struct Log {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// What they say together.
    pub live: LiveFiles,
    leaves: Vec<Hash>,
}

impl Log {
    /// Checks everything about the log; none where nothing can be held against it.
    pub(super) fn open(evidence: &Evidence, lines: &mut Lines) -> Option<Self> {
        let trust = &evidence.trust;
        if trust.log.is_empty() {
            lines.unchecked(Check::LogKey, None, "no key of the log is known");
            return None;
        }
        let key = trust.log[0].to_string();
        if trust.is_pinned {
            lines.proved(Check::LogKey, None, key);
        } else {
            lines.not_provable(Check::LogKey, Some(key), Assumption::KeyAtFirstSight);
        }
        let signed = signed(evidence, lines)?;
        let log = Self::of_entries(evidence, &signed, lines)?;
        log.check_kept(trust, lines);
        log.check_before(evidence, lines);
        check_witnesses(trust, &signed, lines);
        check_fresh(evidence, &signed, lines);
        log.check_receipts(evidence, lines);
        Some(log)
    }

    /// Roots that the log had at these sizes, as far as it has them: one walk over its leaves.
    #[must_use]
    pub fn roots(&self, sizes: &BTreeSet<u64>) -> BTreeMap<u64, Hash> {
        let mut roots = BTreeMap::new();
        // Whole subtrees that wait for the one on their right, with the number of their leaves.
        let mut waiting: Vec<(u64, Hash)> = Vec::new();
        for size in 0..=self.leaves.len() as u64 {
            if sizes.contains(&size) {
                let folded =
                    waiting.iter().rev().map(|(_, hash)| *hash).reduce(|right, left| merkle::node_hash(&left, &right));
                roots.insert(size, folded.unwrap_or_else(|| merkle::root(&[])));
            }
            let Some(leaf) = self.leaves.get(size as usize) else { break };
            let (mut count, mut hash) = (1, *leaf);
            while let Some((_, left)) = waiting.pop_if(|(of_left, _)| *of_left == count) {
                hash = merkle::node_hash(&left, &hash);
                count *= 2;
            }
            waiting.push((count, hash));
        }
        roots
    }

    /// What is wrong with a size and a root that somebody saw, if this is the log that he saw.
    pub(super) fn differs(&self, size: u64, root: &Hash) -> Option<&'static str> {
        let roots = self.roots(&BTreeSet::from([size]));
        (roots.get(&size) != Some(root)).then(|| self.why_other(size))
    }

    /// Why the log does not have the root that somebody saw at a size.
    const fn why_other(&self, size: u64) -> &'static str {
        if size > self.checkpoint.size {
            "it was longer: the log was rolled back, or an old one is shown"
        } else {
            "it had other entries: the log was forked or written anew"
        }
    }

    /// What was live when the log had so many entries; none if it never had.
    pub(super) fn live_at(&self, size: u64) -> Option<Cow<'_, LiveFiles>> {
        if size == self.checkpoint.size {
            return Some(Cow::Borrowed(&self.live));
        }
        let mut live = LiveFiles::default();
        self.entries.get(..usize::try_from(size).ok()?)?.iter().try_for_each(|entry| live.apply(entry)).ok()?;
        Some(Cow::Owned(live))
    }

    /// Purpose of a table: `PURPOSE/STREAM`.
    pub(super) fn purpose_of(table: &str) -> &str {
        table.split_once('/').map_or(table, |(purpose, _)| purpose)
    }

    fn of_entries(evidence: &Evidence, signed: &SignedCheckpoint, lines: &mut Lines) -> Option<Self> {
        let checkpoint = signed.checkpoint.clone();
        let Some(bytes) = &evidence.entries else {
            lines.unchecked(Check::Entries, None, "the entries are not there");
            return None;
        };
        let leaves: Vec<Hash> = bytes.iter().map(|entry| leaf_hash(entry)).collect();
        if leaves.len() as u64 != checkpoint.size || merkle::root(&leaves) != checkpoint.root {
            lines.failed(
                Check::Entries,
                None,
                format!(
                    "{} not lead to the root of {}",
                    counted_and(leaves.len(), "entry", "does", "do"),
                    checkpoint.size
                ),
            );
            return None;
        }
        lines.proved(Check::Entries, None, format!("{} of them", leaves.len()));
        let (mut entries, mut live) = (Vec::with_capacity(bytes.len()), LiveFiles::default());
        for (number, bytes) in bytes.iter().enumerate() {
            let entry = Entry::decode(bytes).map_err(|why| format!("entry {number}: {why}"));
            let entry = entry.and_then(|entry| live.apply(&entry).map(|()| entry).map_err(|why| why.to_string()));
            match entry {
                Ok(entry) => entries.push(entry),
                Err(why) => {
                    lines.failed(Check::Rules, None, why);
                    return None;
                }
            }
        }
        lines.proved(Check::Rules, None, format!("{} live files", live.live().count()));
        Some(Self { checkpoint, entries, live, leaves })
    }

    fn check_kept(&self, trust: &Trust, lines: &mut Lines) {
        if trust.kept.is_none() && trust.also_kept.is_empty() {
            return lines.not_provable(Check::Kept, None, Assumption::NoKeptCheckpoint);
        }
        if let Some(kept) = &trust.kept {
            self.check_one_kept(kept, KeptOf::ThisLog, lines);
        }
        for AlsoKept { note, key, of } in &trust.also_kept {
            // A log that names the key in its entries is the one that the key signed, whoever signs it now.
            let of = if self.names(key) { KeptOf::ThisLog } else { *of };
            self.check_one_kept(note, of, lines);
        }
    }

    fn check_one_kept(&self, note: &[u8], of: KeptOf, lines: &mut Lines) {
        let Some(kept) = Note::parse(note).ok().and_then(|note| Checkpoint::parse(note.text()).ok()) else {
            return lines.unchecked(Check::Kept, None, "the checkpoint that was kept cannot be read");
        };
        let about = || Some(counted(kept.size, "entry"));
        match (self.differs(kept.size, &kept.root), of) {
            _ if kept.origin != self.checkpoint.origin => {
                lines.failed(Check::Kept, None, "the checkpoint that was kept is of a log of another name");
            }
            (None, _) => {
                lines.proved(Check::Kept, None, format!("from {} to {}", counted(kept.size, "entry"), self.checkpoint.size));
            }
            (Some(why), KeptOf::ThisLog) => lines.failed(Check::Kept, about(), why),
            (Some(_), KeptOf::ThisName) => lines.unchecked(
                Check::Kept,
                about(),
                "a log of this name was seen under another key, and this one does not extend it: if it is another, name its key",
            ),
            (Some(_), KeptOf::PerhapsAnother) => {
                let about = counted(kept.size, "entry of a log of this name under another key");
                lines.not_provable(Check::Kept, Some(about), Assumption::NoKeptCheckpoint);
            }
        }
    }

    /// What was seen before anything was asked is a beginning of the log.
    fn check_before(&self, evidence: &Evidence, lines: &mut Lines) {
        let Some(note) = &evidence.before else { return };
        let why = match SignedCheckpoint::open(note, &evidence.trust.log, &[]) {
            Err(why) => why.to_string(),
            Ok(SignedCheckpoint { checkpoint, .. }) => match self.differs(checkpoint.size, &checkpoint.root) {
                Some(why) => why.to_owned(),
                None => return,
            },
        };
        lines.failed(Check::Kept, Some("as it was shown before anything was asked".to_owned()), why);
    }

    /// Entries at and above a size by which files came or went.
    pub(super) fn changes_from(&self, size: u64) -> usize {
        let of_files = |entry: &&Entry| matches!(entry, Entry::Sealed(_) | Entry::Erased(_) | Entry::Expired(_));
        usize::try_from(size).map_or(0, |size| self.entries.iter().skip(size).filter(of_files).count())
    }

    /// Whether its entries name a key of it, by the SHA-256 of the key's text.
    fn names(&self, key: &Hash) -> bool {
        let is_it = |change: &KeyChange| {
            change.usage == "log" && change.key.as_ref().is_some_and(|text| digest_of(text.as_bytes()) == *key)
        };
        self.entries.iter().any(|entry| matches!(entry, Entry::Key(change) if is_it(change)))
    }

    /// Every device that holds a receipt holds a checkpoint.
    fn check_receipts(&self, evidence: &Evidence, lines: &mut Lines) {
        let receipts = evidence.subjects.iter().flat_map(|subject| {
            let kept = subject.kept_receipts.iter().flatten().map(|signed| &signed.receipt);
            subject.receipts.iter().map(|given| &given.receipt).chain(kept)
        });
        let mut seen: BTreeMap<(u64, Hash), u64> = BTreeMap::new();
        for receipt in receipts {
            let Some(text) = &receipt.checkpoint else { continue };
            if let Some((size, root)) = seen_checkpoint(text, &self.checkpoint.origin) {
                seen.entry((size, root)).or_insert(receipt.batch);
            } else {
                let about = Some(format!("batch {}", receipt.batch));
                lines.failed(Check::ReceiptCheckpoints, about, "its checkpoint is not one of this log");
            }
        }
        let roots = self.roots(&seen.keys().map(|(size, _)| *size).collect());
        for ((size, root), batch) in &seen {
            if roots.get(size) != Some(root) {
                let about = Some(format!("batch {batch}, {}", counted(size, "entry")));
                lines.failed(Check::ReceiptCheckpoints, about, self.why_other(*size));
            }
        }
        if !seen.is_empty() && !lines.has_failed(Check::ReceiptCheckpoints) {
            lines.proved(Check::ReceiptCheckpoints, None, counted(seen.len(), "checkpoint of receipts"));
        }
    }
}

/// Size of a checkpoint that is kept as a note.
pub(super) fn size_of(note: &[u8]) -> Option<u64> {
    Checkpoint::parse(Note::parse(note).ok()?.text()).ok().map(|checkpoint| checkpoint.size)
}

/// Size and root of a receipt's checkpoint: the text of a note, or a whole one.
pub(super) fn seen_checkpoint(text: &str, origin: &str) -> Option<(u64, Hash)> {
    let checkpoint = Checkpoint::parse(text).ok();
    let checkpoint = checkpoint.or_else(|| Checkpoint::parse(Note::parse(text.as_bytes()).ok()?.text()).ok())?;
    (checkpoint.origin == origin).then_some((checkpoint.size, checkpoint.root))
}

fn signed(evidence: &Evidence, lines: &mut Lines) -> Option<SignedCheckpoint> {
    let Some(note) = &evidence.checkpoint else {
        lines.unchecked(Check::Checkpoint, None, "there is no checkpoint");
        return None;
    };
    match SignedCheckpoint::open(note, &evidence.trust.log, &evidence.trust.witnesses) {
        Ok(signed) => {
            lines.proved(Check::Checkpoint, None, counted(signed.checkpoint.size, "entry"));
            Some(signed)
        }
        Err(why) => {
            lines.failed(Check::Checkpoint, None, why.to_string());
            None
        }
    }
}

fn check_witnesses(trust: &Trust, signed: &SignedCheckpoint, lines: &mut Lines) {
    if trust.witnesses.is_empty() {
        return lines.not_provable(Check::Witness, None, Assumption::NoWitness);
    }
    for witness in &trust.witnesses {
        let name = Some(witness.name().to_owned());
        if signed.by_witnesses.iter().any(|verified| verified.by == *witness) {
            lines.proved(Check::Witness, name, "");
        } else {
            lines.unchecked(Check::Witness, name, "it did not sign this checkpoint");
        }
    }
}

fn check_fresh(evidence: &Evidence, signed: &SignedCheckpoint, lines: &mut Lines) {
    let now = u64::try_from(evidence.asked_at / SECOND).unwrap_or_default();
    match signed.witnessed_at() {
        Some(time) if now.saturating_sub(time) <= FRESH_SECONDS => {
            lines.proved(
                Check::Fresh,
                None,
                format!("a witness saw it {} s before it was asked for", now.saturating_sub(time)),
            );
        }
        Some(time) => {
            let hours = now.saturating_sub(time) / 3_600;
            lines.not_provable(
                Check::Fresh,
                Some(format!("a witness saw it last {hours} h before")),
                Assumption::NoTime,
            );
        }
        None => lines.not_provable(Check::Fresh, None, Assumption::NoTime),
    }
}
