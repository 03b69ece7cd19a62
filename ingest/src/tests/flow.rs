//! What becomes of events: stored rows, repeats, published documents, bugs.

use std::sync::atomic::Ordering;

use axum::body::Body;
use http::{Request, StatusCode};

use super::world::{World, body_of, gzip, opened, post_logs, token};
use crate::auth::TokenIn;
use crate::error::Refusal;
use crate::openapi::{About, Content};
use crate::role::Role;
use crate::route::{Deadline, Errors, Route};
use crate::{guard, role::Access};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_adds_no_row_also_after_a_restart_and_in_another_encoding() {
    let world = World::open().await;
    let body = body_of("phone-1", opened(0, 10));
    assert_eq!(world.logs(body.clone()).await.partial_success(), (0, String::new()));
    assert_eq!(world.logs(body.clone()).await.partial_success(), (0, String::new()));
    let gzipped = post_logs().header("content-encoding", "gzip").body(Body::from(gzip(&body))).unwrap();
    assert_eq!(world.send(gzipped).await.status, StatusCode::OK);
    assert_eq!(world.stored("analytics").await, 10);
    assert_eq!(world.metric("candor_repeats_total{source=\"devices\"}").await, 2);

    let world = world.restart().await;
    assert_eq!(world.logs(body).await.status, StatusCode::OK);
    assert_eq!(world.stored("analytics").await, 0, "the metric starts anew, and nothing was stored since");
    assert_eq!(world.metric("candor_repeats_total{source=\"devices\"}").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_told_what_the_first_was_told() {
    let world = World::open().await;
    let mut records = opened(0, 1);
    records[0].event_name = "nobody.declared.this".into();
    let body = body_of("phone-1", records);
    let first = world.logs(body.clone()).await.partial_success();
    assert_eq!(first.0, 1);
    assert_eq!(world.logs(body.clone()).await.partial_success(), first);
    let world = world.restart().await;
    assert_eq!(world.logs(body).await.partial_success(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_decides_what_is_stored() {
    let world = World::open().await;
    for device in ["phone-1", "phone-2", "phone-unknown"] {
        assert_eq!(
            world.logs(body_of(device, opened(0, 4))).await.partial_success().0,
            0,
            "a drop by policy is success"
        );
    }
    assert_eq!(world.stored("diagnostics").await, 8);
    assert_eq!(world.stored("analytics").await, 4);
    assert_eq!(
        world
            .metric("candor_events_dropped_total{source=\"devices\",purpose=\"analytics\",reason=\"no_consent\"}")
            .await,
        8
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_request_is_success_and_leaves_nothing() {
    let world = World::open().await;
    let frames = world.service.store.figures().frames;
    assert_eq!(world.logs("").await.partial_success(), (0, String::new()));
    assert_eq!(world.service.store.figures().frames, frames);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_published_under_the_digest_that_they_hash_to() {
    let world = World::open().await;
    for path in ["/v1/policy", "/v1/catalogue"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::OK);
        let digest = candor_policy::digest::Digest::of_bytes(&answer.body);
        assert_eq!(answer.headers["etag"], format!("\"{digest}\"").as_str());
        let again = Request::get(path).header("if-none-match", &answer.headers["etag"]);
        assert_eq!(world.send(again.body(Body::empty()).unwrap()).await.status, StatusCode::NOT_MODIFIED);
    }
    let limits = world.get("/v1/limits").await.json();
    assert_eq!(limits["limits"]["records"], 65_536);
    assert_eq!(limits["repeat_hours"], 48);
    assert_eq!(limits["content_encodings"], serde_json::json!(["identity", "gzip", "deflate", "zstd"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_seals_and_readiness_ends_with_the_stop() {
    let world = World::open().await;
    world.logs(body_of("phone-1", opened(0, 10))).await;
    let flush = Request::post("/v1/flush").header("authorization", format!("Bearer {}", token(Role::Operator)));
    let answer = world.send(flush.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.json()["rows"], 20, "ten for each of two purposes");
    assert_eq!(world.metric("candor_store_pending_rows").await, 0);
    assert_eq!(world.get("/readyz").await.status, StatusCode::OK);
    world.service.stopping.store(true, Ordering::Relaxed);
    assert_eq!(world.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_in_a_handler_is_503_and_the_service_lives_on() {
    static BUGGY: Route = Route {
        method: http::Method::GET,
        path: "/buggy",
        access: Access::Public,
        token: TokenIn::Bearer,
        errors: Errors::Json,
        deadline: Deadline::Request,
        about: About { summary: "", request: None, answer: Content::OpenMetrics },
        handler: |_| Box::pin(async { panic!("a bug") }),
    };
    let world = World::open().await;
    let request = Request::get("/buggy").body(Body::empty()).unwrap();
    let response = guard::answer(&BUGGY, world.service.clone(), request).await;
    assert_eq!(response.status(), Refusal::unavailable("").kind.status());
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(world.get("/healthz").await.status, StatusCode::OK);
}
