//! Reads `catalogue.toml`: streams, events and fields, checked while they are read.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::{Catalogue, Event, Field, FieldType, Role, Signal, Stream, TYPES};
use crate::category::Category;
use crate::document::{Document, Entry, Table};
use crate::names::{self, RESERVED_COLUMNS, UNKNOWN};
use crate::problem::Problems;
use crate::reader::{Reader, Text, check_name, closest, date, subtables};
use crate::source::{Findings, Source, Span};

mod from;

/// Most streams of a catalogue, and most events or fields of a stream: their numbers fit 16 bits with room.
const MAX_STREAMS: usize = 1_000;
const MAX_PER_STREAM: usize = 10_000;

impl Catalogue {
    /// Parses and checks `catalogue.toml`; `file` is how problems name it.
    ///
    /// # Errors
    /// Every problem found.
    pub fn parse(text: &str, file: &str) -> Result<Self, Problems> {
        let source = Source::new(text, file);
        read(Document::from_toml(&source)?, source)
    }

    /// Reads a catalogue back from its canonical JSON, as published at `/v1/catalogue` and kept beside the tables.
    /// Order inside a document is not part of its meaning: here it is by name.
    ///
    /// # Errors
    /// Every problem found.
    pub fn from_canonical(json: &str, file: &str) -> Result<Self, Problems> {
        let source = Source::new(json, file);
        read(Document::from_json(&source)?, source)
    }
}

fn read(document: Document, source: Source) -> Result<Catalogue, Problems> {
    let mut findings = Findings::new(source);
    let mut reader = Reader::new(&document.root, "the catalogue", &(0..0));
    let name =
        reader.required(&mut findings, "catalogue", "name the fleet in the first line: catalogue = \"acme-fleet\"");
    if let Some(name) = &name {
        check_name(name.value, name.span, &names::DOCUMENT, &mut findings);
    }
    let mut streams = Vec::new();
    let mut events = BTreeMap::new();
    let mend = "declare at least one stream: [stream.\"phone.app\"]";
    if let Some((entry, table)) = reader.required_table(&mut findings, "stream", mend) {
        if table.0.len() > MAX_STREAMS {
            findings.report(
                &entry.key_span,
                format!("there are more than {MAX_STREAMS} streams"),
                "put events into fewer streams",
            );
        }
        for (entry, table) in subtables(table, "stream", &names::STREAM, &mut findings) {
            streams.push(stream(entry, table, &mut events, &mut findings));
        }
    }
    reader.finish(&mut findings);
    streams.sort_by(|a, b| a.name.cmp(&b.name));
    findings.finish(name.map(|name| Catalogue {
        name: name.value.to_owned(),
        digest: document.digest,
        canonical: document.canonical,
        streams,
    }))
}

/// Events seen so far: an event of a signal belongs to one stream.
type SeenEvents<'d> = BTreeMap<(Signal, &'d str), (&'d str, &'d Span)>;

fn stream<'d>(entry: &'d Entry, table: &'d Table, seen: &mut SeenEvents<'d>, findings: &mut Findings) -> Stream {
    let mut reader = Reader::new(table, format!("stream `{}`", entry.key), &entry.key_span);
    let description = reader.required(findings, "description", "say in a sentence what the stream is");
    let owner = reader.required(findings, "owner", "name who answers for it: owner = \"phones@acme.example\"");
    let expires_day = date(&mut reader, findings, "expires");
    let signal = reader.text(findings, "signal", "use one of: logs, metrics, traces; left out, it is logs");
    let signal = signal.and_then(|text| known(text, "signal", &SIGNALS, findings)).unwrap_or_default();
    let (description, owner) = (owned(description), owned(owner));
    let mut fields = Vec::new();
    if let Some((at, table)) =
        reader.table(findings, "field", "write a table for each field: [stream.\"x\".field.imei]")
    {
        limit(at, table, "fields", findings);
        for (at, table) in subtables(table, "field", &names::COLUMN, findings) {
            let stream = StreamDefaults { name: &entry.key, signal, owner: &owner, expires_day };
            fields.extend(field(at, table, &stream, findings));
        }
    }
    let declared: Vec<&str> = declared_columns(table);
    let mut events = Vec::new();
    let mend = "declare what devices send: [stream.\"phone.app\".event.\"phone.app.opened\"]";
    if let Some((at, table)) = reader.required_table(findings, "event", mend) {
        limit(at, table, "events", findings);
        for (at, table) in subtables(table, "event", &names::EVENT, findings) {
            if let Some((stream, place)) = seen.insert((signal, &at.key), (&entry.key, &at.key_span)) {
                let message = format!("event `{}` is declared twice", at.key);
                let also = format!("declared in stream `{stream}`");
                findings.report_both(
                    &at.key_span,
                    message,
                    "declare it in one stream: an event has one table",
                    (place, &also),
                );
            }
            events.push(event(at, table, &declared, findings));
        }
    }
    reader.finish(findings);
    Stream { name: entry.key.clone(), signal, description, owner, expires_day, events, fields }
}

/// The columns that the document declares, in the order of [`Stream::fields`], whether or not they are faultless.
fn declared_columns(stream: &Table) -> Vec<&str> {
    let fields = stream.0.iter().find(|entry| entry.key == "field").map(|entry| &entry.item.node);
    let Some(crate::document::Node::Table(fields)) = fields else { return Vec::new() };
    fields.0.iter().map(|entry| entry.key.as_str()).collect()
}

fn event(entry: &Entry, table: &Table, declared: &[&str], findings: &mut Findings) -> Event {
    let mut reader = Reader::new(table, format!("event `{}`", entry.key), &entry.key_span);
    let description = reader.required(findings, "description", "say in a sentence when a device sends it");
    let expires_day = date(&mut reader, findings, "expires");
    let mend = "list columns of the stream: fields = [\"imei\", \"model\"]";
    let fields = match reader.texts(findings, "fields", mend) {
        Some((_, names)) => event_fields(&names, entry, declared, findings),
        None => (0..declared.len() as u16).collect(),
    };
    reader.finish(findings);
    Event { name: entry.key.clone(), description: owned(description), expires_day, fields }
}

fn event_fields(names: &[Text<'_>], event: &Entry, declared: &[&str], findings: &mut Findings) -> Vec<u16> {
    let mut fields = BTreeSet::new();
    for name in names {
        match declared.iter().position(|column| *column == name.value) {
            Some(number) if fields.insert(number as u16) => {}
            Some(_) => findings.report(
                name.span,
                format!("event `{}` lists `{}` twice", event.key, name.value),
                "list each column once",
            ),
            None => {
                let mend = match closest(name.value, declared.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("declare it: [stream.\"...\".field.{}], or remove it here", name.value),
                };
                findings.report(name.span, format!("the stream declares no field `{}`", name.value), mend);
            }
        }
    }
    fields.into_iter().collect()
}

/// What a field takes from its stream where it says nothing itself.
struct StreamDefaults<'a> {
    name: &'a str,
    signal: Signal,
    owner: &'a str,
    expires_day: Option<i32>,
}

fn field(entry: &Entry, table: &Table, stream: &StreamDefaults<'_>, findings: &mut Findings) -> Option<Field> {
    if RESERVED_COLUMNS.contains(&entry.key.as_str()) {
        let message = format!("`{}` is a column that every table has already", entry.key);
        findings.report(&entry.key_span, message, "give the field another name");
    }
    let mut reader = Reader::new(table, format!("field `{}`", entry.key), &entry.key_span);
    let kind = reader.required(findings, "type", TYPE);
    let kind = kind.and_then(|text| known(text, "type", &TYPES, findings));
    let from = from::from(&mut reader, stream.signal, kind, findings);
    let category = reader.required(findings, "category", CATEGORY);
    let category = category.and_then(|text| {
        let category = Category::parse(text.value);
        if category.is_none() {
            findings.report(text.span, format!("`{}` is not a data category", text.value.escape_debug()), CATEGORY);
        }
        category
    });
    let role = reader.required(findings, "role", "use one of: identifier, quasi, sensitive, plain");
    let role = role.and_then(|text| known(text, "role", &ROLES, findings));
    let description = reader.required(findings, "description", "say in a sentence what the value is");
    let owner =
        reader.text(findings, "owner", "name who answers for it, or leave it out: the stream's owner does then");
    date(&mut reader, findings, "review");
    let expires_day = date(&mut reader, findings, "expires");
    if table.0.iter().all(|entry| entry.key != "expires") && stream.expires_day.is_none() {
        let mend = format!("write expires = \"2028-12-31\" here, or in stream `{}` for all of its fields", stream.name);
        reader.missing(findings, "expires", &mend);
    }
    let values = values(&mut reader, kind, findings);
    reader.finish(findings);
    let (kind, list) = kind?;
    Some(Field {
        column: entry.key.clone(),
        kind,
        list,
        from: from?,
        category: category?,
        role: role?,
        description: owned(description),
        owner: owner.map_or_else(|| stream.owner.to_owned(), |owner| owner.value.to_owned()),
        expires_day: expires_day.or(stream.expires_day),
        values,
    })
}

fn values(reader: &mut Reader<'_>, kind: Option<(FieldType, bool)>, findings: &mut Findings) -> Vec<String> {
    let mend = "list the values that conditions may name: values = [\"wifi\", \"5g\"]";
    let Some((entry, texts)) = reader.texts(findings, "values", mend) else { return Vec::new() };
    if kind.is_some_and(|kind| kind != (FieldType::String, false)) {
        findings.report(
            &entry.key_span,
            "only a field of type string has `values`",
            "remove it: conditions compare numbers as they are, and cannot name lists",
        );
    }
    if texts.is_empty() {
        findings.report(&entry.item.span, "`values` is empty", mend);
    }
    let mut seen = BTreeSet::new();
    for text in &texts {
        if !seen.insert(text.value) {
            findings.report(text.span, "this value is listed twice", "list each value once");
        }
        if text.value.contains(['\'', '"']) || text.value.chars().any(char::is_control) {
            let mend = "leave it out: a value with quotes or control characters cannot be written in a condition";
            findings.report(text.span, "no condition can name this value", mend);
        }
    }
    // Whatever is not listed is `unknown` to conditions, so that listing it says nothing new.
    texts.iter().map(|text| text.value).filter(|value| *value != UNKNOWN).map(str::to_owned).collect()
}

const TYPE: &str = "use one of: bool, i64, f64, string, timestamp, position, or a list such as list<string>";
const CATEGORY: &str =
    "use a fideslang data category: words in lower case joined by dots, such as user.location.precise";

const SIGNALS: [(&str, Signal); 3] = [("logs", Signal::Logs), ("metrics", Signal::Metrics), ("traces", Signal::Traces)];

const ROLES: [(&str, Role); 4] =
    [("identifier", Role::Identifier), ("quasi", Role::Quasi), ("sensitive", Role::Sensitive), ("plain", Role::Plain)];

/// The value that a word stands for.
pub(crate) fn known<T: Copy>(text: Text<'_>, what: &str, words: &[(&str, T)], findings: &mut Findings) -> Option<T> {
    let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
    if found.is_none() {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        findings.report(
            text.span,
            format!("there is no {what} `{}`", text.value.escape_debug()),
            format!("use one of: {}", all.join(", ")),
        );
    }
    found
}

fn limit(entry: &Entry, table: &Table, what: &str, findings: &mut Findings) {
    if table.0.len() > MAX_PER_STREAM {
        findings.report(&entry.key_span, format!("a stream has more than {MAX_PER_STREAM} {what}"), "split the stream");
    }
}

fn owned(text: Option<Text<'_>>) -> String {
    text.map(|text| text.value.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
