//! Glean pings: made here, captured from the SDK, and Mozilla's own examples.

use std::io::Read;
use std::path::{Path, PathBuf};

use candor_wire::glean::{Submission, decode_ping, subject};
use candor_wire::identified::Identified;
use candor_wire::otlp::{DecodeError, DecodeLimits};

use crate::expected::row;
use crate::fleet::{keys, rows};

fn decode(ping: &str, body: &[u8]) -> Result<Identified, DecodeError> {
    let submission = Submission { app: "org-example-hub", ping, document_id: "0b1c" };
    decode_ping(submission, body, &keys("attributes.client_info.client_id"), &DecodeLimits::default())
}

fn data(folder: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(folder);
    if !folder.is_dir() {
        println!("SKIPPED: {} is not beside the workspace", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn a_ping_is_one_record_under_its_own_nesting() {
    let body = br#"{
        "metrics": {"string": {"activation.identifier": "x=", "other": "y"}, "counter": {"a.b": 1}},
        "events": [{"category": "c", "name": "n", "timestamp": 0}],
        "client_info": {"os": "Android", "client_id": "c-1"},
        "ping_info": {"seq": 4, "start_time": "2019-04-26T15:00+00:00", "end_time": "2019-04-26T15:37+00:00"}
    }"#;
    let decoded = decode("activation", body).unwrap();
    let expected = row(&[
        ("event", "org-example-hub.activation"),
        ("time", "1556293020000000"),
        ("id", "0b1c"),
        ("os", "Android"),
        ("client", "c-1"),
        ("subject", "c-1"),
        ("seq", "4"),
        ("identifier", "x="),
    ]);
    assert_eq!(rows(&decoded), [expected]);
    // `metrics.string.other`, `metrics.counter` as a whole, `events`, two times.
    assert_eq!(decoded.received.tally().undeclared_attributes, 5);
}

#[test]
fn a_ping_that_nobody_declared_is_counted_and_has_no_id() {
    let decoded = decode("health", b"{}").unwrap();
    assert_eq!((decoded.received.tally().undeclared_events, decoded.event_ids.len()), (1, 0));
    for refused in [b"[]".as_slice(), b"null", b"", b"{\"ping_info\":{},\"ping_info\":{}}"] {
        assert!(decode("baseline", refused).is_err());
    }
}

#[test]
fn the_subject_of_a_ping_is_found_whether_its_event_is_declared_or_not() {
    let of = |body: &str, key: &str| subject(body.as_bytes(), key, &DecodeLimits::default()).unwrap();
    let key = "client_info.client_id";
    for (body, expected) in [
        (r#"{"client_info":{"os":"Linux","client_id":"c-1"}}"#, Some("c-1")),
        (r#"{"client_info":{"client_id":17}}"#, Some("17")),
        // The dotted key wins, as it does for rows, and so does the first of several ways.
        (r#"{"client_info":{"client_id":"c-1"},"client_info.client_id":"c-2"}"#, Some("c-2")),
        (r#"{"client_info":{"client_id":"c-1","os":{}},"x":1}"#, Some("c-1")),
        (r#"{"client_info":{"client_id":""}}"#, None),
        (r#"{"client_info":{"client_id":null}}"#, None),
        (r#"{"client_info":{"client_id":["c-1"]}}"#, None),
        (r#"{"client_info":"client_id"}"#, None),
        (r#"{"client_infos":{"client_id":"c-1"},"client":{"info.client_id":"c-2"}}"#, None),
        ("{}", None),
    ] {
        assert_eq!(of(body, key).as_deref(), expected, "{body}");
    }
    assert_eq!(of(r#"{"a":{"b":{"c":"deep"}}}"#, "a.b.c").as_deref(), Some("deep"));
    assert_eq!(of(r#"{"a":{"b.c":"short"}}"#, "a.b.c").as_deref(), Some("short"));
    assert_eq!(of(r#"{"a.b":{"c":"wide"}}"#, "a.b.c").as_deref(), Some("wide"));
    for broken in ["[]", "", "{\"a\":", "{\"a\":{\"b\":}}"] {
        assert!(subject(broken.as_bytes(), "a.b", &DecodeLimits::default()).is_err(), "{broken}");
    }
}

#[test]
fn captured_pings_of_the_sdk_become_rows() {
    let Some(folder) = data("captures/glean") else { return };
    let summary = std::fs::read_to_string(folder.join("summary.jsonl")).unwrap();
    let mut found = 0;
    for head in summary.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        let path = head["path"].as_str().unwrap();
        let [_, _, app, ping, _, document_id] = path.split('/').collect::<Vec<_>>().try_into().unwrap();
        let file = folder.join(format!("{:04}.POST.{}.body", head["n"].as_u64().unwrap(), path[1..].replace('/', "_")));
        let sent = std::fs::read(file).unwrap();
        let mut body = Vec::new();
        if sent.starts_with(&[0x1f, 0x8b]) {
            #[expect(clippy::disallowed_methods, reason = "capped by take")]
            flate2::read::GzDecoder::new(sent.as_slice()).take(1 << 20).read_to_end(&mut body).unwrap();
        } else {
            body = sent;
        }
        let keys = keys("attributes.client_info.client_id");
        let submission = Submission { app, ping, document_id };
        let decoded = decode_ping(submission, &body, &keys, &DecodeLimits::default()).unwrap();
        if ping == "health" {
            assert_eq!(decoded.received.tally().undeclared_events, 1);
            continue;
        }
        let row = &rows(&decoded)[0];
        assert_eq!(row["id"], document_id);
        assert_eq!((row["os"].as_str(), row["client"].len(), row["time"].len()), ("Linux", 36, 16));
        found += 1;
    }
    println!("{found} captured pings");
    assert!(found > 1);
}

#[test]
fn mozillas_own_examples_that_pass_are_read() {
    let Some(folder) = data("mozilla_pings/glean") else { return };
    let mut pings = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(".pass.json") {
            let decoded = decode("activation", &std::fs::read(&path).unwrap()).unwrap();
            let rows = rows(&decoded);
            assert!(rows[0].contains_key("time") && rows[0].contains_key("os"), "{}", path.display());
            pings += 1;
        }
    }
    println!("{pings} examples");
    assert!(pings > 0);
}
