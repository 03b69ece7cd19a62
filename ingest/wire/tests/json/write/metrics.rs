//! Metrics.

use candor_policy::batch::Received;
use candor_policy::key_index::KeyIndex;
use candor_wire::otlp::json::decode_metrics;
use candor_wire::otlp::{DecodeError, DecodeLimits};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, SummaryDataPoint, exemplar, number_data_point,
};

use super::{Json, Members, Writer, hex};

const TEMPORALITIES: [(i32, &str); 3] = [
    (0, "AGGREGATION_TEMPORALITY_UNSPECIFIED"),
    (1, "AGGREGATION_TEMPORALITY_DELTA"),
    (2, "AGGREGATION_TEMPORALITY_CUMULATIVE"),
];

impl Json for ExportMetricsServiceRequest {
    fn write(&self, writer: &mut Writer<'_>) -> String {
        writer.request("resource_metrics", &self.resource_metrics, Writer::resource_metrics)
    }

    fn read(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
        decode_metrics(body, keys, limits)
    }
}

impl Writer<'_> {
    fn resource_metrics(&mut self, metrics: &ResourceMetrics) -> String {
        let scopes = self.array(&metrics.scope_metrics, Self::scope_metrics);
        self.of_resource(metrics.resource.as_ref(), ("scope_metrics", scopes), &metrics.schema_url)
    }

    fn scope_metrics(&mut self, metrics: &ScopeMetrics) -> String {
        let items = self.array(&metrics.metrics, Self::metric);
        self.of_scope(metrics.scope.as_ref(), ("metrics", items), &metrics.schema_url)
    }

    fn metric(&mut self, metric: &Metric) -> String {
        let mut members = vec![
            ("name", self.text(&metric.name)),
            ("description", self.text(&metric.description)),
            ("unit", self.text(&metric.unit)),
            ("metadata", self.array(&metric.metadata, Self::key_value)),
        ];
        members.extend(metric.data.as_ref().map(|data| self.data(data)));
        self.object(members)
    }

    fn data(&mut self, data: &Data) -> (&'static str, String) {
        let (name, points, temporality) = match data {
            Data::Gauge(gauge) => ("gauge", self.array(&gauge.data_points, Self::number), None),
            Data::Sum(sum) => ("sum", self.array(&sum.data_points, Self::number), Some(sum.aggregation_temporality)),
            Data::Histogram(histogram) => {
                let points = self.array(&histogram.data_points, Self::histogram);
                ("histogram", points, Some(histogram.aggregation_temporality))
            }
            Data::ExponentialHistogram(histogram) => {
                let points = self.array(&histogram.data_points, Self::exponential);
                ("exponential_histogram", points, Some(histogram.aggregation_temporality))
            }
            Data::Summary(summary) => ("summary", self.array(&summary.data_points, Self::summary), None),
        };
        let mut members = vec![("data_points", points)];
        if let Some(temporality) = temporality {
            members.push(("aggregation_temporality", self.enumeration(temporality, &TEMPORALITIES)));
        }
        if let Data::Sum(sum) = data {
            members.push(("is_monotonic", sum.is_monotonic.to_string()));
        }
        (name, self.object(members))
    }

    fn point(&mut self, attributes: &[KeyValue], start: u64, time: u64, flags: u32) -> Members {
        vec![
            ("attributes", self.array(attributes, Self::key_value)),
            ("start_time_unix_nano", self.integer(start)),
            ("time_unix_nano", self.integer(time)),
            ("flags", flags.to_string()),
        ]
    }

    fn number(&mut self, point: &NumberDataPoint) -> String {
        let mut members = self.point(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
        members.push(("exemplars", self.array(&point.exemplars, Self::exemplar)));
        members.extend(point.value.map(|value| match value {
            number_data_point::Value::AsDouble(double) => ("as_double", self.double(double)),
            number_data_point::Value::AsInt(integer) => ("as_int", self.integer(integer)),
        }));
        self.object(members)
    }

    fn histogram(&mut self, point: &HistogramDataPoint) -> String {
        let mut members = self.point(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
        members.push(("exemplars", self.array(&point.exemplars, Self::exemplar)));
        members.push(("count", self.integer(point.count)));
        members.push(("bucket_counts", self.array(&point.bucket_counts, |writer, count| writer.integer(*count))));
        members.push(("explicit_bounds", self.array(&point.explicit_bounds, |writer, bound| writer.double(*bound))));
        self.summed([point.sum, point.min, point.max], &mut members);
        self.object(members)
    }

    fn exponential(&mut self, point: &ExponentialHistogramDataPoint) -> String {
        let mut members = self.point(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
        members.push(("exemplars", self.array(&point.exemplars, Self::exemplar)));
        members.push(("count", self.integer(point.count)));
        members.push(("scale", point.scale.to_string()));
        members.push(("zero_count", self.integer(point.zero_count)));
        members.push(("zero_threshold", self.double(point.zero_threshold)));
        for (name, side) in [("positive", &point.positive), ("negative", &point.negative)] {
            members.extend(side.as_ref().map(|side| (name, self.buckets(side))));
        }
        self.summed([point.sum, point.min, point.max], &mut members);
        self.object(members)
    }

    fn summary(&mut self, point: &SummaryDataPoint) -> String {
        let mut members = self.point(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
        members.push(("count", self.integer(point.count)));
        members.push(("sum", self.double(point.sum)));
        members.push(("quantile_values", self.array(&point.quantile_values, Self::quantile)));
        self.object(members)
    }

    fn quantile(&mut self, at: &ValueAtQuantile) -> String {
        let members = vec![("quantile", self.double(at.quantile)), ("value", self.double(at.value))];
        self.object(members)
    }

    fn buckets(&mut self, side: &Buckets) -> String {
        let counts = self.array(&side.bucket_counts, |writer, count| writer.integer(*count));
        self.object(vec![("offset", side.offset.to_string()), ("bucket_counts", counts)])
    }

    fn summed(&mut self, values: [Option<f64>; 3], members: &mut Members) {
        for (name, value) in ["sum", "min", "max"].into_iter().zip(values) {
            members.extend(value.map(|value| (name, self.double(value))));
        }
    }

    fn exemplar(&mut self, exemplar: &Exemplar) -> String {
        let mut members = vec![
            ("filtered_attributes", self.array(&exemplar.filtered_attributes, Self::key_value)),
            ("time_unix_nano", self.integer(exemplar.time_unix_nano)),
            ("span_id", hex(&exemplar.span_id)),
            ("trace_id", hex(&exemplar.trace_id)),
        ];
        members.extend(exemplar.value.map(|value| match value {
            exemplar::Value::AsDouble(double) => ("as_double", self.double(double)),
            exemplar::Value::AsInt(integer) => ("as_int", self.integer(integer)),
        }));
        self.object(members)
    }
}
