//! `AnyValue` and `KeyValue` in JSON.

use serde::de::MapAccess;

use crate::json::{Context, Member, Object};
use crate::otlp::value::{KeyValues, Value};
use crate::otlp::{DecodeError, DecodeLimits};

/// A key-value list whose contents have been checked: the text of its `KeyValueList`.
#[derive(Clone, Copy)]
pub(super) struct KeyValueList<'b> {
    context: &'b Context<'b>,
    text: &'b str,
}

/// How the lists of a value are read.
#[derive(Clone, Copy)]
pub(super) struct Nesting {
    lists: Lists,
    /// How much deeper they may nest.
    left: usize,
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    /// For the first time, and kept for who may look into it.
    CheckAndKeep,
    /// For the first time; whatever is around it is kept.
    Check,
    /// Again.
    Keep,
}

/// One `AnyValue`.
pub(super) struct AnyValue<'b> {
    nesting: Nesting,
    pub(super) value: Value<'b, KeyValueList<'b>>,
}

/// The `KeyValue` messages of an array, each handed to `take`.
pub(super) struct Pairs<'b, F> {
    nesting: Nesting,
    key: &'b str,
    value: Value<'b, KeyValueList<'b>>,
    take: F,
}

impl Nesting {
    /// For values of a record or a resource.
    pub(super) const fn new(limits: &DecodeLimits) -> Self {
        Self { lists: Lists::CheckAndKeep, left: limits.depth, limit: limits.depth }
    }

    /// For what has been checked before.
    const AGAIN: Self = Self { lists: Lists::Keep, left: usize::MAX, limit: usize::MAX };

    /// For what is inside a list that is being checked.
    fn inside(self) -> Result<Self, DecodeError> {
        let too_deep = DecodeError::TooMany { what: "levels of nesting", limit: self.limit };
        Ok(Self { lists: Lists::Check, left: self.left.checked_sub(1).ok_or(too_deep)?, ..self })
    }
}

impl AnyValue<'_> {
    pub(super) const fn new(nesting: Nesting) -> Self {
        Self { nesting, value: Value::Absent }
    }
}

impl<'b> Object<'b> for AnyValue<'b> {
    const WHAT: &'static str = "an AnyValue";

    fn begin(&mut self) {
        self.value = Value::Absent;
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        let found = match name {
            "stringValue" | "string_value" => value.text()?.map(Value::Text),
            "boolValue" | "bool_value" => value.boolean()?.map(Value::Bool),
            "intValue" | "int_value" => value.integer()?.map(Value::Int),
            "doubleValue" | "double_value" => value.double()?.map(Value::Double),
            "arrayValue" | "array_value" => self.array(value)?,
            "kvlistValue" | "kvlist_value" => self.list(value)?,
            "bytesValue" | "bytes_value" => value.checked_text("base64", is_base64)?.map(|_| Value::Other),
            // An index into a table that these requests do not have: to be read as no value.
            "stringValueStrindex" | "string_value_strindex" => value.small()?.map(|_| Value::Absent),
            _ => return value.skip(),
        };
        // A kind that is null is not the one that the value has.
        Ok(found.map_or(0, |found| {
            self.value = found;
            1
        }))
    }
}

impl<'b> AnyValue<'b> {
    fn array<A: MapAccess<'b>>(
        &self,
        value: Member<'_, 'b, A>,
    ) -> Result<Option<Value<'b, KeyValueList<'b>>>, A::Error> {
        let context = value.context;
        if self.nesting.lists == Lists::Keep {
            return Ok(value.raw()?.map(|_| Value::Other));
        }
        let nesting = self.nesting.inside().map_err(|error| context.fail(error))?;
        Ok(value.object(&mut Array(nesting))?.then_some(Value::Other))
    }

    fn list<A: MapAccess<'b>>(
        &self,
        value: Member<'_, 'b, A>,
    ) -> Result<Option<Value<'b, KeyValueList<'b>>>, A::Error> {
        let context = value.context;
        if self.nesting.lists == Lists::Check {
            let nesting = self.nesting.inside().map_err(|error| context.fail(error))?;
            return Ok(value.object(&mut List(Pairs::new(nesting, |_, _| Ok(()))))?.then_some(Value::Other));
        }
        let Some(text) = value.raw()? else { return Ok(None) };
        if self.nesting.lists == Lists::CheckAndKeep {
            let checked = self
                .nesting
                .inside()
                .and_then(|nesting| context.object(text, &mut List(Pairs::new(nesting, |_, _| Ok(())))));
            checked.map_err(|error| context.fail(error))?;
        }
        Ok(Some(Value::List(KeyValueList { context, text })))
    }
}

impl<'b> KeyValues<'b> for KeyValueList<'b> {
    fn each(
        self,
        visit: &mut dyn FnMut(&'b str, Value<'b, Self>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.context.object(self.text, &mut List(Pairs::new(Nesting::AGAIN, visit)))
    }
}

impl<'b, F> Pairs<'b, F>
where
    F: FnMut(&'b str, Value<'b, KeyValueList<'b>>) -> Result<(), DecodeError>,
{
    pub(super) const fn new(nesting: Nesting, take: F) -> Self {
        Self { nesting, key: "", value: Value::Absent, take }
    }
}

impl<'b, F> Object<'b> for Pairs<'b, F>
where
    F: FnMut(&'b str, Value<'b, KeyValueList<'b>>) -> Result<(), DecodeError>,
{
    const WHAT: &'static str = "a KeyValue";

    fn begin(&mut self) {
        (self.key, self.value) = ("", Value::Absent);
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "key" => {
                self.key = value.text()?.unwrap_or_default();
                Ok(1)
            }
            "value" => {
                let mut any = AnyValue::new(self.nesting);
                value.object(&mut any)?;
                self.value = any.value;
                Ok(2)
            }
            "keyStrindex" | "key_strindex" => value.small().map(|_| 3),
            _ => value.skip(),
        }
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        (self.take)(self.key, self.value)
    }
}

/// A `KeyValueList`.
struct List<'b, F>(Pairs<'b, F>);

impl<'b, F> Object<'b> for List<'b, F>
where
    F: FnMut(&'b str, Value<'b, KeyValueList<'b>>) -> Result<(), DecodeError>,
{
    const WHAT: &'static str = "a KeyValueList";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "values" => value.objects(&mut self.0).map(|()| 1),
            _ => value.skip(),
        }
    }
}

/// An `ArrayValue`, checked.
struct Array(Nesting);

impl<'b> Object<'b> for Array {
    const WHAT: &'static str = "an ArrayValue";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "values" => value.objects(&mut AnyValue::new(self.0)).map(|()| 1),
            _ => value.skip(),
        }
    }
}

/// Base64 with either alphabet, padded or not.
fn is_base64(text: &str) -> bool {
    let bytes = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text).as_bytes();
    let padded = bytes.len() < text.len();
    let letters = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_'));
    letters && bytes.len() % 4 != 1 && (!padded || text.len().is_multiple_of(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_taken_in_either_alphabet_with_or_without_padding() {
        for taken in ["", "AA==", "AA", "AAA=", "AAA", "AAAA", "+/-_", "AAAAAA=="] {
            assert!(is_base64(taken), "{taken}");
        }
        for refused in ["A", "A===", "AA=", "AAAA=", "=", "A A", "AA\n", "\u{e4}A", "AA=A"] {
            assert!(!is_base64(refused), "{refused}");
        }
    }
}
