//! The rows of one stream under construction.

use arrow_array::builder::{TimestampMicrosecondBuilder, UInt16Builder};
use arrow_array::{Array, UInt32Array, new_null_array};
use arrow_select::take::take;
use candor_policy::batch::{RawColumn, RawGroup};
use candor_policy::catalogue::{FieldType, Place};
use candor_policy::key_index::{Slot, StreamKeys};

use super::column::{Column, time_builder};
use super::value::Cells;

/// Columns after those of the fields: subject, jurisdiction and GPC, in this order.
pub(super) const EXTRA_COLUMNS: usize = 3;

/// Raw columns of one stream.
#[derive(Debug)]
pub(super) struct Group<'k> {
    stream: u16,
    keys: &'k StreamKeys,
    event: UInt16Builder,
    time: TimestampMicrosecondBuilder,
    /// Row → row of its resource.
    resource_rows: Vec<u32>,
    /// Row → row of its scope.
    scope_rows: Vec<u32>,
    /// Fields in the catalogue's order, then [`EXTRA_COLUMNS`], each with whose values it holds.
    columns: Vec<(Side, Column)>,
    pub(super) resource: Owner,
    pub(super) scope: Owner,
}

/// Whose values a column holds, one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Record,
    Resource,
    Scope,
}

/// Resources or scopes: what records share, looked at and written once.
///
/// One gets a row for each class of events that its records need: events of one class may carry the same fields of it,
/// because a field that an event does not list must not reach that event's rows.
#[derive(Debug)]
pub(super) struct Owner {
    /// Event → class.
    classes: Vec<usize>,
    /// Class → what became of the current one.
    states: Vec<State>,
    current: u64,
    rows: u32,
}

/// What became of a resource or scope in one class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not looked at yet.
    New,
    /// Its undeclared attributes are counted; no row needed it so far.
    Counted,
    /// This field cannot take its value: no record of it becomes a row.
    Bad(u16),
    /// It has this row in the columns that are counted by it.
    Written(u32),
}

/// Number of a slot's column.
pub(super) fn column_of(keys: &StreamKeys, slot: Slot) -> usize {
    let fields = keys.fields.len();
    match slot {
        Slot::Field(field) | Slot::Lat(field) | Slot::Lon(field) => usize::from(field),
        Slot::Subject => fields,
        Slot::Jurisdiction => fields + 1,
        Slot::Gpc => fields + 2,
    }
}

impl<'k> Group<'k> {
    pub(super) fn new(stream: u16, keys: &'k StreamKeys) -> Self {
        let sides = sides(keys);
        let fields = keys.fields.iter().map(|field| (field.kind, field.list));
        let extra = [FieldType::String, FieldType::String, FieldType::Bool].map(|kind| (kind, false));
        let resource = Owner::new(keys, &sides, Side::Resource);
        let scope = Owner::new(keys, &sides, Side::Scope);
        let column = |((kind, list), side)| (side, Column::new(kind, list, side == Side::Resource));
        Self {
            stream,
            keys,
            event: UInt16Builder::new(),
            time: time_builder(),
            resource_rows: Vec::new(),
            scope_rows: Vec::new(),
            columns: fields.chain(extra).zip(sides).map(column).collect(),
            resource,
            scope,
        }
    }

    /// The row of the current resource or scope in an event's class, written now from `cells` if it has none yet.
    pub(super) fn shared_row(&mut self, side: Side, event: u16, cells: &Cells<'_>) -> u32 {
        let owner = if side == Side::Scope { &mut self.scope } else { &mut self.resource };
        if let State::Written(row) = owner.state(event) {
            return row;
        }
        let row = owner.rows;
        owner.rows += 1;
        owner.set_state(event, State::Written(row));
        self.put(side, row as usize, cells);
        row
    }

    /// Writes one row.
    pub(super) fn write(&mut self, event: u16, time: Option<i64>, resource: u32, scope: u32, cells: &Cells<'_>) {
        let row = self.resource_rows.len();
        self.event.append_value(event);
        self.time.append_option(time);
        self.resource_rows.push(resource);
        self.scope_rows.push(scope);
        self.put(Side::Record, row, cells);
    }

    /// The finished group, unless no record of the stream became a row.
    pub(super) fn finish(mut self) -> Option<RawGroup> {
        let rows = self.resource_rows.len();
        if rows == 0 {
            return None;
        }
        let (resources, scopes) = (self.resource.rows as usize, self.scope.rows as usize);
        let scope_rows = UInt32Array::from(std::mem::take(&mut self.scope_rows));
        let finish = |(side, column): (Side, Column)| match side {
            Side::Scope => by_row(&column.finish(scopes, 0), &scope_rows),
            Side::Record | Side::Resource => column.finish(rows, resources),
        };
        let mut columns: Vec<_> = self.columns.drain(..).map(finish).collect();
        let gpc = columns.pop()?;
        let jurisdiction = columns.pop()?;
        let subject = columns.pop()?;
        debug_assert_eq!(columns.len(), self.keys.fields.len());
        Some(RawGroup {
            stream: self.stream,
            event: self.event.finish(),
            time: self.time.finish(),
            resource: self.resource_rows,
            columns,
            subject,
            jurisdiction,
            gpc,
        })
    }

    fn put(&mut self, side: Side, row: usize, cells: &Cells<'_>) {
        for (column, cell) in &cells.cells {
            if let Some((of, column)) = self.columns.get_mut(*column)
                && *of == side
            {
                column.write(row, *cell, &cells.elements);
            }
        }
    }
}

impl Owner {
    fn new(keys: &StreamKeys, sides: &[Side], side: Side) -> Self {
        let classes = classes(keys, |field| sides.get(field) == Some(&side));
        let states = vec![State::New; classes.iter().max().map_or(1, |last| last + 1)];
        Self { classes, states, current: 0, rows: 0 }
    }

    /// A record of number `number` comes.
    pub(super) fn enter(&mut self, number: u64) {
        if self.current != number {
            self.current = number;
            self.states.fill(State::New);
        }
    }

    /// What became of the current one for an event.
    pub(super) fn state(&self, event: u16) -> State {
        self.states.get(self.class(event)).copied().unwrap_or(State::New)
    }

    /// The field that cannot take its value, if there is one.
    pub(super) fn bad(&self, event: u16) -> Option<u16> {
        if let State::Bad(field) = self.state(event) { Some(field) } else { None }
    }

    /// Notes what became of the current one.
    pub(super) fn set_state(&mut self, event: u16, state: State) {
        let class = self.class(event);
        if let Some(known) = self.states.get_mut(class) {
            *known = state;
        }
    }

    fn class(&self, event: u16) -> usize {
        self.classes.get(usize::from(event)).copied().unwrap_or(0)
    }
}

/// Whose values each column holds.
fn sides(keys: &StreamKeys) -> Vec<Side> {
    let extra = [keys.subject_per_resource, keys.jurisdiction_per_resource, keys.gpc_per_resource];
    let per_resource = keys.fields.iter().map(|field| field.per_resource).chain(extra);
    let mut sides: Vec<Side> = per_resource.map(|it| if it { Side::Resource } else { Side::Record }).collect();
    let places = [Place::ScopeName, Place::ScopeVersion].map(|place| keys.places.slots(place));
    for slot in keys.scope_attributes.all().iter().chain(places.into_iter().flatten()) {
        sides[column_of(keys, *slot)] = Side::Scope;
    }
    sides
}

/// Event → class, classes numbered densely from 0.
fn classes(keys: &StreamKeys, is_shared: impl Fn(usize) -> bool) -> Vec<usize> {
    let of_event = |event: &[bool]| -> Vec<bool> {
        let allowed = |field: usize| event.get(field).copied().unwrap_or(false);
        (0..keys.fields.len()).map(|field| is_shared(field) && allowed(field)).collect()
    };
    let mut distinct: Vec<Vec<bool>> = Vec::new();
    keys.event_fields
        .iter()
        .map(|event| {
            let fields = of_event(event);
            distinct.iter().position(|known| *known == fields).unwrap_or_else(|| {
                distinct.push(fields);
                distinct.len() - 1
            })
        })
        .collect()
}

/// Repeats the value of each row's scope.
fn by_row(column: &RawColumn, scope_rows: &UInt32Array) -> RawColumn {
    let values = column.array();
    // The rows are those of the scopes; should that ever fail, nulls keep the columns aligned.
    let taken = take(values, scope_rows, None);
    RawColumn::PerRow(taken.unwrap_or_else(|_| new_null_array(values.data_type(), scope_rows.len())))
}
