//! What the demo tells: one device field by field, the withdrawal, the account, the files, and what to try next.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use candor_agent::event::Event;
use candor_agent::send::Sent;
use candor_policy::catalogue::FieldPath;
use candor_policy::consent::ConsentState;
use candor_policy::plan::Plan;
use candor_store::clock::SystemClock;
use candor_store::view::{HeldField, HeldRow, TableRows, Total};
use serde_json::{Value, json};

use super::{BEFORE, DEVICE, Places, SHOWN, device, fleet};
use crate::command::audit;
use crate::exit::Failure;
use crate::explain::{Answer, Question, explain, sentence};
use crate::render::{Report, Text, Tone, Width, cell_text, grid, shorten};
use crate::sample::Request;

/// Columns that the story takes.
const WIDTH: u16 = 100;
/// Longest value as it came in.
const CAME_IN: usize = 20;
/// Longest value as it is stored.
const STORED: usize = 16;
/// Age that the sample's statement gives the device's owner.
const AGE: u8 = 30;

/// What was found after the service had stopped.
pub(super) struct Facts {
    pub(super) held: Vec<HeldRow>,
    pub(super) totals: Vec<Total>,
    pub(super) tables: Vec<TableRows>,
    pub(super) address: String,
    pub(super) sent: Sent,
    pub(super) withdrawn: i64,
}

/// The story and what it is told from.
pub(super) struct Story<'a> {
    pub(super) plan: &'a Plan,
    pub(super) events: &'a [Event],
    pub(super) facts: &'a Facts,
    pub(super) places: &'a Places,
}

/// What became of one field for one purpose.
enum Fate<'a> {
    Stored(&'a HeldField),
    /// By which rule, if any reaches it.
    Dropped(Option<String>),
}

impl Story<'_> {
    pub(super) fn mismatches(&self) -> Vec<String> {
        audit::mismatches(&self.facts.totals, &self.facts.tables)
    }

    /// For people a story; for programs a row for each field and purpose.
    pub(super) fn report(&self) -> Result<Report, Failure> {
        let mut report = Report::new("demo");
        for key in ["event", "field", "came_in", "purpose", "outcome", "stored", "rule", "operator"] {
            report = report.column(key, key);
        }
        let mut text = self.opening();
        for name in SHOWN {
            if let Some(event) = self.events.iter().find(|event| event.name == name && device(event) == Some(DEVICE)) {
                let answer = self.explain(event)?;
                self.rows(event, &answer, &mut report);
                text.push_str(&self.one_event(event, &answer));
            }
        }
        text.push_str(&self.withdrawal());
        text.push_str(&self.account());
        text.push_str(&self.ending());
        report.fact("data", self.places.data.display().to_string());
        report.fact("fleet", self.places.fleet.display().to_string());
        report.fact("events", self.facts.sent.events);
        report.fact("balances", self.mismatches().is_empty());
        report.text(text);
        Ok(report)
    }

    fn opening(&self) -> String {
        let devices: std::collections::BTreeSet<_> = self.events.iter().filter_map(device).collect();
        let purposes: Vec<&str> = self.plan.policy().purposes.iter().map(|p| p.name.as_str()).collect();
        format!(
            "Candor: telemetry that its users can check.\n\n\
             {} phones, appliances and cars sent {} events to a service on this machine ({}), as\n\
             OpenTelemetry logs. Before anything was stored, each event met the consent of its owner and a policy\n\
             with {} purposes: {}. Each purpose has tables of its own.\n",
            devices.len(),
            self.facts.sent.events,
            self.facts.address.trim_start_matches("http://"),
            purposes.len(),
            purposes.join(", "),
        )
    }

    fn explain(&self, event: &Event) -> Result<Answer, Failure> {
        let purposes = &self.plan.policy().purposes;
        let request = Request::of_event(event);
        let question = Question {
            request: &request,
            consent: purposes.iter().map(|purpose| (purpose.name.clone(), ConsentState::Given)).collect(),
            age_from: Some(AGE),
            guardian: false,
            gpc: false,
            subject: FieldPath::Resource("device.id".to_owned()),
        };
        explain(self.plan, &question, &SystemClock)
    }

    /// The row that a purpose holds of an event of the device from before the withdrawal.
    fn held(&self, event: &Event, purpose: &str) -> Option<&HeldRow> {
        self.facts.held.iter().find(|row| {
            row.purpose == purpose
                && row.event == event.name
                && row.consent_seq.is_none_or(|n| n < self.facts.withdrawn)
        })
    }

    fn fates<'a>(&'a self, event: &Event, answer: &Answer) -> Vec<(String, Vec<(String, Fate<'a>)>)> {
        let of_purpose = |purpose: &candor_policy::explain::PurposeExplanation| {
            let held = self.held(event, &purpose.purpose);
            let fields = purpose.fields.iter().filter(|field| field.present).map(|field| {
                let stored = field.column.as_ref().and_then(|column| {
                    held?.fields.iter().find(|stored| stored.column == *column && !stored.value.is_null())
                });
                let winner = || field.winner.as_ref().map(|winner| winner.rule.clone());
                (field.field.clone(), stored.map_or_else(|| Fate::Dropped(winner()), Fate::Stored))
            });
            (purpose.purpose.clone(), fields.collect())
        };
        answer.explanation.purposes.iter().map(of_purpose).collect()
    }

    fn rows(&self, event: &Event, answer: &Answer, report: &mut Report) {
        for (purpose, fields) in self.fates(event, answer) {
            for (field, fate) in fields {
                let came = answer.came_in(&field);
                let (outcome, stored, rule, operator) = match &fate {
                    Fate::Stored(held) if held.value == came => {
                        ("kept", held.value.clone(), Some(&held.rule), Some(&held.operator))
                    }
                    Fate::Stored(held) => ("changed", held.value.clone(), Some(&held.rule), Some(&held.operator)),
                    Fate::Dropped(rule) => ("dropped", Value::Null, rule.as_ref(), None),
                };
                let (rule, operator) = (json!(rule), json!(operator));
                report.row(vec![
                    json!(event.name),
                    json!(field),
                    came,
                    json!(purpose),
                    json!(outcome),
                    stored,
                    rule,
                    operator,
                ]);
            }
        }
    }

    /// A table with a column for each purpose that stores something of it.
    fn one_event(&self, event: &Event, answer: &Answer) -> String {
        let fates = self.fates(event, answer);
        let (storing, idle): (Vec<_>, Vec<_>) =
            fates.iter().partition(|(_, fields)| fields.iter().any(|(_, fate)| matches!(fate, Fate::Stored(_))));
        let mut out = format!("\n{DEVICE} sent {}. Field by field, what came in and what was stored:\n\n", event.name);
        let rules: Vec<String> = storing.iter().map(|(_, fields)| usual_rule(fields)).collect();
        let heads: Vec<String> =
            storing.iter().zip(&rules).map(|((purpose, _), rule)| format!("{purpose}\nby rule {rule}")).collect();
        let mut titles = vec![("field", false), ("came in", false)];
        titles.extend(heads.iter().map(|head| (head.as_str(), false)));
        let mut rows = Vec::new();
        for (at, (field, _)) in storing.first().map(|(_, fields)| fields.iter().enumerate()).into_iter().flatten() {
            let came = answer.came_in(field);
            let mut row = vec![Text::from(field.clone()), shorten(&shown(&came, field), CAME_IN).into()];
            for ((_, fields), rule) in storing.iter().zip(&rules) {
                row.extend(fields.get(at).map(|(field, fate)| told(field, fate, &came, rule)));
            }
            rows.push(row);
        }
        out.push_str(&grid(&titles, rows, Width::AtMost(WIDTH)));
        for (purpose, _) in idle {
            let reason = answer.outcomes.get(purpose.as_str()).and_then(|outcome| outcome.reason);
            let _ = writeln!(
                out,
                "{purpose} stored nothing of it{}.",
                reason.map_or_else(String::new, |r| format!(": {}", sentence(r)))
            );
        }
        out
    }

    fn withdrawal(&self) -> String {
        let after = self.events.iter().skip(BEFORE).filter(|event| device(event) == Some(DEVICE)).count();
        let stored =
            self.facts.held.iter().filter(|row| row.consent_seq.is_some_and(|n| n >= self.facts.withdrawn)).count();
        format!(
            "\nThen its owner withdrew every consent. Of the {after} events that {DEVICE} sent afterwards, {stored} were stored.\n\
             (What was stored before stays until its time is over or somebody has it erased: see below.)\n"
        )
    }

    fn account(&self) -> String {
        let rows = self.plan.policy().purposes.iter().map(|purpose| {
            let (mut offered, mut stored) = (0, 0);
            let mut dropped: BTreeMap<&str, u64> = BTreeMap::new();
            for Total { count, .. } in self.facts.totals.iter().filter(|total| total.count.purpose == purpose.name) {
                offered += count.offered;
                stored += count.stored;
                for (reason, n) in &count.dropped {
                    *dropped.entry(reason.name()).or_default() += n;
                }
            }
            let sum: u64 = dropped.values().sum();
            let because = cell_text(Some(&Value::Object(audit::by_size(dropped.into_iter()))));
            vec![purpose.name.clone(), offered.to_string(), stored.to_string(), sum.to_string(), because]
        });
        let titles = [
            ("purpose", false),
            ("offered =", true),
            ("stored +", true),
            ("dropped", true),
            ("dropped because", false),
        ];
        let mut out = "\nNothing vanishes uncounted. Over all devices:\n\n".to_owned();
        out.push_str(&grid(&titles, rows.collect(), Width::AtMost(WIDTH)));
        for mismatch in self.mismatches() {
            let _ = writeln!(out, "DOES NOT BALANCE: {mismatch}");
        }
        out
    }

    fn ending(&self) -> String {
        let program = std::env::args().next().unwrap_or_else(|| "candor".to_owned());
        let (data, fleet) = (self.places.data.display(), self.places.fleet.display());
        let rows: u64 = self.facts.tables.iter().map(|table| table.sealed).sum();
        let tables = self.facts.tables.len();
        let sample = fleet::EVENTS;
        format!(
            "\nThe {rows} stored rows are in {tables} Delta tables (Parquet inside): {data}/tables/PURPOSE/STREAM\n\
             \nTry next:\n\
             \x20 D={}  F={}\n\
             \x20 {program} audit show {DEVICE} --data \"$D\"\n\
             \x20 {program} audit totals --data \"$D\"\n\
             \x20 {program} audit verify --all --data \"$D\"\n\
             \x20 {program} erasure request {DEVICE} --all --data \"$D\" --fleet \"$F\"\n\
             \x20 {program} audit query 'SELECT event, count(*) FROM analytics.\"phone.app\" GROUP BY event' --data \"$D\"\n\
             \x20 head -1 \"$F/{sample}\" | {program} policy explain --fleet \"$F\" --event - --consent '*=given' --age-from {AGE}\n\
             \x20 {program} serve --fleet \"$F\" --data \"$D\"\n",
            quoted(&data.to_string()),
            quoted(&fleet.to_string()),
        )
    }
}

/// The rule behind most of what a purpose stores of an event.
fn usual_rule(fields: &[(String, Fate<'_>)]) -> String {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, fate) in fields {
        if let Fate::Stored(held) = fate {
            *count.entry(&held.rule).or_default() += 1;
        }
    }
    count.into_iter().max_by_key(|(_, n)| *n).map(|(rule, _)| rule.to_owned()).unwrap_or_default()
}

fn told(field: &str, fate: &Fate<'_>, came: &Value, usual: &str) -> Text {
    match fate {
        Fate::Dropped(None) => Text::toned("dropped: no rule".to_owned(), Tone::Gone),
        Fate::Dropped(Some(rule)) => Text::toned(format!("dropped: {rule}"), Tone::Gone),
        Fate::Stored(held) => {
            let by = if held.rule == usual { String::new() } else { format!(" {}", held.rule) };
            if held.value == *came {
                return Text::toned(format!("kept{by}"), Tone::Kept);
            }
            let stored = shorten(&shown(&held.value, field), STORED);
            Text::toned(format!("→ {stored} ({}){by}", short(&held.operator)), Tone::Changed)
        }
    }
}

/// A value as the story shows it: a time without zone, which is always UTC, fraction, and seconds that say nothing.
fn shown(value: &Value, field: &str) -> String {
    let text = cell_text(Some(value));
    if field != "time" {
        return text;
    }
    let text = text.replacen('T', " ", 1);
    let text = text.trim_end_matches('Z').split('.').next().unwrap_or_default();
    text.strip_suffix(":00").unwrap_or(text).to_owned()
}

/// `bin(width=5 origin=0)` as `bin 5`: the parameter that matters most.
fn short(operator: &str) -> String {
    let Some((name, parameters)) = operator.trim_end_matches(')').split_once('(') else { return operator.to_owned() };
    let parameter = |wanted: &str| parameters.split(' ').find_map(|text| text.strip_prefix(wanted)?.strip_prefix('='));
    match ["width", "unit", "level", "max", "n"].into_iter().find_map(parameter) {
        Some(value) if name == "time_floor" => value.to_owned(),
        Some(value) => format!("{name} {value}"),
        None => name.to_owned(),
    }
}

/// For a shell.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_and_paths_are_short_and_safe() {
        assert_eq!(short("bin(width=5 origin=0)"), "bin 5");
        assert_eq!(short("time_floor(unit=hour)"), "hour");
        assert_eq!(short("hierarchy(file=hierarchies/city.csv level=1)"), "hierarchy 1");
        assert_eq!((short("hmac(key=analytics)"), short("keep")), ("hmac".to_owned(), "keep".to_owned()));
        assert_eq!(shown(&json!("2026-11-16T00:19:20.507Z"), "time"), "2026-11-16 00:19:20");
        assert_eq!(shown(&json!("2026-11-16T22:45:00Z"), "time"), "2026-11-16 22:45");
        assert_eq!(quoted("/tmp/a-b"), "/tmp/a-b");
        assert_eq!(quoted("/tmp/it's"), "'/tmp/it'\\''s'");
    }
}
