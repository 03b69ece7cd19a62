//! Bodies that were made to hurt: no panic, no endless walk, and no more memory than the body and the limits allow.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use candor_policy::batch::Received;
use candor_policy::catalogue::{FieldType, Place, Signal};
use candor_policy::key_index::{FieldKey, KeyIndex, KeyTable, Slot, StreamKeys};
use candor_wire::otlp::json;
use candor_wire::otlp::protobuf::{decode_logs, decode_metrics, decode_traces};
use candor_wire::otlp::{DecodeError, DecodeLimits};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The allocator counts for the whole process: one measurement at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const LEVELS: usize = 10_000;

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has said so; the next one may measure all the same.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of the field that is a list.
const LIST: u16 = 40;

fn keys() -> KeyIndex {
    let mut attributes = KeyTable::default();
    let mut resource = KeyTable::default();
    let mut fields: Vec<FieldKey> =
        (0..40).map(|at| FieldKey { kind: FieldType::String, list: false, per_resource: at % 2 == 1 }).collect();
    for field in 0..40 {
        let table = if field % 2 == 1 { &mut resource } else { &mut attributes };
        table.insert(&format!("a.b.c.f{field}"), Slot::Field(field));
    }
    attributes.insert("list", Slot::Field(LIST));
    fields.push(FieldKey { kind: FieldType::I64, list: true, per_resource: false });
    resource.insert("id", Slot::Subject);
    let stream = StreamKeys {
        name: "s".into(),
        event_fields: vec![vec![true; fields.len()]],
        fields,
        attributes,
        resource,
        subject_per_resource: true,
        jurisdiction_per_resource: true,
        gpc_per_resource: true,
        ..StreamKeys::default()
    };
    let events = Signal::ALL.map(|signal| (signal, "e", (signal as u16, 0)));
    KeyIndex::new(events, vec![stream, list_stream(Place::PositiveBucketCounts), list_stream(Place::SpanEventsName)])
}

/// A stream with lists from a place and from the attributes of span events, and a field from the scope.
fn list_stream(place: Place) -> StreamKeys {
    let mut stream = StreamKeys { name: "lists".into(), event_fields: vec![vec![true; 20]], ..StreamKeys::default() };
    for field in 0..20 {
        let kind = if place == Place::SpanEventsName { FieldType::String } else { FieldType::I64 };
        stream.fields.push(FieldKey { kind, list: field < 19, per_resource: false });
        match field {
            0 => stream.places.insert(place, Slot::Field(field)),
            19 => stream.scope_attributes.insert("s", Slot::Field(field)),
            _ => stream.span_event_attributes.insert(&format!("k{field}"), Slot::Field(field)),
        }
    }
    stream
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn message(tag: u8, content: &[u8]) -> Vec<u8> {
    [vec![tag << 3 | 2], varint(content.len() as u64), content.to_vec()].concat()
}

type Decode = fn(&[u8], &KeyIndex, &DecodeLimits) -> Result<Received, DecodeError>;

fn measured(body: &[u8]) -> (Result<Received, DecodeError>, usize) {
    measured_by(decode_logs, body)
}

/// Decodes and says how many bytes that took at its peak; fails if it took long.
fn measured_by(decode: Decode, body: &[u8]) -> (Result<Received, DecodeError>, usize) {
    let keys = keys();
    let limits = DecodeLimits::default();
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let start = Instant::now();
    let received = decode(body, &keys, &limits);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    (received, ALLOCATOR.peak_usage().saturating_sub(before))
}

#[test]
fn lengths_at_the_end_of_the_number_range_allocate_nothing() {
    let _guard = alone();
    let record = |field: &[u8]| message(1, &message(2, &message(2, field)));
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, u64::from(u32::MAX), 1 << 40] {
        for tag in 1..16_u8 {
            let field = [vec![tag << 3 | 2], varint(length)].concat();
            for body in [field.clone(), message(1, &field), message(1, &message(2, &field)), record(&field)] {
                let (received, peak) = measured(&body);
                assert!(received.is_err(), "tag {tag}, length {length}");
                assert!(peak < 16 << 10, "tag {tag}, length {length}: {peak} bytes");
            }
        }
    }
}

#[test]
fn ten_thousand_levels_are_refused_early() {
    let _guard = alone();
    let (mut list, mut array) = (message(1, b"x"), message(1, b"x"));
    for _ in 0..LEVELS {
        list = message(6, &message(1, &message(2, &list)));
        array = message(5, &message(1, &array));
    }
    let groups = [[15 << 3 | 3].repeat(LEVELS), [15 << 3 | 4].repeat(LEVELS)].concat();
    let record = |field: Vec<u8>| message(1, &message(2, &message(2, &field)));
    for body in [record(message(5, &list)), record(message(5, &array)), record(groups.clone()), groups] {
        let (received, peak) = measured(&body);
        assert!(matches!(received, Err(DecodeError::TooMany { what: "levels of nesting", .. })), "{received:?}");
        assert!(peak < 16 << 10, "{peak} bytes");
    }
}

#[test]
fn a_list_of_millions_of_elements_is_a_bad_value_and_takes_no_room() {
    let _guard = alone();
    let empty = message(1, b"").repeat(4_000_000);
    let pair = [message(1, b"list"), message(2, &message(5, &empty))].concat();
    let record = [message(12, b"e"), message(6, &pair)].concat();
    let (received, peak) = measured(&message(1, &message(2, &message(2, &record))));
    assert_eq!(received.unwrap().tally().bad_fields, [(0, LIST, 1)]);
    assert!(peak < 256 << 10, "{peak} bytes");
}

#[test]
fn a_million_empty_records_stop_at_the_limit() {
    let _guard = alone();
    let body = message(1, &message(2, &message(2, &[]).repeat(1_000_000)));
    let (received, peak) = measured(&body);
    assert_eq!(received.unwrap_err(), DecodeError::TooMany { what: "records", limit: 65_536 });
    assert!(peak < 16 << 10, "{peak} bytes");
}

#[test]
fn a_million_attributes_stop_at_the_limit() {
    let _guard = alone();
    let body = message(1, &message(2, &message(2, &message(6, &[]).repeat(1_000_000))));
    let (received, peak) = measured(&body);
    assert_eq!(received.unwrap_err(), DecodeError::TooMany { what: "attributes of one record", limit: 1_024 });
    assert!(peak < 256 << 10, "{peak} bytes");
}

#[test]
fn rows_cost_what_the_limit_on_records_allows_however_sparse_they_are() {
    let _guard = alone();
    // One value in the last row makes its column fill the gap.
    let record = message(2, &message(12, b"e"));
    let last = [message(12, b"e"), message(6, &[message(1, b"a.b.c.f0"), message(2, &message(1, b"v"))].concat())];
    let body = message(1, &message(2, &[record.repeat(65_535), message(2, &last.concat())].concat()));
    let (received, peak) = measured(&body);
    assert_eq!(received.unwrap().records(), 65_536);
    // 20 columns by row at 4 bytes and a bit, doubled by growth, and the fixed columns.
    assert!(peak < 24 << 20, "{peak} bytes");
}

/// The first records say how much room the others will take: no more than the rest of the body could hold.
#[test]
fn records_that_promise_much_cost_no_more_than_the_body() {
    let _guard = alone();
    let record = |text: &[u8]| {
        let pair = [message(1, b"a.b.c.f0"), message(2, &message(1, text))].concat();
        message(2, &[message(12, b"e"), message(6, &pair)].concat())
    };
    let undeclared = message(2, &message(12, &vec![b'x'; 8 << 20]));
    for text in [1, 100, 10_000] {
        let body = message(1, &message(2, &[record(&vec![b'v'; text]).repeat(17), undeclared.clone()].concat()));
        let (received, peak) = measured(&body);
        assert_eq!(received.unwrap().tally().undeclared_events, 1);
        assert!(peak < body.len() * 5 / 4, "{peak} bytes for {} of {text} each", body.len());
    }
}

#[test]
fn resources_without_rows_cost_nothing() {
    let _guard = alone();
    let body = message(1, &message(1, &message(1, &message(1, b"id")))).repeat(500_000);
    let (received, peak) = measured(&body);
    assert_eq!(received.unwrap().records(), 0);
    assert!(peak < 16 << 10, "{peak} bytes");
}

/// A resource that is looked at again for each record would make a small body a long walk: 1,024 × 65,000 look-ups.
#[test]
fn a_bad_resource_is_judged_once() {
    let _guard = alone();
    let bad = message(1, &[message(1, b"a.b.c.f1"), message(2, &[2 << 3, 1])].concat());
    let other = message(1, &[message(1, b"undeclared"), message(2, &message(1, b"v"))].concat());
    let resource = message(1, &[bad, other.repeat(1_000)].concat());
    let record = message(2, &message(12, b"e"));
    let body = message(1, &[resource, message(2, &record.repeat(65_000))].concat());
    let (received, peak) = measured(&body);
    let received = received.unwrap();
    assert_eq!(received.tally().bad_fields, [(0, 1, 65_000)]);
    assert_eq!(received.tally().undeclared_attributes, 1_000);
    assert!(peak < 512 << 10, "{peak} bytes");
}

/// Lists inside lists under a declared prefix are walked again at each level that the catalogue declares, no deeper.
#[test]
fn wide_lists_under_a_prefix_are_walked_a_fixed_number_of_times() {
    let _guard = alone();
    let pair = |key: &[u8], value: &[u8]| [message(1, key), message(2, value)].concat();
    let leaf = message(1, &pair(b"undeclared", &message(1, b"v")));
    let inner = message(1, &pair(b"b", &message(6, &leaf.repeat(100_000))));
    let record = [message(12, b"e"), message(6, &pair(b"a", &message(6, &inner)))].concat();
    let body = message(1, &message(2, &message(2, &record)));
    let (received, peak) = measured(&body);
    assert_eq!(received.unwrap().tally().undeclared_attributes, 100_000);
    assert!(peak < 256 << 10, "{peak} bytes");
}

fn metric(fields: &[u8]) -> Vec<u8> {
    message(1, &message(2, &message(2, &[&message(1, b"e"), fields].concat())))
}

fn span(fields: &[u8]) -> Vec<u8> {
    message(1, &message(2, &message(2, &[&message(5, b"e"), fields].concat())))
}

#[test]
fn a_million_data_points_stop_at_the_limit_and_replaced_ones_cost_nothing() {
    let _guard = alone();
    let points = message(1, &[]).repeat(1_000_000);
    let (received, peak) = measured_by(decode_metrics, &metric(&message(5, &points)));
    assert_eq!(received.unwrap_err(), DecodeError::TooMany { what: "records", limit: 65_536 });
    assert!(peak < 4 << 20, "{peak} bytes");
    let replaced = [message(5, &points), message(7, &message(1, &[]))].concat();
    let (received, peak) = measured_by(decode_metrics, &metric(&replaced));
    assert_eq!(received.unwrap().records(), 1);
    assert!(peak < 32 << 10, "{peak} bytes");
}

#[test]
fn a_million_buckets_and_exemplars_cost_what_the_limit_on_elements_allows() {
    let _guard = alone();
    let counts = message(2, &vec![1; 1_000_000]);
    let exemplars = message(11, &[]).repeat(1_000_000);
    let point = [message(8, &counts), exemplars].concat();
    let (received, peak) = measured_by(decode_metrics, &metric(&message(10, &message(1, &point))));
    let received = received.unwrap();
    assert_eq!(received.tally().bad_fields, [(1, 0, 1)]);
    assert_eq!(received.tally().undeclared_attributes, 1_000_000);
    assert!(peak < 256 << 10, "{peak} bytes");
}

#[test]
fn a_million_span_events_and_their_attributes_cost_what_the_limits_allow() {
    let _guard = alone();
    let (received, peak) = measured_by(decode_traces, &span(&message(11, &[]).repeat(1_000_000)));
    let received = received.unwrap();
    assert_eq!((received.tally().bad_values.clone(), received.records()), (vec![(2, 1)], 1));
    assert!(peak < 256 << 10, "{peak} bytes");
    let (received, peak) = measured_by(decode_traces, &span(&message(11, &message(3, &[]).repeat(1_000_000))));
    let what = "attributes of one span's events";
    assert_eq!(received.unwrap_err(), DecodeError::TooMany { what, limit: 16_384 });
    assert!(peak < 4 << 20, "{peak} bytes");
}

/// Two bytes of an event take an element in each of 18 lists.
#[test]
fn lists_of_spans_stop_at_a_limit_of_the_request() {
    let _guard = alone();
    let body = span(&message(11, &[]).repeat(1_000)).repeat(1_000);
    let (received, peak) = measured_by(decode_traces, &body);
    let what = "elements in the lists of spans";
    assert_eq!(received.unwrap_err(), DecodeError::TooMany { what, limit: 1 << 20 });
    assert!(peak < 48 << 20, "{peak} bytes");
}

/// As with a bad resource: 1,001 attributes of the scope are looked at once, not for each of 65,000 spans.
#[test]
fn a_bad_scope_is_judged_once() {
    let _guard = alone();
    let bad = message(3, &[message(1, b"s"), message(2, &message(6, &[]))].concat());
    let other = message(3, &message(1, b"undeclared"));
    let scope = message(1, &[bad, other.repeat(1_000)].concat());
    let spans = message(2, &message(5, b"e")).repeat(65_000);
    let (received, peak) = measured_by(decode_traces, &message(1, &message(2, &[scope, spans].concat())));
    let received = received.unwrap();
    assert_eq!(received.tally().bad_fields, [(2, 19, 65_000)]);
    assert_eq!(received.tally().undeclared_attributes, 1_000);
    assert!(peak < 512 << 10, "{peak} bytes");
}

/// A resource is looked at once, however many scopes it has.
#[test]
fn a_resource_of_many_scopes_is_judged_once() {
    let _guard = alone();
    let resource = message(1, &message(1, &message(1, b"undeclared")).repeat(1_000));
    let scopes = message(2, &message(2, &message(12, b"e"))).repeat(65_000);
    let (received, peak) = measured(&message(1, &[resource, scopes].concat()));
    let received = received.unwrap();
    assert_eq!((received.records(), received.tally().undeclared_attributes), (65_000, 1_000));
    assert!(peak < 24 << 20, "{peak} bytes");
}

/// A request in JSON of one scope, whose items these are.
fn in_json(of: &str, items: &str, item: &str) -> Vec<u8> {
    format!(r#"{{"resource{of}":[{{"resource":{{}},"scope{of}":[{{"scope":{{}},"{items}":[{item}]}}]}}]}}"#)
        .into_bytes()
}

fn many(item: &str) -> String {
    vec![item; 1_000_000].join(",")
}

#[test]
fn millions_of_things_in_json_stop_at_their_limits() {
    let _guard = alone();
    let logs = |record: &str| in_json("Logs", "logRecords", record);
    let metric = |point: &str| {
        let metric = format!(r#"{{"name":"e","exponentialHistogram":{{"dataPoints":[{point}]}}}}"#);
        in_json("Metrics", "metrics", &metric)
    };
    let span = |span: &str| in_json("Spans", "spans", &format!(r#"{{"name":"e",{span}}}"#));
    let cases: [(Decode, Vec<u8>, &str); 5] = [
        (json::decode_logs, logs(&many("{}")), "records"),
        (json::decode_logs, logs(&format!(r#"{{"attributes":[{}]}}"#, many("{}"))), "attributes of one record"),
        (json::decode_metrics, metric(&many("{}")), "records"),
        (
            json::decode_traces,
            span(&format!(r#""events":[{{"attributes":[{}]}}]"#, many("{}"))),
            "attributes of one span's events",
        ),
        (
            json::decode_logs,
            logs(&format!(r#"{{"x":{}{}}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000))),
            "levels of nesting",
        ),
    ];
    for (decode, body, limit) in cases {
        let (received, peak) = measured_by(decode, &body);
        assert!(matches!(received, Err(DecodeError::TooMany { what, .. }) if what == limit), "{limit}: {received:?}");
        assert!(peak < 6 << 20, "{limit}: {peak} bytes");
    }
    let counts = format!(r#"{{"positive":{{"bucketCounts":[{}]}}}}"#, many("1"));
    let (received, peak) = measured_by(json::decode_metrics, &metric(&counts));
    assert_eq!(received.unwrap().tally().bad_fields, [(1, 0, 1)]);
    assert!(peak < 256 << 10, "{peak} bytes");
    let (received, peak) = measured_by(json::decode_traces, &span(&format!(r#""events":[{}]"#, many("{}"))));
    assert_eq!(received.unwrap().tally().bad_values, [(2, 1)]);
    assert!(peak < 256 << 10, "{peak} bytes");
}

/// A string with an escape is kept once more, unescaped: never longer than it was, at most doubled by the arena's growth.
#[test]
fn escapes_in_json_cost_no_more_than_the_body() {
    let _guard = alone();
    let text = "\\".repeat(1_000);
    let record = format!(r#"{{"attributes":[{{"key":"{text}","value":{{"stringValue":"{text}"}}}}],"eventName":"e"}}"#);
    let body = in_json("Logs", "logRecords", &vec![record.as_str(); 2_000].join(","));
    let (received, peak) = measured_by(json::decode_logs, &body);
    assert_eq!(received.unwrap().tally().undeclared_attributes, 2_000);
    assert!(peak < body.len() * 3 / 2, "{peak} bytes for {}", body.len());
    let hex = format!(r#"{{"traceId":"{}"}}"#, "0f".repeat(1_000_000));
    let (received, peak) = measured_by(json::decode_logs, &in_json("Logs", "logRecords", &hex));
    assert_eq!(received.unwrap().records(), 1);
    assert!(peak < 3 << 20, "{peak} bytes");
}

/// What must wait for a member behind it is looked at a fixed number of times, however often that happens.
#[test]
fn members_in_the_worst_order_cost_no_more_memory() {
    let _guard = alone();
    let record = vec![r#"{"eventName":"e"}"#; 60_000].join(",");
    let body =
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}],"scope":{{}}}}],"resource":{{}}}}]}}"#);
    let (received, peak) = measured_by(json::decode_logs, body.as_bytes());
    assert_eq!(received.unwrap().records(), 60_000);
    assert!(peak < 24 << 20, "{peak} bytes");
}
