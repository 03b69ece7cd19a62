//! Requests of every signal in one shape, written down from prost's structs field by field.

use std::collections::BTreeMap;

use candor_policy::batch::Received;
use candor_policy::catalogue::{Place, Signal};
use candor_policy::key_index::KeyIndex;
use candor_wire::otlp::protobuf::{decode_logs, decode_metrics, decode_traces};
use candor_wire::otlp::{DecodeError, DecodeLimits};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::convert::storable;
use super::value_of;

/// One kind of request.
pub(crate) trait Request: Message + Default + Clone + std::fmt::Debug {
    /// The decoder under test.
    fn decode_by_us(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError>;
    /// What is in it.
    fn resources(&self) -> Vec<ResourceItems>;
}

/// A resource: attributes, and scopes with their items.
pub(crate) struct ResourceItems {
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) scopes: Vec<(InstrumentationScope, Vec<Item>)>,
}

/// A log record, data point or span.
pub(crate) struct Item {
    pub(crate) signal: Signal,
    pub(crate) name: String,
    pub(crate) time: u64,
    pub(crate) attributes: Vec<KeyValue>,
    /// Exemplars and metadata.
    pub(crate) undeclared: u64,
    pub(crate) places: BTreeMap<Place, Given>,
    pub(crate) span_events: Vec<Vec<KeyValue>>,
    pub(crate) links: Vec<Vec<KeyValue>>,
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    Value(Value),
    Nanoseconds(u64),
    /// A count above every integer that a field can be.
    TooHigh,
    List(Vec<Option<Given>>),
}

impl Request for ExportLogsServiceRequest {
    fn decode_by_us(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
        decode_logs(body, keys, limits)
    }

    fn resources(&self) -> Vec<ResourceItems> {
        let of = self.resource_logs.iter().map(|logs| ResourceItems {
            attributes: attributes(logs.resource.as_ref()),
            scopes: logs
                .scope_logs
                .iter()
                .map(|logs| (logs.scope.clone().unwrap_or_default(), logs.log_records.iter().map(log).collect()))
                .collect(),
        });
        of.collect()
    }
}

impl Request for ExportMetricsServiceRequest {
    fn decode_by_us(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
        decode_metrics(body, keys, limits)
    }

    fn resources(&self) -> Vec<ResourceItems> {
        let of = self.resource_metrics.iter().map(|metrics| ResourceItems {
            attributes: attributes(metrics.resource.as_ref()),
            scopes: metrics
                .scope_metrics
                .iter()
                .map(|scope| (scope.scope.clone().unwrap_or_default(), scope.metrics.iter().flat_map(points).collect()))
                .collect(),
        });
        of.collect()
    }
}

impl Request for ExportTraceServiceRequest {
    fn decode_by_us(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
        decode_traces(body, keys, limits)
    }

    fn resources(&self) -> Vec<ResourceItems> {
        let of = self.resource_spans.iter().map(|spans| ResourceItems {
            attributes: attributes(spans.resource.as_ref()),
            scopes: spans
                .scope_spans
                .iter()
                .map(|spans| (spans.scope.clone().unwrap_or_default(), spans.spans.iter().map(span).collect()))
                .collect(),
        });
        of.collect()
    }
}

fn attributes(resource: Option<&Resource>) -> Vec<KeyValue> {
    resource.map(|resource| resource.attributes.clone()).unwrap_or_default()
}

fn item(signal: Signal, name: &str, time: u64, attributes: &[KeyValue], places: Vec<(Place, Option<Given>)>) -> Item {
    Item {
        signal,
        name: name.to_owned(),
        time,
        attributes: attributes.to_vec(),
        undeclared: 0,
        places: places.into_iter().filter_map(|(place, given)| Some((place, given?))).collect(),
        span_events: Vec::new(),
        links: Vec::new(),
    }
}

fn log(record: &LogRecord) -> Item {
    let mut name = record.event_name.as_str();
    if name.is_empty() {
        let attribute = record.attributes.iter().find(|attribute| attribute.key == "event.name");
        if let Some(Value::StringValue(text)) = attribute.and_then(|it| value_of(it.value.as_ref())) {
            name = text;
        }
    }
    let sent = record.time_unix_nano;
    let is_told = sent != 0 && storable((sent / 1_000) as i64).is_some();
    let time = if is_told { sent } else { record.observed_time_unix_nano };
    let number = (record.severity_number != 0).then(|| int(i64::from(record.severity_number)));
    let places = vec![
        (Place::Body, value_of(record.body.as_ref()).cloned().map(Given::Value)),
        (Place::SeverityNumber, number),
        (Place::SeverityText, text(&record.severity_text)),
        (Place::ObservedTime, nanoseconds(record.observed_time_unix_nano)),
        (Place::TraceId, hex(&record.trace_id)),
        (Place::SpanId, hex(&record.span_id)),
    ];
    item(Signal::Logs, name, time, &record.attributes, places)
}

fn points(metric: &Metric) -> Vec<Item> {
    let temporality = |temporality: i32| match temporality {
        1 => text("delta"),
        2 => text("cumulative"),
        _ => None,
    };
    let mut items: Vec<Item> = match &metric.data {
        None => Vec::new(),
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().map(number).collect(),
        Some(Data::Sum(sum)) => {
            let mut items: Vec<Item> = sum.data_points.iter().map(number).collect();
            let monotonic = Given::Value(Value::BoolValue(sum.is_monotonic));
            set(&mut items, Place::Monotonic, Some(&monotonic));
            set(&mut items, Place::Temporality, temporality(sum.aggregation_temporality).as_ref());
            items
        }
        Some(Data::Histogram(histogram)) => {
            let mut items: Vec<Item> = histogram.data_points.iter().map(histogram_point).collect();
            set(&mut items, Place::Temporality, temporality(histogram.aggregation_temporality).as_ref());
            items
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            let mut items: Vec<Item> = histogram.data_points.iter().map(exponential_point).collect();
            set(&mut items, Place::Temporality, temporality(histogram.aggregation_temporality).as_ref());
            items
        }
        Some(Data::Summary(summary)) => summary.data_points.iter().map(summary_point).collect(),
    };
    set(&mut items, Place::Unit, text(&metric.unit).as_ref());
    if let Some(first) = items.first_mut() {
        first.undeclared += metric.metadata.len() as u64;
    }
    for item in &mut items {
        item.name.clone_from(&metric.name);
    }
    items
}

fn set(items: &mut [Item], place: Place, given: Option<&Given>) {
    for (item, given) in items.iter_mut().zip(given.into_iter().cycle()) {
        item.places.insert(place, given.clone());
    }
}

/// A point: what its value is only stands there if it says that it was recorded.
fn point(
    (start, time, flags, exemplars): (u64, u64, u32, usize),
    attributes: &[KeyValue],
    value: Vec<(Place, Option<Given>)>,
) -> Item {
    let mut places = if flags % 2 == 1 { Vec::new() } else { value };
    places.push((Place::StartTime, nanoseconds(start)));
    places.push((Place::Flags, Some(int(i64::from(flags)))));
    let item = item(Signal::Metrics, "", time, attributes, places);
    Item { undeclared: exemplars as u64, ..item }
}

fn number(it: &NumberDataPoint) -> Item {
    let value = it.value.map(|value| match value {
        number_data_point::Value::AsDouble(value) => double(value),
        number_data_point::Value::AsInt(value) => int(value),
    });
    let plain = (it.start_time_unix_nano, it.time_unix_nano, it.flags, it.exemplars.len());
    point(plain, &it.attributes, vec![(Place::Value, value)])
}

fn histogram_point(it: &HistogramDataPoint) -> Item {
    let plain = (it.start_time_unix_nano, it.time_unix_nano, it.flags, it.exemplars.len());
    let value = vec![
        (Place::Count, Some(count(it.count))),
        (Place::Sum, it.sum.map(double)),
        (Place::Min, it.min.map(double)),
        (Place::Max, it.max.map(double)),
        (Place::BucketCounts, list(&it.bucket_counts, |it| Some(count(*it)))),
        (Place::ExplicitBounds, list(&it.explicit_bounds, |it| Some(double(*it)))),
    ];
    point(plain, &it.attributes, value)
}

fn exponential_point(it: &ExponentialHistogramDataPoint) -> Item {
    let plain = (it.start_time_unix_nano, it.time_unix_nano, it.flags, it.exemplars.len());
    let mut value = vec![
        (Place::Count, Some(count(it.count))),
        (Place::Sum, it.sum.map(double)),
        (Place::Min, it.min.map(double)),
        (Place::Max, it.max.map(double)),
        (Place::Scale, Some(int(i64::from(it.scale)))),
        (Place::ZeroCount, Some(count(it.zero_count))),
        (Place::ZeroThreshold, Some(double(it.zero_threshold))),
    ];
    if let Some(positive) = &it.positive {
        value.push((Place::PositiveOffset, Some(int(i64::from(positive.offset)))));
        value.push((Place::PositiveBucketCounts, list(&positive.bucket_counts, |it| Some(count(*it)))));
    }
    if let Some(negative) = &it.negative {
        value.push((Place::NegativeOffset, Some(int(i64::from(negative.offset)))));
        value.push((Place::NegativeBucketCounts, list(&negative.bucket_counts, |it| Some(count(*it)))));
    }
    point(plain, &it.attributes, value)
}

fn summary_point(it: &SummaryDataPoint) -> Item {
    let plain = (it.start_time_unix_nano, it.time_unix_nano, it.flags, 0);
    let value = vec![
        (Place::Count, Some(count(it.count))),
        (Place::Sum, Some(double(it.sum))),
        (Place::Quantiles, list(&it.quantile_values, |it| Some(double(it.quantile)))),
        (Place::QuantileValues, list(&it.quantile_values, |it| Some(double(it.value)))),
    ];
    point(plain, &it.attributes, value)
}

fn span(it: &Span) -> Item {
    const KINDS: [&str; 6] = ["", "internal", "server", "client", "producer", "consumer"];
    const CODES: [&str; 3] = ["", "ok", "error"];
    let named = |names: &[&str], number: i32| {
        text(usize::try_from(number).ok().and_then(|number| names.get(number)).unwrap_or(&""))
    };
    let status = it.status.clone().unwrap_or_default();
    let (start, end) = (it.start_time_unix_nano, it.end_time_unix_nano);
    let duration = i64::try_from(i128::from(end) - i128::from(start)).ok().filter(|_| start > 0 && end > 0);
    let places = vec![
        (Place::TraceId, hex(&it.trace_id)),
        (Place::SpanId, hex(&it.span_id)),
        (Place::ParentSpanId, hex(&it.parent_span_id)),
        (Place::TraceState, text(&it.trace_state)),
        (Place::Kind, named(&KINDS, it.kind)),
        (Place::StatusCode, named(&CODES, status.code)),
        (Place::StatusMessage, text(&status.message)),
        (Place::EndTime, nanoseconds(end)),
        (Place::DurationNs, duration.map(int)),
        (Place::SpanEventsName, list(&it.events, |it| text(&it.name))),
        (Place::SpanEventsTime, list(&it.events, |it| nanoseconds(it.time_unix_nano))),
        (Place::LinksTraceId, list(&it.links, |it| hex(&it.trace_id))),
        (Place::LinksSpanId, list(&it.links, |it| hex(&it.span_id))),
    ];
    Item {
        span_events: it.events.iter().map(|event| event.attributes.clone()).collect(),
        links: it.links.iter().map(|link| link.attributes.clone()).collect(),
        ..item(Signal::Traces, &it.name, start, &it.attributes, places)
    }
}

fn int(value: i64) -> Given {
    Given::Value(Value::IntValue(value))
}

fn double(value: f64) -> Given {
    Given::Value(Value::DoubleValue(value))
}

fn count(value: u64) -> Given {
    if value > i64::MAX as u64 { Given::TooHigh } else { int(value as i64) }
}

fn text(value: &str) -> Option<Given> {
    (!value.is_empty()).then(|| Given::Value(Value::StringValue(value.to_owned())))
}

fn hex(bytes: &[u8]) -> Option<Given> {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap();
    text(&bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>())
}

fn nanoseconds(value: u64) -> Option<Given> {
    (value != 0).then_some(Given::Nanoseconds(value))
}

fn list<T>(items: &[T], given: impl Fn(&T) -> Option<Given>) -> Option<Given> {
    (!items.is_empty()).then(|| Given::List(items.iter().map(given).collect()))
}
