//! Metrics and traces: the same way as logs, each by its own path, with its own names for what must not be sent again.

use axum::body::Body;
use http::{Request, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::world::{Answer, CATALOGUE, Folders, POLICY, World, attribute, body_of, opened, text, token};
use crate::role::Role;
use crate::settings::Limits;

const STREAMS: &str = r#"
[stream."phone.load"]
description = "How busy a phone is"
owner       = "phones@test.example"
expires     = "2999-12-31"
signal      = "metrics"

[stream."phone.load".event."memory.used"]
description = "Memory in use"

[stream."phone.load".field.bytes]
type        = "i64"
from        = "value"
category    = "system.operations"
role        = "plain"
description = "Bytes"

[stream."phone.calls"]
description = "What a phone waits for"
owner       = "phones@test.example"
expires     = "2999-12-31"
signal      = "traces"

[stream."phone.calls".event."call"]
description = "A call to a server"

[stream."phone.calls".field.duration]
type        = "i64"
from        = "duration_ns"
category    = "system.operations"
role        = "plain"
description = "Nanoseconds"

[stream."phone.calls".field.attempt]
type        = "i64"
from        = "attributes.attempt"
category    = "system.operations"
role        = "plain"
description = "Number of the attempt"
"#;

const RULES: &str = r#"
[[rule]]
id      = "load"
stream  = "phone.load"
purpose = "*"
emit.bytes = { op = "keep" }

[[rule]]
id      = "calls"
stream  = "phone.calls"
purpose = "*"
emit.duration = { op = "keep" }
emit.attempt  = { op = "keep" }
"#;

pub(crate) const PATHS: [&str; 3] = ["/v1/logs", "/v1/metrics", "/v1/traces"];

pub(crate) async fn world() -> World {
    let folders = Folders::new();
    folders.write("catalogue.toml", &[CATALOGUE, STREAMS].concat());
    folders.write("policy.toml", &[POLICY, RULES].concat());
    World::with(folders, Limits::default()).await
}

async fn post(world: &World, path: &str, body: Vec<u8>) -> Answer {
    let request = Request::post(path)
        .header("authorization", format!("Bearer {}", token(Role::Device)))
        .header("content-type", "application/x-protobuf");
    world.send(request.body(Body::from(body)).unwrap()).await
}

fn phone() -> Resource {
    let attributes = vec![attribute("device.id", text("phone-1")), attribute("region", text("DE"))];
    Resource { attributes, ..Resource::default() }
}

/// A gauge of these points.
fn metric(name: &str, values: &[number_data_point::Value]) -> Metric {
    let point = |value: &number_data_point::Value| NumberDataPoint {
        time_unix_nano: 1_780_000_000_000_000_000,
        value: Some(*value),
        ..NumberDataPoint::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: values.iter().map(point).collect() }));
    Metric { name: name.to_owned(), data, ..Metric::default() }
}

fn metrics(metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(phone()), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn span(name: &str, attempt: Value) -> Span {
    Span {
        name: name.to_owned(),
        start_time_unix_nano: 1_780_000_000_000_000_000,
        end_time_unix_nano: 1_780_000_000_000_000_500,
        attributes: vec![attribute("attempt", attempt)],
        ..Span::default()
    }
}

fn spans(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(phone()), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_points_are_stored_and_told_apart_by_their_metric() {
    let world = world().await;
    let int = number_data_point::Value::AsInt;
    let good = metrics(vec![metric("memory.used", &[int(1), int(2), int(3)])]);
    assert!(post(&world, "/v1/metrics", good).await.body.is_empty(), "full success is an empty message");
    assert_eq!(world.stored("analytics").await, 3);

    let half = number_data_point::Value::AsDouble(0.5);
    let mixed = metrics(vec![metric("memory.used", &[int(4), half]), metric("phone.app.opened", &[int(5), int(6)])]);
    let answer = post(&world, "/v1/metrics", mixed).await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"].as_bytes()),
        (StatusCode::OK, &&b"application/x-protobuf"[..])
    );
    let told = ExportMetricsServiceResponse::decode(answer.body.as_slice()).unwrap().partial_success.unwrap();
    assert_eq!(told.rejected_data_points, 3);
    assert!(told.error_message.contains("2 data points of metrics that"), "{}", told.error_message);
    assert!(told.error_message.contains("phone.load/bytes 1"), "{}", told.error_message);
    assert_eq!(world.stored("analytics").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_stored_and_told_apart_by_their_name() {
    let world = world().await;
    let body = spans(vec![
        span("call", Value::IntValue(1)),
        span("call", text("first")),
        span("memory.used", Value::IntValue(1)),
        span("call", Value::IntValue(2)),
    ]);
    let answer = post(&world, "/v1/traces", body).await;
    assert_eq!(answer.status, StatusCode::OK);
    let told = ExportTraceServiceResponse::decode(answer.body.as_slice()).unwrap().partial_success.unwrap();
    assert_eq!(told.rejected_spans, 2);
    assert!(told.error_message.contains("1 span of names that"), "{}", told.error_message);
    assert!(told.error_message.contains("phone.calls/attempt 1"), "{}", told.error_message);
    assert_eq!(world.stored("analytics").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_one_of_the_same_signal() {
    let world = world().await;
    // Records without a name, as each signal reads them.
    let body = ExportLogsServiceRequest::decode(
        body_of("phone-1", vec![opentelemetry_proto::tonic::logs::v1::LogRecord::default(); 2]).as_slice(),
    )
    .unwrap();
    let body = body.encode_to_vec();
    let repeats = "candor_repeats_total{source=\"devices\"}";
    let offered = "candor_events_offered_total{source=\"devices\",purpose=\"analytics\"}";
    for (path, so_far) in [("/v1/logs", 2), ("/v1/traces", 4)] {
        assert_eq!(post(&world, path, body.clone()).await.status, StatusCode::OK);
        assert_eq!((world.metric(offered).await, world.metric(repeats).await), (so_far, so_far / 2 - 1), "{path}");
        assert_eq!(post(&world, path, body.clone()).await.status, StatusCode::OK);
        assert_eq!((world.metric(offered).await, world.metric(repeats).await), (so_far, so_far / 2), "{path}");
    }
    let points = metrics(vec![metric("memory.used", &[number_data_point::Value::AsInt(1)])]);
    for repeated in [2, 3] {
        assert_eq!(post(&world, "/v1/metrics", points.clone()).await.status, StatusCode::OK);
        assert_eq!(world.metric(repeats).await, repeated);
    }
    let world = world.restart().await;
    assert_eq!(post(&world, "/v1/metrics", points).await.status, StatusCode::OK);
    assert_eq!(world.metric(repeats).await, 1, "also after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_truncation_and_mutation_of_every_signal_is_answered() {
    let world = world().await;
    let bodies = [
        body_of("phone-1", opened(0, 2)),
        metrics(vec![metric("memory.used", &[number_data_point::Value::AsInt(1)]), metric("x", &[])]),
        spans(vec![span("call", Value::IntValue(1))]),
    ];
    for (path, whole) in PATHS.into_iter().zip(bodies) {
        let mutated = (0..whole.len()).flat_map(|at| {
            [1_u8, 0x80, 0xff].map(|flip| {
                let mut body = whole.clone();
                body[at] ^= flip;
                body
            })
        });
        let truncated = (0..whole.len()).map(|cut| whole[..cut].to_vec());
        let mut refused = 0;
        for body in mutated.chain(truncated) {
            let answer = post(&world, path, body).await;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::BAD_REQUEST => {
                    refused += 1;
                    let request =
                        ["Logs", "Metrics", "Trace"].map(|name| format!("protobuf Export{name}ServiceRequest"));
                    let named = &request[PATHS.iter().position(|known| *known == path).unwrap()];
                    assert!(answer.text().contains(named), "{}", answer.text());
                }
                other => panic!("{other} at {path}"),
            }
        }
        assert!(refused > 20, "{path}: {refused}");
    }
    assert_eq!(world.service.budget.used(), 0, "every lease was given back");
}
