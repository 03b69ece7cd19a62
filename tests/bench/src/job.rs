//! What the records of a request say.

use std::ops::Range;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// The numbers of a record, from a draw. Each has the same length whatever it is, so that it can be patched into a request:
/// three bytes as a varint and five digits, one and two, four characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) duration: u64,
    pub(crate) level: u64,
    /// In tenths of a degree.
    pub(crate) temperature: u64,
}

impl Numbers {
    /// Those of record number `row` of all that are sent.
    pub(crate) const fn of(row: u64) -> Self {
        let draw = mix(row);
        Self {
            duration: 16_384 + (draw & 0xffff_ffff) % 73_616,
            level: 10 + (draw >> 32) % 90,
            temperature: 200 + (draw >> 48) % 180,
        }
    }
}

/// Stands where the time of each record goes: 19 digits, like every time of our days.
pub(crate) const TIME: u64 = 9_123_456_789_012_345_678;

/// Request number `which`: its `records` come from the devices of these numbers.
pub(crate) fn request(which: usize, subjects: &Range<usize>, records: usize) -> ExportLogsServiceRequest {
    let subject = |number: usize| subjects.start + number % subjects.len();
    let log_records =
        (0..records).map(|row| record(which, which * records + row, subject(which * records + row), row)).collect();
    let resource = Resource {
        attributes: vec![text("service.name", "bench-fleet".into()), text("region", "DE".into())],
        ..Resource::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    }
}

fn record(which: usize, number: usize, subject: usize, row: usize) -> LogRecord {
    // The same in service and floor.
    let draw = |salt: u64| mix(salt ^ (which as u64) << 32 ^ row as u64);
    let packages = ["org.example.mail", "org.example.maps", "org.example.health", "org.example.camera"];
    let screens = ["home", "list", "detail", "settings", "search"];
    let account = subject % 1_000_000;
    let numbers = Numbers::of(number as u64);
    LogRecord {
        time_unix_nano: TIME,
        event_name: "bench.sample".into(),
        attributes: vec![
            text("device.id", format!("device-{subject:08}-4f1c")),
            text("account.email", format!("user{account:06}@example.com")),
            text("wifi.ssid", format!("home-network-{row:04}")),
            text("wifi.bssid", format!("3c:78:98:c8:{:02x}:{:02x}", row >> 8, row & 255)),
            text("client.address", format!("203.0.113.{}", subject % 254 + 1)),
            text("app.package", packages[draw(1) as usize % 4].into()),
            text("app.screen", screens[draw(2) as usize % 5].into()),
            attribute("duration_ms", Value::IntValue(numbers.duration as i64)),
            attribute("battery.level", Value::IntValue(numbers.level as i64)),
            attribute("battery.temperature_c", Value::DoubleValue(numbers.temperature as f64 / 10.0)),
            text(
                "message",
                format!("could not sync the folder of user{account:06}@example.com: connection reset by peer"),
            ),
        ],
        ..LogRecord::default()
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): numbers that look random, without a state.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn text(key: &str, value: String) -> KeyValue {
    attribute(key, Value::StringValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}
