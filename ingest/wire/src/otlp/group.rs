//! The rows of one stream under construction.

use arrow_array::{Array, ArrayRef, TimestampMicrosecondArray, UInt16Array, UInt32Array, new_null_array};
use arrow_buffer::NullBufferBuilder;
use arrow_select::take::take;
use candor_policy::batch::{RawColumn, RawGroup};
use candor_policy::catalogue::{FieldType, Place};
use candor_policy::key_index::{Slot, StreamKeys};

use super::DecodeError;
use super::column::{Column, ROOM, Share};
use super::resolve::{Found, Resolving, Scratch};
use super::rows::{Attribute, Scope};
use super::value::KeyValues;

/// Raw columns of one stream.
#[derive(Debug)]
pub(super) struct Group<'k> {
    stream: u16,
    keys: &'k StreamKeys,
    event: Vec<u16>,
    time: Vec<i64>,
    timed: NullBufferBuilder,
    /// Row → row of its resource.
    resource_rows: Vec<u32>,
    /// Row → row of its scope.
    scope_rows: Vec<u32>,
    /// Fields in the catalogue's order, then subject, jurisdiction and GPC, each with whose values it holds.
    columns: Vec<(Side, Column)>,
    pub(super) scratch: Scratch,
    resource: Owner,
    scope: Owner,
}

/// What records share; the number tells it from others of its kind.
pub(super) enum Shared<'r, 'v, N> {
    Resource(u64, &'r [Attribute<'v, N>]),
    Scope(u64, &'r Scope<'v, N>),
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
    /// Whether the columns have the current one's row behind those.
    pending: bool,
}

/// What became of a resource or scope in one class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not looked at yet.
    New,
    /// Its undeclared attributes are counted and all values good; no row needed it so far.
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
        Self {
            stream,
            keys,
            event: Vec::with_capacity(ROOM),
            time: Vec::with_capacity(ROOM),
            timed: NullBufferBuilder::new(ROOM),
            resource_rows: Vec::with_capacity(ROOM),
            scope_rows: Vec::with_capacity(ROOM),
            columns: fields
                .chain(extra)
                .zip(sides)
                .map(|((kind, list), side)| (side, Column::new(kind, list)))
                .collect(),
            scratch: Scratch::default(),
            resource,
            scope,
        }
    }

    /// The next row of a record, resource or scope, to be written for an event.
    pub(super) fn next_row(&mut self, side: Side, event: u16, most_elements: usize) -> Resolving<'_, 'k> {
        let row = match side {
            Side::Record => self.event.len(),
            Side::Resource => self.resource.rows as usize,
            Side::Scope => self.scope.rows as usize,
        };
        Resolving {
            keys: self.keys,
            allowed: self.keys.event_fields.get(usize::from(event)).map_or(&[][..], Vec::as_slice),
            columns: &mut self.columns,
            scratch: &mut self.scratch,
            side,
            row,
            most_elements,
            known: &[],
            element: None,
            found: Found::default(),
        }
    }

    /// Looks at a resource or scope, unless an earlier record of the same class of events had it looked at: what is bad in
    /// it, and how many undeclared attributes it has that are not counted yet.
    pub(super) fn judge<'v, N: KeyValues<'v>>(
        &mut self,
        shared: &Shared<'_, 'v, N>,
        event: u16,
        most_elements: usize,
    ) -> Result<Found, DecodeError> {
        let (number, side) = (shared.number(), shared.side());
        let owner = self.owner(side);
        if owner.current != number {
            owner.current = number;
            owner.states.fill(State::New);
        }
        match owner.state(event) {
            State::New => {
                let found = self.look(shared, event, most_elements)?;
                let state = found.bad.map_or(State::Counted, State::Bad);
                self.owner(side).set_state(event, state);
                Ok(found)
            }
            State::Bad(field) => Ok(Found { bad: Some(field), ..Found::default() }),
            State::Counted | State::Written(_) => Ok(Found::default()),
        }
    }

    /// The row of a resource or scope in an event's class, if it has one.
    #[inline]
    pub(super) fn written<N>(&mut self, shared: &Shared<'_, '_, N>, event: u16) -> Option<u32> {
        let owner = self.owner(shared.side());
        match owner.state(event) {
            State::Written(row) if owner.current == shared.number() => Some(row),
            _ => None,
        }
    }

    /// The row of the current resource or scope in an event's class, written now if it has none yet.
    pub(super) fn shared_row<'v, N: KeyValues<'v>>(
        &mut self,
        shared: &Shared<'_, 'v, N>,
        event: u16,
        most_elements: usize,
    ) -> Result<u32, DecodeError> {
        let side = shared.side();
        if let State::Written(row) = self.owner(side).state(event) {
            return Ok(row);
        }
        if !self.owner(side).pending {
            // Looked at for an earlier record, which was bad: its row has been taken back.
            self.look(shared, event, most_elements)?;
        }
        let owner = self.owner(side);
        let row = owner.rows;
        owner.rows += 1;
        owner.pending = false;
        owner.set_state(event, State::Written(row));
        Ok(row)
    }

    /// Makes a row of what [`Self::next_row`] got.
    pub(super) fn end_row(&mut self, event: u16, time: Option<i64>, resource: u32, scope: u32) {
        self.event.push(event);
        self.time.push(time.unwrap_or_default());
        self.timed.append(time.is_some());
        self.resource_rows.push(resource);
        self.scope_rows.push(scope);
    }

    /// Takes back what was written for a record that is bad.
    pub(super) fn take_back(&mut self) {
        self.truncate(Side::Record);
        for side in [Side::Resource, Side::Scope] {
            if self.owner(side).pending {
                self.truncate(side);
            }
        }
    }

    /// Makes room for what is still to come.
    pub(super) fn reserve(&mut self, share: Share) {
        let rows = share.of(self.event.len());
        self.event.reserve(rows);
        self.time.reserve(rows);
        self.resource_rows.reserve(rows);
        self.scope_rows.reserve(rows);
        self.columns.iter_mut().for_each(|(_, column)| column.reserve(share));
    }

    /// The finished group, unless no record of the stream became a row.
    pub(super) fn finish(mut self) -> Option<RawGroup> {
        let rows = self.event.len();
        if rows == 0 {
            return None;
        }
        let (resources, scopes) = (self.resource.rows as usize, self.scope.rows as usize);
        let scope_rows = UInt32Array::from(std::mem::take(&mut self.scope_rows));
        let finish = |(side, column): (Side, Column)| match side {
            Side::Scope => RawColumn::PerRow(by_row(&column.finish(scopes), &scope_rows)),
            Side::Record => RawColumn::PerRow(column.finish(rows)),
            Side::Resource => RawColumn::PerResource(column.finish(resources)),
        };
        let mut columns: Vec<_> = self.columns.drain(..).map(finish).collect();
        let gpc = columns.pop()?;
        let jurisdiction = columns.pop()?;
        let subject = columns.pop()?;
        debug_assert_eq!(columns.len(), self.keys.fields.len());
        Some(RawGroup {
            stream: self.stream,
            event: UInt16Array::from(self.event),
            time: TimestampMicrosecondArray::new(self.time.into(), self.timed.finish()).with_timezone("UTC"),
            resource: self.resource_rows,
            columns,
            subject,
            jurisdiction,
            gpc,
        })
    }

    /// Writes the row of a resource or scope; nothing of it stays if it is bad.
    fn look<'v, N: KeyValues<'v>>(
        &mut self,
        shared: &Shared<'_, 'v, N>,
        event: u16,
        most_elements: usize,
    ) -> Result<Found, DecodeError> {
        let side = shared.side();
        let mut row = self.next_row(side, event, most_elements);
        match shared {
            Shared::Resource(_, attributes) => row.resource(attributes)?,
            Shared::Scope(_, scope) => row.scope(scope)?,
        }
        let found = row.found;
        self.owner(side).pending = true;
        if found.bad.is_some() {
            self.truncate(side);
        }
        Ok(found)
    }

    /// Takes back what was written behind the last row of a side.
    fn truncate(&mut self, side: Side) {
        let rows = match side {
            Side::Record => self.event.len(),
            Side::Resource | Side::Scope => {
                let owner = self.owner(side);
                owner.pending = false;
                owner.rows as usize
            }
        };
        self.columns.iter_mut().filter(|(of, _)| *of == side).for_each(|(_, column)| column.truncate(rows));
    }

    const fn owner(&mut self, side: Side) -> &mut Owner {
        if let Side::Scope = side { &mut self.scope } else { &mut self.resource }
    }
}

impl<N> Shared<'_, '_, N> {
    const fn number(&self) -> u64 {
        match self {
            Self::Resource(number, _) | Self::Scope(number, _) => *number,
        }
    }

    const fn side(&self) -> Side {
        match self {
            Self::Resource(..) => Side::Resource,
            Self::Scope(..) => Side::Scope,
        }
    }
}

impl Owner {
    fn new(keys: &StreamKeys, sides: &[Side], side: Side) -> Self {
        let classes = classes(keys, |field| sides.get(field) == Some(&side));
        let states = vec![State::New; classes.iter().max().map_or(1, |last| last + 1)];
        Self { classes, states, current: 0, rows: 0, pending: false }
    }

    /// What became of the current one for an event.
    fn state(&self, event: u16) -> State {
        self.states.get(self.class(event)).copied().unwrap_or(State::New)
    }

    /// Notes what became of the current one.
    fn set_state(&mut self, event: u16, state: State) {
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
fn by_row(values: &ArrayRef, scope_rows: &UInt32Array) -> ArrayRef {
    // The rows are those of the scopes; should that ever fail, nulls keep the columns aligned.
    take(values, scope_rows, None).unwrap_or_else(|_| new_null_array(values.data_type(), scope_rows.len()))
}
