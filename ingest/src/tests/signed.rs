//! Devices that sign, without a socket: the head is judged before a byte of the body is read, and every refusal tells the device
//! the time.

use axum::body::Body;
use candor_wire::identity::{Seed, SubjectKey};
use candor_wire::signature::{self, RequestHead};
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::world::{Answer, Folders, World, body_of, opened, sources};
use crate::settings::Limits;

/// The second at which the clock of these tests stands still.
const NOW: i64 = 1_780_000_000;

async fn world(limits: Limits) -> World {
    let folders = Folders::new();
    folders.write("tokens/agents", "token-of-agents\n");
    let agents = "[source.agents]\ntoken_file = \"tokens/agents\"\nroles = [\"device\"]\nsigned = true\n";
    folders.write("sources.toml", &format!("{}{agents}", sources()));
    World::with(folders, limits).await
}

/// A batch that is signed at `created` and sent with another body than the one that was signed, if there is one.
fn batch(number: u64, created: i64, body: &[u8], sent: Option<Body>) -> Request<Body> {
    let key = SubjectKey::derive(&Seed::new([1; 32]), "test-fleet", 0).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "here.example"),
        ("authorization", "Bearer token-of-agents"),
        ("content-type", "application/x-protobuf"),
        ("candor-fleet", "test-fleet"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(&signature::BATCH, HeaderValue::from(number));
    let path = "/v1/logs";
    let head = RequestHead { method: "POST", authority: "here.example", path, query: None, headers: &headers };
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    let signed = signature::sign(&key, &head, Some(body), (created, created + 60), nonce).unwrap();
    headers.insert(&signature::CONTENT_DIGEST, signed.content_digest.unwrap());
    headers.insert(&signature::SIGNATURE_INPUT, signed.signature_input);
    headers.insert(&signature::SIGNATURE, signed.signature);
    let mut request = Request::post(path).body(sent.unwrap_or_else(|| Body::from(body.to_vec()))).unwrap();
    *request.headers_mut() = headers;
    request
}

/// A body that nobody may touch.
fn untouched() -> Body {
    Body::from_stream(futures::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("the body was read")) }))
}

fn told(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.headers["candor-time"], (NOW * 1_000_000).to_string(), "{}", answer.text());
    let reason = answer.headers.get("candor-reason").map_or("", |reason| reason.to_str().unwrap());
    (answer.status.as_u16(), reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_judged_before_its_body_is_read() {
    let world = world(Limits::default()).await;
    let body = body_of("whoever", opened(0, 3));
    let late = world.send(batch(1, NOW - 1_000, &body, Some(untouched()))).await;
    assert_eq!(told(&late), (401, "signature_time"));
    let mut altered = batch(2, NOW, &body, Some(untouched()));
    altered.headers_mut().insert("sec-gpc", HeaderValue::from_static("1"));
    assert_eq!(told(&world.send(altered).await), (401, "signature_invalid"));
    let first = world.send(batch(3, NOW, &body, None)).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text());
    assert!(first.headers.contains_key("candor-receipt"));
    let replayed = world.send(batch(3, NOW, &body, Some(untouched()))).await;
    assert_eq!(told(&replayed), (401, "nonce_used"));
    let bytes = world.metric("candor_request_body_bytes_total{source=\"agents\"}").await;
    assert_eq!(bytes, body.len() as u64, "of the one that was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_is_of_the_bytes_as_they_were_sent() {
    let world = world(Limits::default()).await;
    let body = body_of("whoever", opened(0, 3));
    let other = world.send(batch(1, NOW, &body, Some(Body::from("not even protobuf")))).await;
    assert_eq!(told(&other), (400, "digest_mismatch"), "and not what is wrong inside");
    assert_eq!(world.metric("candor_signed_requests_total{outcome=\"digest_mismatch\"}").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_no_reason_of_its_own_tells_the_time_too() {
    let world = world(Limits { records: 2, ..Limits::default() }).await;
    let large = world.send(batch(1, NOW, &body_of("whoever", opened(0, 3)), None)).await;
    assert_eq!(told(&large), (413, ""));
    assert_eq!(world.metric("candor_signed_requests_total{outcome=\"refused\"}").await, 1);
    // The number is free still.
    let smaller = world.send(batch(2, NOW, &body_of("whoever", opened(0, 2)), None)).await;
    assert_eq!(smaller.status, StatusCode::OK, "{}", smaller.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_nothing_has_its_number_and_its_receipt() {
    let world = world(Limits::default()).await;
    let empty = world.send(batch(1, NOW, b"", None)).await;
    assert_eq!(empty.status, StatusCode::OK, "{}", empty.text());
    let receipt = candor_wire::receipt::SignedReceipt::from_header(empty.headers["candor-receipt"].to_str().unwrap());
    assert_eq!(receipt.unwrap().receipt.batch, 1);
}

/// What a key asks without a token.
fn head(seed: u8) -> Request<Body> {
    let key = SubjectKey::derive(&Seed::new([seed; 32]), "test-fleet", 0).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in [("host", "here.example"), ("candor-fleet", "test-fleet")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let path = "/v1/subject/head";
    let head = RequestHead { method: "GET", authority: "here.example", path, query: None, headers: &headers };
    let signed = signature::sign(&key, &head, None, (NOW, NOW + 60), [seed; 16]).unwrap();
    headers.insert(&signature::SIGNATURE_INPUT, signed.signature_input);
    headers.insert(&signature::SIGNATURE, signed.signature);
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    *request.headers_mut() = headers;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_anybody_can_make_leaves_nothing_in_the_ledger() {
    let world = world(Limits::default()).await;
    let first = world.send(batch(1, NOW, &body_of("whoever", opened(0, 3)), None)).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text());
    assert_eq!(told(&world.send(head(9)).await), (404, "subject_unknown"));
    assert_eq!(world.send(head(1)).await.status, StatusCode::OK);
    for seed in [1, 9] {
        assert_eq!(told(&world.send(head(seed)).await), (401, "nonce_used"), "{seed}");
    }
    let world = world.restart().await;
    assert_eq!(told(&world.send(head(1)).await), (401, "nonce_used"), "of a subject");
    assert_eq!(told(&world.send(head(9)).await), (404, "subject_unknown"), "of nobody");
}
