//! The rules a reader of the format page would look for, one by one.

use candor_policy::batch::{RawColumn, Received};
use candor_wire::otlp::protobuf::decode_logs;
use candor_wire::otlp::{DecodeError, DecodeLimits};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::oracle::{Cell, Row, actual};
use crate::spec::{key_index, spec};

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

fn list(pairs: Vec<KeyValue>) -> Value {
    Value::KvlistValue(KeyValueList { values: pairs })
}

fn array(values: impl IntoIterator<Item = Value>) -> Value {
    let values = values.into_iter().map(|value| AnyValue { value: Some(value) }).collect();
    Value::ArrayValue(ArrayValue { values })
}

fn record(event_name: &str, attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord { event_name: event_name.to_owned(), attributes, ..LogRecord::default() }
}

fn request(resource: Vec<KeyValue>, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let resource = Some(Resource { attributes: resource, ..Resource::default() });
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }] }
}

fn decode(resource: Vec<KeyValue>, records: Vec<LogRecord>) -> Received {
    let body = request(resource, records).encode_to_vec();
    decode_logs(&body, &key_index(&spec()), &DecodeLimits::default()).unwrap()
}

fn row(attributes: Vec<KeyValue>) -> Row {
    actual(&decode(Vec::new(), vec![record("phone.app.opened", attributes)])).rows.remove(0)
}

#[test]
fn a_dotted_key_wins_over_the_way_through_lists_wherever_it_stands() {
    let nested = || pair("location", list(vec![pair("lat", Value::DoubleValue(1.0))]));
    let dotted = || pair("location.lat", Value::DoubleValue(2.0));
    let lat = |attributes| row(attributes).fields[2].clone();
    assert_eq!(lat(vec![nested()]), Some(Cell::F64(1.0_f64.to_bits())));
    assert_eq!(lat(vec![nested(), dotted()]), Some(Cell::F64(2.0_f64.to_bits())));
    assert_eq!(lat(vec![dotted(), nested()]), Some(Cell::F64(2.0_f64.to_bits())));
}

#[test]
fn the_first_of_two_equal_keys_wins_and_the_second_is_not_looked_at() {
    let twice = vec![pair("app.package", text("first")), pair("app.package", Value::IntValue(2))];
    assert_eq!(row(twice).fields[0], Some(Cell::Text("first".to_owned())));
}

#[test]
fn a_wrong_type_takes_the_whole_record_and_names_the_first_field() {
    let wrong = vec![pair("duration_ms", text("long")), pair("app.package", Value::IntValue(2))];
    let received = decode(
        Vec::new(),
        vec![record("phone.app.opened", wrong), record("phone.app.opened", vec![pair("app.package", text("fine"))])],
    );
    assert_eq!(received.tally().bad_values, [(0, 1)]);
    assert_eq!(received.tally().bad_fields, [(0, 1, 1)]);
    assert_eq!(actual(&received).rows.len(), 1);
    assert_eq!(received.records(), 2);
}

#[test]
fn a_field_that_the_event_does_not_list_counts_as_undeclared_whatever_its_type() {
    let received = decode(
        Vec::new(),
        vec![record(
            "car.stop",
            vec![
                pair("speed", Value::IntValue(3)),
                pair("location.lat", text("not a number")),
                pair("nobody.asked", text("x")),
            ],
        )],
    );
    assert_eq!(received.tally().undeclared_attributes, 2);
    let rows = actual(&received).rows;
    assert_eq!(rows[0].fields[0], Some(Cell::F64(3.0_f64.to_bits())));
    assert!(rows[0].fields[1..].iter().all(Option::is_none));
}

#[test]
fn an_event_never_sees_a_field_of_its_resource_that_it_does_not_list() {
    let resource = vec![pair("device.id", text("d")), pair("device.model.name", text("P14"))];
    let received = decode(
        resource,
        vec![
            record("phone.app.opened", Vec::new()),
            record("phone.app.crashed", Vec::new()),
            record("phone.app.opened", Vec::new()),
        ],
    );
    let rows = actual(&received).rows;
    assert_eq!(rows[0].fields[8], Some(Cell::Text("P14".to_owned())));
    assert_eq!(rows[1].fields[8], None);
    assert!(rows.iter().all(|row| row.subject == Some(Cell::Text("d".to_owned()))));
    assert_eq!(received.groups()[0].resource, [0, 1, 0]);
    assert!(matches!(received.groups()[0].columns[8], RawColumn::PerResource(_)));
}

#[test]
fn a_wrong_type_in_the_resource_takes_every_record_that_would_carry_it() {
    let resource = vec![pair("device.memory", text("much"))];
    let received = decode(
        resource,
        vec![
            record("phone.app.opened", Vec::new()),
            record("phone.app.closed", Vec::new()),
            record("phone.app.crashed", Vec::new()),
        ],
    );
    assert_eq!(received.tally().bad_fields, [(0, 9, 2)]);
    assert_eq!(actual(&received).rows.len(), 1);
}

#[test]
fn the_event_name_may_be_an_attribute_which_is_then_not_undeclared() {
    let received = decode(
        Vec::new(),
        vec![
            record("", vec![pair("event.name", text("car.brake"))]),
            record("", vec![pair("event.name", Value::IntValue(1))]),
            record("", Vec::new()),
        ],
    );
    assert_eq!(received.groups()[0].stream, 1);
    assert_eq!((received.tally().undeclared_events, received.tally().undeclared_attributes), (2, 0));
}

#[test]
fn time_falls_back_to_the_observed_one_and_rounds_down() {
    let at = |time, observed| LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: observed,
        ..record("car.brake", Vec::new())
    };
    let rows = actual(&decode(
        Vec::new(),
        vec![at(1_999, 5_000), at(0, 5_000), at(0, 0), at(u64::MAX, 0), at(u64::MAX, 5_000)],
    ))
    .rows;
    let times: Vec<_> = rows.iter().map(|row| row.time).collect();
    assert_eq!(times, [Some(1), Some(5), None, None, Some(5)]);
}

#[test]
fn a_list_field_takes_arrays_of_its_type_and_nothing_else() {
    let tags = |value| decode(Vec::new(), vec![record("phone.app.opened", vec![pair("tags", value)])]);
    let list = |values: &[&str]| Some(Cell::List(values.iter().map(|v| Some(Cell::Text((*v).to_owned()))).collect()));
    assert_eq!(actual(&tags(array([text("a"), text("b")]))).rows[0].fields[12], list(&["a", "b"]));
    assert_eq!(actual(&tags(array([]))).rows[0].fields[12], list(&[]));
    for wrong in [text("a"), array([text("a"), Value::IntValue(1)]), array([array([text("a")])])] {
        assert_eq!(tags(wrong).tally().bad_fields, [(0, 12, 1)]);
    }
    let scalar = record("phone.app.opened", vec![pair("app.package", array([text("a")]))]);
    assert_eq!(decode(Vec::new(), vec![scalar]).tally().bad_fields, [(0, 0, 1)]);

    let gap = Value::ArrayValue(ArrayValue { values: vec![AnyValue::default(), AnyValue { value: Some(text("b")) }] });
    let with_gap = actual(&tags(gap)).rows[0].fields[12].clone();
    assert_eq!(with_gap, Some(Cell::List(vec![None, Some(Cell::Text("b".to_owned()))])));
}

#[test]
fn a_list_of_more_elements_than_allowed_is_a_bad_value() {
    let tags = |count| {
        let record = record("phone.app.opened", vec![pair("tags", array((0..count).map(|_| text("x"))))]);
        decode(Vec::new(), vec![record])
    };
    assert!(tags(1_000).tally().bad_values.is_empty());
    let beyond = tags(1_001);
    assert_eq!(beyond.tally().bad_fields, [(0, 12, 1)]);
    assert!(beyond.groups().is_empty());
}

#[test]
fn a_position_needs_both_halves_on_the_globe() {
    let at = |lat: Option<Value>, lon: Option<Value>| {
        let halves = [("location.lat", lat), ("location.lon", lon)];
        let halves = halves.into_iter().filter_map(|(key, value)| Some(pair(key, value?))).collect();
        row(halves).fields[17].clone()
    };
    let double = |value| Some(Value::DoubleValue(value));
    let position = |lat: f64, lon: f64| Some(Cell::Position(lat.to_bits(), lon.to_bits()));
    assert_eq!(at(double(47.5), double(8.5)), position(47.5, 8.5));
    assert_eq!(at(Some(Value::IntValue(-90)), double(180.0)), position(-90.0, 180.0));
    assert_eq!(at(double(90.001), double(8.5)), None);
    assert_eq!(at(double(47.5), double(-180.001)), None);
    assert_eq!(at(double(47.5), double(f64::NAN)), None);
    assert_eq!((at(double(47.5), None), at(None, double(8.5)), at(None, None)), (None, None, None));
    let wrong = vec![pair("location.lat", text("47.5")), pair("location.lon", Value::DoubleValue(8.5))];
    let received = decode(Vec::new(), vec![record("phone.app.opened", wrong)]);
    assert_eq!(received.tally().bad_values, [(0, 1)]);
    // The way through a list, as with any key.
    let nested = vec![pair("location", list(vec![pair("lon", Value::IntValue(2)), pair("lat", Value::IntValue(1))]))];
    assert_eq!(row(nested).fields[17], position(1.0, 2.0));
}

#[test]
fn limits_are_errors_that_name_the_limit() {
    let decode = |request: &ExportLogsServiceRequest, limits: &DecodeLimits| {
        decode_logs(&request.encode_to_vec(), &key_index(&spec()), limits)
    };
    let limits = DecodeLimits { records: 2, attributes: 2, depth: 2, elements: 2 };
    let records = |count| request(Vec::new(), vec![record("x", Vec::new()); count]);
    assert!(decode(&records(2), &limits).is_ok());
    assert_eq!(decode(&records(3), &limits).unwrap_err(), DecodeError::TooMany { what: "records", limit: 2 });

    let attributes = |count| request(Vec::new(), vec![record("x", vec![pair("k", text("v")); count])]);
    assert!(decode(&attributes(2), &limits).is_ok());
    let error = decode(&attributes(3), &limits).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { what: "attributes of one record", limit: 2 });
    let resource = request(vec![pair("k", text("v")); 3], Vec::new());
    let error = decode(&resource, &limits).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { what: "attributes of one resource", limit: 2 });

    let nested = |depth| (0..depth).fold(text("v"), |value, _| list(vec![pair("k", value)]));
    assert!(decode(&request(Vec::new(), vec![record("x", vec![pair("k", nested(2))])]), &limits).is_ok());
    let error = decode(&request(Vec::new(), vec![record("x", vec![pair("k", nested(3))])]), &limits).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { what: "levels of nesting", limit: 2 });
    let message = "the request has more levels of nesting than the 2 that are allowed: send flatter values";
    assert_eq!(error.to_string(), message);
}
