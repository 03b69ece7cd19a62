//! One event on its way through the compiled plan: what a policy says of it, and what would be stored.
//!
//! The rules are told by `policy`; the values come from the very decoder and the very clearing that a service runs.

use std::collections::BTreeMap;
use std::path::Path;

use candor_policy::batch::{Cleared, Evidence, Received};
use candor_policy::catalogue::FieldPath;
use candor_policy::consent::{ConsentSnapshot, ConsentState, SubjectConsent};
use candor_policy::explain::{Explanation, SampleEvent};
use candor_policy::keys::{HmacKey, Keys};
use candor_policy::plan::Plan;
use candor_policy::reason::Reason;
use candor_store::clock::Clock;
use candor_wire::otlp::DecodeError;
use serde_json::{Map, Value, json};

use crate::exit::{Exit, Failure};
use crate::sample::{Came, Request};

/// Not a secret: pseudonyms made with it are examples.
const EXAMPLE_KEY: [u8; 32] = *b"candor policy explain: no secret";
/// Columns that every table has, whatever the policy says.
const OWN_COLUMNS: [&str; 4] = ["event", "subject", "consent_seq", "decision"];
const MICROS_A_DAY: i64 = 86_400_000_000;
const MOST_SOURCES_BYTES: u64 = 4 << 20;

/// What is asked about: an event, and what is known of its subject.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) request: &'a Request,
    pub(crate) consent: BTreeMap<String, ConsentState>,
    pub(crate) age_from: Option<u8>,
    pub(crate) guardian: bool,
    pub(crate) gpc: bool,
    /// Where the source finds the subject.
    pub(crate) subject: FieldPath,
}

/// The answer. It holds raw values: do not print it whole.
pub(crate) struct Answer {
    pub(crate) explanation: Explanation,
    /// Whether the catalogue has the event. Without that nobody looks at the rest of it, the jurisdiction included.
    pub(crate) declared: bool,
    /// By catalogue column, and `time`.
    came: BTreeMap<String, Value>,
    /// Attributes that no field of the event declares.
    pub(crate) undeclared: u64,
    /// By purpose.
    pub(crate) outcomes: BTreeMap<String, Outcome>,
}

/// What one purpose would do with the event.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Why nothing is stored.
    pub(crate) reason: Option<Reason>,
    /// Stored values by column.
    pub(crate) values: Map<String, Value>,
}

impl Answer {
    /// What the event has for a field of its stream, `time` included; null if nothing.
    pub(crate) fn came_in(&self, field: &str) -> Value {
        self.came.get(field).cloned().unwrap_or_default()
    }
}

/// Explains one event under a plan.
pub(crate) fn explain(plan: &Plan, question: &Question<'_>, clock: &dyn Clock) -> Result<Answer, Failure> {
    let now = clock.now();
    let cannot = |e: DecodeError| Failure::usage(format!("the event cannot be sent: {e}"));
    let keys = plan.key_index(&question.subject);
    let received = question.request.decode(&keys).map_err(cannot)?;
    if received.records() != 1 {
        return Err(Failure::usage(format!("it holds {} records, not one", received.records()))
            .mend("give a request with one log record, one data point or one span"));
    }
    let came = question.request.came(plan, keys).map_err(cannot)?;
    let explanation = plan.explain(&sample(question, &came, now));
    let cleared = clear(plan, received, question, now);
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    for count in cleared.counts() {
        let outcome = outcomes.entry(count.purpose.clone()).or_default();
        outcome.reason = outcome.reason.or(count.dropped.iter().find(|(_, n)| **n > 0).map(|(reason, _)| *reason));
    }
    for table in cleared.tables() {
        let rows = crate::cells::rows(&table.rows)
            .map_err(|e| Failure::new(Exit::Failed, format!("a stored value has no text: {e}")))?;
        let mut values: Map<String, Value> = rows.into_iter().next().unwrap_or_default();
        values.retain(|column, value| !OWN_COLUMNS.contains(&column.as_str()) && !value.is_null());
        outcomes.entry(table.purpose_name.to_string()).or_default().values = values;
    }
    let undeclared = cleared.rejected().undeclared_attributes;
    Ok(Answer { explanation, declared: came.declared, came: came.values, undeclared, outcomes })
}

/// Where a source of a fleet folder finds its subjects: the one of that name, or the first that has any.
pub(crate) fn subject_path(folder: &Path, source: Option<&str>) -> Result<FieldPath, Failure> {
    let path = folder.join("sources.toml");
    let failure = |why: String| Failure::configuration(format!("{}: {why}", path.display()));
    let mut text = String::new();
    let read = std::fs::File::open(&path)
        .and_then(|file| std::io::Read::read_to_string(&mut std::io::Read::take(file, MOST_SOURCES_BYTES), &mut text));
    read.map_err(|e| failure(e.to_string()))?;
    let document: toml::Table = text.parse().map_err(|e: toml::de::Error| failure(e.message().to_owned()))?;
    let sources = document.get("source").and_then(toml::Value::as_table);
    let subject = |table: &toml::Value| FieldPath::parse(table.get("subject")?.as_str()?);
    sources
        .into_iter()
        .flatten()
        .filter(|(name, _)| source.is_none_or(|wanted| wanted == name.as_str()))
        .find_map(|(_, table)| subject(table))
        .ok_or_else(|| failure("no such source names a `subject`".to_owned()).mend("choose one with --source"))
}

/// The reason in a sentence for people.
pub(crate) const fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::UndeclaredEvent => "the catalogue declares no such event",
        Reason::BadValue => "a declared field has a value of another type",
        Reason::NoSubject => "the attribute that names its subject is missing",
        Reason::NoRule => "no rule of this purpose lets anything of it through",
        Reason::NoBasis => "the purpose has no legal basis in this jurisdiction",
        Reason::UnderAge => "the subject's age is unknown or too low",
        Reason::OptedOut => "Global Privacy Control opts out of this purpose",
        Reason::NoConsent => "consent is not given",
        Reason::EvaluationFailed => "an operator of this purpose cannot run on it",
        Reason::WithdrawnAtAppend => "consent was withdrawn on the way",
    }
}

fn sample(question: &Question<'_>, came: &Came, now: i64) -> SampleEvent {
    let mut fields: Map<String, Value> =
        came.values.iter().filter(|(column, _)| *column != "time").map(|(c, v)| (c.clone(), v.clone())).collect();
    fields.extend(came.bad.iter().map(|column| (column.clone(), of_no_type())));
    SampleEvent {
        event: question.request.name().to_owned(),
        signal: question.request.signal(),
        jurisdiction: came.jurisdiction.clone(),
        gpc: question.gpc || came.gpc,
        fields,
        consent: question.consent.clone(),
        age_from: question.age_from,
        guardian: question.guardian,
        day: i32::try_from(now.div_euclid(MICROS_A_DAY)).ok(),
    }
}

/// A value that no field can have.
fn of_no_type() -> Value {
    json!([[]])
}

fn clear(plan: &Plan, received: Received, question: &Question<'_>, now: i64) -> Cleared {
    let keys = example_keys(plan);
    let evidence = Evidence { source: "explain".into(), received_at: now, gpc: question.gpc, certified: None };
    let admitted = received.admit(evidence, &keys);
    let mut consent = SubjectConsent::new(1, question.age_from, 0).with_guardian(question.guardian);
    for (number, purpose) in plan.policy().purposes.iter().enumerate() {
        consent = consent.with(number, question.consent.get(&purpose.name).copied().unwrap_or_default());
    }
    let snapshot = ConsentSnapshot::new(0, vec![consent; admitted.subjects().len()]);
    plan.clear(admitted, &snapshot, &keys)
}

fn example_keys(plan: &Plan) -> Keys {
    let key = || HmacKey::new(1, &EXAMPLE_KEY);
    Keys::new(key(), key(), plan.named_keys().into_iter().map(|name| (name, key())).collect())
}
