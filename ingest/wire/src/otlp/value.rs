//! Values as OTLP has them, and what a declared field takes of them: coercions that lose nothing, or none.

use std::ops::ControlFlow;

use candor_policy::times;

use super::DecodeError;
use super::text::Text;

/// An attribute's value; `N` is how an encoding holds a key-value list or an array.
#[derive(Clone, Copy)]
pub(crate) enum Value<'v, N> {
    /// No value set: as good as absent.
    Absent,
    Text(Text<'v>),
    /// Text of a form without types, such as a header: it may spell an integer or a boolean.
    Spelled(Text<'v>),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// Nanoseconds since 1970-01-01 UTC.
    Time(u64),
    /// Bytes to be written in lower-case hex.
    Id(&'v [u8]),
    List(N),
    Array(N),
    /// Bytes: no declared field takes them.
    Other,
}

/// A key-value list that may hold declared keys, or an array that a field may be.
pub(crate) trait KeyValues<'v>: Copy {
    /// Visits each pair of a list in order.
    fn each(
        self,
        visit: &mut dyn FnMut(&'v str, Value<'v, Self>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError>;

    /// Visits each element of an array in order, until `visit` says that it has seen enough.
    fn elements(self, visit: &mut dyn FnMut(Value<'v, Self>) -> ControlFlow<()>) -> Result<(), DecodeError>;
}

/// A value that the declared type cannot hold without loss.
#[derive(Debug, PartialEq)]
pub(super) struct BadValue;

impl<'v, N> Value<'v, N> {
    /// The same value with its list or array held another way; one that nobody will look into is just some other value.
    pub(crate) fn with_list<M>(self, list: impl FnOnce(N) -> Option<M>) -> Value<'v, M> {
        match self {
            Self::Absent => Value::Absent,
            Self::Text(text) => Value::Text(text),
            Self::Spelled(text) => Value::Spelled(text),
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Double(value) => Value::Double(value),
            Self::Time(nanoseconds) => Value::Time(nanoseconds),
            Self::Id(bytes) => Value::Id(bytes),
            Self::List(held) => list(held).map_or(Value::Other, Value::List),
            Self::Array(held) => list(held).map_or(Value::Other, Value::Array),
            Self::Other => Value::Other,
        }
    }
}

impl<'v, N> Value<'v, N> {
    /// Text; none where it is empty, as protobuf has it.
    pub(super) fn text(text: &'v str) -> Self {
        if text.is_empty() { Self::Absent } else { Self::Text(text.into()) }
    }

    /// A time; none where it is 0.
    pub(super) const fn time(nanoseconds: u64) -> Self {
        if nanoseconds == 0 { Self::Absent } else { Self::Time(nanoseconds) }
    }

    /// The id of a trace or span; none where it is empty.
    pub(super) const fn id(bytes: &'v [u8]) -> Self {
        if bytes.is_empty() { Self::Absent } else { Self::Id(bytes) }
    }

    /// A double that may be absent.
    pub(super) fn double(value: Option<f64>) -> Self {
        value.map_or(Self::Absent, Self::Double)
    }

    /// A count; one that no field can hold is no value of any.
    pub(super) fn count(count: u64) -> Self {
        i64::try_from(count).map_or(Self::Other, Self::Int)
    }
}

/// The integer that a value is, without loss.
#[inline]
pub(super) fn integer<N>(value: &Value<'_, N>) -> Result<i64, BadValue> {
    match value {
        Value::Int(value) => Ok(*value),
        Value::Double(value) => whole(*value).ok_or(BadValue),
        Value::Spelled(text) => spelled_integer(text.as_str()).ok_or(BadValue),
        _ => Err(BadValue),
    }
}

/// The boolean that a value is.
#[inline]
pub(super) fn boolean<N>(value: &Value<'_, N>) -> Result<bool, BadValue> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Spelled(text) if text.bytes() == b"true" => Ok(true),
        Value::Spelled(text) if text.bytes() == b"false" => Ok(false),
        _ => Err(BadValue),
    }
}

/// The double that a value is, without loss.
#[inline]
pub(super) fn double<N>(value: &Value<'_, N>) -> Result<f64, BadValue> {
    match value {
        Value::Double(value) => Ok(*value),
        Value::Int(value) => exact(*value).ok_or(BadValue),
        Value::Spelled(text) => spelled_integer(text.as_str()).and_then(exact).ok_or(BadValue),
        _ => Err(BadValue),
    }
}

/// The time that a value is, if it can be stored: nanoseconds, rounded down, or text of RFC 3339.
#[inline]
pub(super) fn microseconds<N>(value: &Value<'_, N>) -> Result<i64, BadValue> {
    let time = match value {
        Value::Int(nanoseconds) => nanoseconds.div_euclid(1_000),
        Value::Time(nanoseconds) => (nanoseconds / 1_000) as i64,
        Value::Text(text) | Value::Spelled(text) => rfc3339_microseconds(text.as_str()).ok_or(BadValue)?,
        _ => return Err(BadValue),
    };
    if times::holds(time) { Ok(time) } else { Err(BadValue) }
}

/// What names a subject: text, or an integer in decimal. Anything else names nobody.
pub(super) fn subject<'v, N>(value: &Value<'v, N>) -> Value<'v, ()> {
    match value {
        Value::Text(text) | Value::Spelled(text) if text.bytes().is_empty() => Value::Absent,
        Value::Text(text) | Value::Spelled(text) => Value::Text(*text),
        Value::Int(number) => Value::Int(*number),
        Value::Id(bytes) => Value::Id(bytes),
        _ => Value::Absent,
    }
}

/// The same as text; ids of OTLP's binary form do not come here.
pub(crate) fn subject_text<N>(value: &Value<'_, N>) -> Option<String> {
    match subject(value) {
        Value::Text(text) => Some(text.as_str().to_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The jurisdiction's text; anything else is as unknown as none.
pub(super) const fn jurisdiction<'v, N>(value: &Value<'v, N>) -> Value<'v, ()> {
    match value {
        Value::Text(text) | Value::Spelled(text) => Value::Text(*text),
        _ => Value::Absent,
    }
}

/// Whether Global Privacy Control is on; none where the attribute is absent. What is not known to say no says yes: a client
/// that spells it in a way of its own (`True`, `1.0`, `[true]`) opts out, and so does one that sends what nobody can read.
pub(super) fn gpc<N>(value: &Value<'_, N>) -> Value<'static, ()> {
    match value {
        Value::Absent => Value::Absent,
        Value::Bool(on) => Value::Bool(*on),
        Value::Int(number) => Value::Bool(*number != 0),
        Value::Double(number) => Value::Bool(*number != 0.0),
        Value::Text(text) | Value::Spelled(text) => Value::Bool(!says_no(text.bytes())),
        _ => Value::Bool(true),
    }
}

/// The spellings of no: few, since one that is missing here only keeps less.
fn says_no(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    [&b""[..], b"0", b"false"].iter().any(|no| text.eq_ignore_ascii_case(no))
}

/// Microseconds of an RFC 3339 time, rounded down; `None` for anything else.
pub(crate) fn rfc3339_microseconds(text: &str) -> Option<i64> {
    // jiff reads more than RFC 3339: dates alone, weeks, zone names, offsets of 24 hours. The frame rules those out.
    let bytes = text.as_bytes();
    let framed = bytes.len() >= 20
        && (bytes[4], bytes[7], bytes[13], bytes[16]) == (b'-', b'-', b':', b':')
        && matches!(bytes[10], b'T' | b't')
        && bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b'+' | b'.' | b'T' | b't' | b'Z' | b'z'));
    let zoned = bytes.ends_with(b"Z")
        || bytes.ends_with(b"z")
        || bytes.last_chunk().is_some_and(|[sign, high, low, colon, ..]: &[u8; 6]| {
            matches!(sign, b'+' | b'-') && *colon == b':' && (*high, *low) <= (b'2', b'3')
        });
    if !framed || !zoned {
        return None;
    }
    let time = jiff::fmt::temporal::DateTimeParser::new().parse_timestamp(bytes).ok()?;
    i64::try_from(time.as_nanosecond().div_euclid(1_000)).ok()
}

/// The integer that a text is in the canonical form of CloudEvents 1.0, that of JSON: `007` and `+7` are texts.
fn spelled_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// The integer that a double is, if it is one.
fn whole(value: f64) -> Option<i64> {
    // 2^63 itself is the first double beyond the range; -2^63 is in it.
    const END: f64 = 9_223_372_036_854_775_808.0;
    (value.fract() == 0.0 && (-END..END).contains(&value)).then_some(value as i64)
}

/// The double that an integer is, if there is one.
fn exact(value: i64) -> Option<f64> {
    let double = value as f64;
    (whole(double) == Some(value)).then_some(double)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Scalar<'v> = Value<'v, ()>;

    #[test]
    fn numbers_are_coerced_only_without_loss() {
        let million = 1_000_000;
        assert_eq!(double(&Scalar::Int(million)), Ok(1e6));
        assert_eq!(double(&Scalar::Int((1 << 53) + 1)), Err(BadValue));
        assert_eq!(double(&Scalar::Int(i64::MAX)), Err(BadValue));
        assert_eq!(double(&Scalar::Int(i64::MIN)), Ok(-9_223_372_036_854_775_808.0));
        assert_eq!(integer(&Scalar::Double(1e6)), Ok(million));
        for lossy in [0.5, f64::NAN, f64::INFINITY, 9_223_372_036_854_775_808.0, -1e300] {
            assert_eq!(integer(&Scalar::Double(lossy)), Err(BadValue), "{lossy}");
        }
        assert_eq!(integer(&Scalar::text("1")), Err(BadValue));
        assert_eq!(double(&Scalar::Bool(true)), Err(BadValue));
        assert_eq!(microseconds(&Scalar::Double(1.0)), Err(BadValue));
    }

    #[test]
    fn spelled_values_are_what_they_spell_in_canonical_form_and_text_else() {
        let spelled = |text: &'static str| Scalar::Spelled(text.into());
        for (text, expected) in [("0", 0), ("-0", 0), ("5", 5), ("-12", -12), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer(&spelled(text)), Ok(expected), "{text}");
        }
        for text in ["", "-", "+5", "05", "-05", "5.0", "5e0", " 5", "0x5", "9223372036854775808", "five"] {
            assert_eq!(integer(&spelled(text)), Err(BadValue), "{text}");
        }
        assert_eq!((double(&spelled("5")), double(&spelled("9007199254740993"))), (Ok(5.0), Err(BadValue)));
        assert_eq!((boolean(&spelled("true")), boolean(&spelled("false"))), (Ok(true), Ok(false)));
        for text in ["True", "1", "yes", ""] {
            assert_eq!(boolean(&spelled(text)), Err(BadValue), "{text}");
        }
        assert_eq!(microseconds(&spelled("1970-01-01T00:00:01Z")), Ok(1_000_000));
        assert_eq!(microseconds(&spelled("1")), Err(BadValue), "a unit would be a guess");
        assert!(matches!(subject(&spelled("7")), Value::Text(text) if text.bytes() == b"7"));
        assert!(matches!(jurisdiction(&spelled("DE")), Value::Text(_)));
        assert!(matches!(gpc(&spelled("true")), Value::Bool(true)));
    }

    #[test]
    fn times_are_rfc_3339_and_floor() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01t00:00:01.0000019z", Some(1_000_001)),
            ("1969-12-31T23:59:59.9999999Z", Some(-1)),
            ("2026-11-22T01:00:00+01:00", Some(1_795_305_600_000_000)),
            ("2026-11-22T23:59:00-23:59", Some(1_795_478_280_000_000)),
            ("2026-11-22T23:59:00-24:59", None),
            ("2026-11-22T00:00:00", None),
            ("2026-11-22 00:00:00Z", None),
            ("2026-11-22", None),
            ("2026-13-22T00:00:00Z", None),
            ("2026-11-22T00:00:00+01", None),
            ("2026-11-22T00:00:00Z[UTC]", None),
            ("", None),
            ("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}Z", None),
        ] {
            assert_eq!(rfc3339_microseconds(text), expected, "{text}");
        }
        assert_eq!(microseconds(&Scalar::Int(-1)), Ok(-1));
        assert_eq!(microseconds(&Scalar::Int(1_999)), Ok(1));
        for beyond in [Scalar::Time(u64::MAX), Scalar::Int(i64::MIN), Scalar::text("9999-12-31T23:59:59Z")] {
            assert_eq!(microseconds(&beyond), Err(BadValue), "no time that can be stored");
        }
    }

    #[test]
    fn subject_jurisdiction_and_gpc_take_what_the_policy_says() {
        assert!(matches!(subject(&Scalar::text("a")), Value::Text(text) if text.bytes() == b"a"));
        assert!(matches!(subject(&Scalar::Int(-7)), Value::Int(-7)));
        for nobody in [Scalar::Text("".into()), Scalar::Double(1.0), Scalar::Bool(true), Scalar::Other, Scalar::Absent]
        {
            assert!(matches!(subject(&nobody), Value::Absent));
        }
        assert!(matches!(jurisdiction(&Scalar::Int(1)), Value::Absent));
        for off in [Scalar::Bool(false), Scalar::Int(0), Scalar::Double(0.0), Scalar::Double(-0.0)] {
            assert!(matches!(gpc(&off), Value::Bool(false)));
        }
        for on in [Scalar::Bool(true), Scalar::Int(1), Scalar::Int(2), Scalar::Int(-1), Scalar::Double(1.0)] {
            assert!(matches!(gpc(&on), Value::Bool(true)));
        }
        for on in [Scalar::Double(f64::NAN), Scalar::Time(0), Scalar::Id(b""), Scalar::List(()), Scalar::Array(())] {
            assert!(matches!(gpc(&on), Value::Bool(true)), "who cannot be understood is not taken to agree");
        }
        assert!(matches!(gpc(&Scalar::Other), Value::Bool(true)));
        for (texts, is_on) in [
            (&["", " ", "0", " 0\n", "false", "False", "FALSE "][..], false),
            (
                &["1", "1 ", "true", "True", "TRUE", "yes", "on", "no", "00", "0.0", "null", "1, 1", "\u{a0}0", "?"][..],
                true,
            ),
        ] {
            for text in texts {
                for value in [Scalar::Text((*text).into()), Scalar::Spelled((*text).into())] {
                    assert!(matches!(gpc(&value), Value::Bool(on) if on == is_on), "{text:?}");
                }
            }
        }
        assert!(matches!(gpc(&Scalar::Absent), Value::Absent));
    }
}
