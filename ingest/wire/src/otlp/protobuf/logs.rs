//! Log records.

use super::super::DecodeError;
use super::super::log::LogRecord;
use super::super::value::Value;
use super::reader::Reader;
use super::value::{Nesting, Pieces, any_value};
use super::{Items, Walk, attribute};

/// Field of a `LogRecord` that holds its body.
const BODY: u32 = 5;

/// Reads the records of `ScopeLogs`.
pub(super) struct Logs;

impl<'b> Items<'b> for Logs {
    fn item(&mut self, walk: &mut Walk<'b>, message: Reader<'b>) -> Result<(), DecodeError> {
        walk.begin(&message)?;
        let nesting = Nesting::new(&walk.limits);
        let (likely_name, likely) = walk.rows.likely();
        let mut body = Value::Absent;
        let (mut time, mut observed_time, mut severity_number) = (0, 0, 0);
        let (mut severity_text, mut event_name) = ("", "");
        let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => time = fields.fixed64(field)?,
                2 => severity_number = fields.integer(field)? as i32,
                3 => severity_text = fields.text(field)?,
                BODY => any_value(fields.message(field)?, nesting, &mut body)?,
                6 => attribute(&mut fields, field, &mut walk.attributes, &walk.limits, likely)?,
                7 => drop(fields.integer(field)?),
                8 => drop(fields.fixed32(field)?),
                9 => trace_id = fields.bytes(field)?,
                10 => span_id = fields.bytes(field)?,
                11 => observed_time = fields.fixed64(field)?,
                12 => event_name = fields.text_like(field, likely_name)?,
                _ => fields.skip(field)?,
            }
        }
        let record = LogRecord {
            event_name,
            time,
            observed_time,
            severity_number,
            severity_text,
            trace_id,
            span_id,
            body: body.with_list(|()| Some(Pieces { message, tag: BODY })),
            attributes: &walk.attributes,
        };
        walk.rows.record(&walk.resource, &walk.scope, &record).map(drop)
    }
}
