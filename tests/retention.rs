//! Retention in real processes: killed at every step, rows are neither lost nor back; and whose periods it goes by. The clock of
//! the process is moved by days, which only a binary with failpoints lets a test do.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::agent::{json_of, text};
use crate::crash::failpoints;
use crate::erasure::parquet_files;
use crate::otlp::{Event, encode};
use crate::world::{PURPOSES, Service, Start, World, figure};

/// Days after which marketing goes (6 months) and nothing else that there is.
const DAYS: &str = "200";
const MOVED: (&str, &str) = ("FAILPOINT_CLOCK_DAYS", DAYS);

fn fill(service: &Service) {
    service.consent(&["phone-1"], "given");
    for from in [0, 3] {
        let events: Vec<Event> = (from..from + 3).map(|number| Event::numbered("phone-1", number)).collect();
        service.device().logs(&encode(&events)).unwrap().expect_status(200);
        service.flush();
    }
}

fn rows(world: &World, purpose: &str) -> Vec<Map<String, Value>> {
    let mut rows = world.query(&format!("select * from {purpose}.\"phone.app\""));
    rows.sort_by_key(|row| serde_json::to_string(row).unwrap());
    rows
}

fn expire(service: &Service) -> Value {
    let answer = service.officer().json("/v1/expire", &json!({ "trust_clock": true })).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn a_crash_at_each_step_twice_in_a_row_neither_loses_rows_nor_brings_them_back() {
    let names = failpoints(&crate::world::workspace().join("store/src"));
    let steps: Vec<_> = names.iter().filter(|name| name.starts_with("rewrite::")).collect();
    assert!(steps.len() >= 6, "{names:?}");
    for name in steps {
        // Whole files go, or a field of theirs is emptied.
        for empties in [false, true] {
            let crashes = crash_at(name, empties);
            figure(&format!(
                "retention, failpoint {name}, empties a field: {empties}: {crashes} crashes, nothing lost or back"
            ));
        }
    }
}

fn crash_at(name: &str, empties: bool) -> usize {
    let world = World::new();
    let service = world.serve();
    fill(&service);
    assert!(service.stop().success());
    if empties {
        ends_a_field(&world);
    }
    let before: Vec<_> = PURPOSES.iter().map(|purpose| rows(&world, purpose)).collect();
    assert!(before.iter().filter(|rows| !rows.is_empty()).count() > 1);
    let action = format!("{name}=return");
    let environment = [("FAILPOINTS", action.as_str()), MOVED];
    let mut crashes = 0;
    for round in 0..2 {
        // What is left of the job goes on at the start: the process may end there before anybody asks.
        if let Ok(mut service) = world.start(&Start { environment: &environment, ..Start::default() }) {
            let _ = service.officer().json("/v1/expire", &json!({ "trust_clock": true }));
            match service.wait(Duration::from_secs(5)) {
                Some(status) => assert!(!status.success(), "{name}: ended as if all were well"),
                None if round == 0 => panic!("failpoint {name} was never reached"),
                None => {
                    service.kill();
                    continue;
                }
            }
        }
        crashes += 1;
        for (purpose, before) in PURPOSES.iter().zip(&before).filter(|(purpose, _)| **purpose != "marketing") {
            check_rows(&rows(&world, purpose), before, empties, name);
        }
    }
    let service = world.start(&Start { environment: &[MOVED], ..Start::default() }).unwrap();
    expire(&service);
    for (purpose, before) in PURPOSES.iter().zip(&before) {
        let after = rows(&world, purpose);
        if *purpose == "marketing" {
            assert!(after.is_empty(), "{name}: back, or never gone: {after:?}");
        } else {
            check_rows(&after, before, empties, name);
            assert!(!empties || after.iter().all(|row| row.get(FIELD).is_none_or(Value::is_null)), "{name}: {after:?}");
        }
    }
    assert_eq!(expire(&service)["expired"], json!([]), "{name}");
    assert!(service.stop().success(), "{name}");
    world.verify(name);
    crashes
}

/// The field that ends in the time that the clock is moved by.
const FIELD: &str = "app_package";

/// Every row is there, as it was but for the field that ends.
fn check_rows(after: &[Map<String, Value>], before: &[Map<String, Value>], empties: bool, name: &str) {
    let without = |rows: &[Map<String, Value>]| {
        let mut rows = rows.to_vec();
        for row in rows.iter_mut().filter(|_| empties) {
            row.remove(FIELD);
        }
        let mut texts: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
        texts.sort();
        texts
    };
    assert_eq!(without(after), without(before), "{name}");
}

/// Lets a field end before the day that the clock is moved to, and a service put that in force.
fn ends_a_field(world: &World) {
    let described = "description = \"Package name of the app\"\n";
    world.edit("catalogue.toml", |text| {
        assert!(text.contains(described));
        text.replacen(described, &format!("{described}expires     = \"{}\"\n", months_later(world)), 1)
    });
    assert!(world.serve().stop().success());
}

/// The first of the third month after the rows came.
fn months_later(world: &World) -> String {
    let received = rows(world, "marketing")[0]["received_date"].as_str().unwrap().to_owned();
    let mut parts = received.split('-').map(|part| part.parse::<u32>().unwrap());
    let (year, month) = (parts.next().unwrap(), parts.next().unwrap() + 3);
    if month > 12 { format!("{}-{:02}-01", year + 1, month - 12) } else { format!("{year}-{month:02}-01") }
}

#[test]
fn the_command_goes_by_the_documents_in_force_or_by_those_that_are_named() {
    let world = World::new();
    let service = world.serve();
    fill(&service);
    assert!(service.stop().success());
    let (data, fleet) = (world.data(), world.fleet());
    let run = |arguments: &[&str]| {
        let place = ["--data", data.to_str().unwrap(), "--json"];
        world.candor_with(&[&["store", "expire", "--trust-clock"], &place[..], arguments].concat(), &[MOVED])
    };
    let gone = |answer: &Value| -> Vec<String> {
        let names = answer["rows"].as_array().unwrap().iter().map(|row| row["purpose"].as_str().unwrap().to_owned());
        let names: std::collections::BTreeSet<String> = names.collect();
        names.into_iter().collect()
    };
    assert_eq!(gone(&json_of(&run(&["--dry-run"]), 0)), ["marketing"]);
    // A shorter period, which no service has run with yet.
    world.edit("policy.toml", |text| text.replacen("13 months", "150 days", 1));
    assert_eq!(gone(&json_of(&run(&["--dry-run"]), 0)), ["marketing"]);
    let by = ["--fleet", fleet.to_str().unwrap()];
    assert_eq!(gone(&json_of(&run(&[&["--dry-run"], &by[..]].concat()), 0)), ["analytics", "marketing"]);
    let before = rows(&world, "analytics").len();
    assert!(before > 0, "nothing went yet");
    assert_eq!(gone(&json_of(&run(&["--dry-run"]), 0)), ["marketing"], "nothing was put in force");
    let with_url = run(&["--fleet", fleet.to_str().unwrap(), "--url", "http://127.0.0.1:1"]);
    assert_eq!(with_url.status.code(), Some(2), "{}", text(&with_url.stderr));
    assert_eq!(gone(&json_of(&run(&by), 0)), ["analytics", "marketing"]);
    assert_eq!(rows(&world, "analytics").len(), 0);
    // The log says under which policy.
    world.verify("after the command");
}

/// What one file is in the way of: its own end, and no other's.
#[test]
fn a_file_that_cannot_be_read_keeps_no_other_from_its_end() {
    let world = World::new();
    let service = world.serve();
    fill(&service);
    assert!(service.stop().success());
    let files = |purpose: &str| parquet_files(&world.data().join("tables").join(purpose));
    let (analytics, marketing) = (files("analytics"), files("marketing"));
    assert!(analytics.len() == 2 && marketing.len() == 2, "{analytics:?} {marketing:?}");
    for bad in [analytics.first().unwrap(), marketing.first().unwrap()] {
        let len = std::fs::metadata(bad).unwrap().len();
        std::fs::File::options().write(true).open(bad).unwrap().set_len(len - 1).unwrap();
    }
    let service = world.start(&Start { environment: &[MOVED], ..Start::default() }).unwrap();
    let gone = expire(&service);
    assert_eq!((gone["unreadable"].as_u64(), gone["expired"].as_array().unwrap().len()), (Some(2), 1), "{gone}");
    assert_eq!(files("marketing"), marketing.iter().take(1).cloned().collect());
    assert_eq!(files("analytics"), analytics);
    let again = expire(&service);
    assert_eq!((again["unreadable"].as_u64(), &again["expired"]), (Some(2), &json!([])), "{again}");
    assert_eq!(service.metric("candor_store_unreadable_files"), 2);
    // An erasure that waits for the same file makes them no more.
    let asked = [("candor-subject", "phone-1"), ("content-type", "application/json")];
    let erasure = service.officer().send("POST", "/v1/subject/erasure", &asked, br#"{"scope":"all"}"#).unwrap();
    erasure.expect_status(200);
    let _ = service.officer().send("POST", "/v1/erasures", &[], &[]).unwrap();
    assert_eq!(service.metric("candor_store_unreadable_files"), 2);
    assert!(service.stop().success());
}
