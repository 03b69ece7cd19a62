//! Bad input: the status that the OTLP rules ask for, a message without the value, nothing lost, memory bounded.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use serde_json::json;

use crate::http::Answer;
use crate::otlp::{Event, encode, gzip, key_value, partial_success, request};
use crate::random::Random;
use crate::world::{OFFICER, World, figure};

/// Stands in every bad request; no answer and no log line may hold it.
const SECRET: &str = "s3cr3t-value-of-a-person";

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// What is wrong, the status that it must get, headers, body.
type Bad<'a> = (&'a str, u16, &'a [(&'a str, &'a str)], &'a [u8]);

#[test]
fn each_bad_request_has_its_status_and_loses_nothing() {
    let world = World::new();
    let mut service = world.serve();
    service.consent(&["input-01"], "given");
    let good = encode(&[event()]);
    let zipped = gzip(&good);
    let mut invalid_utf8 = good.clone();
    let at = invalid_utf8.windows(SECRET.len()).position(|window| window == SECRET.as_bytes()).unwrap();
    invalid_utf8[at] = 0xff;
    let bomb = gzip(&vec![0; 64 << 20]);

    let refused: [Bad<'_>; 10] = [
        ("broken gzip", 400, &[PROTOBUF, GZIP], &[&zipped[..20], b"broken".as_slice()].concat()),
        ("truncated gzip", 400, &[PROTOBUF, GZIP], &zipped[..zipped.len() - 9]),
        ("not gzip at all", 400, &[PROTOBUF, GZIP], &good),
        ("truncated protobuf", 400, &[PROTOBUF], &good[..good.len() - 3]),
        ("invalid UTF-8", 400, &[PROTOBUF], &invalid_utf8),
        ("text", 400, &[PROTOBUF], SECRET.as_bytes()),
        ("a bomb of 1000:1", 413, &[PROTOBUF, GZIP], &bomb),
        ("an unknown encoding", 415, &[PROTOBUF, ("content-encoding", "rot13")], &good),
        ("an unknown media type", 415, &[("content-type", "text/csv")], &good),
        ("no media type", 415, &[], &good),
    ];
    for (what, status, headers, body) in refused {
        let answer = service.device().send("POST", "/v1/logs", headers, body).unwrap();
        check(what, status, &answer);
    }
    check("a body over the limit", 413, &service.device().announce("/v1/logs", 48 << 20).unwrap());
    let by = |token: Option<&str>, method: &str, path: &str| {
        service.client(token).send(method, path, &[PROTOBUF], &good).unwrap()
    };
    check("no token", 401, &by(None, "POST", "/v1/logs"));
    check("a wrong token", 401, &by(Some("wrong"), "POST", "/v1/logs"));
    check("a token of another role", 403, &by(Some(OFFICER), "POST", "/v1/logs"));
    check("a device that rules", 403, &by(Some(crate::world::DEVICE), "POST", "/v1/flush"));
    check("another method", 405, &by(Some(crate::world::DEVICE), "GET", "/v1/logs"));
    check("an unknown path", 404, &by(Some(crate::world::DEVICE), "POST", "/v1/nothing"));
    assert!(world.account().iter().all(|account| *account == (0, 0)), "a refused request was counted");

    service.device().logs(&good).unwrap().expect_status(200);
    assert_eq!(world.account()[1], (1, 1), "a good one after all those");
    assert!(service.is_alive());
    assert!(!service.log().contains(SECRET), "the log holds a value");
}

#[test]
fn what_must_not_be_sent_again_is_a_partial_success() {
    let world = World::new();
    let service = world.serve();
    service.consent(&["input-01"], "given");
    let mut client = service.device();
    let mut send = |events: &[Event]| {
        let answer = client.logs(&encode(events)).unwrap().expect_status(200);
        assert!(!answer.text().contains(SECRET), "{}", answer.text());
        partial_success(&answer.body)
    };
    let with = |name: &str, attributes| Event::new("input-01", "US-CA", name, attributes);

    assert_eq!(send(&[event()]), (0, String::new()));
    let (rejected, message) = send(&[event(), with("phone.nothing.declared", json!({"x": SECRET}))]);
    assert!(rejected == 1 && message.contains("catalogue"), "{rejected}: {message}");
    assert!(!message.contains("nothing"), "names that nobody declared are values too: {message}");
    let (rejected, message) = send(&[event(), with("phone.app.opened", json!({"duration_ms": SECRET}))]);
    assert!(rejected == 1 && message.contains("duration_ms"), "{rejected}: {message}");
    // Undeclared attributes are counted and forgotten: nothing for the client to mend.
    assert_eq!(send(&[with("phone.app.opened", json!({"screen": "home", "undeclared": SECRET}))]), (0, String::new()));
    let at = |seconds: u64| Event { time_unix_nano: seconds * 1_000_000_000, ..event() };
    assert_eq!(send(&[at(1), at(7_258_118_400)]), (0, String::new()));

    let totals = world.totals();
    let dropped = |reason: &str| -> u64 {
        let of = totals.iter().filter(|total| total.purpose == "analytics").flat_map(|total| &total.dropped);
        of.filter(|(why, _)| why == reason).map(|(_, records)| records).sum()
    };
    assert_eq!((dropped("undeclared_event"), dropped("bad_value")), (1, 1), "{totals:?}");
    assert_eq!(world.account()[1], (8, 6));
    let years = "select count(*) from analytics.\"phone.app\" where time < '1971-01-01' or time >= '2200-01-01'";
    assert_eq!(world.count(years), 2);
    assert!(service.metrics().contains("undeclared"), "undeclared attributes have a counter");
    assert!(!service.log().contains(SECRET));
}

#[test]
fn no_subject_no_time_and_nested_values_are_no_reason_to_fail() {
    let world = World::new();
    let service = world.serve();
    service.consent(&["input-01"], "given");
    let mut anonymous = event();
    anonymous.resource.remove("device.id");
    let mut timeless = request(&[event()]);
    let record = &mut timeless.resource_logs[0].scope_logs[0].log_records[0];
    (record.time_unix_nano, record.observed_time_unix_nano) = (0, 0);
    let mut nested = request(&[event()]);
    nest(&mut nested, 20);
    for body in [encode(&[anonymous]), timeless.encode_to_vec(), nested.encode_to_vec()] {
        service.device().logs(&body).unwrap().expect_status(200);
    }
    let mut deep = request(&[event()]);
    nest(&mut deep, 90);
    let refused = service.device().logs(&deep.encode_to_vec()).unwrap();
    assert!([400, 413].contains(&refused.status), "{}", refused.status);
    let rows = world.query("select * from analytics.\"phone.app\"");
    assert_eq!(rows.len(), 2, "the anonymous one has no consent");
    assert_eq!(rows.iter().filter(|row| row.get("time").is_none_or(serde_json::Value::is_null)).count(), 1);
    assert!(world.totals().iter().any(|total| total.dropped.contains(&("no_subject".to_owned(), 1))));
}

#[test]
fn mutated_bodies_never_end_the_process_and_memory_stays_bounded() {
    let mut random = Random::announced("input");
    let world = World::new();
    let mut service = world.serve();
    service.consent(&["input-01"], "given");
    let events: Vec<Event> = Event::load(&crate::world::workspace().join("seeds/events/sample.jsonl"));
    let whole = encode(&events);
    service.device().logs(&whole).unwrap().expect_status(200);
    let before = service.peak_memory();
    let mut client = service.device();
    let mut statuses = std::collections::BTreeMap::new();
    for round in 0..3_000 {
        let mut body = whole.clone();
        for _ in 0..=random.below(4) {
            mutate(&mut body, &mut random);
        }
        let answer = match round % 4 {
            0 => {
                let mut zipped = gzip(&body);
                mutate(&mut zipped, &mut random);
                client.logs_gzip(&zipped)
            }
            _ => client.logs(&body),
        };
        let status = answer.unwrap().status;
        assert!([200, 400, 413].contains(&status), "round {round}: {status}");
        *statuses.entry(status).or_insert(0) += 1;
    }
    let bomb = gzip(&vec![0; 64 << 20]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (service, bomb) = (&service, &bomb);
            // The budget of bytes in flight may ask some to come again.
            scope.spawn(move || assert!([413, 503].contains(&service.device().logs_gzip(bomb).unwrap().status)));
        }
    });
    let grown = service.peak_memory().saturating_sub(before);
    figure(&format!("input: 3,000 mutated bodies {statuses:?}, 8 bombs at once, memory grew by {} MB", grown >> 20));
    assert!(grown < 256 << 20, "memory grew by {grown} bytes");
    assert!(statuses.len() > 1, "every body had the same fate: {statuses:?}");
    assert!(service.is_alive());
    world.totals();
    assert!(service.stop().success());
}

fn event() -> Event {
    let attributes = json!({"app.package": "org.example.mail", "screen": "home", "account.email": SECRET});
    Event::new("input-01", "US-CA", "phone.app.opened", attributes)
}

#[track_caller]
fn check(what: &str, status: u16, answer: &Answer) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{what}: {text}");
    assert!(!text.contains(SECRET), "{what}: the message holds the value");
    assert!(text.chars().filter(|c| c.is_alphabetic()).count() > 15, "{what}: the message says too little: {text}");
}

/// One of: a flipped bit, a byte, a cut, an insertion, a copied stretch.
fn mutate(body: &mut Vec<u8>, random: &mut Random) {
    if body.is_empty() {
        return;
    }
    let at = random.below(body.len() as u64) as usize;
    match random.below(5) {
        0 => body[at] ^= 1 << random.below(8),
        1 => body[at] = random.next() as u8,
        2 => body.truncate(at),
        3 => body.insert(at, random.next() as u8),
        _ => {
            let stretch: Vec<u8> = body[at..].iter().copied().take(64).collect();
            let to = random.below(body.len() as u64) as usize;
            body.splice(to..to, stretch);
        }
    }
}

/// Gives the first record an undeclared attribute, nested `depth` levels.
fn nest(request: &mut ExportLogsServiceRequest, depth: usize) {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValueList, any_value};
    let mut value = key_value("leaf", &json!(SECRET));
    for _ in 0..depth {
        let list = KeyValueList { values: vec![value] };
        value = key_value("nested", &json!(null));
        value.value = Some(AnyValue { value: Some(any_value::Value::KvlistValue(list)) });
    }
    request.resource_logs[0].scope_logs[0].log_records[0].attributes.push(value);
}
