//! Values as OTLP has them, and what a declared field takes of them: coercions that lose nothing, or none.

use candor_policy::catalogue::FieldType;

use super::DecodeError;

/// An attribute's value; `N` is how an encoding holds a key-value list.
#[derive(Clone, Copy)]
pub(crate) enum Value<'v, N> {
    /// No value set: as good as absent.
    Absent,
    Text(&'v str),
    Bool(bool),
    Int(i64),
    Double(f64),
    List(N),
    /// Bytes and arrays: no declared field takes them.
    Other,
}

/// A key-value list that may hold declared keys.
pub(crate) trait KeyValues<'v>: Copy {
    /// Visits each pair in order.
    fn each(
        self,
        visit: &mut dyn FnMut(&'v str, Value<'v, Self>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError>;
}

/// What a column takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'v> {
    Bool(bool),
    I64(i64),
    F64(f64),
    Text(&'v str),
    /// An integer that names a subject, to be written in decimal.
    Decimal(i64),
    /// Microseconds since 1970-01-01 UTC.
    Time(i64),
}

/// A value that the declared type cannot hold without loss.
#[derive(Debug, PartialEq)]
pub(super) struct BadValue;

impl<'v, N> Value<'v, N> {
    /// The same value with its list held another way; a list that nobody will look into is just some other value.
    pub(super) fn with_list<M>(self, list: impl FnOnce(N) -> Option<M>) -> Value<'v, M> {
        match self {
            Self::Absent => Value::Absent,
            Self::Text(text) => Value::Text(text),
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Double(value) => Value::Double(value),
            Self::List(held) => list(held).map_or(Value::Other, Value::List),
            Self::Other => Value::Other,
        }
    }
}

/// The cell of a declared field, or none where the value is absent.
pub(super) fn field_cell<'v, N>(kind: FieldType, value: &Value<'v, N>) -> Result<Option<Cell<'v>>, BadValue> {
    let cell = match (kind, value) {
        (_, Value::Absent) => return Ok(None),
        (FieldType::Bool, Value::Bool(value)) => Cell::Bool(*value),
        (FieldType::I64, Value::Int(value)) => Cell::I64(*value),
        (FieldType::I64, Value::Double(value)) => Cell::I64(whole(*value).ok_or(BadValue)?),
        (FieldType::F64, Value::Double(value)) => Cell::F64(*value),
        (FieldType::F64, Value::Int(value)) => Cell::F64(exact(*value).ok_or(BadValue)?),
        (FieldType::String, Value::Text(value)) => Cell::Text(value),
        (FieldType::Timestamp, Value::Int(nanoseconds)) => Cell::Time(nanoseconds.div_euclid(1_000)),
        (FieldType::Timestamp, Value::Text(value)) => Cell::Time(rfc3339_microseconds(value).ok_or(BadValue)?),
        _ => return Err(BadValue),
    };
    Ok(Some(cell))
}

/// What names a subject: text, or an integer in decimal. Anything else names nobody.
pub(super) fn subject_cell<'v, N>(value: &Value<'v, N>) -> Option<Cell<'v>> {
    match value {
        Value::Text("") => None,
        Value::Text(text) => Some(Cell::Text(text)),
        Value::Int(number) => Some(Cell::Decimal(*number)),
        _ => None,
    }
}

/// The jurisdiction's text; anything else is as unknown as none.
pub(super) fn jurisdiction_cell<'v, N>(value: &Value<'v, N>) -> Option<Cell<'v>> {
    match value {
        Value::Text(text) => Some(Cell::Text(text)),
        _ => None,
    }
}

/// Whether Global Privacy Control is on; none where the attribute is absent.
pub(super) fn gpc_cell<'v, N>(value: &Value<'v, N>) -> Option<Cell<'v>> {
    match value {
        Value::Absent => None,
        Value::Bool(true) | Value::Int(1) | Value::Text("1" | "true") => Some(Cell::Bool(true)),
        _ => Some(Cell::Bool(false)),
    }
}

/// Microseconds of an RFC 3339 time, rounded down; `None` for anything else.
pub(crate) fn rfc3339_microseconds(text: &str) -> Option<i64> {
    // jiff reads more than RFC 3339: dates alone, weeks, zone names. The frame rules those out.
    let bytes = text.as_bytes();
    let framed = bytes.len() >= 20
        && (bytes[4], bytes[7], bytes[13], bytes[16]) == (b'-', b'-', b':', b':')
        && matches!(bytes[10], b'T' | b't')
        && bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b'+' | b'.' | b'T' | b't' | b'Z' | b'z'));
    let zoned = bytes.ends_with(b"Z")
        || bytes.ends_with(b"z")
        || bytes.len().checked_sub(6).is_some_and(|at| matches!(bytes[at], b'+' | b'-') && bytes[at + 3] == b':');
    if !framed || !zoned {
        return None;
    }
    let time = jiff::fmt::temporal::DateTimeParser::new().parse_timestamp(bytes).ok()?;
    i64::try_from(time.as_nanosecond().div_euclid(1_000)).ok()
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

    fn cell(kind: FieldType, value: Scalar<'static>) -> Result<Option<Cell<'static>>, BadValue> {
        field_cell(kind, &value)
    }

    #[test]
    fn numbers_are_coerced_only_without_loss() {
        let million = 1_000_000;
        assert_eq!(cell(FieldType::F64, Value::Int(million)), Ok(Some(Cell::F64(1e6))));
        assert_eq!(cell(FieldType::F64, Value::Int((1 << 53) + 1)), Err(BadValue));
        assert_eq!(cell(FieldType::F64, Value::Int(i64::MAX)), Err(BadValue));
        assert_eq!(cell(FieldType::F64, Value::Int(i64::MIN)), Ok(Some(Cell::F64(-9_223_372_036_854_775_808.0))));
        assert_eq!(cell(FieldType::I64, Value::Double(1e6)), Ok(Some(Cell::I64(million))));
        for lossy in [0.5, f64::NAN, f64::INFINITY, 9_223_372_036_854_775_808.0, -1e300] {
            assert_eq!(cell(FieldType::I64, Value::Double(lossy)), Err(BadValue), "{lossy}");
        }
        assert_eq!(cell(FieldType::Bool, Value::Int(1)), Err(BadValue));
        assert_eq!(cell(FieldType::String, Value::Int(1)), Err(BadValue));
        assert_eq!(cell(FieldType::I64, Value::Text("1")), Err(BadValue));
        assert_eq!(cell(FieldType::Timestamp, Value::Double(1.0)), Err(BadValue));
        assert_eq!(cell(FieldType::Bool, Value::Absent), Ok(None));
    }

    #[test]
    fn times_are_rfc_3339_and_floor() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01t00:00:01.0000019z", Some(1_000_001)),
            ("1969-12-31T23:59:59.9999999Z", Some(-1)),
            ("2026-11-22T01:00:00+01:00", Some(1_795_305_600_000_000)),
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
        assert_eq!(cell(FieldType::Timestamp, Value::Int(-1)), Ok(Some(Cell::Time(-1))));
        assert_eq!(cell(FieldType::Timestamp, Value::Int(1_999)), Ok(Some(Cell::Time(1))));
    }

    #[test]
    fn subject_jurisdiction_and_gpc_take_what_the_policy_says() {
        assert_eq!(subject_cell(&Scalar::Text("a")), Some(Cell::Text("a")));
        assert_eq!(subject_cell(&Scalar::Int(-7)), Some(Cell::Decimal(-7)));
        for nobody in [Scalar::Text(""), Scalar::Double(1.0), Scalar::Bool(true), Scalar::Other, Scalar::Absent] {
            assert_eq!(subject_cell(&nobody), None);
        }
        assert_eq!(jurisdiction_cell(&Scalar::Int(1)), None);
        for on in [Scalar::Bool(true), Scalar::Int(1), Scalar::Text("1"), Scalar::Text("true")] {
            assert_eq!(gpc_cell(&on), Some(Cell::Bool(true)));
        }
        for off in [Scalar::Bool(false), Scalar::Int(2), Scalar::Text("yes"), Scalar::Double(1.0), Scalar::Other] {
            assert_eq!(gpc_cell(&off), Some(Cell::Bool(false)));
        }
        assert_eq!(gpc_cell(&Scalar::Absent), None);
    }
}
