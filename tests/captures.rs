//! What real OpenTelemetry clients sent once, byte for byte again: protobuf and JSON over HTTP, and gRPC.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::flow::{assert_same, canonical, deliver_and_repeat, expected_rows, json_lines, stored_rows};
use crate::grpc::{Grpc, OK, framed};
use crate::otlp::{Event, encode, partial_success};
use crate::skip::skipped;
use crate::world::{PURPOSES, Service, World, expected, figure, shared};

/// A request, less what belongs to its connection.
struct Capture {
    kind: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Records, as the summary counts them.
    items: u64,
}

/// Requests and records of each kind, as `captures/otlp_fleet/summary.jsonl` has them.
const KINDS: [(&str, u64, u64); 4] =
    [("JSON", 60, 1_000), ("gRPC", 60, 1_500), ("protobuf", 60, 1_500), ("protobuf in gzip", 60, 2_000)];

impl Capture {
    /// All of a folder, in the order in which they were sent.
    fn load(folder: &Path) -> Vec<Self> {
        json_lines(&folder.join("summary.jsonl")).iter().map(|head| Self::parse(folder, head)).collect()
    }

    fn parse(folder: &Path, head: &Value) -> Self {
        let grpc = head["grpc_method"].as_str();
        let path = grpc.or(head["path"].as_str()).unwrap();
        let (method, list, end, size) = match grpc {
            Some(_) => ("GRPC", "metadata", "pb", "message_bytes"),
            None => (head["method"].as_str().unwrap(), "headers", "body", "body_bytes"),
        };
        let name = format!("{:04}.{method}.{}.{end}", head["n"].as_u64().unwrap(), path[1..].replace('/', "_"));
        let body = std::fs::read(folder.join(name)).unwrap();
        assert_eq!(body.len() as u64, head[size], "the capture is whole");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let headers = head[list].as_array().unwrap().iter();
        let headers = headers.map(|pair| (text(&pair[0]).to_ascii_lowercase(), text(&pair[1])));
        let headers: Vec<_> =
            headers.filter(|(name, _)| !["host", "content-length", "connection"].contains(&name.as_str())).collect();
        let has = |name: &str, value: &str| headers.iter().any(|(n, v)| n == name && v == value);
        let kind = match grpc {
            Some(_) => "gRPC",
            None if has("content-type", "application/json") => "JSON",
            None if has("content-encoding", "gzip") => "protobuf in gzip",
            None => "protobuf",
        };
        Self { kind, path: path.to_owned(), headers, body, items: head["otlp"]["items"].as_u64().unwrap() }
    }
}

#[test]
fn every_request_of_the_fleet_is_taken_as_it_came_counted_once_and_gives_the_rows_of_its_events() {
    let (Some(folder), Some(fleet)) = (shared("captures/otlp_fleet"), shared("fleet/fleet.ndjson")) else {
        return skipped("the captured requests are not on this machine");
    };
    let captures = Capture::load(&folder);
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for capture in &captures {
        let of = kinds.entry(capture.kind).or_default();
        *of = (of.0 + 1, of.1 + capture.items);
    }
    let found: Vec<_> = kinds.iter().map(|(kind, (requests, items))| (*kind, *requests, *items)).collect();
    assert_eq!(found, KINDS);

    let world = World::new();
    world.inject_keys();
    deliver_and_repeat(&world, 6_000, |service| deliver(service, &captures));
    let rows = stored_rows(&world);
    let mut left: Vec<String> = rows.iter().map(canonical).collect();
    for row in expected_rows().iter().map(canonical) {
        let at = left.iter().position(|line| *line == row);
        left.swap_remove(at.unwrap_or_else(|| panic!("no such row: {row}")));
    }
    // The requests hold the events of the fleet, each once, some in each form: what is stored must not show in which.
    let same = World::new();
    same.inject_keys();
    let service = same.serve();
    service.state(&json_lines(&expected("consent.jsonl")));
    let mut client = service.device();
    for events in Event::load(&fleet).chunks(500) {
        client.logs(&encode(events)).unwrap().expect_status(200);
    }
    assert_same("by every form", &stored_rows(&same), &rows);
    figure(&format!("captures: {} requests, {found:?}, {} rows", captures.len(), rows.len()));
}

/// Sends all, each expected to be a full success, and counted as its summary says unless it is a repeat.
fn deliver(service: &Service, captures: &[Capture]) {
    let (mut http, mut grpc) = (service.client(None), Grpc::connect(service.address(), None));
    let mut before = counted(service);
    for (number, capture) in captures.iter().enumerate() {
        let headers: Vec<(&str, &str)> =
            capture.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if capture.kind == "gRPC" {
            let outcome = grpc.call(&capture.path, &headers, &framed(false, &capture.body)).unwrap().expect(OK);
            assert!(outcome.message().is_empty(), "request {number}");
        } else {
            let answer = http.send("POST", &capture.path, &headers, &capture.body).unwrap().expect_status(200);
            match capture.kind {
                "JSON" => assert_eq!(answer.text(), "{}", "request {number}"),
                _ => assert_eq!(partial_success(&answer.body), (0, String::new()), "request {number}"),
            }
        }
        let after = counted(service);
        let [offered, stored, dropped, repeats] = [0, 1, 2, 3].map(|at| after[at] - before[at]);
        let purposes = PURPOSES.len() as u64;
        let expected = if repeats == 0 { capture.items * purposes } else { 0 };
        assert!(repeats <= 1 && offered == expected && stored + dropped == offered, "request {number}: {after:?}");
        before = after;
    }
}

/// Offered, stored, dropped, over all purposes, and repeats.
fn counted(service: &Service) -> [u64; 4] {
    ["candor_events_offered_total", "candor_events_stored_total", "candor_events_dropped_total", "candor_repeats_total"]
        .map(|name| service.metric(name))
}
