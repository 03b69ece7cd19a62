//! The whole way of an event: accepted, accounted for, stored value for value, and never twice.

use std::path::Path;

use serde_json::{Map, Value};

use crate::otlp::{Event, encode, gzip};
use crate::random::Random;
use crate::skip::skipped;
use crate::world::{PURPOSES, STREAMS, Service, World, expected, shared};

/// One request as a client sent it.
struct Recorded {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

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
fn captured_requests_are_accepted_and_repeats_add_nothing() {
    let Some(folder) = shared("captures/otlp_fleet") else {
        return skipped("the captured requests are not on this machine");
    };
    let requests = captured(&folder);
    assert_eq!(requests.len(), 120);
    let world = World::new();
    world.inject_keys();
    deliver_and_repeat(&world, &requests, 3_500);
    let have: Vec<String> = stored_rows(&world).iter().map(canonical).collect();
    let mut left = have;
    for row in expected_rows() {
        let at = left.iter().position(|line| *line == canonical(&row));
        left.swap_remove(at.unwrap_or_else(|| panic!("no such row: {}", canonical(&row))));
    }
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
    let headers = |encoding: Option<&str>| {
        let mut headers = vec![("content-type".to_owned(), "application/x-protobuf".to_owned())];
        headers.push(("authorization".to_owned(), "Bearer example-token".to_owned()));
        headers.extend(encoding.map(|encoding| ("content-encoding".to_owned(), encoding.to_owned())));
        headers
    };
    let requests: Vec<Recorded> = events
        .chunks(25)
        .enumerate()
        .map(|(index, chunk)| match index % 2 {
            0 => Recorded { headers: headers(None), body: encode(chunk) },
            _ => Recorded { headers: headers(Some("gzip")), body: gzip(&encode(chunk)) },
        })
        .collect();
    let world = World::new();
    std::fs::copy(crate::world::workspace().join("seeds/fleet/consent.jsonl"), world.fleet().join("consent.jsonl"))
        .unwrap();
    deliver_and_repeat(&world, &requests, 1_000);
}

/// Sends everything, then again: at once, after a graceful stop, after a kill. Nothing may be added.
fn deliver_and_repeat(world: &World, requests: &[Recorded], events: u64) {
    let service = world.serve();
    service.state(&json_lines(&expected("consent.jsonl")));
    deliver(&service, requests);
    let account = world.account();
    for ((offered, stored), purpose) in account.iter().zip(PURPOSES) {
        assert_eq!(*offered, events, "{purpose}");
        assert!(*stored > 0 && stored < offered, "{purpose} stored {stored}: the test would prove nothing");
    }
    assert_eq!(rows_by_purpose(world), account.iter().map(|(_, stored)| *stored).collect::<Vec<_>>());

    deliver(&service, requests);
    assert_eq!(world.account(), account, "at once");
    service.flush();
    deliver(&service, requests);
    assert_eq!(world.account(), account, "after a flush");
    assert!(service.stop().success());

    let service = world.serve();
    deliver(&service, requests);
    assert_eq!(world.account(), account, "after a graceful stop");
    service.kill();

    let service = world.serve();
    deliver(&service, requests);
    service.flush();
    assert_eq!(world.account(), account, "after a kill");
    assert!(service.stop().success());
    assert_eq!(rows_by_purpose(world), account.iter().map(|(_, stored)| *stored).collect::<Vec<_>>());
}

fn deliver(service: &Service, requests: &[Recorded]) {
    let mut client = service.client(None);
    for request in requests {
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = client.send("POST", "/v1/logs", &headers, &request.body).unwrap().expect_status(200);
        assert_eq!(crate::otlp::partial_success(&answer.body), (0, String::new()));
    }
}

/// The protobuf requests of a folder of captures, with their headers less those that the client sets itself.
fn captured(folder: &Path) -> Vec<Recorded> {
    let mut heads: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    heads.retain(|path| path.to_string_lossy().ends_with(".POST.v1_logs.head.json"));
    heads.sort();
    let mut requests = Vec::new();
    for path in heads {
        let head: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let pairs = head["headers"].as_array().unwrap().iter();
        let mut headers: Vec<(String, String)> = pairs
            .map(|pair| (pair[0].as_str().unwrap().to_ascii_lowercase(), pair[1].as_str().unwrap().to_owned()))
            .collect();
        headers.retain(|(name, _)| name != "host" && name != "content-length");
        if headers.iter().any(|(name, value)| name == "content-type" && value == "application/x-protobuf") {
            let body = std::fs::read(path.to_string_lossy().replace(".head.json", ".body")).unwrap();
            requests.push(Recorded { headers, body });
        }
    }
    requests
}

fn rows_by_purpose(world: &World) -> Vec<u64> {
    let mut counts = vec![0; PURPOSES.len()];
    for row in stored_rows(world) {
        counts[PURPOSES.iter().position(|purpose| *purpose == row["purpose"]).unwrap()] += 1;
    }
    counts
}

/// All rows of all tables as the expected ones are written: purpose and stream added, what depends on the run and nulls left out.
fn stored_rows(world: &World) -> Vec<Map<String, Value>> {
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

fn expected_rows() -> Vec<Map<String, Value>> {
    let rows = json_lines(&expected("rows.jsonl"));
    rows.into_iter().map(|row| row.as_object().unwrap().clone()).collect()
}

#[track_caller]
fn assert_same(when: &str, want: &[Map<String, Value>], have: &[Map<String, Value>]) {
    let sorted = |rows: &[Map<String, Value>]| {
        let mut lines: Vec<String> = rows.iter().map(canonical).collect();
        lines.sort();
        lines
    };
    let (want, have) = (sorted(want), sorted(have));
    let missing: Vec<_> = want.iter().filter(|line| !have.contains(line)).collect();
    let extra: Vec<_> = have.iter().filter(|line| !want.contains(line)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{when}:\nmissing {missing:#?}\nextra {extra:#?}");
    assert_eq!(want.len(), have.len(), "{when}: the same row more than once");
}

/// One spelling for one row: keys sorted, numbers as doubles, times as UTC instants.
fn canonical(row: &Map<String, Value>) -> String {
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

fn json_lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
