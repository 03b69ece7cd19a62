//! Values and attributes.

use std::ops::ControlFlow;

use super::super::rows::Attribute;
use super::super::value::{KeyValues, Value};
use super::super::{DecodeError, DecodeLimits};
use super::reader::{Reader, plain_attribute};

/// An attribute whose value, where it is a list, is walked again only if somebody asks for what is in it.
pub(super) type Pair<'b> = Attribute<'b, Pieces<'b>>;

/// How much deeper lists of a value may nest.
#[derive(Clone, Copy)]
pub(super) struct Nesting {
    left: usize,
    limit: usize,
}

impl Nesting {
    /// For what has been walked within its limit before.
    const ANY: Self = Self { left: usize::MAX, limit: usize::MAX };

    pub(super) const fn new(limits: &DecodeLimits) -> Self {
        Self { left: limits.depth, limit: limits.depth }
    }

    fn deeper(self) -> Result<Self, DecodeError> {
        let left =
            self.left.checked_sub(1).ok_or(DecodeError::TooMany { what: "levels of nesting", limit: self.limit })?;
        Ok(Self { left, ..self })
    }
}

/// A key-value list or array that has been walked once: the message that holds the value, and the field of it that does.
#[derive(Clone, Copy)]
pub(super) struct Pieces<'b> {
    pub(super) message: Reader<'b>,
    pub(super) tag: u32,
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
            let (key, value) = key_value(pair, Nesting::ANY, None)?;
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

/// A `KeyValue`, whose key probably is `likely`.
#[inline]
pub(super) fn key_value<'b>(
    message: Reader<'b>,
    nesting: Nesting,
    likely: Option<&'b str>,
) -> Result<Pair<'b>, DecodeError> {
    plain_attribute(&message, likely).map_or_else(|| any_key_value(message, nesting), Ok)
}

/// A `KeyValue` of any shape.
pub(super) fn any_key_value(message: Reader<'_>, nesting: Nesting) -> Result<Pair<'_>, DecodeError> {
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
pub(super) fn any_value<'b>(
    mut fields: Reader<'b>,
    nesting: Nesting,
    value: &mut Value<'b, ()>,
) -> Result<(), DecodeError> {
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => *value = Value::Text(fields.unread_text(field)?),
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
            // An index into a table that requests do not have: to be read as no value.
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
            1 => drop(any_key_value(fields.message(field)?, nesting)?),
            _ => fields.skip(field)?,
        }
    }
    Ok(())
}
