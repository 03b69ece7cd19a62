//! Global Privacy Control from outside: what is not known to say no opts out, in an attribute at every door and in a header.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use serde_json::{Value, json};

use crate::doors::{CLIENT, token, world};
use crate::explain::explain;
use crate::otlp::key_value;
use crate::world::{Service, World};

const SUBJECT: &str = "phone-1";
/// How clients say it, and whether that opts out.
const SIGNALS: [(&str, bool); 18] = [
    ("null", false),
    ("false", false),
    ("0", false),
    ("0.0", false),
    ("\"\"", false),
    ("\"0\"", false),
    ("\"False\"", false),
    ("\" false \"", false),
    ("true", true),
    ("1", true),
    ("2", true),
    ("1.0", true),
    ("\"1 \"", true),
    ("\"True\"", true),
    ("\"TRUE\"", true),
    ("\"yes\"", true),
    ("[true]", true),
    ("\"\\u0000\"", true),
];

/// A fleet whose every door has the signal at the same place, and where all is given but what it opts out of.
fn opened() -> (World, Service) {
    let sources = [("otlp", "device"), ("shop", "subject"), ("segment", "userId"), ("hub", CLIENT)];
    let world = world(&["sent", "hub.sent"], &[("n", "i64", "attributes.data.n")], &sources);
    let gpc = "gpc = { from = \"attributes.data.gpc\", opts_out = [\"analytics\"] }\njurisdiction =";
    world.edit("policy.toml", |text| text.replace("jurisdiction =", gpc));
    let service = world.serve();
    let notice = json!({ "version": "2026-01", "language": "en" });
    service.state(&[json!({ "subject": SUBJECT, "purposes": { "analytics": "given" }, "notice": notice })]);
    (world, service)
}

/// The numbers that a purpose has stored.
fn stored(world: &World, purpose: &str) -> Vec<u64> {
    let rows = world.query(&format!("select n from {purpose}.doors order by n limit 1000"));
    rows.iter().map(|row| row["n"].as_u64().unwrap()).collect()
}

fn protobuf(n: u64, signal: &Value) -> Vec<u8> {
    let attributes =
        vec![key_value("device", &json!(SUBJECT)), key_value("data.n", &json!(n)), key_value("data.gpc", signal)];
    let record = LogRecord { event_name: "sent".to_owned(), attributes, ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// The same in OTLP's JSON.
fn otlp_json(n: u64, signal: &Value) -> Value {
    let value = match signal {
        Value::Null => json!({}),
        Value::Bool(on) => json!({ "boolValue": on }),
        Value::String(text) => json!({ "stringValue": text }),
        Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
        Value::Number(number) => json!({ "intValue": number }),
        _ => json!({ "arrayValue": { "values": [{ "boolValue": true }] } }),
    };
    let attributes = json!([
        { "key": "device", "value": { "stringValue": SUBJECT } },
        { "key": "data.n", "value": { "intValue": n } },
        { "key": "data.gpc", "value": value },
    ]);
    json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{ "eventName": "sent", "attributes": attributes }] }] }] })
}

#[test]
fn what_is_not_known_to_say_no_opts_out_at_every_door() {
    let (world, service) = opened();
    let by = |source| service.client(Some(&token(source)));
    let (mut otlp, mut shop, mut segment, mut hub) = (by("otlp"), by("shop"), by("segment"), service.client(None));
    let (mut n, mut kept) = (0, Vec::new());
    for (text, opts_out) in SIGNALS {
        let signal: Value = serde_json::from_str(text).unwrap();
        let data = |n: u64| json!({ "n": n, "gpc": signal });
        otlp.logs(&protobuf(n, &signal)).unwrap().expect_status(200);
        otlp.json("/v1/logs", &otlp_json(n + 1, &signal)).unwrap().expect_status(200);
        let event = json!({
            "specversion": "1.0", "type": "sent", "source": "/s", "id": text, "subject": SUBJECT, "data": data(n + 2),
        });
        let headers = [("content-type", "application/cloudevents+json")];
        shop.send("POST", "/v1/events", &headers, event.to_string().as_bytes()).unwrap().expect_status(200);
        let message =
            json!({ "type": "track", "event": "sent", "userId": SUBJECT, "messageId": text, "data": data(n + 3) });
        segment.json("/v1/batch", &json!({ "batch": [message] })).unwrap().expect_status(200);
        let ping = json!({ "client_info": { "client_id": SUBJECT }, "data": data(n + 4) });
        let path = format!("/glean/{}/submit/hub/sent/1/{n:08x}-5334-44d9-a217-f91f3396a4df", token("hub"));
        hub.json(&path, &ping).unwrap().expect_status(200);
        if !opts_out {
            kept.extend(n..n + 5);
        }
        n += 5;
        let explained = explain(&world, &otlp_json(n, &signal).to_string(), &["--consent", "*=given"]);
        assert_eq!(explained["gpc"], opts_out, "policy explain of {text}");
    }
    assert_eq!(stored(&world, "diagnostics"), (0..n).collect::<Vec<_>>(), "what it does not opt out of");
    assert_eq!(stored(&world, "analytics"), kept);
}

#[test]
fn of_several_signals_in_the_head_one_is_enough() {
    let (world, service) = opened();
    let mut client = service.client(Some(&token("otlp")));
    let heads: [(&[&str], bool); 9] = [
        (&[], false),
        (&["0"], false),
        (&["0", "0"], false),
        (&["1"], true),
        (&["0", "1"], true),
        (&["1", "0"], true),
        (&["1, 1"], true),
        (&["0,1"], true),
        (&["\t1 "], true),
    ];
    let mut kept = Vec::new();
    for (n, (signals, opts_out)) in (0..).zip(heads) {
        let mut headers = vec![("content-type", "application/x-protobuf")];
        headers.extend(signals.iter().map(|signal| ("sec-gpc", *signal)));
        client.send("POST", "/v1/logs", &headers, &protobuf(n, &json!(false))).unwrap().expect_status(200);
        kept.extend(Some(n).filter(|_| !opts_out));
    }
    assert_eq!(stored(&world, "diagnostics").len(), heads.len());
    assert_eq!(stored(&world, "analytics"), kept);
}
