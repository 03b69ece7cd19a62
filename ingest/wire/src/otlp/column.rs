//! One raw column under construction: values go straight into the buffers of its array. It lags behind the rows and fills
//! the gap with nulls when a value comes, and a row that turns out to be none is taken back.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, new_null_array};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::{ArrowError, DataType};
use candor_policy::catalogue::FieldType;
use candor_policy::operator::raw_type;

use super::DecodeError;
use super::value::{BadValue, KeyValues, Value, boolean, double, integer, microseconds};

mod list;
mod position;
mod text;
mod validity;

use list::Lists;
pub(super) use list::NewList;
use position::Positions;
use text::Texts;
use validity::Validity;

/// Rows for which a column has room at first; most requests are small.
pub(super) const ROOM: usize = 32;

/// A column. That it has a row says that a value was offered for it, an absent one included.
#[derive(Debug)]
pub(super) struct Column {
    values: Values,
    /// Which rows hold a value; those of positions are known at the end.
    nulls: Validity,
}

#[derive(Debug)]
enum Values {
    Bool(BooleanBufferBuilder),
    I64(Vec<i64>),
    F64(Vec<f64>),
    Text(Texts),
    Time(Vec<i64>),
    Position(Positions),
    List(Box<Lists>),
}

/// How much is still to come: as much as `done` bytes made, for each `done` of `left` bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) done: usize,
    pub(super) left: usize,
}

/// Half of a position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Half {
    Latitude,
    Longitude,
}

impl Share {
    /// What will be added to something that has `have` so far, and a bit, because records differ.
    pub(super) fn of(self, have: usize) -> usize {
        let more = (have as u128 * self.left as u128 / self.done.max(1) as u128) as usize;
        more + more / 16
    }
}

impl Column {
    /// An empty column of a declared type.
    pub(super) fn new(kind: FieldType, list: bool) -> Self {
        let values = if list { Values::List(Box::new(Lists::new(kind))) } else { Values::new(kind) };
        Self { values, nulls: Validity::new() }
    }

    /// Rows so far.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.nulls.len()
    }

    pub(super) const fn is_list(&self) -> bool {
        matches!(self.values, Values::List(_))
    }

    /// Writes what the declared type takes of a value as row number `row`, which the column must not have.
    #[inline]
    pub(super) fn put<N>(&mut self, row: usize, value: &Value<'_, N>) -> Result<(), BadValue> {
        self.fill(row);
        let fits = match (&mut self.values, value) {
            (Values::Text(texts), Value::Text(text) | Value::Spelled(text)) => texts.push(text.bytes()),
            (_, Value::Absent) => false,
            (Values::I64(integers), value) => {
                integers.push(integer(value)?);
                true
            }
            (Values::F64(doubles), value) => {
                doubles.push(double(value)?);
                true
            }
            (Values::Bool(bits), value) => {
                bits.append(boolean(value)?);
                true
            }
            (Values::Time(times), value) => {
                times.push(microseconds(value)?);
                true
            }
            (Values::Text(texts), Value::Id(bytes)) => texts.push_hex(bytes),
            _ => return Err(BadValue),
        };
        if fits {
            self.nulls.append(true);
        } else {
            self.fill(row + 1);
        }
        Ok(())
    }

    /// Writes an integer in decimal.
    pub(super) fn put_decimal(&mut self, row: usize, integer: i64) {
        self.fill(row);
        if let Values::Text(texts) = &mut self.values
            && texts.push(integer.to_string().as_bytes())
        {
            self.nulls.append(true);
        }
    }

    /// Writes one half of a position, unless that half was offered for the row before.
    pub(super) fn put_half<N>(&mut self, row: usize, half: Half, value: &Value<'_, N>) -> Result<(), BadValue> {
        let Values::Position(positions) = &mut self.values else { return Err(BadValue) };
        if !positions.offer(row, half) || matches!(value, Value::Absent) {
            return Ok(());
        }
        let degrees = double(value)?;
        self.fill(row + 1);
        if let Values::Position(positions) = &mut self.values {
            positions.set_last(half, degrees);
        }
        Ok(())
    }

    /// Writes an array of values that the declared type can hold, no more of them than `most`. An element without a value
    /// is a null.
    pub(super) fn put_array<'v, N: KeyValues<'v>>(
        &mut self,
        row: usize,
        value: &Value<'v, N>,
        most: usize,
    ) -> Result<Result<(), BadValue>, DecodeError> {
        self.fill(row);
        match (&mut self.values, value) {
            (Values::List(lists), Value::Array(array)) => {
                let mut list = lists.begin(most);
                array.elements(&mut |element| list.push(&element))?;
                if list.finish().is_err() {
                    return Ok(Err(BadValue));
                }
                self.nulls.append(lists.end());
            }
            (_, Value::Absent) => self.fill(row + 1),
            _ => return Ok(Err(BadValue)),
        }
        Ok(Ok(()))
    }

    /// Writes the list that `make` makes, no longer than `most`; one without elements is none.
    pub(super) fn put_list(
        &mut self,
        row: usize,
        most: usize,
        make: impl FnOnce(&mut NewList<'_>),
    ) -> Result<(), BadValue> {
        self.fill(row);
        let Values::List(lists) = &mut self.values else { return Err(BadValue) };
        let mut list = lists.begin(most);
        make(&mut list);
        if list.finish()? > 0 {
            self.nulls.append(lists.end());
        }
        Ok(())
    }

    /// Elements that all lists have so far.
    pub(super) fn elements(&self) -> usize {
        if let Values::List(lists) = &self.values { lists.elements.len() } else { 0 }
    }

    /// Writes an element of a list that [`Self::end_elements`] will end, unless it has come before.
    pub(super) fn put_element<N>(&mut self, element: usize, value: &Value<'_, N>) -> Result<(), BadValue> {
        match &mut self.values {
            Values::List(lists) if lists.elements.len() <= element => lists.elements.put(element, value),
            _ => Ok(()),
        }
    }

    /// Ends the list of row number `row` before element number `end`.
    pub(super) fn end_elements(&mut self, row: usize, end: usize) {
        self.fill(row);
        if let Values::List(lists) = &mut self.values {
            lists.elements.fill(end);
            self.nulls.append(lists.end());
        }
    }

    /// Adds integers that all fit, or none; true if it did.
    pub(super) fn extend_integers(&mut self, integers: &[u64]) -> bool {
        let Values::I64(values) = &mut self.values else { return false };
        let fit = integers.iter().all(|integer| i64::try_from(*integer).is_ok());
        if fit {
            values.extend(integers.iter().map(|integer| *integer as i64));
            self.nulls.append_many(integers.len(), true);
        }
        fit
    }

    /// The same of doubles.
    pub(super) fn extend_doubles(&mut self, doubles: &[f64]) -> bool {
        let Values::F64(values) = &mut self.values else { return false };
        values.extend_from_slice(doubles);
        self.nulls.append_many(doubles.len(), true);
        true
    }

    /// Takes back what was written behind the first `rows` rows.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.nulls.truncate(rows);
        match &mut self.values {
            Values::Bool(bits) => bits.truncate(rows),
            Values::I64(values) | Values::Time(values) => values.truncate(rows),
            Values::F64(values) => values.truncate(rows),
            Values::Text(texts) => texts.truncate(rows),
            Values::Position(positions) => positions.truncate(rows),
            Values::List(lists) => lists.truncate(rows),
        }
    }

    /// Makes room for what is still to come.
    pub(super) fn reserve(&mut self, share: Share) {
        let rows = share.of(self.len());
        match &mut self.values {
            Values::Bool(bits) => bits.reserve(rows),
            Values::I64(values) | Values::Time(values) => values.reserve(rows),
            Values::F64(values) => values.reserve(rows),
            Values::Text(texts) => texts.reserve(share, rows),
            Values::Position(positions) => positions.reserve(rows),
            Values::List(lists) => lists.reserve(rows),
        }
    }

    /// Adds nulls until there are as many rows.
    #[inline]
    pub(super) fn fill(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.nulls.len());
        if missing > 0 {
            self.append_nulls(missing);
        }
    }

    fn append_nulls(&mut self, count: usize) {
        self.nulls.append_many(count, false);
        let rows = self.nulls.len();
        match &mut self.values {
            Values::Bool(bits) => bits.append_n(count, false),
            Values::I64(values) | Values::Time(values) => values.resize(rows, 0),
            Values::F64(values) => values.resize(rows, 0.0),
            Values::Text(texts) => texts.fill(rows),
            Values::Position(positions) => positions.fill(rows),
            Values::List(lists) => lists.append_nulls(count),
        }
    }

    /// The finished column of `rows` values.
    pub(super) fn finish(mut self, rows: usize) -> ArrayRef {
        self.fill(rows);
        self.into_array()
    }

    /// The array of what was written.
    pub(super) fn into_array(mut self) -> ArrayRef {
        let (rows, nulls) = (self.len(), self.nulls.finish());
        match self.values {
            Values::Bool(mut bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::I64(values) => Arc::new(PrimitiveArray::<Int64Type>::new(values.into(), nulls)),
            Values::F64(values) => Arc::new(PrimitiveArray::<Float64Type>::new(values.into(), nulls)),
            Values::Time(values) => {
                Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), nulls).with_timezone("UTC"))
            }
            Values::Text(texts) => array(texts.finish(nulls), &DataType::Utf8, rows),
            Values::Position(positions) => array(positions.finish(), &raw_type(FieldType::Position, false), rows),
            Values::List(lists) => {
                let kind = raw_type(lists.kind, true);
                array(lists.finish(nulls, &kind), &kind, rows)
            }
        }
    }
}

impl Values {
    fn new(kind: FieldType) -> Self {
        match kind {
            FieldType::Bool => Self::Bool(BooleanBufferBuilder::new(ROOM)),
            FieldType::I64 => Self::I64(Vec::with_capacity(ROOM)),
            FieldType::F64 => Self::F64(Vec::with_capacity(ROOM)),
            FieldType::String => Self::Text(Texts::new()),
            FieldType::Timestamp => Self::Time(Vec::with_capacity(ROOM)),
            FieldType::Position => Self::Position(Positions::default()),
        }
    }
}

/// The parts are made for each other; should that ever fail, nulls keep the columns aligned.
fn array<A: Array + 'static>(made: Result<A, ArrowError>, kind: &DataType, rows: usize) -> ArrayRef {
    made.map_or_else(|_| new_null_array(kind, rows), |made| Arc::new(made))
}

#[cfg(test)]
mod tests;
