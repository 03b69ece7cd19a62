//! `policy explain` says what the service then does: the same request explained, sent, and asked for.

use serde_json::{Map, Value, json};

use crate::world::{World, workspace};

#[test]
fn what_is_explained_is_what_is_stored_for_every_signal() {
    let log = json!({"resourceLogs": [{
        "resource": {"attributes": [
            {"key": "device.id", "value": {"stringValue": "demo-car-01"}},
            {"key": "device.model.name", "value": {"stringValue": "C7"}},
            {"key": "region", "value": {"stringValue": "US-CA"}},
        ]},
        "scopeLogs": [{"logRecords": [{
            "timeUnixNano": "1794999660000000000", "eventName": "car.trip.ended",
            "attributes": [
                {"key": "distance_km", "value": {"doubleValue": 12.5}},
                {"key": "trip.start.lat", "value": {"doubleValue": 37.8044}},
                {"key": "trip.start.lon", "value": {"doubleValue": -122.2712}},
                {"key": "nobody.asked", "value": {"intValue": "1"}},
            ],
        }]}],
    }]});
    let seed = |name: &str| std::fs::read_to_string(workspace().join("seeds/events").join(name)).unwrap();
    let cases = [
        ("/v1/logs", log.to_string(), "analytics", "car.drive", 4),
        ("/v1/metrics", seed("metric.json"), "diagnostics", "phone.vitals", 4),
        ("/v1/traces", seed("span.json"), "diagnostics", "car.service", 7),
    ];
    let world = World::new();
    let service = world.serve();
    service.consent(&["demo-car-01", "demo-phone-01"], "given");
    for (path, request, purpose, stream, least) in cases {
        let explained = explain(&world, &request, &["--consent", "*=given", "--age-from", "30"]);
        let stored: Map<String, Value> = rows(&explained)
            .filter(|row| row["purpose"] == purpose && !row["column"].is_null())
            .map(|row| (row["column"].as_str().unwrap().to_owned(), row["stored"].clone()))
            .collect();
        assert!(stored.len() >= least, "{path}: {stored:?}");

        let headers = [("content-type", "application/json")];
        service.device().send("POST", path, &headers, request.as_bytes()).unwrap().expect_status(200);
        let found = world.query(&format!("SELECT * FROM {purpose}.\"{stream}\""));
        assert_eq!(found.len(), 1, "{path}");
        for (column, value) in &stored {
            // A pseudonym is made with an example key here, and with the service's there.
            if !column.ends_with("_hmac") {
                assert_eq!(&found[0][column], value, "{path}: {column}");
            }
        }
        for (column, value) in &found[0] {
            let own = ["received_date", "subject", "batch", "event", "consent_seq", "decision"];
            assert!(own.contains(&column.as_str()) || value.is_null() || stored.contains_key(column), "{column}");
        }
    }
}

#[test]
fn what_cannot_be_stored_is_explained_by_the_same_decoder() {
    let world = World::new();
    let span = std::fs::read_to_string(workspace().join("seeds/events/span.json")).unwrap();
    let mut request: Value = serde_json::from_str(&span).unwrap();
    let item = &mut request["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    item["attributes"][0]["value"] = json!({"intValue": "17"});
    let explained = explain(&world, &request.to_string(), &["--consent", "*=given"]);
    assert_eq!(explained["bad_values"], json!(["vin"]));
    assert_eq!(explained["jurisdiction"], "US-CA");
    assert!(explained["purposes"].as_array().unwrap().iter().all(|purpose| purpose["reason"] == "bad_value"));
    let steps = rows(&explained).find(|row| row["field"] == "steps").unwrap();
    assert_eq!(steps["came_in"], json!(["downloaded", "verified", "rolled back"]), "the rest of it is shown");

    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] = json!("car.update.uninstalled");
    let explained = explain(&world, &request.to_string(), &[]);
    assert_eq!((&explained["event"], &explained["stream"]), (&json!("car.update.uninstalled"), &Value::Null));
    assert_eq!(explained["jurisdiction"], Value::Null, "nobody looks at the rest of it");
    assert!(explained["purposes"].as_array().unwrap().iter().all(|purpose| purpose["reason"] == "undeclared_event"));

    let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array_mut().unwrap();
    let twice = spans[0].clone();
    spans.push(twice);
    let path = world.path("two.json");
    std::fs::write(&path, request.to_string()).unwrap();
    let fleet = world.fleet();
    let arguments = ["policy", "explain", "--fleet", fleet.to_str().unwrap(), "--event", path.to_str().unwrap()];
    let output = world.candor(&arguments);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it holds 2 records, not one") && !said.contains("uninstalled"), "{said}");
}

/// What `policy explain` says of a request.
pub(crate) fn explain(world: &World, request: &str, more: &[&str]) -> Value {
    let path = world.path("request.json");
    std::fs::write(&path, request).unwrap();
    let fleet = world.fleet();
    let (fleet, path) = (fleet.to_str().unwrap(), path.to_str().unwrap());
    let arguments = [&["policy", "explain", "--fleet", fleet, "--event", path, "--json"], more].concat();
    let output = world.candor(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rows(explained: &Value) -> impl Iterator<Item = &Value> {
    explained["rows"].as_array().unwrap().iter()
}
