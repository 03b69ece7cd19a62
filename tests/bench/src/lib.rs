//! The job of the speed table, shared by the floor and the load: requests of 500 records, 11 attributes, about 452 bytes each.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

/// Records in one request.
pub const RECORDS: usize = 500;
/// Requests that differ in their values, at least: with fewer, files would be smaller than those of any fleet.
const TEMPLATES: usize = 64;
/// Times start here (2026-11-01T00:00:00Z), in nanoseconds.
const START: u64 = 1_793_491_200_000_000_000;

/// Requests that differ in every record's time, made by patching the eight bytes of each: the sender costs little.
#[derive(Debug)]
pub struct Requests {
    templates: Vec<Vec<u8>>,
    times: Vec<Vec<usize>>,
    next: u64,
}

impl Requests {
    /// Requests whose records come from `subjects` devices.
    #[must_use]
    pub fn new(subjects: usize) -> Self {
        let count = subjects.div_ceil(RECORDS).max(TEMPLATES);
        let templates: Vec<_> = (0..count).map(|t| template(t, subjects)).collect();
        let times = templates.iter().map(|body| time_offsets(body)).collect();
        Self { templates, times, next: 0 }
    }

    /// The next request's body.
    pub fn next_body(&mut self, body: &mut Vec<u8>) {
        let which = self.next as usize % self.templates.len();
        body.clear();
        body.extend_from_slice(&self.templates[which]);
        for (row, at) in self.times[which].iter().enumerate() {
            let time = START + (self.next * RECORDS as u64 + row as u64) * 1_000_000;
            body[*at..*at + 8].copy_from_slice(&time.to_le_bytes());
        }
        self.next += 1;
    }
}

/// Name of device number `n`.
#[must_use]
pub fn device(n: usize) -> String {
    format!("device-{n:08}-4f1c")
}

fn template(which: usize, subjects: usize) -> Vec<u8> {
    let log_records = (0..RECORDS).map(|row| record(which, (which * RECORDS + row) % subjects, row)).collect();
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
    .encode_to_vec()
}

fn record(which: usize, subject: usize, row: usize) -> LogRecord {
    // The same in service and floor, and no two rows alike.
    let draw = |salt: u64| mix(salt ^ (which as u64) << 32 ^ row as u64);
    let packages = ["org.example.mail", "org.example.maps", "org.example.health", "org.example.camera"];
    let screens = ["home", "list", "detail", "settings", "search"];
    LogRecord {
        time_unix_nano: u64::MAX,
        event_name: "bench.sample".into(),
        attributes: vec![
            text("device.id", device(subject)),
            text("account.email", format!("user{subject:06}@example.com")),
            text("wifi.ssid", format!("home-network-{row:04}")),
            text("wifi.bssid", format!("3c:78:98:c8:{:02x}:{:02x}", row >> 8, row & 255)),
            text("client.address", format!("203.0.113.{}", subject % 254 + 1)),
            text("app.package", packages[draw(1) as usize % 4].into()),
            text("app.screen", screens[draw(2) as usize % 5].into()),
            KeyValue {
                key: "duration_ms".into(),
                value: Some(AnyValue { value: Some(Value::IntValue((draw(3) % 90_000) as i64)) }),
                ..Default::default()
            },
            KeyValue {
                key: "battery.level".into(),
                value: Some(AnyValue { value: Some(Value::IntValue((draw(4) % 100) as i64 + 1)) }),
                ..Default::default()
            },
            KeyValue {
                key: "battery.temperature_c".into(),
                value: Some(AnyValue { value: Some(Value::DoubleValue(20.0 + (draw(5) % 180) as f64 / 10.0)) }),
                ..Default::default()
            },
            text(
                "message",
                format!("could not sync the folder of user{subject:06}@example.com: connection reset by peer"),
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
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Value::StringValue(value)) }), ..Default::default() }
}

/// Where the placeholder times are: `time_unix_nano` is field 1, fixed64 (tag 0x09).
fn time_offsets(body: &[u8]) -> Vec<usize> {
    let mut mark = vec![0x09];
    mark.extend([0xff; 8]);
    let found: Vec<_> = body.windows(9).enumerate().filter(|(_, w)| *w == mark).map(|(at, _)| at + 1).collect();
    assert_eq!(found.len(), RECORDS);
    found
}
