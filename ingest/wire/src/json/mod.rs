//! JSON read as a stream: members go where they belong as they come, and no tree of values is built.
//!
//! `serde_json` reads the bytes. An [`Object`] takes its members one by one; what must wait for a member behind it is kept
//! as the text that it is ([`Member::raw`]) and read later. Strings are slices of the body unless they hold an escape,
//! in which case the arena of the [`Context`] keeps them. Errors say where and what was expected, never what was found:
//! `serde_json`'s own messages quote values and stay here.
//!
//! The rules are those of protobuf's JSON mapping: `null` is absence, an unknown member is skipped, and a member that
//! comes twice is an error, because readers differ in which of the two they believe.

mod attributes;
mod number;
mod object;
mod scalar;

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;

use bumpalo::Bump;
use serde::de::DeserializeSeed;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::otlp::DecodeError;
pub(crate) use attributes::Json;
use object::{Elements, Members, Texts};
pub(crate) use object::{Member, Object};

/// Levels of arrays and objects that a body may have: `serde_json`'s limit, kept for what it would skip as well.
pub(crate) const MOST_LEVELS: usize = 127;

/// Stands for the place of what is missing.
const UNPLACED: usize = usize::MAX;

/// What all parts of one body share.
pub(crate) struct Context<'b> {
    /// The whole body.
    text: &'b str,
    /// Strings that had escapes.
    arena: &'b Bump,
    /// What is being read, for errors.
    expected: Cell<&'static str>,
    /// An error that `serde_json`'s own cannot carry.
    failed: RefCell<Option<DecodeError>>,
}

impl<'b> Context<'b> {
    /// A context for a body, whose UTF-8 is checked here once and for all.
    pub(crate) fn new(body: &'b [u8], arena: &'b Bump) -> Result<Self, DecodeError> {
        let Ok(text) = simdutf8::basic::from_utf8(body) else {
            // The quick check does not say where.
            let offset = std::str::from_utf8(body).err().map_or(0, |error| error.valid_up_to());
            return Err(DecodeError::Expected { what: "UTF-8", offset });
        };
        Ok(Self { text, arena, expected: Cell::new(""), failed: RefCell::new(None) })
    }

    /// The whole body.
    pub(crate) const fn text(&self) -> &'b str {
        self.text
    }

    /// Reads one object; `text` is the body or a part of it.
    pub(crate) fn object(&'b self, text: &'b str, object: &mut impl Object<'b>) -> Result<(), DecodeError> {
        self.run(text, Members { context: self, object, nullable: false }).map(drop)
    }

    /// Reads an array of objects, each into the same place after the other.
    pub(crate) fn objects(&'b self, text: &'b str, object: &mut impl Object<'b>) -> Result<(), DecodeError> {
        self.run(text, Elements { context: self, object })
    }

    /// Reads an array of anything: the text of each element.
    pub(crate) fn array(
        &'b self,
        text: &'b str,
        element: &mut dyn FnMut(&'b str) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.run(text, Texts { context: self, element })
    }

    /// The text again, if it is one JSON value.
    pub(crate) fn checked(&'b self, text: &'b str) -> Result<&'b str, DecodeError> {
        self.run(text, PhantomData::<&'b RawValue>).map(RawValue::get)
    }

    fn run<S: DeserializeSeed<'b>>(&self, text: &'b str, seed: S) -> Result<S::Value, DecodeError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = seed.deserialize(&mut deserializer);
        read.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| self.error(&error, text))
    }

    /// An error of a decoder, on its way out through `serde_json`.
    #[cold]
    pub(crate) fn fail<E: serde::de::Error>(&self, error: DecodeError) -> E {
        *self.failed.borrow_mut() = Some(error);
        E::custom("")
    }

    /// The value here is not what it must be.
    #[cold]
    pub(crate) fn unexpected<E: serde::de::Error>(&self, what: &'static str) -> E {
        self.expected.set(what);
        E::custom("")
    }

    /// An error about a part of the body that has been read as text.
    #[cold]
    pub(crate) fn unexpected_at(&self, what: &'static str, text: &str) -> DecodeError {
        DecodeError::Expected { what, offset: self.offset_of(text) }
    }

    #[cold]
    fn error(&self, error: &serde_json::Error, text: &str) -> DecodeError {
        if let Some(failed) = self.failed.borrow_mut().take() {
            return failed;
        }
        let offset = self.offset_of(text) + offset_in(text, error);
        match error.classify() {
            Category::Data => DecodeError::Expected { what: self.expected.get(), offset },
            // No accessor says which syntax error it is.
            _ if error.to_string().starts_with("recursion limit") => too_deep(),
            _ => DecodeError::Expected { what: "valid JSON", offset },
        }
    }

    /// Where a part of the body begins.
    fn offset_of(&self, text: &str) -> usize {
        let offset = text.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        if offset <= self.text.len() { offset } else { 0 }
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({} bytes)", self.text.len())
    }
}

/// The error of a value that nests too deep for any reader.
#[cold]
pub(crate) const fn too_deep() -> DecodeError {
    DecodeError::TooMany { what: "levels of nesting", limit: MOST_LEVELS }
}

/// The error of an [`Object`] that ended without something; whoever reads it knows where that was.
#[cold]
pub(crate) const fn missing(what: &'static str) -> DecodeError {
    DecodeError::Expected { what, offset: UNPLACED }
}

/// Base64 with either alphabet, padded or not.
pub(crate) fn is_base64(text: &str) -> bool {
    let bytes = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text).as_bytes();
    let padded = bytes.len() < text.len();
    let letters = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_'));
    letters && bytes.len() % 4 != 1 && (!padded || text.len().is_multiple_of(4))
}

/// `serde_json` counts lines and bytes within a line.
fn offset_in(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    (lines + error.column()).min(text.len())
}

/// Levels of arrays and objects in valid JSON.
fn levels(json: &str) -> usize {
    let (mut deepest, mut level) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if escaped {
            escaped = false;
        } else if in_string {
            in_string = byte != b'"';
            escaped = byte == b'\\';
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => {
                    level += 1;
                    deepest = deepest.max(level);
                }
                b']' | b'}' => level = level.saturating_sub(1),
                _ => {}
            }
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_outside_strings() {
        for (json, expected) in
            [("1", 0), ("[]", 1), (r#"{"a":[{}],"b":[]}"#, 3), (r#"["[[[\"[[",[]]"#, 2), (r#""\\""#, 0)]
        {
            assert_eq!(levels(json), expected, "{json}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_placed() {
        let arena = Bump::new();
        let error = Context::new(b"{\"a\":\"\xff\"}", &arena).unwrap_err();
        assert_eq!(error, DecodeError::Expected { what: "UTF-8", offset: 6 });
    }

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
