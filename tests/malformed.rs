//! Malformed bodies by the thousand at every door and in every encoding, and bombs: refused as OTLP asks, in bounded memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::grpc::{Grpc, INVALID_ARGUMENT, LOGS, METRICS, OK, RESOURCE_EXHAUSTED, TRACES, framed};
use crate::http::Client;
use crate::otlp::{Event, encode, metrics, spans};
use crate::random::Random;
use crate::rpc::{ENCODINGS, Encoding};
use crate::world::{DEVICE, Service, Start, World, figure, workspace};

/// Bodies at each door, in all encodings in turn.
const BODIES: u64 = 10_000;
/// What memory may grow by, whatever comes.
const MOST_GROWTH: u64 = 256 << 20;
/// `limits.decompressed_bytes`.
const LIMIT: u64 = 32 << 20;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

/// OTLP's doors: the path over HTTP, the method over gRPC.
const DOORS: [(&str, &str); 3] = [("/v1/logs", LOGS), ("/v1/metrics", METRICS), ("/v1/traces", TRACES)];

/// Members out of order, an escape, nested lists, both ways to write a number.
const LOGS_IN_JSON: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"phone.app.opened","attributes":[
{"value":{"stringValue":"org.example.\u006daps"},"key":"app.package"},{"key":"duration_ms","value":{"intValue":"37"}},
{"key":"location","value":{"kvlistValue":{"values":[{"key":"lat","value":{"doubleValue":48.1e0}},{"key":"lon","value":{"intValue":11}}]}}},
{"key":"tags","value":{"arrayValue":{"values":[{"stringValue":"a"},{},{"bytesValue":"AQI="}]}}}],
"timeUnixNano":1780000000000000000,"traceId":"5b8efff798038103d269b633813fc60c","body":null,"flags":1}]}],
"resource":{"attributes":[{"key":"device.id","value":{"stringValue":"demo-phone-01"}},{"key":"region","value":{"stringValue":"DE"}}]}}]}"#;

#[test]
fn ten_thousand_mutated_bodies_on_each_door_in_every_encoding() {
    let mut random = Random::announced("malformed");
    let world = World::new();
    // Tens of thousands of refusals have a line each otherwise.
    let start = Start { environment: &[("CANDOR_LOG", "error")], ..Start::default() };
    let mut service = world.start(&start).unwrap();
    service.consent(&["demo-phone-01"], "given");
    let sample = Event::load(&workspace().join("seeds/events/sample.jsonl"));
    let bodies = [encode(&sample[..4]), metrics(&sample[..4]), spans(&sample[..4])];
    for ((path, _), body) in DOORS.iter().zip(&bodies) {
        service.device().send("POST", path, &[PROTOBUF], body).unwrap().expect_status(200);
    }
    let before = service.peak_memory();
    let fates: Vec<(String, BTreeMap<i32, u64>)> = std::thread::scope(|scope| {
        let mut running = Vec::new();
        let service = &service;
        for ((path, method), body) in DOORS.iter().zip(&bodies) {
            let (mut first, mut second) = (Random::new(random.next()), Random::new(random.next()));
            running.push(
                scope.spawn(move || (format!("HTTP {path}"), over_http(service, path, PROTOBUF, body, &mut first))),
            );
            running
                .push(scope.spawn(move || (format!("gRPC {method}"), over_grpc(service, method, body, &mut second))));
        }
        let mut json = Random::new(random.next());
        let mut over_json = move || over_http(service, "/v1/logs", JSON, LOGS_IN_JSON.as_bytes(), &mut json);
        running.push(scope.spawn(move || ("HTTP /v1/logs in JSON".to_owned(), over_json())));
        for (path, media_type, body) in beside_otlp() {
            let mut random = Random::new(random.next());
            let door = format!("HTTP {path} {}", media_type.1);
            running.push(scope.spawn(move || (door, over_http(service, path, media_type, &body, &mut random))));
        }
        let mut last = Random::new(random.next());
        running.push(scope.spawn(move || ("HTTP /v1/consent".to_owned(), over_consent(service, &mut last))));
        running.into_iter().map(|thread| thread.join().expect("no assertion failed")).collect()
    });
    let grown = service.peak_memory().saturating_sub(before);
    for (door, fates) in &fates {
        figure(&format!("malformed: {door}: {fates:?}"));
        assert_eq!(fates.values().sum::<u64>(), BODIES, "{door}");
        assert!(fates.len() > 1, "every body at {door} had the same fate");
    }
    figure(&format!("malformed: memory grew by {} MB", grown >> 20));
    assert!(grown < MOST_GROWTH, "memory grew by {grown} bytes");
    assert!(service.is_alive() && !service.log().contains("a bug was met"), "{}", service.log());
    world.totals();
    assert!(service.stop().success());
}

/// Path, media type and whole body of each form that is not OTLP's.
fn beside_otlp() -> [(&'static str, (&'static str, &'static str), Vec<u8>); 4] {
    let event = r#"{"specversion":"1.0","type":"com.example.order","source":"/shop","id":"1","subject":"s","data":{"total":3}}"#;
    let batch = format!("[{event},{}]", event.replace("\"1\"", "\"2\""));
    let messages =
        r#"{"batch":[{"type":"track","event":"Device Paired","userId":"u","messageId":"m","properties":{"rssi":-4}}]}"#;
    let ping = r#"{"client_info":{"client_id":"c","os":"Linux"},"ping_info":{"end_time":"2026-11-22T17:21+00:00"}}"#;
    let uuid = "/glean/example-token/submit/hub/baseline/1/ROUND-5334-44d9-a217-f91f3396a4df";
    [
        ("/v1/events", ("content-type", "application/cloudevents+json"), event.into()),
        ("/v1/events", ("content-type", "application/cloudevents-batch+json"), batch.into()),
        ("/v1/batch", JSON, messages.into()),
        (uuid, JSON, ping.into()),
    ]
}

/// Fates by status: fine, or the client's fault. Nothing else, and never again.
fn over_http(
    service: &Service,
    path: &str,
    content_type: (&str, &str),
    whole: &[u8],
    random: &mut Random,
) -> BTreeMap<i32, u64> {
    let mut client = service.device();
    let mut fates = BTreeMap::new();
    for round in 0..BODIES {
        let encoding = &ENCODINGS[round as usize % ENCODINGS.len()];
        let named = [content_type, ("content-encoding", encoding.0)];
        let headers = if encoding.0.is_empty() { &named[..1] } else { &named[..] };
        // A ping has an id of its own.
        let path = path.replace("ROUND", &format!("{round:08x}"));
        let answer = client.send("POST", &path, headers, &mutated(whole, encoding, round, random)).unwrap();
        assert!([200, 400, 413].contains(&answer.status), "round {round}: {} {}", answer.status, answer.text());
        *fates.entry(i32::from(answer.status)).or_default() += 1;
    }
    fates
}

fn over_grpc(service: &Service, method: &str, whole: &[u8], random: &mut Random) -> BTreeMap<i32, u64> {
    let mut client = Grpc::connect(service.address(), Some(DEVICE));
    let mut fates = BTreeMap::new();
    for round in 0..BODIES {
        let encoding = &ENCODINGS[round as usize % ENCODINGS.len()];
        let named = [("grpc-encoding", encoding.0)];
        let headers = if encoding.0.is_empty() { &named[..0] } else { &named[..] };
        let mut body = framed(!encoding.0.is_empty(), &mutated(whole, encoding, round, random));
        if round.is_multiple_of(10) {
            mutate(&mut body, random);
        }
        let outcome = client.call(method, headers, &body).unwrap();
        let fine = [OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED].contains(&outcome.code());
        assert!(fine && outcome.http == 200, "round {round}: {outcome:?}");
        *fates.entry(outcome.code()).or_default() += 1;
    }
    fates
}

fn over_consent(service: &Service, random: &mut Random) -> BTreeMap<i32, u64> {
    let mut client = service.officer();
    let mut fates = BTreeMap::new();
    let whole = br#"{"subject":"phone-0030","purposes":{"analytics":"given","marketing":"refused"},"notice":{"version":"2026-01","language":"de"},"age_from":18,"expires":"2027-01-31"}"#;
    for round in 0..BODIES {
        let mut body = whole.to_vec();
        (0..=random.below(4)).for_each(|_| mutate(&mut body, random));
        let answer = client.send("POST", "/v1/consent", &[JSON], &body).unwrap();
        assert!([200, 400, 413].contains(&answer.status), "round {round}: {} {}", answer.status, answer.text());
        *fates.entry(i32::from(answer.status)).or_default() += 1;
    }
    fates
}

/// A body that is broken inside, outside, or both.
fn mutated(whole: &[u8], encoding: &Encoding, round: u64, random: &mut Random) -> Vec<u8> {
    let mut body = whole.to_vec();
    if !round.is_multiple_of(3) || encoding.0.is_empty() {
        (0..=random.below(4)).for_each(|_| mutate(&mut body, random));
    }
    let mut sent = (encoding.1)(&body);
    if round % 3 != 1 && !encoding.0.is_empty() {
        (0..=random.below(3)).for_each(|_| mutate(&mut sent, random));
    }
    sent
}

/// One of: a flipped bit, a byte, a cut, an insertion, a copied stretch, a length that promises much.
fn mutate(body: &mut Vec<u8>, random: &mut Random) {
    if body.is_empty() {
        return;
    }
    let at = random.below(body.len() as u64) as usize;
    match random.below(6) {
        0 => body[at] ^= 1 << random.below(8),
        1 => body[at] = random.next() as u8,
        2 => body.truncate(at),
        3 => body.insert(at, random.next() as u8),
        4 => {
            let stretch: Vec<u8> = body[at..].iter().copied().take(64).collect();
            let to = random.below(body.len() as u64) as usize;
            body.splice(to..to, stretch);
        }
        _ => drop(body.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x7f])),
    }
}

#[test]
fn bombs_are_refused_for_good_and_take_no_more_memory_than_the_limits() {
    let world = World::new();
    let service = world.serve();
    let good = encode(&[Event::numbered("bomb-01", 1)]);
    service.device().logs(&good).unwrap().expect_status(200);
    let before = service.peak_memory();
    let zeros = vec![0; 256 << 20];
    for (name, compress) in &ENCODINGS[1..] {
        let bomb = compress(&zeros);
        assert!(bomb.len() < zeros.len() / 900, "{name}: about 1000:1, and {} bytes", bomb.len());
        refused(&service, name, name, &bomb);
    }
    drop(zeros);
    refused(&service, "depth of 10,000", "", &deep(10_000));
    refused(&service, "100,000 attributes", "", &wide(100_000));
    for (name, compress) in &ENCODINGS[1..] {
        refused(&service, "compressed depth", name, &compress(&deep(10_000)));
    }
    let grown = service.peak_memory().saturating_sub(before);
    figure(&format!("bombs: memory grew by {} MB, the limit of a body is {} MB", grown >> 20, LIMIT >> 20));
    assert!(grown < 2 * LIMIT, "memory grew by {grown} bytes");

    // Many at once meet the budget of all bodies: whoever does not fit is asked to come again.
    let bomb = ENCODINGS[3].1(&vec![0; 64 << 20]);
    let fates = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let headers = [PROTOBUF, ("content-encoding", "zstd")];
                let answer = service.device().send("POST", "/v1/logs", &headers, &bomb).unwrap();
                assert!([413, 503].contains(&answer.status), "{}", answer.status);
                fates.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(fates.into_inner(), 16);
    let grown = service.peak_memory().saturating_sub(before);
    assert!(grown < MOST_GROWTH, "memory grew by {grown} bytes");
    service.device().logs(&encode(&[Event::numbered("bomb-01", 2)])).unwrap().expect_status(200);
}

/// Refused with 413 and `RESOURCE_EXHAUSTED`, never to come again.
#[track_caller]
fn refused(service: &Service, what: &str, encoding: &str, body: &[u8]) {
    let named = [PROTOBUF, ("content-encoding", encoding)];
    let headers = if encoding.is_empty() { &named[..1] } else { &named[..] };
    let answer = Client::new(service.address(), Some(DEVICE)).send("POST", "/v1/logs", headers, body).unwrap();
    assert_eq!(answer.status, 413, "{what}: {}", answer.text());
    assert_eq!(answer.header("retry-after"), None, "{what}");
    let outcome =
        Grpc::connect(service.address(), Some(DEVICE)).export(LOGS, encoding, body).expect(RESOURCE_EXHAUSTED);
    assert_eq!(outcome.text("grpc-status-details-bin"), "", "{what}");
}

/// A log record whose body is nested `depth` arrays deep, written from the inside.
fn deep(depth: usize) -> Vec<u8> {
    // Backwards, so that nothing is copied: AnyValue.array_value (5) and ArrayValue.values (1).
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..depth {
        prepend(1, &mut reversed);
        prepend(5, &mut reversed);
    }
    // LogRecord.body (5), ScopeLogs.log_records (2), ResourceLogs.scope_logs (2), resource_logs (1).
    for field in [5, 2, 2, 1] {
        prepend(field, &mut reversed);
    }
    reversed.reverse();
    reversed
}

/// A record with `count` attributes, each with a name of its own.
fn wide(count: usize) -> Vec<u8> {
    let mut record = Vec::new();
    for number in 0..count {
        let key = format!("column.{number}");
        // LogRecord.attributes (6): KeyValue.key (1).
        record.extend_from_slice(&[6 << 3 | 2, key.len() as u8 + 2, 1 << 3 | 2, key.len() as u8]);
        record.extend_from_slice(key.as_bytes());
    }
    record.reverse();
    for field in [2, 2, 1] {
        prepend(field, &mut record);
    }
    record.reverse();
    record
}

/// Puts tag and length of a field before what is there, all of it backwards.
fn prepend(field: u8, reversed: &mut Vec<u8>) {
    let mut varint = Vec::new();
    let mut length = reversed.len();
    while length >= 0x80 {
        varint.push(length as u8 | 0x80);
        length >>= 7;
    }
    varint.push(length as u8);
    reversed.extend(varint.iter().rev());
    reversed.push(field << 3 | 2);
}
