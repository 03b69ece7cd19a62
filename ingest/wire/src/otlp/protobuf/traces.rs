//! Spans.

use super::super::span::{Link, PART_TIMES, Plain, Span, SpanEvent};
use super::super::{DecodeError, keep_within, push_within};
use super::reader::{Field, Reader};
use super::value::{Nesting, Pair, key_value};
use super::{Items, Walk, attribute};

const EVENTS: &str = "attributes of one span's events";
const LINKS: &str = "attributes of one span's links";

/// Reads the spans of `ScopeSpans`.
#[derive(Default)]
pub(super) struct Spans<'b> {
    events: Vec<SpanEvent<'b>>,
    event_attributes: Vec<Pair<'b>>,
    links: Vec<Link<'b>>,
    link_attributes: Vec<Pair<'b>>,
}

impl<'b> Items<'b> for Spans<'b> {
    fn item(&mut self, walk: &mut Walk<'b>, mut fields: Reader<'b>) -> Result<(), DecodeError> {
        walk.begin(&fields)?;
        let (likely_name, likely) = walk.rows.likely();
        self.events.clear();
        self.event_attributes.clear();
        self.links.clear();
        self.link_attributes.clear();
        let mut span = Plain::default();
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => span.trace_id = fields.bytes(field)?,
                2 => span.span_id = fields.bytes(field)?,
                3 => span.trace_state = fields.text(field)?,
                4 => span.parent_span_id = fields.bytes(field)?,
                5 => span.name = fields.text_like(field, likely_name)?,
                6 => span.kind = fields.integer(field)? as i32,
                7 => span.start_time = fields.fixed64(field)?,
                8 => span.end_time = fields.fixed64(field)?,
                9 => attribute(&mut fields, field, &mut walk.attributes, &walk.limits, likely)?,
                10 | 12 | 14 => drop(fields.integer(field)?),
                11 => self.event(walk, fields.message(field)?)?,
                13 => self.link(walk, fields.message(field)?)?,
                15 => status(fields.message(field)?, &mut span)?,
                16 => drop(fields.fixed32(field)?),
                _ => fields.skip(field)?,
            }
        }
        let span = Span {
            plain: span,
            attributes: &walk.attributes,
            events: &self.events,
            event_attributes: &self.event_attributes,
            links: &self.links,
            link_attributes: &self.link_attributes,
        };
        walk.rows.record(&walk.resource, &walk.scope, &span).map(drop)
    }
}

impl<'b> Spans<'b> {
    fn event(&mut self, walk: &Walk<'b>, mut fields: Reader<'b>) -> Result<(), DecodeError> {
        let first = self.event_attributes.len();
        let (mut time, mut name) = (0, "");
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => time = fields.fixed64(field)?,
                2 => name = fields.text(field)?,
                3 => part_attribute(&mut fields, field, &mut self.event_attributes, walk, EVENTS)?,
                4 => drop(fields.integer(field)?),
                _ => fields.skip(field)?,
            }
        }
        let event = SpanEvent { name, time, attributes: first..self.event_attributes.len() };
        keep_within(&mut self.events, event, walk.limits.elements);
        Ok(())
    }

    fn link(&mut self, walk: &Walk<'b>, mut fields: Reader<'b>) -> Result<(), DecodeError> {
        let first = self.link_attributes.len();
        let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => trace_id = fields.bytes(field)?,
                2 => span_id = fields.bytes(field)?,
                3 => drop(fields.text(field)?),
                4 => part_attribute(&mut fields, field, &mut self.link_attributes, walk, LINKS)?,
                5 => drop(fields.integer(field)?),
                6 => drop(fields.fixed32(field)?),
                _ => fields.skip(field)?,
            }
        }
        let link = Link { trace_id, span_id, attributes: first..self.link_attributes.len() };
        keep_within(&mut self.links, link, walk.limits.elements);
        Ok(())
    }
}

/// Reads one more attribute of one of a span's events or links, all of which share a limit.
fn part_attribute<'b>(
    fields: &mut Reader<'b>,
    field: Field,
    into: &mut Vec<Pair<'b>>,
    walk: &Walk<'b>,
    what: &'static str,
) -> Result<(), DecodeError> {
    let attribute = key_value(fields.message(field)?, Nesting::new(&walk.limits), None)?;
    push_within(into, attribute, walk.limits.attributes.saturating_mul(PART_TIMES), what)
}

fn status<'b>(mut fields: Reader<'b>, span: &mut Plain<'b>) -> Result<(), DecodeError> {
    while let Some(field) = fields.field()? {
        match field.tag {
            2 => span.status_message = fields.text(field)?,
            3 => span.status_code = fields.integer(field)? as i32,
            _ => fields.skip(field)?,
        }
    }
    Ok(())
}
