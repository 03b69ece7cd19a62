//! `/openapi.json` is valid OpenAPI 3.1, and what really goes over the network fits the schemas that it gives: every status
//! that it has for a door is met, and no answer has another one.

use std::collections::BTreeSet;
use std::process::Command;

use candor_policy::consent::ConsentState::Given;
use serde_json::{Map, Value, json};

use crate::clients::python;
use crate::http::Answer;
use crate::otlp::Event;
use crate::signer::{AGENTS, Signer};
use crate::skip::skipped;
use crate::world::{DEVICE, OFFICER, Service, Start, World, figure, workspace};

/// Bytes of a body that is too large here.
const TOO_LARGE: usize = 4_000;
const LIMITS: [(&str, &str); 2] = [("CANDOR_LIMITS_BODY_BYTES", "2000"), ("CANDOR_LIMITS_BODY_SECONDS", "1")];
/// The folder that a service may make backups in.
const BACKUPS: &str = "CANDOR_STORE_BACKUPS";
const ONE_A_SECOND: [(&str, &str); 2] =
    [("CANDOR_LIMITS_REQUESTS_PER_SECOND", "1"), ("CANDOR_LIMITS_SUBJECT_REQUESTS_PER_SECOND", "1")];

/// Statuses of the document that nothing from outside brings about.
const UNMET: [(&str, &str); 12] = [
    (ERASURE, "503"),
    ("/v1/erasures", "503"),
    ("/v1/flush", "503"),
    ("/readyz", "503"),
    ("/__heartbeat__", "503"),
    ("/v1/subject", "503"),
    ("/v1/subject/head", "503"),
    ("/v1/subject/receipts", "503"),
    ("/log/tile/{level}/{first}", "503"),
    ("/log/tile/{level}/{first}/{second}", "503"),
    ("/log/tile/{level}/{first}/{second}/{third}", "503"),
    ("/log/tile/{level}/{first}/{second}/{third}/{fourth}", "503"),
];

/// What an officer or an operator may send to.
const OPERATED: [&str; 8] =
    ["/v1/consent", "/v1/flush", "/v1/compact", "/v1/expire", "/v1/keys", "/v1/backup", "/v1/erasures", ERASURE];
const ERASURE: &str = "/v1/subject/erasure";
const GLEAN: &str = "/glean/{token}/submit/{app}/{ping}/{version}/{uuid}";

#[test]
fn the_document_is_valid_and_real_bodies_fit_it() {
    let Some(python) = python() else { return };
    let (world, busy) = (World::new(), World::new());
    world.sign();
    let backups = world.path("backups").to_str().unwrap().to_owned();
    let environment = [&LIMITS[..], &[(BACKUPS, &backups)]].concat();
    let service = world.start(&Start { environment: &environment, ..Start::default() }).unwrap();
    let backups = busy.path("backups").to_str().unwrap().to_owned();
    let environment = [&ONE_A_SECOND[..], &[(BACKUPS, &backups)]].concat();
    let slow = busy.start(&Start { environment: &environment, ..Start::default() }).unwrap();
    let document: Value = serde_json::from_slice(&service.client(None).get("/openapi.json").unwrap().body).unwrap();
    let mut cases = Cases::default();
    for path in ["/v1/policy", "/v1/catalogue", "/v1/schemas/consent-record", "/openapi.json"] {
        cases.answer(path, "GET", &service.client(None).get(path).unwrap(), Strict::No);
    }
    let plain = ["/v1/limits", "/v1/keys", "/healthz", "/readyz", "/__heartbeat__", "/__lbheartbeat__", "/__version__"];
    for path in plain {
        cases.answer(path, "GET", &service.client(None).get(path).unwrap(), Strict::Yes);
    }
    for parts in 1..=4 {
        let names = ["{first}", "{second}", "{third}", "{fourth}"];
        let answer = service.client(None).get(&format!("/log/tile/0{}", "/x".repeat(parts))).unwrap();
        let path = format!("/log/tile/{{level}}/{}", names[..parts].join("/"));
        cases.answer(&path, "GET", &answer.expect_status(404), Strict::Yes);
    }
    for door in doors() {
        door.meet(&service, &slow, &mut cases);
    }
    those_that_sign(&service, &slow, &mut cases);
    cases.body("/v1/consent", "POST", &consent());
    // The schemas are no rubber stamps.
    let misspelt = json!({ "subject": "phone-1", "purpose": {}, "notice": { "version": "1", "language": "de" } });
    cases.0.push(json!({ "path": "/v1/consent", "method": "post", "body": misspelt, "valid": false }));

    assert_eq!(cases.unmet(&document), BTreeSet::new(), "the document has statuses that no answer had");
    let file = world.path("openapi.json");
    std::fs::write(&file, json!({ "document": document, "bodies": cases.0 }).to_string()).unwrap();
    let script = workspace().join("tests/python/check_openapi.py");
    let output = Command::new(python).arg(script).arg(&file).output().unwrap();
    if output.status.code() == Some(3) {
        skipped("the Python of CANDOR_TEST_PYTHON has no openapi-spec-validator");
        return;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), cases.0.len().to_string());
    figure(&format!("openapi: {} bodies held against the schemas", cases.0.len()));
}

/// Whether the schema of an answer says what is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strict {
    Yes,
    No,
}

/// Bodies, each with its place in the document.
#[derive(Default)]
struct Cases(Vec<Value>);

impl Cases {
    fn answer(&mut self, path: &str, method: &str, answer: &Answer, strict: Strict) {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let (method, status) = (method.to_lowercase(), answer.status.to_string());
        if let (Strict::Yes, Value::Object(members)) = (strict, &body) {
            let wrong: Map<String, Value> = members.keys().map(|name| (name.clone(), json!([[]]))).collect();
            for wrong in [Value::Object(wrong), json!({}), json!([1])] {
                let case = json!({ "path": path, "method": method, "status": status, "body": wrong, "valid": false });
                self.0.push(case);
            }
        }
        self.0.push(json!({ "path": path, "method": method, "status": status, "body": body }));
    }

    fn body(&mut self, path: &str, method: &str, body: &Value) {
        self.0.push(json!({ "path": path, "method": method.to_lowercase(), "body": body }));
    }

    /// Statuses with a JSON body that the document has and no answer had.
    fn unmet(&self, document: &Value) -> BTreeSet<String> {
        let is_met = |path: &str, method: &str, status: &str| {
            UNMET.contains(&(path, status))
                || self.0.iter().any(|case| {
                    (&case["path"], &case["method"], &case["status"]) == (&json!(path), &json!(method), &json!(status))
                })
        };
        let mut unmet = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let json = &response["content"]["application/json"];
                    if !json.is_null() && !is_met(path, method, status) {
                        unmet.insert(format!("{method} {path} {status}"));
                    }
                }
            }
        }
        unmet
    }
}

/// A route that takes something in, and a request that it takes.
struct Door {
    method: &'static str,
    path: &'static str,
    role: &'static str,
    media_type: &'static str,
    body: Value,
    strict: Strict,
}

/// What only a subject's signature brings about.
fn those_that_sign(service: &Service, busy: &Service, cases: &mut Cases) {
    let mut device = Signer::new(11, 0);
    device.says(service, Given);
    cases.body("/v1/consent", "POST", &serde_json::to_value(&device.statements[0]).unwrap());
    let stray = device.send_statement(service, &device.statement_after(None, 7, Given)).expect_status(409);
    cases.answer("/v1/consent", "POST", &stray, Strict::Yes);
    device.batch(service, &[Event::numbered("", 1)]).send(service, Some(AGENTS)).expect_status(200);
    for path in ["/v1/logs", "/v1/metrics", "/v1/traces"] {
        let headers = [("content-type", "application/json"), ("candor-batch", "5000")];
        let far = device.request(service, "POST", path, &headers, b"{}".to_vec());
        cases.answer(path, "POST", &far.send(service, Some(AGENTS)).expect_status(409), Strict::Yes);
    }
    let stranger = Signer::new(12, 0);
    let headers = [("content-type", "application/json")];
    let nobody = stranger.request(service, "POST", ERASURE, &headers, br#"{"scope":"all"}"#.to_vec());
    cases.answer(ERASURE, "POST", &nobody.send(service, None).expect_status(404), Strict::Yes);
    let given = br#"{"scope":{"purposes":["analytics"]}}"#.to_vec();
    let given = device.request(service, "POST", ERASURE, &headers, given);
    cases.answer(ERASURE, "POST", &given.send(service, None).expect_status(409), Strict::Yes);
    for path in ["/v1/subject", "/v1/subject/head", "/v1/subject/receipts", ERASURE] {
        let zero = device.request(service, "GET", path, &[("candor-batch", "0")], Vec::new());
        let asked = |token| service.client(token).get(path).unwrap();
        let hurried = (0..20).map(|_| busy.client(None).get(path).unwrap()).find(|answer| answer.status == 429);
        for answer in [
            device.get(service, path).expect_status(200),
            zero.send(service, None).expect_status(400),
            asked(None).expect_status(401),
            asked(Some(DEVICE)).expect_status(403),
            stranger.get(service, path).expect_status(404),
            hurried.expect("one request a second"),
        ] {
            cases.answer(path, "GET", &answer, Strict::Yes);
        }
    }
}

fn consent() -> Value {
    json!({
        "subject": "phone-1", "purposes": { "analytics": "given" }, "age_from": 30,
        "notice": { "version": "2026-01", "language": "de" },
    })
}

fn doors() -> Vec<Door> {
    let event = json!({ "specversion": "1.0", "type": "a", "source": "/b", "id": "1", "data": { "total": 1 } });
    let ping = json!({ "client_info": { "client_id": "c" }, "ping_info": { "seq": 1 } });
    let messages = json!({ "batch": [{ "type": "track", "event": "e", "userId": "u", "messageId": "m" }] });
    let door = |method, path, media_type, body| {
        let role = if OPERATED.contains(&path) { OFFICER } else { DEVICE };
        // The messages of OTLP have no JSON Schema, and what became of keys and of a backup is an object there.
        let plain = ["/v1/logs", "/v1/metrics", "/v1/traces", "/v1/keys", "/v1/backup"];
        let strict = if plain.contains(&path) { Strict::No } else { Strict::Yes };
        Door { method, path, role, media_type, body, strict }
    };
    vec![
        door("POST", "/v1/logs", "application/json", json!({ "resourceLogs": [] })),
        door("POST", "/v1/metrics", "application/json", json!({ "resourceMetrics": [] })),
        door("POST", "/v1/traces", "application/json", json!({ "resourceSpans": [] })),
        door("POST", "/v1/events", "application/cloudevents+json", event.clone()),
        door("POST", "/v1/events", "application/cloudevents-batch+json", json!([event])),
        door("POST", "/v1/batch", "application/json", messages),
        door("POST", GLEAN, "application/json", ping.clone()),
        door("PUT", GLEAN, "application/json", ping),
        door("POST", "/v1/consent", "application/json", consent()),
        door("POST", "/v1/consent", "application/json", json!([consent(), consent()])),
        door("POST", "/v1/flush", "", Value::Null),
        door("POST", "/v1/compact", "application/json", json!({ "dry_run": true })),
        door("POST", "/v1/expire", "application/json", json!({ "dry_run": true })),
        door("POST", "/v1/keys", "application/json", json!({ "change": "new", "key": "named/research" })),
        door("POST", "/v1/backup", "application/json", json!({ "name": "monday" })),
        door("POST", ERASURE, "application/json", json!({ "scope": "all" })),
        door("POST", "/v1/erasures", "", Value::Null),
    ]
}

impl Door {
    /// Goes through everything that can come of a request here.
    fn meet(&self, service: &Service, busy: &Service, cases: &mut Cases) {
        let whole = if self.body.is_null() { Vec::new() } else { self.body.to_string().into_bytes() };
        let other = if self.role == DEVICE { OFFICER } else { DEVICE };
        let done = self.send(service, self.role, "", &whole);
        cases.answer(self.path, self.method, &done.expect_status(200), self.strict);
        let mut refused = vec![
            self.send(service, "an-unknown-token", "", &whole).expect_status(401),
            self.send(service, other, "", &whole).expect_status(403),
        ];
        let fast = (0..20).map(|_| self.send(busy, self.role, "", &whole)).find(|answer| answer.status != 200);
        let fast = fast.expect("one request a second");
        assert_eq!(fast.status, if self.path == GLEAN { 503 } else { 429 }, "{}", self.path);
        assert_eq!(fast.header("retry-after"), Some("1"));
        refused.push(fast);
        if !self.body.is_null() {
            cases.0.push(json!({
                "path": self.path, "method": self.method.to_lowercase(), "type": self.media_type, "body": self.body,
            }));
            refused.push(self.send(service, self.role, "", b"{\"no").expect_status(400));
            refused.push(self.send(service, self.role, "", &vec![b' '; TOO_LARGE]).expect_status(413));
            refused.push(self.send(service, self.role, "br", &whole).expect_status(415));
            let (path, headers) = (self.address(self.role, b"{"), [("content-type", self.media_type)]);
            let client = service.client(Some(self.role).filter(|_| self.path != GLEAN));
            refused.push(client.stall(self.method, &path, &headers, b"{", 9).unwrap().expect_status(503));
        }
        for answer in refused {
            cases.answer(self.path, self.method, &answer, Strict::Yes);
        }
    }

    fn send(&self, service: &Service, token: &str, encoding: &str, body: &[u8]) -> Answer {
        let all = [("content-type", self.media_type), ("content-encoding", encoding)];
        let mut headers: Vec<_> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        if self.path == ERASURE {
            headers.push(("candor-subject", "phone-9"));
        }
        let mut client = service.client(Some(token).filter(|_| self.path != GLEAN));
        client.send(self.method, &self.address(token, body), &headers, body).unwrap()
    }

    /// Its path, with the token where that is a part of it. Another ping has another UUID: it alone tells whether it was stored.
    fn address(&self, token: &str, body: &[u8]) -> String {
        let uuid = format!("{:08x}-5334-44d9-a217-f91f3396a4df", body.len());
        let path = self.path.replace("{token}", token).replace("{uuid}", &uuid);
        path.replace("{app}", "hub").replace("{ping}", "baseline").replace("{version}", "1")
    }
}
