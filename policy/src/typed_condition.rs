//! Conditions against a catalogue: names are looked up, types checked, and dimensions cut where conditions cut.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::catalogue::{Field, FieldType, Stream};
use crate::condition::{Atom, Condition, Dimension, DimensionSubject};
use crate::expression::{Comparison, Expression, Test, TestKind};
use crate::names::UNKNOWN;
use crate::policy::Jurisdictions;
use crate::reader::closest;
use crate::rule_document::When;
use crate::source::{Findings, Span};

/// A condition whose names and types fit a stream.
#[derive(Clone, Debug)]
pub(crate) enum Typed {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Atom { subject: Subject, holds: Holds, undecided_absent: bool },
}

/// What an atom looks at; the order is that of a table's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Event,
    Jurisdiction,
    Gpc,
    Field(u16),
}

/// Where an atom holds.
#[derive(Clone, Debug)]
pub(crate) enum Holds {
    /// In these classes.
    Classes(Vec<Range<u32>>),
    /// From the first number up to, but not including, the second.
    Between(Option<f64>, Option<f64>),
}

/// What names mean in one rule and stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) stream: &'a Stream,
    /// All streams of the rule: an event of another one is no mistake.
    pub(crate) streams: &'a [&'a Stream],
    pub(crate) jurisdictions: &'a Jurisdictions,
    pub(crate) when: &'a When,
}

impl Typed {
    /// Types the condition of a rule; problems are reported, and nothing is returned then.
    pub(crate) fn check(scope: Scope<'_>, findings: &mut Findings) -> Option<Self> {
        check(&scope.when.expression, scope, findings)
    }

    /// The same over the dimensions of a table, which must hold everything that it looks at.
    pub(crate) fn lower(&self, dimensions: &[(Subject, Dimension)]) -> Condition {
        let parts = |parts: &[Self]| parts.iter().map(|part| part.lower(dimensions)).collect();
        match self {
            Self::Any(any) => Condition::Any(parts(any)),
            Self::All(all) => Condition::All(parts(all)),
            Self::Not(inner) => Condition::Not(Box::new(inner.lower(dimensions))),
            Self::Atom { subject, holds, undecided_absent } => {
                let Ok(number) = dimensions.binary_search_by_key(subject, |(subject, _)| *subject) else {
                    // Never: dimensions are collected from the same conditions. False lets nothing through.
                    return Condition::Any(Vec::new());
                };
                let holds = match holds {
                    Holds::Classes(classes) => classes.clone(),
                    Holds::Between(from, to) => vec![classes_between(*from, *to, &dimensions[number].1)],
                };
                Condition::Atom(Atom { dimension: number, holds, undecided_absent: *undecided_absent })
            }
        }
    }

    fn collect(&self, found: &mut BTreeMap<Subject, Vec<f64>>) {
        match self {
            Self::Any(parts) | Self::All(parts) => parts.iter().for_each(|part| part.collect(found)),
            Self::Not(inner) => inner.collect(found),
            Self::Atom { subject, holds, .. } => {
                let cuts = found.entry(*subject).or_default();
                if let Holds::Between(from, to) = holds {
                    cuts.extend(from.iter().chain(to));
                }
            }
        }
    }
}

/// The dimensions that conditions look at, in order.
pub(crate) fn dimensions<'a>(
    conditions: impl Iterator<Item = &'a Typed>,
    stream: &Stream,
    jurisdictions: &Jurisdictions,
) -> Vec<(Subject, Dimension)> {
    let mut found = BTreeMap::new();
    for condition in conditions {
        condition.collect(&mut found);
    }
    found.into_iter().map(|(subject, cuts)| (subject, dimension(subject, cuts, stream, jurisdictions))).collect()
}

fn dimension(subject: Subject, mut cuts: Vec<f64>, stream: &Stream, jurisdictions: &Jurisdictions) -> Dimension {
    let (subject, classes) = match subject {
        Subject::Event => (DimensionSubject::Event, stream.events.len()),
        Subject::Jurisdiction => (DimensionSubject::Jurisdiction, jurisdictions.names.len()),
        Subject::Gpc => (DimensionSubject::Gpc, 2),
        Subject::Field(field) => match stream.fields.get(usize::from(field)) {
            Some(Field { kind: FieldType::Bool, .. }) => (DimensionSubject::Bool { field }, 3),
            Some(Field { kind: FieldType::String, values, .. }) => {
                (DimensionSubject::Enum { field, values: values.clone() }, values.len() + 1)
            }
            _ => {
                cuts.sort_by(f64::total_cmp);
                cuts.dedup();
                let classes = cuts.len() + 2;
                (DimensionSubject::Interval { field, cuts }, classes)
            }
        },
    };
    Dimension { subject, classes: classes as u32 }
}

fn classes_between(from: Option<f64>, to: Option<f64>, dimension: &Dimension) -> Range<u32> {
    let DimensionSubject::Interval { cuts, .. } = &dimension.subject else { return 0..0 };
    let class_above = |cut: f64| cuts.partition_point(|other| *other <= cut) as u32 + 1;
    from.map_or(1, class_above)..to.map_or(dimension.classes, class_above)
}

fn check(expression: &Expression, scope: Scope<'_>, findings: &mut Findings) -> Option<Typed> {
    // Every part is checked, also behind a part with a problem, so that all problems are told at once.
    let mut parts = |parts: &[Expression]| -> Option<Vec<Typed>> {
        let checked: Vec<Option<Typed>> = parts.iter().map(|part| check(part, scope, findings)).collect();
        checked.into_iter().collect()
    };
    match expression {
        Expression::Any(any) => parts(any).map(Typed::Any),
        Expression::All(all) => parts(all).map(Typed::All),
        Expression::Not(inner) => check(inner, scope, findings).map(|inner| Typed::Not(Box::new(inner))),
        Expression::Test(test) => match test.name.as_str() {
            "event" => event(test, scope, findings),
            "jurisdiction" => jurisdiction(test, scope, findings),
            "gpc" => gpc(test, scope, findings),
            _ => column(test, scope, findings),
        },
    }
}

fn event(test: &Test, scope: Scope<'_>, findings: &mut Findings) -> Option<Typed> {
    let mend = "write event == 'phone.app.opened' or event in ['a', 'b']";
    let TestKind::OneOf(names) = &test.kind else {
        return mistake(scope, &test.name_span, "`event` is a text", mend, findings);
    };
    let mut classes = Vec::new();
    for (name, span) in names {
        match scope.stream.event_number(name) {
            Some(number) => classes.push(u32::from(number)),
            None if scope.streams.iter().any(|stream| stream.event_number(name).is_some()) => {}
            None => {
                let events = scope.streams.iter().flat_map(|stream| &stream.events).map(|event| event.name.as_str());
                let mend =
                    suggestion(name, events, "declare it in the catalogue, or name an event of the rule's streams");
                return mistake(
                    scope,
                    span,
                    &format!("no stream of this rule declares event `{name}`"),
                    &mend,
                    findings,
                );
            }
        }
    }
    if classes.is_empty() {
        // All of them belong to other streams of the rule: here it never holds, and needs no dimension.
        return Some(Typed::Any(Vec::new()));
    }
    Some(Typed::Atom { subject: Subject::Event, holds: Holds::Classes(ranges(classes)), undecided_absent: false })
}

fn jurisdiction(test: &Test, scope: Scope<'_>, findings: &mut Findings) -> Option<Typed> {
    let mend = "write jurisdiction == 'EU' or jurisdiction in ['EU', 'unknown']";
    let TestKind::OneOf(names) = &test.kind else {
        return mistake(scope, &test.name_span, "`jurisdiction` is a text", mend, findings);
    };
    let mut classes = Vec::new();
    for (name, span) in names {
        let Some(number) = scope.jurisdictions.names.iter().position(|known| known == name) else {
            let known = scope.jurisdictions.names.iter().map(String::as_str);
            let mend = suggestion(name, known, "declare it at the top: jurisdiction = { from = .., EU = [..] }");
            return mistake(scope, span, &format!("the policy declares no jurisdiction `{name}`"), &mend, findings);
        };
        classes.push(number as u32);
    }
    // `unknown` is a value like the others: a test of the jurisdiction is always decided.
    Some(Typed::Atom {
        subject: Subject::Jurisdiction,
        holds: Holds::Classes(ranges(classes)),
        undecided_absent: false,
    })
}

fn gpc(test: &Test, scope: Scope<'_>, findings: &mut Findings) -> Option<Typed> {
    if test.kind != TestKind::Flag {
        return mistake(scope, &test.name_span, "`gpc` is true or false", "write `gpc` or `not gpc`", findings);
    }
    Some(Typed::Atom { subject: Subject::Gpc, holds: Holds::Classes(ranges(vec![1])), undecided_absent: false })
}

fn column(test: &Test, scope: Scope<'_>, findings: &mut Findings) -> Option<Typed> {
    let found = scope.stream.field_number(&test.name);
    let Some((number, field)) = found.and_then(|number| Some((number, scope.stream.fields.get(usize::from(number))?)))
    else {
        let columns = scope.stream.fields.iter().map(|field| field.column.as_str());
        let known = columns.chain(["event", "jurisdiction", "gpc"]);
        let mend = suggestion(&test.name, known, "name a column that every stream of the rule declares");
        let message = format!("stream `{}` declares no column `{}`", scope.stream.name, test.name);
        return mistake(scope, &test.name_span, &message, &mend, findings);
    };
    let (subject, column) = (Subject::Field(number), &field.column);
    if field.list || field.kind == FieldType::Position {
        let message = format!("`{column}` is of type {}, which no condition can name", field.type_name());
        let mend = "remove the test, or declare what it needs as a field of its own, of type bool, i64, f64 or string";
        return mistake(scope, &test.name_span, &message, mend, findings);
    }
    match (&test.kind, field.kind) {
        (TestKind::Flag, FieldType::Bool) => {
            Some(Typed::Atom { subject, holds: Holds::Classes(ranges(vec![2])), undecided_absent: true })
        }
        (TestKind::OneOf(values), FieldType::String) => declared_values(values, field, subject, scope, findings),
        (TestKind::Compare(comparison, number, span), FieldType::I64 | FieldType::F64) => {
            let whole = field.kind == FieldType::I64;
            let Some((from, to)) = interval(*comparison, *number, whole) else {
                let message = format!("`{column}` is a whole number: it never equals this");
                return mistake(scope, span, &message, "compare with a whole number", findings);
            };
            Some(Typed::Atom { subject, holds: Holds::Between(from, to), undecided_absent: true })
        }
        (_, kind) => {
            let mend = match kind {
                FieldType::Bool => format!("write `{column}` or `not {column}`"),
                FieldType::I64 | FieldType::F64 => format!("compare it with a number: {column} < 10"),
                FieldType::String => format!("compare it with a declared value: {column} == 'x'"),
                FieldType::Timestamp | FieldType::Position => {
                    "conditions cannot look at times; remove the test".to_owned()
                }
            };
            let message = format!("`{column}` is of type {}, which cannot be tested so", kind.name());
            mistake(scope, &test.name_span, &message, &mend, findings)
        }
    }
}

fn declared_values(
    values: &[(String, Span)],
    field: &Field,
    subject: Subject,
    scope: Scope<'_>,
    findings: &mut Findings,
) -> Option<Typed> {
    let mut classes = Vec::new();
    let mut or_unknown = false;
    for (value, span) in values {
        if value == UNKNOWN {
            or_unknown = true;
        } else if let Some(position) = field.values.iter().position(|declared| declared == value) {
            classes.push(position as u32 + 1);
        } else {
            let mend = format!("add it to `values` of field `{}` in the catalogue", field.column);
            let mend = suggestion(value, field.values.iter().map(String::as_str), &mend);
            let message = format!("the catalogue declares no value `{value}` for `{}`", field.column);
            return mistake(scope, span, &message, &mend, findings);
        }
    }
    if or_unknown {
        classes.push(0);
    }
    Some(Typed::Atom { subject, holds: Holds::Classes(ranges(classes)), undecided_absent: !or_unknown })
}

/// `from <= x < to` for a comparison; none if it can never hold.
fn interval(comparison: Comparison, number: f64, whole: bool) -> Option<(Option<f64>, Option<f64>)> {
    // Adding zero turns -0 into 0: both are one cut.
    let at_least = (if whole { number.ceil() } else { number }) + 0.0;
    let above = (if whole { number.floor() + 1.0 } else { number.next_up() }) + 0.0;
    match comparison {
        Comparison::Less => Some((None, Some(at_least))),
        Comparison::LessOrEqual => Some((None, Some(above))),
        Comparison::Greater => Some((Some(above), None)),
        Comparison::GreaterOrEqual => Some((Some(at_least), None)),
        Comparison::Equal if whole && number.fract() != 0.0 => None,
        Comparison::Equal => Some((Some(at_least), Some(above))),
    }
}

/// Ascending ranges of classes.
fn ranges(mut classes: Vec<u32>) -> Vec<Range<u32>> {
    classes.sort_unstable();
    classes.dedup();
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for class in classes {
        match ranges.last_mut() {
            Some(last) if last.end == class => last.end += 1,
            _ => ranges.push(class..class + 1),
        }
    }
    ranges
}

fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>, otherwise: &str) -> String {
    closest(name, known).map_or_else(|| otherwise.to_owned(), |meant| format!("did you mean `{meant}`?"))
}

fn mistake<T>(scope: Scope<'_>, within: &Span, message: &str, mend: &str, findings: &mut Findings) -> Option<T> {
    findings.report(&scope.when.place(within), message, mend);
    None
}
