//! The alert rules and the dashboard of `docs/operating` name metrics that the service has, and Prometheus takes them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::otlp::{Event, encode};
use crate::signer::AGENTS;
use crate::skip::{runs, skipped};
use crate::witnesses::configure;
use crate::world::{World, workspace};

#[test]
fn alerts_and_dashboard_name_metrics_that_there_are() {
    let world = World::new();
    world.sign();
    let witness = "witness.example/w1+9d26672a+BEOnLnFEAXYt9mtowm373yaCquyfJHTspGE+QkoPuv08";
    configure(&world, &[(witness.to_owned(), "http://127.0.0.1:9".to_owned())]);
    let service = world.serve();
    // A family shows itself with its first sample.
    service.client(Some(AGENTS)).logs(&[]).unwrap().expect_status(401);
    service.consent(&["phone-1"], "given");
    for device in ["phone-1", "phone-1", "phone-2"] {
        service.device().logs(&encode(&[Event::numbered(device, 1)])).unwrap().expect_status(200);
    }
    let there = metrics(&service.metrics());
    assert!(there.contains("candor_events_stored_total") && there.contains("candor_request_seconds_bucket"));
    for (file, text) in [("alerts.yml", read("alerts.yml")), ("dashboard", expressions().join("\n"))] {
        let named = names(&text);
        assert!(named.len() > 5, "{file} names {named:?}");
        let unknown: Vec<_> = named.difference(&there).collect();
        assert!(unknown.is_empty(), "{file} names metrics that the service does not have: {unknown:?}");
    }
    let families = |name: &str| there.iter().any(|sample| sample.starts_with(name));
    let operating = std::fs::read_to_string(workspace().join("docs/OPERATING.md")).unwrap();
    let unknown: Vec<_> = names(&operating).into_iter().filter(|name| !families(name)).collect();
    assert!(unknown.is_empty(), "docs/OPERATING.md names {unknown:?}");
    let reasons = ["bad_value", "undeclared_event", "evaluation_failed"];
    let catalogue = std::fs::read_to_string(workspace().join("policy/src/reason.rs")).unwrap();
    assert!(reasons.iter().all(|reason| read("alerts.yml").contains(reason) && catalogue.contains(reason)));
}

#[test]
fn prometheus_takes_the_alerts_and_every_expression_of_the_dashboard() {
    if !runs("promtool", &["--version"]) {
        skipped("promtool is missing");
        return;
    }
    let check = |path: &Path| {
        let output = Command::new("promtool").args(["check", "rules"]).arg(path).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    };
    let (fine, said) = check(&workspace().join("docs/operating/alerts.yml"));
    let rules = read("alerts.yml").matches("- alert: ").count();
    assert!(fine && said.contains(&format!("{rules} rules found")), "{said}");

    let test = workspace().join("tests/expected/alerts_test.yml");
    let output = Command::new("promtool").args(["test", "rules"]).arg(test).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let expressions = expressions();
    assert!(expressions.len() > 15);
    let rules = expressions.iter().enumerate().map(|(number, expression)| {
        let plain = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
        serde_json::json!({ "record": format!("panel:{number}"), "expr": plain })
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dashboard.yml");
    let as_rules = |rules: Vec<Value>| serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    // JSON is YAML.
    std::fs::write(&path, as_rules(rules.collect()).to_string()).unwrap();
    let (fine, said) = check(&path);
    assert!(fine, "{said}");
    let broken = serde_json::json!({ "record": "panel:x", "expr": "sum(rate(candor_x[5m])" });
    std::fs::write(&path, as_rules(vec![broken]).to_string()).unwrap();
    assert!(!check(&path).0, "promtool takes anything");
}

#[test]
fn the_dashboard_has_what_grafana_wants_of_one() {
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert!(dashboard["title"].is_string() && dashboard["uid"].is_string());
    let mut numbers = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(panel["title"].is_string() && panel["description"].is_string() && panel["type"].is_string());
        assert!(!panel["targets"].as_array().unwrap().is_empty());
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} lies on another panel", panel["title"]);
            }
        }
    }
}

/// The names that samples have, from the `# TYPE` lines: they are there before the first event is.
fn metrics(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        names.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    names
}

/// Words of a text that are names of metrics of ours.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("candor_")).map(str::to_owned).collect()
}

/// Every expression of the dashboard.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(workspace().join("docs/operating").join(name)).unwrap()
}
