//! Receipts against the logged totals: what a device was told is in the sums that everybody sees.

use std::collections::BTreeMap;

use super::answer::ReceiptEvidence;
use super::evidence::Evidence;
use super::files::View;
use super::line::{Assumption, Check, Lines};
use super::log::Log;
use crate::counted::counted;
use crate::log::entry::{Entry, Totals};
use crate::sum_tree::Node;
use crate::totals::{Cell, Opened};

/// Each receipt is in the totals of the epoch that it names.
pub(super) fn check(evidence: &Evidence, view: &View<'_>, log: &Log, lines: &mut Lines) {
    if view.subject.receipts.is_empty() {
        return;
    }
    let epochs = epochs(log);
    let newest = epochs.values().next_back();
    let (mut proved, mut open) = (0, 0);
    for given in &view.subject.receipts {
        let about = || view.about(format!("batch {}", given.receipt.batch));
        match is_in_totals(given, &epochs, &evidence.opened) {
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
        lines.not_provable(Check::Totals, view.about(counted(open, "receipt")), Assumption::NotSealedYet);
    }
    if proved > 0 {
        lines.proved(Check::Totals, view.subject.name(), counted(proved, "receipt"));
    }
}

/// What was handed over to open an epoch is what the log bound: all cells, the small ones too, and those that it shows are among them.
pub(super) fn check_opened(evidence: &Evidence, log: &Log, lines: &mut Lines) {
    let logged = epochs(log);
    for opened in &evidence.opened {
        let about = || Some(format!("epoch {}", opened.epoch));
        let shown = |cell: &Cell| opened.cells.contains(cell);
        let parts = log.entries.iter().filter_map(|entry| match entry {
            Entry::Totals(totals) if totals.epoch == opened.epoch => Some(totals),
            _ => None,
        });
        match logged.get(&opened.epoch) {
            None => lines.failed(Check::Opened, about(), "the log does not have its totals"),
            Some(totals) if opened.digest().ok() != Some(totals.hidden.0) => {
                lines.failed(Check::Opened, about(), "its cells are not those that the log bound");
            }
            Some(_) if opened.fault().is_some() => {
                lines.failed(Check::Opened, about(), opened.fault().unwrap_or_default());
            }
            Some(_) if !parts.flat_map(|totals| &totals.cells).all(shown) => {
                lines.failed(Check::Opened, about(), "the log shows a cell that is not among them");
            }
            Some(_) => lines.proved(Check::Opened, about(), counted(opened.cells.len(), "cell")),
        }
    }
}

/// The totals of each epoch; parts of one say the same but for their cells.
fn epochs(log: &Log) -> BTreeMap<u64, &Totals> {
    let totals =
        log.entries.iter().filter_map(|entry| if let Entry::Totals(totals) = entry { Some(totals) } else { None });
    totals.map(|totals| (totals.epoch, totals)).collect()
}

/// Whether a path leads from the receipt to the root that the log has; false if there is no path.
fn is_in_totals(
    given: &ReceiptEvidence,
    epochs: &BTreeMap<u64, &Totals>,
    opened: &[Opened],
) -> Result<bool, &'static str> {
    let Some(place) = &given.totals else { return Ok(false) };
    let totals = epochs.get(&place.epoch).ok_or("it names an epoch that the log does not have")?;
    let opened = opened.iter().find(|opened| opened.epoch == place.epoch);
    let leaf = Node::of_receipt(&given.receipt).map_err(|_| "its counts are beyond what can be counted")?;
    if place.path.size != totals.receipts.size {
        return Err("the path is of a tree of another size");
    }
    let root = place.path.root(&leaf).ok_or("the path does not fit its place")?;
    let commitment = root.commitment().map_err(|_| "the sums are beyond what can be counted")?;
    if commitment != totals.receipts.root.0 {
        return Err("the path does not lead to the root in the log");
    }
    if opened.is_some_and(|opened| !opened.sums().is_ok_and(|sums| root.sums.is_within(&sums))) {
        return Err("the receipts of the epoch have more than its totals say");
    }
    Ok(true)
}
