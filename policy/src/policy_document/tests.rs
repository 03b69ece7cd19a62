//! Every kind of problem in a policy by itself has a place and a mend.

use std::collections::BTreeSet;

use super::*;
use crate::consent::ConsentState;
use crate::policy::Age;
use crate::problem::Problem;
use crate::reason::Reason;
use crate::testing::{POLICY, assert_problem, edit};

fn problem(from: &str, to: &str, cause: &str, says: &str) -> Problem {
    let text = edit(POLICY, from, to);
    assert_problem(&text, Policy::parse(&text, "policy.toml"), cause, says)
}

fn policy() -> Policy {
    Policy::parse(POLICY, "policy.toml").unwrap()
}

#[test]
fn a_policy_is_read() {
    let policy = policy();
    assert_eq!((policy.name.as_str(), policy.notice.as_deref()), ("acme-fleet", Some("2026-01")));
    assert_eq!(policy.jurisdictions.names, ["unknown", "EU", "US-CA", "CN"]);
    assert_eq!(policy.jurisdictions.number(Some("FR")), 1);
    assert_eq!(policy.jurisdictions.number(Some("BR")), 0);
    assert_eq!(policy.jurisdictions.number(None), 0);
    assert_eq!(policy.gpc.opts_out, [false, true]);
    let marketing = &policy.purposes[1];
    assert_eq!(marketing.on_withdrawal, OnWithdrawal::Keep);
    assert_eq!(marketing.retain, Period::Months(13));
    assert_eq!(policy.purposes[0].on_withdrawal, OnWithdrawal::Erase);
    let rules: Vec<_> = policy.rules().map(|rule| (rule.id, rule.line)).collect();
    assert_eq!(rules, [("phone", 22)]);
}

#[test]
fn unknown_jurisdictions_get_the_strictest_basis_and_the_highest_age() {
    use LegalBasis::{Consent, Contract, Notice, SeparateConsent};
    let policy = policy();
    let [diagnostics, marketing] = policy.purposes.as_slice() else { panic!("two purposes") };
    assert_eq!(diagnostics.basis, [SeparateConsent, Consent, Notice, SeparateConsent].map(Some));
    assert_eq!(diagnostics.min_age, [0, 0, 0, 0]);
    assert_eq!(marketing.basis, [Consent, Consent, Contract, Contract].map(Some));
    assert_eq!(marketing.min_age, [16, 16, 13, 13]);
    let some =
        edit(POLICY, "{ EU = \"consent\", US-CA = \"notice\", CN = \"separate_consent\" }", "{ US-CA = \"notice\" }");
    let some = Policy::parse(&some, "policy.toml").unwrap();
    assert_eq!(some.purposes[0].basis, [Some(Notice), None, Some(Notice), None]);
}

#[test]
fn the_gate_gives_the_first_reason() {
    let text = edit(POLICY, "{ \"*\" = \"contract\", EU = \"consent\" }", "{ EU = \"consent\", US-CA = \"notice\" }");
    let policy = Policy::parse(&text, "policy.toml").unwrap();
    let gate = |place, gpc, age, state| policy.gate(1, place, gpc, Age::Own(age), state);
    let (eu, california, china) = (1, 2, 3);
    assert_eq!(gate(china, true, None, ConsentState::Unknown), Some(Reason::NoBasis));
    assert_eq!(gate(eu, true, None, ConsentState::Given), Some(Reason::UnderAge));
    assert_eq!(gate(eu, true, Some(15), ConsentState::Given), Some(Reason::UnderAge));
    assert_eq!(gate(eu, true, Some(16), ConsentState::Given), Some(Reason::OptedOut));
    for state in [
        ConsentState::Unknown,
        ConsentState::Refused,
        ConsentState::Withdrawn,
        ConsentState::Expired,
        ConsentState::Invalidated,
    ] {
        assert_eq!(gate(eu, false, Some(16), state), Some(Reason::NoConsent), "{state:?}");
        let objects = state.is_objection().then_some(Reason::NoConsent);
        assert_eq!(gate(california, false, Some(13), state), objects, "{state:?}");
    }
    assert_eq!(gate(eu, false, Some(16), ConsentState::Given), None);
    assert_eq!(gate(0, false, Some(15), ConsentState::Given), Some(Reason::UnderAge), "unknown has the highest age");
    assert_eq!(gate(99, false, Some(99), ConsentState::Given), Some(Reason::NoBasis));
    let guarded = |place, state| policy.gate(1, place, false, Age::Guarded, state);
    assert_eq!(guarded(eu, ConsentState::Given), None, "a guardian's consent is as good as an adult's");
    assert_eq!(guarded(eu, ConsentState::Unknown), Some(Reason::UnderAge));
    assert_eq!(
        guarded(california, ConsentState::Given),
        Some(Reason::UnderAge),
        "where consent is no basis, age counts"
    );
    assert_eq!(policy.gate(99, eu, false, Age::Own(Some(99)), ConsentState::Given), Some(Reason::NoBasis));
    assert_eq!(policy.gate(0, eu, true, Age::Own(None), ConsentState::Given), None, "no age, and gpc does not name it");
}

#[test]
fn canonical_json_reads_back_to_the_same_policy() {
    let policy = policy();
    let again = Policy::from_canonical(&policy.canonical, "stored").unwrap();
    assert_eq!((again.digest, again.canonical.as_str()), (policy.digest, policy.canonical.as_str()));
    let names: Vec<_> = again.purposes.iter().map(|purpose| purpose.name.as_str()).collect();
    assert_eq!(names, ["diagnostics", "marketing"]);
}

#[test]
fn the_head() {
    problem("policy  = \"acme-fleet\"\n", "", "\n", "the policy has no `policy`");
    problem("default = \"drop\"", "default = \"keep\"", "\"keep\"", "there is no other default");
    assert!(Policy::parse(&edit(POLICY, "default = \"drop\"\n", ""), "p.toml").is_ok());
    problem("from = \"resource.region\", EU", "from = \"region\", EU", "\"region\"", "is not a place in a record");
    problem("from = \"resource.region\", EU", "EU", "jurisdiction", "has no `from`");
    problem("EU = [\"DE\", \"FR\"]", "EU = \"DE\"", "\"DE\"", "must be a list of texts");
    problem("CN = [\"CN\"] }", "unknown = [\"CN\"], CN = [] }", "unknown", "cannot be declared");
    let twice = problem("CN = [\"CN\"] }", "CN = [\"CN\"], XX = ['FR'] }", "'FR'", "listed for `EU` and for `XX`");
    assert_eq!(twice.also.unwrap().line, 5);
    let typo = problem(
        "opts_out = [\"marketing\"]",
        "opts_out = [\"marketin\"]",
        "\"marketin\"",
        "there is no purpose `marketin`",
    );
    assert_eq!(typo.mend, "did you mean `marketing`?");
    problem(
        "opts_out = [\"marketing\"]",
        "opt_out = [\"marketing\"], opts_out = []",
        "opt_out",
        "has no key `opt_out`",
    );
    problem(", opts_out = [\"marketing\"]", "", "gpc ", "has no `opts_out`");
}

#[test]
fn purposes() {
    problem("retain      = \"30 days\"\n", "", "diagnostics]", "purpose `diagnostics` has no `retain`");
    problem("\"30 days\"", "\"a while\"", "\"a while\"", "is not a period");
    problem("\"essential.service\"", "\"Faults!\"", "\"Faults!\"", "is not a data use");
    problem("US-CA = \"notice\", CN", "US-CA = \"opt-in\", CN", "\"opt-in\"", "there is no legal basis `opt-in`");
    problem("US-CA = \"notice\", CN", "US-C = \"notice\", CN", "US-C ", "there is no jurisdiction `US-C`");
    problem("US-CA = \"notice\", CN", "unknown = \"notice\", CN", "unknown", "`unknown` cannot be set");
    problem(
        "basis       = { EU = \"consent\", US-CA = \"notice\", CN = \"separate_consent\" }\n",
        "",
        "diagnostics]",
        "has no `basis`",
    );
    problem("{ EU = 16, \"*\" = 13 }", "{ EU = 160 }", "160", "from 0 to 120");
    problem("{ EU = 16, \"*\" = 13 }", "{ EU = \"old\" }", "\"old\"", "from 0 to 120");
    problem("on_withdrawal = \"keep\"", "on_withdrawal = \"hide\"", "\"hide\"", "there is no on_withdrawal `hide`");
    problem("notice  = \"2026-01\"\n", "", "\"contract\"", "needs a published notice");
    problem("[purpose.marketing]", "[purpose.diagnostics.x]\n[purpose.marketing]", "x]", "has no key `x`");
    let many = (0..15)
        .map(|n| format!("[purpose.p{n}]\nuse = \"x\"\nretain = \"1 day\"\nbasis = {{ EU = \"consent\" }}\n"))
        .collect::<Vec<_>>()
        .concat();
    problem("[[rule]]", &format!("{many}[[rule]]"), "p14]", "more than 16 purposes");
}

#[test]
fn rules() {
    problem("id      = \"phone\"", "id = \"a phone\"", "\"a phone\"", "cannot be the id of a rule");
    problem("id      = \"phone\"\n", "", "[[rule]]", "the rule has no `id`");
    problem("stream  = \"phone.app\"\n", "", "[[rule]]", "has no `stream`");
    problem("stream  = \"phone.app\"", "stream = []", "[]", "names nothing");
    problem("stream  = \"phone.app\"", "stream = [\"phone.app\", \"*\"]", "\"*\"]", "`*` stands for all");
    problem("purpose = \"diagnostics\"", "purpose = \"diagnostic\"", "\"diagnostic\"", "there is no purpose");
    problem("purpose = \"diagnostics\"", "purpose = 1", "1\nwhen", "must be a list of texts");
    problem("[[rule]]", "[rule]", "rule]", "must be a list of tables");
    problem("when    =", "wenn    =", "wenn", "has no key `wenn`");
    let text = format!("{POLICY}[[rule]]\nid = 'phone'\nstream = '*'\npurpose = '*'\nemit.time = {{ op = 'keep' }}\n");
    let twice = assert_problem(&text, Policy::parse(&text, "p.toml"), "'phone'", "is there twice");
    assert_eq!(twice.also.unwrap().line, 22);
}

#[test]
fn emits() {
    let emit =
        "emit.imei = { op = \"hmac\", key = \"diagnostics\" }\nemit.time = { op = \"time_floor\", unit = \"hour\" }\n";
    problem(emit, "", "[[rule]]", "rule `phone` has no `emit`");
    problem("{ op = \"hmac\", key = \"diagnostics\" }", "\"hmac\"", "\"hmac\"", "must be a table");
    problem("{ op = \"hmac\", key = \"diagnostics\" }", "{ key = \"x\" }", "imei", "has no `op`");
    problem("op = \"hmac\"", "op = \"sha256\"", "\"sha256\"", "no operator is named `sha256`");
    problem("key = \"diagnostics\"", "kei = \"diagnostics\", key = \"x\"", "kei", "`kei`");
    problem("unit = \"hour\"", "unit = [\"hour\"]", "unit", "must be a text");
    problem("unit = \"hour\"", "unit = [7]", "7", "must be a text");
    problem("unit = \"hour\"", "unit = { hour = 1 }", "{ hour = 1 }", "cannot be a table");
    let redact = |names: &str| format!("op = \"redact_text\", detectors = {names}");
    let hmac = "op = \"hmac\", key = \"diagnostics\"";
    problem(hmac, &redact("[\"email\", \"emial\"]"), "\"emial\"", "no detector `emial`");
    problem(hmac, &redact("\"email\""), "detectors", "must be a list of texts");
    problem(hmac, &redact("[\"email\", 7]"), "7", "must be a text");
    assert!(Policy::parse(&edit(POLICY, hmac, &redact("[\"email\", \"card\"]")), "policy.toml").is_ok());
    problem("unit = \"hour\"", "unit = \"fortnight\"", "\"fortnight\"", "no unit");
    problem("emit.imei", "emit_category.\"User!\"", "\"User!\"", "is not a data category");
    problem("emit.imei", "emit.Imei", "Imei", "cannot be the column");
}

#[test]
fn conditions_that_cannot_be_read_are_found_in_the_file() {
    problem("\"not gpc\"", "\"not gpc &\"", "&\"", "a condition cannot hold this");
    problem("\"not gpc\"", "\"not (gpc\"", "\"\nemit.imei", "a parenthesis is not closed here");
    problem("\"not gpc\"", "'''\nnot gpc\nand =='''", "=='''", "a test is expected here");
    // Escapes shift what follows: the whole text is named.
    problem("\"not gpc\"", "\"not gpc\\t&\"", "\"not gpc\\t&\"", "a condition cannot hold this");
    problem("\"not gpc\"", "\"\"", "\"\"", "is empty");
}

const WITH_FILE: (&str, &str) =
    ("emit.time = {", "emit.screen = { op = \"hierarchy\", file = \"words/screens.csv\", level = 1 }\nemit.time = {");

fn with_file(text: &str, content: &'static str) -> Result<Policy, Problems> {
    Policy::parse_with(text, "policy.toml", &|name| {
        assert_eq!(name, "words/screens.csv");
        Ok(content.to_owned())
    })
}

#[test]
fn files_are_part_of_the_document_and_its_digest() {
    let text = edit(POLICY, WITH_FILE.0, WITH_FILE.1);
    let policy = with_file(&text, "home;start\n").unwrap();
    let json: serde_json::Value = serde_json::from_str(&policy.canonical).unwrap();
    assert_eq!(json["files"], serde_json::json!({"words/screens.csv": "home;start\n"}));
    assert_eq!(policy.digest, crate::digest::Digest::of_bytes(policy.canonical.as_bytes()));
    assert_ne!(policy.digest, with_file(&text, "home;begin\n").unwrap().digest);
    let kept = Policy::from_canonical(&policy.canonical, "stored").unwrap();
    assert_eq!((&kept.canonical, kept.digest), (&policy.canonical, policy.digest));
    let operators = |policy: &Policy| {
        policy.rules[0].emits.iter().map(|emit| format!("{:?}", emit.operator)).collect::<BTreeSet<_>>()
    };
    assert_eq!(operators(&kept), operators(&policy));
    assert!(!policy_without_files().canonical.contains("\"files\""));
}

fn policy_without_files() -> Policy {
    Policy::parse_with(POLICY, "policy.toml", &|name| panic!("{name} was read")).unwrap()
}

#[test]
fn a_file_that_is_missing_or_wrong_is_told_where_the_rule_names_it() {
    let text = edit(POLICY, WITH_FILE.0, WITH_FILE.1);
    assert_problem(&text, Policy::parse(&text, "policy.toml"), "\"words/screens.csv\"", "there is no file");
    assert_problem(&text, with_file(&text, "home\n"), "\"words/screens.csv\"", "line 1 has no level");
    let canonical = with_file(&text, "home;start\n").unwrap().canonical;
    let without = canonical.replace("home;start", "home");
    assert!(Policy::from_canonical(&without, "stored").unwrap_err().to_string().contains("line 1 has no level"));
    let text = edit(&text, "level = 1", "level = 2");
    assert_problem(&text, with_file(&text, "home;start\n"), "level = 2", "`level` is 2");
    let text = edit(&text, "words/screens.csv", "../screens.csv");
    assert_problem(&text, with_file(&text, ""), "\"../screens.csv\"", "name of a file");
    problem(
        "[purpose.diagnostics]",
        "[files]\n\"a.csv\" = \"a;b\"\n\n[purpose.diagnostics]",
        "files",
        "no key `files`",
    );
}
