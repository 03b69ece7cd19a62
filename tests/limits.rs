//! Limits on who sends too much: bodies, rates, connections; each answered so that honest clients lose nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::grpc::{Grpc, LOGS, OK, RESOURCE_EXHAUSTED};
use crate::http::Client;
use crate::otlp::{Event, encode, gzip};
use crate::world::{DEVICE, OFFICER, Service, Start, World};

#[test]
fn a_body_far_over_the_limit_is_sent_whole_and_its_answer_is_read() {
    let world = World::new();
    let service = world.serve();
    let body = vec![0; 48 << 20];
    let mut client = service.device();
    for _ in 0..3 {
        let answer = client.logs(&body).unwrap();
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // In chunks there is no length to see beforehand.
    let mut stream = TcpStream::connect(service.address()).unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: chunks\r\nauthorization: Bearer {DEVICE}\r\n\
         content-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    for piece in body.chunks(1 << 20) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert!(rest(&mut stream).starts_with("HTTP/1.1 413"));
    service.device().logs(&encode(&[Event::numbered("limits-01", 1)])).unwrap().expect_status(200);
}

#[test]
fn chunked_bodies_are_taken_as_the_javascript_sdk_sends_them() {
    let world = World::new();
    let service = world.serve();
    let body = gzip(&encode(&[Event::numbered("limits-01", 1)]));
    let mut stream = TcpStream::connect(service.address()).unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: chunks\r\nauthorization: Bearer {DEVICE}\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    for piece in body.chunks(50) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert!(rest(&mut stream).starts_with("HTTP/1.1 200"));
    assert_eq!(world.account()[0].0, 1);
}

#[test]
fn a_source_over_its_rate_is_asked_to_come_again_and_others_are_not() {
    let world = World::new();
    let service = start(&world, &[("CANDOR_LIMITS_REQUESTS_PER_SECOND", "5")]);
    let event = |number| encode(&[Event::numbered("limits-01", number)]);
    let mut client = service.device();
    let answers: Vec<_> = (0..30).map(|number| client.logs(&event(number)).unwrap()).collect();
    let late: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(late.len() >= 10, "{} of 30 were too fast", late.len());
    assert!(late.iter().all(|answer| answer.header("retry-after") == Some("1")));
    assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status)));
    let mut grpc = Grpc::connect(service.address(), Some(DEVICE));
    let outcomes: Vec<_> = (100..130).map(|number| grpc.export(LOGS, "", &event(number))).collect();
    let late: Vec<_> = outcomes.iter().filter(|outcome| outcome.code() == RESOURCE_EXHAUSTED).collect();
    assert!(late.len() >= 10, "{} of 30 were too fast", late.len());
    assert!(late.iter().all(|outcome| !outcome.text("grpc-status-details-bin").is_empty()), "RetryInfo says when");
    assert!(outcomes.iter().all(|outcome| [OK, RESOURCE_EXHAUSTED].contains(&outcome.code())));
    // Another source has its own.
    service.consent(&["limits-01"], "given");
    // Who waits as he was told gets through.
    std::thread::sleep(Duration::from_millis(1_100));
    client.logs(&event(200)).unwrap().expect_status(200);
}

#[test]
fn every_door_says_that_it_was_too_fast_in_a_way_that_its_clients_retry() {
    let world = World::new();
    let service = start(&world, &[("CANDOR_LIMITS_REQUESTS_PER_SECOND", "1")]);
    let ping = format!("/glean/{DEVICE}/submit/hub/baseline/1/167466aa-5334-44d9-a217-f91f3396a4df");
    for (path, token, status) in [
        ("/v1/logs", Some(DEVICE), 429),
        ("/v1/events", Some(DEVICE), 429),
        ("/v1/batch", Some(DEVICE), 429),
        (&ping, None, 503),
        ("/v1/consent", Some(OFFICER), 429),
        ("/v1/flush", Some(OFFICER), 429),
    ] {
        let mut client = service.client(token);
        let answers: Vec<_> = (0..5).map(|_| client.send("POST", path, &[], b"{}").unwrap()).collect();
        let late: Vec<_> = answers.iter().filter(|answer| answer.header("retry-after").is_some()).collect();
        assert!(!late.is_empty(), "{path}: {answers:?}");
        for answer in late {
            assert_eq!((answer.status, answer.header("retry-after")), (status, Some("1")), "{path}");
        }
    }
    // Commands say that trying again may help.
    let (url, token) = (format!("http://{}", service.address()), world.fleet().join("tokens/backend.token"));
    let flush = ["flush", "--url", &url, "--token-file", token.to_str().unwrap()];
    let codes: Vec<_> = (0..3).map(|_| world.candor(&flush).status.code()).collect();
    assert!(codes.contains(&Some(1)) && codes.iter().all(|code| [Some(0), Some(1)].contains(code)), "{codes:?}");
}

#[test]
fn one_address_has_its_share_of_connections_and_no_more() {
    let world = World::new();
    let service = start(&world, &[("CANDOR_LIMITS_CONNECTIONS_PER_ADDRESS", "3")]);
    let mut open: Vec<Client> = (0..3).map(|_| service.client(None)).collect();
    for client in &mut open {
        client.get("/healthz").unwrap().expect_status(200);
    }
    let mut fourth = TcpStream::connect(service.address()).unwrap();
    fourth.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(fourth.read(&mut [0]).unwrap_or(0), 0, "closed at once");
    // Loopback has other addresses, and their connections are theirs.
    let elsewhere = health_from_elsewhere(&service);
    assert!(elsewhere.starts_with("HTTP/1.1 200"), "{elsewhere}");
    let turned_away = open[0].get("/metrics").unwrap().text();
    assert!(turned_away.contains("candor_connections_turned_away_total 1"), "{turned_away}");
    drop(open);
    std::thread::sleep(Duration::from_millis(200));
    service.client(None).get("/healthz").unwrap().expect_status(200);
}

#[test]
fn the_limits_are_published() {
    let world = World::new();
    let service = world.serve();
    let text = service.client(None).get("/v1/limits").unwrap().expect_status(200).text();
    let published: Value = serde_json::from_str(&text).unwrap();
    for name in [
        "body_bytes",
        "decompressed_bytes",
        "handshake_seconds",
        "header_seconds",
        "body_seconds",
        "idle_seconds",
        "requests_per_second",
        "subject_requests_per_second",
        "connections_per_address",
        "http2_streams",
        "http2_resets",
    ] {
        assert!(published["limits"][name].as_u64().is_some_and(|limit| limit > 0), "{name}: {published}");
    }
    let errors = published["errors"].as_array().unwrap();
    let overload = errors.iter().find(|error| error["http"] == 503).unwrap();
    assert_eq!((&overload["grpc"], &overload["retry_after"]), (&14.into(), &1.into()));
    assert_eq!(published["content_encodings"], serde_json::json!(["identity", "gzip", "deflate", "zstd"]));
}

fn start(world: &World, environment: &[(&str, &str)]) -> Service {
    world.start(&Start { environment, ..Start::default() }).unwrap()
}

fn rest(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = [0; 1_024];
    let read = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// `GET /healthz` from another address of this machine.
fn health_from_elsewhere(service: &Service) -> String {
    crate::grpc::runtime().block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(service.address()).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: other\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 64];
        let read = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    })
}
