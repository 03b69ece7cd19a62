//! Clearing: gates, decisions and operators over the columns of an admitted batch.
//!
//! Per purpose and stream: one look-up a row gives its decision, one gate a context (subject, jurisdiction, GPC) says
//! whether the purpose may have it, and the operators of the decision make the columns of what is left.

use std::ops::Range;

use crate::batch::{Admitted, Cleared, ClearedTable, DecodeTally, NO_SUBJECT, Rejected, subject_ids};
use crate::consent::ConsentSnapshot;
use crate::keys::Keys;
use crate::plan::{NO_RULE, Plan, TablePlan};
use crate::reason::Reason;

mod account;
mod classes;
mod columns;
mod facts;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use account::{Account, Tally};
use columns::{Failed, Selection, SubjectNames};
use facts::{Gate, GroupFacts};

const DAY_MICROS: i64 = 86_400_000_000;

impl Plan {
    /// Applies consent and policy to a batch: the only maker of [`Cleared`].
    ///
    /// Counts come by purpose in the policy's order, then stream in the catalogue's, undeclared events last.
    #[must_use]
    pub fn clear(&self, admitted: Admitted, consent: &ConsentSnapshot, keys: &Keys) -> Cleared {
        let day = day_of(admitted.evidence.received_at);
        let subjects = subject_ids(&admitted, keys);
        let groups: Vec<GroupFacts<'_>> =
            admitted.groups.iter().filter_map(|group| GroupFacts::new(self, group, day)).collect();
        let mut account = Account::new(self, &admitted);
        let mut tables = Vec::new();
        for number in 0..self.policy.purposes.len() as u16 {
            let gate = Gate { policy: &self.policy, purpose: number, consent, day };
            let mut names = SubjectNames::new(&subjects, &self.policy.purposes[usize::from(number)].name);
            for facts in &groups {
                let (tally, table) =
                    clear_group(self.table(number, facts.group.raw.stream), facts, &gate, &mut names, keys);
                account.add(number, facts.group.raw.stream, &tally);
                tables.extend(table);
            }
        }
        let expired = groups.iter().map(GroupFacts::expired_rows).sum();
        Cleared {
            rejected: self.rejected(&admitted.tally, expired),
            source: admitted.evidence.source,
            received_at: admitted.evidence.received_at,
            generation: consent.generation(),
            policy: self.policy.digest,
            catalogue: self.catalogue.digest,
            tables,
            counts: account.finish(),
            subjects: admitted.subjects,
        }
    }

    /// What the client is told; `expired` are rows of events and streams whose day has come.
    fn rejected(&self, tally: &DecodeTally, expired: u64) -> Rejected {
        let bad_fields = tally.bad_fields.iter().filter_map(|(stream, field, records)| {
            let stream = self.catalogue.streams.get(usize::from(*stream))?;
            let field = stream.fields.get(usize::from(*field))?;
            Some((stream.name.clone(), field.column.clone(), *records))
        });
        Rejected {
            undeclared_events: tally.undeclared_events + expired,
            bad_values: tally.bad_values.iter().map(|(_, records)| records).sum(),
            undeclared_attributes: tally.undeclared_attributes,
            bad_fields: bad_fields.collect(),
        }
    }
}

/// Rows of one stream for one purpose: what is stored, and why the rest is not.
fn clear_group(
    table: Option<&TablePlan>,
    facts: &GroupFacts<'_>,
    gate: &Gate<'_>,
    names: &mut SubjectNames<'_>,
    keys: &Keys,
) -> (Tally, Option<ClearedTable>) {
    let mut tally = Tally::default();
    let (rows, decisions) = select(table, facts, gate, &mut tally);
    let Some(table) = table.filter(|_| !rows.is_empty()) else {
        return (tally, None);
    };
    let mut selection = Selection { table, facts, rows, decisions };
    let mut cleared = None;
    // Each round takes rows out or is the last one. Rows on which an operator fails are dropped whole and counted: a cell
    // that is empty without a reason would be a drop that no counter holds.
    while cleared.is_none() && !selection.rows.is_empty() {
        match cleared_table(&selection, gate.consent, names, keys) {
            Ok(table) => cleared = Some(table),
            Err(failed) => tally.drop_rows(Reason::EvaluationFailed, selection.take_out(&failed)),
        }
    }
    tally.stored = cleared.as_ref().map_or(0, |cleared| cleared.rows.num_rows() as u64);
    (tally, cleared)
}

/// The rows that pass, with their decisions; the others are counted under the first reason that applies.
fn select(
    table: Option<&TablePlan>,
    facts: &GroupFacts<'_>,
    gate: &Gate<'_>,
    tally: &mut Tally,
) -> (Vec<u32>, Vec<u32>) {
    let refusals: Vec<Option<Reason>> = facts.contexts.iter().map(|context| gate.refusal(*context)).collect();
    let cells = table.map_or_else(Vec::new, |table| classes::cells(table, facts));
    let count = facts.rows();
    let (mut rows, mut decisions) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for row in 0..count {
        if facts.has_expired(row) {
            tally.drop_rows(Reason::UndeclaredEvent, 1);
            continue;
        }
        let context = facts.context_of[row] as usize;
        if facts.contexts[context].subject == NO_SUBJECT {
            tally.drop_rows(Reason::NoSubject, 1);
            continue;
        }
        let cell = cells.get(row).copied().unwrap_or(NO_RULE);
        let decision = table.and_then(|table| table.cells.get(cell as usize)).copied().unwrap_or(NO_RULE);
        if decision == NO_RULE {
            tally.drop_rows(Reason::NoRule, 1);
        } else if let Some(reason) = refusals[context] {
            tally.drop_rows(reason, 1);
        } else {
            rows.push(row as u32);
            decisions.push(decision);
        }
    }
    (rows, decisions)
}

fn cleared_table(
    selection: &Selection<'_>,
    consent: &ConsentSnapshot,
    names: &mut SubjectNames<'_>,
    keys: &Keys,
) -> Result<ClearedTable, Failed> {
    Ok(ClearedTable {
        purpose: selection.table.purpose,
        purpose_name: selection.table.purpose_name.clone(),
        stream: selection.table.stream_name.clone(),
        rows: selection.record_batch(consent, names, keys)?,
        runs: runs(selection),
    })
}

/// Longest ranges of rows of one subject, in order.
fn runs(selection: &Selection<'_>) -> Vec<(u32, Range<usize>)> {
    let mut runs: Vec<(u32, Range<usize>)> = Vec::new();
    for (row, subject) in selection.subjects().enumerate() {
        match runs.last_mut() {
            Some((last, range)) if *last == subject => range.end = row + 1,
            _ => runs.push((subject, row..row + 1)),
        }
    }
    runs
}

/// Day of a time, days since 1970-01-01.
fn day_of(micros: i64) -> i32 {
    micros.div_euclid(DAY_MICROS) as i32
}
