//! A column of lists under construction: its elements are a column of their own.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::ListArray;
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType};
use candor_policy::catalogue::FieldType;

use super::{Column, ROOM};
use crate::otlp::value::{BadValue, Value};

/// Lists of one kind of element.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) kind: FieldType,
    pub(super) elements: Column,
    /// Where each list begins; the last one is where the next begins.
    offsets: Vec<i32>,
}

/// A list that gets its elements.
#[derive(Debug)]
pub(crate) struct NewList<'c> {
    elements: &'c mut Column,
    from: usize,
    most: usize,
    good: bool,
}

impl Lists {
    pub(super) fn new(kind: FieldType) -> Self {
        let mut offsets = Vec::with_capacity(ROOM + 1);
        offsets.push(0);
        Self { kind, elements: Column::new(kind, false), offsets }
    }

    /// Begins a list of at most as many elements.
    pub(super) fn begin(&mut self, most: usize) -> NewList<'_> {
        let from = self.elements.len();
        NewList { elements: &mut self.elements, from, most, good: true }
    }

    /// Ends a list with the elements that there are; false if that is more than an array can hold, and then it is null.
    pub(super) fn end(&mut self) -> bool {
        let end = i32::try_from(self.elements.len());
        if end.is_err() {
            self.elements.truncate(self.from());
        }
        self.offsets.push(end.unwrap_or(self.from() as i32));
        end.is_ok()
    }

    pub(super) fn append_nulls(&mut self, count: usize) {
        self.offsets.resize(self.offsets.len() + count, self.from() as i32);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.elements.truncate(self.from());
    }

    /// Makes room for as many rows. Their elements get none before they come: two bytes of a span are one in every list.
    pub(super) fn reserve(&mut self, rows: usize) {
        self.offsets.reserve(rows);
    }

    pub(super) fn finish(self, nulls: Option<NullBuffer>, kind: &DataType) -> Result<ListArray, ArrowError> {
        let DataType::List(field) = kind else {
            return Err(ArrowError::SchemaError(format!("lists are no {kind}")));
        };
        ListArray::try_new(Arc::clone(field), OffsetBuffer::new(self.offsets.into()), self.elements.into_array(), nulls)
    }

    fn from(&self) -> usize {
        self.offsets.last().map_or(0, |from| *from as usize)
    }
}

impl NewList<'_> {
    /// Adds an element, and says whether more would be of use.
    pub(crate) fn push<N>(&mut self, value: &Value<'_, N>) -> ControlFlow<()> {
        let at = self.elements.len();
        self.good = self.good && at - self.from < self.most && self.elements.put(at, value).is_ok();
        if self.good { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Adds counts.
    pub(crate) fn counts(&mut self, counts: &[u64]) {
        if !self.take(counts.len(), |elements| elements.extend_integers(counts)) {
            for count in counts {
                _ = self.push::<()>(&Value::count(*count));
            }
        }
    }

    /// Adds doubles.
    pub(crate) fn doubles(&mut self, doubles: &[f64]) {
        if !self.take(doubles.len(), |elements| elements.extend_doubles(doubles)) {
            for double in doubles {
                _ = self.push::<()>(&Value::Double(*double));
            }
        }
    }

    /// How many elements it got; none stays of a list that is bad.
    pub(super) fn finish(self) -> Result<usize, BadValue> {
        if self.good {
            return Ok(self.elements.len() - self.from);
        }
        self.elements.truncate(self.from);
        Err(BadValue)
    }

    /// Adds several elements at once, if there may be so many and they can be.
    fn take(&mut self, count: usize, extend: impl FnOnce(&mut Column) -> bool) -> bool {
        self.good && self.elements.len() - self.from + count <= self.most && extend(self.elements)
    }
}
