//! What the reader takes and refuses, one by one, with the place that an error names.

use candor_policy::batch::Received;
use candor_wire::otlp::json::decode_logs;
use candor_wire::otlp::{DecodeError, DecodeLimits};

use crate::oracle::{Cell, Row, actual};
use crate::spec::{key_index, spec};

fn decode(body: &str) -> Result<Received, DecodeError> {
    decode_logs(body.as_bytes(), &key_index(&spec()), &DecodeLimits::default())
}

/// A request of one record, "phone.app.opened", with these members besides.
fn record(members: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"eventName":"phone.app.opened",{members}}}]}}]}}]}}"#)
}

fn attribute(key: &str, value: &str) -> String {
    record(&format!(r#""attributes":[{{"key":"{key}","value":{value}}}]"#))
}

fn row(body: &str) -> Row {
    actual(&decode(body).unwrap_or_else(|error| panic!("{error}: {body}"))).rows.remove(0)
}

#[expect(clippy::unnecessary_wraps, reason = "cells of rows are compared with it")]
fn text(value: &str) -> Option<Cell> {
    Some(Cell::Text(value.to_owned()))
}

#[test]
fn integers_and_times_are_numbers_or_strings() {
    for value in ["12", "\"12\"", "12.0", "1.2e1", "\"1.2e1\""] {
        let row = row(&attribute("duration_ms", &format!(r#"{{"intValue":{value}}}"#)));
        assert_eq!(row.fields[1], Some(Cell::I64(12)), "{value}");
    }
    for time in ["1700000000000001999", "\"1700000000000001999\""] {
        for name in ["timeUnixNano", "time_unix_nano", "observedTimeUnixNano"] {
            assert_eq!(row(&record(&format!(r#""{name}":{time}"#))).time, Some(1_700_000_000_000_001), "{name} {time}");
        }
    }
    for number in ["9", "9.0", "\"SEVERITY_NUMBER_INFO\""] {
        assert_eq!(row(&record(&format!(r#""severityNumber":{number}"#))).fields[10], Some(Cell::I64(9)), "{number}");
    }
    assert_eq!(row(&record(r#""severityNumber":"SEVERITY_NUMBER_OF_TOMORROW""#)).fields[10], None);
}

#[test]
fn a_null_value_is_none_whichever_way_it_is_written() {
    for value in ["{}", "null", r#"{"stringValue":null}"#, r#"{"arrayValue":null}"#, r#"{"kvlistValue":null}"#] {
        let received = decode(&attribute("app.package", value)).unwrap();
        let outcome = actual(&received);
        assert_eq!(outcome.rows[0].fields[0], None, "{value}");
        assert!(outcome.tally.bad_values.is_empty(), "{value}");
    }
    assert_eq!(row(&attribute("app.package", r#"{"intValue":null,"stringValue":"x"}"#)).fields[0], text("x"));
    let all_null = r#"{"resourceLogs":[{"resource":null,"scopeLogs":[{"scope":null,"logRecords":null}]}]}"#;
    assert_eq!(decode(all_null).unwrap().records(), 0);
    assert_eq!(decode(r#"{"resourceLogs":null}"#).unwrap().records(), 0);
    assert_eq!(decode("{}").unwrap().records(), 0);
}

#[test]
fn the_resource_may_stand_behind_its_records() {
    let resource = r#""resource":{"attributes":[{"value":{"stringValue":"phone-1"},"key":"device.id"}]}"#;
    let logs = r#""scopeLogs":[{"logRecords":[{"eventName":"car.brake"},{"eventName":"car.brake"}]}]"#;
    let other = r#"{"scopeLogs":[{"logRecords":[{"eventName":"car.brake"}]}]}"#;
    for pair in [format!("{resource},{logs}"), format!("{logs},{resource}")] {
        let rows = actual(&decode(&format!(r#"{{"resourceLogs":[{{{pair}}},{other}]}}"#)).unwrap()).rows;
        let subjects: Vec<_> = rows.into_iter().map(|row| row.subject).collect();
        assert_eq!(subjects, [text("phone-1"), text("phone-1"), None], "{pair}");
    }
}

#[test]
fn strings_with_escapes_live_as_long_as_those_without() {
    let escaped = r#"{"stringValue":"a\"\\\/\b\n\u00e4\ud83d\ude97z"}"#;
    assert_eq!(row(&attribute("app.package", escaped)).fields[0], text("a\"\\/\u{8}\n\u{e4}\u{1f697}z"));
    assert_eq!(row(&attribute("app.\\u0070ackage", r#"{"string\u0056alue":"x"}"#)).fields[0], text("x"));
    let inside = r#"{"kvlistValue":{"values":[{"key":"\u006cat","value":{"doubleValue":1.5}}]}}"#;
    assert_eq!(row(&attribute("location", inside)).fields[2], Some(Cell::F64(1.5_f64.to_bits())));
}

#[test]
fn doubles_keep_their_last_bit_and_have_three_names() {
    for double in
        [0.1_f64, 5e-324, 1.797_693_134_862_315_7e308, 123_456_789.123_456_79, -0.0, f64::MIN_POSITIVE.next_down()]
    {
        for value in [format!("{double:e}"), format!("\"{double:e}\"")] {
            let row = row(&attribute("location.lat", &format!(r#"{{"doubleValue":{value}}}"#)));
            assert_eq!(row.fields[2], Some(Cell::F64(double.to_bits())), "{value}");
        }
    }
    let infinite = row(&attribute("location.lat", r#"{"doubleValue":"-Infinity"}"#));
    assert_eq!(infinite.fields[2], Some(Cell::F64(f64::NEG_INFINITY.to_bits())));
    assert_eq!(row(&attribute("location.lat", r#"{"doubleValue":5}"#)).fields[2], Some(Cell::F64(5_f64.to_bits())));
}

#[test]
fn errors_say_where_and_what_but_never_the_value() {
    let secret = "s3cret";
    for (body, what, at) in [
        (attribute("k", r#"{"intValue":"s3cret"}"#), "an integer of 64 bits", "s3cret\""),
        (attribute("k", r#"{"intValue":"9223372036854775808"}"#), "an integer of 64 bits", "9223372036854775808\""),
        (attribute("k", r#"{"boolValue":"s3cret"}"#), "true or false", "s3cret\""),
        (attribute("k", r#"{"stringValue":["s3cret"]}"#), "a string", "[\"s3cret"),
        (attribute("k", r#"{"bytesValue":"s3cret!"}"#), "base64", "s3cret!\""),
        (attribute("k", r#"{"stringValue":"s3cret","intValue":1}"#), "each member once", "1}"),
        (attribute("k", "\"s3cret\""), "an AnyValue", "s3cret\""),
        (record(r#""traceId":"s3cret""#), "bytes in hex", "s3cret\""),
        (record(r#""flags":4294967296"#), "an unsigned integer of 32 bits", "4294967296"),
        (record(r#""timeUnixNano":-1"#), "an unsigned integer of 64 bits", "-1"),
        (record(r#""eventName":"s3cret""#), "each member once", "s3cret\""),
        (record(r#""attributes":[null]"#), "a KeyValue", "null"),
        (record(r#""attributes":{"s3cret":1}"#), "an array", "{\"s3cret"),
        (record(r#""attributes":["s3cret"]"#), "a KeyValue", "s3cret\""),
        (record(r#""x":nul"#), "valid JSON", "nul"),
        ("[]".to_owned(), "an ExportLogsServiceRequest", "["),
        ("{}x".to_owned(), "valid JSON", "x"),
        (String::new(), "valid JSON", ""),
    ] {
        let error = decode(&body).unwrap_err();
        let DecodeError::Expected { what: found, offset } = error else { panic!("{error}") };
        assert_eq!(found, what, "{body}");
        let start = body.find(at).unwrap();
        assert!((start..=start + at.len() + 1).contains(&offset), "{offset}, not {start}: {body}");
        assert!(!error.to_string().contains(secret), "{error}");
    }
}

#[test]
fn an_error_in_what_had_to_wait_names_its_place_in_the_body() {
    let body = "{\"resourceLogs\":[\n{\"scopeLogs\":[\n{\"logRecords\":[{\"flags\":true}]}],\"resource\":{}}]}";
    let DecodeError::Expected { what, offset } = decode(body).unwrap_err() else { panic!("expected") };
    assert_eq!(what, "an unsigned integer of 64 bits");
    let start = body.find("true").unwrap();
    assert!((start..=start + 4).contains(&offset), "{offset}, not {start}");
}

#[test]
fn limits_are_those_of_protobuf() {
    let limits = DecodeLimits { records: 2, attributes: 2, depth: 2, ..DecodeLimits::default() };
    let decode = |body: &str| decode_logs(body.as_bytes(), &key_index(&spec()), &limits);
    let records = |count| {
        let records = vec!["{}"; count].join(",");
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#)
    };
    assert!(decode(&records(2)).is_ok());
    assert_eq!(decode(&records(3)).unwrap_err(), DecodeError::TooMany { what: "records", limit: 2 });

    let attributes = |count| vec!["{}"; count].join(",");
    assert!(decode(&record(&format!(r#""attributes":[{}]"#, attributes(2)))).is_ok());
    let error = decode(&record(&format!(r#""attributes":[{}]"#, attributes(3)))).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { what: "attributes of one record", limit: 2 });
    let resource = format!(r#"{{"resourceLogs":[{{"resource":{{"attributes":[{}]}}}}]}}"#, attributes(3));
    let error = decode(&resource).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { what: "attributes of one resource", limit: 2 });

    for (open, close) in
        [(r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}"), (r#"{"arrayValue":{"values":["#, "]}}")]
    {
        let nested = |depth| format!("{}{{}}{}", open.repeat(depth), close.repeat(depth));
        for key in ["k", "location"] {
            assert!(decode(&attribute(key, &nested(2))).is_ok());
            let error = decode(&attribute(key, &nested(3))).unwrap_err();
            assert_eq!(error, DecodeError::TooMany { what: "levels of nesting", limit: 2 });
        }
    }
}

#[test]
fn ten_thousand_levels_are_an_error_wherever_they_are() {
    const LEVELS: usize = 10_000;
    let kvlist = r#"{"kvlistValue":{"values":[{"value":"#.repeat(LEVELS) + "{}" + &"}]}}".repeat(LEVELS);
    let array = r#"{"arrayValue":{"values":["#.repeat(LEVELS) + "{}" + &"]}}".repeat(LEVELS);
    let unlimited = DecodeLimits { depth: usize::MAX, ..DecodeLimits::default() };
    for value in [kvlist, array] {
        for body in [attribute("k", &value), attribute("location", &value), record(&format!(r#""body":{value}"#))] {
            for limits in [DecodeLimits::default(), unlimited] {
                let error = decode_logs(body.as_bytes(), &key_index(&spec()), &limits).unwrap_err();
                assert!(matches!(error, DecodeError::TooMany { what: "levels of nesting", .. }), "{error}");
            }
        }
    }
    let unknown = "[".repeat(LEVELS) + &"]".repeat(LEVELS);
    for body in [record(&format!(r#""unknown":{unknown}"#)), format!(r#"{{"unknown":{unknown}}}"#)] {
        let error = decode(&body).unwrap_err();
        assert_eq!(error, DecodeError::TooMany { what: "levels of nesting", limit: 127 });
    }
    assert!(decode(&record(&format!(r#""unknown":{}{}"#, "[".repeat(100), "]".repeat(100)))).is_ok());
    // Never closed: serde_json finds that out before the depth is looked at.
    assert!(decode(&"[".repeat(LEVELS)).is_err());
    assert!(decode(&record(&format!(r#""unknown":{}"#, "[".repeat(LEVELS)))).is_err());
}
