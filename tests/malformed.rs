//! Malformed bodies by the thousand on every endpoint and encoding, and bombs: refused as OTLP asks, in bounded memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::grpc::{Grpc, INVALID_ARGUMENT, LOGS, OK, RESOURCE_EXHAUSTED, framed};
use crate::http::Client;
use crate::otlp::{Event, encode};
use crate::random::Random;
use crate::rpc::{ENCODINGS, Encoding};
use crate::world::{DEVICE, Service, Start, World, figure, workspace};

/// Bodies on each endpoint and encoding.
const BODIES: u64 = 10_000;
/// What memory may grow by, whatever comes.
const MOST_GROWTH: u64 = 256 << 20;
/// `limits.decompressed_bytes`.
const LIMIT: u64 = 32 << 20;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Members out of order, an escape, nested lists, both ways to write a number.
const LOGS_IN_JSON: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"phone.app.opened","attributes":[
{"value":{"stringValue":"org.example.\u006daps"},"key":"app.package"},{"key":"duration_ms","value":{"intValue":"37"}},
{"key":"location","value":{"kvlistValue":{"values":[{"key":"lat","value":{"doubleValue":48.1e0}},{"key":"lon","value":{"intValue":11}}]}}},
{"key":"tags","value":{"arrayValue":{"values":[{"stringValue":"a"},{},{"bytesValue":"AQI="}]}}}],
"timeUnixNano":1780000000000000000,"traceId":"5b8efff798038103d269b633813fc60c","body":null,"flags":1}]}],
"resource":{"attributes":[{"key":"device.id","value":{"stringValue":"demo-phone-01"}},{"key":"region","value":{"stringValue":"DE"}}]}}]}"#;

#[test]
fn ten_thousand_mutated_bodies_on_each_endpoint_and_encoding() {
    let random = Random::announced("malformed");
    let world = World::new();
    // Tens of thousands of refusals have a line each otherwise.
    let start = Start { environment: &[("CANDOR_LOG", "error")], ..Start::default() };
    let mut service = world.start(&start).unwrap();
    service.consent(&["demo-phone-01"], "given");
    let sample = Event::load(&workspace().join("seeds/events/sample.jsonl"));
    let logs = encode(&sample[..4]);
    service.device().logs(&logs).unwrap().expect_status(200);
    let before = service.peak_memory();
    let fates: BTreeMap<String, BTreeMap<i32, u64>> = std::thread::scope(|scope| {
        let (service, logs) = (&service, &logs);
        let mut running = Vec::new();
        for (at, encoding) in ENCODINGS.iter().enumerate() {
            let mut random = Random::new(random.clone().next() + at as u64);
            running.push(scope.spawn(move || {
                let http = over_http(service, logs, PROTOBUF, encoding, &mut random);
                let rpc = over_grpc(service, logs, encoding, &mut random);
                [(format!("/v1/logs {}", encoding.0), http), (format!("grpc logs {}", encoding.0), rpc)]
            }));
        }
        let mut random = random.clone();
        running.push(scope.spawn(move || {
            let consent = over_consent(service, &mut random);
            let json = over_http(service, LOGS_IN_JSON.as_bytes(), JSON, &ENCODINGS[0], &mut random);
            [("/v1/consent".to_owned(), consent), ("/v1/logs in JSON".to_owned(), json)]
        }));
        running.into_iter().flat_map(|thread| thread.join().expect("no assertion failed")).collect()
    });
    let grown = service.peak_memory().saturating_sub(before);
    for (endpoint, fates) in &fates {
        figure(&format!("malformed: {endpoint}: {fates:?}"));
        assert_eq!(fates.values().sum::<u64>(), BODIES, "{endpoint}");
        assert!(fates.len() > 1, "every body on {endpoint} had the same fate");
    }
    figure(&format!("malformed: memory grew by {} MB", grown >> 20));
    assert!(grown < MOST_GROWTH, "memory grew by {grown} bytes");
    assert!(service.is_alive() && !service.log().contains("a bug was met"), "{}", service.log());
    world.totals();
    assert!(service.stop().success());
}

/// Fates by status: fine, or the client's fault. Nothing else, and never again.
fn over_http(
    service: &Service,
    logs: &[u8],
    content_type: (&str, &str),
    encoding: &Encoding,
    random: &mut Random,
) -> BTreeMap<i32, u64> {
    let mut client = service.device();
    let mut fates = BTreeMap::new();
    let named = [content_type, ("content-encoding", encoding.0)];
    let headers = if encoding.0.is_empty() { &named[..1] } else { &named[..] };
    for round in 0..BODIES {
        let body = mutated(logs, encoding, round, random);
        let answer = client.send("POST", "/v1/logs", headers, &body).unwrap();
        assert!([200, 400, 413].contains(&answer.status), "round {round}: {} {}", answer.status, answer.text());
        *fates.entry(i32::from(answer.status)).or_default() += 1;
    }
    fates
}

fn over_grpc(service: &Service, logs: &[u8], encoding: &Encoding, random: &mut Random) -> BTreeMap<i32, u64> {
    let mut client = Grpc::connect(service.address(), Some(DEVICE));
    let mut fates = BTreeMap::new();
    let named = [("grpc-encoding", encoding.0)];
    let headers = if encoding.0.is_empty() { &named[..0] } else { &named[..] };
    for round in 0..BODIES {
        let mut body = framed(!encoding.0.is_empty(), &mutated(logs, encoding, round, random));
        if round.is_multiple_of(10) {
            mutate(&mut body, random);
        }
        let outcome = client.call(LOGS, headers, &body).unwrap();
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
fn mutated(logs: &[u8], encoding: &Encoding, round: u64, random: &mut Random) -> Vec<u8> {
    let mut body = logs.to_vec();
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
