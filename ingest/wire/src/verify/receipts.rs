//! Receipts against the rows: what the service signed for is there, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use candor_policy::hex;

use super::certificates::Certified;
use super::documents::Documents;
use super::evidence::Evidence;
use super::files::View;
use super::line::{Assumption, Check, Lines};
use super::log::{Log, seen_checkpoint};
use super::rows::ReadRow;
use crate::counted::{counted, counted_and};
use crate::erasure::Certificate;
use crate::identity::PublicKey;
use crate::log::entry::{Entry, Sealed};
use crate::receipt::{PurposeReceipt, Receipt, SignedReceipt};
use crate::row::hash_of;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Rows of one purpose's batch, in their order.
type Batches<'a, 'b> = BTreeMap<(&'b str, i64), Vec<&'b ReadRow<'a>>>;

pub(super) fn check(
    evidence: &Evidence,
    view: &View<'_>,
    log: &Log,
    (documents, certified): (&Documents<'_>, &Certified),
    lines: &mut Lines,
) {
    if view.subject.key.is_none() {
        return lines.not_provable(Check::Receipts, view.subject.name(), Assumption::NoReceipts);
    }
    let certificates = view.subject.ledger_id().and_then(|id| certified.get(&id)).map_or(&[][..], Vec::as_slice);
    let receipts = signed(evidence, view, log, documents, lines);
    check_complete(view, &receipts, lines);
    let mut rows: Batches<'_, '_> = BTreeMap::new();
    for row in &view.rows {
        rows.entry((&row.row.purpose, row.row.batch.unwrap_or(0))).or_default().push(row);
    }
    for receipt in receipts.values() {
        let since = since(receipt, log);
        for (purpose, stored) in receipt.purposes.iter().filter(|(_, purpose)| purpose.stored > 0) {
            let number = stored.batch.and_then(|batch| i64::try_from(batch).ok()).unwrap_or(0);
            let found = rows.remove(&(purpose.as_str(), number)).unwrap_or_default();
            Batch { evidence, view, log, certificates, receipt, purpose, stored, found, since }.check(lines);
        }
    }
    for ((purpose, batch), rows) in rows {
        let about = view.about(format!("{purpose}, its batch {batch}"));
        lines.failed(
            Check::ReceiptRows,
            about,
            format!("{} there that no receipt has", counted_and(rows.len(), "row", "is", "are")),
        );
    }
}

/// The receipts that the service signed for this subject, by number; those that a device kept come first.
fn signed<'a>(
    evidence: &Evidence,
    view: &View<'a>,
    log: &Log,
    documents: &Documents<'_>,
    lines: &mut Lines,
) -> BTreeMap<u64, &'a Receipt> {
    let logged = receipt_keys(log);
    let subject = view.subject.key.map(|key| hex::encode(key.subject_id().as_bytes())).unwrap_or_default();
    let keys: Vec<PublicKey> = logged.iter().copied().chain(evidence.trust.receipts).collect();
    let is_signed =
        |signed: &SignedReceipt| signed.receipt.subject == subject && keys.iter().any(|key| signed.verify(key).is_ok());
    let mut receipts: BTreeMap<u64, &Receipt> = BTreeMap::new();
    for signed in view.subject.kept_receipts.iter().flatten() {
        let about = view.about(format!("batch {} as the device kept it", signed.receipt.batch));
        if is_signed(signed) {
            receipts.insert(signed.receipt.batch, &signed.receipt);
        } else {
            lines.failed(Check::Receipts, about, "it was not signed by the service for this subject");
        }
    }
    for given in &view.subject.receipts {
        let about = view.about(format!("batch {}", given.receipt.batch));
        if !is_signed(&given.signed()) {
            lines.failed(Check::Receipts, about, "it was not signed by the service for this subject");
        } else if receipts.insert(given.receipt.batch, &given.receipt).is_some_and(|kept| *kept != given.receipt) {
            lines.failed(Check::Receipts, about, "the service has another receipt under this number");
        }
    }
    for receipt in receipts.values() {
        if !documents.are_logged(&receipt.policy, &receipt.catalogue) {
            let about = view.about(format!("batch {}", receipt.batch));
            lines.failed(Check::Receipts, about, "the log does not know its policy or catalogue");
        }
    }
    if evidence.trust.receipts.is_some_and(|known| !logged.is_empty() && !logged.contains(&known)) {
        lines.failed(Check::Receipts, view.subject.name(), "the key that the device knows is none that the log has");
    }
    let first_sight = evidence.trust.receipts.is_none() && logged.is_empty();
    if first_sight && !receipts.is_empty() {
        lines.not_provable(Check::Receipts, view.subject.name(), Assumption::KeyAtFirstSight);
    } else if !lines.has_failed(Check::Receipts) {
        lines.proved(Check::Receipts, view.subject.name(), counted(receipts.len(), "receipt"));
    }
    receipts
}

/// Keys of receipts that the log has.
fn receipt_keys(log: &Log) -> BTreeSet<PublicKey> {
    let key = |entry: &Entry| match entry {
        Entry::Key(change) if change.usage == "receipts" => change.key.as_ref()?.parse().ok(),
        _ => None,
    };
    log.entries.iter().filter_map(key).collect()
}

/// Numbers are dense: each below the next that the service knows has a receipt, and what a device kept the service has too.
fn check_complete(view: &View<'_>, receipts: &BTreeMap<u64, &Receipt>, lines: &mut Lines) {
    let name = view.subject.name();
    let Some(batches) = &view.subject.answer.batches else {
        return lines.failed(Check::ReceiptsComplete, name, "the answer does not say which batches were seen");
    };
    let seen: u64 = batches.next.saturating_sub(1).saturating_sub(batches.missing.len() as u64);
    let missing: BTreeSet<u64> = batches.missing.iter().copied().collect();
    let given = view.subject.receipts.iter().map(|given| given.receipt.batch);
    let given: BTreeSet<u64> = given.filter(|batch| *batch < batches.next && !missing.contains(batch)).collect();
    let withheld = receipts.keys().filter(|batch| !given.contains(batch)).count();
    if (given.len() as u64) < seen {
        lines.failed(
            Check::ReceiptsComplete,
            name,
            format!("{} seen, and receipts of {}", counted_and(seen, "batch", "was", "were"), given.len()),
        );
    } else if view.subject.kept_receipts.is_none() {
        lines.not_provable(Check::ReceiptsComplete, name, Assumption::ReceiptsFromService);
    } else if withheld > 0 {
        lines.failed(
            Check::ReceiptsComplete,
            name,
            format!("the device kept {} that the service does not have", counted(withheld, "receipt")),
        );
    } else {
        lines.proved(Check::ReceiptsComplete, name, counted(seen, "batch"));
    }
}

/// What a receipt says of one purpose, and the rows that are there of it.
struct Batch<'a, 'b> {
    evidence: &'b Evidence,
    view: &'b View<'a>,
    log: &'b Log,
    certificates: &'b [Certificate],
    receipt: &'b Receipt,
    purpose: &'b str,
    stored: &'b PurposeReceipt,
    found: Vec<&'b ReadRow<'a>>,
    /// Entries that the log had when it came: its rows are in files of later ones.
    since: usize,
}

impl Batch<'_, '_> {
    fn check(&self, lines: &mut Lines) {
        let about = self.view.about(format!("batch {}, {}", self.receipt.batch, self.purpose));
        let found = self.found.len() as u64;
        let is_late = self.evidence.asked_at >= self.receipt.seal_by;
        let pending = self.found.iter().filter(|row| row.row.file.is_none()).count();
        if self.found.iter().any(|row| row.row.policy != self.receipt.policy) {
            return lines.failed(
                Check::ReceiptRows,
                about,
                "its rows were let through by another policy than the receipt says",
            );
        }
        if found > self.stored.stored {
            let why =
                format!("{} there, the receipt has {}", counted_and(found, "row", "is", "are"), self.stored.stored);
            return lines.failed(Check::ReceiptRows, about, why);
        }
        if found < self.stored.stored {
            return self.missing(found, about, lines);
        }
        if self.stored.rows.is_none() || self.stored.rows != self.hash() {
            if self.has_expired_field() {
                return lines.not_provable(Check::ReceiptRows, about, Assumption::FieldExpired);
            }
            return lines.failed(Check::ReceiptRows, about, "the rows are not those of the receipt");
        }
        if pending > 0 && is_late {
            return lines.failed(
                Check::ReceiptRows,
                about,
                format!("{} in no sealed file after seal_by", counted_and(pending, "row", "is", "are")),
            );
        }
        if pending > 0 {
            return lines.not_provable(Check::ReceiptRows, about, Assumption::NotSealedYet);
        }
        lines.proved(Check::ReceiptRows, about, counted(found, "row"));
    }

    /// Rows are gone: only an entry of the log that took rows of this table and date can have taken them.
    fn missing(&self, found: u64, about: Option<String>, lines: &mut Lines) {
        let missing = self.stored.stored - found;
        let day = self.receipt.received_at.div_euclid(DAY) as i32;
        let is_erased = |certificate: &Certificate| {
            certificate.scope.covers(self.purpose, day) && certificate.requested_at >= self.receipt.received_at
        };
        if found == 0 && self.certificates.iter().any(is_erased) {
            return lines.proved(Check::ReceiptRows, about, "erased, as a certificate says");
        }
        if self.removed() >= missing {
            return lines.not_provable(Check::ReceiptRows, about, Assumption::TakenByLoggedRemoval);
        }
        let why = format!(
            "{found} of {} there, and the log says of no entry that it took the others",
            counted_and(self.stored.stored, "row", "is", "are")
        );
        lines.failed(Check::ReceiptRows, about, why);
    }

    fn hash(&self) -> Option<String> {
        let mut streams: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
        for row in &self.found {
            streams.entry(&row.row.stream).or_default().push(&row.bytes);
        }
        Some(hex::encode(&hash_of(streams).ok()?))
    }

    /// Rows that the log says were taken away from tables of this purpose, of this date, since the batch came. Its rows are in files that
    /// were sealed since then, and nothing else can have taken them.
    fn removed(&self) -> u64 {
        let is_ours = |table: &str| Log::purpose_of(table) == self.purpose;
        let mut removed = 0_u64;
        for entry in self.log.entries.iter().skip(self.since) {
            match entry {
                Entry::Sealed(sealed)
                    if is_ours(&sealed.table)
                        && self.is_of_date(sealed)
                        && sealed.replaces.iter().any(|old| self.is_since(*old)) =>
                {
                    removed = removed.saturating_add(sealed.removed.unwrap_or(0));
                }
                Entry::Erased(erased) => removed = removed.saturating_add(self.rows_of(&erased.files)),
                Entry::Expired(expired) if is_ours(&expired.table) => {
                    removed = removed.saturating_add(self.rows_of(&expired.files));
                }
                _ => {}
            }
        }
        removed
    }

    fn rows_of(&self, entries: &[u64]) -> u64 {
        let file = |entry: &u64| match self.log.entries.get(*entry as usize) {
            Some(Entry::Sealed(sealed))
                if self.is_since(*entry)
                    && Log::purpose_of(&sealed.table) == self.purpose
                    && self.is_of_date(sealed) =>
            {
                sealed.rows
            }
            _ => 0,
        };
        entries.iter().map(file).fold(0, u64::saturating_add)
    }

    fn is_since(&self, entry: u64) -> bool {
        usize::try_from(entry).is_ok_and(|entry| entry >= self.since)
    }

    fn is_of_date(&self, sealed: &Sealed) -> bool {
        sealed
            .received_date
            .parse()
            .ok()
            .and_then(day_of)
            .is_some_and(|day| day == self.receipt.received_at.div_euclid(DAY))
    }

    fn has_expired_field(&self) -> bool {
        let day = self.receipt.received_at.div_euclid(DAY);
        self.log.entries.iter().skip(self.since).any(|entry| match entry {
            Entry::Expired(expired) => {
                let before = expired.before.parse().ok().and_then(day_of);
                expired.field.is_some()
                    && Log::purpose_of(&expired.table) == self.purpose
                    && before.is_some_and(|before| day < before)
            }
            _ => false,
        })
    }
}

/// Entries that the log had when a batch came; 0 for a receipt of before the log.
fn since(receipt: &Receipt, log: &Log) -> usize {
    let seen = receipt.checkpoint.as_deref().and_then(|text| seen_checkpoint(text, &log.checkpoint.origin));
    seen.map_or(0, |(size, _)| usize::try_from(size).unwrap_or(usize::MAX))
}

fn day_of(date: jiff::civil::Date) -> Option<i64> {
    date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1))).ok().map(|span| i64::from(span.get_days()))
}
