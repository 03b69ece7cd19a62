//! Any JSON object as attributes: its members are pairs, objects inside it key-value lists, arrays arrays.
//!
//! Pairs keep their order, and of two members of one name the first counts, as for attributes of OTLP. A member that is
//! `null` is no attribute at all. Whole numbers are integers, other numbers doubles.

use std::ops::ControlFlow;

use serde::de::MapAccess;

use super::object::{Member, Object};
use super::{Context, MOST_LEVELS, levels, too_deep};
use crate::otlp::DecodeError;
use crate::otlp::value::{KeyValues, Value};

/// What a visitor of pairs is: the name and the value of each.
type Visit<'v, 'b> = dyn FnMut(&'b str, Value<'b, Json<'b>>) -> Result<(), DecodeError> + 'v;

/// The text of an object or an array, whose syntax has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Json<'b> {
    context: &'b Context<'b>,
    text: &'b str,
}

impl<'b> Context<'b> {
    /// A value that has been read as text. Its depth is checked here, once.
    pub(crate) fn value(&'b self, text: &'b str) -> Result<Value<'b, Json<'b>>, DecodeError> {
        // An object and all that is around it share one limit, so what could nest at all has room for it.
        if text.len() > MOST_LEVELS && levels(text) > MOST_LEVELS {
            return Err(too_deep());
        }
        self.shallow_value(text)
    }

    /// A value inside one that has been checked for depth.
    fn shallow_value(&'b self, text: &'b str) -> Result<Value<'b, Json<'b>>, DecodeError> {
        Ok(match text.as_bytes().first() {
            Some(b'{') => Value::List(Json { context: self, text }),
            Some(b'[') => Value::Array(Json { context: self, text }),
            Some(b'"') => Value::Text(self.string(text)?.into()),
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'-' | b'0'..=b'9') => self.number(text)?,
            _ => Value::Absent,
        })
    }

    fn string(&'b self, text: &'b str) -> Result<&'b str, DecodeError> {
        let inside = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
        if inside.contains('\\') {
            let string: Option<&'b str> = self.run(text, super::scalar::Seed::<super::scalar::Text>::new(self))?;
            return Ok(string.unwrap_or_default());
        }
        Ok(inside)
    }

    fn number(&'b self, text: &str) -> Result<Value<'b, Json<'b>>, DecodeError> {
        if let Ok(whole) = text.parse() {
            return Ok(Value::Int(whole));
        }
        let double = super::number::double_of_text(text);
        double.map(Value::Double).ok_or_else(|| self.unexpected_at("a number in the range of doubles", text))
    }
}

impl<'b> KeyValues<'b> for Json<'b> {
    fn each(self, visit: &mut Visit<'_, 'b>) -> Result<(), DecodeError> {
        self.context.object(self.text, &mut Pairs { visit })
    }

    fn elements(self, visit: &mut dyn FnMut(Value<'b, Self>) -> ControlFlow<()>) -> Result<(), DecodeError> {
        let mut enough = false;
        self.context.array(self.text, &mut |text| {
            if !enough {
                // A field takes scalars: nobody looks into an element.
                enough = visit(self.context.shallow_value(text)?.with_list(|_| None)).is_break();
            }
            Ok(())
        })
    }
}

/// Hands the members of one object on.
struct Pairs<'v, 'b> {
    visit: &'v mut Visit<'v, 'b>,
}

impl<'b> Object<'b> for Pairs<'_, 'b> {
    const WHAT: &'static str = "an object";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let context = value.context;
        if let Some(text) = value.raw()? {
            let value = context.shallow_value(text).map_err(|error| context.fail(error))?;
            (self.visit)(name, value).map_err(|error| context.fail(error))?;
        }
        Ok(0)
    }
}
