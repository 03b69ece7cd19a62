//! One event on its way through the compiled plan: what a policy says of it, and what would be stored.
//!
//! The rules are told by `policy`; the values come from the very decoder and the very clearing that a service runs.

use std::collections::BTreeMap;
use std::path::Path;

use candor_agent::encode::request_body;
use candor_agent::event::Event;
use candor_policy::batch::{Cleared, Evidence};
use candor_policy::catalogue::{FieldPath, Place, Signal, Stream};
use candor_policy::consent::{ConsentSnapshot, ConsentState, SubjectConsent};
use candor_policy::explain::{Explanation, SampleEvent};
use candor_policy::keys::{HmacKey, Keys};
use candor_policy::plan::Plan;
use candor_policy::reason::Reason;
use candor_store::clock::Clock;
use candor_wire::otlp::DecodeLimits;
use candor_wire::otlp::protobuf::decode_logs;
use serde_json::{Map, Value, json};

use crate::exit::{Exit, Failure};

/// Not a secret: pseudonyms made with it are examples.
const EXAMPLE_KEY: [u8; 32] = *b"candor policy explain: no secret";
/// Columns that every table has, whatever the policy says.
const OWN_COLUMNS: [&str; 4] = ["event", "subject", "consent_seq", "decision"];
const MICROS_A_DAY: i64 = 86_400_000_000;
const MOST_SOURCES_BYTES: u64 = 4 << 20;

/// What is asked about: an event, and what is known of its subject.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) event: &'a Event,
    pub(crate) consent: BTreeMap<String, ConsentState>,
    pub(crate) age_from: Option<u8>,
    pub(crate) gpc: bool,
    /// Where the source finds the subject.
    pub(crate) subject: FieldPath,
}

/// The answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) explanation: Explanation,
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

/// Explains one event under a plan.
pub(crate) fn explain(plan: &Plan, question: &Question<'_>, clock: &dyn Clock) -> Result<Answer, Failure> {
    let now = clock.now();
    let explanation = plan.explain(&sample(plan, question, now));
    let cleared = clear(plan, question, now)?;
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
    Ok(Answer { explanation, undeclared: cleared.rejected().undeclared_attributes, outcomes })
}

/// What the event has at a path, if anything: the attribute of that dotted key, or the way through nested objects.
pub(crate) fn value_at<'a>(event: &'a Event, path: &FieldPath) -> Option<&'a Value> {
    let found = match path {
        FieldPath::Attribute(key) => nested(&event.attributes, key),
        FieldPath::Resource(key) => nested(&event.resource, key),
        FieldPath::Place(Place::Body) => event.body.as_ref(),
        FieldPath::BodyKey(key) => event.body.as_ref().and_then(Value::as_object).and_then(|body| nested(body, key)),
        // The others are no JSON value of a log event as people write it.
        _ => None,
    };
    found.filter(|value| !value.is_null())
}

/// What the event has for a field of its stream, `time` included.
pub(crate) fn came_in(event: &Event, stream: Option<&Stream>, field: &str) -> Value {
    if field == "time" {
        let time = jiff::Timestamp::from_nanosecond(i128::from(event.time_unix_nano)).ok();
        return json!(time.filter(|_| event.time_unix_nano > 0).map(|time| time.to_string()));
    }
    let declared = stream.and_then(|stream| stream.fields.iter().find(|declared| declared.column == field));
    declared.map(|declared| value_of(event, &declared.from)).unwrap_or_default()
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
        Reason::WithdrawnAtAppend => "consent was withdrawn on the way",
    }
}

fn value_of(event: &Event, path: &FieldPath) -> Value {
    match path {
        FieldPath::Position { lat, lon } => match (value_at(event, lat), value_at(event, lon)) {
            (None, None) => Value::Null,
            (lat, lon) => json!({ "lat": lat, "lon": lon }),
        },
        FieldPath::Place(Place::SeverityNumber) if event.severity_number != 0 => json!(event.severity_number),
        FieldPath::Place(Place::SeverityText) if !event.severity_text.is_empty() => json!(event.severity_text),
        _ => value_at(event, path).cloned().unwrap_or_default(),
    }
}

fn nested<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    map.get(key).or_else(|| {
        key.match_indices('.').find_map(|(dot, _)| nested(map.get(&key[..dot])?.as_object()?, &key[dot + 1..]))
    })
}

fn sample(plan: &Plan, question: &Question<'_>, now: i64) -> SampleEvent {
    let event = question.event;
    let policy = plan.policy();
    let at = |path: Option<&FieldPath>| path.and_then(|path| value_at(event, path));
    let gpc = at(policy.gpc.from.as_ref());
    let stream = stream_of(plan, &event.name);
    let declared = stream.and_then(|stream| Some((stream, stream.events.iter().find(|e| e.name == event.name)?)));
    let mut fields = Map::new();
    if let Some((stream, declared)) = declared {
        for field in declared.fields.iter().filter_map(|number| stream.fields.get(usize::from(*number))) {
            fields.insert(field.column.clone(), value_of(event, &field.from));
        }
    }
    SampleEvent {
        event: event.name.clone(),
        signal: Signal::Logs,
        jurisdiction: at(policy.jurisdictions.from.as_ref()).and_then(Value::as_str).map(str::to_owned),
        gpc: question.gpc
            || gpc.is_some_and(|value| [json!(true), json!(1), json!("1"), json!("true")].contains(value)),
        fields,
        consent: question.consent.clone(),
        age_from: question.age_from,
        day: i32::try_from(now.div_euclid(MICROS_A_DAY)).ok(),
    }
}

/// The stream that declares an event.
pub(crate) fn stream_of<'a>(plan: &'a Plan, event: &str) -> Option<&'a Stream> {
    let mut logs = plan.catalogue().streams.iter().filter(|stream| stream.signal == Signal::Logs);
    logs.find(|stream| stream.events.iter().any(|declared| declared.name == event))
}

fn clear(plan: &Plan, question: &Question<'_>, now: i64) -> Result<Cleared, Failure> {
    let body = request_body(std::slice::from_ref(question.event));
    let received = decode_logs(&body, &plan.key_index(&question.subject), &DecodeLimits::default())
        .map_err(|e| Failure::usage(format!("the event cannot be sent: {e}")))?;
    let keys = example_keys(plan);
    let evidence = Evidence { source: "explain".into(), received_at: now, gpc: question.gpc };
    let admitted = received.admit(evidence, &keys);
    let mut consent = SubjectConsent::new(1, question.age_from, 0);
    for (number, purpose) in plan.policy().purposes.iter().enumerate() {
        consent = consent.with(number, question.consent.get(&purpose.name).copied().unwrap_or_default());
    }
    let snapshot = ConsentSnapshot::new(0, vec![consent; admitted.subjects().len()]);
    Ok(plan.clear(admitted, &snapshot, &keys))
}

fn example_keys(plan: &Plan) -> Keys {
    let key = || HmacKey::new(1, &EXAMPLE_KEY);
    let operators = plan.tables().iter().flat_map(|table| &table.columns).flat_map(|column| &column.operators);
    let named = operators.filter_map(|operator| Some((operator.key()?.to_owned(), key())));
    Keys::new(key(), key(), named.collect())
}

#[cfg(test)]
mod tests {
    use candor_agent::event::EventLimits;

    use super::*;

    #[test]
    fn a_dotted_key_wins_over_the_nested_way() {
        let text = r#"{"event":"e","attributes":{"a":{"b":{"c":1},"d.e":2},"a.b.c":3,"n":null}}"#;
        let event = Event::parse(text, &EventLimits::default()).unwrap();
        let at = |key: &str| value_at(&event, &FieldPath::Attribute(key.to_owned())).cloned();
        assert_eq!(at("a.b.c"), Some(json!(3)));
        assert_eq!(at("a.d.e"), Some(json!(2)));
        assert_eq!((at("a.b.x"), at("n")), (None, None));
    }
}
