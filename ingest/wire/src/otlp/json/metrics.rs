//! Metrics: each of their data points is a record.

use serde::de::MapAccess;

use super::value::{Nesting, Pairs};
use super::{Items, Walk};
use crate::json::{Member, Object};
use crate::otlp::point::{Buckets, Data, Metric, Point, Summed};
use crate::otlp::{DecodeError, keep_within};

/// Names of `AggregationTemporality`, from 0.
const TEMPORALITIES: [&str; 3] =
    ["AGGREGATION_TEMPORALITY_UNSPECIFIED", "AGGREGATION_TEMPORALITY_DELTA", "AGGREGATION_TEMPORALITY_CUMULATIVE"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// Reads the metrics of `ScopeMetrics`.
#[derive(Default)]
pub(super) struct Metrics {
    /// Bucket counts of a histogram, or of the positive side of an exponential one.
    counts: Vec<u64>,
    /// Those of the negative side.
    negative: Vec<u64>,
    /// Bounds of a histogram, or quantiles of a summary.
    bounds: Vec<f64>,
    /// Values at those quantiles.
    values: Vec<f64>,
}

impl<'b> Items<'b> for Metrics {
    const REQUEST: &'static str = "an ExportMetricsServiceRequest";
    const NAMES: [[&'static str; 2]; 3] =
        [["resourceMetrics", "resource_metrics"], ["scopeMetrics", "scope_metrics"], ["metrics", "metrics"]];

    type Item<'w, 'k>
        = Reading<'w, 'b, 'k>
    where
        'b: 'w,
        'k: 'w;

    fn item<'w, 'k>(&'w mut self, walk: &'w mut Walk<'b, 'k>) -> Reading<'w, 'b, 'k>
    where
        'b: 'w,
        'k: 'w,
    {
        Reading { walk, buffers: self, metric: NONE, data: None, metadata: 0 }
    }
}

const NONE: Metric<'static> = Metric { name: "", unit: "", temporality: 0, monotonic: None };

/// A metric that is being read.
pub(super) struct Reading<'w, 'b, 'k> {
    walk: &'w mut Walk<'b, 'k>,
    buffers: &'w mut Metrics,
    metric: Metric<'b>,
    /// The points, which wait for everything that a metric says of all of them.
    data: Option<(Kind, Option<&'b str>)>,
    /// Attributes of the metric itself.
    metadata: u64,
}

impl<'b> Object<'b> for Reading<'_, 'b, '_> {
    const WHAT: &'static str = "a Metric";

    fn begin(&mut self) {
        (self.metric, self.data, self.metadata) = (NONE, None, 0);
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let kind = match name {
            "name" => {
                self.metric.name = value.text()?.unwrap_or_default();
                return Ok(1);
            }
            "description" => return value.text().map(|_| 2),
            "unit" => {
                self.metric.unit = value.text()?.unwrap_or_default();
                return Ok(3);
            }
            "metadata" => {
                let metadata = &mut self.metadata;
                let count = |_, _| {
                    *metadata += 1;
                    Ok(())
                };
                value.objects(&mut Pairs::new(Nesting::new(&self.walk.limits), count))?;
                return Ok(12);
            }
            "gauge" => Kind::Gauge,
            "sum" => Kind::Sum,
            "histogram" => Kind::Histogram,
            "exponentialHistogram" | "exponential_histogram" => Kind::Exponential,
            "summary" => Kind::Summary,
            _ => return value.skip(),
        };
        let mut data = Points { kind, metric: &mut self.metric, text: None };
        if !value.object(&mut data)? {
            return Ok(0);
        }
        self.data = Some((kind, data.text));
        Ok(5)
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        let Some((kind, Some(text))) = self.data.take() else { return Ok(()) };
        let context = self.walk.context;
        let mut point = PointReading {
            kind,
            walk: self.walk,
            buffers: self.buffers,
            metric: self.metric,
            metadata: self.metadata,
            plain: Plain::default(),
        };
        context.objects(text, &mut point)
    }
}

/// What holds the points of a metric of one kind, and says what they have in common.
struct Points<'m, 'b> {
    kind: Kind,
    metric: &'m mut Metric<'b>,
    /// The points themselves.
    text: Option<&'b str>,
}

impl<'b> Object<'b> for Points<'_, 'b> {
    const WHAT: &'static str = "the data of a Metric";

    fn begin(&mut self) {
        self.metric.temporality = 0;
        self.metric.monotonic = (self.kind == Kind::Sum).then_some(false);
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        Ok(match name {
            "dataPoints" | "data_points" => {
                self.text = value.raw()?;
                1
            }
            "aggregationTemporality" | "aggregation_temporality"
                if !matches!(self.kind, Kind::Gauge | Kind::Summary) =>
            {
                self.metric.temporality = value.enumeration(&TEMPORALITIES)?;
                2
            }
            "isMonotonic" | "is_monotonic" if self.kind == Kind::Sum => {
                self.metric.monotonic = Some(value.boolean()?.unwrap_or_default());
                3
            }
            _ => value.skip()?,
        })
    }
}

/// A point that is being read; its attributes are the walk's.
struct PointReading<'w, 'b, 'k> {
    kind: Kind,
    walk: &'w mut Walk<'b, 'k>,
    buffers: &'w mut Metrics,
    metric: Metric<'b>,
    metadata: u64,
    plain: Plain,
}

/// What a point says, lists aside.
#[derive(Default)]
struct Plain {
    start_time: u64,
    time: u64,
    flags: u32,
    exemplars: u64,
    number: Option<Data<'static>>,
    summed: Summed,
    scale: i32,
    zero_count: u64,
    zero_threshold: f64,
    /// Offset of each side that is there.
    positive: Option<i32>,
    negative: Option<i32>,
}

impl<'b> Object<'b> for PointReading<'_, 'b, '_> {
    const WHAT: &'static str = "a data point";

    fn begin(&mut self) {
        self.walk.attributes.clear();
        self.buffers.counts.clear();
        self.buffers.negative.clear();
        self.buffers.bounds.clear();
        self.buffers.values.clear();
        self.plain = Plain::default();
        if self.kind == Kind::Summary {
            // A summary's sum has no way to be absent.
            self.plain.summed.sum = Some(0.0);
        }
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let plain = &mut self.plain;
        Ok(match name {
            "startTimeUnixNano" | "start_time_unix_nano" => {
                plain.start_time = value.unsigned()?.unwrap_or_default();
                1
            }
            "timeUnixNano" | "time_unix_nano" => {
                plain.time = value.unsigned()?.unwrap_or_default();
                2
            }
            "attributes" => {
                self.walk.attributes(value)?;
                3
            }
            "flags" => {
                plain.flags = value.small_unsigned()?.unwrap_or_default();
                4
            }
            "exemplars" if self.kind != Kind::Summary => {
                value
                    .objects(&mut Exemplar { count: &mut plain.exemplars, nesting: Nesting::new(&self.walk.limits) })?;
                5
            }
            _ if matches!(self.kind, Kind::Gauge | Kind::Sum) => self.number(name, value)?,
            "count" => {
                plain.summed.count = value.unsigned()?.unwrap_or_default();
                6
            }
            "sum" => {
                plain.summed.sum = value.double()?.or(plain.summed.sum);
                7
            }
            "quantileValues" | "quantile_values" if self.kind == Kind::Summary => {
                let limit = self.walk.limits.elements;
                value.objects(&mut Quantile { buffers: self.buffers, at: 0.0, value: 0.0, limit })?;
                8
            }
            _ if self.kind == Kind::Summary => value.skip()?,
            "min" => {
                plain.summed.min = value.double()?;
                9
            }
            "max" => {
                plain.summed.max = value.double()?;
                10
            }
            _ if self.kind == Kind::Histogram => self.histogram(name, value)?,
            _ => self.exponential(name, value)?,
        })
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        self.walk.count()?;
        let Metrics { counts, negative, bounds, values } = &*self.buffers;
        let plain = std::mem::take(&mut self.plain);
        let summed = plain.summed;
        let data = match self.kind {
            Kind::Gauge | Kind::Sum => plain.number.unwrap_or(Data::None),
            Kind::Histogram => Data::Histogram { summed, bucket_counts: counts, explicit_bounds: bounds },
            Kind::Exponential => Data::Exponential {
                summed,
                scale: plain.scale,
                zero_count: plain.zero_count,
                zero_threshold: plain.zero_threshold,
                positive: plain.positive.map(|offset| Buckets { offset, counts }),
                negative: plain.negative.map(|offset| Buckets { offset, counts: negative }),
            },
            Kind::Summary => Data::Summary { summed, quantiles: bounds, values },
        };
        let point = Point {
            metric: self.metric,
            start_time: plain.start_time,
            time: plain.time,
            flags: plain.flags,
            data,
            attributes: &self.walk.attributes,
            undeclared: plain.exemplars + std::mem::take(&mut self.metadata),
        };
        self.walk.rows.record(&self.walk.resource, &self.walk.scope, &point).map(drop)
    }
}

impl<'b> PointReading<'_, 'b, '_> {
    fn number<A: MapAccess<'b>>(&mut self, name: &str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let number = match name {
            "asDouble" | "as_double" => value.double()?.map(Data::Double),
            "asInt" | "as_int" => value.integer()?.map(Data::Int),
            _ => return value.skip(),
        };
        // A kind that is null is not the one that the value has.
        Ok(if number.is_some() {
            self.plain.number = number;
            6
        } else {
            0
        })
    }

    fn histogram<A: MapAccess<'b>>(&mut self, name: &str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let Metrics { counts, bounds, .. } = &mut *self.buffers;
        let limit = self.walk.limits.elements;
        match name {
            "bucketCounts" | "bucket_counts" => value.unsigneds(|count| keep_within(counts, count, limit)).map(|()| 11),
            "explicitBounds" | "explicit_bounds" => {
                value.doubles(|bound| keep_within(bounds, bound, limit)).map(|()| 12)
            }
            _ => value.skip(),
        }
    }

    fn exponential<A: MapAccess<'b>>(&mut self, name: &str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let Metrics { counts, negative, .. } = &mut *self.buffers;
        let (plain, limit) = (&mut self.plain, self.walk.limits.elements);
        Ok(match name {
            "scale" => {
                plain.scale = value.small()?.unwrap_or_default();
                11
            }
            "zeroCount" | "zero_count" => {
                plain.zero_count = value.unsigned()?.unwrap_or_default();
                12
            }
            "zeroThreshold" | "zero_threshold" => {
                plain.zero_threshold = value.double()?.unwrap_or_default();
                13
            }
            "positive" => value.object(&mut Side { offset: &mut plain.positive, counts, limit }).map(|_| 14)?,
            "negative" => {
                value.object(&mut Side { offset: &mut plain.negative, counts: negative, limit }).map(|_| 15)?
            }
            _ => value.skip()?,
        })
    }
}

/// One side of an exponential histogram.
struct Side<'p> {
    offset: &'p mut Option<i32>,
    counts: &'p mut Vec<u64>,
    limit: usize,
}

impl<'b> Object<'b> for Side<'_> {
    const WHAT: &'static str = "a Buckets";

    fn begin(&mut self) {
        *self.offset = Some(0);
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        Ok(match name {
            "offset" => {
                *self.offset = Some(value.small()?.unwrap_or_default());
                1
            }
            "bucketCounts" | "bucket_counts" => {
                value.unsigneds(|count| keep_within(self.counts, count, self.limit))?;
                2
            }
            _ => value.skip()?,
        })
    }
}

/// One `ValueAtQuantile`.
struct Quantile<'p> {
    buffers: &'p mut Metrics,
    /// The quantile itself.
    at: f64,
    value: f64,
    limit: usize,
}

impl<'b> Object<'b> for Quantile<'_> {
    const WHAT: &'static str = "a ValueAtQuantile";

    fn begin(&mut self) {
        (self.at, self.value) = (0.0, 0.0);
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        Ok(match name {
            "quantile" => {
                self.at = value.double()?.unwrap_or_default();
                1
            }
            "value" => {
                self.value = value.double()?.unwrap_or_default();
                2
            }
            _ => value.skip()?,
        })
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        keep_within(&mut self.buffers.bounds, self.at, self.limit);
        keep_within(&mut self.buffers.values, self.value, self.limit);
        Ok(())
    }
}

/// Counts exemplars: they are never stored.
struct Exemplar<'p> {
    count: &'p mut u64,
    nesting: Nesting,
}

impl<'b> Object<'b> for Exemplar<'_> {
    const WHAT: &'static str = "an Exemplar";

    fn begin(&mut self) {
        *self.count += 1;
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        Ok(match name {
            "timeUnixNano" | "time_unix_nano" => value.unsigned().map(|_| 2)?,
            "asDouble" | "as_double" => value.double()?.map_or(0, |_| 3),
            "spanId" | "span_id" => value.hex().map(|_| 4)?,
            "traceId" | "trace_id" => value.hex().map(|_| 5)?,
            "asInt" | "as_int" => value.integer()?.map_or(0, |_| 3),
            "filteredAttributes" | "filtered_attributes" => {
                value.objects(&mut Pairs::new(self.nesting, |_, _| Ok(())))?;
                7
            }
            _ => value.skip()?,
        })
    }
}
