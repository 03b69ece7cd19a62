//! Requests of metrics: every kind of point, with everything that can be absent from one.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{attribute, id, resource, scope, time};

/// A whole request.
pub(crate) fn request() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let scope_metrics = (scope(), vec(metric(), 0..4), "[a-z]{0,3}")
        .prop_map(|(scope, metrics, schema_url)| ScopeMetrics { scope, metrics, schema_url });
    let resource_metrics = (option::weighted(0.9, resource()), vec(scope_metrics, 0..3), "[a-z]{0,3}")
        .prop_map(|(resource, scope_metrics, schema_url)| ResourceMetrics { resource, scope_metrics, schema_url });
    vec(resource_metrics, 0..4).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}

fn metric() -> impl Strategy<Value = Metric> {
    let names = vec!["memory.used", "memory.used", "queue.length", "phone.app.opened", "car.brake", ""];
    let temporality = || prop_oneof![4 => 0..3_i32, 1 => any::<i32>()];
    let data = prop_oneof![
        vec(number(), 0..4).prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (vec(number(), 0..4), temporality(), any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| {
                Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
            }
        ),
        (vec(histogram(), 0..4), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::Histogram(Histogram { data_points, aggregation_temporality })
        }),
        (vec(exponential(), 0..4), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        vec(summary(), 0..4).prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    let metadata = vec(attribute(select(vec!["app.package", "library"])), 0..3);
    (select(names), "[a-z]{0,3}", select(vec!["", "By", "1"]), metadata, option::weighted(0.95, data)).prop_map(
        |(name, description, unit, metadata, data)| Metric {
            name: name.to_owned(),
            description,
            unit: unit.to_owned(),
            metadata,
            data,
        },
    )
}

/// Attributes, start, time, flags and exemplars.
type Plain = (Vec<KeyValue>, u64, u64, u32, Vec<Exemplar>);

fn plain() -> impl Strategy<Value = Plain> {
    let key = select(vec!["app.package", "location.lat", "location", "gpc", "region", "event.name", "undeclared"]);
    let flags = prop_oneof![6 => Just(0), 2 => Just(1), 1 => any::<u32>()];
    (vec(attribute(key), 0..5), time(), time(), flags, vec(exemplar(), 0..2))
}

fn exemplar() -> impl Strategy<Value = Exemplar> {
    let value =
        prop_oneof![any::<f64>().prop_map(exemplar::Value::AsDouble), any::<i64>().prop_map(exemplar::Value::AsInt)];
    (vec(attribute(select(vec!["app.package", "x"])), 0..2), time(), id(), option::of(value)).prop_map(
        |(filtered_attributes, time_unix_nano, id, value)| Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id: id.clone(),
            trace_id: id,
            value,
        },
    )
}

fn number() -> impl Strategy<Value = NumberDataPoint> {
    let value = prop_oneof![
        2 => double().prop_map(number_data_point::Value::AsDouble),
        2 => (-99..99_i64).prop_map(number_data_point::Value::AsInt),
        1 => any::<i64>().prop_map(number_data_point::Value::AsInt),
    ];
    (plain(), option::weighted(0.9, value)).prop_map(|((attributes, start, time, flags, exemplars), value)| {
        NumberDataPoint { attributes, start_time_unix_nano: start, time_unix_nano: time, exemplars, flags, value }
    })
}

fn histogram() -> impl Strategy<Value = HistogramDataPoint> {
    (plain(), (count(), vec(count(), 0..5), vec(double(), 0..5)), summed()).prop_map(
        |((attributes, start, time, flags, exemplars), (count, bucket_counts, explicit_bounds), [sum, min, max])| {
            HistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: time,
                count,
                sum,
                bucket_counts,
                explicit_bounds,
                exemplars,
                flags,
                min,
                max,
            }
        },
    )
}

fn exponential() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    let buckets = || {
        let buckets = (any::<i32>(), vec(count(), 0..5));
        option::of(buckets.prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }))
    };
    let own = (count(), any::<i32>(), count(), double(), buckets(), buckets());
    (plain(), own, summed()).prop_map(|((attributes, start, time, flags, exemplars), own, [sum, min, max])| {
        let (count, scale, zero_count, zero_threshold, positive, negative) = own;
        ExponentialHistogramDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: time,
            count,
            sum,
            scale,
            zero_count,
            positive,
            negative,
            flags,
            exemplars,
            min,
            max,
            zero_threshold,
        }
    })
}

fn summary() -> impl Strategy<Value = SummaryDataPoint> {
    let at = (double(), double()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value });
    (plain(), count(), double(), vec(at, 0..4)).prop_map(
        |((attributes, start, time, flags, _), count, sum, quantile_values)| SummaryDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: time,
            count,
            sum,
            quantile_values,
            flags,
        },
    )
}

fn summed() -> impl Strategy<Value = [Option<f64>; 3]> {
    [option::of(double()), option::of(double()), option::of(double())]
}

/// A count, seldom one that no integer field holds.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..99_u64, 4 => Just(1 << 62), 1 => any::<u64>()]
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![3 => (-9..9_i32).prop_map(f64::from), 1 => any::<f64>()]
}
