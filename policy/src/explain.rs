//! Why a purpose keeps what of an event: the same cells that production looks up, told rule by rule.

use serde::Serialize;

use crate::condition::Truth;
use crate::consent::ConsentState;
use crate::lattice::{self, Strictness};
use crate::operator::{OperatorRef, Rank};
use crate::plan::{Decision, Input, Plan, TablePlan};
use crate::policy::{Age, LegalBasis};
use crate::reason::Reason;
pub use crate::sample::SampleEvent;
use crate::sample::{Facts, Judged};
use crate::table::{column_name, input_name};

/// What becomes of an event, purpose by purpose. Names and rules only: no value of the event is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Version of this form.
    pub schema_version: u32,
    /// Name of the event.
    pub event: String,
    /// Its stream; none if no stream declares it.
    pub stream: Option<String>,
    /// The jurisdiction that the policy takes the event for.
    pub jurisdiction: String,
    /// Whether Global Privacy Control was on.
    pub gpc: bool,
    /// Columns of the sample that the event does not have: they would be counted, not stored.
    pub undeclared: Vec<String>,
    /// Columns of the sample with a value of another type than the declared one.
    pub bad_values: Vec<String>,
    /// One for each purpose of the policy.
    pub purposes: Vec<PurposeExplanation>,
}

/// What one purpose keeps of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurposeExplanation {
    /// Its name.
    pub purpose: String,
    /// Whether a row is stored.
    pub stored: bool,
    /// Why not.
    pub reason: Option<Reason>,
    /// Legal basis in this jurisdiction, if there is one.
    pub basis: Option<LegalBasis>,
    /// State of consent that it was asked with.
    pub consent: ConsentState,
    /// Number of the decision, as in the rows' `decision` column; none where no rule lets anything through.
    pub decision: Option<u32>,
    /// `time` and the fields that the event may carry, whether or not a row is stored.
    pub fields: Vec<FieldExplanation>,
}

/// What happens to one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldExplanation {
    /// Catalogue column, or `time`.
    pub field: String,
    /// Whether the sample has a value for it (`time` always is).
    pub present: bool,
    /// Column of the table that its value goes to; none if nothing of it is written.
    pub column: Option<String>,
    /// The strictest of the rules that reach it.
    pub winner: Option<MatchedRule>,
    /// All rules that reach it and whose condition is true or undecided, in the order of the document.
    pub matched: Vec<MatchedRule>,
    /// The reason in a sentence.
    pub why: String,
}

/// A rule that reaches a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatchedRule {
    /// Its id.
    pub rule: String,
    /// Line of the id in the policy's file.
    pub line: usize,
    /// What its condition says: true or undecided.
    pub condition: Truth,
    /// Its operator with parameters.
    pub operator: String,
}

impl Plan {
    /// Explains what each purpose keeps of an event, and why.
    #[must_use]
    pub fn explain(&self, sample: &SampleEvent) -> Explanation {
        let jurisdiction = self.policy.jurisdictions.number(sample.jurisdiction.as_deref());
        let facts = Facts::new(&self.catalogue, sample, jurisdiction);
        let purposes = 0..self.policy.purposes.len() as u16;
        Explanation {
            schema_version: 1,
            event: sample.event.clone(),
            stream: facts.as_ref().map(|facts| facts.stream.name.clone()),
            jurisdiction: self.policy.jurisdictions.names.get(usize::from(jurisdiction)).cloned().unwrap_or_default(),
            gpc: sample.gpc,
            undeclared: facts.as_ref().map(|facts| facts.columns(Judged::Undeclared)).unwrap_or_default(),
            bad_values: facts.as_ref().map(|facts| facts.columns(Judged::Bad)).unwrap_or_default(),
            purposes: purposes
                .map(|purpose| self.explain_purpose(purpose, jurisdiction, sample, facts.as_ref()))
                .collect(),
        }
    }

    fn explain_purpose(
        &self,
        purpose: u16,
        jurisdiction: u16,
        sample: &SampleEvent,
        facts: Option<&Facts<'_>>,
    ) -> PurposeExplanation {
        let declared = self.policy.purposes.get(usize::from(purpose));
        let name = declared.map(|declared| declared.name.clone()).unwrap_or_default();
        let consent = sample.consent.get(&name).copied().unwrap_or_default();
        let age = if sample.guardian { Age::Guarded } else { Age::Own(sample.age_from) };
        let gate = || self.policy.gate(purpose, jurisdiction, sample.gpc, age, consent);
        let (mut decision, mut fields) = (None, Vec::new());
        let reason = match facts {
            None => Some(Reason::UndeclaredEvent),
            Some(facts) => {
                let place = self.table(purpose, facts.number).map(|table| Place::new(table, facts));
                decision = place.as_ref().and_then(|place| place.table.decision(place.cell));
                fields = self.explain_fields(place.as_ref(), decision, facts);
                match decision {
                    _ if facts.has_bad_values() => Some(Reason::BadValue),
                    None => Some(Reason::NoRule),
                    Some(_) => gate(),
                }
            }
        };
        PurposeExplanation {
            purpose: name,
            stored: reason.is_none(),
            reason,
            basis: declared.and_then(|declared| declared.basis.get(usize::from(jurisdiction)).copied().flatten()),
            consent,
            decision,
            fields,
        }
    }

    fn explain_fields(
        &self,
        place: Option<&Place<'_>>,
        decision: Option<u32>,
        facts: &Facts<'_>,
    ) -> Vec<FieldExplanation> {
        let decision = decision.and_then(|number| place?.table.decisions.get(number as usize));
        let fields = facts.event.fields.iter().copied().map(Input::Field);
        std::iter::once(Input::Time)
            .chain(fields)
            .map(|input| {
                let matches = place.map(|place| self.matches(place, input)).unwrap_or_default();
                let winner = place.and_then(|place| winner(place.table, decision, input, &matches));
                let winner = winner.and_then(|at| matches.get(at));
                let name = input_name(input, facts.stream);
                let writes = |rank: Rank| decision.is_some() && rank < Rank::Suppress && !facts.has_expired(input);
                FieldExplanation {
                    field: name.to_owned(),
                    present: facts.is_present(input),
                    column: winner
                        .filter(|(_, operator)| writes(operator.rank()))
                        .map(|(_, operator)| column_name(name, &***operator)),
                    winner: winner.map(|(rule, _)| rule.clone()),
                    why: why(&matches, winner, facts.has_expired(input)),
                    matched: matches.iter().map(|(rule, _)| rule.clone()).collect(),
                }
            })
            .collect()
    }

    /// The rules that reach a field in a cell.
    fn matches<'a>(&self, place: &Place<'a>, input: Input) -> Vec<Match<'a>> {
        let mut matches = Vec::new();
        for rule in &place.table.rules {
            let condition = rule.condition.at(&place.classes);
            if condition == Truth::False {
                continue;
            }
            for (_, operator) in rule.emits.iter().filter(|(reached, _)| *reached == input) {
                let line = self.policy.rule(rule.rule).map_or(0, |rule| rule.line);
                let told =
                    MatchedRule { rule: rule.id.to_string(), line, condition, operator: lattice::text(&**operator) };
                matches.push((told, operator));
            }
        }
        matches
    }
}

type Match<'a> = (MatchedRule, &'a OperatorRef);

/// A cell of a table.
struct Place<'a> {
    table: &'a TablePlan,
    classes: Vec<u32>,
    cell: usize,
}

impl<'a> Place<'a> {
    fn new(table: &'a TablePlan, facts: &Facts<'_>) -> Self {
        let classes: Vec<u32> = table.dimensions().iter().map(|dimension| facts.class(dimension)).collect();
        let steps = classes.iter().enumerate().map(|(number, class)| *class as usize * table.cell_stride(number));
        let cell = steps.sum();
        Self { table, classes, cell }
    }
}

/// Which of the rules that reach a field won it: as the decision says, or, where nothing of the record is let through,
/// the strictest.
fn winner(table: &TablePlan, decision: Option<&Decision>, input: Input, matches: &[Match<'_>]) -> Option<usize> {
    let Some(decision) = decision else { return strictest(matches) };
    let won = decision.winners.iter().find(|winner| winner.input == input)?;
    let operator = won.writes.and_then(|(column, operator)| {
        table
            .columns
            .get(usize::from(column))?
            .operators
            .get(usize::from(operator))
            .map(|operator| lattice::text(&**operator))
    });
    matches.iter().position(|(rule, reached)| {
        table.rule_id(won.rule) == Some(&*rule.rule)
            && operator.as_ref().map_or(reached.rank() >= Rank::Suppress, |operator| rule.operator == *operator)
    })
}

fn strictest(matches: &[Match<'_>]) -> Option<usize> {
    if matches.iter().all(|(rule, _)| rule.condition != Truth::True) {
        return None;
    }
    (0..matches.len()).reduce(|best, next| {
        let stricter = lattice::compare(&**matches[next].1, &**matches[best].1) == Strictness::Stricter;
        if stricter { next } else { best }
    })
}

/// What an undecided condition hangs on: the cells of the plan have one place for both.
const MISSING: &str = "a value that is absent, or none that the catalogue declares";

fn why(matches: &[Match<'_>], winner: Option<&Match<'_>>, expired: bool) -> String {
    let Some((won, operator)) = winner else {
        return match matches.first() {
            None => "no rule reaches it".to_owned(),
            Some((rule, _)) => {
                format!("`{}` hangs on {MISSING}: what is undecided lets nothing through", rule.rule)
            }
        };
    };
    let others: Vec<&str> =
        matches.iter().map(|(rule, _)| rule.operator.as_str()).filter(|other| *other != won.operator).collect();
    let mut why = match (matches.len(), others.as_slice()) {
        (1, _) => format!("`{}` is the only rule that reaches it", won.rule),
        (_, []) => format!("all rules that reach it say `{}`; the first one counts", won.operator),
        (_, others) => {
            let mut others = others.to_vec();
            others.sort_unstable();
            others.dedup();
            format!("`{}` is stricter than `{}`", won.operator, others.join("`, `"))
        }
    };
    if won.condition == Truth::Undecided {
        why = format!("{why}; its condition hangs on {MISSING}, and counts for strictness");
    }
    match operator.rank() {
        Rank::Drop => why.push_str("; `drop` writes nothing"),
        Rank::Suppress => why.push_str("; `suppress` leaves the cell empty"),
        _ if expired => why.push_str("; the field has expired, so that the cell is empty"),
        _ => {}
    }
    why
}

#[cfg(test)]
mod tests;
