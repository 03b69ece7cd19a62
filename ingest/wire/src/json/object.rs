//! Objects and their members, as serde's visitors give them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::scalar::{Boolean, Double, Enumeration, Integer, Scalar, Seed, Text, Unsigned};
use super::{Context, MOST_LEVELS, UNPLACED, levels, too_deep};
use crate::otlp::DecodeError;

/// What takes the members of a JSON object. In an array of objects one and the same takes them all.
pub(crate) trait Object<'b> {
    /// What it is, for errors: `a LogRecord`.
    const WHAT: &'static str;

    /// An object begins.
    fn begin(&mut self) {}

    /// Takes the value of a member, and says which field it was: a number from 1 to 63, or 0 for one that is unknown
    /// or may come again. A number that comes twice is an error.
    fn member<A: MapAccess<'b>>(&mut self, name: &'b str, value: Member<'_, 'b, A>) -> Result<u32, A::Error>;

    /// The object has ended.
    fn end(&mut self) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// The value of a member, still to be read. `null` is absence everywhere but inside arrays.
pub(crate) struct Member<'m, 'b, A> {
    /// What the whole body shares.
    pub(crate) context: &'b Context<'b>,
    map: &'m mut A,
}

impl<'b, A: MapAccess<'b>> Member<'_, 'b, A> {
    /// A string.
    pub(crate) fn text(self) -> Result<Option<&'b str>, A::Error> {
        self.scalar::<Text>()
    }

    /// `true` or `false`.
    pub(crate) fn boolean(self) -> Result<Option<bool>, A::Error> {
        self.scalar::<Boolean>()
    }

    /// A whole number, or a string that holds one.
    pub(crate) fn integer(self) -> Result<Option<i64>, A::Error> {
        self.scalar::<Integer>()
    }

    /// The same without a sign.
    pub(crate) fn unsigned(self) -> Result<Option<u64>, A::Error> {
        self.scalar::<Unsigned>()
    }

    /// The same within 32 bits, signed.
    pub(crate) fn small(self) -> Result<Option<i32>, A::Error> {
        let context = self.context;
        let number = self.integer()?;
        number.map(i32::try_from).transpose().map_err(|_| context.unexpected("an integer of 32 bits"))
    }

    /// The same within 32 bits, without a sign.
    pub(crate) fn small_unsigned(self) -> Result<Option<u32>, A::Error> {
        let context = self.context;
        let number = self.unsigned()?;
        number.map(u32::try_from).transpose().map_err(|_| context.unexpected("an unsigned integer of 32 bits"))
    }

    /// A number, or a string that holds one, `NaN`, `Infinity` or `-Infinity`.
    pub(crate) fn double(self) -> Result<Option<f64>, A::Error> {
        self.scalar::<Double>()
    }

    /// A number, or one of the names; a name that is not among them is the unspecified 0, as an unknown field would be.
    pub(crate) fn enumeration(self, names: &'static [&'static str]) -> Result<i32, A::Error> {
        self.map.next_value_seed(Enumeration { context: self.context, names })
    }

    /// A string that a check of its letters lets through.
    pub(crate) fn checked_text(
        self,
        what: &'static str,
        check: impl FnOnce(&str) -> bool,
    ) -> Result<Option<&'b str>, A::Error> {
        let context = self.context;
        let text = self.text()?;
        if text.is_none_or(check) { Ok(text) } else { Err(context.unexpected(what)) }
    }

    /// Bytes in hex; none for null.
    pub(crate) fn hex(self) -> Result<&'b [u8], A::Error> {
        let context = self.context;
        let Some(text) = self.text()? else { return Ok(&[]) };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(context.unexpected(HEX)) };
        if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(context.unexpected(HEX));
        }
        Ok(context.arena.alloc_slice_fill_iter(pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low))))
    }

    /// An array of numbers without a sign.
    pub(crate) fn unsigneds(self, push: impl FnMut(u64)) -> Result<(), A::Error> {
        self.map.next_value_seed(Scalars::<Unsigned, _> { context: self.context, push, scalar: PhantomData })
    }

    /// An array of numbers.
    pub(crate) fn doubles(self, push: impl FnMut(f64)) -> Result<(), A::Error> {
        self.map.next_value_seed(Scalars::<Double, _> { context: self.context, push, scalar: PhantomData })
    }

    /// An object. False if there is none.
    pub(crate) fn object(self, object: &mut impl Object<'b>) -> Result<bool, A::Error> {
        self.map.next_value_seed(Members { context: self.context, object, nullable: true })
    }

    /// An array of objects.
    pub(crate) fn objects(self, object: &mut impl Object<'b>) -> Result<(), A::Error> {
        self.map.next_value_seed(Elements { context: self.context, object })
    }

    /// The text of the value, whatever it is; `None` for null.
    pub(crate) fn raw(self) -> Result<Option<&'b str>, A::Error> {
        let raw = self.map.next_value::<&'b RawValue>()?.get();
        Ok((raw != "null").then_some(raw))
    }

    /// Leaves an unknown value out. It must not nest deeper than a known one could.
    pub(crate) fn skip(self) -> Result<u32, A::Error> {
        let context = self.context;
        let raw = self.map.next_value::<&'b RawValue>()?.get();
        if raw.len() > MOST_LEVELS && levels(raw) > MOST_LEVELS {
            return Err(context.fail(too_deep()));
        }
        Ok(0)
    }

    fn scalar<S: Scalar<'b>>(self) -> Result<Option<S::Value>, A::Error> {
        self.map.next_value_seed(Seed::<S>::new(self.context))
    }
}

/// Reads one object.
pub(super) struct Members<'m, 'b, O> {
    pub(super) context: &'b Context<'b>,
    pub(super) object: &'m mut O,
    /// Whether `null` may stand in its place.
    pub(super) nullable: bool,
}

impl<'b, O: Object<'b>> DeserializeSeed<'b> for Members<'_, 'b, O> {
    type Value = bool;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<bool, D::Error> {
        self.context.expected.set(O::WHAT);
        deserializer.deserialize_any(self)
    }
}

impl<'b, O: Object<'b>> Visitor<'b> for Members<'_, 'b, O> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(O::WHAT)
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<bool, A::Error> {
        let context = self.context;
        self.object.begin();
        let mut seen = 0_u64;
        while let Some(name) = map.next_key_seed(super::scalar::Name(context))? {
            let field = self.object.member(name, Member { context, map: &mut map })?;
            let bit = 1_u64 << field;
            if field > 0 && seen & bit != 0 {
                return Err(context.unexpected("each member once"));
            }
            seen |= bit;
        }
        self.object.end().map_err(|error| match error {
            DecodeError::Expected { what, offset: UNPLACED } => context.unexpected(what),
            other => context.fail(other),
        })?;
        Ok(true)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        if self.nullable { Ok(false) } else { Err(E::custom("")) }
    }
}

/// Reads an array of objects.
pub(super) struct Elements<'m, 'b, O> {
    pub(super) context: &'b Context<'b>,
    pub(super) object: &'m mut O,
}

impl<'b, O: Object<'b>> DeserializeSeed<'b> for Elements<'_, 'b, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<(), D::Error> {
        self.context.expected.set("an array");
        deserializer.deserialize_any(self)
    }
}

impl<'b, O: Object<'b>> Visitor<'b> for Elements<'_, 'b, O> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'b>>(self, mut sequence: S) -> Result<(), S::Error> {
        let Self { context, object } = self;
        while sequence.next_element_seed(Members { context, object: &mut *object, nullable: false })?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads an array as the texts of its elements.
pub(super) struct Texts<'v, 'b> {
    pub(super) context: &'b Context<'b>,
    pub(super) element: &'v mut dyn FnMut(&'b str) -> Result<(), DecodeError>,
}

impl<'b> DeserializeSeed<'b> for Texts<'_, 'b> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<(), D::Error> {
        self.context.expected.set("an array");
        deserializer.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Texts<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<Q: SeqAccess<'b>>(self, mut sequence: Q) -> Result<(), Q::Error> {
        while let Some(raw) = sequence.next_element::<&'b RawValue>()? {
            (self.element)(raw.get()).map_err(|error| self.context.fail(error))?;
        }
        Ok(())
    }
}

/// Reads an array of scalars.
struct Scalars<'b, S, F> {
    context: &'b Context<'b>,
    push: F,
    scalar: PhantomData<S>,
}

impl<'b, S: Scalar<'b>, F: FnMut(S::Value)> DeserializeSeed<'b> for Scalars<'b, S, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<(), D::Error> {
        self.context.expected.set("an array");
        deserializer.deserialize_any(self)
    }
}

impl<'b, S: Scalar<'b>, F: FnMut(S::Value)> Visitor<'b> for Scalars<'b, S, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<Q: SeqAccess<'b>>(mut self, mut sequence: Q) -> Result<(), Q::Error> {
        while let Some(element) = sequence.next_element_seed(Seed::<S>::new(self.context))? {
            let Some(element) = element else { return Err(self.context.unexpected(S::WHAT)) };
            (self.push)(element);
        }
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

const HEX: &str = "bytes in hex";

/// Value of a hexadecimal digit that is one.
const fn digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a' - 10),
    }
}
