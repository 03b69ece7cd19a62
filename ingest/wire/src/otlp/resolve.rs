//! One scratch row: which values of a record, resource or scope go where, and the first that cannot.
//!
//! Of several values for one slot the one under the dotted key wins over one inside nested lists, and among equals the
//! first; one that lost is not looked at, so it cannot be a bad value. An attribute whose key feeds nothing of the
//! record's event counts as undeclared, inside a nested list as well; those of a resource or scope count once for each
//! set of fields that its records can carry.

use candor_policy::catalogue::Place;
use candor_policy::key_index::{FieldKey, KeyTable, Slot, StreamKeys};

use super::DecodeError;
use super::group::{EXTRA_COLUMNS, column_of};
use super::rows::{Attribute, Part, Record, Scope};
use super::value::{BadValue, Cells, KeyValues, Value, field_cell, gpc_cell, jurisdiction_cell, subject_cell};

/// What outlives a scratch row of its allocations.
#[derive(Default)]
pub(super) struct Buffers {
    cells: Cells<'static>,
    /// Column → stamp of the last resolution that a value was offered in; behind the last column, the same for
    /// longitudes by field.
    seen: Vec<u64>,
    stamp: u64,
    path: String,
    /// Place in a list of attributes → which key stood there last.
    guesses: Vec<u32>,
    /// Lists with an element for each event or link of a span: column, and the number of its first element.
    aligned: Vec<(usize, usize)>,
}

/// The scratch row.
pub(super) struct Resolving<'s, 'k, 'v> {
    buffers: &'s mut Buffers,
    keys: &'k StreamKeys,
    allowed: &'k [bool],
    most_elements: usize,
    /// Keys that are not undeclared where no field takes them.
    known: &'static [&'static str],
    /// Which element of the aligned lists the values are for; none while they are for the row.
    element: Option<usize>,
    pub(super) cells: Cells<'v>,
    pub(super) bad: Option<u16>,
    /// Elements of lists that a span's events and links made, whether they sent values for them or not.
    pub(super) aligned: usize,
    pub(super) undeclared: u64,
}

impl<'s, 'k, 'v> Resolving<'s, 'k, 'v> {
    pub(super) fn new(buffers: &'s mut Buffers, keys: &'k StreamKeys, event: u16, most_elements: usize) -> Self {
        buffers.stamp += 1;
        let columns = keys.fields.len() * 2 + EXTRA_COLUMNS;
        if buffers.seen.len() < columns {
            buffers.seen.resize(columns, 0);
        }
        let allowed = keys.event_fields.get(usize::from(event)).map_or(&[][..], Vec::as_slice);
        let cells = std::mem::take(&mut buffers.cells);
        Self {
            buffers,
            keys,
            allowed,
            most_elements,
            known: &[],
            element: None,
            cells,
            bad: None,
            aligned: 0,
            undeclared: 0,
        }
    }

    /// Whether nothing went anywhere.
    pub(super) fn is_empty(&self) -> bool {
        self.cells.cells.is_empty()
    }

    /// Takes in a record, but for its resource and scope.
    pub(super) fn record<N: KeyValues<'v>, R: Record<'v, N>>(&mut self, record: &R) -> Result<(), DecodeError> {
        let keys = self.keys;
        self.undeclared += record.undeclared();
        self.known = record.known();
        self.attributes(&keys.attributes, record.attributes())?;
        self.known = &[];
        self.aligned(&keys.span_event_attributes, record, Part::Event)?;
        self.aligned(&keys.link_attributes, record, Part::Link)?;
        let body = if keys.body_keys.is_empty() { Value::Absent } else { record.value(Place::Body) };
        if let Value::List(body) = body {
            self.body(body)?;
        }
        for (place, slots) in keys.places.iter() {
            if place.is_list() {
                self.offer_elements(slots, place, record);
            } else if place != Place::Body || !matches!(body, Value::List(_)) {
                self.offer(slots, &record.value(place))?;
            }
        }
        Ok(())
    }

    /// Takes in a scope.
    pub(super) fn scope<N: KeyValues<'v>>(&mut self, scope: &Scope<'v, N>) -> Result<(), DecodeError> {
        let keys = self.keys;
        self.attributes(&keys.scope_attributes, &scope.attributes)?;
        self.offer(keys.places.slots(Place::ScopeName), &Value::<N>::text(scope.name))?;
        self.offer(keys.places.slots(Place::ScopeVersion), &Value::<N>::text(scope.version))?;
        Ok(())
    }

    /// Takes in attributes.
    pub(super) fn attributes<N: KeyValues<'v>>(
        &mut self,
        table: &KeyTable,
        attributes: &[Attribute<'v, N>],
    ) -> Result<(), DecodeError> {
        if self.buffers.guesses.len() < attributes.len() {
            self.buffers.guesses.resize(attributes.len(), 0);
        }
        let mut nested = false;
        for (at, (key, value)) in attributes.iter().enumerate() {
            let slots = table.slots_near(key, &mut self.buffers.guesses[at]).unwrap_or_default();
            nested |= self.direct(table, slots, key, value)?;
        }
        if nested {
            for (key, value) in attributes {
                self.nested(table, key, value)?;
            }
        }
        Ok(())
    }

    /// Takes in a body that is a key-value list as if its pairs were attributes.
    fn body<N: KeyValues<'v>>(&mut self, body: N) -> Result<(), DecodeError> {
        let keys = self.keys;
        let mut nested = false;
        body.each(&mut |key, value| {
            let slots = keys.body_keys.slots(key).unwrap_or_default();
            nested |= self.direct(&keys.body_keys, slots, key, &value)?;
            Ok(())
        })?;
        if nested {
            body.each(&mut |key, value| self.nested(&keys.body_keys, key, &value))?;
        }
        Ok(())
    }

    /// Offers an attribute under its own key; true if what it holds is for [`Self::nested`] instead.
    fn direct<N: KeyValues<'v>>(
        &mut self,
        table: &KeyTable,
        slots: &[Slot],
        key: &str,
        value: &Value<'v, N>,
    ) -> Result<bool, DecodeError> {
        if matches!(value, Value::List(_)) && table.is_prefix(key) {
            return Ok(true);
        }
        if !self.offer(slots, value)? && !self.known.contains(&key) {
            self.undeclared += 1;
        }
        Ok(false)
    }

    /// Offers what is in an attribute that holds declared keys.
    fn nested<N: KeyValues<'v>>(
        &mut self,
        table: &KeyTable,
        key: &str,
        value: &Value<'v, N>,
    ) -> Result<(), DecodeError> {
        match value {
            Value::List(list) if table.is_prefix(key) => {
                self.buffers.path.clear();
                self.buffers.path.push_str(key);
                self.descend(table, *list)
            }
            _ => Ok(()),
        }
    }

    fn descend<N: KeyValues<'v>>(&mut self, table: &KeyTable, list: N) -> Result<(), DecodeError> {
        let base = self.buffers.path.len();
        list.each(&mut |key, value| {
            self.buffers.path.truncate(base);
            self.buffers.path.push('.');
            self.buffers.path.push_str(key);
            match value {
                Value::List(inner) if table.is_prefix(&self.buffers.path) => return self.descend(table, inner),
                value => {
                    let slots = table.slots(&self.buffers.path).unwrap_or_default();
                    if !self.offer(slots, &value)? {
                        self.undeclared += 1;
                    }
                }
            }
            Ok(())
        })
    }

    /// Takes in the attributes of a span's events or links: each declared list gets one element for each of them.
    fn aligned<N: KeyValues<'v>, R: Record<'v, N>>(
        &mut self,
        table: &KeyTable,
        record: &R,
        part: Part,
    ) -> Result<(), DecodeError> {
        let count = record.parts(part);
        if count == 0 {
            return Ok(());
        }
        self.buffers.aligned.clear();
        for slot in table.all() {
            let (Slot::Field(field), Some(column)) = (*slot, self.column(*slot)) else { continue };
            if !self.keys.fields[column].list {
                continue;
            }
            if count > self.most_elements {
                self.bad.get_or_insert(field);
                continue;
            }
            let from = self.cells.elements.len();
            self.cells.elements.resize(from + count, None);
            self.aligned += count;
            self.cells.push_list(column, from);
            self.buffers.aligned.push((column, from));
        }
        for element in 0..count {
            self.element = Some(element);
            // No column of these tables is fed by any other, so that nothing else can be offered twice by this.
            self.buffers.stamp += 1;
            self.attributes(table, record.part_attributes(part, element))?;
        }
        self.element = None;
        Ok(())
    }

    /// Puts a value where it goes; false if nothing of this event asks for it.
    fn offer<N: KeyValues<'v>>(&mut self, slots: &[Slot], value: &Value<'v, N>) -> Result<bool, DecodeError> {
        let mut asked = false;
        for slot in slots {
            let Some(column) = self.column(*slot) else { continue };
            asked = true;
            let stamped =
                if let Slot::Lon(_) = slot { self.keys.fields.len() + EXTRA_COLUMNS + column } else { column };
            let Some(seen) = self.buffers.seen.get_mut(stamped) else { continue };
            if std::mem::replace(seen, self.buffers.stamp) == self.buffers.stamp {
                continue;
            }
            if let Some(element) = self.element {
                self.put_element(element, column, value);
                continue;
            }
            let cell = match slot {
                Slot::Subject => subject_cell(value),
                Slot::Jurisdiction => jurisdiction_cell(value),
                Slot::Gpc => gpc_cell(value),
                Slot::Field(field) | Slot::Lat(field) | Slot::Lon(field) => {
                    if self.field(*slot, column, value)?.is_err() {
                        self.bad.get_or_insert(*field);
                    }
                    None
                }
            };
            self.cells.cells.extend(cell.map(|cell| (column, cell)));
        }
        Ok(asked)
    }

    fn field<N: KeyValues<'v>>(
        &mut self,
        slot: Slot,
        column: usize,
        value: &Value<'v, N>,
    ) -> Result<Result<(), BadValue>, DecodeError> {
        let FieldKey { kind, list, .. } = self.keys.fields[column];
        Ok(match slot {
            Slot::Lat(_) => self.cells.push_half(column, true, value),
            Slot::Lon(_) => self.cells.push_half(column, false, value),
            _ if list => self.cells.push_array(column, kind, value, self.most_elements)?,
            _ => field_cell(kind, value).map(|cell| self.cells.cells.extend(cell.map(|cell| (column, cell)))),
        })
    }

    /// Puts a value into an aligned list. What is not one takes nothing from there.
    fn put_element<N>(&mut self, element: usize, column: usize, value: &Value<'v, N>) {
        let Some((_, from)) = self.buffers.aligned.iter().find(|(known, _)| *known == column) else { return };
        match field_cell(self.keys.fields[column].kind, value) {
            Ok(cell) => self.cells.elements[from + element] = cell,
            Err(BadValue) => drop(self.bad.get_or_insert(column as u16)),
        }
    }

    /// Puts the values of a place into the lists that are made of it; no value is no list.
    fn offer_elements<N: KeyValues<'v>>(&mut self, slots: &[Slot], place: Place, record: &impl Record<'v, N>) {
        for slot in slots {
            let (Slot::Field(field), Some(column)) = (*slot, self.column(*slot)) else { continue };
            let FieldKey { kind, list: true, .. } = self.keys.fields[column] else { continue };
            let (from, most) = (self.cells.elements.len(), self.most_elements);
            let mut good = true;
            record.elements(place, |value| {
                good &= self.cells.elements.len() - from < most;
                match field_cell(kind, &value) {
                    Ok(cell) if good => self.cells.elements.push(cell),
                    Ok(_) => {}
                    Err(BadValue) => good = false,
                }
            });
            if !good {
                self.cells.elements.truncate(from);
                self.bad.get_or_insert(field);
            } else if self.cells.elements.len() > from {
                self.cells.push_list(column, from);
            }
        }
    }

    /// Column of a slot, if this event has it.
    fn column(&self, slot: Slot) -> Option<usize> {
        let column = column_of(self.keys, slot);
        let is_field = matches!(slot, Slot::Field(_) | Slot::Lat(_) | Slot::Lon(_));
        (!is_field || self.allowed.get(column).copied().unwrap_or(false)).then_some(column)
    }

    /// Hands the buffers back.
    pub(super) fn recycle(self) {
        self.buffers.cells = self.cells.recycle();
    }
}
