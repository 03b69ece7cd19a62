//! Receipts against the logged totals: what a device was told is in the sums that everybody sees.

use std::collections::BTreeMap;

use super::answer::ReceiptEvidence;
use super::files::View;
use super::line::{Assumption, Check, Lines};
use super::log::Log;
use crate::log::entry::{Cell, Entry, Totals};
use crate::sum_tree::{Node, PurposeSums, Sums};

/// Each receipt is in the totals of the epoch that it names.
pub(super) fn check(view: &View<'_>, log: &Log, lines: &mut Lines) {
    if view.subject.receipts.is_empty() {
        return;
    }
    let mut epochs: BTreeMap<u64, &Totals> = BTreeMap::new();
    for entry in &log.entries {
        if let Entry::Totals(totals) = entry {
            epochs.insert(totals.epoch, totals);
        }
    }
    let newest = epochs.values().next_back();
    let (mut proved, mut open) = (0, 0);
    for given in &view.subject.receipts {
        let about = || view.about(format!("batch {}", given.receipt.batch));
        match counted(given, &epochs) {
            Ok(true) => proved += 1,
            Err(why) => lines.failed(Check::Totals, about(), why),
            // An epoch that began after everything of the batch was to be sealed has closed: the batch belongs to one before.
            Ok(false) if newest.is_some_and(|totals| totals.from >= given.receipt.seal_by) => {
                lines.failed(Check::Totals, about(), "it is in no epoch that is closed, and later ones are");
            }
            Ok(false) => open += 1,
        }
    }
    if open > 0 {
        lines.not_provable(Check::Totals, view.about(format!("{open} receipts")), Assumption::NotSealedYet);
    }
    if proved > 0 {
        lines.proved(Check::Totals, view.subject.name(), format!("{proved} receipts"));
    }
}

/// Whether a path leads from the receipt to the root that the log has; false if there is no path.
fn counted(given: &ReceiptEvidence, epochs: &BTreeMap<u64, &Totals>) -> Result<bool, &'static str> {
    let Some(place) = &given.totals else { return Ok(false) };
    let totals = epochs.get(&place.epoch).ok_or("it names an epoch that the log does not have")?;
    let leaf = Node::of_receipt(&given.receipt).map_err(|_| "its counts are beyond what can be counted")?;
    if place.path.size != totals.receipts.size {
        return Err("the path is of a tree of another size");
    }
    let root = place.path.root(&leaf).ok_or("the path does not fit its place")?;
    let commitment = root.commitment().map_err(|_| "the sums are beyond what can be counted")?;
    if commitment != totals.receipts.root.0 {
        return Err("the path does not lead to the root in the log");
    }
    if !are_within(&root.sums, &totals.cells) {
        return Err("the receipts of the epoch have more than its totals say");
    }
    Ok(true)
}

/// Receipts are a part of the totals, as far as those are shown.
fn are_within(sums: &Sums, cells: &[Cell]) -> bool {
    sums.purposes().all(|(purpose, sums)| {
        let shown = cells.iter().find(|cell| cell.purpose == purpose);
        shown.is_none_or(|cell| is_within(sums, cell))
    })
}

fn is_within(sums: &PurposeSums, cell: &Cell) -> bool {
    let dropped = |(reason, count): (&String, &u64)| *count <= cell.dropped.get(reason).copied().unwrap_or(0);
    sums.offered <= cell.offered && sums.stored <= cell.stored && sums.dropped.iter().all(dropped)
}
