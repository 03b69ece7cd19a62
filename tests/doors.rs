//! The doors beside OTLP on the real binary: what was captured from real clients byte for byte, Mozilla's own examples, and the clients.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

use crate::clients::python;
use crate::http::{Answer, Client};
use crate::skip::skipped;
use crate::world::{Service, Start, World, figure, shared, workspace};

const HEAD: &str = "catalogue = \"doors\"\n";

const POLICY: &str = r#"
policy  = "doors"
default = "drop"
notice  = "2026-01"
jurisdiction = { from = "attributes.region", EU = ["DE"] }

[purpose.diagnostics]
description = "Mending faults"
use         = "essential.service.operations.improve"
basis       = { "*" = "notice" }
retain      = "30 days"

[purpose.analytics]
description = "Learning how things are used"
use         = "analytics.reporting"
basis       = { "*" = "consent" }
retain      = "30 days"

[[rule]]
id      = "all"
stream  = "doors"
purpose = "*"
"#;

/// Column, type, and where it comes from.
pub(crate) type Field = (&'static str, &'static str, &'static str);

const SEGMENT: [Field; 4] = [
    ("kind", "string", "attributes.properties.device_type"),
    ("rssi", "i64", "attributes.properties.rssi"),
    ("email", "string", "attributes.traits.email"),
    ("library", "string", "attributes.context.library.name"),
];
pub(crate) const GLEAN: [Field; 5] = [
    ("client", "string", "attributes.client_info.client_id"),
    ("os", "string", "attributes.client_info.os"),
    ("version", "string", "attributes.client_info.app_display_version"),
    ("seq", "i64", "attributes.ping_info.seq"),
    ("reason", "string", "attributes.ping_info.reason"),
];
pub(crate) const CLIENT: &str = "client_info.client_id";

/// A fleet of one stream, `doors`, whose fields are all kept. Sources: name and the attribute that names their subjects;
/// a source's token is `token-of-NAME` unless `tokens` says otherwise.
pub(crate) fn world(events: &[&str], fields: &[Field], sources: &[(&str, &str)]) -> World {
    let world = World::new();
    let mut catalogue = HEAD.to_owned();
    catalogue += "[stream.doors]\ndescription = \"d\"\nowner = \"a@b.example\"\nexpires = \"2999-12-31\"\n";
    for event in events {
        write!(catalogue, "[stream.doors.event.{event:?}]\ndescription = \"d\"\n").unwrap();
    }
    let mut policy = POLICY.to_owned();
    for (column, kind, from) in fields {
        write!(catalogue, "[stream.doors.field.{column}]\ntype = {kind:?}\nfrom = {from:?}\n").unwrap();
        catalogue += "category = \"system.operations\"\nrole = \"plain\"\ndescription = \"d\"\n";
        writeln!(policy, "emit.{column} = {{ op = \"keep\" }}").unwrap();
    }
    let mut document =
        "[source.backend]\ntoken_file = \"tokens/backend.token\"\nroles = [\"officer\", \"operator\"]\n".to_owned();
    for (name, subject) in sources {
        write!(document, "[source.{name}]\ntoken_file = \"tokens/{name}\"\nroles = [\"device\"]\n").unwrap();
        writeln!(document, "subject = \"attributes.{subject}\"").unwrap();
        std::fs::write(world.fleet().join("tokens").join(name), token(name)).unwrap();
    }
    for (name, text) in [("catalogue.toml", catalogue), ("policy.toml", policy), ("sources.toml", document)] {
        std::fs::write(world.fleet().join(name), text).unwrap();
    }
    world
}

/// The captures of Segment were made with this key.
pub(crate) fn token(source: &str) -> String {
    if source == "segment" { "example-write-key".to_owned() } else { format!("token-of-{source}") }
}

fn give(service: &Service, subjects: impl IntoIterator<Item = String>) {
    let notice = json!({ "version": "2026-01", "language": "en" });
    let of = |subject| json!({ "subject": subject, "purposes": { "analytics": "given" }, "notice": notice });
    service.state(&subjects.into_iter().map(of).collect::<Vec<_>>());
}

/// A request as it was captured: its path, its headers but for those that a connection has of its own, its bytes.
struct Captured {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Captured {
    fn load(folder: &Path) -> Vec<Self> {
        let summary = std::fs::read_to_string(folder.join("summary.jsonl")).unwrap();
        summary.lines().map(|line| Self::parse(folder, &serde_json::from_str(line).unwrap())).collect()
    }

    fn parse(folder: &Path, head: &Value) -> Self {
        let path = head["path"].as_str().unwrap().to_owned();
        let name = format!("{:04}.POST.{}.body", head["n"].as_u64().unwrap(), path[1..].replace('/', "_"));
        let pair = |pair: &Value| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned());
        let headers = head["headers"].as_array().unwrap().iter().map(pair);
        let own = ["host", "content-length", "connection"];
        let headers = headers.filter(|(name, _)| !own.contains(&name.to_ascii_lowercase().as_str())).collect();
        Self { path, headers, body: std::fs::read(folder.join(name)).unwrap() }
    }

    fn send(&self, client: &mut Client, base: &str) -> Answer {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        client.send("POST", &format!("{base}{}", self.path), &headers, &self.body).unwrap()
    }

    fn json(&self) -> Value {
        if self.body.first() == Some(&b'{') {
            return serde_json::from_slice(&self.body).unwrap();
        }
        let mut plain = Vec::new();
        #[expect(clippy::disallowed_methods, reason = "capped by take")]
        GzDecoder::new(self.body.as_slice()).take(1 << 20).read_to_end(&mut plain).unwrap();
        serde_json::from_slice(&plain).unwrap()
    }
}

/// Columns of rows as one line each, sorted; nulls are empty.
fn lines(rows: impl IntoIterator<Item = Map<String, Value>>, columns: &[&str]) -> Vec<String> {
    let cell = |row: &Map<String, Value>, column: &str| match row.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let line = |row| columns.iter().map(|column| cell(&row, column)).collect::<Vec<_>>().join("|");
    let mut lines: Vec<String> = rows.into_iter().map(line).collect();
    lines.sort();
    lines
}

/// What stands at a dotted path.
fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(value, |value, key| &value[key])
}

/// The row that a table should have of an event.
fn expected(event: &str, attributes: &Value, fields: &[Field]) -> Map<String, Value> {
    let field = |(column, _, from): &Field| {
        ((*column).to_owned(), at(attributes, from.strip_prefix("attributes.").unwrap()).clone())
    };
    let mut row: Map<String, Value> = fields.iter().map(field).collect();
    row.insert("event".to_owned(), json!(event));
    row
}

#[test]
fn captured_batches_of_segment_are_stored_byte_for_byte_and_once() {
    let Some(folder) = shared("captures/segment") else { return skipped("there are no captures of Segment here") };
    let world = world(&["Device Paired", "identify"], &SEGMENT, &[("segment", "userId")]);
    let service = world.serve();
    give(&service, ["user-0".to_owned(), "user-1".to_owned()]);
    let captured = Captured::load(&folder);
    let mut client = service.client(None);
    for _ in 0..2 {
        for request in &captured {
            let answer = request.send(&mut client, "").expect_status(200);
            assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap(), json!({ "success": true }));
        }
    }
    let bodies: Vec<Value> = captured.iter().map(Captured::json).collect();
    let messages: Vec<&Value> = bodies.iter().flat_map(|body| body["batch"].as_array().unwrap()).collect();
    let row = |message: &&Value| {
        let event = if message["type"] == "track" { &message["event"] } else { &message["type"] };
        expected(event.as_str().unwrap(), message, &SEGMENT)
    };
    let columns = ["event", "kind", "rssi", "email", "library"];
    let all = lines(messages.iter().map(row), &columns);
    let given = messages.iter().filter(|message| ["user-0", "user-1"].contains(&message["userId"].as_str().unwrap()));
    assert_eq!(lines(world.query("select * from diagnostics.doors limit 1000"), &columns), all);
    assert_eq!(
        lines(world.query("select * from analytics.doors limit 1000"), &columns),
        lines(given.map(row), &columns)
    );
    assert!(all.len() > 15, "{}", all.len());
    assert_eq!(service.metric("candor_repeats_total"), captured.len() as u64);
    assert!(service.metric("candor_undeclared_attributes_total") > 0);
    world.totals();
}

#[test]
fn captured_pings_of_glean_are_stored_byte_for_byte_and_once() {
    let Some(folder) = shared("captures/glean") else { return skipped("there are no captures of Glean here") };
    let events = ["org-example-hub.baseline", "org-example-hub.events"];
    let world = world(&events, &GLEAN, &[("hub", CLIENT)]);
    let service = world.serve();
    let captured = Captured::load(&folder);
    let mut client = service.client(None);
    for _ in 0..2 {
        for request in &captured {
            let answer = request.send(&mut client, "/glean/token-of-hub").expect_status(200);
            let rejected = serde_json::from_slice::<Value>(&answer.body).unwrap()["rejected"].clone();
            assert_eq!(rejected, u64::from(request.path.contains("health")), "{}", request.path);
        }
        captured[0].send(&mut client, "/glean/token-of-hut").expect_status(401);
    }
    let rows = captured.iter().filter(|request| !request.path.contains("health")).map(|request| {
        let parts: Vec<&str> = request.path.split('/').collect();
        expected(&format!("{}.{}", parts[2], parts[3]), &request.json(), &GLEAN)
    });
    let columns = ["event", "client", "os", "version", "seq", "reason"];
    let expected = lines(rows, &columns);
    assert_eq!(lines(world.query("select * from diagnostics.doors"), &columns), expected);
    assert_eq!(expected.len(), 3);
    assert_eq!(service.metric("candor_repeats_total"), captured.len() as u64);
    world.totals();
}

/// An example of Mozilla's: its namespace, its type and version, its body.
struct Example {
    namespace: String,
    name: String,
    version: String,
    body: Value,
}

impl Example {
    /// Every one that its schema lets pass.
    fn load(folder: &Path) -> Vec<Self> {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|namespace| namespace.unwrap().path())
            .filter(|namespace| namespace.is_dir())
            .flat_map(|namespace| std::fs::read_dir(namespace).unwrap().map(|file| file.unwrap().path()))
            .filter(|file| file.to_string_lossy().ends_with(".pass.json"))
            .collect();
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Self {
        let mut parts = file.file_name().unwrap().to_str().unwrap().split('.');
        Self {
            namespace: file.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned(),
            name: parts.next().unwrap().to_owned(),
            version: parts.next().unwrap().to_owned(),
            body: serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap(),
        }
    }

    fn event(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    /// Sends it as Glean would; the answer, which is 200.
    fn send(&self, client: &mut Client, number: usize) -> Answer {
        let token = token(self.subject().map_or("desktop", |(source, _)| source));
        let Self { namespace, name, version, body } = self;
        let uuid = format!("{number:08x}-5334-44d9-a217-f91f3396a4df");
        let path = format!("/glean/{token}/submit/{namespace}/{name}/{version}/{uuid}");
        let answer = client.send("POST", &path, &[("content-type", "application/json")], body.to_string().as_bytes());
        answer.unwrap().expect_status(200)
    }

    /// The attribute that names its subject, among those that the sources know.
    fn subject(&self) -> Option<(&'static str, &str)> {
        let found = |(source, key): &(&'static str, &str)| Some((*source, at(&self.body, key).as_str()?));
        SUBJECTS.iter().find_map(found).filter(|(_, subject)| !subject.is_empty())
    }
}

/// A source for each way in which Mozilla's pings name a client.
const SUBJECTS: [(&str, &str); 4] =
    [("glean", CLIENT), ("telemetry", "clientId"), ("desktop", "client_id"), ("messages", "impression_id")];

const MOZILLA: [Field; 9] = [
    ("locale", "string", "attributes.locale"),
    ("release", "string", "attributes.release_channel"),
    ("application", "string", "attributes.application.name"),
    ("system", "string", "attributes.client_info.os"),
    ("vendor", "string", "attributes.environment.build.vendor"),
    ("memory", "i64", "attributes.environment.system.memoryMB"),
    ("cores", "i64", "attributes.environment.system.cpu.cores"),
    ("is_default", "bool", "attributes.environment.settings.isDefaultBrowser"),
    ("profile", "i64", "attributes.profile_creation_date"),
];

#[test]
fn all_of_mozillas_examples_are_accepted_stored_as_declared_and_counted() {
    let Some(folder) = shared("mozilla_pings") else { return skipped("there are no examples of Mozilla's here") };
    let examples: Vec<Example> = Example::load(&folder);
    // Opting out comes last: what its subject sent before is stored.
    let (examples, opting_out): (Vec<_>, Vec<_>) =
        examples.into_iter().partition(|example| example.name != "deletion-request");
    let events: BTreeSet<String> = examples.iter().map(Example::event).collect();
    // Every fifth type of ping stays undeclared.
    let declared: Vec<&str> =
        events.iter().enumerate().filter(|(at, _)| at % 5 != 4).map(|(_, name)| name.as_str()).collect();
    let world = world(&declared, &MOZILLA, &SUBJECTS);
    let service = world.serve();
    let subjects: BTreeSet<String> =
        examples.iter().filter_map(Example::subject).map(|(_, id)| id.to_owned()).collect();
    give(&service, subjects);

    let mut client = service.client(None);
    let (mut stored, mut fates) = (Vec::new(), BTreeMap::<&str, u64>::new());
    for (number, example) in examples.iter().enumerate() {
        let subject = example.subject();
        let answer = example.send(&mut client, number);
        let is_declared = declared.contains(&example.event().as_str());
        let rejected = serde_json::from_slice::<Value>(&answer.body).unwrap()["rejected"].clone();
        assert_eq!(rejected, u64::from(!is_declared), "{}: {}", example.event(), answer.text());
        let fate = match (is_declared, subject) {
            (false, _) => "undeclared",
            (true, None) => "without a subject",
            (true, Some(_)) => {
                stored.push(expected(&example.event(), &example.body, &MOZILLA));
                "stored"
            }
        };
        *fates.entry(fate).or_default() += 1;
    }
    figure(&format!("pings of Mozilla's: {} of {} types: {fates:?}", examples.len(), events.len()));
    assert!(examples.len() > 70 && fates.len() == 3, "{fates:?}");
    let columns: Vec<&str> = [("event", "", "")].iter().chain(&MOZILLA).map(|(column, _, _)| *column).collect();
    for (column, ..) in MOZILLA {
        assert!(stored.iter().any(|row| !row[column].is_null()), "no stored ping has {column}");
    }
    let stored = lines(stored, &columns);
    for purpose in ["analytics", "diagnostics"] {
        assert_eq!(
            lines(world.query(&format!("select * from {purpose}.doors limit 1000")), &columns),
            stored,
            "{purpose}"
        );
    }
    // The account is by source, and there are several.
    for purpose in ["analytics", "diagnostics"] {
        let totals = world.totals();
        let of_purpose = || totals.iter().filter(|total| total.purpose == purpose);
        let dropped = |reason: &str| {
            of_purpose()
                .flat_map(|total| &total.dropped)
                .filter(|(why, _)| why == reason)
                .map(|(_, records)| records)
                .sum::<u64>()
        };
        assert_eq!(of_purpose().map(|total| total.stored).sum::<u64>(), fates["stored"]);
        assert_eq!(dropped("no_subject"), fates["without a subject"]);
        assert_eq!(dropped("undeclared_event"), fates["undeclared"]);
    }
    assert!(service.metric("candor_undeclared_attributes_total") > 100);
    let statements = service.metric("candor_consent_statements_total");
    for (number, example) in (examples.len()..).zip(&opting_out) {
        let answer = example.send(&mut client, number);
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["rejected"], 0, "no event was sent: {}", answer["message"]);
    }
    let withdrawn = service.metric("candor_consent_statements_total") - statements;
    assert_eq!((withdrawn, opting_out.len()), (1, 1), "Mozilla has one example of it");
}

/// Runs `send_by_doors.py`; whether the client is there. It must deliver everything.
fn deliver(python: &Path, arguments: &[&str]) -> bool {
    let script = workspace().join("tests/python/send_by_doors.py");
    let output = Command::new(python).arg(script).args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        skipped(&format!("the Python of CANDOR_TEST_PYTHON lacks a client: {}", said.trim()));
        return false;
    }
    assert!(output.status.success(), "{arguments:?}: {said}");
    true
}

#[test]
fn the_cloudevents_sdk_delivers_in_every_mode() {
    let Some(python) = python() else { return };
    let fields = [("total", "i64", "attributes.data.total"), ("origin", "string", "attributes.source")];
    let world = world(&["com.example.order"], &fields, &[("shop", "subject")]);
    let service = world.serve();
    give(&service, ["customer-1".to_owned()]);
    let url = format!("http://{}/v1/events", service.address());
    for _ in 0..2 {
        if !deliver(&python, &["cloudevents", &url, &token("shop"), "customer-1"]) {
            return;
        }
    }
    let expected: Vec<String> = (1..=5).map(|number| format!("com.example.order|{number}|/shop")).collect();
    assert_eq!(lines(world.query("select * from analytics.doors"), &["event", "total", "origin"]), expected);
    // The second time, each event had another time, and the id that it has.
    assert_eq!(service.metric("candor_repeats_total"), 4);
    world.totals();
}

#[test]
fn the_segment_library_delivers() {
    let Some(python) = python() else { return };
    let world = world(&["Device Paired", "identify", "page"], &SEGMENT, &[("segment", "userId")]);
    let service = world.serve();
    give(&service, ["user-7".to_owned()]);
    let url = format!("http://{}", service.address());
    if !deliver(&python, &["segment", &url, &token("segment"), "user-7"]) {
        return;
    }
    let library = "analytics-python";
    let expected = [
        format!("Device Paired|lamp|-40||{library}"),
        format!("Device Paired|lamp|-41||{library}"),
        format!("Device Paired|lamp|-42||{library}"),
        format!("identify|||jean.dupont@example.com|{library}"),
        format!("page||||{library}"),
    ];
    let rows = world.query("select * from analytics.doors");
    assert_eq!(lines(rows, &["event", "kind", "rssi", "email", "library"]), expected);
    world.totals();
}

#[test]
fn the_segment_library_waits_and_delivers_when_it_is_too_fast() {
    let Some(python) = python() else { return };
    let world = world(&["Device Paired", "identify", "page"], &SEGMENT, &[("segment", "userId")]);
    let slow = [("CANDOR_LIMITS_REQUESTS_PER_SECOND", "1")];
    let service = world.start(&Start { environment: &slow, ..Start::default() }).unwrap();
    let url = format!("http://{}", service.address());
    if !deliver(&python, &["segment-fast", &url, &token("segment"), "user-7"]) {
        return;
    }
    let metrics = service.client(None).get("/metrics").unwrap().text();
    assert!(metrics.contains("route=\"/v1/batch\",status=\"429\""), "nothing was too fast: {metrics}");
    assert_eq!(world.count("select count(*) from diagnostics.doors"), 5);
    world.totals();
}

#[test]
fn the_glean_sdk_delivers_and_opting_out_is_a_withdrawal() {
    let Some(python) = python() else { return };
    let events = ["org-example-hub.baseline", "org-example-hub.events", "org-example-hub.health"];
    let world = world(&events, &GLEAN, &[("hub", CLIENT)]);
    let service = world.serve();
    let url = format!("http://{}/glean/{}", service.address(), token("hub"));
    let folder = world.path("glean");
    let folder = folder.to_str().unwrap();
    if !deliver(&python, &["glean", &url, folder]) {
        return;
    }
    let rows = world.query("select * from diagnostics.doors");
    let client = rows[0]["client"].as_str().unwrap().to_owned();
    assert!(rows.len() >= 3 && rows.iter().all(|row| row["client"] == client.as_str()), "{rows:?}");
    assert_eq!(service.metric("candor_consent_statements_total"), 0);
    // Until now analytics lacked a consent, and diagnostics needed none.
    give(&service, [client.clone()]);
    let ping = |number: u64| {
        let body = json!({ "client_info": { "client_id": client, "os": "Linux" }, "ping_info": { "seq": number } });
        let uuid = format!("{number:08x}-5334-44d9-a217-f91f3396a4df");
        let path = format!("/glean/{}/submit/org-example-hub/baseline/1/{uuid}", token("hub"));
        service.client(None).send("PUT", &path, &[], body.to_string().as_bytes()).unwrap().expect_status(200);
        ["diagnostics", "analytics"].map(|purpose| world.count(&format!("select count(*) from {purpose}.doors")))
    };
    let before = ping(1);
    assert_eq!(before, [rows.len() as u64 + 1, 1]);

    assert!(deliver(&python, &["opt-out", &url, folder]));
    assert_eq!(service.metric("candor_consent_statements_total"), 2);
    let states = world.json(&["consent", "show", &client]);
    let states: Vec<_> = states["rows"].as_array().unwrap().iter().map(|row| row["state"].as_str()).collect();
    assert_eq!(states, [Some("withdrawn"), Some("withdrawn")], "of every purpose");
    assert_eq!(ping(2), before, "the withdrawal is in force");
    world.totals();
}
