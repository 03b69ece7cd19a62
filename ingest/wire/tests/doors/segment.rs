//! Segment batches: made here, and captured from Segment's library.

use std::path::Path;

use candor_wire::identified::Identified;
use candor_wire::otlp::{DecodeError, DecodeLimits};
use candor_wire::segment::decode_batch;

use crate::expected::row;
use crate::fleet::{keys, rows};

fn decode(body: &[u8]) -> Result<Identified, DecodeError> {
    decode_batch(body, &keys("attributes.userId"), &DecodeLimits::default())
}

#[test]
fn each_message_is_a_record_named_by_its_event_or_its_type() {
    let body = br#"{"writeKey": "k", "sentAt": "2026-11-22T17:21:36Z", "batch": [
        {"type": "track", "event": "Device Paired", "messageId": "m-1", "timestamp": "2026-11-22T17:21:36.173+00:00",
         "userId": "u-1", "anonymousId": null, "integrations": {}, "properties": {"device_type": "lock", "rssi": -40},
         "context": {"ip": "198.51.100.0", "library": {"name": "analytics-python"}}},
        {"type": "identify", "userId": "u-1", "traits": {"email": "a@b.example"}, "timestamp": "soon"},
        {"type": "track", "event": "Never Declared", "messageId": "m-3"},
        {"messageId": "m-4"}
    ]}"#;
    let decoded = decode(body).unwrap();
    let paired = row(&[
        ("event", "Device Paired"),
        ("time", "1795368096173000"),
        ("id", "m-1"),
        ("user", "u-1"),
        ("subject", "u-1"),
        ("kind", "lock"),
        ("rssi", "-40"),
        ("ip", "198.51.100.0"),
    ]);
    let identified = row(&[("event", "identify"), ("user", "u-1"), ("subject", "u-1"), ("email", "a@b.example")]);
    assert_eq!(rows(&decoded), [paired, identified]);
    // `integrations` and `context.library`; null is no attribute.
    assert_eq!(decoded.received.tally().undeclared_attributes, 2);
    assert_eq!((decoded.received.tally().undeclared_events, decoded.received.records()), (2, 4));
}

#[test]
fn what_is_no_batch_is_refused() {
    for (body, what) in [
        (r#"{"messages": []}"#, "an object with a batch"),
        (r#"{"batch": [1]}"#, "a message"),
        (r#"{"batch": {"type": "track"}}"#, "an array"),
        (r#"{"batch": [{"type": "track", "type": "page"}]}"#, "each member once"),
        (r#"{"batch": [{"type": "track"}"#, "valid JSON"),
    ] {
        let error = decode(body.as_bytes()).unwrap_err();
        assert!(matches!(error, DecodeError::Expected { what: found, .. } if found == what), "{error}: {body}");
    }
}

#[test]
fn captured_batches_of_the_library_become_rows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/captures/segment");
    if !folder.is_dir() {
        println!("SKIPPED: no captured batches beside the workspace");
        return;
    }
    let mut messages = 0;
    for name in ["0001.POST.v1_batch.body", "0002.POST.v1_batch.body"] {
        let body = std::fs::read(folder.join(name)).unwrap();
        let sent = serde_json::from_slice::<serde_json::Value>(&body).unwrap()["batch"].as_array().unwrap().len();
        let rows = rows(&decode(&body).unwrap());
        assert_eq!(rows.len(), sent, "{name}");
        for row in &rows {
            assert_eq!((row["id"].len(), row["time"].len(), row["user"].len()), (36, 16, 6));
            assert!(if row["event"] == "identify" { row.contains_key("email") } else { row.contains_key("rssi") });
        }
        messages += sent;
    }
    println!("{messages} captured messages");
    assert!(messages > 2);
}
