//! Tests: lists and positions in rules, their columns, and what no rule may do with them.

use arrow_schema::DataType;

use super::*;
use crate::catalogue::{FieldPath, Signal};
use crate::explain::SampleEvent;
use crate::key_index::Slot;
use crate::operator::list_of;
use crate::testing::{CATALOGUE, POLICY, assert_problem, edit};

/// `level` becomes a list, `warmth` a position.
fn catalogue() -> Catalogue {
    let text = edit(CATALOGUE, "level    = { type = \"i64\"", "level    = { type = \"list<i64>\"");
    let from = "type = \"f64\", from = \"attributes.warmth\"";
    let to = "type = \"position\", from = { lat = \"attributes.at.lat\", lon = \"attributes.at.lon\" }";
    Catalogue::parse(&edit(&text, from, to), "catalogue.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn policy(when: &str, emits: &str) -> String {
    let rule = format!("[[rule]]\nid = 'r'\nstream = 'phone.app'\npurpose = 'diagnostics'\n{when}\n{emits}\n");
    format!("{}{rule}", &POLICY[..POLICY.find("[[rule]]").unwrap()])
}

fn compile(text: &str) -> Result<Plan, Problems> {
    Plan::compile(catalogue(), Policy::parse(text, "policy.toml").unwrap())
}

#[test]
fn columns_of_lists_are_lists_of_what_the_operator_writes() {
    let emits = "emit.level = { op = 'bin', width = 5 }\nemit.warmth = { op = 'suppress' }";
    let plan = compile(&policy("", emits)).unwrap();
    let table = plan.table_named("diagnostics", "phone.app").unwrap();
    let types: Vec<_> = table.columns.iter().map(|column| (column.name.as_str(), column.data_type.clone())).collect();
    assert_eq!(types, [("level", list_of(DataType::Int64)), ("warmth", list_of(DataType::Float64))]);

    let plan = compile(&policy("", "emit.level = { op = 'hmac', key = 'k' }\nemit.warmth = { op = 'drop' }")).unwrap();
    let table = plan.table_named("diagnostics", "phone.app").unwrap();
    let types: Vec<_> = table.columns.iter().map(|column| (column.name.as_str(), column.data_type.clone())).collect();
    assert_eq!(types, [("level_hmac", list_of(DataType::Utf8))]);
}

#[test]
fn no_condition_can_name_a_list_or_a_position() {
    let says = [("level == 3", "level ==", "type list<i64>"), ("warmth > 1", "warmth >", "type position")];
    for (when, cause, says) in says {
        let text = policy(&format!("when = \"{when}\""), "emit.imei = { op = 'keep' }");
        let problem = assert_problem(&text, compile(&text), cause, says);
        assert!(problem.message.contains("no condition can name"), "{problem}");
    }
}

#[test]
fn operators_must_run_on_the_elements_and_a_position_is_not_kept() {
    let text = policy("", "emit.level = { op = 'ip_trunc' }");
    assert_problem(&text, compile(&text), "level = {", "is of type list<i64>");
    for operator in ["{ op = 'keep' }", "{ op = 'bin', width = 1 }"] {
        let text = policy("", &format!("emit.warmth = {operator}"));
        let problem = assert_problem(&text, compile(&text), "warmth = {", "is of type position");
        assert!(problem.mend.contains("two fields of type f64"), "{problem}");
    }
}

#[test]
fn both_halves_of_a_position_are_in_the_key_index() {
    let index = compile(&policy("", "emit.imei = { op = 'keep' }")).unwrap();
    let index = index.key_index(&FieldPath::Resource("device.id".into()));
    let (stream, _) = index.event(Signal::Logs, "phone.app.opened").unwrap();
    let phone = index.stream(stream).unwrap();
    assert_eq!(phone.attributes.slots("at.lat"), Some([Slot::Lat(3)].as_slice()));
    assert_eq!(phone.attributes.slots("at.lon"), Some([Slot::Lon(3)].as_slice()));
    assert!(phone.fields[2].list && !phone.fields[3].list);
}

#[test]
fn samples_have_lists_and_positions() {
    let plan = compile(&policy("", "emit.level = { op = 'keep' }\nemit.warmth = { op = 'drop' }")).unwrap();
    let told = |fields: &str| {
        let json = format!(r#"{{"event": "phone.app.opened", "fields": {fields}}}"#);
        plan.explain(&serde_json::from_str::<SampleEvent>(&json).unwrap())
    };
    let present = |fields: &str| -> Vec<bool> {
        let told = told(fields);
        assert!(told.bad_values.is_empty(), "{fields}");
        let fields = &told.purposes[0].fields;
        let field = |name: &str| fields.iter().find(|field| field.field == name).unwrap().present;
        vec![field("level"), field("warmth")]
    };
    assert_eq!(present(r#"{"level": [1, null, 2.0], "warmth": {"lat": 47.4, "lon": 8}}"#), [true, true]);
    assert_eq!(present(r#"{"level": [], "warmth": {"lat": 47.4}}"#), [true, false]);
    assert_eq!(present(r#"{"level": null, "warmth": {"lat": 91, "lon": 8}}"#), [false, false]);
    for bad in ["{\"level\": 1}", "{\"level\": [1, \"x\"]}", "{\"level\": [[1]]}", "{\"imei\": [\"4901\"]}"] {
        assert_eq!(told(bad).bad_values.len(), 1, "{bad}");
    }
    for bad in ["1", "[1, 2]", r#"{"lat": "47", "lon": 8}"#, r#"{"lat": 47, "lon": 8, "alt": 400}"#] {
        assert_eq!(told(&format!("{{\"warmth\": {bad}}}")).bad_values, ["warmth"], "{bad}");
    }
}
