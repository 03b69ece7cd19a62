//! OTLP in protobuf, walked once into Arrow builders (opentelemetry-proto 1.x).
//!
//! Every field is checked as prost would check it, those that no column needs included, so that a client gets the
//! same answer from every service that speaks OTLP. A message that is not repeated may come in several pieces, which
//! add up: pieces of an `AnyValue` or a `Resource` are read one after the other into the same place.
//!
//! The three requests have one shape: resources hold scopes, and scopes hold items. Here is what they share.

mod logs;
mod metrics;
mod reader;
mod traces;
mod value;

use candor_policy::batch::Received;
use candor_policy::key_index::KeyIndex;

use self::reader::{Field, Reader, plain_attribute};
use self::value::{Nesting, Pair, Pieces, any_key_value, key_value};
use super::rows::{LikelyKeys, Rows, Scope};
use super::{DecodeError, DecodeLimits, push_within};

/// Records after which there is room made for the rest.
const SAMPLE: usize = 16;

/// Decodes the decompressed body of `POST /v1/logs`.
///
/// # Errors
/// [`DecodeError`] exactly where prost's decoder of the same message gives one, and for the limits.
pub fn decode_logs(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
    decode(body, keys, limits, logs::Logs).map_err(|error| of("protobuf ExportLogsServiceRequest", error))
}

/// Decodes the decompressed body of `POST /v1/metrics`: every data point is a record.
///
/// # Errors
/// As [`decode_logs`].
pub fn decode_metrics(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
    decode(body, keys, limits, metrics::Metrics::default())
        .map_err(|error| of("protobuf ExportMetricsServiceRequest", error))
}

/// Decodes the decompressed body of `POST /v1/traces`: every span is a record.
///
/// # Errors
/// As [`decode_logs`].
pub fn decode_traces(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
    decode(body, keys, limits, traces::Spans::default())
        .map_err(|error| of("protobuf ExportTraceServiceRequest", error))
}

/// What scopes of one kind of request hold, and the buffers that reading them takes.
trait Items<'b> {
    /// Reads one `LogRecord`, `Metric` or `Span`.
    fn item(&mut self, walk: &mut Walk<'b>, message: Reader<'b>) -> Result<(), DecodeError>;
}

/// Where a walk is, and what it keeps of the messages around.
struct Walk<'b> {
    rows: Rows<'b>,
    limits: DecodeLimits,
    /// Bytes of the whole body.
    length: usize,
    records: usize,
    /// Attributes of the current resource.
    resource: Vec<Pair<'b>>,
    scope: Scope<'b, Pieces<'b>>,
    /// Attributes of the current record.
    attributes: Vec<Pair<'b>>,
}

fn decode<'b>(
    body: &'b [u8],
    keys: &'b KeyIndex,
    limits: &DecodeLimits,
    mut items: impl Items<'b>,
) -> Result<Received, DecodeError> {
    let mut walk = Walk {
        rows: Rows::new(keys, limits),
        limits: *limits,
        length: body.len(),
        records: 0,
        resource: Vec::new(),
        scope: Scope::default(),
        attributes: Vec::new(),
    };
    let mut request = Reader::new(body);
    while let Some(field) = request.field()? {
        match field.tag {
            1 => walk.resource_items(request.message(field)?, &mut items)?,
            _ => request.skip(field)?,
        }
    }
    Ok(walk.rows.finish())
}

impl<'b> Walk<'b> {
    fn resource_items(&mut self, message: Reader<'b>, items: &mut impl Items<'b>) -> Result<(), DecodeError> {
        self.resource.clear();
        self.rows.next_resource();
        // The resource may stand behind its scopes.
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => self.resource(fields.message(field)?)?,
                2 => drop(fields.message(field)?),
                3 => drop(fields.text(field)?),
                _ => fields.skip(field)?,
            }
        }
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.tag {
                2 => self.scope_items(fields.message(field)?, items)?,
                _ => fields.skip(field)?,
            }
        }
        Ok(())
    }

    fn resource(&mut self, mut fields: Reader<'b>) -> Result<(), DecodeError> {
        let (likely, nesting) = (self.rows.likely_of_resource(), Nesting::new(&self.limits));
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => {
                    let attribute = key_value(fields.message(field)?, nesting, likely.at(self.resource.len()))?;
                    push_within(&mut self.resource, attribute, self.limits.attributes, "attributes of one resource")?;
                }
                2 => drop(fields.integer(field)?),
                3 => entity_ref(fields.message(field)?)?,
                _ => fields.skip(field)?,
            }
        }
        Ok(())
    }

    fn scope_items(&mut self, message: Reader<'b>, items: &mut impl Items<'b>) -> Result<(), DecodeError> {
        self.scope.clear();
        self.rows.next_scope();
        // So may the scope.
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => self.scope(fields.message(field)?)?,
                2 => drop(fields.message(field)?),
                3 => drop(fields.text(field)?),
                _ => fields.skip(field)?,
            }
        }
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.tag {
                2 => items.item(self, fields.message(field)?)?,
                _ => fields.skip(field)?,
            }
        }
        Ok(())
    }

    fn scope(&mut self, mut fields: Reader<'b>) -> Result<(), DecodeError> {
        let (scope, nesting) = (&mut self.scope, Nesting::new(&self.limits));
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => scope.name = fields.text(field)?,
                2 => scope.version = fields.text(field)?,
                3 => {
                    let attribute = key_value(fields.message(field)?, nesting, None)?;
                    push_within(&mut scope.attributes, attribute, self.limits.attributes, "attributes of one scope")?;
                }
                4 => drop(fields.integer(field)?),
                _ => fields.skip(field)?,
            }
        }
        Ok(())
    }

    /// One more record begins: a log record, a data point or a span.
    fn begin(&mut self, message: &Reader<'b>) -> Result<(), DecodeError> {
        self.attributes.clear();
        if self.records == SAMPLE {
            let done = message.offset();
            self.rows.expect(SAMPLE, done, self.length.saturating_sub(done), &self.limits);
        }
        self.records += 1;
        if self.records > self.limits.records {
            return Err(DecodeError::TooMany { what: "records", limit: self.limits.records });
        }
        Ok(())
    }
}

/// Reads one more attribute of the record that is being read.
#[inline]
fn attribute<'b>(
    fields: &mut Reader<'b>,
    field: Field,
    into: &mut Vec<Pair<'b>>,
    limits: &DecodeLimits,
    likely: LikelyKeys<'b, '_>,
) -> Result<(), DecodeError> {
    let message = fields.message(field)?;
    match plain_attribute(&message, likely.at(into.len())) {
        Some(attribute) if into.len() < limits.attributes => into.push(attribute),
        _ => {
            let attribute = any_key_value(message, Nesting::new(limits))?;
            push_within(into, attribute, limits.attributes, "attributes of one record")?;
        }
    }
    Ok(())
}

fn entity_ref(mut fields: Reader<'_>) -> Result<(), DecodeError> {
    while let Some(field) = fields.field()? {
        match field.tag {
            1..=4 => drop(fields.text(field)?),
            _ => fields.skip(field)?,
        }
    }
    Ok(())
}

/// Says of which request it was that the bytes were not.
fn of(request: &'static str, error: DecodeError) -> DecodeError {
    match error {
        DecodeError::Malformed { offset, .. } => DecodeError::Malformed { what: request, offset },
        other => other,
    }
}
