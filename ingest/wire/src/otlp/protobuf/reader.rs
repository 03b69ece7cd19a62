//! Protobuf's wire format, read from a slice: accepts and refuses exactly what prost 0.14 does.
//!
//! prost reads from one long buffer and notices afterwards when a field ran past its message; a reader that ends with
//! its message refuses the same bodies. All else follows it: over-long varints are accepted up to ten bytes, a key must
//! fit 32 bits, groups of unknown fields are skipped, and the hundredth nested message is one too many.

use super::super::text::Text;
use super::super::value::Value;
use super::super::{DecodeError, keep_within};

/// prost's `RECURSION_LIMIT`: messages and skipped groups nest no deeper.
const RECURSION_LIMIT: usize = 100;

/// Whoever asked for the walk knows which message it is.
const WHAT: &str = "protobuf message";

/// How a field's value is laid out; the number is the one on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Varint,
    Fixed64,
    Delimited,
    StartGroup,
    EndGroup,
    Fixed32,
}

/// Key of a field: what its value is read by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) tag: u32,
    wire: Wire,
}

/// The rest of one message.
#[derive(Clone, Copy)]
pub(super) struct Reader<'b> {
    rest: &'b [u8],
    /// Offset in the body at which this message ends: places an error without another counter to keep.
    end: usize,
    /// How many more messages may open inside this one.
    levels: usize,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({} bytes left)", self.rest.len())
    }
}

impl<'b> Reader<'b> {
    /// A reader of a whole request.
    pub(super) const fn new(body: &'b [u8]) -> Self {
        Self { rest: body, end: body.len(), levels: RECURSION_LIMIT }
    }

    /// The next field's key, or `None` at the end of the message.
    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<Field>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Delimited,
            3 => Wire::StartGroup,
            4 => Wire::EndGroup,
            5 => Wire::Fixed32,
            _ => return Err(self.malformed()),
        };
        let tag = u32::try_from(key).map_err(|_| self.malformed())? >> 3;
        if tag == 0 {
            return Err(self.malformed());
        }
        Ok(Some(Field { tag, wire }))
    }

    /// A varint's 64 bits.
    #[inline]
    pub(super) fn integer(&mut self, field: Field) -> Result<u64, DecodeError> {
        self.expect(field, Wire::Varint)?;
        self.varint()
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub(super) fn fixed64(&mut self, field: Field) -> Result<u64, DecodeError> {
        self.expect(field, Wire::Fixed64)?;
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Four bytes, little-endian.
    #[inline]
    pub(super) fn fixed32(&mut self, field: Field) -> Result<u32, DecodeError> {
        self.expect(field, Wire::Fixed32)?;
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// A `double`.
    #[inline]
    pub(super) fn double(&mut self, field: Field) -> Result<f64, DecodeError> {
        self.fixed64(field).map(f64::from_bits)
    }

    /// A `sint32`: its lower 32 bits, in zigzag.
    #[inline]
    pub(super) fn zigzag(&mut self, field: Field) -> Result<i32, DecodeError> {
        let bits = self.integer(field)? as u32;
        Ok((bits >> 1) as i32 ^ -((bits & 1) as i32))
    }

    /// One element of a repeated `fixed64` or `double`, or a packed run of them: as many as the limit, and one more, so that
    /// it shows that they are too many.
    #[inline]
    pub(super) fn fixed64s<T>(
        &mut self,
        field: Field,
        into: &mut Vec<T>,
        limit: usize,
        element: impl Fn(u64) -> T,
    ) -> Result<(), DecodeError> {
        if field.wire != Wire::Delimited {
            keep_within(into, element(self.fixed64(field)?), limit);
            return Ok(());
        }
        let (elements, rest) = self.bytes(field)?.as_chunks();
        if !rest.is_empty() {
            return Err(self.malformed());
        }
        let room = limit.saturating_add(1).saturating_sub(into.len());
        into.extend(elements.iter().take(room).map(|bytes| element(u64::from_le_bytes(*bytes))));
        Ok(())
    }

    /// One element of a repeated `uint64`, or a packed run of them.
    #[inline]
    pub(super) fn integers(&mut self, field: Field, mut push: impl FnMut(u64)) -> Result<(), DecodeError> {
        if field.wire != Wire::Delimited {
            push(self.integer(field)?);
            return Ok(());
        }
        let rest = self.bytes(field)?;
        let mut packed = Self { rest, end: self.offset(), levels: self.levels };
        while !packed.rest.is_empty() {
            push(packed.varint()?);
        }
        Ok(())
    }

    /// A length and that many bytes.
    #[inline]
    pub(super) fn bytes(&mut self, field: Field) -> Result<&'b [u8], DecodeError> {
        self.expect(field, Wire::Delimited)?;
        let length = self.varint()?;
        self.advance(length)
    }

    /// The same as UTF-8.
    #[inline]
    pub(super) fn text(&mut self, field: Field) -> Result<&'b str, DecodeError> {
        self.text_like(field, None)
    }

    /// The same for a text that nobody looks at, most likely.
    #[inline]
    pub(super) fn unread_text(&mut self, field: Field) -> Result<Text<'b>, DecodeError> {
        let bytes = self.bytes(field)?;
        Text::new(bytes).ok_or_else(|| self.malformed())
    }

    /// The same. A text that is what it probably is needs no check, and is handed back.
    #[inline]
    pub(super) fn text_like(&mut self, field: Field, likely: Option<&'b str>) -> Result<&'b str, DecodeError> {
        let bytes = self.bytes(field)?;
        text(bytes, likely).ok_or_else(|| self.malformed())
    }

    /// A message inside this one.
    #[inline]
    pub(super) fn message(&mut self, field: Field) -> Result<Self, DecodeError> {
        self.expect(field, Wire::Delimited)?;
        let levels = self.deeper()?;
        let length = self.varint()?;
        let rest = self.advance(length)?;
        Ok(Self { rest, end: self.offset(), levels })
    }

    /// Leaves an unknown field out; it must be well-formed all the same.
    pub(super) fn skip(&mut self, field: Field) -> Result<(), DecodeError> {
        self.skip_within(field, self.levels)
    }

    fn skip_within(&mut self, field: Field, levels: usize) -> Result<(), DecodeError> {
        if levels == 0 {
            return Err(too_deep());
        }
        match field.wire {
            Wire::Varint => self.varint().map(drop),
            Wire::Fixed64 => self.advance(8).map(drop),
            Wire::Fixed32 => self.advance(4).map(drop),
            Wire::Delimited => {
                let length = self.varint()?;
                self.advance(length).map(drop)
            }
            Wire::StartGroup => loop {
                let inner = self.field()?.ok_or_else(|| self.malformed())?;
                if inner.wire != Wire::EndGroup {
                    self.skip_within(inner, levels - 1)?;
                } else if inner.tag == field.tag {
                    return Ok(());
                } else {
                    return Err(self.malformed());
                }
            },
            Wire::EndGroup => Err(self.malformed()),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.rest {
            [byte @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (at * 7);
            if *byte < 0x80 {
                // The tenth byte holds the 64th bit alone.
                if at == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    #[inline]
    fn advance(&mut self, length: u64) -> Result<&'b [u8], DecodeError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn expect(&self, field: Field, wire: Wire) -> Result<(), DecodeError> {
        if field.wire == wire { Ok(()) } else { Err(self.malformed()) }
    }

    #[inline]
    fn deeper(&self) -> Result<usize, DecodeError> {
        self.levels.checked_sub(1).ok_or_else(too_deep)
    }

    /// Where in the body the rest begins.
    pub(super) const fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    #[cold]
    fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { what: WHAT, offset: self.offset() }
    }
}

/// An attribute as every SDK writes it, a key and then a scalar, each in one piece; `None` for all others, well-formed or
/// not. `likely` is what its key probably is.
#[inline]
pub(super) fn plain_attribute<'b, N>(message: &Reader<'b>, likely: Option<&'b str>) -> Option<(&'b str, Value<'b, N>)> {
    let (key, rest) = short(message.rest.strip_prefix(&[0x0a])?)?;
    let (value, []) = short(rest.strip_prefix(&[0x12])?)? else { return None };
    let value = match value {
        [0x0a, rest @ ..] => match short(rest)? {
            (bytes, []) => Value::Text(Text::new(bytes)?),
            _ => return None,
        },
        [0x18, rest @ ..] => {
            let mut integer = Reader::new(rest);
            let value = integer.varint().ok()?;
            if !integer.rest.is_empty() {
                return None;
            }
            Value::Int(value as i64)
        }
        [0x21, rest @ ..] => Value::Double(f64::from_le_bytes(rest.try_into().ok()?)),
        [0x10, bit @ 0..=1] => Value::Bool(*bit == 1),
        _ => return None,
    };
    Some((text(key, likely)?, value))
}

/// A length of one or two bytes, and what has that length; then the rest.
#[inline]
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [length @ 0..=0x7f, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [low, high @ 0..=0x7f, rest @ ..] => rest.split_at_checked(usize::from(*low & 0x7f) | usize::from(*high) << 7),
        _ => None,
    }
}

#[inline]
fn text<'b>(bytes: &'b [u8], likely: Option<&'b str>) -> Option<&'b str> {
    match likely {
        Some(likely) if likely.as_bytes() == bytes => Some(likely),
        _ => simdutf8::basic::from_utf8(bytes).ok(),
    }
}

#[cold]
fn too_deep() -> DecodeError {
    DecodeError::TooMany { what: "levels of nesting", limit: RECURSION_LIMIT }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
        let mut reader = Reader::new(bytes);
        reader.varint().ok().map(|value| (value, reader.offset()))
    }

    #[test]
    fn varints_follow_prost_at_the_edges() {
        let ten = |last| [[0xff; 9].as_slice(), &[last]].concat();
        for bytes in [
            vec![],
            vec![0x80],
            vec![0x80, 0x00],
            vec![0xff, 0x7f],
            vec![0xff, 0x80],
            vec![0x80, 0x80, 0x80, 0x00],
            vec![0xac, 0x02, 0xff],
            ten(0x00),
            ten(0x01),
            ten(0x02),
            ten(0x81),
            [ten(0x80), vec![0x00]].concat(),
        ] {
            let mut rest = bytes.as_slice();
            let prost = prost::encoding::decode_varint(&mut rest).ok();
            assert_eq!(varint(&bytes), prost.map(|value| (value, bytes.len() - rest.len())), "{bytes:02x?}");
        }
    }

    #[test]
    fn an_error_says_where() {
        // Field 1, a message of 3 bytes, in which field 1 claims 9 bytes.
        let body = [0x0a, 0x03, 0x0a, 0x09, 0x00];
        let mut reader = Reader::new(&body);
        let field = reader.field().unwrap().unwrap();
        let mut inner = reader.message(field).unwrap();
        let field = inner.field().unwrap().unwrap();
        assert_eq!(inner.bytes(field).unwrap_err(), DecodeError::Malformed { what: WHAT, offset: 4 });
    }

    #[test]
    fn a_length_near_the_end_of_the_number_range_is_refused() {
        let body = [[0x0a].as_slice(), &[0xff; 9], &[0x01]].concat();
        let mut reader = Reader::new(&body);
        let field = reader.field().unwrap().unwrap();
        assert!(reader.bytes(field).is_err());
    }
}
