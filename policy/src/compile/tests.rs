//! Plans from documents: cells, decisions, columns, and every problem of a rule that does not fit the catalogue.

use std::fmt::Write as _;

use super::*;
use crate::digest::Digest;
use crate::problem::Problem;
use crate::testing::{CATALOGUE, POLICY, assert_problem, edit};

fn compile(policy: &str) -> Result<Plan, Problems> {
    let catalogue = Catalogue::parse(CATALOGUE, "catalogue.toml").unwrap();
    Plan::compile(catalogue, Policy::parse(policy, "policy.toml").unwrap())
}

/// The policy with these rules in place of its own.
fn with_rules(rules: &str) -> String {
    format!("{}{rules}", &POLICY[..POLICY.find("[[rule]]").unwrap()])
}

fn rule(id: &str, when: &str, emits: &str) -> String {
    let when = if when.is_empty() { String::new() } else { format!("when = \"{when}\"\n") };
    format!("\n[[rule]]\nid = '{id}'\nstream = 'phone.app'\npurpose = 'diagnostics'\n{when}{emits}\n")
}

fn plan(rules: &[String]) -> Plan {
    compile(&with_rules(&rules.concat())).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problem(rules: &str, cause: &str, says: &str) -> Problem {
    let text = with_rules(rules);
    assert_problem(&text, compile(&text), cause, says)
}

/// Who won `column` in a cell: rule and operator.
fn winner(table: &TablePlan, cell: usize, column: &str) -> Option<(String, String)> {
    let found = table.explain_column(table.decision(cell)?, column)?;
    Some((found.rule, found.operator))
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside what `winner` gives")]
fn won(rule: &str, operator: &str) -> Option<(String, String)> {
    Some((rule.to_owned(), operator.to_owned()))
}

/// Compiles only for what threads can share.
fn shared<T: Send + Sync>(_: &T) {}

#[test]
fn a_plan_has_a_table_for_each_purpose_and_stream_that_a_rule_reaches() {
    let plan = compile(POLICY).unwrap();
    assert_eq!(plan.tables().len(), 1);
    let table = plan.table_named("diagnostics", "phone.app").unwrap();
    assert_eq!(
        (&*table.purpose_name, &*table.stream_name, table.purpose, table.stream),
        ("diagnostics", "phone.app", 0, 1)
    );
    assert!(plan.table_named("marketing", "phone.app").is_none());
    assert!(plan.table_named("diagnostics", "car.drive").is_none());
    let columns: Vec<_> =
        table.schema.fields().iter().map(|field| (field.name().as_str(), field.is_nullable())).collect();
    assert_eq!(
        columns,
        [
            ("event", false),
            ("time", true),
            ("subject", false),
            ("consent_seq", true),
            ("decision", false),
            ("imei_hmac", true)
        ]
    );
    // GPC off, then on.
    assert_eq!((table.decision(0), table.decision(1), table.decision(2)), (Some(0), None, None));
    assert_eq!(winner(table, 0, "imei_hmac"), won("phone", "hmac(key=diagnostics)"));
    assert_eq!(winner(table, 0, "time"), won("phone", "time_floor(unit=hour)"));
    assert_eq!(table.explain_column(0, "imei"), None);
    assert_eq!(table.explain_column(7, "time"), None);
    assert_eq!(plan.named_keys(), ["diagnostics"]);
    assert_eq!(plan.purpose_number("marketing"), Some(1));
    shared(&plan);
}

#[test]
fn the_key_index_knows_every_declared_key_and_no_other() {
    use crate::catalogue::{FieldPath, Signal};
    use crate::key_index::Slot;
    let index = compile(POLICY).unwrap().key_index(&FieldPath::Resource("device.id".into()));
    assert_eq!(index.event(Signal::Logs, "phone.app.crashed"), Some((1, 1)));
    assert_eq!(index.event(Signal::Logs, "phone.app"), None);
    assert_eq!(index.event(Signal::Traces, "phone.app.crashed"), None);
    let phone = index.stream(1).unwrap();
    assert_eq!(phone.resource.slots("device.imei"), Some([Slot::Field(0)].as_slice()));
    assert_eq!(phone.resource.slots("device.id"), Some([Slot::Subject].as_slice()));
    assert_eq!(phone.resource.slots("region"), Some([Slot::Jurisdiction].as_slice()));
    assert_eq!(phone.resource.slots("gpc"), Some([Slot::Gpc].as_slice()));
    assert_eq!(phone.attributes.slots("screen"), Some([Slot::Field(1)].as_slice()));
    assert_eq!(phone.attributes.slots("device.imei"), None);
    assert!(phone.resource.is_prefix("device") && !phone.attributes.is_prefix("device"));
    assert_eq!(phone.event_fields[1], [true, false, true, false, false, false]);
    assert!(phone.fields[0].per_resource && !phone.fields[1].per_resource);
    assert!(phone.subject_per_resource && phone.jurisdiction_per_resource && phone.gpc_per_resource);
}

#[test]
fn the_strictest_wins_and_what_is_undecided_lets_nothing_through() {
    let plan = plan(&[
        rule("all", "", "emit.level = { op = 'keep' }\nemit.imei = { op = 'keep' }"),
        rule("charging", "charging", "emit.level = { op = 'bin', width = 10 }\nemit.warmth = { op = 'keep' }"),
        rule("identifiers", "not charging", "emit_category.'user.unique_id' = { op = 'drop' }"),
    ]);
    let table = plan.table_named("diagnostics", "phone.app").unwrap();
    let (absent, off, on) = (0, 1, 2);
    assert_eq!(winner(table, absent, "level"), won("charging", "bin(width=10 origin=0)"), "undecided is strict");
    assert_eq!(winner(table, absent, "imei"), None, "an undecided drop drops");
    assert_eq!(winner(table, absent, "warmth"), None, "undecided lets nothing through");
    assert_eq!(winner(table, off, "level"), won("all", "keep"));
    assert_eq!(winner(table, off, "imei"), None);
    assert_eq!(winner(table, on, "level"), won("charging", "bin(width=10 origin=0)"));
    assert_eq!(winner(table, on, "imei"), won("all", "keep"));
    assert_eq!(winner(table, on, "warmth"), won("charging", "keep"));
    assert_eq!(table.decisions.len(), 3);
}

#[test]
fn conditions_cut_numbers_where_they_say() {
    for (when, holds) in [
        ("level < 20", [true, true, false, false]),
        ("level <= 20", [true, true, true, false]),
        ("level > 20", [false, false, false, true]),
        ("level >= 20", [false, false, true, true]),
        ("level == 20", [false, false, true, false]),
        ("level != 20", [true, true, false, true]),
        ("level in [20, 19]", [false, true, true, false]),
        ("19 <= level <= 20", [false, true, true, false]),
        ("18.5 < level < 20.5", [false, true, true, false]),
        ("warmth < 20", [true, true, false, false]),
        ("warmth <= 20", [true, true, true, false]),
        ("20 < warmth", [false, false, false, true]),
        ("warmth == 20", [false, false, true, false]),
    ] {
        let plan = plan(&[rule("r", when, "emit.imei = { op = 'keep' }")]);
        let table = plan.table_named("diagnostics", "phone.app").unwrap();
        let [dimension] = table.dimensions() else { panic!("one dimension") };
        let cell = |value| table.decision(dimension.class_of_number(value) as usize).is_some();
        assert_eq!([-1.0, 19.0, 20.0, 21.0].map(|value| cell(Some(value))), holds, "{when}");
        assert!(!cell(None) && !cell(Some(f64::NAN)), "{when}: absent lets nothing through");
    }
}

#[test]
fn unknown_is_decided_and_absent_is_not() {
    for (when, holds) in [
        ("screen == 'home'", [false, true, false]),
        ("screen != 'home'", [false, false, true]),
        ("screen == 'unknown'", [true, false, false]),
        ("screen != 'unknown'", [false, true, true]),
        ("screen in ['unknown', 'chat']", [true, false, true]),
        ("screen not in ['home']", [false, false, true]),
        ("screen == 'home' or screen == 'unknown'", [true, true, false]),
    ] {
        let plan = plan(&[rule("r", when, "emit.imei = { op = 'keep' }")]);
        let table = plan.table_named("diagnostics", "phone.app").unwrap();
        assert_eq!([0, 1, 2].map(|cell| table.decision(cell).is_some()), holds, "{when}");
    }
    let plan = plan(&[rule("r", "jurisdiction != 'EU'", "emit.imei = { op = 'keep' }")]);
    let table = plan.table_named("diagnostics", "phone.app").unwrap();
    let names = ["unknown", "EU", "US-CA", "CN"];
    assert_eq!(
        names.map(|name| table
            .decision(plan.policy().jurisdictions.names.iter().position(|n| n == name).unwrap())
            .is_some()),
        [true, false, true, true]
    );
}

#[test]
fn a_column_that_is_only_suppressed_stays_and_one_that_is_dropped_does_not() {
    let plan = plan(&[rule(
        "r",
        "",
        "emit.time = { op = 'keep' }\nemit.imei = { op = 'suppress' }\nemit.level = { op = 'drop' }",
    )]);
    let table = plan.table_named("diagnostics", "phone.app").unwrap();
    let names: Vec<_> = table.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["time", "imei"]);
    assert_eq!(
        table.decisions[0].winners.iter().map(|winner| winner.writes).collect::<Vec<_>>(),
        [Some((0, 0)), None, None]
    );
    let nothing = self::plan(&[rule("r", "", "emit.imei = { op = 'suppress' }")]);
    let table = nothing.table_named("diagnostics", "phone.app").unwrap();
    assert_eq!((table.decision(0), table.columns.len()), (None, 0), "a row in which nothing is written is none");
}

#[test]
fn operators_that_cannot_be_compared_name_both_lines() {
    let bin =
        |id: &str, when: &str, width: u32| rule(id, when, &format!("emit.level = {{ op = 'bin', width = {width} }}"));
    let rules = bin("five", "charging", 5) + &bin("seven", "screen == 'home'", 7);
    let text = with_rules(&rules);
    let problems = compile(&text).unwrap_err().0;
    let [problem] = problems.as_slice() else { panic!("{problems:#?}") };
    let line = |needle: &str| text[..text.find(needle).unwrap()].lines().count() + 5;
    assert_eq!((problem.line, problem.column), (line("id = 'seven'"), 6));
    assert_eq!(problem.also.as_ref().unwrap().line, line("id = 'five'"));
    let shown = problem.to_string();
    for part in [
        "`seven`",
        "`five`",
        "`bin(width=5 origin=0)`",
        "`bin(width=7 origin=0)`",
        "`level`",
        &format!("line {}", line("id = 'five'")),
    ] {
        assert!(shown.contains(part), "{shown} does not say {part}");
    }
    // Conditions that exclude each other, also where both are undecided; a multiple; or something stricter than both.
    plan(&[bin("five", "charging", 5), bin("seven", "not charging", 7)]);
    plan(&[bin("five", "", 5), bin("ten", "", 10)]);
    plan(&[bin("five", "", 5), bin("seven", "", 7), bin("both", "", 35)]);
    plan(&[bin("five", "", 5), rule("none", "", "emit.level = { op = 'drop' }"), bin("seven", "", 7)]);
}

#[test]
fn the_first_of_equal_rules_counts() {
    let plan = plan(&[
        rule("one", "charging", "emit.level = { op = 'bin', width = 10 }"),
        rule("two", "", "emit.level = { op = 'bin', width = 10.0, origin = 0 }"),
    ]);
    let table = plan.table_named("diagnostics", "phone.app").unwrap();
    let winners = [0, 1, 2].map(|cell| winner(table, cell, "level").unwrap().0);
    assert_eq!(winners, ["one", "two", "one"]);
    assert_eq!(table.columns[0].operators.len(), 1);
}

#[test]
fn decision_numbers_hang_on_content_not_on_layout() {
    let rules = rule("eu", "jurisdiction == 'EU' and event == 'phone.app.opened'", "emit.level = { op = 'keep' }")
        + &rule("cn", "jurisdiction == 'CN' or charging", "emit.warmth = { op = 'keep' }")
        + &rule("low", "level < 20", "emit.level = { op = 'bin', width = 10 }\nemit.imei = { op = 'keep' }");
    let text = with_rules(&rules);
    let plan = compile(&text).unwrap();
    let canonical = Plan::compile(
        Catalogue::from_canonical(&plan.catalogue().canonical, "stored").unwrap(),
        Policy::from_canonical(&plan.policy().canonical, "stored").unwrap(),
    )
    .unwrap();
    assert_eq!(canonical.policy().digest, plan.policy().digest);
    // In the canonical form, crashed stands before opened, CN before EU, and columns go by name.
    assert_ne!(canonical.policy().jurisdictions.names, plan.policy().jurisdictions.names);
    assert_ne!(canonical.catalogue().streams[1].events[0].name, plan.catalogue().streams[1].events[0].name);
    let told = |plan: &Plan| {
        let table = plan.table_named("diagnostics", "phone.app").unwrap();
        (0..table.decisions.len() as u32)
            .map(|decision| ["imei", "level", "warmth"].map(|column| table.explain_column(decision, column)))
            .collect::<Vec<_>>()
    };
    assert!(told(&plan).len() > 5);
    assert_eq!(told(&plan), told(&canonical));
    assert_eq!(told(&plan), told(&compile(&text).unwrap()));
}

#[test]
fn what_rules_name_must_be_declared() {
    let emit = "emit.imei = { op = 'keep' }";
    let typo = problem(&rule("r", "", "emit.imai = { op = 'keep' }"), "imai", "declares a field `imai`");
    assert_eq!(typo.mend, "did you mean `imei`?");
    problem(&rule("r", "", "emit.subject = { op = 'keep' }"), "subject", "declares a field `subject`");
    problem(
        &rule("r", "", "emit_category.'user.health' = { op = 'drop' }"),
        "'user.health'",
        "is in the category `user.health`",
    );
    problem(&rule("r", "", emit).replace("'phone.app'", "'phone.ap'"), "'phone.ap'", "declares no stream `phone.ap`");
    problem(&rule("r", "event == 'phone.app.open'", emit), "'phone.app.open'\"", "declares event `phone.app.open`");
    problem(&rule("r", "jurisdiction == 'FR'", emit), "'FR'\"", "declares no jurisdiction `FR`");
    problem(&rule("r", "gpc and chargin", emit), "chargin\"", "declares no column `chargin`");
    problem(&rule("r", "screen == 'settings'", emit), "'settings'", "declares no value `settings`");
}

#[test]
fn what_conditions_test_must_have_the_type() {
    let emit = "emit.imei = { op = 'keep' }";
    problem(&rule("r", "gpc == 'on'", emit), "gpc ==", "`gpc` is true or false");
    problem(&rule("r", "event", emit), "event\"", "`event` is a text");
    problem(&rule("r", "not jurisdiction", emit), "jurisdiction\"", "`jurisdiction` is a text");
    problem(&rule("r", "level", emit), "level\"", "`level` is of type i64");
    problem(&rule("r", "level == 'low'", emit), "level ==", "`level` is of type i64");
    problem(&rule("r", "level == 1.5", emit), "1.5\"", "it never equals this");
    problem(&rule("r", "charging == 1", emit), "charging ==", "`charging` is of type bool");
    problem(&rule("r", "screen < 3", emit), "screen <", "`screen` is of type string");
    problem(&rule("r", "imei == 'x'", emit), "'x'\"", "declares no value `x` for `imei`");
    problem(&rule("r", "seen < 3", emit), "seen <", "`seen` is of type timestamp");
}

#[test]
fn operators_must_run_on_the_type_and_write_a_column_of_their_own() {
    problem(&rule("r", "", "emit.charging = { op = 'hmac', key = 'k' }"), "charging = {", "cannot run on `charging`");
    problem(
        &rule("r", "", "emit_category.'user.behavior' = { op = 'ip_trunc' }"),
        "'user.behavior'",
        "cannot run on `seen`",
    );
    problem(&rule("r", "", "emit.time = { op = 'bin', width = 5 }"), "time = {", "cannot run on `time`");
    let catalogue = edit(CATALOGUE, "warmth   =", "imei_hmac =");
    let catalogue = Catalogue::parse(&catalogue, "catalogue.toml").unwrap();
    let found = Plan::compile(catalogue, Policy::parse(POLICY, "policy.toml").unwrap());
    assert_problem(POLICY, found, "imei = {", "writes column `imei_hmac`");
}

#[test]
fn rules_over_several_streams() {
    let both = |when: &str, emits: &str| rule("r", when, emits).replace("'phone.app'", "'*'");
    let plan = plan(&[both(
        "event in ['phone.app.opened']",
        "emit_category.'user.unique_id' = { op = 'keep' }\nemit.level = { op = 'keep' }",
    )]);
    let phone = plan.table_named("diagnostics", "phone.app").unwrap();
    assert_eq!((phone.decision(0), phone.decision(1)), (Some(0), None));
    let car = plan.table_named("diagnostics", "car.drive").unwrap();
    assert_eq!((car.decision(0), car.dimensions().len()), (None, 0), "the event is another stream's");
    // A column in a condition must be in every stream of the rule.
    problem(&both("charging", "emit.imei = { op = 'keep' }"), "charging\"", "stream `car.drive` declares no column");
    let none = self::plan(&[both("", "emit.level = { op = 'keep' }")]);
    assert!(none.table_named("diagnostics", "car.drive").is_none(), "the rule emits nothing of it");
}

#[test]
fn cells_have_a_limit_that_says_how_to_stay_under_it() {
    let cuts: Vec<String> = (0..1_000).map(|cut| format!("level == {}", cut * 2)).collect();
    let when = format!(
        "({}) and warmth in [{}]",
        cuts.join(" or "),
        (0..40).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")
    );
    let found = problem(&rule("r", &when, "emit.imei = { op = 'keep' }"), "\"(level", "the most is 65536");
    assert!(found.message.contains("level (2002) × warmth (82)"), "{found}");
    assert!(found.mend.contains("`level`"), "{found}");
}

#[test]
fn all_problems_are_told_at_once() {
    let rules = rule("a", "chargin", "emit.imei = { op = 'keep' }\nemit.modell = { op = 'keep' }")
        + &rule("b", "level == 'x' and scren == 'y'", "emit.charging = { op = 'ip_trunc' }");
    let problems = compile(&with_rules(&rules)).unwrap_err().0;
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems.is_sorted_by_key(|problem| problem.span.start));
}

#[test]
fn ten_thousand_rules_compile() {
    let mut rules = String::new();
    for number in 0..10_000 {
        let jurisdiction = ["EU", "US-CA", "CN", "unknown"][number % 4];
        let _ = writeln!(
            rules,
            "[[rule]]\nid = 'rule-{number}'\npurpose = '*'\nemit.time = {{ op = 'time_floor', unit = 'hour' }}"
        );
        if number % 2 == 0 {
            let low = number % 100;
            let when = format!("jurisdiction == '{jurisdiction}' and level < {low} and (charging or screen == 'home')");
            let _ = writeln!(rules, "stream = 'phone.app'\nwhen = \"{when}\"\nemit.imei = {{ op = 'suppress' }}");
        } else {
            let _ = writeln!(rules, "stream = '*'\nemit_category.user = {{ op = 'keep' }}");
        }
    }
    let plan = plan(&[rules]);
    assert_eq!(plan.tables().len(), 4);
    assert_eq!(plan.policy().rules().len(), 10_000);
    let table = plan.table_named("marketing", "phone.app").unwrap();
    assert!(table.cells.len() > 1_500);
}

#[test]
fn the_sample_fleet_compiles() {
    let catalogue = Catalogue::parse(include_str!("../../../seeds/fleet/catalogue.toml"), "catalogue.toml");
    let cities = |_: &str| Ok(include_str!("../../../seeds/fleet/hierarchies/city.csv").to_owned());
    let policy = Policy::parse_with(include_str!("../../../seeds/fleet/policy.toml"), "policy.toml", &cities);
    let (catalogue, policy) = (catalogue.unwrap_or_else(|p| panic!("{p}")), policy.unwrap_or_else(|p| panic!("{p}")));
    let plan = Plan::compile(catalogue, policy).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(plan.tables().len(), 11);
    assert_eq!(plan.named_keys(), ["analytics", "diagnostics", "marketing"]);
    assert_eq!(plan.policy().digest, Digest::of_bytes(plan.policy().canonical.as_bytes()));
}

#[test]
fn a_domain_too_small_for_ff1_is_told() {
    let rules = rule("a", "", "emit.screen = { op = 'fpe_ff1', key = 'diagnostics', radix = 36 }");
    problem(
        &rules,
        "screen = { op = 'fpe",
        "`fpe_ff1` needs a domain of at least 1000000 values, and the field declares 2",
    );
    let plan = plan(&[rule("a", "", "emit.imei = { op = 'fpe_ff1', key = 'diagnostics', radix = 10 }")]);
    let table = plan.table_named("diagnostics", "phone.app").unwrap();
    assert!(table.columns.iter().any(|column| column.name == "imei_fpe_ff1"));
    assert_eq!(plan.named_keys(), ["diagnostics"]);
}

#[test]
fn operators_of_rules_that_meet_are_compared() {
    let meet = |a: &str, b: &str| {
        let rules = [("a", a), ("b", b)].map(|(id, emit)| rule(id, "", &format!("emit.imei = {emit}")));
        compile(&with_rules(&rules.concat())).map(|plan| {
            let table = plan.table_named("diagnostics", "phone.app").unwrap();
            winner(table, 0, &table.columns[0].name).unwrap().1
        })
    };
    let (mask, hmac) = ("{ op = 'mask', n = 8 }", "{ op = 'hmac', key = 'k' }");
    assert_eq!(meet(mask, "{ op = 'mask', n = 9 }").unwrap(), "mask(n=9 char=* from_end=false)");
    assert_eq!(meet(mask, "{ op = 'replace', v = 'none' }").unwrap(), "replace(v=none)");
    assert_eq!(meet(mask, "{ op = 'keep' }").unwrap(), "mask(n=8 char=* from_end=false)");
    assert_eq!(meet(hmac, "{ op = 'fpe_ff1', key = 'k', radix = 10 }").unwrap(), "hmac(key=k)");
    for other in [hmac, "{ op = 'mask', n = 9, from_end = true }", "{ op = 'fpe_ff1', key = 'k', radix = 10 }"] {
        assert!(meet(mask, other).unwrap_err().to_string().contains("neither is stricter"), "{other}");
    }
    assert!(meet("{ op = 'replace', v = 'a' }", "{ op = 'replace', v = 'b' }").is_err());
}
