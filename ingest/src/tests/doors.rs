//! The doors beside OTLP: what they take, what makes a repeat, what they answer, and that nothing of a token shows.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::world::{Answer, CATALOGUE, Folders, POLICY, World, gzip, sources, token};
use crate::role::Role;
use crate::settings::Limits;

/// Stands for raw values; no answer may hold it.
const CANARY: &str = "canary-4711";
const SUBJECT: &str = "subject-1";
const UUID: &str = "167466aa-5334-44d9-a217-f91f3396a4df";
const OTHER_UUID: &str = "7a49b303-c5c8-4494-84ff-d948a7dab62b";

const STREAMS: &str = r#"
[stream.doors]
description = "What comes by the doors beside OTLP"
owner       = "phones@test.example"
expires     = "2999-12-31"
[stream.doors.event."com.example.order"]
description = "An order"
[stream.doors.event."Device Paired"]
description = "A device was paired"
[stream.doors.event."hub.baseline"]
description = "A ping"
[stream.doors.field]
total = { type = "i64", from = "attributes.data.total", category = "system.operations", role = "plain", description = "Sum" }
rssi  = { type = "i64", from = "attributes.properties.rssi", category = "system.operations", role = "plain", description = "Strength" }
os    = { type = "string", from = "attributes.client_info.os", category = "system.operations", role = "plain", description = "System" }
"#;

const RULE: &str = r#"
[[rule]]
id      = "doors"
stream  = "doors"
purpose = "*"
emit.total = { op = "keep" }
emit.rssi  = { op = "keep" }
emit.os    = { op = "keep" }
"#;

/// A service whose device names its subjects by `attributes.KEY`, and that the subject has allowed everything.
async fn world(key: &str) -> World {
    world_with(key, Limits::default()).await
}

async fn world_with(key: &str, limits: Limits) -> World {
    let folders = Folders::new();
    folders.write("catalogue.toml", &[CATALOGUE, STREAMS].concat());
    folders.write("policy.toml", &[POLICY, RULE].concat());
    folders.write("sources.toml", &sources().replace("resource.device.id", &format!("attributes.{key}")));
    let world = World::with(folders, limits).await;
    for subject in [SUBJECT, "subject-2"] {
        world.consent(&given(subject)).await;
    }
    world
}

fn given(subject: &str) -> String {
    let purposes = json!({ "diagnostics": "given", "analytics": "given" });
    json!({ "subject": subject, "purposes": purposes, "notice": { "version": "1", "language": "de" } }).to_string()
}

fn event(id: &str, subject: &str) -> Value {
    json!({
        "specversion": "1.0", "type": "com.example.order", "source": "/shop", "id": id, "subject": subject,
        "data": { "total": 3, "secret": CANARY },
    })
}

async fn post(world: &World, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(body.into()).unwrap()).await
}

async fn cloud_event(world: &World, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let bearer = format!("Bearer {}", token(Role::Device));
    let headers = [&[("authorization", bearer.as_str())], headers].concat();
    post(world, "/v1/events", &headers, body).await
}

const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json; charset=utf-8");

fn taken(answer: &Answer) -> (u64, String) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let body = answer.json();
    (body["rejected"].as_u64().unwrap(), body["message"].as_str().unwrap().to_owned())
}

async fn repeats(world: &World) -> u64 {
    world.metric("candor_repeats_total{source=\"devices\"}").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_taken_in_all_three_modes_and_by_its_id_only_once() {
    let world = world("subject").await;
    let one = event("A-1", SUBJECT);
    assert_eq!(taken(&cloud_event(&world, &[STRUCTURED], one.to_string()).await), (0, String::new()));
    assert_eq!(world.stored("analytics").await, 1);
    // The same event in other bytes, as a batch of one, and in binary mode: one identity.
    let mut other = one.clone();
    other["time"] = json!("2026-11-22T17:21:31Z");
    assert_eq!(taken(&cloud_event(&world, &[STRUCTURED], other.to_string()).await).0, 0);
    assert_eq!(taken(&cloud_event(&world, &[BATCH], json!([one]).to_string()).await).0, 0);
    let mut attributes =
        vec![("ce-specversion", "1.0"), ("ce-type", "com.example.order"), ("ce-source", "/shop"), ("ce-id", "A-1")];
    attributes.push(("ce-subject", SUBJECT));
    let typed = [&attributes[..], &[("content-type", "application/json")]].concat();
    for headers in [&attributes, &typed] {
        assert_eq!(taken(&cloud_event(&world, headers, r#"{"total":3}"#).await).0, 0);
    }
    assert_eq!((world.stored("analytics").await, repeats(&world).await), (1, 4));
    // Another id is another event, whatever its bytes.
    attributes[3].1 = "A-2";
    assert_eq!(taken(&cloud_event(&world, &attributes, r#"{"total":3}"#).await).0, 0);
    assert_eq!((world.stored("analytics").await, repeats(&world).await), (2, 4));
    let world = world.restart().await;
    cloud_event(&world, &[STRUCTURED], one.to_string()).await;
    assert_eq!((world.stored("analytics").await, repeats(&world).await), (0, 1), "also after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_count_for_a_subject_and_a_batch_as_a_whole() {
    let world = world("subject").await;
    let batch = |ids: &[&str]| Value::Array(ids.iter().map(|id| event(id, SUBJECT)).collect()).to_string();
    cloud_event(&world, &[BATCH], batch(&["1", "2"])).await;
    // The same events in another order are the same batch.
    cloud_event(&world, &[BATCH], batch(&["2", "1"])).await;
    assert_eq!((world.stored("analytics").await, repeats(&world).await), (2, 1));
    // Batches that overlap are not: docs/decisions/0012-event-ids.md.
    cloud_event(&world, &[BATCH], batch(&["2", "3"])).await;
    assert_eq!((world.stored("analytics").await, repeats(&world).await), (4, 1));
    // Nobody can use up the ids of somebody else.
    for (subject, stored) in [("subject-2", 5), (SUBJECT, 6)] {
        cloud_event(&world, &[STRUCTURED], event("guessed", subject).to_string()).await;
        assert_eq!((world.stored("analytics").await, repeats(&world).await), (stored, 1), "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_no_row_is_known_by_its_bytes_and_told_again() {
    let world = world("subject").await;
    let mut undeclared = event("A-1", SUBJECT);
    undeclared["type"] = json!(CANARY);
    let mut bad = event("A-2", SUBJECT);
    bad["data"]["total"] = json!(CANARY);
    let body = json!([undeclared, bad]).to_string();
    let first = taken(&cloud_event(&world, &[BATCH], body.clone()).await);
    assert_eq!(first.0, 2);
    assert!(first.1.contains("1 record of events that") && first.1.contains("doors/total 1"), "{}", first.1);
    assert!(!first.1.contains(CANARY));
    assert_eq!(taken(&cloud_event(&world, &[BATCH], body).await), first);
    assert_eq!(repeats(&world).await, 1);
    // Mended and sent again, it is no repeat of what was refused.
    assert_eq!(taken(&cloud_event(&world, &[BATCH], json!([event("A-2", SUBJECT)]).to_string()).await).0, 0);
    // In binary mode the headers are as much of the request as the body is.
    for (name, so_far) in [("nobody.knows", 1), ("nobody.knew", 1), ("nobody.knew", 2)] {
        let headers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), ("ce-type", name)];
        assert_eq!(taken(&cloud_event(&world, &headers, "").await).0, 1);
        assert_eq!(repeats(&world).await, so_far, "{name}");
    }
    assert_eq!(world.stored("analytics").await, 1);
}

fn message(id: Option<&str>, rssi: i64) -> Value {
    let mut message = json!({
        "type": "track", "event": "Device Paired", "userId": SUBJECT,
        "properties": { "rssi": rssi, "secret": CANARY }, "timestamp": "2026-11-22T17:21:36.173+00:00",
    });
    if let Some(id) = id {
        message["messageId"] = json!(id);
    }
    message
}

async fn segment(world: &World, key: &str, messages: &[Value], sent_at: &str) -> Answer {
    let body = json!({ "batch": messages, "sentAt": sent_at, "writeKey": CANARY }).to_string();
    let basic = format!("Basic {}", STANDARD.encode(format!("{key}:")));
    let headers = [("authorization", basic.as_str()), ("content-type", "text/plain"), ("content-encoding", "gzip")];
    post(world, "/v1/batch", &headers, gzip(body.as_bytes())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_segment_is_taken_by_its_write_key_and_once_whenever_it_was_sent() {
    let world = world("userId").await;
    let (key, batch) = (token(Role::Device), [message(Some("m-1"), -40), message(Some("m-2"), -41)]);
    for sent_at in ["2026-11-22T17:21:36Z", "2026-11-22T17:21:39Z"] {
        let answer = segment(&world, &key, &batch, sent_at).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "success": true })));
    }
    assert_eq!((world.stored("analytics").await, repeats(&world).await), (2, 1));
    // Without ids, the bytes decide.
    let batch = [message(Some("m-3"), -40), message(None, -41)];
    for (sent_at, so_far) in [("1", (4, 1)), ("1", (4, 2)), ("2", (6, 2))] {
        assert_eq!(segment(&world, &key, &batch, sent_at).await.status, StatusCode::OK);
        assert_eq!((world.stored("analytics").await, repeats(&world).await), so_far, "{sent_at}");
    }
    let answer = segment(&world, CANARY, &batch, "1").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.text().contains("write key") && !answer.text().contains(CANARY), "{}", answer.text());
    assert_eq!(segment(&world, &token(Role::Officer), &batch, "1").await.status, StatusCode::FORBIDDEN);
}

fn ping_path(token: &str, ping: &str, uuid: &str) -> String {
    format!("/glean/{token}/submit/hub/{ping}/1/{uuid}")
}

async fn ping(world: &World, method: Method, ping: &str, uuid: &str, body: impl Into<Body>) -> Answer {
    let path = ping_path(&token(Role::Device), ping, uuid);
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json; charset=utf-8");
    world.send(request.body(body.into()).unwrap()).await
}

fn client(subject: &str) -> String {
    json!({ "client_info": { "client_id": subject, "os": "Linux" }, "ping_info": { "seq": 1 } }).to_string()
}

const CLIENT: &str = "client_info.client_id";

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_taken_once_by_its_uuid_whatever_its_method_and_bytes() {
    let world = world(CLIENT).await;
    let body = client(SUBJECT);
    assert_eq!(taken(&ping(&world, Method::POST, "baseline", UUID, body.clone()).await).0, 0);
    let spaced = body.replace(',', " , ");
    assert_eq!(taken(&ping(&world, Method::PUT, "baseline", &UUID.to_uppercase(), spaced).await).0, 0);
    assert_eq!((world.stored("analytics").await, repeats(&world).await), (1, 1));
    assert_eq!(taken(&ping(&world, Method::PUT, "baseline", OTHER_UUID, body.clone()).await).0, 0);
    assert_eq!((world.stored("analytics").await, repeats(&world).await), (2, 1));
    let undeclared = "11016c1c-7bae-49f9-8bc4-8ecc92b11dbd";
    for again in 1..3 {
        assert_eq!(taken(&ping(&world, Method::POST, "health", undeclared, body.clone()).await).0, 1);
        assert_eq!(repeats(&world).await, again);
    }
    for wrong in ["1", "..", "167466aa-5334-44d9-a217-f91f3396a4dg"] {
        let answer = ping(&world, Method::POST, "baseline", wrong, body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opting_out_withdraws_every_purpose_before_it_is_answered() {
    let world = world(CLIENT).await;
    let body = client(SUBJECT);
    ping(&world, Method::POST, "baseline", UUID, body.clone()).await;
    assert_eq!(world.stored("diagnostics").await, 1);
    let statements = "candor_consent_statements_total{source=\"devices\"}";
    let out = "36bb2e62-9c55-4b6e-8d5c-0d7a4f1c1a00";
    assert_eq!(taken(&ping(&world, Method::POST, "deletion-request", out, body.clone()).await), (0, String::new()));
    assert_eq!(world.metric(statements).await, 1);
    let undeclared = r#"candor_events_dropped_total{source="devices",purpose="analytics",reason="undeclared_event"}"#;
    assert_eq!(world.metric(undeclared).await, 0, "nobody sent an event");
    let subject = world.service.store.keys().ledger_id(SUBJECT);
    let newest = world.service.store.consent_history(&subject).await.unwrap().pop().unwrap();
    assert_eq!((newest.source.as_str(), newest.notice.version.as_str()), ("devices", "2026-01"));
    let states = serde_json::to_value(&newest.purposes).unwrap();
    assert_eq!(states, json!({ "analytics": "withdrawn", "diagnostics": "withdrawn" }));
    ping(&world, Method::POST, "baseline", OTHER_UUID, body.clone()).await;
    assert_eq!((world.stored("diagnostics").await, world.stored("analytics").await), (1, 1));
    // Somebody who was never heard of can opt out as well.
    let out_too = "36bb2e62-9c55-4b6e-8d5c-0d7a4f1c1a01";
    assert_eq!(
        ping(&world, Method::PUT, "deletion-request", out_too, client("never-seen")).await.status,
        StatusCode::OK
    );
    assert_eq!(world.metric(statements).await, 2);
    // Its answer was lost, the user changed his mind, and it comes again: his last word stands, over a restart too.
    world.consent(&given(SUBJECT)).await;
    let world = world.restart().await;
    assert_eq!(ping(&world, Method::POST, "deletion-request", out, body.clone()).await.status, StatusCode::OK);
    assert_eq!(world.metric(statements).await, 0);
    ping(&world, Method::POST, "baseline", "36bb2e62-9c55-4b6e-8d5c-0d7a4f1c1a02", body).await;
    assert_eq!(world.stored("analytics").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_request_that_names_nobody_is_refused() {
    let world = world(CLIENT).await;
    for body in ["{}", r#"{"client_info":{"client_id":""}}"#, "[]", "no JSON"] {
        let answer = ping(&world, Method::POST, "deletion-request", UUID, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let long = client(&CANARY.repeat(200));
    let answer = ping(&world, Method::POST, "deletion-request", UUID, long).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    assert!(!answer.text().contains(CANARY));
    assert_eq!(world.metric("candor_consent_statements_total{source=\"devices\"}").await, 0);
    assert_eq!(world.service.budget.used(), 0, "every lease was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn glean_is_never_told_4xx_where_it_may_come_again() {
    let limits = Limits { requests_per_second: 1, ..Limits::default() };
    let world = world_with(CLIENT, limits).await;
    let mut throttled = 0;
    for number in 0..5 {
        let uuid = format!("36bb2e62-9c55-4b6e-8d5c-0d7a4f1c1a{number:02}");
        let answer = ping(&world, Method::POST, "baseline", &uuid, client(SUBJECT)).await;
        if answer.status != StatusCode::OK {
            throttled += 1;
            assert_eq!(
                (answer.status, &answer.headers["retry-after"]),
                (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
            );
        }
    }
    assert!(throttled > 0, "the rate is one request a second");
    let mut others = world.service.budget.lease();
    others.grow(world.service.limits.in_flight_bytes).unwrap();
    let full = ping(&world, Method::POST, "deletion-request", UUID, client(SUBJECT)).await;
    assert_eq!((full.status, full.headers.contains_key("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, true));
    let events = cloud_event(&world, &[STRUCTURED], "{}").await.status;
    assert!([StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&events), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_path_is_in_no_answer_and_no_label() {
    let world = world(CLIENT).await;
    for (method, path, status) in [
        (Method::POST, ping_path(CANARY, "baseline", UUID), StatusCode::UNAUTHORIZED),
        (Method::GET, ping_path(CANARY, "baseline", UUID), StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, format!("/glean/{CANARY}/submit/hub"), StatusCode::NOT_FOUND),
    ] {
        let request = Request::builder().method(method.clone()).uri(path.as_str()).body(Body::from("{}")).unwrap();
        let answer = world.send(request).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(!answer.text().contains(CANARY) && !format!("{:?}", answer.headers).contains(CANARY));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            assert_eq!(answer.headers.get_all("allow").iter().collect::<Vec<_>>(), ["POST", "PUT"]);
        }
    }
    ping(&world, Method::POST, "baseline", UUID, client(CANARY)).await;
    let metrics = world.get("/metrics").await.text();
    assert!(
        metrics.contains(r#"route="/glean/{token}/submit/{app}/{ping}/{version}/{uuid}",status="401"} 1"#),
        "{metrics}"
    );
    for hidden in [CANARY, UUID, &token(Role::Device)] {
        assert!(!metrics.contains(hidden));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dockerflow_is_answered() {
    let world = world(CLIENT).await;
    for path in ["/__heartbeat__", "/__lbheartbeat__"] {
        assert_eq!(world.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(world.get("/__version__").await.json(), json!({ "version": env!("CARGO_PKG_VERSION") }));
    world.service.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(world.get("/__heartbeat__").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.get("/__lbheartbeat__").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_truncation_and_mutation_at_every_door_is_answered_without_a_value() {
    let world = world("subject").await;
    let device = format!("Bearer {}", token(Role::Device));
    let messages = json!({ "batch": [message(Some(CANARY), 1)] }).to_string();
    let binary = [("ce-specversion", "1.0"), ("ce-id", CANARY), ("ce-source", "s"), ("ce-type", "com.example.order")];
    let binary = [&binary[..], &[("content-type", "application/json")]].concat();
    let ping = ping_path(&token(Role::Device), "baseline", UUID);
    let bodies = [
        ("/v1/events", &[STRUCTURED][..], event(CANARY, SUBJECT).to_string()),
        ("/v1/events", &[BATCH], json!([event(CANARY, SUBJECT), event("2", SUBJECT)]).to_string()),
        ("/v1/events", &binary, json!({ "total": 1, "secret": CANARY }).to_string()),
        ("/v1/batch", &[], messages),
        (&ping, &[], client(CANARY)),
    ];
    for (path, headers, whole) in bodies {
        let (whole, headers) = (whole.into_bytes(), [&[("authorization", device.as_str())], headers].concat());
        let mutated = (0..whole.len()).flat_map(|at| {
            [1_u8, 0x80, b'"' ^ whole[at]].map(|flip| {
                let mut body = whole.clone();
                body[at] ^= flip;
                body
            })
        });
        let mut fates = [0, 0];
        for (number, body) in mutated.chain((0..whole.len()).map(|cut| whole[..cut].to_vec())).enumerate() {
            // A ping of its own each, or all after the first were repeats.
            let path = path.replace("167466aa", &format!("{number:08x}"));
            let answer = post(&world, &path, &headers, body).await;
            let fate = [StatusCode::OK, StatusCode::BAD_REQUEST].iter().position(|status| *status == answer.status);
            fates[fate.unwrap_or_else(|| panic!("{}", answer.status))] += 1;
            assert!(!answer.text().contains(CANARY), "{}", answer.text());
        }
        assert!(fates.iter().all(|fate| *fate > 20), "{path}: {fates:?}");
    }
    assert_eq!(world.service.budget.used(), 0, "every lease was given back");
}
