//! Scalars by protobuf's JSON mapping: numbers may stand in strings, enumerations may be names, `null` is absence.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use super::Context;
use super::number::{double_of_text, integer_of_double, integer_of_text, unsigned_of_text};

/// One kind of scalar.
pub(super) trait Scalar<'b> {
    type Value;
    const WHAT: &'static str;

    fn boolean(_: bool) -> Option<Self::Value> {
        None
    }

    fn integer(_: i64) -> Option<Self::Value> {
        None
    }

    fn unsigned(value: u64) -> Option<Self::Value> {
        i64::try_from(value).ok().and_then(Self::integer)
    }

    fn double(_: f64) -> Option<Self::Value> {
        None
    }

    /// A string; `'b` where it is a slice of the body.
    fn text(_: &str) -> Option<Self::Value> {
        None
    }

    /// A string that lives as long as the body.
    fn kept_text(text: &'b str) -> Option<Self::Value> {
        Self::text(text)
    }

    /// Whether it keeps a string, so that one with escapes must be put by.
    const KEEPS_TEXT: bool = false;
}

pub(super) struct Text;
pub(super) struct Boolean;
pub(super) struct Integer;
pub(super) struct Unsigned;
pub(super) struct Double;

impl<'b> Scalar<'b> for Text {
    type Value = &'b str;
    const WHAT: &'static str = "a string";
    const KEEPS_TEXT: bool = true;

    fn kept_text(text: &'b str) -> Option<&'b str> {
        Some(text)
    }
}

impl Scalar<'_> for Boolean {
    type Value = bool;
    const WHAT: &'static str = "true or false";

    fn boolean(value: bool) -> Option<bool> {
        Some(value)
    }
}

impl Scalar<'_> for Integer {
    type Value = i64;
    const WHAT: &'static str = "an integer of 64 bits";

    fn integer(value: i64) -> Option<i64> {
        Some(value)
    }

    fn double(value: f64) -> Option<i64> {
        integer_of_double(value)
    }

    fn text(text: &str) -> Option<i64> {
        integer_of_text(text)
    }
}

impl Scalar<'_> for Unsigned {
    type Value = u64;
    const WHAT: &'static str = "an unsigned integer of 64 bits";

    fn integer(value: i64) -> Option<u64> {
        u64::try_from(value).ok()
    }

    fn unsigned(value: u64) -> Option<u64> {
        Some(value)
    }

    fn double(value: f64) -> Option<u64> {
        integer_of_double(value)
    }

    fn text(text: &str) -> Option<u64> {
        unsigned_of_text(text)
    }
}

impl Scalar<'_> for Double {
    type Value = f64;
    const WHAT: &'static str = "a number";

    fn integer(value: i64) -> Option<f64> {
        Some(value as f64)
    }

    fn unsigned(value: u64) -> Option<f64> {
        Some(value as f64)
    }

    fn double(value: f64) -> Option<f64> {
        Some(value)
    }

    fn text(text: &str) -> Option<f64> {
        double_of_text(text)
    }
}

/// Reads a scalar; `None` for null.
pub(super) struct Seed<'b, S> {
    context: &'b Context<'b>,
    scalar: PhantomData<S>,
}

impl<'b, S: Scalar<'b>> Seed<'b, S> {
    pub(super) const fn new(context: &'b Context<'b>) -> Self {
        Self { context, scalar: PhantomData }
    }
}

impl<'b, S: Scalar<'b>> DeserializeSeed<'b> for Seed<'b, S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.context.expected.set(S::WHAT);
        deserializer.deserialize_any(self)
    }
}

impl<'b, S: Scalar<'b>> Visitor<'b> for Seed<'b, S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(S::WHAT)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        found(S::boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        found(S::integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        found(S::unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        found(S::double(value))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'b str) -> Result<Self::Value, E> {
        found(S::kept_text(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if S::KEEPS_TEXT { found(S::kept_text(self.context.arena.alloc_str(text))) } else { found(S::text(text)) }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads the name of a member.
pub(super) struct Name<'b>(pub(super) &'b Context<'b>);

impl<'b> DeserializeSeed<'b> for Name<'b> {
    type Value = &'b str;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<&'b str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'b> Visitor<'b> for Name<'b> {
    type Value = &'b str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'b str) -> Result<&'b str, E> {
        Ok(name)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<&'b str, E> {
        Ok(self.0.arena.alloc_str(name))
    }
}

/// Reads an enumeration, whose names count from 0.
pub(super) struct Enumeration<'b> {
    pub(super) context: &'b Context<'b>,
    pub(super) names: &'static [&'static str],
}

impl<'b> DeserializeSeed<'b> for Enumeration<'b> {
    type Value = i32;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<i32, D::Error> {
        self.context.expected.set("a number of 32 bits or a name");
        deserializer.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Enumeration<'b> {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of 32 bits or a name")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<i32, E> {
        i32::try_from(value).map_err(|_| E::custom(""))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<i32, E> {
        i32::try_from(value).map_err(|_| E::custom(""))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<i32, E> {
        integer_of_double(value).ok_or_else(|| E::custom(""))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<i32, E> {
        Ok(self.names.iter().position(|known| *known == name).unwrap_or(0) as i32)
    }

    fn visit_unit<E: Error>(self) -> Result<i32, E> {
        Ok(0)
    }
}

fn found<T, E: Error>(value: Option<T>) -> Result<Option<T>, E> {
    if value.is_some() { Ok(value) } else { Err(E::custom("")) }
}
