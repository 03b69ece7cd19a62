//! Values as OTLP has them, and what a declared field takes of them: coercions that lose nothing, or none.

use std::ops::ControlFlow;

use candor_policy::catalogue::FieldType;

use super::DecodeError;

/// An attribute's value; `N` is how an encoding holds a key-value list or an array.
#[derive(Clone, Copy)]
pub(crate) enum Value<'v, N> {
    /// No value set: as good as absent.
    Absent,
    Text(&'v str),
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

/// What a column takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'v> {
    Bool(bool),
    I64(i64),
    F64(f64),
    Text(&'v str),
    /// An integer that names a subject, to be written in decimal.
    Decimal(i64),
    /// Bytes to be written in lower-case hex.
    Id(&'v [u8]),
    /// Microseconds since 1970-01-01 UTC.
    Time(i64),
    /// Latitude and longitude in degrees; NaN where that half did not come.
    Position(f64, f64),
    /// From which element of [`Cells::elements`] up to, but not including, which other.
    List(u32, u32),
}

/// A scratch row: cells by column, and the elements of those that are lists.
#[derive(Debug, Default)]
pub(super) struct Cells<'v> {
    pub(super) cells: Vec<(usize, Cell<'v>)>,
    pub(super) elements: Vec<Option<Cell<'v>>>,
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
    pub(super) const fn text(text: &'v str) -> Self {
        if text.is_empty() { Self::Absent } else { Self::Text(text) }
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
        (FieldType::Timestamp, Value::Time(nanoseconds)) => Cell::Time((nanoseconds / 1_000) as i64),
        (FieldType::String, Value::Id(bytes)) => Cell::Id(bytes),
        (FieldType::Timestamp, Value::Text(value)) => Cell::Time(rfc3339_microseconds(value).ok_or(BadValue)?),
        _ => return Err(BadValue),
    };
    Ok(Some(cell))
}

impl<'v> Cells<'v> {
    /// Adds the cell of a declared list field: an array of values that the declared type can hold, no more of them than
    /// `limit`. An element without a value is a null.
    pub(super) fn push_array<N: KeyValues<'v>>(
        &mut self,
        column: usize,
        kind: FieldType,
        value: &Value<'v, N>,
        limit: usize,
    ) -> Result<Result<(), BadValue>, DecodeError> {
        let array = match value {
            Value::Absent => return Ok(Ok(())),
            Value::Array(array) => *array,
            _ => return Ok(Err(BadValue)),
        };
        let from = self.elements.len();
        let mut good = true;
        array.elements(&mut |element| {
            good = self.elements.len() - from < limit;
            if good {
                match field_cell(kind, &element) {
                    Ok(cell) => self.elements.push(cell),
                    Err(BadValue) => good = false,
                }
            }
            if good { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if !good {
            self.elements.truncate(from);
            return Ok(Err(BadValue));
        }
        self.push_list(column, from);
        Ok(Ok(()))
    }

    /// Adds the cell of a list whose elements are the last ones, beginning with number `from`.
    pub(super) fn push_list(&mut self, column: usize, from: usize) {
        self.cells.push((column, Cell::List(from as u32, self.elements.len() as u32)));
    }

    /// Adds one half of a position: the cell is complete when the other half has come as well.
    pub(super) fn push_half<N>(
        &mut self,
        column: usize,
        is_latitude: bool,
        value: &Value<'v, N>,
    ) -> Result<(), BadValue> {
        let Some(Cell::F64(degrees)) = field_cell(FieldType::F64, value)? else { return Ok(()) };
        let halves = self.cells.iter_mut().rev().find_map(|(known, cell)| match cell {
            Cell::Position(lat, lon) if *known == column => Some((lat, lon)),
            _ => None,
        });
        match halves {
            Some((lat, _)) if is_latitude => *lat = degrees,
            Some((_, lon)) => *lon = degrees,
            None if is_latitude => self.cells.push((column, Cell::Position(degrees, f64::NAN))),
            None => self.cells.push((column, Cell::Position(f64::NAN, degrees))),
        }
        Ok(())
    }

    /// An empty row in the same allocations: collecting from an emptied vector keeps its memory and sheds the lifetime.
    pub(super) fn recycle(mut self) -> Cells<'static> {
        self.cells.clear();
        self.elements.clear();
        Cells {
            cells: self.cells.into_iter().map_while(|_| None).collect(),
            elements: self.elements.into_iter().map_while(|_| None).collect(),
        }
    }
}

/// What names a subject: text, or an integer in decimal. Anything else names nobody.
pub(super) fn subject_cell<'v, N>(value: &Value<'v, N>) -> Option<Cell<'v>> {
    match value {
        Value::Text("") => None,
        Value::Text(text) => Some(Cell::Text(text)),
        Value::Int(number) => Some(Cell::Decimal(*number)),
        Value::Id(bytes) => Some(Cell::Id(bytes)),
        _ => None,
    }
}

/// The same as text; ids of OTLP's binary form do not come here.
pub(crate) fn subject_text<N>(value: &Value<'_, N>) -> Option<String> {
    match subject_cell(value)? {
        Cell::Text(text) => Some(text.to_owned()),
        Cell::Decimal(number) => Some(number.to_string()),
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

    #[test]
    fn a_recycled_row_keeps_its_allocations() {
        let text = String::from("short-lived");
        let mut row = Cells { cells: Vec::with_capacity(64), elements: Vec::with_capacity(32) };
        row.elements.push(Some(Cell::Text(&text)));
        row.push_list(0, 0);
        let before = (row.cells.as_ptr() as usize, row.elements.as_ptr() as usize);
        let again: Cells<'static> = row.recycle();
        assert!(again.cells.is_empty() && again.elements.is_empty());
        assert_eq!((again.cells.as_ptr() as usize, again.elements.as_ptr() as usize), before);
        assert!(again.cells.capacity() >= 64 && again.elements.capacity() >= 32);
    }

    #[test]
    fn halves_of_a_position_find_each_other() {
        let mut row = Cells::default();
        row.push_half(3, false, &Scalar::Int(8)).unwrap();
        row.push_half(4, true, &Scalar::Double(1.0)).unwrap();
        row.push_half(3, true, &Scalar::Double(47.5)).unwrap();
        row.push_half(5, true, &Scalar::Absent).unwrap();
        assert_eq!(row.push_half(5, true, &Scalar::Text("47")), Err(BadValue));
        assert_eq!(row.cells[0], (3, Cell::Position(47.5, 8.0)));
        assert!(matches!(row.cells[1..], [(4, Cell::Position(1.0, lon))] if lon.is_nan()));
    }
}
