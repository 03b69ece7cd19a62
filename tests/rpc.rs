//! OTLP over gRPC: the same rows as over HTTP, every error with its code, on every listener, with TLS or without.

use std::net::SocketAddr;

use serde_json::json;

use crate::grpc::{
    DEADLINE_EXCEEDED, Grpc, INVALID_ARGUMENT, LOGS, METRICS, OK, PERMISSION_DENIED, RESOURCE_EXHAUSTED, TRACES,
    UNAUTHENTICATED, UNIMPLEMENTED, framed,
};
use crate::otlp::{Event, deflate, encode, gzip, metrics, partial_success, spans, zstd};
use crate::world::{DEVICE, OFFICER, Service, Start, World};

#[test]
fn calls_store_rows_in_every_encoding_and_on_both_listeners() {
    let world = World::new();
    let start = Start { environment: &[("CANDOR_GRPC", "127.0.0.1:0")], ..Start::default() };
    let service = world.start(&start).unwrap();
    service.consent(&["rpc-01"], "given");
    let mut number = 0;
    for address in [service.address(), second_address(&service)] {
        let mut client = Grpc::connect(address, Some(DEVICE));
        for (encoding, compress) in ENCODINGS {
            number += 1;
            let body = encode(&[Event::numbered("rpc-01", number)]);
            let outcome = client.export(LOGS, encoding, &compress(&body)).expect(OK);
            assert!(outcome.message().is_empty(), "full success is an empty message");
            assert_eq!(outcome.text("content-type"), "application/grpc");
        }
    }
    assert_eq!(world.account()[1], (number, number));
    // What came by gRPC is recognised when it comes again by HTTP: the bytes are the same request.
    let again = encode(&[Event::numbered("rpc-01", 1)]);
    service.client(Some(DEVICE)).logs(&again).unwrap().expect_status(200);
    assert_eq!(world.account()[1], (number, number));
}

#[test]
fn partial_success_and_every_error_have_their_code() {
    let world = World::new();
    let service = world.serve();
    service.consent(&["rpc-01"], "given");
    let good = encode(&[Event::numbered("rpc-01", 1)]);
    let mut client = Grpc::connect(service.address(), Some(DEVICE));

    let undeclared = Event::new("rpc-01", "US-CA", "phone.nothing.declared", json!({}));
    let outcome = client.export(LOGS, "", &encode(&[Event::numbered("rpc-01", 2), undeclared])).expect(OK);
    let (rejected, message) = partial_success(outcome.message());
    assert!(rejected == 1 && message.contains("catalogue"), "{rejected}: {message}");

    for (what, code, encoding, message) in [
        ("text", INVALID_ARGUMENT, "", b"no protobuf".to_vec()),
        ("cut protobuf", INVALID_ARGUMENT, "", good[..good.len() - 3].to_vec()),
        ("broken gzip", INVALID_ARGUMENT, "gzip", good.clone()),
        ("an unknown encoding", UNIMPLEMENTED, "snappy", good.clone()),
        ("a bomb", RESOURCE_EXHAUSTED, "gzip", gzip(&vec![0; 64 << 20])),
        ("too long as sent", RESOURCE_EXHAUSTED, "", vec![0; 9 << 20]),
    ] {
        let outcome = client.export(LOGS, encoding, &message);
        assert_eq!(outcome.code(), code, "{what}: {outcome:?}");
        assert!(outcome.text("grpc-message").len() > 15, "{what}: the message says too little");
        assert!(outcome.text("grpc-accept-encoding").contains("zstd"));
        assert_eq!(outcome.text("grpc-status-details-bin"), "", "{what}: it must not be sent again");
    }
    for path in [METRICS, TRACES] {
        client.export(path, "", &[]).expect(OK);
    }
    for path in ["/opentelemetry.proto.collector.profiles.v1.ProfilesService/Export", "/v1/nothing"] {
        client.export(path, "", &good).expect(UNIMPLEMENTED);
    }
    let two = [framed(false, &good), framed(false, &good)].concat();
    client.call(LOGS, &[], &two).unwrap().expect(INVALID_ARGUMENT);
    client.call(LOGS, &[], &[]).unwrap().expect(INVALID_ARGUMENT);
    assert_eq!(client.call(LOGS, &[("content-type", "text/plain")], &two).unwrap().http, 415, "not gRPC at all");

    let by = |token| Grpc::connect(service.address(), token).export(LOGS, "", &good);
    by(None).expect(UNAUTHENTICATED);
    by(Some("wrong")).expect(UNAUTHENTICATED);
    by(Some(OFFICER)).expect(PERMISSION_DENIED);
    // gRPC has its outcome in trailers, which HTTP/1.1 clients do not read.
    let headers = [("content-type", "application/grpc")];
    service.device().send("POST", LOGS, &headers, &framed(false, &good)).unwrap().expect_status(415);
    // HTTP routes are answered over HTTP/2 as well.
    let over_http = client.call("/v1/logs", &[("content-type", "application/x-protobuf")], &good).unwrap();
    assert_eq!((over_http.http, over_http.code()), (200, -1));
    assert_eq!(world.account()[1], (3, 2));
}

#[test]
fn metrics_and_traces_have_their_methods_and_the_words_of_their_signal() {
    let world = World::new();
    let service = world.serve();
    let mut client = Grpc::connect(service.address(), Some(DEVICE));
    let events = [Event::numbered("rpc-01", 1), Event::numbered("rpc-01", 2)];
    for (method, body, told) in
        [(METRICS, metrics(&events), "2 data points of metrics"), (TRACES, spans(&events), "2 spans of names")]
    {
        let outcome = client.export(method, "zstd", &zstd(&body)).expect(OK);
        let (rejected, message) = partial_success(outcome.message());
        assert!(rejected == 2 && message.contains(told), "{rejected}: {message}");
    }
    assert_eq!(world.account()[0], (4, 0), "counted, and nothing is stored of what nobody declared");
}

#[test]
fn a_client_that_gives_little_time_is_told_to_come_again() {
    let world = World::new();
    let service = world.serve();
    let mut client = Grpc::connect(service.address(), Some(DEVICE));
    let part = &framed(false, &[0; 1_000])[..10];
    let outcome = client.stall(LOGS, &[("grpc-timeout", "200m")], part).unwrap().expect(DEADLINE_EXCEEDED);
    assert_ne!(outcome.text("grpc-status-details-bin"), "", "RetryInfo says when");
    client.export(LOGS, "", &encode(&[Event::numbered("rpc-01", 1)])).expect(OK);
}

/// A name and what makes bytes of it.
pub(crate) type Encoding = (&'static str, fn(&[u8]) -> Vec<u8>);

/// Every encoding that is taken.
pub(crate) const ENCODINGS: [Encoding; 4] =
    [("", <[u8]>::to_vec), ("gzip", gzip), ("deflate", deflate), ("zstd", zstd)];

/// The address of `--grpc`, as the line that says the service is ready has it.
fn second_address(service: &Service) -> SocketAddr {
    let log = service.log();
    let at = log.find("for gRPC, http://").expect("the second address") + "for gRPC, http://".len();
    log[at..].split(',').next().and_then(|address| address.parse().ok()).expect("an address")
}
