//! What a metric's data point says, whatever it was encoded in.

use candor_policy::catalogue::{Place, Signal};

use super::column::NewList;
use super::rows::{Attribute, Record, microseconds};
use super::value::Value;

/// Flag of a point that only says that there is nothing to say: `NO_RECORDED_VALUE`.
const NO_RECORDED_VALUE: u32 = 1;

/// What the points of a metric share.
#[derive(Clone, Copy)]
pub(super) struct Metric<'v> {
    pub(super) name: &'v str,
    pub(super) unit: &'v str,
    /// `AggregationTemporality`; 0 where the kind of metric has none.
    pub(super) temporality: i32,
    /// Of a sum.
    pub(super) monotonic: Option<bool>,
}

/// A data point; `'v` is where its values live.
pub(super) struct Point<'r, 'v, N> {
    pub(super) metric: Metric<'v>,
    /// Nanoseconds; 0 where the client sent none.
    pub(super) start_time: u64,
    /// As `start_time`.
    pub(super) time: u64,
    pub(super) flags: u32,
    pub(super) data: Data<'r>,
    pub(super) attributes: &'r [Attribute<'v, N>],
    /// What came with it and is never stored: exemplars, and once a metric its metadata.
    pub(super) undeclared: u64,
}

/// Value of a point, by its kind.
#[derive(Clone, Copy)]
pub(super) enum Data<'r> {
    /// A number point without its number.
    None,
    Int(i64),
    Double(f64),
    Histogram {
        summed: Summed,
        bucket_counts: &'r [u64],
        explicit_bounds: &'r [f64],
    },
    Exponential {
        summed: Summed,
        scale: i32,
        zero_count: u64,
        zero_threshold: f64,
        positive: Option<Buckets<'r>>,
        negative: Option<Buckets<'r>>,
    },
    Summary {
        summed: Summed,
        quantiles: &'r [f64],
        values: &'r [f64],
    },
}

/// What all kinds but numbers have.
#[derive(Clone, Copy, Default)]
pub(super) struct Summed {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
}

/// One side of an exponential histogram.
#[derive(Clone, Copy)]
pub(super) struct Buckets<'r> {
    pub(super) offset: i32,
    pub(super) counts: &'r [u64],
}

impl<'v, N: Copy> Record<'v, N> for Point<'_, 'v, N> {
    const SIGNAL: Signal = Signal::Metrics;

    fn name(&self) -> &'v str {
        self.metric.name
    }

    fn microseconds(&self) -> Option<i64> {
        microseconds(self.time)
    }

    fn attributes(&self) -> &[Attribute<'v, N>] {
        self.attributes
    }

    fn undeclared(&self) -> u64 {
        self.undeclared
    }

    fn value(&self, place: Place) -> Value<'v, N> {
        match place {
            Place::StartTime => Value::time(self.start_time),
            Place::Unit => Value::text(self.metric.unit),
            Place::Temporality => match self.metric.temporality {
                1 => Value::text("delta"),
                2 => Value::text("cumulative"),
                _ => Value::Absent,
            },
            Place::Monotonic => self.metric.monotonic.map_or(Value::Absent, Value::Bool),
            Place::Flags => Value::Int(i64::from(self.flags)),
            _ => self.data().value(place),
        }
    }

    fn elements(&self, place: Place, list: &mut NewList<'_>) {
        let data = self.data();
        list.counts(data.integers(place));
        list.doubles(data.doubles(place));
    }
}

impl<'r, N> Point<'r, '_, N> {
    const fn data(&self) -> Data<'r> {
        if self.flags & NO_RECORDED_VALUE == 0 { self.data } else { Data::None }
    }
}

impl<'r> Data<'r> {
    fn value<'v, N>(&self, place: Place) -> Value<'v, N> {
        match (place, self) {
            (Place::Value, Self::Int(value)) => Value::Int(*value),
            (Place::Value, Self::Double(value)) => Value::Double(*value),
            (Place::Count, _) => self.summed().map_or(Value::Absent, |summed| Value::count(summed.count)),
            (Place::Sum, _) => Value::double(self.summed().and_then(|summed| summed.sum)),
            (Place::Min, _) => Value::double(self.summed().and_then(|summed| summed.min)),
            (Place::Max, _) => Value::double(self.summed().and_then(|summed| summed.max)),
            (Place::Scale, Self::Exponential { scale, .. }) => Value::Int(i64::from(*scale)),
            (Place::ZeroCount, Self::Exponential { zero_count, .. }) => Value::count(*zero_count),
            (Place::ZeroThreshold, Self::Exponential { zero_threshold, .. }) => Value::Double(*zero_threshold),
            (Place::PositiveOffset, Self::Exponential { positive: Some(buckets), .. })
            | (Place::NegativeOffset, Self::Exponential { negative: Some(buckets), .. }) => {
                Value::Int(i64::from(buckets.offset))
            }
            _ => Value::Absent,
        }
    }

    const fn integers(&self, place: Place) -> &'r [u64] {
        match (place, self) {
            (Place::BucketCounts, Self::Histogram { bucket_counts, .. }) => bucket_counts,
            (Place::PositiveBucketCounts, Self::Exponential { positive: Some(buckets), .. })
            | (Place::NegativeBucketCounts, Self::Exponential { negative: Some(buckets), .. }) => buckets.counts,
            _ => &[],
        }
    }

    const fn doubles(&self, place: Place) -> &'r [f64] {
        match (place, self) {
            (Place::ExplicitBounds, Self::Histogram { explicit_bounds, .. }) => explicit_bounds,
            (Place::Quantiles, Self::Summary { quantiles, .. }) => quantiles,
            (Place::QuantileValues, Self::Summary { values, .. }) => values,
            _ => &[],
        }
    }

    const fn summed(&self) -> Option<&Summed> {
        match self {
            Self::Histogram { summed, .. } | Self::Exponential { summed, .. } | Self::Summary { summed, .. } => {
                Some(summed)
            }
            Self::None | Self::Int(_) | Self::Double(_) => None,
        }
    }
}
