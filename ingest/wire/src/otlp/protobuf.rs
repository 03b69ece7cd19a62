//! OTLP logs in protobuf, walked once into Arrow builders (opentelemetry-proto 1.x, `ExportLogsServiceRequest`).
//!
//! Every field is checked as prost would check it, those that no column needs included, so that a client gets the
//! same answer from every service that speaks OTLP. A message that is not repeated may come in several pieces, which
//! add up: pieces of an `AnyValue` or a `Resource` are read one after the other into the same place.

use std::ops::ControlFlow;

use candor_policy::batch::Received;
use candor_policy::key_index::KeyIndex;

use super::rows::{Attribute, Record, Rows};
use super::value::{KeyValues, Value};
use super::wire_reader::Reader;
use super::{DecodeError, DecodeLimits};

/// Decodes the decompressed body of `POST /v1/logs`.
///
/// # Errors
/// [`DecodeError`] exactly where prost's decoder of the same message gives one, and for the limits.
pub fn decode_logs(body: &[u8], keys: &KeyIndex, limits: &DecodeLimits) -> Result<Received, DecodeError> {
    let mut walk = Walk {
        rows: Rows::new(keys, limits),
        limits: *limits,
        records: 0,
        resource: Vec::new(),
        attributes: Vec::new(),
    };
    let mut request = Reader::new(body);
    while let Some(field) = request.field()? {
        match field.tag {
            1 => walk.resource_logs(request.message(field)?)?,
            _ => request.skip(field)?,
        }
    }
    Ok(walk.rows.finish())
}

/// Where the walk is, and what it keeps of the messages around.
struct Walk<'b, 'k> {
    rows: Rows<'k>,
    limits: DecodeLimits,
    records: usize,
    /// Attributes of the current resource.
    resource: Vec<Attribute<'b, Pieces<'b>>>,
    /// Attributes of the current record.
    attributes: Vec<Attribute<'b, Pieces<'b>>>,
}

impl<'b> Walk<'b, '_> {
    fn resource_logs(&mut self, message: Reader<'b>) -> Result<(), DecodeError> {
        self.resource.clear();
        self.rows.next_resource();
        // The resource may stand behind its records.
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
                2 => self.scope_logs(fields.message(field)?)?,
                _ => fields.skip(field)?,
            }
        }
        Ok(())
    }

    fn resource(&mut self, mut fields: Reader<'b>) -> Result<(), DecodeError> {
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => {
                    let limit = self.limits.attributes;
                    let attribute = key_value(fields.message(field)?, self.nesting())?;
                    push_within(&mut self.resource, attribute, limit, "attributes of one resource")?;
                }
                2 => drop(fields.integer(field)?),
                3 => entity_ref(fields.message(field)?)?,
                _ => fields.skip(field)?,
            }
        }
        Ok(())
    }

    fn scope_logs(&mut self, mut fields: Reader<'b>) -> Result<(), DecodeError> {
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => scope(fields.message(field)?, self.nesting())?,
                2 => self.log_record(fields.message(field)?)?,
                3 => drop(fields.text(field)?),
                _ => fields.skip(field)?,
            }
        }
        Ok(())
    }

    fn log_record(&mut self, message: Reader<'b>) -> Result<(), DecodeError> {
        self.records += 1;
        if self.records > self.limits.records {
            return Err(DecodeError::TooMany { what: "records", limit: self.limits.records });
        }
        self.attributes.clear();
        let mut fields = message;
        let mut body = Value::Absent;
        let (mut time, mut observed_time, mut severity_number) = (0, 0, 0);
        let (mut severity_text, mut event_name) = ("", "");
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => time = fields.fixed64(field)?,
                2 => severity_number = fields.integer(field)? as i32,
                3 => severity_text = fields.text(field)?,
                5 => any_value(fields.message(field)?, self.nesting(), &mut body)?,
                6 => {
                    let limit = self.limits.attributes;
                    let attribute = key_value(fields.message(field)?, self.nesting())?;
                    push_within(&mut self.attributes, attribute, limit, "attributes of one record")?;
                }
                7 => drop(fields.integer(field)?),
                8 => fields.fixed32(field)?,
                9 | 10 => drop(fields.bytes(field)?),
                11 => observed_time = fields.fixed64(field)?,
                12 => event_name = fields.text(field)?,
                _ => fields.skip(field)?,
            }
        }
        let body = body.with_list(|()| Some(Pieces { message, tag: 5 }));
        let attributes = &self.attributes;
        let record = Record { event_name, time, observed_time, severity_number, severity_text, body, attributes };
        self.rows.record(&self.resource, &record)
    }

    const fn nesting(&self) -> Nesting {
        Nesting { left: self.limits.depth, limit: self.limits.depth }
    }
}

/// How much deeper lists of a value may nest.
#[derive(Clone, Copy)]
struct Nesting {
    left: usize,
    limit: usize,
}

impl Nesting {
    /// For what has been walked within its limit before.
    const ANY: Self = Self { left: usize::MAX, limit: usize::MAX };

    fn deeper(self) -> Result<Self, DecodeError> {
        let left =
            self.left.checked_sub(1).ok_or(DecodeError::TooMany { what: "levels of nesting", limit: self.limit })?;
        Ok(Self { left, ..self })
    }
}

/// A key-value list or array that has been walked once: the message that holds the value, and the field of it that does.
#[derive(Clone, Copy)]
struct Pieces<'b> {
    message: Reader<'b>,
    tag: u32,
}

/// Fields of an `AnyValue`.
const ARRAY: u32 = 5;
const LIST: u32 = 6;

impl<'b> KeyValues<'b> for Pieces<'b> {
    fn each(
        self,
        visit: &mut dyn FnMut(&'b str, Value<'b, Self>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.last_run(LIST, &mut |pair| {
            let (key, value) = key_value(pair, Nesting::ANY)?;
            visit(key, value).map(|()| ControlFlow::Continue(()))
        })
    }

    fn elements(self, visit: &mut dyn FnMut(Value<'b, Self>) -> ControlFlow<()>) -> Result<(), DecodeError> {
        self.last_run(ARRAY, &mut |element| {
            let mut value = Value::Absent;
            any_value(element, Nesting::ANY, &mut value)?;
            // A field takes scalars: nobody looks into an element.
            Ok(visit(value.with_list(|()| None)))
        })
    }
}

impl<'b> Pieces<'b> {
    /// Visits what is in the pieces of one kind of value. Pieces add up until another kind comes between them: only the
    /// last run counts.
    fn last_run(
        self,
        kind: u32,
        visit: &mut dyn FnMut(Reader<'b>) -> Result<ControlFlow<()>, DecodeError>,
    ) -> Result<(), DecodeError> {
        let (mut piece, mut run_start, mut in_run) = (0_usize, 0, false);
        self.pieces(kind, &mut |found| {
            if found.is_some() {
                if !in_run {
                    run_start = piece;
                }
                piece += 1;
            }
            in_run = found.is_some();
            Ok(ControlFlow::Continue(()))
        })?;
        piece = 0;
        self.pieces(kind, &mut |found| {
            let Some(mut found) = found else { return Ok(ControlFlow::Continue(())) };
            piece += 1;
            if piece <= run_start {
                return Ok(ControlFlow::Continue(()));
            }
            while let Some(field) = found.field()? {
                if field.tag != 1 {
                    found.skip(field)?;
                } else if visit(found.message(field)?)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Visits the value's fields in order: those of the kind, and `None` for any other.
    fn pieces(
        self,
        kind: u32,
        visit: &mut dyn FnMut(Option<Reader<'b>>) -> Result<ControlFlow<()>, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut around = self.message;
        while let Some(field) = around.field()? {
            if field.tag != self.tag {
                around.skip(field)?;
                continue;
            }
            let mut value = around.message(field)?;
            while let Some(field) = value.field()? {
                let found = match field.tag {
                    tag if tag == kind => visit(Some(value.message(field)?))?,
                    1..=8 => {
                        value.skip(field)?;
                        visit(None)?
                    }
                    _ => {
                        value.skip(field)?;
                        continue;
                    }
                };
                if found.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn key_value(message: Reader<'_>, nesting: Nesting) -> Result<Attribute<'_, Pieces<'_>>, DecodeError> {
    let (mut key, mut value) = ("", Value::Absent);
    let mut fields = message;
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => key = fields.text(field)?,
            2 => any_value(fields.message(field)?, nesting, &mut value)?,
            3 => drop(fields.integer(field)?),
            _ => fields.skip(field)?,
        }
    }
    Ok((key, value.with_list(|()| Some(Pieces { message, tag: 2 }))))
}

/// Reads one piece of a value into `value`, which holds what the pieces before it said.
fn any_value<'b>(mut fields: Reader<'b>, nesting: Nesting, value: &mut Value<'b, ()>) -> Result<(), DecodeError> {
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => *value = Value::Text(fields.text(field)?),
            2 => *value = Value::Bool(fields.integer(field)? != 0),
            3 => *value = Value::Int(fields.integer(field)? as i64),
            4 => *value = Value::Double(f64::from_bits(fields.fixed64(field)?)),
            ARRAY => {
                array(fields.message(field)?, nesting.deeper()?)?;
                *value = Value::Array(());
            }
            LIST => {
                list(fields.message(field)?, nesting.deeper()?)?;
                *value = Value::List(());
            }
            7 => {
                fields.bytes(field)?;
                *value = Value::Other;
            }
            // An index into a table that log requests do not have: to be read as no value.
            8 => {
                fields.integer(field)?;
                *value = Value::Absent;
            }
            _ => fields.skip(field)?,
        }
    }
    Ok(())
}

fn array(mut fields: Reader<'_>, nesting: Nesting) -> Result<(), DecodeError> {
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => any_value(fields.message(field)?, nesting, &mut Value::Absent)?,
            _ => fields.skip(field)?,
        }
    }
    Ok(())
}

fn list(mut fields: Reader<'_>, nesting: Nesting) -> Result<(), DecodeError> {
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => drop(key_value(fields.message(field)?, nesting)?),
            _ => fields.skip(field)?,
        }
    }
    Ok(())
}

fn scope(mut fields: Reader<'_>, nesting: Nesting) -> Result<(), DecodeError> {
    while let Some(field) = fields.field()? {
        match field.tag {
            1 | 2 => drop(fields.text(field)?),
            3 => drop(key_value(fields.message(field)?, nesting)?),
            4 => drop(fields.integer(field)?),
            _ => fields.skip(field)?,
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

fn push_within<T>(items: &mut Vec<T>, item: T, limit: usize, what: &'static str) -> Result<(), DecodeError> {
    if items.len() >= limit {
        return Err(DecodeError::TooMany { what, limit });
    }
    items.push(item);
    Ok(())
}
