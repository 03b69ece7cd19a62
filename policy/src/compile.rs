//! From documents to a plan: what rules name is looked up, types are checked, and every table is built.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalogue::{Catalogue, FieldType, Stream, type_name};
use crate::cells::MAX_CELLS;
use crate::condition::{Condition, Dimension, DimensionSubject};
use crate::operator::OperatorRef;
use crate::plan::{Input, Plan, TablePlan, TableRule};
use crate::policy::Policy;
use crate::problem::Problems;
use crate::reader::closest;
use crate::rule_document::{Emit, Rule, Streams, Target};
use crate::source::{Findings, Span};
use crate::table::{TableDraft, column_name, input_kind, input_name};
use crate::typed_condition::{Scope, Subject, Typed, dimensions};

impl Plan {
    /// Compiles a policy against a catalogue.
    ///
    /// # Errors
    /// Every problem found, with places in the policy's file.
    pub fn compile(catalogue: Catalogue, policy: Policy) -> Result<Self, Problems> {
        let mut findings = Findings::new(policy.source.clone());
        let bound: Vec<BoundRule<'_>> = policy
            .rules
            .iter()
            .enumerate()
            .map(|(number, rule)| BoundRule::new(number as u16, rule, &catalogue, &policy, &mut findings))
            .collect();
        let mut tables = Vec::new();
        let mut table_index = Vec::with_capacity(policy.purposes.len() * catalogue.streams.len());
        for purpose in 0..policy.purposes.len() as u16 {
            for stream in 0..catalogue.streams.len() as u16 {
                let table = table(purpose, stream, &bound, &catalogue, &policy, &mut findings);
                table_index.push(table.is_some().then_some(tables.len() as u16));
                tables.extend(table);
            }
        }
        findings.finish(Some(()))?;
        Ok(Self { catalogue, policy, tables, table_index })
    }
}

/// A rule whose names have been looked up.
struct BoundRule<'a> {
    number: u16,
    rule: &'a Rule,
    id: Arc<str>,
    /// By stream number; only the rule's streams.
    streams: Vec<BoundStream>,
}

/// A rule in one of its streams.
struct BoundStream {
    stream: u16,
    /// None where the rule has no condition.
    condition: Option<Typed>,
    emits: Arc<[(Input, OperatorRef)]>,
    places: Vec<Span>,
}

impl<'a> BoundRule<'a> {
    fn new(number: u16, rule: &'a Rule, catalogue: &Catalogue, policy: &Policy, findings: &mut Findings) -> Self {
        let numbers = streams_of(rule, catalogue, findings);
        let streams: Vec<&Stream> = numbers.iter().filter_map(|n| catalogue.streams.get(usize::from(*n))).collect();
        check_targets(rule, &streams, findings);
        let bound = numbers
            .iter()
            .zip(&streams)
            .filter_map(|(number, stream)| {
                let condition = match &rule.when {
                    None => None,
                    Some(when) => {
                        let scope = Scope { stream, streams: &streams, jurisdictions: &policy.jurisdictions, when };
                        Some(Typed::check(scope, findings)?)
                    }
                };
                let mut emits = Vec::new();
                let mut places = Vec::new();
                for emit in &rule.emits {
                    for input in inputs(&emit.target, stream) {
                        check_operator(emit, input, stream, findings);
                        emits.push((input, Arc::clone(&emit.operator)));
                        places.push(emit.span.clone());
                    }
                }
                Some(BoundStream { stream: *number, condition, emits: emits.into(), places })
            })
            .collect();
        Self { number, rule, id: rule.id.as_str().into(), streams: bound }
    }

    fn stream(&self, stream: u16) -> Option<&BoundStream> {
        self.streams.binary_search_by_key(&stream, |bound| bound.stream).ok().and_then(|at| self.streams.get(at))
    }
}

/// Stream numbers of a rule, ascending.
fn streams_of(rule: &Rule, catalogue: &Catalogue, findings: &mut Findings) -> Vec<u16> {
    let names = match &rule.streams {
        Streams::All => return (0..catalogue.streams.len() as u16).collect(),
        Streams::Named(names) => names,
    };
    let mut numbers = BTreeSet::new();
    for (name, span) in names {
        let Some(number) = catalogue.stream_number(name) else {
            let known = catalogue.streams.iter().map(|stream| stream.name.as_str());
            let mend = match closest(name, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "declare it in the catalogue, or remove it here".to_owned(),
            };
            findings.report(span, format!("the catalogue declares no stream `{}`", name.escape_debug()), mend);
            continue;
        };
        numbers.insert(number);
    }
    numbers.into_iter().collect()
}

/// A column or category that no stream of the rule has is a slip: with `drop`, a dangerous one.
fn check_targets(rule: &Rule, streams: &[&Stream], findings: &mut Findings) {
    for emit in &rule.emits {
        if streams.is_empty() || streams.iter().any(|stream| !inputs(&emit.target, stream).is_empty()) {
            continue;
        }
        let names: Vec<&str> = streams.iter().take(3).map(|stream| stream.name.as_str()).collect();
        let names = names.join(", ");
        match &emit.target {
            Target::Column(column) => {
                let columns = streams.iter().flat_map(|stream| &stream.fields).map(|field| field.column.as_str());
                let mend = match closest(column, columns) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "declare the field in the catalogue, or remove the line".to_owned(),
                };
                findings.report(
                    &emit.span,
                    format!("no stream of this rule ({names}) declares a field `{column}`"),
                    mend,
                );
            }
            Target::Category(category) => {
                let message = format!("no field of this rule's streams ({names}) is in the category `{category}`");
                findings.report(&emit.span, message, "correct the category, or remove the line");
            }
        }
    }
}

/// The fields of a stream that an emit reaches.
fn inputs(target: &Target, stream: &Stream) -> Vec<Input> {
    match target {
        Target::Column(column) if column == "time" => vec![Input::Time],
        Target::Column(column) => stream.field_number(column).map(Input::Field).into_iter().collect(),
        Target::Category(category) => stream
            .fields
            .iter()
            .enumerate()
            .filter(|(_, field)| field.category.is_under(category))
            .map(|(number, _)| Input::Field(number as u16))
            .collect(),
    }
}

fn check_operator(emit: &Emit, input: Input, stream: &Stream, findings: &mut Findings) {
    let (name, (kind, list)) = (input_name(input, stream), input_kind(input, stream));
    let operator = &*emit.operator;
    if operator.output(kind).is_none() {
        let message = format!(
            "`{}` with these parameters cannot run on `{name}` of stream `{}`, which is of type {}",
            operator.name(),
            stream.name,
            type_name(kind, list)
        );
        let mend = match kind {
            FieldType::Position => {
                "use h3, geohash, suppress or drop; to keep it whole, declare two fields of type f64 instead"
            }
            _ => "use another operator: keep, suppress and drop run on every other type",
        };
        findings.report(&emit.span, message, mend);
    }
    let refused = match input {
        Input::Time => None,
        Input::Field(number) => stream
            .fields
            .get(usize::from(number))
            .filter(|field| !field.values.is_empty())
            .and_then(|field| operator.refuses(&field.values)),
    };
    if let Some(refused) = refused {
        let message = format!("{} (`{name}` of stream `{}`)", refused.message, stream.name);
        findings.report(&emit.span, message, refused.mend);
    }
    let written = column_name(name, operator);
    if operator.suffix().is_some() && stream.field_number(&written).is_some() {
        let message = format!(
            "`{}` writes column `{written}`, which stream `{}` declares as a field",
            operator.name(),
            stream.name
        );
        findings.report(&emit.span, message, format!("rename the field `{written}` in the catalogue"));
    }
}

fn table(
    purpose: u16,
    stream_number: u16,
    bound: &[BoundRule<'_>],
    catalogue: &Catalogue,
    policy: &Policy,
    findings: &mut Findings,
) -> Option<TablePlan> {
    let stream = catalogue.streams.get(usize::from(stream_number))?;
    let rules: Vec<(&BoundRule<'_>, &BoundStream)> = bound
        .iter()
        .filter(|rule| rule.rule.purposes.contains(&purpose))
        .filter_map(|rule| Some((rule, rule.stream(stream_number)?)))
        .filter(|(_, bound)| !bound.emits.is_empty())
        .collect();
    if rules.is_empty() {
        return None;
    }
    let conditions = rules.iter().filter_map(|(_, bound)| bound.condition.as_ref());
    let dimensions = dimensions(conditions, stream, &policy.jurisdictions);
    let purpose_name = &policy.purposes.get(usize::from(purpose))?.name;
    let cells = dimensions.iter().fold(1u64, |cells, (_, next)| cells.saturating_mul(u64::from(next.classes)));
    if cells > MAX_CELLS {
        let widest = rules.iter().find_map(|(rule, _)| rule.rule.when.as_ref());
        let span = widest.map_or(0..0, |when| when.span.clone());
        report_cells(cells, purpose_name, stream, &dimensions, &span, findings);
        return None;
    }
    let places = rules.iter().map(|(_, bound)| bound.places.clone()).collect();
    let rules = rules
        .iter()
        .map(|(rule, bound)| TableRule {
            rule: rule.number,
            id: Arc::clone(&rule.id),
            condition: bound.condition.as_ref().map_or(Condition::ALWAYS, |typed| typed.lower(&dimensions)),
            emits: Arc::clone(&bound.emits),
        })
        .collect();
    let dimensions = dimensions.into_iter().map(|(_, dimension)| dimension).collect();
    Some(
        TableDraft {
            purpose,
            purpose_name,
            stream_number,
            stream,
            jurisdictions: &policy.jurisdictions,
            dimensions,
            rules,
            places,
        }
        .build(findings),
    )
}

fn report_cells(
    cells: u64,
    purpose: &str,
    stream: &Stream,
    dimensions: &[(Subject, Dimension)],
    span: &Span,
    findings: &mut Findings,
) {
    let mut widest: Vec<(u32, String)> = dimensions
        .iter()
        .map(|(_, dimension)| {
            let name = match &dimension.subject {
                DimensionSubject::Event => "event",
                DimensionSubject::Jurisdiction => "jurisdiction",
                DimensionSubject::Gpc => "gpc",
                DimensionSubject::Bool { field }
                | DimensionSubject::Enum { field, .. }
                | DimensionSubject::Interval { field, .. } => input_name(Input::Field(*field), stream),
            };
            (dimension.classes, name.to_owned())
        })
        .collect();
    widest.sort_by(|a, b| b.cmp(a));
    let product: Vec<String> = widest.iter().take(8).map(|(classes, name)| format!("{name} ({classes})")).collect();
    let message = format!(
        "the conditions of purpose `{purpose}` on stream `{}` tell {cells} cases apart: {}; the most is {MAX_CELLS}",
        stream.name,
        product.join(" × ")
    );
    let mend = format!(
        "test fewer things together: use fewer numbers in comparisons of a column, fewer `values`, or no test of `{}` for this purpose",
        widest.first().map_or("", |(_, name)| name)
    );
    findings.report(span, message, mend);
}

#[cfg(test)]
mod lists;
#[cfg(test)]
mod tests;
