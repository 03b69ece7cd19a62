//! The whole way of an event: accepted, accounted for, stored value for value, and never twice.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::otlp::{Event, encode, gzip, partial_success};
use crate::random::Random;
use crate::world::{PURPOSES, STREAMS, Service, World, expected};

#[test]
fn expected_rows_match_value_for_value() {
    let world = World::new();
    world.inject_keys();
    let service = world.serve();
    service.state(&json_lines(&expected("consent.jsonl")));
    let events = Event::load(&expected("events.jsonl"));
    assert_eq!(events.len(), 60);
    service.device().logs_gzip(&gzip(&encode(&events))).unwrap().expect_status(200);

    let want = expected_rows();
    assert!(want.len() >= 60, "the file of expected rows has few rows: {}", want.len());
    assert_same("pending", &want, &stored_rows(&world));
    service.flush();
    assert_same("sealed", &want, &stored_rows(&world));
    let offered = world.account().iter().map(|(offered, _)| *offered).collect::<Vec<_>>();
    assert_eq!(offered, [60, 60, 60]);
    assert!(service.stop().success());
    assert_same("after a restart", &want, &stored_rows(&world));
}

#[test]
fn the_key_ring_decides_the_pseudonyms() {
    // The counterpart of the test above: with keys of its own, no pseudonym may match.
    let world = World::new();
    let service = world.serve();
    service.state(&json_lines(&expected("consent.jsonl")));
    service.device().logs(&encode(&Event::load(&expected("events.jsonl")))).unwrap().expect_status(200);
    let want: Vec<String> = expected_rows().iter().map(|row| row["subject"].to_string()).collect();
    let have = stored_rows(&world);
    assert!(!have.is_empty());
    assert!(have.iter().all(|row| !want.contains(&row["subject"].to_string())));
}

#[test]
fn made_up_requests_are_accepted_and_repeats_add_nothing() {
    let mut random = Random::announced("flow");
    let mut events = Event::load(&crate::world::workspace().join("seeds/events/sample.jsonl"));
    let sample = events.clone();
    while events.len() < 1_000 {
        let mut event = random.pick(&sample).clone();
        event.time_unix_nano += random.below(86_400_000_000_000);
        events.push(event);
    }
    let deliver = |service: &Service| {
        let mut client = service.device();
        for (index, events) in events.chunks(25).enumerate() {
            let body = encode(events);
            let answer = if index % 2 == 0 { client.logs(&body) } else { client.logs_gzip(&gzip(&body)) };
            assert_eq!(partial_success(&answer.unwrap().expect_status(200).body), (0, String::new()));
        }
    };
    let world = World::new();
    std::fs::copy(crate::world::workspace().join("seeds/fleet/consent.jsonl"), world.fleet().join("consent.jsonl"))
        .unwrap();
    deliver_and_repeat(&world, 1_000, deliver);
}

/// Sends everything, then again: at once, after a graceful stop, after a kill. Nothing may be added.
pub(crate) fn deliver_and_repeat(world: &World, events: u64, deliver: impl Fn(&Service)) {
    let service = world.serve();
    service.state(&json_lines(&expected("consent.jsonl")));
    deliver(&service);
    let account = world.account();
    for ((offered, stored), purpose) in account.iter().zip(PURPOSES) {
        assert_eq!(*offered, events, "{purpose}");
        assert!(*stored > 0 && stored < offered, "{purpose} stored {stored}: the test would prove nothing");
    }
    assert_eq!(rows_by_purpose(world), account.iter().map(|(_, stored)| *stored).collect::<Vec<_>>());

    deliver(&service);
    assert_eq!(world.account(), account, "at once");
    service.flush();
    deliver(&service);
    assert_eq!(world.account(), account, "after a flush");
    assert!(service.stop().success());

    let service = world.serve();
    deliver(&service);
    assert_eq!(world.account(), account, "after a graceful stop");
    service.kill();

    let service = world.serve();
    deliver(&service);
    service.flush();
    assert_eq!(world.account(), account, "after a kill");
    assert!(service.stop().success());
    assert_eq!(rows_by_purpose(world), account.iter().map(|(_, stored)| *stored).collect::<Vec<_>>());
}

fn rows_by_purpose(world: &World) -> Vec<u64> {
    let mut counts = vec![0; PURPOSES.len()];
    for row in stored_rows(world) {
        counts[PURPOSES.iter().position(|purpose| *purpose == row["purpose"]).unwrap()] += 1;
    }
    counts
}

/// All rows of all tables as the expected ones are written: purpose and stream added, what depends on the run and nulls left out.
pub(crate) fn stored_rows(world: &World) -> Vec<Map<String, Value>> {
    let mut rows = Vec::new();
    for purpose in PURPOSES {
        for stream in STREAMS {
            for mut row in world.query(&format!("select * from {purpose}.\"{stream}\"")) {
                row.retain(|column, value| !value.is_null() && !RUN.contains(&column.as_str()));
                row.insert("purpose".to_owned(), purpose.into());
                row.insert("stream".to_owned(), stream.into());
                rows.push(row);
            }
        }
    }
    rows
}

/// Columns that depend on the run.
const RUN: [&str; 4] = ["decision", "consent_seq", "batch", "received_date"];

pub(crate) fn expected_rows() -> Vec<Map<String, Value>> {
    let rows = json_lines(&expected("rows.jsonl"));
    rows.into_iter().map(|row| row.as_object().unwrap().clone()).collect()
}

#[track_caller]
pub(crate) fn assert_same(when: &str, want: &[Map<String, Value>], have: &[Map<String, Value>]) {
    let sorted = |rows: &[Map<String, Value>]| {
        let mut lines: Vec<String> = rows.iter().map(canonical).collect();
        lines.sort();
        lines
    };
    let (want, have) = (sorted(want), sorted(have));
    let (wanted, had): (BTreeSet<_>, BTreeSet<_>) = (want.iter().collect(), have.iter().collect());
    let [missing, extra] =
        [(&wanted, &had), (&had, &wanted)].map(|(a, b)| a.difference(b).take(50).collect::<Vec<_>>());
    assert!(missing.is_empty() && extra.is_empty(), "{when}:\nmissing {missing:#?}\nextra {extra:#?}");
    assert_eq!(want, have, "{when}: the same row more than once");
}

/// One spelling for one row: keys sorted, numbers as doubles, times as UTC instants.
pub(crate) fn canonical(row: &Map<String, Value>) -> String {
    let mut cells: Vec<String> = row
        .iter()
        .map(|(column, value)| match value {
            Value::Number(number) => format!("{column}={:?}", number.as_f64().unwrap()),
            Value::String(text) if column == "time" => format!("{column}={}", instant(text)),
            other => format!("{column}={other}"),
        })
        .collect();
    cells.sort();
    cells.join(" ")
}

fn instant(text: &str) -> String {
    let with_zone = if text.ends_with('Z') { text.to_owned() } else { format!("{text}Z") };
    let time: jiff::Timestamp = with_zone.replace(' ', "T").parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    time.to_string()
}

pub(crate) fn json_lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
