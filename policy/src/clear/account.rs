//! The account of a batch while it is cleared: every record lands in one place for each purpose.

use std::collections::BTreeMap;

use crate::batch::Admitted;
use crate::counts::Count;
use crate::plan::Plan;
use crate::reason::Reason;

/// Stored and dropped rows of one (purpose, stream).
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) stored: u64,
    dropped: [u64; Reason::ALL.len()],
}

impl Tally {
    pub(super) const fn drop_rows(&mut self, reason: Reason, rows: u64) {
        self.dropped[reason as usize] += rows;
    }

    fn add(&mut self, other: &Self) {
        self.stored += other.stored;
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
    }
}

/// Tallies by purpose and stream.
pub(super) struct Account<'a> {
    plan: &'a Plan,
    /// What came in, by stream; every purpose is offered the same.
    offered: BTreeMap<Line, u64>,
    tallies: BTreeMap<(u16, Line), Tally>,
}

/// A stream of the catalogue, or undeclared events, which sort last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Stream(u16),
    Undeclared,
}

impl<'a> Account<'a> {
    /// Opens a line for every purpose and every stream that the batch has records of, and drops what the decoder refused.
    pub(super) fn new(plan: &'a Plan, admitted: &Admitted) -> Self {
        let mut account = Self { plan, offered: BTreeMap::new(), tallies: BTreeMap::new() };
        for group in &admitted.groups {
            let rows = group.raw.event.len() as u64;
            match account.line(group.raw.stream) {
                line @ Line::Stream(_) => *account.offered.entry(line).or_default() += rows,
                line @ Line::Undeclared => account.refuse(line, Reason::UndeclaredEvent, rows),
            }
        }
        for (stream, records) in &admitted.tally.bad_values {
            account.refuse(account.line(*stream), Reason::BadValue, *records);
        }
        if admitted.tally.undeclared_events > 0 {
            account.refuse(Line::Undeclared, Reason::UndeclaredEvent, admitted.tally.undeclared_events);
        }
        account
    }

    pub(super) fn add(&mut self, purpose: u16, stream: u16, tally: &Tally) {
        let line = self.line(stream);
        self.tallies.entry((purpose, line)).or_default().add(tally);
    }

    pub(super) fn finish(mut self) -> Vec<Count> {
        let mut counts = Vec::with_capacity(self.plan.policy.purposes.len() * self.offered.len());
        for (number, purpose) in (0..).zip(&self.plan.policy.purposes) {
            for (line, offered) in &self.offered {
                let tally = self.tallies.remove(&(number, *line)).unwrap_or_default();
                let dropped = Reason::ALL.into_iter().zip(tally.dropped).filter(|(_, rows)| *rows > 0);
                let count = Count {
                    stream: self.stream_name(*line),
                    purpose: purpose.name.clone(),
                    offered: *offered,
                    stored: tally.stored,
                    dropped: dropped.collect(),
                };
                debug_assert!(count.balances(), "offered = stored + dropped: {count:?}");
                counts.push(count);
            }
        }
        counts
    }

    fn refuse(&mut self, line: Line, reason: Reason, records: u64) {
        *self.offered.entry(line).or_default() += records;
        for purpose in 0..self.plan.policy.purposes.len() as u16 {
            self.tallies.entry((purpose, line)).or_default().drop_rows(reason, records);
        }
    }

    fn line(&self, stream: u16) -> Line {
        if usize::from(stream) < self.plan.catalogue.streams.len() { Line::Stream(stream) } else { Line::Undeclared }
    }

    fn stream_name(&self, line: Line) -> Option<String> {
        match line {
            Line::Stream(number) => self.plan.catalogue.streams.get(usize::from(number)).map(|s| s.name.clone()),
            Line::Undeclared => None,
        }
    }
}
