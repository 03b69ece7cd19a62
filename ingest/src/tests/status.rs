//! Bad input: the status that OTLP's rules ask for, a message that says what to fix without the value, and a service that lives on.

use axum::body::Body;
use http::{Request, StatusCode};

use super::world::{Answer, Folders, World, attribute, body_of, gzip, opened, post_logs, record, text, token};
use crate::role::Role;
use crate::settings::Limits;

/// Stands for raw values in what the tests send; no answer may hold it.
const CANARY: &str = "canary-4711";

fn assert_refused(answer: &Answer, status: StatusCode, mend: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().contains(mend), "{:?} does not say {mend:?}", answer.text());
    assert!(!answer.text().contains(CANARY), "the answer shows a value");
    assert_eq!(answer.headers.contains_key("retry-after"), status == StatusCode::SERVICE_UNAVAILABLE);
}

async fn assert_still_works(world: &World) {
    let before = world.stored("analytics").await;
    let number = before + 1_000_000;
    assert_eq!(world.logs(body_of("phone-1", opened(number, 3))).await.partial_success(), (0, String::new()));
    assert_eq!(world.stored("analytics").await, before + 3);
    assert_eq!(world.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(world.service.budget.used(), 0, "every lease was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_nobody_reads_are_refused_with_what_is_taken() {
    let world = World::open().await;
    let auth = format!("Bearer {}", token(Role::Device));
    let with = |content_type: Option<&str>, encoding: Option<&str>| {
        let mut request = Request::post("/v1/logs").header("authorization", &auth);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        request.body(Body::from(body_of("phone-1", opened(0, 1)))).unwrap()
    };
    let unsupported = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    for content_type in [None, Some("text/plain"), Some("application/jsonx")] {
        let answer = world.send(with(content_type, None)).await;
        assert_refused(&answer, unsupported, "send application/x-protobuf or application/json");
        assert_eq!(answer.headers["content-type"], "application/x-protobuf");
    }
    let answer = world.send(with(Some("Application/JSON; charset=utf-8"), None)).await;
    assert_refused(&answer, StatusCode::BAD_REQUEST, "at byte 1 there should be");
    assert_eq!(answer.headers["content-type"], "application/json", "an error comes in the encoding of the request");
    for encoding in ["br", "rot13", "gzip, gzip"] {
        let answer = world.send(with(Some("application/x-protobuf"), Some(encoding))).await;
        assert_refused(&answer, unsupported, "send one of identity, gzip, deflate, zstd");
    }
    assert!(world.send(with(Some("Application/X-Protobuf; x=y"), Some("identity"))).await.status.is_success());
    assert_still_works(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_wrong_methods_say_so() {
    let world = World::open().await;
    let answer = world.get(&format!("/{CANARY}")).await;
    assert_refused(&answer, StatusCode::NOT_FOUND, "POST /v1/logs");
    let answer = world.get("/v1/logs").await;
    assert_refused(&answer, StatusCode::METHOD_NOT_ALLOWED, "Allow");
    assert_eq!(answer.headers.get_all("allow").iter().collect::<Vec<_>>(), ["POST"]);
    let metrics = world.get("/metrics").await.text();
    assert!(!metrics.contains(CANARY), "a path from outside became a label");
    assert!(metrics.contains(r#"candor_requests_total{route="unmatched",status="404"} 1"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_bodies_are_malformed() {
    let world = World::open().await;
    let malformed = StatusCode::BAD_REQUEST;
    assert_refused(&world.logs(CANARY).await, malformed, "protobuf");
    let gzipped = |body: Vec<u8>| post_logs().header("content-encoding", "gzip").body(Body::from(body)).unwrap();
    assert_refused(&world.send(gzipped(CANARY.into())).await, malformed, "gzip");
    let mut cut = gzip(&body_of("phone-1", opened(0, 50)));
    cut.truncate(cut.len() / 2);
    assert_refused(&world.send(gzipped(cut)).await, malformed, "gzip");
    let mut not_utf8 = body_of("phone-1", opened(0, 1));
    let at = not_utf8.windows(7).position(|bytes| bytes == b"example").unwrap();
    not_utf8[at] = 0xff;
    assert_refused(&world.logs(not_utf8).await, malformed, "protobuf");
    assert_still_works(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_truncation_and_mutation_is_answered_and_the_account_balances() {
    let world = World::open().await;
    let whole = body_of("phone-1", opened(0, 2));
    let mutated = (0..whole.len()).flat_map(|at| {
        [1_u8, 0x80, 0xff].map(|flip| {
            let mut body = whole.clone();
            body[at] ^= flip;
            body
        })
    });
    let truncated = (0..whole.len()).map(|cut| whole[..cut].to_vec());
    for body in mutated.chain(truncated) {
        let status = world.logs(body).await.status;
        let fine = [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE].contains(&status);
        assert!(fine, "{status}");
    }
    let text = world.get("/metrics").await.text();
    for purpose in ["analytics", "diagnostics"] {
        let of = |name: &str| -> u64 {
            let lines =
                text.lines().filter(|line| line.starts_with(name) && line.contains(&format!("purpose=\"{purpose}\"")));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
        };
        let offered = of("candor_events_offered_total");
        assert!(offered > 0);
        assert_eq!(offered, of("candor_events_stored_total") + of("candor_events_dropped_total"));
    }
    assert_still_works(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_sent_again_is_told_by_count_and_declared_name() {
    let world = World::open().await;
    let mut records = opened(0, 2);
    records.push(record(CANARY, 10, vec![]));
    records.push(record("phone.app.opened", 11, vec![attribute("battery.level", text(CANARY))]));
    records.push(record(
        "phone.app.opened",
        12,
        vec![attribute(CANARY, text(CANARY)), attribute("battery.level", text(CANARY))],
    ));
    let answer = world.logs(body_of("phone-1", records)).await;
    let (rejected, message) = answer.partial_success();
    assert_eq!(rejected, 3);
    assert!(message.contains("1 record of events that the catalogue does not declare"), "{message}");
    assert!(message.contains("phone.app/battery_level 2"), "{message}");
    assert!(!answer.text().contains(CANARY));
    assert_eq!(world.stored("analytics").await, 2);
    let metrics = world.get("/metrics").await.text();
    assert!(!metrics.contains(CANARY), "a name from outside became a label");
    assert!(metrics.contains(r#"purpose="analytics",reason="undeclared_event"} 1"#));
    assert!(metrics.contains(r#"purpose="analytics",reason="bad_value"} 2"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_taken_whatever_its_time_is() {
    let world = World::open().await;
    let mut records = opened(0, 3);
    records[0].time_unix_nano = 0;
    records[1].time_unix_nano = 7_258_118_400_000_000_000;
    records[2].time_unix_nano = u64::MAX;
    assert_eq!(world.logs(body_of("phone-1", records)).await.partial_success().0, 0);
    assert_eq!(world.stored("analytics").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_meets_the_limit_and_a_full_service_asks_to_come_again() {
    let limits =
        Limits { body_bytes: 1 << 20, decompressed_bytes: 2 << 20, in_flight_bytes: 3 << 20, ..Limits::default() };
    let world = World::with(Folders::new(), limits).await;
    let bomb = gzip(&vec![0; 64 << 20]);
    let bomb = || post_logs().header("content-encoding", "gzip").body(Body::from(bomb.clone())).unwrap();
    assert_refused(&world.send(bomb()).await, StatusCode::PAYLOAD_TOO_LARGE, "send smaller batches");
    let mut others = world.service.budget.lease();
    others.grow(2 << 20).unwrap();
    let answer = world.send(bomb()).await;
    assert_refused(
        &answer,
        StatusCode::SERVICE_UNAVAILABLE,
        "send the same request again, signed anew if it was signed",
    );
    assert_eq!(answer.headers["retry-after"], "1");
    drop(others);
    assert_still_works(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_with_and_without_an_announced_length() {
    let limits = Limits { body_bytes: 4_096, records: 5, attributes: 4, ..Limits::default() };
    let world = World::with(Folders::new(), limits).await;
    let too_large = StatusCode::PAYLOAD_TOO_LARGE;
    let long = vec![7; 5_000];
    let announced = post_logs().header("content-length", "5000").body(Body::from(long.clone())).unwrap();
    assert_refused(&world.send(announced).await, too_large, "4096 bytes");
    let chunks = futures::stream::iter(
        long.chunks(1_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    );
    let chunked = post_logs().body(Body::from_stream(chunks)).unwrap();
    assert_refused(&world.send(chunked).await, too_large, "4096 bytes");
    assert_refused(&world.logs(body_of("phone-1", opened(0, 6))).await, too_large, "records");
    let attributes = (0..5).map(|_| attribute(CANARY, text(CANARY))).collect();
    let answer = world.logs(body_of("phone-1", vec![record("phone.app.opened", 0, attributes)])).await;
    assert_refused(&answer, too_large, "attributes");
    assert_still_works(&world).await;
}
