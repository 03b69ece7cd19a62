//! Malformed bodies by the thousand at every endpoint and in every codec, and bombs: refused as OTLP asks, in bounded memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::grpc::{Grpc, INVALID_ARGUMENT, LOGS, METRICS, OK, Outcome, RESOURCE_EXHAUSTED, TRACES, framed};
use crate::http::{Answer, Client};
use crate::otlp::{Event, encode, metrics, spans};
use crate::random::Random;
use crate::rpc::{ENCODINGS, Encoding};
use crate::world::{DEVICE, OFFICER, Service, Start, World, figure, workspace};

/// Bodies at each endpoint in each of its forms, uncompressed; and in each of three codings that compress, whose code is the same at
/// every endpoint, so that these make ten thousand more together. `CANDOR_TEST_BODIES=10000` sends that many in each of them.
const BODIES: u64 = 10_000;
const COMPRESSED: u64 = 3_400;
/// Connections at a time, and requests under way on each.
const CONNECTIONS: usize = 24;
const AT_ONCE: u64 = 40;
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

/// Members in snake case beside those in camel case, a point of each kind, exemplars, numbers as texts.
const METRICS_IN_JSON: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"device.id","value":{"stringValue":"demo-phone-01"}}]},
"scope_metrics":[{"scope":{"name":"s","version":"1"},"metrics":[{"name":"phone.app.opened","unit":"1","gauge":{"dataPoints":[
{"attributes":[{"key":"app.package","value":{"stringValue":"a"}}],"timeUnixNano":"1780000000000000000","asInt":"7"}]}},
{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"count":"3","sum":1.5,"bucketCounts":["1",2],"explicitBounds":[0.5]}]}},
{"name":"e","exponentialHistogram":{"dataPoints":[{"scale":1,"zeroCount":"0","positive":{"offset":1,"bucketCounts":["1"]}}]}},
{"name":"s","summary":{"dataPoints":[{"quantileValues":[{"quantile":0.5,"value":1}]}]}}]}]}]}"#;

const TRACES_IN_JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"device.id","value":{"stringValue":"demo-phone-01"}}]},
"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"phone.app.opened","kind":2,
"startTimeUnixNano":"1780000000000000000","endTimeUnixNano":1780000000000000009,"status":{"code":2,"message":"m"},
"attributes":[{"key":"app.package","value":{"stringValue":"a"}}],"events":[{"name":"e","timeUnixNano":"1","attributes":[]}],
"links":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","attributes":[{"key":"k","value":{"boolValue":true}}]}]}]}]}]}"#;

type Header = (&'static str, &'static str);

/// An endpoint in one of its codecs.
struct Door {
    /// Over HTTP a path, in which `ROUND` is another each time; over gRPC a method.
    path: &'static str,
    grpc: bool,
    token: &'static str,
    headers: Vec<Header>,
    encoding: &'static Encoding,
    whole: Vec<u8>,
}

/// A connection to an endpoint.
enum Line {
    Http(Client),
    Grpc(Box<Grpc>),
}

#[test]
fn thousands_of_mutated_bodies_on_each_endpoint_in_every_codec() {
    let mut random = Random::announced("malformed");
    let world = World::new();
    // Hundreds of thousands of refusals have a line each otherwise.
    let start = Start { environment: &[("CANDOR_LOG", "error")], ..Start::default() };
    let mut service = world.start(&start).unwrap();
    service.consent(&["demo-phone-01"], "given");
    let doors = doors();
    for door in doors.iter().filter(|door| door.encoding.0.is_empty()) {
        let fates = door.send(&mut door.connect(&service), vec![door.framed(door.whole.clone())], 0);
        assert!(fates == [200] || fates == [OK], "{}: {fates:?}", door.name());
    }
    let before = service.peak_memory();
    let started = Instant::now();
    let seed = random.next();
    let next = AtomicU64::new(0);
    let fates: Mutex<BTreeMap<String, BTreeMap<i32, u64>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                while let Some(door) = doors.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let of_door = door.storm(&service, &mut Random::new(seed ^ door.seed()));
                    fates.lock().unwrap().insert(door.name(), of_door);
                }
            });
        }
    });
    let grown = service.peak_memory().saturating_sub(before);
    let fates = fates.into_inner().unwrap();
    for (door, fates) in &fates {
        figure(&format!("malformed: {door}: {fates:?}"));
        assert!(fates.len() > 1, "every body at {door} had the same fate");
    }
    let sent: u64 = fates.values().flat_map(BTreeMap::values).sum();
    assert_eq!((fates.len(), sent), (doors.len(), doors.iter().map(Door::bodies).sum()));
    figure(&format!(
        "malformed: {sent} bodies at {} endpoints and codecs in {:?}; memory grew by {} MB",
        doors.len(),
        started.elapsed(),
        grown >> 20
    ));
    assert!(grown < MOST_GROWTH, "memory grew by {grown} bytes");
    assert!(service.is_alive() && !service.log().contains("a bug was met"), "{}", service.log());
    world.totals();
    assert!(service.stop().success());
}

/// Every endpoint that reads a body, in every form and encoding that it takes.
fn doors() -> Vec<Door> {
    let sample = Event::load(&workspace().join("seeds/events/sample.jsonl"));
    let protobuf = [encode(&sample[..2]), metrics(&sample[..2]), spans(&sample[..2])];
    let json = [LOGS_IN_JSON, METRICS_IN_JSON, TRACES_IN_JSON];
    let mut doors = Vec::new();
    for encoding in &ENCODINGS {
        let mut add = |path, grpc, token, headers: &[_], whole: &[u8]| {
            doors.push(Door { path, grpc, token, headers: headers.to_vec(), encoding, whole: whole.to_vec() });
        };
        for (((path, method), protobuf), json) in DOORS.into_iter().zip(&protobuf).zip(json) {
            add(path, false, DEVICE, &[PROTOBUF], protobuf);
            add(path, false, DEVICE, &[JSON], json.as_bytes());
            add(method, true, DEVICE, &[], protobuf);
        }
        for (path, headers, whole) in beside_otlp() {
            add(path, false, DEVICE, headers, whole.as_bytes());
        }
        add("/v1/consent", false, OFFICER, &[JSON], CONSENT.as_bytes());
    }
    doors
}

const CONSENT: &str = r#"{"subject":"phone-0030","purposes":{"analytics":"given","marketing":"refused"},"notice":{"version":"2026-01","language":"de"},"age_from":18,"expires":"2037-01-31"}"#;

/// Path, headers and whole body of each form that is not OTLP's.
fn beside_otlp() -> [(&'static str, &'static [Header], String); 5] {
    let event = r#"{"specversion":"1.0","type":"com.example.order","source":"/shop","id":"1","subject":"s","data":{"total":3}}"#;
    let batch = format!("[{event},{}]", event.replace("\"1\"", "\"2\""));
    let messages =
        r#"{"batch":[{"type":"track","event":"Device Paired","userId":"u","messageId":"m","properties":{"rssi":-4}}]}"#;
    let ping = r#"{"client_info":{"client_id":"c","os":"Linux"},"ping_info":{"end_time":"2026-11-22T17:21+00:00"}}"#;
    let uuid = "/glean/example-token/submit/hub/baseline/1/ROUND-5334-44d9-a217-f91f3396a4df";
    [
        ("/v1/events", &[("content-type", "application/cloudevents+json")], event.to_owned()),
        ("/v1/events", &[("content-type", "application/cloudevents-batch+json")], batch),
        ("/v1/events", &BINARY, r#"{"total":3,"card":{"number":["4111"]}}"#.to_owned()),
        ("/v1/batch", &[JSON], messages.to_owned()),
        (uuid, &[JSON], ping.to_owned()),
    ]
}

/// An event of `CloudEvents` in binary mode.
const BINARY: [Header; 6] = [
    JSON,
    ("ce-specversion", "1.0"),
    ("ce-type", "com.example.order"),
    ("ce-source", "/shop"),
    ("ce-id", "1"),
    ("ce-subject", "s"),
];

impl Door {
    fn name(&self) -> String {
        let form = self.headers.iter().map(|(_, value)| *value).take(2).collect::<Vec<_>>().join(" ");
        let encoding = if self.encoding.0.is_empty() { "identity" } else { self.encoding.0 };
        format!("{} {form} {encoding}", self.path)
    }

    fn bodies(&self) -> u64 {
        let usual = if self.encoding.0.is_empty() { BODIES } else { COMPRESSED };
        std::env::var("CANDOR_TEST_BODIES").ok().and_then(|bodies| bodies.parse().ok()).unwrap_or(usual)
    }

    fn seed(&self) -> u64 {
        self.name().bytes().fold(0, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()))
    }

    /// Fates by status: fine, or the client's fault. Nothing else, and never again.
    fn storm(&self, service: &Service, random: &mut Random) -> BTreeMap<i32, u64> {
        let (mut line, mut fates) = (self.connect(service), BTreeMap::new());
        let all = self.bodies();
        for from in (0..all).step_by(AT_ONCE as usize) {
            let bodies = (from..all.min(from + AT_ONCE)).map(|round| {
                let mut body = self.framed(mutated(&self.whole, self.encoding, round, random));
                if self.grpc && round.is_multiple_of(10) {
                    mutate(&mut body, random);
                }
                body
            });
            let bodies = bodies.collect();
            for fate in self.send(&mut line, bodies, from) {
                *fates.entry(fate).or_default() += 1;
            }
        }
        fates
    }

    fn connect(&self, service: &Service) -> Line {
        if self.grpc {
            return Line::Grpc(Box::new(Grpc::connect(service.address(), Some(self.token))));
        }
        // Where the token is in the path, another one is looked at by nobody.
        Line::Http(service.client(Some(self.token)))
    }

    /// Sends bodies whose numbers begin at `from`, all at once: what each came to.
    fn send(&self, line: &mut Line, bodies: Vec<Vec<u8>>, from: u64) -> Vec<i32> {
        let name = if self.grpc { "grpc-encoding" } else { "content-encoding" };
        let encoding = Some((name, self.encoding.0)).filter(|(_, value)| !value.is_empty());
        let headers: Vec<_> = self.headers.iter().copied().chain(encoding).collect();
        match line {
            Line::Http(client) => {
                let path = |round: u64| self.path.replace("ROUND", &format!("{round:08x}"));
                let requests: Vec<_> = (from..).map(path).zip(bodies).collect();
                let answers = client.pipeline(&headers, &requests).unwrap();
                let fine = |answer: &Answer| [200, 400, 413].contains(&answer.status);
                let odd = answers.iter().find(|answer| !fine(answer));
                assert!(odd.is_none(), "{} from {from}: {odd:?}", self.name());
                answers.iter().map(|answer| i32::from(answer.status)).collect()
            }
            Line::Grpc(grpc) => {
                let outcomes = grpc.calls(self.path, &headers, bodies);
                let fine = |outcome: &Outcome| [OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED].contains(&outcome.code());
                let odd = outcomes.iter().find(|outcome| outcome.http != 200 || !fine(outcome));
                assert!(odd.is_none(), "{} from {from}: {odd:?}", self.name());
                outcomes.iter().map(Outcome::code).collect()
            }
        }
    }

    fn framed(&self, body: Vec<u8>) -> Vec<u8> {
        if self.grpc { framed(!self.encoding.0.is_empty(), &body) } else { body }
    }
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
