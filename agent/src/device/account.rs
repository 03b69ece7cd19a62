//! What became of every event, and what is missing after a crash or a damage.

use std::collections::BTreeMap;

use super::Device;
use crate::error::Error;
use crate::journal::{GivenUp, Line};

/// What became of the events that a device took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub taken: u64,
    /// Those in receipts.
    pub acknowledged: u64,
    /// Those given up, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Those that wait.
    pub spooled: u64,
}

impl Device {
    /// What became of the events.
    pub fn counts(&self) -> Counts {
        let mut dropped = self.journal.sums.dropped.clone();
        for (reason, events) in self.spool.entries().values().flat_map(|entry| &entry.label.shed) {
            *dropped.entry(reason.clone()).or_default() += events;
        }
        dropped.retain(|_, events| *events > 0);
        let acknowledged = self.journal.sums.acknowledged;
        Counts { taken: self.taken, acknowledged, dropped, spooled: self.spool.events() }
    }

    /// Finds the sums of what is there, and counts what is not there any more.
    pub(super) fn account(&mut self, damaged: &[(u64, u64)]) -> Result<(), Error> {
        let entries = self.spool.entries().values();
        self.taken = entries.map(|entry| entry.label.taken).max().unwrap_or(0).max(self.journal.sums.taken);
        let spooled: u64 = self.spool.entries().values().map(|entry| entry.label.all()).sum();
        let sums = &self.journal.sums;
        let known = sums.acknowledged + sums.all_dropped() + spooled;
        let Some(lost) = self.taken.checked_sub(known) else {
            return Err(Error::Damaged { name: "the journal".to_owned(), what: "it does not add up with the spool" });
        };
        let highest = sums.epochs.keys().chain(self.spool.entries().keys().map(|(epoch, _)| epoch)).max();
        self.state.epoch = self.state.epoch.max(highest.copied().unwrap_or(0));
        self.count_lost(damaged, lost)
    }

    fn count_lost(&mut self, damaged: &[(u64, u64)], lost: u64) -> Result<(), Error> {
        let (taken, mut lines) = (self.taken, Vec::new());
        let counted = |reason: &str, events| BTreeMap::from([(reason.to_owned(), events)]);
        for (at, (epoch, ordinal)) in damaged.iter().enumerate() {
            let is_first = !self.spool.entries().keys().any(|(e, o)| e == epoch && o < ordinal);
            let is_first = is_first && !damaged.iter().any(|(e, o)| e == epoch && o < ordinal);
            let events = if at == 0 { lost } else { 0 };
            let batch = is_first.then(|| self.next_number(*epoch));
            let given_up = batch.map(|_| GivenUp { events, reason: "damaged".to_owned(), body: None });
            let (epoch, ordinal, dropped) = (*epoch, Some(*ordinal), counted("damaged", events));
            lines.push(Line { epoch, ordinal, batch, dropped, given_up, taken, ..Line::default() });
        }
        if damaged.is_empty() && lost > 0 {
            let (epoch, dropped) = (self.state.epoch, counted("lost", lost));
            lines.push(Line { epoch, dropped, taken, ..Line::default() });
        }
        if !lines.is_empty() {
            self.journal.append(&lines)?;
        }
        damaged.iter().try_for_each(|at| self.spool.settle(*at))
    }
}
