//! What became of every batch, one line each, chained by hash: receipts as they came, and drops with their reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candor_policy::digest::Digest;
use candor_policy::hex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::folder::Folder;

pub(crate) const FILE: &str = "receipts.jsonl";
/// Forty years of a batch an hour.
const MOST_FILE_BYTES: u64 = 512 << 20;
/// How a line's hash begins: what stands before it is what is hashed.
const CHAIN: &str = ",\"chain\":\"";

/// One line, without its hash.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub epoch: u64,
    /// The batch's place in the spool, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u64>,
    /// The number that it went out under, or may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// Events that the receipt acknowledges.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub events: u64,
    /// Events that were dropped, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// Of a batch that was dropped when it may have been out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<GivenUp>,
    /// The reason that these events were dropped for, as it seemed until this receipt came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Nothing is to be sent under this number any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub closed: bool,
    /// All events that the device ever took.
    pub taken: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Box<RawValue>>,
}

/// The file, and what its lines add up to.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: Arc<dyn Folder>,
    length: u64,
    chain: [u8; 32],
    pub sums: Sums,
}

/// What lines add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub acknowledged: u64,
    pub dropped: BTreeMap<String, u64>,
    pub taken: u64,
    pub receipts: u64,
    pub epochs: BTreeMap<u64, Numbers>,
    settled_below: u64,
    settled_above: BTreeSet<u64>,
}

/// Numbers of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The highest that was used.
    pub last: u64,
    /// Used, and their batch given up. What the service holds of them is not known.
    pub open: BTreeMap<u64, GivenUp>,
    pub receipts: u64,
}

/// A batch that was dropped when it may have been out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenUp {
    /// Events in its body.
    pub events: u64,
    /// What they count as.
    pub reason: String,
    /// SHA-256 of its body, hex, if that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl Journal {
    /// Reads the file. A torn last line was never relied on, and the next one takes its place.
    pub(crate) fn load(folder: Arc<dyn Folder>) -> Result<Self, Error> {
        let mut journal = Self { folder, length: 0, chain: [0; 32], sums: Sums::default() };
        let mut sums = Sums::default();
        (journal.length, journal.chain) = each_line(&*journal.folder, |line| sums.add(line))?;
        journal.sums = sums;
        Ok(journal)
    }

    /// Appends lines, durable together.
    pub(crate) fn append(&mut self, lines: &[Line]) -> Result<(), Error> {
        let (mut bytes, mut chain) = (Vec::new(), self.chain);
        for line in lines {
            let text = serde_json::to_string(line).map_err(|_| Error::Crypto)?;
            let text = text.strip_suffix('}').ok_or(Error::Crypto)?;
            chain = hashed(&chain, text);
            bytes.extend(format!("{text}{CHAIN}{}\"}}\n", hex::encode(&chain)).bytes());
        }
        self.folder.append(FILE, self.length, &bytes).map_err(|e| Error::folder(FILE, &e))?;
        (self.length, self.chain) = (self.length + bytes.len() as u64, chain);
        for line in lines {
            self.sums.add(line);
        }
        Ok(())
    }

    /// Every line, in order.
    pub(crate) fn lines(&self) -> Result<Vec<Line>, Error> {
        let mut lines = Vec::new();
        each_line(&*self.folder, |line| lines.push(line.clone()))?;
        Ok(lines)
    }

    /// The hash of the last line: it fixes all of them.
    pub(crate) const fn chain(&self) -> &[u8; 32] {
        &self.chain
    }
}

impl Sums {
    fn add(&mut self, line: &Line) {
        self.taken = self.taken.max(line.taken);
        self.acknowledged += line.events;
        for (reason, events) in &line.dropped {
            *self.dropped.entry(reason.clone()).or_default() += events;
        }
        if let Some(was) = self.dropped.get_mut(line.was.as_deref().unwrap_or_default()) {
            *was = was.saturating_sub(line.events);
        }
        self.receipts += u64::from(line.receipt.is_some());
        if let Some(ordinal) = line.ordinal {
            self.settle(ordinal);
        }
        let Some(batch) = line.batch else { return };
        let numbers = self.epochs.entry(line.epoch).or_default();
        numbers.last = numbers.last.max(batch);
        numbers.receipts += u64::from(line.receipt.is_some());
        if line.receipt.is_some() || line.closed {
            numbers.open.remove(&batch);
        } else {
            numbers.open.insert(batch, line.given_up.clone().unwrap_or_default());
        }
    }

    fn settle(&mut self, ordinal: u64) {
        self.settled_above.insert(ordinal);
        while self.settled_above.remove(&self.settled_below) {
            self.settled_below += 1;
        }
    }

    /// Whether what became of a batch of the spool is known.
    pub(crate) fn is_settled(&self, ordinal: u64) -> bool {
        ordinal < self.settled_below || self.settled_above.contains(&ordinal)
    }

    /// The lowest ordinal that no line has, nor a lower line.
    pub(crate) fn next_ordinal(&self) -> u64 {
        self.settled_above.last().map_or(self.settled_below, |last| last + 1)
    }

    /// The numbers of an epoch.
    pub(crate) fn numbers(&self, epoch: u64) -> Numbers {
        self.epochs.get(&epoch).cloned().unwrap_or_default()
    }

    pub(crate) fn all_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// Reads line by line, checking the chain; length and hash of what is whole.
fn each_line(folder: &dyn Folder, mut see: impl FnMut(&Line)) -> Result<(u64, [u8; 32]), Error> {
    let bytes = folder.read(FILE, MOST_FILE_BYTES).map_err(|e| Error::folder(FILE, &e))?.unwrap_or_default();
    let (mut length, mut chain, mut rest) = (0, [0; 32], bytes.as_slice());
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (text, after) = (&rest[..end], &rest[end + 1..]);
        match parse(text, &chain) {
            Some((line, hash)) => {
                see(&line);
                (length, chain, rest) = (length + end as u64 + 1, hash, after);
            }
            None if after.is_empty() => break,
            None => return Err(Error::Damaged { name: format!("{FILE} at byte {length}"), what: BROKEN }),
        }
    }
    Ok((length, chain))
}

const BROKEN: &str = "a line was changed, removed or put in";

fn parse(text: &[u8], before: &[u8; 32]) -> Option<(Line, [u8; 32])> {
    let text = std::str::from_utf8(text).ok()?;
    let (line, hash) = text.rsplit_once(CHAIN)?;
    let chain = hashed(before, line);
    let same = hash.strip_suffix("\"}") == Some(hex::encode(&chain).as_str());
    let line = serde_json::from_str(&format!("{line}}}")).ok().filter(|_| same)?;
    Some((line, chain))
}

fn hashed(before: &[u8; 32], line: &str) -> [u8; 32] {
    *Digest::of_bytes(&[before.as_slice(), line.as_bytes()].concat()).as_bytes()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::MemoryFolder;

    fn receipt(batch: u64) -> Line {
        let raw = |text: &str| Some(RawValue::from_string(text.to_owned()).unwrap());
        let ordinal = Some(batch - 1);
        let (receipt, proof) = (raw(&format!("{{\"batch\":{batch}}}")), raw("{}"));
        Line { ordinal, batch: Some(batch), events: 10, taken: 10 * batch, receipt, proof, ..Line::default() }
    }

    fn dropped(batch: Option<u64>, reason: &str, events: u64) -> Line {
        let dropped = BTreeMap::from([(reason.to_owned(), events)]);
        let given_up = batch.map(|_| GivenUp { events, reason: reason.to_owned(), body: None });
        Line { batch, dropped, given_up, taken: 99, ..Line::default() }
    }

    fn load(folder: &MemoryFolder) -> Result<Journal, Error> {
        Journal::load(Arc::new(folder.clone()))
    }

    #[test]
    fn lines_add_up_and_a_late_receipt_mends_a_drop() {
        let folder = MemoryFolder::default();
        let mut journal = load(&folder).unwrap();
        journal.append(&[receipt(1), receipt(2), dropped(Some(3), "spool_full", 5)]).unwrap();
        journal.append(&[dropped(None, "withdrawn", 2)]).unwrap();
        let given_up = GivenUp { events: 5, reason: "spool_full".to_owned(), body: None };
        assert_eq!(journal.sums.numbers(0).open, BTreeMap::from([(3, given_up)]));
        let late = Line { ordinal: None, events: 5, was: Some("spool_full".to_owned()), ..receipt(3) };
        journal.append(&[late]).unwrap();
        let again = load(&folder).unwrap();
        assert_eq!(again.chain(), journal.chain());
        let sums = again.sums;
        assert_eq!((sums.acknowledged, sums.all_dropped(), sums.taken, sums.receipts), (25, 2, 99, 3));
        assert_eq!(sums.numbers(0), Numbers { last: 3, receipts: 3, ..Numbers::default() });
        assert!(sums.is_settled(1) && !sums.is_settled(2));
        assert_eq!((sums.next_ordinal(), journal.lines().unwrap().len()), (2, 5));
    }

    #[test]
    fn a_torn_end_is_written_over_and_any_other_change_refused() {
        let folder = MemoryFolder::default();
        let mut journal = load(&folder).unwrap();
        for batch in 1..4 {
            journal.append(&[receipt(batch)]).unwrap();
        }
        let whole = folder.read(FILE, 9_999).unwrap().unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in last..whole.len() {
            folder.replace(FILE, &whole[..cut]).unwrap();
            let mut journal = load(&folder).unwrap();
            assert_eq!(journal.sums.receipts, 2, "cut at {cut}");
            journal.append(&[receipt(3)]).unwrap();
            assert_eq!(folder.read(FILE, 9_999).unwrap().unwrap(), whole);
        }
        for at in 0..last - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            folder.replace(FILE, &changed).unwrap();
            assert!(matches!(load(&folder), Err(Error::Damaged { .. })), "byte {at}");
        }
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        folder.replace(FILE, &whole[second..]).unwrap();
        assert!(load(&folder).is_err());
    }
}
