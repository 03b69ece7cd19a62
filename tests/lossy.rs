//! The client sees an error, the server had stored it: one row. Between them stands a proxy that loses every tenth reply.

use crate::http::Client;
use crate::otlp::{Event, encode, gzip};
use crate::proxy::Lossy;
use crate::sdk::{Language, Protocol, Sdk};
use crate::world::{DEVICE, Service, World, figure};

/// Events of an SDK, and of one export of it.
const EVENTS: u64 = 150;
const BATCH: u64 = 5;

#[test]
fn a_lost_reply_makes_no_second_row_for_a_plain_client() {
    let world = World::new();
    let service = world.serve();
    service.consent(&["lossy-01"], "given");
    let proxy = Lossy::start(service.address(), false);
    let mut client = Client::new(proxy.address, Some(DEVICE));
    for number in 0..100 {
        let body = gzip(&encode(&[Event::numbered("lossy-01", number)]));
        while client.logs_gzip(&body).map(|answer| answer.expect_status(200)).is_err() {}
    }
    assert_one_row_each(&world, &service, 100, proxy.lost(), "plain HTTP");
    assert_eq!(repeats(&service), proxy.lost(), "each request whose reply was lost came again, once");
}

#[test]
fn a_lost_reply_makes_no_second_row_for_python_by_json() {
    lose(Language::Python, Protocol::Json);
}

#[test]
fn a_lost_reply_makes_no_second_row_for_python_by_protobuf() {
    lose(Language::Python, Protocol::Protobuf);
}

#[test]
fn a_lost_reply_makes_no_second_row_for_python_by_grpc() {
    lose(Language::Python, Protocol::Grpc);
}

#[test]
fn a_lost_reply_makes_no_second_row_for_javascript_by_json() {
    lose(Language::JavaScript, Protocol::Json);
}

#[test]
fn a_lost_reply_makes_no_second_row_for_javascript_by_protobuf() {
    lose(Language::JavaScript, Protocol::Protobuf);
}

#[test]
fn a_lost_reply_makes_no_second_row_for_javascript_by_grpc() {
    lose(Language::JavaScript, Protocol::Grpc);
}

fn lose(language: Language, protocol: Protocol) {
    let Some(sdk) = Sdk::find(language, protocol) else { return };
    let world = World::new();
    let service = world.serve();
    service.consent(&["sdk-01"], "given");
    let proxy = Lossy::start(service.address(), sdk.is_grpc());
    let sent = sdk.batches(&format!("http://{}", proxy.address), DEVICE, EVENTS, BATCH);
    assert_one_row_each(&world, &service, EVENTS, proxy.lost(), &sdk.to_string());
    let failed = sent.results.iter().filter(|delivered| !**delivered).count() as u64;
    if sdk.retries() {
        assert_eq!(failed, 0, "{sdk}: {}", sent.complaint);
        assert_eq!(repeats(&service), proxy.lost(), "{sdk}: each request whose reply was lost came again, once");
    } else {
        // It reports to its program that the export failed, and goes on; what it sent is stored all the same.
        assert_eq!((failed, repeats(&service)), (proxy.lost(), 0), "{sdk}");
    }
}

fn repeats(service: &Service) -> u64 {
    service.metric("candor_repeats_total")
}

fn assert_one_row_each(world: &World, service: &Service, events: u64, lost: u64, what: &str) {
    let repeats = repeats(service);
    figure(&format!("lossy: {what}: {events} events, {lost} replies lost, {repeats} requests recognised as repeats"));
    assert!(lost >= 2, "the proxy lost {lost} replies only");
    assert_eq!(world.account()[1], (events, events), "{what}");
    for counted in ["*", "distinct app_package"] {
        assert_eq!(world.count(&format!("select count({counted}) from analytics.\"phone.app\"")), events, "{what}");
    }
}
