//! Reads the rules of `policy.toml`, as written: what they name is looked up when the plan is compiled.

use std::collections::BTreeMap;

use crate::category::Category;
use crate::document::{Entry, Item, Node, Table};
use crate::expression::Expression;
use crate::files::Files;
use crate::names;
use crate::operator::{self, OperatorRef, Parameter};
use crate::policy_document::unknown_purpose;
use crate::reader::{self, Reader, Text, check_name, subtables};
use crate::source::{Findings, Span};

/// Most rules of a policy: their numbers fit 16 bits.
const MAX_RULES: usize = 60_000;

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    /// Where the id stands.
    pub(crate) span: Span,
    pub(crate) streams: Streams,
    /// Purpose numbers, ascending.
    pub(crate) purposes: Vec<u16>,
    pub(crate) when: Option<When>,
    pub(crate) emits: Vec<Emit>,
}

/// The streams that a rule is about.
#[derive(Clone, Debug)]
pub(crate) enum Streams {
    All,
    Named(Vec<(String, Span)>),
}

/// A condition and its place.
#[derive(Clone, Debug)]
pub(crate) struct When {
    pub(crate) expression: Expression,
    /// The whole text, quotes included.
    pub(crate) span: Span,
    /// Where the first character of the condition stands; none if escapes shift what follows.
    pub(crate) start: Option<usize>,
}

/// What a rule does to one field, or to the fields of one category.
#[derive(Clone, Debug)]
pub(crate) struct Emit {
    pub(crate) target: Target,
    pub(crate) operator: OperatorRef,
    /// Where the column or category stands.
    pub(crate) span: Span,
}

/// Which fields.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Column(String),
    Category(Category),
}

impl When {
    /// Place in the file of a range of the condition's text.
    pub(crate) fn place(&self, within: &Span) -> Span {
        self.start.map_or_else(|| self.span.clone(), |start| start + within.start..start + within.end)
    }
}

/// Reads `[[rule]]`.
pub(crate) fn rules(entry: Option<&Entry>, purposes: &[&str], files: &Files<'_>, findings: &mut Findings) -> Vec<Rule> {
    let Some(entry) = entry else { return Vec::new() };
    let Node::List(items) = &entry.item.node else {
        let message = format!("`rule` must be a list of tables, not {}", entry.item.node.kind());
        findings.report(&entry.key_span, message, "write each rule under [[rule]], with two brackets");
        return Vec::new();
    };
    if items.len() > MAX_RULES {
        findings.report(
            &entry.key_span,
            format!("there are more than {MAX_RULES} rules"),
            "join rules that emit the same",
        );
        return Vec::new();
    }
    let mut seen: BTreeMap<&str, &Span> = BTreeMap::new();
    items.iter().filter_map(|item| rule(item, purposes, files, &mut seen, findings)).collect()
}

fn rule<'d>(
    item: &'d Item,
    purposes: &[&str],
    files: &Files<'_>,
    seen: &mut BTreeMap<&'d str, &'d Span>,
    findings: &mut Findings,
) -> Option<Rule> {
    let table = reader::table(item, "a rule", "write each rule under [[rule]]", findings)?;
    let name = table.0.iter().find(|entry| entry.key == "id").and_then(|entry| match &entry.item.node {
        Node::Text(id) => Some(id.as_str()),
        _ => None,
    });
    let what = name.map_or_else(|| "the rule".to_owned(), |id| format!("rule `{}`", id.escape_debug()));
    let mut reader = Reader::new(table, what, &item.span);
    let id = reader.required(findings, "id", "name the rule: id = \"phone-analytics\"; explanations refer to it");
    if let Some(id) = id {
        check_name(id.value, id.span, &names::RULE, findings);
        if let Some(first) = seen.insert(id.value, id.span) {
            let message = format!("rule `{}` is there twice", id.value.escape_debug());
            findings.report_both(id.span, message, "give each rule an id of its own", (first, "the first one"));
        }
    }
    let streams = streams(&mut reader, findings);
    let purposes = rule_purposes(&mut reader, purposes, findings);
    let when = reader.text(findings, "when", "write a condition, or leave `when` out: the rule holds always then");
    let when = when.map(|text| condition(text, findings));
    let emits = emits(&mut reader, files, findings);
    reader.finish(findings);
    let id = id?;
    let when = match when {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Rule { id: id.value.to_owned(), span: id.span.clone(), streams: streams?, purposes: purposes?, when, emits })
}

fn streams(reader: &mut Reader<'_>, findings: &mut Findings) -> Option<Streams> {
    let names = selection(reader, "stream", findings)?;
    if let [only] = names.as_slice()
        && only.value == "*"
    {
        return Some(Streams::All);
    }
    Some(Streams::Named(names.iter().map(|name| (name.value.to_owned(), name.span.clone())).collect()))
}

fn rule_purposes(reader: &mut Reader<'_>, known: &[&str], findings: &mut Findings) -> Option<Vec<u16>> {
    let names = selection(reader, "purpose", findings)?;
    if let [only] = names.as_slice()
        && only.value == "*"
    {
        return Some((0..known.len() as u16).collect());
    }
    let mut numbers = Vec::new();
    for name in names {
        match known.iter().position(|purpose| *purpose == name.value) {
            Some(number) => numbers.push(number as u16),
            None => unknown_purpose(name, known.iter().copied(), findings),
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

/// A name, a list of names, or `"*"`.
fn selection<'d>(reader: &mut Reader<'d>, key: &'static str, findings: &mut Findings) -> Option<Vec<Text<'d>>> {
    let mend = format!("write a name, a list of names, or \"*\" for all: {key} = \"*\"");
    let Some(entry) = reader.get(key) else {
        reader.missing(findings, key, &mend);
        return None;
    };
    let names = match &entry.item.node {
        Node::Text(value) => vec![Text { value, span: &entry.item.span }],
        _ => reader::texts(&entry.item, &format!("`{key}`"), &mend, findings)?,
    };
    if names.is_empty() {
        findings.report(&entry.item.span, format!("`{key}` of {} names nothing", reader.what()), mend);
    } else if names.len() > 1
        && let Some(all) = names.iter().find(|name| name.value == "*")
    {
        findings.report(
            all.span,
            "`*` stands for all: no other name may stand beside it",
            format!("write {key} = \"*\""),
        );
    }
    Some(names)
}

fn condition(text: Text<'_>, findings: &mut Findings) -> Option<When> {
    let start = findings.source().content_start(text.span, text.value);
    match Expression::parse(text.value) {
        Ok(expression) => Some(When { expression, span: text.span.clone(), start }),
        Err(error) => {
            let span = start.map_or_else(|| text.span.clone(), |at| at + error.span.start..at + error.span.end);
            findings.report(&span, error.message, error.mend);
            None
        }
    }
}

const EMIT: &str = "say what the rule does to a field: emit.model = { op = \"keep\" }";

fn emits(reader: &mut Reader<'_>, files: &Files<'_>, findings: &mut Findings) -> Vec<Emit> {
    let mut emits = Vec::new();
    let columns = reader.table(findings, "emit", EMIT);
    let by_category = "write emit_category.\"user.location\" = { op = \"drop\" }";
    let categories = reader.table(findings, "emit_category", by_category);
    if columns.is_none_or(|(_, table)| table.0.is_empty()) && categories.is_none_or(|(_, table)| table.0.is_empty()) {
        reader.missing(findings, "emit", EMIT);
    }
    if let Some((_, table)) = columns {
        for (entry, table) in subtables(table, "emit", &names::COLUMN, findings) {
            let operator = operator(entry, table, files, findings);
            emits.extend(operator.map(|operator| Emit {
                target: Target::Column(entry.key.clone()),
                operator,
                span: entry.key_span.clone(),
            }));
        }
    }
    for entry in categories.map(|(_, table)| table.0.as_slice()).unwrap_or_default() {
        let Some(table) = reader::table(&entry.item, &format!("emit_category `{}`", entry.key), by_category, findings)
        else {
            continue;
        };
        let operator = operator(entry, table, files, findings);
        let Some(category) = Category::parse(&entry.key) else {
            let message = format!("`{}` is not a data category", entry.key.escape_debug());
            findings.report(
                &entry.key_span,
                message,
                "put the whole category in quotes: emit_category.\"user.location\"",
            );
            continue;
        };
        emits.extend(operator.map(|operator| Emit {
            target: Target::Category(category),
            operator,
            span: entry.key_span.clone(),
        }));
    }
    emits
}

fn operator(entry: &Entry, table: &Table, files: &Files<'_>, findings: &mut Findings) -> Option<OperatorRef> {
    let mut reader = Reader::new(table, format!("emit `{}`", entry.key), &entry.key_span);
    let name = reader.required(findings, "op", "name an operator: { op = \"keep\" }")?;
    let mut parameters = BTreeMap::new();
    for parameter in table.0.iter().filter(|parameter| parameter.key != "op") {
        let value = match &parameter.item.node {
            Node::Text(text) => Parameter::Text(text.clone()),
            Node::Integer(number) => Parameter::Integer(*number),
            Node::Float(number) => Parameter::Float(*number),
            Node::Bool(value) => Parameter::Bool(*value),
            Node::List(_) => {
                let what = format!("parameter `{}`", parameter.key);
                Parameter::Texts(text_list(&parameter.item, &what, findings)?)
            }
            other => {
                let message = format!("parameter `{}` cannot be {}", parameter.key, other.kind());
                findings.report(
                    &parameter.item.span,
                    message,
                    "write a text, a list of texts, a number, true or false",
                );
                return None;
            }
        };
        parameters.insert(parameter.key.clone(), value);
    }
    match operator::build_with(name.value, &parameters, files) {
        Ok(operator) => Some(operator),
        Err(error) => {
            findings.report(&place_of(&error.message, table, name), error.message, error.mend);
            None
        }
    }
}

/// A parameter that is a list of texts; with one that is not, there is none.
fn text_list(item: &Item, what: &str, findings: &mut Findings) -> Option<Vec<String>> {
    let texts = reader::texts(item, what, "write texts: [\"email\", \"card\"]", findings)?;
    let whole = matches!(&item.node, Node::List(items) if items.len() == texts.len());
    whole.then(|| texts.iter().map(|text| text.value.to_owned()).collect())
}

/// The parameter that a message is about, by its name or its value, or the operator's name.
fn place_of(message: &str, table: &Table, name: Text<'_>) -> Span {
    let says = |text: &str| message.contains(&format!("`{text}`"));
    let parameters = || table.0.iter().filter(|parameter| parameter.key != "op");
    if let Some(named) = parameters().find(|parameter| says(&parameter.key)) {
        return named.key_span.clone();
    }
    let items = parameters().flat_map(|parameter| match &parameter.item.node {
        Node::List(items) => items.iter().collect(),
        _ => vec![&parameter.item],
    });
    let valued = items.rev().find(|item| matches!(&item.node, Node::Text(text) if says(text)));
    valued.map_or_else(|| name.span.clone(), |item| item.span.clone())
}
