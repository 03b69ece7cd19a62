//! The law of policies, for any text: refused with places in it, or compiled, and then every case has a decision, the canonical
//! form compiles to the same decisions, and clearing stores nothing that no rule reaches or nobody consented to.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use candor_policy::batch::{Cleared, ClearedTable, Evidence};
use candor_policy::catalogue::{Catalogue, Stream};
use candor_policy::consent::{ConsentSnapshot, ConsentState, SubjectConsent};
use candor_policy::counts::Count;
use candor_policy::digest::Digest;
use candor_policy::keys::{HmacKey, Keys};
use candor_policy::operator::BuildError;
use candor_policy::plan::{Plan, TablePlan};
use candor_policy::policy::{LegalBasis, Policy};
use candor_policy::problem::Problems;
use serde_json::Value;

use crate::batch::{batch, canary};
use crate::place::{FILE, point_into};

/// Cases of a table that are looked at: more take longer and tell no more.
const MOST_CASES: usize = 4_096;
/// Columns that every table has.
const OWN: [&str; 4] = ["event", "subject", "consent_seq", "decision"];

/// What policies are about here: every type, a field for each way to be reached, and two streams that share a column.
const CATALOGUE: &str = r#"
catalogue = "law"
[stream.a]
description = "Phones"
owner = "o@a.example"
expires = "2099-12-31"
[stream.a.event.opened]
description = "Opened"
[stream.a.event.closed]
description = "Closed"
[stream.a.field]
id = { type = "string", from = "attributes.id", category = "user.unique_id", role = "identifier", description = "Id" }
screen = { type = "string", from = "attributes.screen", category = "user.behavior", role = "plain", description = "Screen", values = ["home", "chat"] }
note = { type = "string", from = "body", category = "user.content", role = "sensitive", description = "Text" }
level = { type = "i64", from = "attributes.level", category = "user.device", role = "plain", description = "Level" }
warmth = { type = "f64", from = "attributes.warmth", category = "user.device", role = "plain", description = "Warmth" }
on = { type = "bool", from = "attributes.on", category = "user.device", role = "plain", description = "On" }
seen = { type = "timestamp", from = "attributes.seen", category = "user.behavior", role = "quasi", description = "Seen" }
spot = { type = "position", from = { lat = "attributes.lat", lon = "attributes.lon" }, category = "user.location.precise", role = "quasi", description = "Where" }
tags = { type = "list<string>", from = "attributes.tags", category = "user.behavior", role = "plain", description = "Tags" }
[stream.b]
description = "Cars"
owner = "o@a.example"
expires = "2099-12-31"
[stream.b.event.driven]
description = "Driven"
[stream.b.field]
id = { type = "string", from = "attributes.vin", category = "user.unique_id", role = "identifier", description = "Id" }
place = { type = "string", from = "attributes.place", category = "user.location", role = "quasi", description = "Town" }
"#;

/// Where an input that begins with a zero byte has its condition.
const POLICY: &str = r#"
policy = "law"
jurisdiction = { from = "resource.region", EU = ["DE", "FR"], US-CA = ["US-CA"] }
gpc = { from = "resource.gpc", opts_out = ["p"] }
[purpose.p]
use = "analytics"
basis = { "*" = "consent" }
retain = "30 days"
[purpose.q]
use = "essential"
basis = { EU = "notice" }
retain = "2 years"
[[rule]]
id = "r"
stream = "a"
purpose = "p"
when = "WHEN"
emit.screen = { op = "keep" }
[[rule]]
id = "s"
stream = "*"
purpose = "*"
emit.id = { op = "hmac", key = "k" }
"#;

/// The law of a fuzz target's input: a policy, or behind a zero byte the condition of a rule.
pub(crate) fn policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let text = match text.strip_prefix('\0') {
        Some(when) => Cow::Owned(POLICY.replace("\"WHEN\"", &Value::from(when).to_string())),
        None => Cow::Borrowed(text),
    };
    let plan = match compiled(&text) {
        Ok(plan) => plan,
        Err(problems) => return point_into(&problems, &text),
    };
    every_case_has_a_decision(&plan);
    its_canonical_form_decides_the_same(&plan);
    only_what_rules_reach_is_stored(&plan);
}

fn compiled(text: &str) -> Result<Plan, Problems> {
    let policy = Policy::parse_with(text, FILE, &file)?;
    assert_eq!(policy.digest, Digest::of_bytes(policy.canonical.as_bytes()));
    Plan::compile(catalogue().clone(), policy)
}

fn every_case_has_a_decision(plan: &Plan) {
    for table in plan.tables() {
        let cases: usize = table.dimensions().iter().map(|dimension| dimension.classes as usize).product();
        assert_eq!(table.decision(cases), None, "more cells than cases");
        for case in (0..cases).take(MOST_CASES) {
            let decision = table.decision(case);
            assert!(decision.is_none_or(|decision| (decision as usize) < table.decisions.len()));
        }
    }
}

fn its_canonical_form_decides_the_same(plan: &Plan) {
    let canonical = &plan.policy().canonical;
    let kept = Policy::from_canonical(canonical, FILE).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((kept.digest, &kept.canonical), (plan.policy().digest, canonical));
    let of_its_time = Catalogue::from_canonical(&catalogue().canonical, FILE).unwrap();
    let kept = Plan::compile(of_its_time, kept).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(kept.tables().len(), plan.tables().len());
    for table in plan.tables() {
        let kept = kept.table_named(&table.purpose_name, &table.stream_name).unwrap();
        assert_eq!(reasons(kept), reasons(table), "{}/{}", table.purpose_name, table.stream_name);
    }
}

/// Why each column holds what it holds, by decision.
fn reasons(table: &TablePlan) -> Vec<BTreeMap<&str, Option<String>>> {
    let decisions = 0..table.decisions.len() as u32;
    let of = |decision| {
        let names = table.columns.iter().map(|column| column.name.as_str());
        let reason = |name| table.explain_column(decision, name).map(|why| format!("{} {}", why.rule, why.operator));
        names.map(|name| (name, reason(name))).collect()
    };
    decisions.map(of).collect()
}

fn only_what_rules_reach_is_stored(plan: &Plan) {
    let document: Value = serde_json::from_str(&plan.policy().canonical).unwrap();
    let all = |state| {
        (0..plan.policy().purposes.len())
            .fold(SubjectConsent::new(1, Some(99), 0), |consent, purpose| consent.with(purpose, state))
    };
    for state in [ConsentState::Given, ConsentState::Unknown] {
        let cleared = clear(plan, all(state));
        assert!(cleared.counts().iter().all(Count::balances), "{:?}", cleared.counts());
        for table in cleared.tables() {
            let purpose = &plan.policy().purposes[usize::from(table.purpose)];
            let asks = |basis: &LegalBasis| matches!(basis, LegalBasis::Consent | LegalBasis::SeparateConsent);
            let may = state == ConsentState::Given || !purpose.basis.iter().flatten().all(asks);
            assert!(may, "{table:?} without consent");
            let stream = &catalogue().streams[usize::from(catalogue().stream_number(&table.stream).unwrap())];
            shows_only(table, stream, &reached(&document, &table.purpose_name, stream));
        }
    }
}

fn clear(plan: &Plan, consent: SubjectConsent) -> Cleared {
    let key = |secret| HmacKey::new(1, &[secret; 32]);
    let keys = Keys::new(key(1), key(2), plan.named_keys().into_iter().map(|name| (name, key(3))).collect());
    let region = plan.policy().jurisdictions.values.keys().next().map_or("DE", String::as_str);
    let evidence = Evidence { source: Arc::from("law"), received_at: 1, gpc: false, certified: None };
    let admitted = batch(catalogue(), region).admit(evidence, &keys);
    let snapshot = ConsentSnapshot::new(1, vec![consent; admitted.subjects().len()]);
    plan.clear(admitted, &snapshot, &keys)
}

/// The fields that some rule of a purpose lets through, read from the document alone.
fn reached(document: &Value, purpose: &str, stream: &Stream) -> BTreeSet<String> {
    let names = |value: &Value, name: &str| match value {
        Value::String(one) => one == "*" || one == name,
        Value::Array(list) => list.iter().any(|one| one == name),
        _ => false,
    };
    let mut reached = BTreeSet::new();
    let rules = document["rule"].as_array().into_iter().flatten();
    for rule in rules.filter(|rule| names(&rule["purpose"], purpose) && names(&rule["stream"], &stream.name)) {
        reached.extend(rule["emit"].as_object().into_iter().flat_map(|emit| emit.keys().cloned()));
        for category in rule["emit_category"].as_object().into_iter().flat_map(|emit| emit.keys()) {
            let under = format!("{category}.");
            let fields = stream.fields.iter().filter(|field| format!("{}.", field.category).starts_with(&under));
            reached.extend(fields.map(|field| field.column.clone()));
        }
    }
    reached
}

fn shows_only(table: &ClearedTable, stream: &Stream, reached: &BTreeSet<String>) {
    let hidden = stream.fields.iter().filter(|field| field.values.is_empty() && !reached.contains(&field.column));
    let hidden: Vec<String> = hidden.map(|field| canary(stream, field)).collect();
    for (column, values) in table.rows.schema().fields().iter().zip(table.rows.columns()) {
        let name = column.name();
        let of_a_rule = reached.iter().any(|field| name == field || name.starts_with(&format!("{field}_")));
        assert!(of_a_rule || OWN.contains(&name.as_str()), "{table:?} has {name}, and no rule says so");
        for text in texts(values) {
            assert!(!hidden.iter().any(|canary| text.contains(canary)), "{table:?}: {text} in {name}");
        }
    }
}

fn texts(values: &dyn Array) -> Vec<String> {
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().iter().flatten().map(str::to_owned).collect(),
        DataType::List(_) => texts(values.as_list::<i32>().values()),
        _ => Vec::new(),
    }
}

/// The one file that policies can name.
fn file(name: &str) -> Result<String, BuildError> {
    match name {
        "town.csv" => Ok("Berlin;DE;*\nParis;FR;*\n".to_owned()),
        _ => Err(BuildError { message: "there is no such file".to_owned(), mend: "name town.csv".to_owned() }),
    }
}

fn catalogue() -> &'static Catalogue {
    static READ: OnceLock<Catalogue> = OnceLock::new();
    READ.get_or_init(|| Catalogue::parse(CATALOGUE, FILE).unwrap_or_else(|problems| panic!("{problems}")))
}

#[test]
fn the_corpus_of_the_fuzz_target_keeps_the_law() {
    crate::replay::replay("policy", policy);
}

#[test]
fn conditions_of_any_depth_are_refused_or_read_and_never_fatal() {
    const LEVELS: usize = 20_000;
    for (open, close) in
        [("(", ")"), ("not ", ""), ("gpc and ", ""), ("gpc or ", ""), ("(gpc or ", ")"), ("not (", ")")]
    {
        policy(format!("\0{}gpc{}", open.repeat(LEVELS), close.repeat(LEVELS)).as_bytes());
    }
}

#[test]
fn what_fuzzing_starts_from_compiles() {
    for text in
        [&POLICY.replace("WHEN", "not gpc and 10 <= level < 20"), include_str!("../../../tests/fuzz/seeds/policy.toml")]
    {
        compiled(text).unwrap_or_else(|problems| panic!("{problems}"));
        policy(text.as_bytes());
    }
}
