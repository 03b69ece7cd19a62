//! Repeats within a memory that is too small for them: the same request again adds no row, and what is one too many is
//! told to come again.

use crate::otlp::{Event, encode};
use crate::world::{Service, Start, World, figure};

const REQUESTS: u64 = 2_500;
/// The least that can be set: some thousand requests are held, and a filter of two pages knows the others.
const LITTLE: [(&str, &str); 2] = [("CANDOR_STORE_REPEAT_BYTES", "1"), ("CANDOR_STORE_FLUSH_SECONDS", "3600")];

#[test]
fn the_same_request_again_adds_no_row_however_little_memory_there_is() {
    let world = World::new();
    let little = || world.start(&Start { environment: &LITTLE, ..Start::default() }).unwrap();
    let service = little();
    service.consent(&["repeats-01"], "given");
    let refused = send(&service);
    assert!(refused > 0, "nothing was one too many: {REQUESTS} requests are too few");
    assert_eq!(world.account()[1], (REQUESTS, REQUESTS));
    let held = service.metric("candor_store_repeats_held");
    assert!(held <= 1_024, "{held} requests are held");

    // Some of them are held, some are in the ledger; then all are in the ledger; then memory is filled from there.
    assert_eq!(send(&service), 0, "repeats are not refused");
    service.flush();
    assert_eq!(service.metric("candor_store_repeats_held"), 0);
    send(&service);
    let asked = service.metric("candor_store_repeats_lookups");
    assert!(asked >= REQUESTS, "the ledger was asked {asked} times");
    assert!(service.stop().success());
    let service = little();
    send(&service);
    assert_eq!(service.metric("candor_repeats_total"), REQUESTS);
    assert_eq!(world.account()[1], (REQUESTS, REQUESTS));
    assert_eq!(world.count("select count(*) from analytics.\"phone.app\""), REQUESTS);
    figure(&format!(
        "repeats: {REQUESTS} requests four times over with room for 1,024: {REQUESTS} rows, {refused} told to come again"
    ));
}

/// Sends every request until it is taken; gives how often it was told to come again.
fn send(service: &Service) -> u64 {
    let mut client = service.device();
    let mut refused = 0;
    for number in 0..REQUESTS {
        let body = encode(&[Event::numbered("repeats-01", number)]);
        loop {
            let answer = client.logs(&body).unwrap();
            if answer.status == 200 {
                break;
            }
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text());
            refused += 1;
            service.flush();
        }
    }
    refused
}
