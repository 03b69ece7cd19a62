//! Metrics: each of their data points is a record.

use super::super::point::{Buckets, Data, Metric, Point, Summed};
use super::super::{DecodeError, DecodeLimits, keep_within};
use super::reader::Reader;
use super::value::{Nesting, key_value};
use super::{Items, Walk, attribute};

/// Fields of a `Metric` that hold its points, by its kind.
const GAUGE: u32 = 5;
const SUM: u32 = 7;
const HISTOGRAM: u32 = 9;
const EXPONENTIAL: u32 = 10;
const SUMMARY: u32 = 11;

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

/// A metric without its points.
struct Head<'b> {
    metric: Metric<'b>,
    /// Field that holds the points.
    kind: u32,
    /// Pieces that came before the last change of the kind: replaced by what came after.
    replaced: usize,
    /// Attributes of the metric itself.
    metadata: u64,
}

/// What points of every kind have.
#[derive(Default)]
struct Plain {
    start_time: u64,
    time: u64,
    flags: u32,
    exemplars: u64,
}

impl<'b> Items<'b> for Metrics {
    fn item(&mut self, walk: &mut Walk<'b>, message: Reader<'b>) -> Result<(), DecodeError> {
        // Name, unit and kind may stand behind the points.
        let mut head = head(message, Nesting::new(&walk.limits))?;
        let mut piece = 0;
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if !matches!(field.tag, GAUGE | SUM | HISTOGRAM | EXPONENTIAL | SUMMARY) {
                fields.skip(field)?;
                continue;
            }
            let mut data = fields.message(field)?;
            let counts = piece >= head.replaced;
            piece += 1;
            while let Some(inner) = data.field()? {
                match inner.tag {
                    1 => self.point(walk, data.message(inner)?, field.tag, counts.then_some(&mut head))?,
                    _ => data.skip(inner)?,
                }
            }
        }
        Ok(())
    }
}

impl Metrics {
    /// Reads a point, and takes it in as a record unless it was replaced.
    fn point<'b>(
        &mut self,
        walk: &mut Walk<'b>,
        point: Reader<'b>,
        kind: u32,
        head: Option<&mut Head<'b>>,
    ) -> Result<(), DecodeError> {
        if head.is_some() {
            walk.begin(&point)?;
        }
        walk.attributes.clear();
        self.clear();
        let mut plain = Plain::default();
        let data = match kind {
            HISTOGRAM => self.histogram(walk, point, &mut plain)?,
            EXPONENTIAL => self.exponential(walk, point, &mut plain)?,
            SUMMARY => self.summary(walk, point, &mut plain)?,
            _ => number(walk, point, &mut plain)?,
        };
        let Some(head) = head else { return Ok(()) };
        let point = Point {
            metric: head.metric,
            start_time: plain.start_time,
            time: plain.time,
            flags: plain.flags,
            data,
            attributes: &walk.attributes,
            undeclared: plain.exemplars + std::mem::take(&mut head.metadata),
        };
        walk.rows.record(&walk.resource, &walk.scope, &point).map(drop)
    }

    fn histogram<'b>(
        &mut self,
        walk: &mut Walk<'b>,
        mut fields: Reader<'b>,
        plain: &mut Plain,
    ) -> Result<Data<'_>, DecodeError> {
        let mut summed = Summed::default();
        let (limit, (_, likely)) = (walk.limits.elements, walk.rows.likely());
        while let Some(field) = fields.field()? {
            match field.tag {
                2 => plain.start_time = fields.fixed64(field)?,
                3 => plain.time = fields.fixed64(field)?,
                4 => summed.count = fields.fixed64(field)?,
                5 => summed.sum = Some(fields.double(field)?),
                6 => fields.fixed64s(field, &mut self.counts, limit, |count| count)?,
                7 => fields.fixed64s(field, &mut self.bounds, limit, f64::from_bits)?,
                8 => plain.exemplar(&walk.limits, fields.message(field)?)?,
                9 => attribute(&mut fields, field, &mut walk.attributes, &walk.limits, likely)?,
                10 => plain.flags = fields.integer(field)? as u32,
                11 => summed.min = Some(fields.double(field)?),
                12 => summed.max = Some(fields.double(field)?),
                _ => fields.skip(field)?,
            }
        }
        Ok(Data::Histogram { summed, bucket_counts: &self.counts, explicit_bounds: &self.bounds })
    }

    fn exponential<'b>(
        &mut self,
        walk: &mut Walk<'b>,
        mut fields: Reader<'b>,
        plain: &mut Plain,
    ) -> Result<Data<'_>, DecodeError> {
        let mut summed = Summed::default();
        let (mut scale, mut zero_count, mut zero_threshold) = (0, 0, 0.0);
        let (mut positive, mut negative) = (None, None);
        let (limit, (_, likely)) = (walk.limits.elements, walk.rows.likely());
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => attribute(&mut fields, field, &mut walk.attributes, &walk.limits, likely)?,
                2 => plain.start_time = fields.fixed64(field)?,
                3 => plain.time = fields.fixed64(field)?,
                4 => summed.count = fields.fixed64(field)?,
                5 => summed.sum = Some(fields.double(field)?),
                6 => scale = fields.zigzag(field)?,
                7 => zero_count = fields.fixed64(field)?,
                8 => buckets(fields.message(field)?, &mut positive, &mut self.counts, limit)?,
                9 => buckets(fields.message(field)?, &mut negative, &mut self.negative, limit)?,
                10 => plain.flags = fields.integer(field)? as u32,
                11 => plain.exemplar(&walk.limits, fields.message(field)?)?,
                12 => summed.min = Some(fields.double(field)?),
                13 => summed.max = Some(fields.double(field)?),
                14 => zero_threshold = fields.double(field)?,
                _ => fields.skip(field)?,
            }
        }
        let positive = positive.map(|offset| Buckets { offset, counts: &self.counts });
        let negative = negative.map(|offset| Buckets { offset, counts: &self.negative });
        Ok(Data::Exponential { summed, scale, zero_count, zero_threshold, positive, negative })
    }

    fn summary<'b>(
        &mut self,
        walk: &mut Walk<'b>,
        mut fields: Reader<'b>,
        plain: &mut Plain,
    ) -> Result<Data<'_>, DecodeError> {
        // A summary's sum has no way to be absent.
        let mut summed = Summed { sum: Some(0.0), ..Summed::default() };
        let (limit, (_, likely)) = (walk.limits.elements, walk.rows.likely());
        while let Some(field) = fields.field()? {
            match field.tag {
                2 => plain.start_time = fields.fixed64(field)?,
                3 => plain.time = fields.fixed64(field)?,
                4 => summed.count = fields.fixed64(field)?,
                5 => summed.sum = Some(fields.double(field)?),
                6 => {
                    let (quantile, value) = value_at_quantile(fields.message(field)?)?;
                    keep_within(&mut self.bounds, quantile, limit);
                    keep_within(&mut self.values, value, limit);
                }
                7 => attribute(&mut fields, field, &mut walk.attributes, &walk.limits, likely)?,
                8 => plain.flags = fields.integer(field)? as u32,
                _ => fields.skip(field)?,
            }
        }
        Ok(Data::Summary { summed, quantiles: &self.bounds, values: &self.values })
    }

    fn clear(&mut self) {
        self.counts.clear();
        self.negative.clear();
        self.bounds.clear();
        self.values.clear();
    }
}

impl Plain {
    /// Counts an exemplar: they are never stored.
    fn exemplar(&mut self, limits: &DecodeLimits, mut fields: Reader<'_>) -> Result<(), DecodeError> {
        self.exemplars += 1;
        while let Some(field) = fields.field()? {
            match field.tag {
                2 | 3 | 6 => drop(fields.fixed64(field)?),
                4 | 5 => drop(fields.bytes(field)?),
                7 => _ = key_value(fields.message(field)?, Nesting::new(limits), None)?,
                _ => fields.skip(field)?,
            }
        }
        Ok(())
    }
}

/// Everything of a metric but its points. Of several kinds the last one counts, with all of its pieces since another
/// kind came.
fn head(mut fields: Reader<'_>, nesting: Nesting) -> Result<Head<'_>, DecodeError> {
    let metric = Metric { name: "", unit: "", temporality: 0, monotonic: None };
    let mut head = Head { metric, kind: 0, replaced: 0, metadata: 0 };
    let mut pieces = 0;
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => head.metric.name = fields.text(field)?,
            2 => drop(fields.text(field)?),
            3 => head.metric.unit = fields.text(field)?,
            GAUGE | SUM | HISTOGRAM | EXPONENTIAL | SUMMARY => {
                if head.kind != field.tag {
                    head.kind = field.tag;
                    head.replaced = pieces;
                    head.metric.temporality = 0;
                    head.metric.monotonic = (field.tag == SUM).then_some(false);
                }
                pieces += 1;
                head.data(fields.message(field)?)?;
            }
            12 => {
                key_value(fields.message(field)?, nesting, None)?;
                head.metadata += 1;
            }
            _ => fields.skip(field)?,
        }
    }
    Ok(head)
}

impl<'b> Head<'b> {
    /// What one piece of the data says for all of its points.
    fn data(&mut self, mut data: Reader<'b>) -> Result<(), DecodeError> {
        while let Some(field) = data.field()? {
            match (field.tag, self.kind) {
                (1, _) => drop(data.message(field)?),
                (2, SUM | HISTOGRAM | EXPONENTIAL) => self.metric.temporality = data.integer(field)? as i32,
                (3, SUM) => self.metric.monotonic = Some(data.integer(field)? != 0),
                _ => data.skip(field)?,
            }
        }
        Ok(())
    }
}

fn number<'b>(walk: &mut Walk<'b>, mut fields: Reader<'b>, plain: &mut Plain) -> Result<Data<'static>, DecodeError> {
    let mut data = Data::None;
    let (_, likely) = walk.rows.likely();
    while let Some(field) = fields.field()? {
        match field.tag {
            2 => plain.start_time = fields.fixed64(field)?,
            3 => plain.time = fields.fixed64(field)?,
            4 => data = Data::Double(fields.double(field)?),
            5 => plain.exemplar(&walk.limits, fields.message(field)?)?,
            6 => data = Data::Int(fields.fixed64(field)? as i64),
            7 => attribute(&mut fields, field, &mut walk.attributes, &walk.limits, likely)?,
            8 => plain.flags = fields.integer(field)? as u32,
            _ => fields.skip(field)?,
        }
    }
    Ok(data)
}

/// Reads one piece of an exponential histogram's side: its offset, and its counts behind those of the pieces before.
fn buckets(
    mut fields: Reader<'_>,
    offset: &mut Option<i32>,
    counts: &mut Vec<u64>,
    limit: usize,
) -> Result<(), DecodeError> {
    let offset = offset.get_or_insert(0);
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => *offset = fields.zigzag(field)?,
            2 => fields.integers(field, |count| keep_within(counts, count, limit))?,
            _ => fields.skip(field)?,
        }
    }
    Ok(())
}

fn value_at_quantile(mut fields: Reader<'_>) -> Result<(f64, f64), DecodeError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => quantile = fields.double(field)?,
            2 => value = fields.double(field)?,
            _ => fields.skip(field)?,
        }
    }
    Ok((quantile, value))
}
