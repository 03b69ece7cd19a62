//! Data points: as many of a sum, a gauge and a histogram.

use candor_policy::catalogue::{FieldType, Place, Signal};
use candor_policy::key_index::{KeyIndex, Slot};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    number_data_point,
};

use crate::RECORDS;
use crate::stream::{From, pair, resource, scope, stream, text};

const TIME: u64 = 1_790_000_000_000_000_000;

pub(crate) fn keys() -> KeyIndex {
    use FieldType::{F64, I64, String, Timestamp};
    let fields = [
        (F64, false, From::Place(Place::Value)),
        (I64, false, From::Place(Place::Count)),
        (F64, false, From::Place(Place::Sum)),
        (I64, true, From::Place(Place::BucketCounts)),
        (F64, true, From::Place(Place::ExplicitBounds)),
        (Timestamp, false, From::Place(Place::StartTime)),
        (String, false, From::Place(Place::Unit)),
        (String, false, From::Attribute("network.type")),
        (String, false, From::Attribute("app.package")),
        (I64, false, From::Attribute("attempt")),
    ];
    let mut stream = stream(&fields, 3);
    stream.resource.insert("device.id", Slot::Subject);
    let events = ["network.bytes", "battery.level", "request.duration"];
    KeyIndex::new((0..).zip(events).map(|(event, name)| (Signal::Metrics, name, (0, event))), vec![stream])
}

fn number(n: usize, value: number_data_point::Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![text("network.type", "wifi"), text("app.package", format!("com.example.app{}", n % 9))],
        start_time_unix_nano: TIME,
        time_unix_nano: TIME + n as u64 * 1_000_003,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn histogram(n: usize) -> HistogramDataPoint {
    let attributes = vec![text("network.type", "wifi"), pair("attempt", Value::IntValue(n as i64 % 3))];
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: TIME,
        time_unix_nano: TIME + n as u64 * 1_000_003,
        count: 120,
        sum: Some(n as f64 * 1.5),
        bucket_counts: (0..16).collect(),
        explicit_bounds: (0..15).map(|bound| f64::from(bound) * 2.5).collect(),
        ..HistogramDataPoint::default()
    }
}

/// As many points of a sum, a gauge and a histogram.
pub(crate) fn request() -> ExportMetricsServiceRequest {
    let third = |first: usize| (first..RECORDS).step_by(3);
    let int = |n: usize| number(n, number_data_point::Value::AsInt(n as i64 * 977));
    let double = |n: usize| number(n, number_data_point::Value::AsDouble(n as f64 / 7.0));
    let sum = Sum { data_points: third(0).map(int).collect(), aggregation_temporality: 2, is_monotonic: true };
    let gauge = Gauge { data_points: third(1).map(double).collect() };
    let durations = Histogram { data_points: third(2).map(histogram).collect(), aggregation_temporality: 2 };
    let metric = |name: &str, unit: &str, data| Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    let metrics = vec![
        metric("network.bytes", "By", Data::Sum(sum)),
        metric("battery.level", "1", Data::Gauge(gauge)),
        metric("request.duration", "s", Data::Histogram(durations)),
    ];
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource(1)), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}
