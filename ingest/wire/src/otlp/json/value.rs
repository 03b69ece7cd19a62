//! `AnyValue` and `KeyValue` in JSON.

use std::ops::ControlFlow;

use serde::de::MapAccess;

use crate::json::{Context, Member, Object, is_base64};
use crate::otlp::rows::Attribute;
use crate::otlp::value::{KeyValues, Value};
use crate::otlp::{DecodeError, DecodeLimits};

/// An attribute whose value, where it is a list or an array, is read again only if somebody asks for what is in it.
pub(super) type Pair<'b> = Attribute<'b, Kept<'b>>;

/// A key-value list or an array whose contents have been checked: the text of its `KeyValueList` or `ArrayValue`.
#[derive(Clone, Copy)]
pub(super) struct Kept<'b> {
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
    pub(super) value: Value<'b, Kept<'b>>,
}

/// The `KeyValue` messages of an array, each handed to `take`.
pub(super) struct Pairs<'b, F> {
    nesting: Nesting,
    key: &'b str,
    value: Value<'b, Kept<'b>>,
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
            "stringValue" | "string_value" => value.text()?.map(|text| Value::Text(text.into())),
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
    fn array<A: MapAccess<'b>>(&self, value: Member<'_, 'b, A>) -> Result<Option<Value<'b, Kept<'b>>>, A::Error> {
        self.nested(value, |nesting| Array(AnyValue::new(nesting)), Value::Array)
    }

    fn list<A: MapAccess<'b>>(&self, value: Member<'_, 'b, A>) -> Result<Option<Value<'b, Kept<'b>>>, A::Error> {
        self.nested(value, |nesting| List(Pairs::new(nesting, |_, _| Ok(()))), Value::List)
    }

    fn nested<A: MapAccess<'b>, O: Object<'b>>(
        &self,
        value: Member<'_, 'b, A>,
        inside: impl Fn(Nesting) -> O,
        kept: fn(Kept<'b>) -> Value<'b, Kept<'b>>,
    ) -> Result<Option<Value<'b, Kept<'b>>>, A::Error> {
        let context = value.context;
        let checked = || self.nesting.inside().map(&inside);
        if self.nesting.lists == Lists::Check {
            let mut inside = checked().map_err(|error| context.fail(error))?;
            return Ok(value.object(&mut inside)?.then_some(Value::Other));
        }
        let Some(text) = value.raw()? else { return Ok(None) };
        if self.nesting.lists == Lists::CheckAndKeep {
            let read = checked().and_then(|mut inside| context.object(text, &mut inside));
            read.map_err(|error| context.fail(error))?;
        }
        Ok(Some(kept(Kept { context, text })))
    }
}

impl<'b> KeyValues<'b> for Kept<'b> {
    fn each(
        self,
        visit: &mut dyn FnMut(&'b str, Value<'b, Self>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.context.object(self.text, &mut List(Pairs::new(Nesting::AGAIN, visit)))
    }

    fn elements(self, visit: &mut dyn FnMut(Value<'b, Self>) -> ControlFlow<()>) -> Result<(), DecodeError> {
        let value = AnyValue::new(Nesting::AGAIN);
        self.context.object(self.text, &mut Array(Element { value, visit, enough: false }))
    }
}

impl<'b, F> Pairs<'b, F>
where
    F: FnMut(&'b str, Value<'b, Kept<'b>>) -> Result<(), DecodeError>,
{
    pub(super) const fn new(nesting: Nesting, take: F) -> Self {
        Self { nesting, key: "", value: Value::Absent, take }
    }
}

impl<'b, F> Object<'b> for Pairs<'b, F>
where
    F: FnMut(&'b str, Value<'b, Kept<'b>>) -> Result<(), DecodeError>,
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
    F: FnMut(&'b str, Value<'b, Kept<'b>>) -> Result<(), DecodeError>,
{
    const WHAT: &'static str = "a KeyValueList";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "values" => value.objects(&mut self.0).map(|()| 1),
            _ => value.skip(),
        }
    }
}

/// An `ArrayValue`, whose values are read into `0` one after the other.
struct Array<O>(O);

impl<'b, O: Object<'b>> Object<'b> for Array<O> {
    const WHAT: &'static str = "an ArrayValue";

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        match name {
            "values" => value.objects(&mut self.0).map(|()| 1),
            _ => value.skip(),
        }
    }
}

/// A value of an array, handed to `visit` unless that has had enough.
struct Element<'v, 'b> {
    value: AnyValue<'b>,
    visit: &'v mut dyn FnMut(Value<'b, Kept<'b>>) -> ControlFlow<()>,
    enough: bool,
}

impl<'b> Object<'b> for Element<'_, 'b> {
    const WHAT: &'static str = AnyValue::WHAT;

    fn begin(&mut self) {
        self.value.begin();
    }

    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error> {
        self.value.member(name, value)
    }

    fn end(&mut self) -> Result<(), DecodeError> {
        if !self.enough {
            // A field takes scalars: nobody looks into an element.
            self.enough = (self.visit)(self.value.value.with_list(|_| None)).is_break();
        }
        Ok(())
    }
}
