//! Log records as in the job of the speed table (`tests/bench`): eleven attributes, about 452 bytes.

use candor_policy::catalogue::{FieldType, Signal};
use candor_policy::key_index::{KeyIndex, Slot};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

use crate::RECORDS;
use crate::stream::{From, pair, resource, stream, text};

/// The fields of the job, in the catalogue's order; the first attribute names the subject as well.
pub(crate) fn keys() -> KeyIndex {
    use FieldType::{F64, I64, String};
    let fields = [
        (String, "client.address"),
        (String, "wifi.bssid"),
        (String, "device.id"),
        (I64, "duration_ms"),
        (String, "account.email"),
        (I64, "battery.level"),
        (String, "message"),
        (String, "app.package"),
        (String, "app.screen"),
        (String, "wifi.ssid"),
        (F64, "battery.temperature_c"),
    ]
    .map(|(kind, key)| (kind, false, From::Attribute(key)));
    let mut stream = stream(&fields, 1);
    stream.attributes.insert("device.id", Slot::Subject);
    stream.subject_per_resource = false;
    KeyIndex::new([(Signal::Logs, "bench.sample", (0, 0))], vec![stream])
}

/// A request whose records belong to `resources` devices.
pub(crate) fn request(resources: usize) -> ExportLogsServiceRequest {
    let per_resource = RECORDS / resources;
    let resource_logs = (0..resources).map(|device| {
        let log_records = (0..per_resource).map(|n| record(device * per_resource + n)).collect();
        ResourceLogs {
            resource: Some(resource(device)),
            scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }
    });
    ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
}

fn record(row: usize) -> LogRecord {
    let packages = ["org.example.mail", "org.example.maps", "org.example.health", "org.example.camera"];
    let screens = ["home", "list", "detail", "settings", "search"];
    let email = format!("user{row:06}@example.com");
    LogRecord {
        time_unix_nano: 1_793_491_200_000_000_000 + row as u64 * 1_000_000,
        event_name: "bench.sample".to_owned(),
        attributes: vec![
            text("device.id", format!("device-{row:08}-4f1c")),
            text("account.email", email.as_str()),
            text("wifi.ssid", format!("home-network-{row:04}")),
            text("wifi.bssid", format!("3c:78:98:c8:{:02x}:{:02x}", row >> 8, row & 255)),
            text("client.address", format!("203.0.113.{}", row % 254 + 1)),
            text("app.package", packages[row * 7 / 3 % 4]),
            text("app.screen", screens[row * 11 / 7 % 5]),
            pair("duration_ms", Value::IntValue((row * 7_919 % 90_000) as i64)),
            pair("battery.level", Value::IntValue((row * 31 % 100) as i64 + 1)),
            pair("battery.temperature_c", Value::DoubleValue(20.0 + (row * 13 % 180) as f64 / 10.0)),
            text("message", format!("could not sync the folder of {email}: connection reset by peer")),
        ],
        ..LogRecord::default()
    }
}
