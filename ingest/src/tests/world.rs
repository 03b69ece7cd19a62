//! A small fleet, a service on it, and requests as clients write them.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use candor_store::clock::Clock;
use candor_store::settings::Settings as StoreSettings;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tower::ServiceExt;

use crate::fleet::Fleet;
use crate::role::Role;
use crate::route;
use crate::serve;
use crate::service::Service;
use crate::settings::{Limits, Settings};

pub(crate) const CATALOGUE: &str = r#"
catalogue = "test-fleet"

[stream."phone.app"]
description = "What the apps of a phone do"
owner       = "phones@test.example"
expires     = "2999-12-31"

[stream."phone.app".event."phone.app.opened"]
description = "An app came to the front"

[stream."phone.app".field.app_package]
type        = "string"
from        = "attributes.app.package"
category    = "user.behavior"
role        = "plain"
description = "Name of the app"

[stream."phone.app".field.battery_level]
type        = "i64"
from        = "attributes.battery.level"
category    = "system.operations"
role        = "plain"
description = "Charge of the battery in percent"
"#;

pub(crate) const POLICY: &str = r#"
policy  = "test-fleet"
default = "drop"
notice  = "2026-01"
jurisdiction = { from = "resource.region", EU = ["DE"], US-CA = ["US-CA"] }

[purpose.diagnostics]
description = "Mending faults"
use         = "essential.service.operations.improve"
basis       = { "*" = "consent" }
retain      = "30 days"

[purpose.analytics]
description = "Learning how devices are used"
use         = "analytics.reporting"
basis       = { "*" = "consent" }
retain      = "30 days"

[[rule]]
id      = "all"
stream  = "phone.app"
purpose = "*"
emit.app_package   = { op = "keep" }
emit.battery_level = { op = "keep" }
"#;

/// What the sources of the fleet say; each role has a source and a token of its own.
pub(crate) fn sources() -> String {
    Role::ALL
        .map(|role| {
            let subject = if role == Role::Device { "subject = \"resource.device.id\"\n" } else { "" };
            format!("[source.{role}s]\ntoken_file = \"tokens/{role}\"\nroles = [\"{role}\"]\n{subject}\n")
        })
        .concat()
}

pub(crate) fn token(role: Role) -> String {
    format!("token-of-{role}")
}

pub(crate) const CONSENTS: &str = concat!(
    r#"{"subject":"phone-1","purposes":{"diagnostics":"given","analytics":"given"},"notice":{"version":"2026-01","language":"de"}}"#,
    "\n\n",
    r#"{"subject":"phone-2","purposes":{"diagnostics":"given"},"notice":{"version":"2026-01","language":"de"}}"#,
    "\n",
);

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct StillClock(pub(crate) AtomicI64);

impl Clock for StillClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A fleet folder and a data folder, gone with it.
pub(crate) struct Folders {
    folder: tempfile::TempDir,
}

impl Folders {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let folders = Self { folder };
        std::fs::create_dir_all(folders.fleet().join("tokens")).unwrap();
        folders.write("catalogue.toml", CATALOGUE);
        folders.write("policy.toml", POLICY);
        folders.write("sources.toml", &sources());
        folders.write("consent.jsonl", CONSENTS);
        for role in Role::ALL {
            folders.write(&format!("tokens/{role}"), &format!("{}\n", token(role)));
        }
        folders
    }

    pub(crate) fn fleet(&self) -> PathBuf {
        self.folder.path().join("fleet")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.fleet().join(name), text).unwrap();
    }

    pub(crate) fn store_settings(&self) -> StoreSettings {
        StoreSettings { data: self.folder.path().join("data"), segment_bytes: 1 << 20, ..StoreSettings::default() }
    }
}

/// A running service without a socket.
pub(crate) struct World {
    pub(crate) folders: Folders,
    pub(crate) service: Arc<Service>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl World {
    pub(crate) async fn open() -> Self {
        Self::with(Folders::new(), Limits::default()).await
    }

    pub(crate) async fn with(folders: Folders, limits: Limits) -> Self {
        let fleet = Fleet::load(&folders.fleet()).unwrap();
        let settings = Settings { limits, ..Settings::default() };
        let clock = Arc::new(StillClock(AtomicI64::new(1_780_000_000_000_000)));
        let service = serve::open(fleet, settings, folders.store_settings(), clock).await.unwrap();
        Self { folders, service }
    }

    pub(crate) async fn restart(self) -> Self {
        let limits = self.service.limits.clone();
        serve::close(self.service).await.unwrap();
        Self::with(self.folders, limits).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = route::router(&self.service).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends logs as a device.
    pub(crate) async fn logs(&self, body: impl Into<Vec<u8>>) -> Answer {
        self.send(post_logs().body(Body::from(body.into())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn consent(&self, json: &str) -> Answer {
        let request = Request::post("/v1/consent")
            .header("authorization", format!("Bearer {}", token(Role::Officer)))
            .header("content-type", "application/json");
        self.send(request.body(Body::from(json.to_owned())).unwrap()).await
    }

    /// The value of a line of `/metrics`, 0 if there is none.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").await.body).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Rows stored for a purpose, as `/metrics` has it.
    pub(crate) async fn stored(&self, purpose: &str) -> u64 {
        self.metric(&format!("candor_events_stored_total{{source=\"devices\",purpose=\"{purpose}\"}}")).await
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// (rejected, message) of a partial success; (0, "") on full success.
    pub(crate) fn partial_success(&self) -> (i64, String) {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/x-protobuf");
        let response = ExportLogsServiceResponse::decode(self.body.as_slice()).unwrap();
        response
            .partial_success
            .map(|partial| (partial.rejected_log_records, partial.error_message))
            .unwrap_or_default()
    }
}

/// A request to `/v1/logs` as a device's exporter writes it.
pub(crate) fn post_logs() -> http::request::Builder {
    Request::post("/v1/logs")
        .header("authorization", format!("Bearer {}", token(Role::Device)))
        .header("content-type", "application/x-protobuf")
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn text(value: &str) -> Value {
    Value::StringValue(value.into())
}

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A record; `number` makes it differ from others.
pub(crate) fn record(event: &str, number: u64, attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord {
        event_name: event.into(),
        time_unix_nano: 1_780_000_000_000_000_000 + number,
        attributes,
        ..LogRecord::default()
    }
}

/// `count` good records.
pub(crate) fn opened(from: u64, count: u64) -> Vec<LogRecord> {
    let level = |number: u64| Value::IntValue((number % 100) as i64);
    let attributes =
        |number| vec![attribute("app.package", text("org.example.maps")), attribute("battery.level", level(number))];
    (from..from + count).map(|number| record("phone.app.opened", number, attributes(number))).collect()
}

/// The body of a request with the records of one device in Germany.
pub(crate) fn body_of(device: &str, records: Vec<LogRecord>) -> Vec<u8> {
    let resource = vec![attribute("device.id", text(device)), attribute("region", text("DE"))];
    let resource_logs = ResourceLogs {
        resource: Some(Resource { attributes: resource, ..Resource::default() }),
        scope_logs: vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }.encode_to_vec()
}
