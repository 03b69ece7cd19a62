//! Logs, metrics and traces of the real OpenTelemetry SDKs, the whole way: sent, decided, pending, sealed, asked for.

use serde_json::{Map, Value, json};

use crate::sdk::{Language, Protocol, Sdk};
use crate::world::{DEVICE, World};

const CATALOGUE: &str = r#"
[stream."phone.load"]
description = "How busy a phone is"
owner       = "phones@acme.example"
expires     = "2999-12-31"
signal      = "metrics"

[stream."phone.load".event."network.sent"]
description = "Bytes sent"
[stream."phone.load".event."battery.level"]
description = "Charge"
[stream."phone.load".event."request.duration"]
description = "How long requests take"
[stream."phone.load".event."frame.time"]
description = "How long frames take"

[stream."phone.calls"]
description = "What a phone waits for"
owner       = "phones@acme.example"
expires     = "2999-12-31"
signal      = "traces"

[stream."phone.calls".event."http.request"]
description = "A request to a server"
"#;

/// Column, type, and where it comes from, of every field of the metrics.
const LOAD: [(&str, &str, &str); 19] = [
    ("value", "f64", "value"),
    ("count", "i64", "count"),
    ("total", "f64", "sum"),
    ("least", "f64", "min"),
    ("most", "f64", "max"),
    ("buckets", "list<i64>", "bucket_counts"),
    ("bounds", "list<f64>", "explicit_bounds"),
    ("scale", "i64", "scale"),
    ("zeros", "i64", "zero_count"),
    ("offset", "i64", "positive.offset"),
    ("positive", "list<i64>", "positive.bucket_counts"),
    ("negative", "list<i64>", "negative.bucket_counts"),
    ("began", "timestamp", "start_time"),
    ("unit", "string", "unit"),
    ("temporality", "string", "temporality"),
    ("monotonic", "bool", "monotonic"),
    ("network", "string", "attributes.network.type"),
    ("meter", "string", "scope.name"),
    ("meter_version", "string", "scope.version"),
];

/// The same of the traces.
const CALLS: [(&str, &str, &str); 15] = [
    ("trace", "string", "trace_id"),
    ("span", "string", "span_id"),
    ("parent", "string", "parent_span_id"),
    ("kind", "string", "kind"),
    ("status", "string", "status_code"),
    ("why", "string", "status_message"),
    ("ended", "timestamp", "end_time"),
    ("duration", "i64", "duration_ns"),
    ("events", "list<string>", "span_events.name"),
    ("event_times", "list<timestamp>", "span_events.time"),
    ("exceptions", "list<string>", "span_events.attributes.exception.type"),
    ("linked", "list<string>", "links.span_id"),
    ("link_why", "list<string>", "links.attributes.why"),
    ("path", "string", "attributes.url.path"),
    ("tracer", "string", "scope.name"),
];

const SENT: u64 = 120;

fn world() -> World {
    let world = World::new();
    let fields = |stream: &str, fields: &[(&str, &str, &str)]| -> String {
        let field = |(column, kind, from): &(&str, &str, &str)| {
            format!(
                "[stream.\"{stream}\".field.{column}]\ntype = \"{kind}\"\nfrom = \"{from}\"\ncategory = \"system.operations\"\n\
                 role = \"plain\"\ndescription = \"A part of it\"\n\n"
            )
        };
        fields.iter().map(field).collect()
    };
    let (load, calls) = (fields("phone.load", &LOAD), fields("phone.calls", &CALLS));
    world.edit("catalogue.toml", |text| [&text, CATALOGUE, &load, &calls].concat());
    let rule = |stream: &str, fields: &[(&str, &str, &str)], special: &str| {
        let keep = |(column, _, _): &(&str, &str, &str)| match *column {
            // The id of a trace joins the rows of a person: under a key.
            "trace" => "emit.trace = { op = \"hmac\", key = \"diagnostics\" }\n".to_owned(),
            column => format!("emit.{column} = {{ op = \"keep\" }}\n"),
        };
        let emit: String = fields.iter().map(keep).collect();
        format!("\n[[rule]]\nid = \"{stream}\"\nstream = \"{stream}\"\npurpose = \"diagnostics\"\n{special}{emit}")
    };
    let time = "emit.time = { op = \"time_floor\", unit = \"hour\" }\n";
    world.edit("policy.toml", |text| [text, rule("phone.load", &LOAD, time), rule("phone.calls", &CALLS, "")].concat());
    world
}

#[test]
fn python_delivers_logs_metrics_and_traces_by_json() {
    deliver(Language::Python, Protocol::Json);
}

#[test]
fn python_delivers_logs_metrics_and_traces_by_protobuf() {
    deliver(Language::Python, Protocol::Protobuf);
}

#[test]
fn python_delivers_logs_metrics_and_traces_by_grpc() {
    deliver(Language::Python, Protocol::Grpc);
}

#[test]
fn javascript_delivers_logs_metrics_and_traces_by_json() {
    deliver(Language::JavaScript, Protocol::Json);
}

#[test]
fn javascript_delivers_logs_metrics_and_traces_by_protobuf() {
    deliver(Language::JavaScript, Protocol::Protobuf);
}

#[test]
fn javascript_delivers_logs_metrics_and_traces_by_grpc() {
    deliver(Language::JavaScript, Protocol::Grpc);
}

/// Whatever the SDK and the protocol: the same rows.
fn deliver(language: Language, protocol: Protocol) {
    let Some(sdk) = Sdk::find(language, protocol) else { return };
    let world = world();
    let service = world.serve();
    let endpoint = format!("http://{}", service.address());
    let refusal = if sdk.is_grpc() { "UNAUTHENTICATED" } else { "401" };
    sdk.batches(&endpoint, "", 2, 2).refused(refusal);
    sdk.signals(&endpoint, "wrong", 2).refused(refusal);
    assert_eq!(world.account(), [(0, 0); 3], "{sdk}");
    service.consent(&["sdk-01"], "given");
    sdk.batches(&endpoint, DEVICE, SENT, 50).delivered();
    sdk.signals(&endpoint, DEVICE, SENT).delivered();

    for when in ["pending", "sealed"] {
        let when = format!("{sdk}, {when}");
        check_apps(&world, &when);
        check_load(&world, &when);
        check_calls(&world, &when);
        service.flush();
    }
    let totals = world.totals();
    let of = |purpose: &str, stream: Option<&str>| {
        let mut lines = totals.iter().filter(|line| line.purpose == purpose && line.stream.as_deref() == stream);
        let line = lines.next().unwrap();
        assert_eq!(lines.next(), None);
        (line.offered, line.stored, line.dropped.clone())
    };
    assert_eq!(of("analytics", Some("phone.app")), (SENT, SENT, vec![]));
    assert_eq!(of("diagnostics", Some("phone.load")), (5, 5, vec![]));
    assert_eq!(of("diagnostics", Some("phone.calls")), (SENT, SENT, vec![]));
    // The counter and the span around the others, which nobody declared.
    assert_eq!(of("diagnostics", None), (2, 0, vec![("undeclared_event".to_owned(), 2)]));
}

fn check_apps(world: &World, when: &str) {
    let rows = world.query("select * from analytics.\"phone.app\"");
    let mut packages: Vec<&str> = rows.iter().map(|row| row["app_package"].as_str().unwrap()).collect();
    packages.sort_unstable();
    let mut sent: Vec<String> = (0..SENT).map(|number| format!("org.example.n{number}")).collect();
    sent.sort();
    assert_eq!(packages, sent, "{when}");
    for row in &rows {
        let [screen, duration, born] = ["screen", "duration_ms", "birth_year"].map(|column| &row[column]);
        assert_eq!((screen, duration, born), (&json!("home"), &json!(1000), &json!(1980)), "{when}");
        assert!(row["time"].as_str().unwrap().ends_with(":00:00Z"), "{when}: {}", row["time"]);
    }
}

fn check_load(world: &World, when: &str) {
    let rows = world.query("select * from diagnostics.\"phone.load\" order by event, network");
    let names: Vec<_> = rows.iter().map(|row| row["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["battery.level", "frame.time", "network.sent", "network.sent", "request.duration"], "{when}");
    for row in &rows {
        assert_eq!((&row["meter"], &row["meter_version"]), (&json!("fleet.load"), &json!("3.1")), "{when}");
        assert!(row["time"].as_str().unwrap().ends_with(":00:00Z"), "{when}: {}", row["time"]);
    }
    let of = |row: &Map<String, Value>, columns: &[&str]| -> Vec<Value> {
        columns.iter().map(|column| row[*column].clone()).collect()
    };
    let number = ["value", "count", "buckets", "network", "unit", "temporality", "monotonic"];
    let expected = [
        (0, json!([0.25, null, null, null, null, null, null])),
        (2, json!([50.0, null, null, "cell", "By", "cumulative", true])),
        (3, json!([1000.0, null, null, "wifi", "By", "cumulative", true])),
    ];
    for (row, expected) in expected {
        assert_eq!(json!(of(&rows[row], &number)), expected, "{when}");
    }
    let summed = ["value", "count", "total", "least", "most", "buckets", "bounds", "scale", "unit", "temporality"];
    let expected = json!([null, 4, 5062.0, 5.0, 5000.0, [2, 1, 1], [10.0, 100.0], null, "ms", "cumulative"]);
    assert_eq!(json!(of(&rows[4], &summed)), expected, "{when}");
    let frame = &rows[1];
    let expected = json!([null, 5, 15.0, 0.0, 8.0, null, null, "ms", "cumulative"]);
    let columns = ["value", "count", "total", "least", "most", "buckets", "bounds", "unit", "temporality"];
    assert_eq!(json!(of(frame, &columns)), expected, "{when}");
    assert_eq!((&frame["zeros"], frame["scale"].is_i64(), frame["offset"].is_i64()), (&json!(1), true, true), "{when}");
    let counts = frame["positive"].as_array().unwrap();
    assert_eq!(counts.iter().filter_map(Value::as_i64).sum::<i64>(), 4, "{when}");
}

fn check_calls(world: &World, when: &str) {
    let rows = world.query("select * from diagnostics.\"phone.calls\" order by path");
    assert_eq!(rows.len() as u64, SENT, "{when}");
    assert!(!rows[0].contains_key("trace"), "only under a key");
    let (trace, parent) = (rows[0]["trace_hmac"].clone(), rows[0]["parent"].clone());
    assert_eq!(parent.as_str().map(str::len), Some(16), "{when}");
    for row in &rows {
        let number: u64 = row["path"].as_str().unwrap().strip_prefix("/orders/").unwrap().parse().unwrap();
        assert_eq!((&row["trace_hmac"], &row["parent"]), (&trace, &parent), "{when}: one trace, one parent");
        assert_eq!((&row["kind"], &row["tracer"]), (&json!("client"), &json!("fleet.calls")), "{when}");
        assert!(row["duration"].as_i64().unwrap() > 0, "{when}");
        assert!(row["ended"].as_str().is_some(), "{when}");
        assert!(row.get("time").is_none_or(Value::is_null), "{when}: no rule reaches the time");
        assert_eq!((&row["linked"], &row["link_why"]), (&json!([parent]), &json!(["retry"])), "{when}");
        let failed = ["status", "why", "events", "exceptions"].map(|column| row[column].clone());
        let expected = if number % 2 == 1 {
            [json!("error"), json!("late"), json!(["exception", "retry"]), json!(["Timeout", null])]
        } else {
            [Value::Null, Value::Null, Value::Null, Value::Null]
        };
        assert_eq!(failed, expected, "{when}");
        assert_eq!(row["event_times"].as_array().map_or(0, Vec::len) as u64, (number % 2) * 2, "{when}");
    }
    let mut spans: Vec<_> = rows.iter().map(|row| row["span"].as_str().unwrap()).collect();
    spans.sort_unstable();
    spans.dedup();
    assert_eq!(spans.len() as u64, SENT, "{when}");
}
