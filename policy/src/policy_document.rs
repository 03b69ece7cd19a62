//! Reads `policy.toml`: notice, jurisdictions, Global Privacy Control and purposes; rules are in `rule_document`.

use std::collections::BTreeMap;

use crate::catalogue::{FieldPath, Signal};
use crate::catalogue_document::known;
use crate::category::Category;
use crate::consent::MAX_PURPOSES;
use crate::document::{Document, Entry, FILES, Node, Table};
use crate::files::{Files, ReadFile, no_file};
use crate::names::{self, UNKNOWN};
use crate::policy::{GpcRule, Jurisdictions, LegalBasis, OnWithdrawal, Policy, Purpose};
use crate::problem::Problems;
use crate::reader::{self, Reader, Text, check_name, closest, subtables};
use crate::retention::Period;
use crate::rule_document::rules;
use crate::source::{Findings, Source};

/// Highest `min_age` that makes sense.
const MAX_AGE: i64 = 120;

impl Policy {
    /// Parses `policy.toml`; `file` is how problems name it. It can name no files.
    ///
    /// # Errors
    /// Every problem found.
    pub fn parse(text: &str, file: &str) -> Result<Self, Problems> {
        Self::parse_with(text, file, &no_file)
    }

    /// Parses `policy.toml` and the files that it names, which `read_file` gives. Their texts become part of the
    /// canonical document, under `files`, and so of its digest.
    ///
    /// # Errors
    /// Every problem found.
    pub fn parse_with(text: &str, file: &str, read_file: &ReadFile<'_>) -> Result<Self, Problems> {
        let source = Source::new(text, file);
        let document = Document::from_toml(&source)?;
        let files = Files::new(read_file);
        let policy = read(&document, &source, &files, Origin::Written)?;
        let Document { digest, canonical, .. } = document.with_files(files.into_texts(), &source)?;
        Ok(Self { digest, canonical, ..policy })
    }

    /// Reads a policy back from its canonical JSON, as published at `/v1/policy` and kept beside the tables. With the
    /// catalogue of its time it compiles to a plan with the same decisions under the same numbers, whatever the order of
    /// purposes, jurisdictions, events and fields was in the files.
    ///
    /// # Errors
    /// Every problem found.
    pub fn from_canonical(json: &str, file: &str) -> Result<Self, Problems> {
        let source = Source::new(json, file);
        let document = Document::from_json(&source)?;
        let read_file = |name: &str| document.file(name).map_or_else(|| no_file(name), |text| Ok(text.to_owned()));
        read(&document, &source, &Files::new(&read_file), Origin::Kept)
    }
}

/// Whether a document was written by people, or kept with its files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Written,
    Kept,
}

fn read(document: &Document, source: &Source, files: &Files<'_>, origin: Origin) -> Result<Policy, Problems> {
    let mut findings = Findings::new(source.clone());
    let mut reader = Reader::new(&document.root, "the policy", &(0..0));
    let name = reader.required(&mut findings, "policy", "name the fleet in the first line: policy = \"acme-fleet\"");
    if let Some(name) = &name {
        check_name(name.value, name.span, &names::DOCUMENT, &mut findings);
    }
    let mend = "write default = \"drop\", or leave it out: there is no other";
    if let Some(default) = reader.text(&mut findings, "default", mend)
        && default.value != "drop"
    {
        findings.report(default.span, "what no rule allows is dropped; there is no other default", mend);
    }
    let notice = reader.text(&mut findings, "notice", "name the version of the published notice: notice = \"2026-01\"");
    let jurisdictions = jurisdictions(&mut reader, &mut findings);
    let mend = "declare at least one purpose: [purpose.diagnostics]";
    let declared = reader.required_table(&mut findings, "purpose", mend);
    let purposes =
        declared.map_or_else(Vec::new, |(_, table)| purposes(table, &jurisdictions, notice.is_some(), &mut findings));
    let gpc = gpc(&mut reader, &purposes, &mut findings);
    let purpose_names: Vec<&str> = purposes.iter().map(|purpose| purpose.name.as_str()).collect();
    let rules = rules(reader.get("rule"), &purpose_names, files, &mut findings);
    if origin == Origin::Kept {
        reader.get(FILES);
    }
    reader.finish(&mut findings);
    findings.finish(name.map(|name| Policy {
        name: name.value.to_owned(),
        digest: document.digest,
        canonical: document.canonical.clone(),
        notice: notice.map(|notice| notice.value.to_owned()),
        jurisdictions,
        gpc,
        purposes,
        rules,
        source: source.clone(),
    }))
}

fn jurisdictions(reader: &mut Reader<'_>, findings: &mut Findings) -> Jurisdictions {
    let mut known = Jurisdictions { from: None, names: vec![UNKNOWN.to_owned()], values: BTreeMap::new() };
    let mend = "write jurisdiction = { from = \"resource.region\", EU = [\"DE\", \"FR\"] }";
    let Some((entry, table)) = reader.table(findings, "jurisdiction", mend) else { return known };
    let mut inner = Reader::new(table, "`jurisdiction`", &entry.key_span);
    known.from = inner.required(findings, "from", mend).and_then(|from| path(from, findings));
    let mut seen: BTreeMap<&str, (&Entry, Text<'_>)> = BTreeMap::new();
    for list in table.0.iter().filter(|entry| entry.key != "from") {
        check_name(&list.key, &list.key_span, &names::JURISDICTION, findings);
        if list.key == UNKNOWN {
            let mend = "remove it: whatever no list names is `unknown`";
            findings.report(&list.key_span, "`unknown` cannot be declared", mend);
            continue;
        }
        let number = known.names.len() as u16;
        known.names.push(list.key.clone());
        let what = format!("jurisdiction `{}`", list.key);
        let mend = format!("list the values that mean it: {} = [\"DE\", \"FR\"]", list.key);
        for value in reader::texts(&list.item, &what, &mend, findings).unwrap_or_default() {
            if let Some((other, place)) = seen.insert(value.value, (list, value)) {
                let message =
                    format!("`{}` is listed for `{}` and for `{}`", value.value.escape_debug(), other.key, list.key);
                let also = format!("listed for `{}`", other.key);
                findings.report_both(value.span, message, "list each value once", (place.span, &also));
            }
            known.values.insert(value.value.to_owned(), number);
        }
    }
    known
}

fn gpc(reader: &mut Reader<'_>, purposes: &[Purpose], findings: &mut Findings) -> GpcRule {
    let mut rule = GpcRule { from: None, opts_out: vec![false; purposes.len()] };
    let mend = "write gpc = { from = \"resource.gpc\", opts_out = [\"analytics\"] }";
    let Some((entry, table)) = reader.table(findings, "gpc", mend) else { return rule };
    let mut inner = Reader::new(table, "`gpc`", &entry.key_span);
    rule.from = inner.text(findings, "from", mend).and_then(|from| path(from, findings));
    match inner.texts(findings, "opts_out", mend) {
        Some((_, names)) => {
            for name in names {
                match purposes.iter().position(|purpose| purpose.name == name.value) {
                    Some(number) => rule.opts_out[number] = true,
                    None => unknown_purpose(name, purposes.iter().map(|purpose| purpose.name.as_str()), findings),
                }
            }
        }
        None if inner.get("opts_out").is_none() => inner.missing(findings, "opts_out", mend),
        None => {}
    }
    inner.finish(findings);
    rule
}

/// Reports a purpose that nobody declared.
pub(crate) fn unknown_purpose<'a>(name: Text<'_>, known: impl Iterator<Item = &'a str>, findings: &mut Findings) {
    let mend = match closest(name.value, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("declare it: [purpose.{}], or remove it here", name.value.escape_debug()),
    };
    findings.report(name.span, format!("there is no purpose `{}`", name.value.escape_debug()), mend);
}

fn path(text: Text<'_>, findings: &mut Findings) -> Option<FieldPath> {
    let path = FieldPath::parse(text.value);
    match &path {
        None => {
            let message = format!("`{}` is not a place in a record", text.value.escape_debug());
            findings.report(text.span, message, "use attributes.<key> or resource.<key>");
        }
        Some(known) if known.signals().len() < Signal::ALL.len() => {
            let message = format!("not every record has `{}`: it must come with logs, metrics and traces", text.value);
            findings.report(text.span, message, "use attributes.<key> or resource.<key>");
        }
        Some(_) => {}
    }
    path
}

fn purposes(table: &Table, known: &Jurisdictions, notice: bool, findings: &mut Findings) -> Vec<Purpose> {
    let mut purposes = Vec::new();
    for (number, (entry, table)) in subtables(table, "purpose", &names::PURPOSE, findings).into_iter().enumerate() {
        if number == MAX_PURPOSES {
            findings.report(
                &entry.key_span,
                format!("there are more than {MAX_PURPOSES} purposes"),
                "join purposes that need the same consent",
            );
        }
        purposes.push(purpose(entry, table, known, notice, findings));
    }
    purposes
}

fn purpose(
    entry: &Entry,
    table: &Table,
    known_places: &Jurisdictions,
    notice: bool,
    findings: &mut Findings,
) -> Purpose {
    let mut reader = Reader::new(table, format!("purpose `{}`", entry.key), &entry.key_span);
    let description = reader.text(findings, "description", "say in a sentence what it is, or leave it out");
    let data_use = reader.required(findings, "use", USE);
    if let Some(text) = data_use
        && Category::parse(text.value).is_none()
    {
        findings.report(text.span, format!("`{}` is not a data use", text.value.escape_debug()), USE);
    }
    let basis = reader.required_table(findings, "basis", BASIS);
    let basis = basis.map_or_else(
        || vec![None; known_places.names.len()],
        |(entry, table)| bases(entry, table, known_places, notice, findings),
    );
    let mend = "write the least age by jurisdiction: min_age = { EU = 16, CN = 14 }";
    let min_age = match reader.table(findings, "min_age", mend) {
        Some((_, table)) => ages(table, known_places, mend, findings),
        None => vec![0; known_places.names.len()],
    };
    let retain = reader.required(findings, "retain", RETAIN).and_then(|text| {
        let period = Period::parse(text.value);
        if period.is_none() {
            findings.report(text.span, format!("`{}` is not a period", text.value.escape_debug()), RETAIN);
        }
        period
    });
    let on_withdrawal = reader.text(findings, "on_withdrawal", "use erase or keep; erase if you leave it out");
    let words = [("erase", OnWithdrawal::Erase), ("keep", OnWithdrawal::Keep)];
    let on_withdrawal = on_withdrawal.and_then(|text| known(text, "on_withdrawal", &words, findings));
    reader.finish(findings);
    Purpose {
        name: entry.key.clone(),
        data_use: data_use.map(|text| text.value.to_owned()).unwrap_or_default(),
        description: description.map(|text| text.value.to_owned()).unwrap_or_default(),
        basis,
        min_age,
        // A problem was reported where there is none, so that this stand-in never leaves the parser.
        retain: retain.unwrap_or(Period::Days(1)),
        on_withdrawal: on_withdrawal.unwrap_or(OnWithdrawal::Erase),
    }
}

const USE: &str = "use a fideslang data use, such as essential.service.operations.improve";
const BASIS: &str = "name the legal basis by jurisdiction: basis = { EU = \"consent\", \"*\" = \"notice\" }";
const RETAIN: &str = "write days, weeks, months or years: retain = \"30 days\"";

fn bases(
    entry: &Entry,
    table: &Table,
    places: &Jurisdictions,
    notice: bool,
    findings: &mut Findings,
) -> Vec<Option<LegalBasis>> {
    if table.0.is_empty() {
        findings.report(&entry.item.span, "`basis` names no jurisdiction", BASIS);
    }
    let words: Vec<(&str, LegalBasis)> = LegalBasis::ALL.iter().map(|basis| (basis.name(), *basis)).collect();
    by_place(table, places, findings, |entry, findings| {
        let text = reader::text(&entry.item, &format!("the basis in `{}`", entry.key), BASIS, findings)?;
        let basis = known(text, "legal basis", &words, findings)?;
        if basis.needs_notice() && !notice {
            let message =
                format!("the legal basis `{}` needs a published notice, and the policy names none", basis.name());
            findings.report(text.span, message, "add the version of your notice at the top: notice = \"2026-01\"");
        }
        Some(basis)
    })
}

fn ages(table: &Table, places: &Jurisdictions, mend: &str, findings: &mut Findings) -> Vec<u8> {
    let ages = by_place(table, places, findings, |entry, findings| match entry.item.node {
        Node::Integer(age) if (0..=MAX_AGE).contains(&age) => Some(age as u8),
        _ => {
            findings.report(&entry.item.span, format!("an age is a whole number from 0 to {MAX_AGE}"), mend);
            None
        }
    });
    ages.into_iter().map(Option::unwrap_or_default).collect()
}

/// Reads `{ EU = .., "*" = .. }` to one value for each jurisdiction number; `unknown` gets the greatest of all.
fn by_place<T: Copy + Ord>(
    table: &Table,
    places: &Jurisdictions,
    findings: &mut Findings,
    mut read: impl FnMut(&Entry, &mut Findings) -> Option<T>,
) -> Vec<Option<T>> {
    let mut found = vec![None; places.names.len()];
    let mut rest = None;
    for entry in &table.0 {
        let place = places.names.iter().position(|name| *name == entry.key);
        match (entry.key.as_str(), place) {
            ("*", _) => rest = read(entry, findings),
            (UNKNOWN, _) => {
                let mend = "remove it: an unknown jurisdiction has the strictest of all that are named here";
                findings.report(&entry.key_span, "`unknown` cannot be set", mend);
            }
            (_, Some(place)) => found[place] = read(entry, findings),
            (name, None) => {
                let mend = match closest(name, places.names.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "declare it under `jurisdiction`, or write \"*\" for all that are declared".to_owned(),
                };
                findings.report(&entry.key_span, format!("there is no jurisdiction `{}`", name.escape_debug()), mend);
            }
        }
    }
    let strictest = found.iter().copied().flatten().chain(rest).max();
    for value in found.iter_mut().skip(1) {
        *value = value.or(rest);
    }
    if let Some(unknown) = found.first_mut() {
        *unknown = strictest;
    }
    found
}

#[cfg(test)]
mod tests;
