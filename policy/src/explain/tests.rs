//! Explanations say what clearing does, and never a value.

use super::*;
use crate::catalogue::Catalogue;
use crate::policy::Policy;
use crate::testing::{CATALOGUE, POLICY};

fn plan() -> Plan {
    let rules = "
[[rule]]
id = 'batteries'
stream = 'phone.app'
purpose = ['diagnostics', 'marketing']
when = \"level < 20 or charging\"
emit.level = { op = 'bin', width = 10 }
emit.imei = { op = 'keep' }

[[rule]]
id = 'no-serials'
stream = 'phone.app'
purpose = 'marketing'
emit_category.'user.unique_id' = { op = 'drop' }
";
    let catalogue = Catalogue::parse(CATALOGUE, "catalogue.toml").unwrap();
    let policy = Policy::parse(&format!("{POLICY}{rules}"), "policy.toml").unwrap();
    Plan::compile(catalogue, policy).unwrap_or_else(|problems| panic!("{problems}"))
}

fn sample(json: &str) -> SampleEvent {
    serde_json::from_str(json).unwrap()
}

fn explain(json: &str) -> Explanation {
    plan().explain(&sample(json))
}

fn field<'a>(purpose: &'a PurposeExplanation, name: &str) -> &'a FieldExplanation {
    purpose.fields.iter().find(|field| field.field == name).unwrap()
}

const GIVEN: &str =
    r#""jurisdiction": "DE", "age_from": 30, "consent": {"diagnostics": "given", "marketing": "given"}"#;

#[test]
fn every_field_has_its_rules_the_winner_and_why() {
    let told = explain(&format!(
        r#"{{"event": "phone.app.opened", "fields": {{"imei": "490154203237518", "level": 12}}, {GIVEN}}}"#
    ));
    assert_eq!((told.stream.as_deref(), told.jurisdiction.as_str()), (Some("phone.app"), "EU"));
    let [diagnostics, marketing] = told.purposes.as_slice() else { panic!("two purposes") };
    assert!(diagnostics.stored && marketing.stored);
    assert_eq!((diagnostics.basis, diagnostics.consent), (Some(LegalBasis::Consent), ConsentState::Given));
    let imei = field(diagnostics, "imei");
    assert_eq!(imei.column.as_deref(), Some("imei_hmac"));
    let matched: Vec<_> = imei.matched.iter().map(|rule| (rule.rule.as_str(), rule.line, rule.condition)).collect();
    assert_eq!(matched, [("phone", 22, Truth::True), ("batteries", 30, Truth::True)]);
    assert_eq!(imei.winner.as_ref().unwrap().operator, "hmac(key=diagnostics)");
    assert_eq!(imei.why, "`hmac(key=diagnostics)` is stricter than `keep`");
    let level = field(diagnostics, "level");
    assert_eq!((level.column.as_deref(), level.present), (Some("level"), true));
    assert_eq!(level.why, "`batteries` is the only rule that reaches it");
    let warmth = field(diagnostics, "warmth");
    assert_eq!((warmth.present, warmth.column.as_ref(), warmth.why.as_str()), (false, None, "no rule reaches it"));
    let dropped = field(marketing, "imei");
    assert_eq!((dropped.column.as_ref(), dropped.winner.as_ref().unwrap().rule.as_str()), (None, "no-serials"));
    assert_eq!(dropped.why, "`drop` is stricter than `keep`; `drop` writes nothing");
}

#[test]
fn what_is_undecided_is_told() {
    let told = explain(&format!(r#"{{"event": "phone.app.opened", "fields": {{"level": 50}}, {GIVEN}}}"#));
    let [diagnostics, marketing] = told.purposes.as_slice() else { panic!("two purposes") };
    let level = field(diagnostics, "level");
    assert_eq!(level.matched[0].condition, Truth::Undecided);
    assert_eq!((level.winner.as_ref(), level.column.as_ref()), (None, None));
    assert!(level.why.contains("undecided"), "{}", level.why);
    assert_eq!((marketing.reason, marketing.decision), (Some(Reason::NoRule), None));
    assert_eq!(field(marketing, "imei").winner.as_ref().unwrap().operator, "drop");
}

#[test]
fn a_value_that_the_catalogue_does_not_declare_is_not_told_to_be_absent() {
    let rules = "
[[rule]]
id = 'at-home'
stream = 'phone.app'
purpose = 'diagnostics'
when = \"screen == 'home'\"
emit.screen = { op = 'keep' }
emit.imei = { op = 'drop' }
";
    let catalogue = Catalogue::parse(CATALOGUE, "catalogue.toml").unwrap();
    let policy = Policy::parse(&format!("{POLICY}{rules}"), "policy.toml").unwrap();
    let plan = Plan::compile(catalogue, policy).unwrap_or_else(|problems| panic!("{problems}"));
    for fields in ["", r#""screen": "cellar""#] {
        let told =
            plan.explain(&sample(&format!(r#"{{"event": "phone.app.opened", "fields": {{{fields}}}, {GIVEN}}}"#)));
        for name in ["screen", "imei"] {
            let field = field(&told.purposes[0], name);
            assert!(
                field.why.contains("hangs on a value that is absent, or none that the catalogue declares"),
                "{}",
                field.why
            );
            assert!(!field.why.contains("cellar"), "{}", field.why);
        }
    }
}

#[test]
fn refusals_come_in_the_order_of_clearing() {
    let reasons = |json: &str| explain(json).purposes.iter().map(|purpose| purpose.reason).collect::<Vec<_>>();
    let low = r#""event": "phone.app.opened", "fields": {"level": 5}"#;
    assert_eq!(reasons(r#"{"event": "phone.app.closed"}"#), [Some(Reason::UndeclaredEvent); 2]);
    assert_eq!(reasons(r#"{"event": "phone.app.opened", "fields": {"level": "low"}}"#), [Some(Reason::BadValue); 2]);
    assert_eq!(reasons(r#"{"event": "car.drive.ended"}"#), [Some(Reason::NoRule); 2]);
    assert_eq!(reasons(&format!("{{{low}}}")), [Some(Reason::NoConsent), Some(Reason::UnderAge)]);
    let gpc = reasons(&format!("{{{low}, \"gpc\": true, {GIVEN}}}"));
    assert_eq!(gpc, [None, Some(Reason::OptedOut)]);
    let guarded = |consent: &str| {
        reasons(&format!(
            r#"{{{low}, "jurisdiction": "DE", "guardian": true, "consent": {{"diagnostics": "given", "marketing": "{consent}"}}}}"#
        ))
    };
    assert_eq!(guarded("given"), [None, None], "what a guardian gave asks for no age");
    assert_eq!(guarded("unknown"), [None, Some(Reason::UnderAge)], "what he did not give does");
}

#[test]
fn values_are_judged_as_a_record_would_be() {
    let judged = |fields: &str| {
        let told = explain(&format!(r#"{{"event": "phone.app.opened", "fields": {{{fields}}}, {GIVEN}}}"#));
        (told.bad_values, told.undeclared)
    };
    let nothing = (Vec::<String>::new(), Vec::<String>::new());
    assert_eq!(judged(r#""level": 5.0, "warmth": 5, "seen": "2026-11-01T00:00:00Z", "imei": null"#), nothing);
    assert_eq!(judged(r#""seen": 1793491200000000000"#), nothing);
    for bad in [
        r#""level": 5.5"#,
        r#""warmth": "5""#,
        r#""charging": 1"#,
        r#""seen": "soon""#,
        r#""imei": 5"#,
        r#""imei": []"#,
        r#""warmth": 9007199254740993"#,
    ] {
        assert_eq!(judged(bad).0.len(), 1, "{bad}");
    }
    assert_eq!(judged(r#""colour": "red""#).1, ["colour"]);
    // The event does not list the field, though its stream declares it.
    let told = explain(&format!(r#"{{"event": "phone.app.crashed", "fields": {{"screen": "home"}}, {GIVEN}}}"#));
    assert_eq!(told.undeclared, ["screen"]);
    assert!(told.purposes[0].fields.iter().all(|field| field.field != "screen"));
}

#[test]
fn what_has_expired_is_absent() {
    let on = |day: i32| {
        let json = format!(r#"{{"event": "phone.app.opened", "fields": {{"level": 5}}, "day": {day}, {GIVEN}}}"#);
        explain(&json).purposes[0].reason
    };
    assert_eq!(on(21_548), None);
    assert_eq!(on(21_549), Some(Reason::UndeclaredEvent), "the stream has expired");
}

#[test]
fn no_value_is_in_an_explanation() {
    let sample = sample(&format!(
        r#"{{"event": "phone.app.opened", "fields": {{"imei": "490154203237518", "screen": "home"}}, {GIVEN}}}"#
    ));
    let told = plan().explain(&sample);
    let shown = format!("{sample:?} {told:?} {}", serde_json::to_string(&told).unwrap());
    assert!(!shown.contains("490154203237518") && !shown.contains("home"), "{shown}");
    assert!(shown.contains("phone.app.opened"));
}

#[test]
fn unknown_keys_of_a_sample_are_refused() {
    assert!(serde_json::from_str::<SampleEvent>(r#"{"event": "x", "field": {}}"#).is_err());
}
