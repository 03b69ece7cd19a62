//! OTLP in JSON: the same doors, answered in JSON.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::signals::{PATHS, world};
use super::world::{Answer, World, gzip, token};
use crate::role::Role;

/// Stands for raw values in what the tests send; no answer may hold it.
const CANARY: &str = "canary-4711";

async fn post(world: &World, path: &str, content_type: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(path)
        .header("authorization", format!("Bearer {}", token(Role::Device)))
        .header("content-type", content_type);
    world.send(request.body(body.into()).unwrap()).await
}

/// A request of one resource and one scope around these items.
fn request(of: &str, items: &str, item: &Value) -> String {
    let resource = json!({ "attributes": [
        { "key": "device.id", "value": { "stringValue": "phone-1" } },
        { "key": "region", "value": { "stringValue": "DE" } },
    ] });
    let scopes = json!([{ "scope": { "name": "sdk" }, items: item }]);
    json!({ format!("resource{of}"): [{ "resource": resource, format!("scope{of}"): scopes }] }).to_string()
}

fn logs(level: &Value) -> String {
    let attributes = json!([
        { "key": "app.package", "value": { "stringValue": "org.example.maps" } },
        { "key": "battery.level", "value": { "intValue": level } },
    ]);
    let record =
        json!({ "timeUnixNano": "1780000000000000000", "eventName": "phone.app.opened", "attributes": attributes });
    request("Logs", "logRecords", &json!([record]))
}

fn metrics(name: &str) -> String {
    let points = json!([{ "timeUnixNano": 1_780_000_000_000_000_000_u64, "asInt": "7" }]);
    request("Metrics", "metrics", &json!([{ "gauge": { "dataPoints": points }, "name": name }]))
}

fn spans(name: &str) -> String {
    let span =
        json!({ "name": name, "startTimeUnixNano": "1780000000000000000", "endTimeUnixNano": "1780000000000000500" });
    request("Spans", "spans", &json!([span]))
}

#[tokio::test(flavor = "multi_thread")]
async fn json_of_every_signal_is_stored_and_answered_in_json() {
    let world = world().await;
    let bodies = [logs(&json!("55")), metrics("memory.used"), spans("call")];
    for (stored, (path, body)) in PATHS.into_iter().zip(bodies).enumerate() {
        for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
            let answer = post(&world, path, content_type, body.clone()).await;
            assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "{}"), "{path}");
            assert_eq!(answer.headers["content-type"], "application/json");
            // The second one is the same request again.
            assert_eq!(world.stored("analytics").await, stored as u64 + 1, "{path}");
        }
    }
    let compressed = Request::post("/v1/logs")
        .header("authorization", format!("Bearer {}", token(Role::Device)))
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    let answer = world.send(compressed.body(Body::from(gzip(logs(&json!(56)).as_bytes()))).unwrap()).await;
    assert_eq!(answer.text(), "{}");
    assert_eq!(world.stored("analytics").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_sent_again_is_told_in_json() {
    let world = world().await;
    for (path, body, rejected, part) in [
        (PATHS[0], logs(&json!(1)).replace("phone.app.opened", CANARY), "rejectedLogRecords", "1 record of events"),
        (PATHS[1], metrics(CANARY), "rejectedDataPoints", "1 data point of metrics"),
        (PATHS[2], spans(CANARY), "rejectedSpans", "1 span of names"),
    ] {
        let answer = post(&world, path, "application/json", body).await;
        assert_eq!(answer.status, StatusCode::OK);
        let partial = &answer.json()["partialSuccess"];
        assert_eq!(partial[rejected], "1", "{}", answer.text());
        assert!(partial["errorMessage"].as_str().unwrap().starts_with(part), "{}", answer.text());
        assert!(!answer.text().contains(CANARY));
    }
    assert_eq!(world.stored("analytics").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_does_not_fit_is_refused_in_json_with_the_place_and_without_the_value() {
    let world = world().await;
    let wrong = logs(&json!(CANARY));
    let cut = &wrong[..wrong.len() / 2];
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, status, code, part) in [
        (wrong.as_str(), StatusCode::BAD_REQUEST, 3, "there should be an integer of 64 bits"),
        (cut, StatusCode::BAD_REQUEST, 3, "there should be valid JSON"),
        ("", StatusCode::BAD_REQUEST, 3, "at byte 0"),
        (&format!(r#"{{"x":{nested}}}"#), StatusCode::PAYLOAD_TOO_LARGE, 8, "send flatter values"),
    ] {
        let answer = post(&world, "/v1/logs", "application/json", body.to_owned()).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{}", answer.text());
        assert!(answer.json()["message"].as_str().unwrap().contains(part), "{}", answer.text());
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(!answer.text().contains(CANARY));
    }
    let answer = post(&world, "/v1/logs", "application/json", logs(&json!(1))).await;
    assert_eq!(answer.text(), "{}");
    assert_eq!(world.service.budget.used(), 0, "every lease was given back");
}
